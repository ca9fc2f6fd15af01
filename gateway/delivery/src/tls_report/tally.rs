//! What this process has counted of TLS towards others since it last told the directory.
//!
//! Sessions count at once, in memory; once a minute the counts are added to the directory's ([`super::reporter`]), so a
//! process that dies loses a minute's. Bounded: beyond [`DOMAINS_MAX`] domains a minute nothing is counted.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;
use securanet_gateway::{
    clock,
    model::{
        DomainName,
        tls_report::{
            TLS_TEXT_OCTETS_MAX, TLS_TEXTS_MAX, TlsCounts, TlsFailure, TlsPolicy, TlsPolicyCounts, TlsPolicyKind,
            TlsResult, day_of,
        },
    },
};

use crate::metric;

/// Domains counted between two tellings.
const DOMAINS_MAX: usize = 5000;

/// Counts by day and domain.
#[derive(Debug, Default)]
pub struct Tally {
    counts: Mutex<HashMap<(u32, DomainName), TlsCounts>>,
}

impl Tally {
    /// Adds counts, or puts back what could not be told.
    pub(super) fn add(&self, more: &TlsCounts) {
        let mut counts = self.counts.lock();
        let key = (more.day, more.domain.clone());
        if counts.len() >= DOMAINS_MAX && !counts.contains_key(&key) {
            metric::tls_not_counted();
            return;
        }
        counts.entry(key).or_insert_with(|| TlsCounts::new(more.day, more.domain.clone())).add(more);
    }

    /// Everything counted, which is forgotten here.
    pub(crate) fn take(&self) -> Vec<TlsCounts> {
        std::mem::take(&mut *self.counts.lock()).into_values().collect()
    }
}

/// Whose sessions are counted, under which policy: goes with a mail host from the router to the connection.
#[derive(Clone, Debug)]
pub struct Subject {
    tally: Arc<Tally>,
    domain: DomainName,
    policy: TlsPolicy,
    /// What is wrong however the session goes.
    flaw: Option<(TlsResult, String)>,
}

impl Subject {
    /// Sessions towards a domain under a policy. Texts are cut to what the directory takes.
    #[must_use]
    pub fn new(tally: &Arc<Tally>, domain: &DomainName, kind: TlsPolicyKind) -> Self {
        let policy = TlsPolicy { kind, strings: Vec::new(), mx: Vec::new() };
        Self { tally: tally.clone(), domain: domain.clone(), policy, flaw: None }
    }

    /// The policy's lines or records, and the mail hosts that it names.
    #[must_use]
    pub fn with(mut self, strings: impl Iterator<Item = String>, mx: impl Iterator<Item = String>) -> Self {
        self.policy.strings = strings.take(TLS_TEXTS_MAX).map(|text| cut(&text)).collect();
        self.policy.mx = mx.take(TLS_TEXTS_MAX).map(|text| cut(&text)).collect();
        self
    }

    /// Something is wrong with the policy or the host, however well its sessions go.
    #[must_use]
    pub fn with_flaw(mut self, result: TlsResult, why: &str) -> Self {
        self.flaw = Some((result, why.to_owned()));
        self
    }

    /// A session had TLS that its host stands for; `sending` and `receiving` are its ends.
    pub(crate) fn succeeded(&self, host: &str, ends: (Option<IpAddr>, Option<IpAddr>)) {
        if let Some((result, why)) = &self.flaw {
            return self.failed(failure(*result, host, ends, why));
        }
        metric::tls_session(self.policy.kind, None);
        self.count(1, 0, Vec::new());
    }

    /// A session had not, or there could be none.
    pub(crate) fn failed(&self, failure: TlsFailure) {
        metric::tls_session(self.policy.kind, Some(failure.result));
        self.count(0, 1, vec![(failure, 1)]);
    }

    fn count(&self, successes: u64, failures: u64, details: Vec<(TlsFailure, u64)>) {
        let mut counts = TlsCounts::new(day_of(clock::now()), self.domain.clone());
        counts.policies.push(TlsPolicyCounts { policy: self.policy.clone(), successes, failures, details });
        self.tally.add(&counts);
    }
}

/// A failure of a session with a host.
pub(crate) fn failure(
    result: TlsResult,
    host: &str,
    (sending, receiving): (Option<IpAddr>, Option<IpAddr>),
    reason: &str,
) -> TlsFailure {
    let text = |text: &str| (!text.is_empty()).then(|| cut(text));
    TlsFailure { result, sending, host: text(host), receiving, reason: text(reason) }
}

/// One line, within the bound.
fn cut(text: &str) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.truncate(text.floor_char_boundary(TLS_TEXT_OCTETS_MAX));
    text
}

/// How a handshake failed (RFC 8460 4.3).
pub(crate) fn result_of(error: &rustls::Error) -> TlsResult {
    use rustls::{CertificateError as C, Error};
    let Error::InvalidCertificate(certificate) = error else { return TlsResult::ValidationFailure };
    match certificate {
        C::Expired | C::ExpiredContext { .. } => TlsResult::CertificateExpired,
        C::NotValidForName | C::NotValidForNameContext { .. } => TlsResult::CertificateHostMismatch,
        // Of all that may be wrong with a chain the reason tells more.
        C::UnknownIssuer
        | C::Revoked
        | C::BadSignature
        | C::NotValidYet
        | C::NotValidYetContext { .. }
        | C::InvalidPurpose
        | C::InvalidPurposeContext { .. }
        | C::UnhandledCriticalExtension
        | C::Other(_) => TlsResult::CertificateNotTrusted,
        _ => TlsResult::ValidationFailure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_counted_and_told_once() {
        let tally = Arc::new(Tally::default());
        let domain = DomainName::parse("far.example").unwrap();
        let subject = Subject::new(&tally, &domain, TlsPolicyKind::NoPolicyFound);
        subject.succeeded("mx1.far.example", (None, None));
        for host in ["mx1.far.example", "mx1.far.example", "mx2.far.example"] {
            subject.failed(failure(TlsResult::StartTlsNotSupported, host, (None, None), ""));
        }
        let told = tally.take();
        assert_eq!(told.len(), 1);
        let [counts] = told[0].policies.as_slice() else { panic!("{told:?}") };
        assert_eq!((counts.successes, counts.failures), (1, 3));
        let by_host: Vec<_> = counts.details.iter().map(|(failure, count)| (failure.host.as_deref(), *count)).collect();
        assert_eq!(by_host, [(Some("mx1.far.example"), 2), (Some("mx2.far.example"), 1)]);
        assert_eq!(tally.take(), Vec::new(), "what was told is forgotten");
        tally.add(&told[0]);
        tally.add(&told[0]);
        assert_eq!(tally.take()[0].policies[0].failures, 6, "what could not be told is added to");
    }

    #[test]
    fn what_strangers_write_is_bounded() {
        let tally = Arc::new(Tally::default());
        let domain = DomainName::parse("far.example").unwrap();
        let long = std::iter::repeat_n("ä\r\n".repeat(1000), 1000);
        let subject = Subject::new(&tally, &domain, TlsPolicyKind::Sts).with(long.clone(), long);
        for at in 0..1000 {
            subject.failed(failure(TlsResult::ValidationFailure, &format!("mx{at}"), (None, None), &"x".repeat(1000)));
        }
        let told = tally.take();
        assert!(told[0].is_bounded(), "{told:?}");
        assert_eq!(told[0].policies[0].failures, 1000);
    }
}
