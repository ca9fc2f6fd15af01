//! What is counted of TLS towards foreign domains, day by day, for the reports that RFC 8460 asks for.
//!
//! Gateways gather counts and add them to the directory's once a minute; adding is [`TlsCounts::add`] on both sides.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{DomainName, UnixMillis};

/// Domains of one day.
pub const TLS_DOMAINS_PER_DAY_MAX: u32 = 20_000;
/// Policies of a domain in one day: it may change its policy, and each mail host has TLSA records of its own.
pub const TLS_POLICIES_MAX: usize = 8;
/// Kinds of failures of a policy in one day; further ones are counted in the sum alone.
pub const TLS_FAILURES_MAX: usize = 30;
/// Texts of one policy.
pub const TLS_TEXTS_MAX: usize = 32;
/// Octets of one text of a policy or a failure.
pub const TLS_TEXT_OCTETS_MAX: usize = 255;
/// Domains of one command.
pub const TLS_COMMAND_DOMAINS_MAX: usize = 200;
/// How long counts are kept after their day.
pub const TLS_DAYS_KEPT: u32 = 7;
/// Milliseconds of a day of UTC.
pub const DAY_MILLIS: u64 = 86_400_000;

/// The day of UTC that a time lies in: days since 1970.
#[must_use]
pub fn day_of(time: UnixMillis) -> u32 {
    u32::try_from(time.get() / DAY_MILLIS).unwrap_or(u32::MAX)
}

/// RFC 8460 4.2: the kind of a policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum TlsPolicyKind {
    /// There was none.
    NoPolicyFound,
    /// MTA-STS.
    Sts,
    /// DANE.
    Tlsa,
}

impl TlsPolicyKind {
    /// As a report has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoPolicyFound => "no-policy-found",
            Self::Sts => "sts",
            Self::Tlsa => "tlsa",
        }
    }
}

/// RFC 8460 4.3: how a session failed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum TlsResult {
    /// The host does not offer STARTTLS, or refuses it.
    StartTlsNotSupported,
    /// The certificate is for another name.
    CertificateHostMismatch,
    /// The certificate has expired.
    CertificateExpired,
    /// The certificate is of an authority that is not trusted.
    CertificateNotTrusted,
    /// Anything else.
    ValidationFailure,
    /// None of the TLSA records can be used.
    TlsaInvalid,
    /// The TLSA records are bogus.
    DnssecInvalid,
    /// DANE was demanded, and there are no TLSA records.
    DaneRequired,
    /// The MTA-STS policy could not be fetched.
    StsPolicyFetchError,
    /// What was fetched is no policy.
    StsPolicyInvalid,
    /// The policy's host has a certificate that is not trusted.
    StsWebpkiInvalid,
}

impl TlsResult {
    /// As a report has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::StartTlsNotSupported => "starttls-not-supported",
            Self::CertificateHostMismatch => "certificate-host-mismatch",
            Self::CertificateExpired => "certificate-expired",
            Self::CertificateNotTrusted => "certificate-not-trusted",
            Self::ValidationFailure => "validation-failure",
            Self::TlsaInvalid => "tlsa-invalid",
            Self::DnssecInvalid => "dnssec-invalid",
            Self::DaneRequired => "dane-required",
            Self::StsPolicyFetchError => "sts-policy-fetch-error",
            Self::StsPolicyInvalid => "sts-policy-invalid",
            Self::StsWebpkiInvalid => "sts-webpki-invalid",
        }
    }
}

/// RFC 8460 4.4: a policy as it was applied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TlsPolicy {
    /// Its kind.
    pub kind: TlsPolicyKind,
    /// Its lines, or its TLSA records.
    pub strings: Vec<String>,
    /// Patterns of mail hosts that it names.
    pub mx: Vec<String>,
}

/// RFC 8460 4.4: one kind of failure.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct TlsFailure {
    /// How it failed.
    pub result: TlsResult,
    /// The address that we connected from.
    pub sending: Option<IpAddr>,
    /// The mail host.
    pub host: Option<String>,
    /// Its address.
    pub receiving: Option<IpAddr>,
    /// More about it.
    pub reason: Option<String>,
}

/// What was counted under one policy.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TlsPolicyCounts {
    /// The policy.
    pub policy: TlsPolicy,
    /// Sessions with TLS as the policy wants it.
    pub successes: u64,
    /// Sessions without.
    pub failures: u64,
    /// Kinds of failures; those beyond the bound are missing here.
    pub details: Vec<(TlsFailure, u64)>,
}

/// What was counted of a domain in one day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TlsCounts {
    /// Days since 1970, UTC.
    pub day: u32,
    /// Whose.
    pub domain: DomainName,
    /// By policy.
    pub policies: Vec<TlsPolicyCounts>,
}

impl TlsCounts {
    /// Nothing yet.
    #[must_use]
    pub const fn new(day: u32, domain: DomainName) -> Self {
        Self { day, domain, policies: Vec::new() }
    }

    /// Adds what others have counted of the same day and domain, within the bounds.
    pub fn add(&mut self, more: &Self) {
        for counts in &more.policies {
            let known = self.policies.iter().position(|known| known.policy == counts.policy);
            let at = match known {
                Some(at) => at,
                None if self.policies.len() < TLS_POLICIES_MAX => {
                    let policy = counts.policy.clone();
                    self.policies.push(TlsPolicyCounts { policy, successes: 0, failures: 0, details: Vec::new() });
                    self.policies.len() - 1
                }
                None => continue,
            };
            self.policies[at].add(counts);
        }
    }

    /// Whether all texts and lists are within their bounds.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let short = |text: &String| text.len() <= TLS_TEXT_OCTETS_MAX;
        let texts = |texts: &Vec<String>| texts.len() <= TLS_TEXTS_MAX && texts.iter().all(short);
        let failure = |failure: &TlsFailure| failure.host.iter().chain(&failure.reason).all(short);
        self.policies.len() <= TLS_POLICIES_MAX
            && self.policies.iter().all(|counts| {
                texts(&counts.policy.strings)
                    && texts(&counts.policy.mx)
                    && counts.details.len() <= TLS_FAILURES_MAX
                    && counts.details.iter().all(|(detail, _)| failure(detail))
            })
    }
}

impl TlsPolicyCounts {
    fn add(&mut self, more: &Self) {
        self.successes = self.successes.saturating_add(more.successes);
        self.failures = self.failures.saturating_add(more.failures);
        for (failure, count) in &more.details {
            match self.details.iter().position(|(known, _)| known == failure) {
                Some(at) => self.details[at].1 = self.details[at].1.saturating_add(*count),
                None if self.details.len() < TLS_FAILURES_MAX => self.details.push((failure.clone(), *count)),
                None => {}
            }
        }
    }
}

/// A day's report to a domain: its counts, and how far sending it has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TlsReport {
    /// What is reported.
    pub counts: TlsCounts,
    /// When somebody is to send it, or to try again; `None`: that is over.
    pub due: Option<UnixMillis>,
    /// Who is sending it, until `due`.
    pub taken_by: Option<[u8; 16]>,
    /// How many reports of this day went before: makes each report's id its own.
    pub serial: u32,
    /// When sending was tried first.
    pub tried: Option<UnixMillis>,
    /// Where it has arrived already; at most 4 of at most [`TLS_TEXT_OCTETS_MAX`] octets.
    pub done: Vec<String>,
}
