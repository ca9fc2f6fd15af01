//! Names of the metrics of outbound mail, with what they count.
//!
//! | metric | kind, labels | meaning |
//! |---|---|---|
//! | `securanet_outbound_recipients` | gauge: group, state | recipients in a group's queue: `waiting`, `taken`, `held` |
//! | `securanet_outbound_oldest_seconds` | gauge: group | age of the oldest item without an end |
//! | `securanet_outbound_in_memory` | gauge | recipients that this worker has |
//! | `securanet_outbound_repeats_total` | counter: group | senders' repeats since the group exists, which its queue did not take in again; each process that looks at the group says the same number |
//! | `securanet_outbound_attempts_total` | counter: outcome | attempts settled: `delivered`, `answer_4xx`, `connection`, `dns`, `tls`, `permanent`, `no_such_domain`, `not_tried`, `uncertain`, `expanded` (an address of ours has sent it on to several) |
//! | `securanet_outbound_attempt_seconds` | histogram | how long an attempt took |
//! | `securanet_outbound_uncertain_total` | counter | attempts that may have been delivered without our knowing |
//! | `securanet_outbound_tls_total` | counter: tls | attempts by TLS version, `none` without |
//! | `securanet_outbound_sessions_open` | gauge | connections to other servers, opened or being opened |
//! | `securanet_outbound_sessions_total` | counter: outcome | connections tried, `opened` or `failed` |
//! | `securanet_outbound_no_route_total` | counter: reason | destinations without a host: `no_such_domain`, `null_mx`, `no_mail_host`, `dns`, `resolver_dead`, `loop`, `address`, `tls`, `no_route` |
//! | `securanet_outbound_takeovers_total` | counter | ended leases whose recipients were made due again |
//! | `securanet_outbound_leases_lost_total` | counter | leases that ended with recipients in hand: the store did not answer in time |
//! | `securanet_outbound_reports_total` | counter: notice | senders told: `failure`, `delay`, `success` |
//! | `securanet_outbound_double_bounces_total` | counter: outcome | reports of ours that could not be delivered, `dropped` or `postmaster` |
//! | `securanet_outbound_probes_total` | counter: outcome | probes of destinations, `alive` or `dead` |
//! | `securanet_outbound_died_total` | counter: task | tasks that died of a fault in our code and were begun again: `group`, `settler`, `timer`, `session` |
//! | `securanet_outbound_tls_sessions_total` | counter: policy, result | sessions as TLS reports count them: policy `sts`, `tlsa`, `no-policy-found`; result `success` or as RFC 8460 4.3 names it |
//! | `securanet_outbound_tls_reports_total` | counter: outcome | TLS reports, `sent` or `failed` to be |
//! | `securanet_outbound_tls_uncounted_total` | counter | sessions with too many domains in a minute to be counted for reports |
//! | `securanet_outbound_uplink_dead` | gauge | 1: no destination answers, our own uplink is taken for dead |

use std::{fmt::Debug, time::Duration};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use securanet_gateway::model::{
    GroupId, UnixMillis,
    outbound::{Attempt, Notice, OutboundDepth, Outcome},
    tls_report::{TlsPolicyKind, TlsResult},
};

use crate::{dns::DnsFailure, route::RouteFailure};

const RECIPIENTS: &str = "securanet_outbound_recipients";
const OLDEST: &str = "securanet_outbound_oldest_seconds";
const IN_MEMORY: &str = "securanet_outbound_in_memory";
const QUEUE_REPEATS: &str = "securanet_outbound_repeats_total";
const ATTEMPTS: &str = "securanet_outbound_attempts_total";
const ATTEMPT_SECONDS: &str = "securanet_outbound_attempt_seconds";
const UNCERTAIN: &str = "securanet_outbound_uncertain_total";
const TLS: &str = "securanet_outbound_tls_total";
const SESSIONS_OPEN: &str = "securanet_outbound_sessions_open";
const SESSIONS: &str = "securanet_outbound_sessions_total";
const NO_ROUTE: &str = "securanet_outbound_no_route_total";
const TAKEOVERS: &str = "securanet_outbound_takeovers_total";
const LEASES_LOST: &str = "securanet_outbound_leases_lost_total";
const REPORTS: &str = "securanet_outbound_reports_total";
const DOUBLE_BOUNCES: &str = "securanet_outbound_double_bounces_total";
const PROBES: &str = "securanet_outbound_probes_total";
const DIED: &str = "securanet_outbound_died_total";
const TLS_SESSIONS: &str = "securanet_outbound_tls_sessions_total";
const TLS_REPORTS: &str = "securanet_outbound_tls_reports_total";
const TLS_UNCOUNTED: &str = "securanet_outbound_tls_uncounted_total";
const UPLINK_DEAD: &str = "securanet_outbound_uplink_dead";

/// Tells the recorder what each metric means; called once, after the recorder is installed.
pub fn describe() {
    describe_gauge!(RECIPIENTS, "recipients in the outbound queue");
    describe_gauge!(OLDEST, Unit::Seconds, "age of the oldest item of the outbound queue without an end");
    describe_gauge!(IN_MEMORY, "recipients that the worker of the outbound queue has in memory");
    describe_counter!(QUEUE_REPEATS, "senders' repeats that the outbound queue did not take in again");
    describe_counter!(ATTEMPTS, "attempts at recipients outside that were settled");
    describe_histogram!(ATTEMPT_SECONDS, Unit::Seconds, "an attempt, from its beginning to its outcome");
    describe_counter!(UNCERTAIN, "attempts that may have been delivered without our knowing");
    describe_counter!(TLS, "attempts at recipients outside by TLS version");
    describe_gauge!(SESSIONS_OPEN, "connections to other servers");
    describe_counter!(SESSIONS, "connections to other servers that were tried");
    describe_counter!(NO_ROUTE, "attempts that ended for want of a host");
    describe_counter!(TAKEOVERS, "ended leases of the outbound queue that were taken over");
    describe_counter!(LEASES_LOST, "leases of the outbound queue that ended with recipients in hand");
    describe_counter!(REPORTS, "reports to senders");
    describe_counter!(DOUBLE_BOUNCES, "reports of ours that could not be delivered");
    describe_counter!(PROBES, "probes of destinations that could not be reached");
    describe_counter!(DIED, "tasks of outbound mail that died of a fault in our code and were begun again");
    describe_counter!(TLS_SESSIONS, "sessions with other servers by policy about TLS and result");
    describe_counter!(TLS_REPORTS, "reports about TLS to other domains");
    describe_counter!(TLS_UNCOUNTED, "sessions that were not counted for reports about TLS");
    describe_gauge!(UPLINK_DEAD, "1 while no destination answers and the uplink is taken for dead");
    gauge!(UPLINK_DEAD).set(0.0);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; counts below 2^52 are exact in it")]
pub(crate) fn depth(group: GroupId, depth: &OutboundDepth, now: UnixMillis) {
    for (state, count) in [("waiting", depth.waiting), ("taken", depth.taken), ("held", depth.held)] {
        gauge!(RECIPIENTS, "group" => group.to_string(), "state" => state).set(count as f64);
    }
    let age_millis = depth.oldest.map_or(0, |oldest| now.millis_since(oldest));
    gauge!(OLDEST, "group" => group.to_string()).set(age_millis as f64 / 1000.0);
    counter!(QUEUE_REPEATS, "group" => group.to_string()).absolute(depth.repeats);
}

#[expect(clippy::cast_precision_loss, reason = "a gauge is a float; a bounded count is exact in it")]
pub(crate) fn in_memory(recipients: usize) {
    gauge!(IN_MEMORY).set(recipients as f64);
}

/// An outcome's label in metrics and logs.
pub(crate) const fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered { .. } => "delivered",
        Outcome::TemporaryAnswer => "answer_4xx",
        Outcome::TemporaryConnection => "connection",
        Outcome::TemporaryDns => "dns",
        Outcome::TemporaryTls => "tls",
        Outcome::Permanent => "permanent",
        Outcome::NoSuchDomain => "no_such_domain",
        Outcome::NotTried { .. } => "not_tried",
        Outcome::Uncertain => "uncertain",
        Outcome::Expanded => "expanded",
    }
}

pub(crate) fn attempt(tried: &Attempt) {
    counter!(ATTEMPTS, "outcome" => outcome_name(tried.outcome)).increment(1);
    histogram!(ATTEMPT_SECONDS).record(Duration::from_millis(tried.took_millis.into()).as_secs_f64());
    if tried.outcome == Outcome::Uncertain {
        counter!(UNCERTAIN).increment(1);
    }
    if tried.host.is_some() {
        let version = tried.tls.as_deref().and_then(|tls| tls.split(' ').find(|word| word.starts_with("TLSv")));
        counter!(TLS, "tls" => version.map_or_else(|| "none".to_owned(), str::to_owned)).increment(1);
    }
}

/// Counts one connection for as long as it lives.
pub(crate) struct OpenSession(metrics::Gauge);

impl OpenSession {
    pub(crate) fn new() -> Self {
        let open = gauge!(SESSIONS_OPEN);
        open.increment(1);
        Self(open)
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

pub(crate) fn opened(done: bool) {
    counter!(SESSIONS, "outcome" => if done { "opened" } else { "failed" }).increment(1);
}

pub(crate) fn no_route(failure: &RouteFailure) {
    let reason = match failure {
        RouteFailure::Dns(DnsFailure::NoSuchDomain(_)) => "no_such_domain",
        RouteFailure::Dns(DnsFailure::NullMx(_)) => "null_mx",
        RouteFailure::Dns(DnsFailure::NoMailHost(_)) => "no_mail_host",
        RouteFailure::Dns(DnsFailure::Temporary { .. }) => "dns",
        RouteFailure::Dns(DnsFailure::ResolverDead(_)) => "resolver_dead",
        RouteFailure::LoopsBack(_) => "loop",
        RouteFailure::NoUsableAddress(_) | RouteFailure::Barred { .. } => "address",
        RouteFailure::Tls { .. } => "tls",
        RouteFailure::NoRoute(_) => "no_route",
    };
    counter!(NO_ROUTE, "reason" => reason).increment(1);
}

pub(crate) fn took_over() {
    counter!(TAKEOVERS).increment(1);
}

pub(crate) fn lease_lost() {
    counter!(LEASES_LOST).increment(1);
}

fn lower(word: impl Debug) -> String {
    format!("{word:?}").to_ascii_lowercase()
}

pub(crate) fn reported(notice: Notice) {
    counter!(REPORTS, "notice" => lower(notice)).increment(1);
}

pub(crate) fn double_bounced(told: bool) {
    counter!(DOUBLE_BOUNCES, "outcome" => if told { "postmaster" } else { "dropped" }).increment(1);
}

pub(crate) fn probed(alive: bool) {
    counter!(PROBES, "outcome" => if alive { "alive" } else { "dead" }).increment(1);
}

pub(crate) fn died(task: &'static str) {
    counter!(DIED, "task" => task).increment(1);
}

pub(crate) fn uplink_dead(dead: bool) {
    gauge!(UPLINK_DEAD).set(if dead { 1.0 } else { 0.0 });
}

pub(crate) fn tls_session(policy: TlsPolicyKind, failed: Option<TlsResult>) {
    let result = failed.map_or("success", TlsResult::name);
    counter!(TLS_SESSIONS, "policy" => policy.name(), "result" => result).increment(1);
}

pub(crate) fn tls_report(outcome: &'static str) {
    counter!(TLS_REPORTS, "outcome" => outcome).increment(1);
}

pub(crate) fn tls_not_counted() {
    counter!(TLS_UNCOUNTED).increment(1);
}
