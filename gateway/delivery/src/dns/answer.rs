//! What servers answer, in our words: records of one kind, their absence, or a failure.

use std::{net::IpAddr, sync::Arc, time::Duration};

use hickory_resolver::{
    net::{DnsError, NetError},
    proto::{
        dnssec::Proof,
        op::ResponseCode,
        rr::{RData, Record, RecordType},
    },
};

/// Kinds of records that mail needs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Kind {
    Mx,
    A,
    Aaaa,
    Tlsa,
    Txt,
}

impl Kind {
    pub(super) const fn record_type(self) -> RecordType {
        match self {
            Self::Mx => RecordType::MX,
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Tlsa => RecordType::TLSA,
            Self::Txt => RecordType::TXT,
        }
    }
}

/// RFC 6698 2.1: one association of a certificate with a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsaRecord {
    /// 0 PKIX-TA, 1 PKIX-EE, 2 DANE-TA, 3 DANE-EE.
    pub usage: u8,
    /// 0 the certificate, 1 its public key.
    pub selector: u8,
    /// 0 the octets themselves, 1 SHA-256, 2 SHA-512.
    pub matching: u8,
    /// What must match.
    pub data: Vec<u8>,
}

/// One record's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// Preference and host; the empty host is the root (RFC 7505).
    Mx(u16, String),
    Address(IpAddr),
    Tlsa(TlsaRecord),
    Text(Vec<u8>),
}

/// Records that are there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Records {
    pub(super) values: Vec<Value>,
    /// Every record, aliases on the way included, was proved by DNSSEC.
    pub(super) secure: bool,
    /// Where aliases led: the name that has the records. Lower case, no final dot.
    pub(super) owner: String,
}

/// Records that are not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Absent {
    /// RFC 8020: neither the name nor anything below it.
    NoSuchName,
    /// RFC 2308 2.2: the name has records of other kinds only.
    NoData,
}

/// What is known about a name, for as long as it is.
pub(super) type Known = Result<Arc<Records>, Absent>;

/// Why nothing is known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A server answered that it cannot tell.
    #[error("{0}")]
    Answered(String),
    /// A server told what cannot be true.
    #[error("its DNSSEC signatures are bogus")]
    Bogus,
    /// A server does not want to answer us. Resolvers tell the world's failures as SERVFAIL.
    #[error("{0}")]
    Refused(String),
    /// No server answered.
    #[error("{0}")]
    Silent(String),
}

/// Reads what a resolver made of the answer; the time for which the server lets us remember it.
pub(super) fn read(kind: Kind, answer: Result<&[Record], NetError>) -> Result<(Known, Option<Duration>), Failure> {
    match answer {
        Ok(records) => Ok(found(kind, records)),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let ttl = none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into()));
            Ok((absent(none.response_code), ttl))
        }
        // The absence is proved to be in an unsigned part of the tree (opt-out).
        Err(NetError::Dns(DnsError::Nsec { response, proof: Proof::Insecure, .. })) => {
            if response.answers.iter().any(|record| record.record_type() == kind.record_type()) {
                let (known, ttl) = found(kind, &response.answers);
                let insecure = known.map(|records| Arc::new(Records { secure: false, ..(*records).clone() }));
                return Ok((insecure, ttl));
            }
            Ok((absent(response.response_code), response.negative_ttl().map(|s| Duration::from_secs(s.into()))))
        }
        Err(NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. })) => Err(Failure::Bogus),
        Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused))) => {
            Err(Failure::Refused("the answer was a refusal".to_owned()))
        }
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(Failure::Answered(format!("the answer was {code}"))),
        Err(error @ (NetError::Timeout | NetError::Io(_) | NetError::NoConnections | NetError::Busy)) => {
            Err(Failure::Silent(error.to_string()))
        }
        Err(error) => Err(Failure::Answered(error.to_string())),
    }
}

const fn absent(code: ResponseCode) -> Known {
    if matches!(code, ResponseCode::NXDomain) { Err(Absent::NoSuchName) } else { Err(Absent::NoData) }
}

fn found(kind: Kind, records: &[Record]) -> (Known, Option<Duration>) {
    let wanted = |record: &&Record| record.record_type() == kind.record_type();
    let values: Vec<Value> = records.iter().filter(wanted).filter_map(value).collect();
    let ttl = records.iter().filter(|record| record.record_type() != RecordType::RRSIG).map(|record| record.ttl).min();
    let ttl = ttl.map(|seconds| Duration::from_secs(seconds.into()));
    if values.is_empty() {
        return (Err(Absent::NoData), ttl);
    }
    let mut proofs = records.iter().filter(|record| record.record_type() != RecordType::RRSIG);
    let secure = proofs.all(|record| record.proof == Proof::Secure);
    let owner = records.iter().find(wanted).map(|record| host(&record.name)).unwrap_or_default();
    (Ok(Arc::new(Records { values, secure, owner })), ttl)
}

fn host(name: &hickory_resolver::proto::rr::Name) -> String {
    let name = name.to_ascii().to_ascii_lowercase();
    name.strip_suffix('.').unwrap_or(&name).to_owned()
}

fn value(record: &Record) -> Option<Value> {
    match &record.data {
        RData::MX(mx) => Some(Value::Mx(mx.preference, host(&mx.exchange))),
        RData::A(address) => Some(Value::Address(address.0.into())),
        RData::AAAA(address) => Some(Value::Address(address.0.into())),
        RData::TLSA(tlsa) => Some(Value::Tlsa(TlsaRecord {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            data: tlsa.cert_data.clone(),
        })),
        RData::TXT(text) => Some(Value::Text(text.txt_data.concat())),
        _ => None,
    }
}
