//! Names of the metrics that all protocols share, in one place, with what they count.
//!
//! | metric | kind, labels | meaning |
//! |---|---|---|
//! | `securanet_connections_open` | gauge: protocol, listener | connections being served |
//! | `securanet_connections_total` | counter: protocol, listener | connections that reached their protocol |
//! | `securanet_connections_refused_total` | counter: protocol, listener, reason | turned away: `too_many_connections`, `too_many_from_address`, `draining`, `proxy_header`, `tls_handshake`, `broken` |
//! | `securanet_accept_errors_total` | counter: listener | `accept` failed (out of file descriptors) |
//! | `securanet_tls_handshakes_total` | counter: version | handshakes done, `TLSv1.2` or `TLSv1.3` |
//! | `securanet_tls_certificate_expiry_seconds` | gauge: listener, certificate (its file) | notAfter, Unix time |
//! | `securanet_tls_reloads_total` | counter: listener, outcome | certificate reloads, `done` or `failed` |
//! | `securanet_logins_total` | counter: mechanism, outcome | attempts: `done`, `refused`, `disabled`, `too_many_attempts`, `malformed`, `unavailable` |
//! | `securanet_login_hashes_total` | counter | argon2id computations |
//! | `securanet_login_hash_seconds` | histogram | one computation, waiting for a core excluded |
//! | `securanet_login_remembered_total` | counter | logins that the memory of verified credentials answered |
//! | `securanet_login_delay_seconds` | histogram | slow-down imposed on an attempt |
//! | `securanet_logins_ended_total` | counter: reason | accounts whose open sessions were ended: `credentials`, `suspended`, `deleted`, `moved` |
//! | `securanet_senders_replaced_total` | counter | copies for addresses outside whose sender became the postmaster, since a rewritten one (SRS) would have been too long; counted at RCPT, and once more where the mail has waited |
//! | `securanet_store_reachable` | gauge: store (its address) | 1 while this gateway reaches the store, else 0; NaN when the cluster has it no more |
//! | `securanet_store_missed_tries_total` | counter: store | tries at a store that gave no answer: it was gone, had no quorum, or did not lead |

use std::{path::Path, time::Duration};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const CONNECTIONS_OPEN: &str = "securanet_connections_open";
const CONNECTIONS: &str = "securanet_connections_total";
const CONNECTIONS_REFUSED: &str = "securanet_connections_refused_total";
const ACCEPT_ERRORS: &str = "securanet_accept_errors_total";
const TLS_HANDSHAKES: &str = "securanet_tls_handshakes_total";
const TLS_EXPIRY: &str = "securanet_tls_certificate_expiry_seconds";
const TLS_RELOADS: &str = "securanet_tls_reloads_total";
const LOGINS: &str = "securanet_logins_total";
const LOGIN_HASHES: &str = "securanet_login_hashes_total";
const LOGIN_HASH_SECONDS: &str = "securanet_login_hash_seconds";
const LOGIN_REMEMBERED: &str = "securanet_login_remembered_total";
const LOGIN_DELAY: &str = "securanet_login_delay_seconds";
const LOGIN_ENDED: &str = "securanet_logins_ended_total";
const SENDERS_REPLACED: &str = "securanet_senders_replaced_total";
const STORE_REACHABLE: &str = "securanet_store_reachable";
const STORE_MISSED: &str = "securanet_store_missed_tries_total";

/// Tells the recorder what each metric means; called once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(CONNECTIONS_OPEN, "connections being served");
    describe_counter!(CONNECTIONS, "connections that reached their protocol");
    describe_counter!(CONNECTIONS_REFUSED, "connections turned away before their protocol spoke");
    describe_counter!(ACCEPT_ERRORS, "failures of accept, such as too few file descriptors");
    describe_counter!(TLS_HANDSHAKES, "TLS handshakes done");
    describe_gauge!(TLS_EXPIRY, Unit::Seconds, "notAfter of a certificate in use, as Unix time");
    describe_counter!(TLS_RELOADS, "reloads of certificates");
    describe_counter!(LOGINS, "login attempts");
    describe_counter!(LOGIN_HASHES, "argon2id computations");
    describe_histogram!(LOGIN_HASH_SECONDS, Unit::Seconds, "one argon2id computation");
    describe_counter!(LOGIN_REMEMBERED, "logins answered by the memory of verified credentials");
    describe_histogram!(LOGIN_DELAY, Unit::Seconds, "slow-down imposed on a login attempt");
    describe_counter!(LOGIN_ENDED, "accounts whose open sessions were ended because they changed");
    describe_counter!(
        SENDERS_REPLACED,
        "copies sent on whose sender became the postmaster, since SRS had no room for it"
    );
    describe_gauge!(STORE_REACHABLE, "whether this gateway reaches the store");
    describe_counter!(STORE_MISSED, "tries at a store that gave no answer");
}

pub(crate) fn sender_replaced() {
    counter!(SENDERS_REPLACED).increment(1);
}

/// A store came or went.
pub(crate) fn store_reachable(store: &str, reachable: bool) {
    gauge!(STORE_REACHABLE, "store" => store.to_owned()).set(if reachable { 1.0 } else { 0.0 });
}

/// The cluster has no such store any more: neither reached nor lost.
pub(crate) fn store_gone(store: &str) {
    gauge!(STORE_REACHABLE, "store" => store.to_owned()).set(f64::NAN);
}

/// A store gave no answer.
pub(crate) fn store_missed(store: &str) {
    counter!(STORE_MISSED, "store" => store.to_owned()).increment(1);
}

/// Counts one open connection for as long as it lives.
pub(crate) struct OpenConnection(metrics::Gauge);

impl OpenConnection {
    pub(crate) fn new(protocol: &'static str, listener: &str) -> Self {
        counter!(CONNECTIONS, "protocol" => protocol, "listener" => listener.to_owned()).increment(1);
        let open = gauge!(CONNECTIONS_OPEN, "protocol" => protocol, "listener" => listener.to_owned());
        open.increment(1);
        Self(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

pub(crate) fn connection_refused(protocol: &'static str, listener: &str, reason: &'static str) {
    counter!(CONNECTIONS_REFUSED, "protocol" => protocol, "listener" => listener.to_owned(), "reason" => reason)
        .increment(1);
}

pub(crate) fn accept_failed(listener: &str) {
    counter!(ACCEPT_ERRORS, "listener" => listener.to_owned()).increment(1);
}

pub(crate) fn handshake_done(version: &'static str) {
    counter!(TLS_HANDSHAKES, "version" => version).increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; Unix time in seconds is exact in it")]
pub(crate) fn certificate_expires(listener: &str, certificate: &Path, unix_seconds: i64) {
    gauge!(TLS_EXPIRY, "listener" => listener.to_owned(), "certificate" => certificate.display().to_string())
        .set(unix_seconds as f64);
}

pub(crate) fn certificates_reloaded(listener: &str, done: bool) {
    let outcome = if done { "done" } else { "failed" };
    counter!(TLS_RELOADS, "listener" => listener.to_owned(), "outcome" => outcome).increment(1);
}

pub(crate) fn login(mechanism: &'static str, outcome: &'static str) {
    counter!(LOGINS, "mechanism" => mechanism, "outcome" => outcome).increment(1);
}

pub(crate) fn login_hashed(took: Duration) {
    counter!(LOGIN_HASHES).increment(1);
    histogram!(LOGIN_HASH_SECONDS).record(took.as_secs_f64());
}

pub(crate) fn login_remembered() {
    counter!(LOGIN_REMEMBERED).increment(1);
}

pub(crate) fn login_delayed(by: Duration) {
    histogram!(LOGIN_DELAY).record(by.as_secs_f64());
}

pub(crate) fn logins_ended(reason: &'static str) {
    counter!(LOGIN_ENDED, "reason" => reason).increment(1);
}
