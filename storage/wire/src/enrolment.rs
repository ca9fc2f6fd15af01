//! Coming into a cluster, getting a new certificate in it, and how a store is: one question, one answer.

use securanet_model::{
    NodeName, ReplicaId,
    nodes::{NODES_MAX, NodeFacts},
    record,
    report::NodeReport,
};

use crate::{WireError, convert::decode};

pub use crate::securanet::cluster::v1 as proto;

/// Octets of a request for a certificate, and of a certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Octets of a message of these services.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Octets of a store's report: of 1,024 groups with twenty members each.
pub const REPORT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Octets of a refusal.
const REASON_BYTES_MAX: usize = 1024;

/// A node that wants to come in. No `Debug`: it holds a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinAsk {
    /// The token's secret.
    pub secret: [u8; 32],
    /// PKCS#10 in DER.
    pub certificate_request: Vec<u8>,
    /// What it says of itself.
    pub facts: NodeFacts,
}

/// What a node that came in is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// Its certificate.
    pub certificate: Certificate,
    /// The replica id of a store.
    pub replica: Option<ReplicaId>,
    /// Groups 1 to this one are shards.
    pub shards: u32,
    /// The stores of the cluster and where they are reached.
    pub stores: Vec<(NodeName, String)>,
}

/// A node's certificate and its authority's, in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The node's.
    pub certificate: String,
    /// The authority's.
    pub authority: String,
}

/// A request to come in, as it travels.
#[must_use]
pub fn join_to_wire(ask: &JoinAsk) -> proto::JoinRequest {
    proto::JoinRequest {
        secret: ask.secret.to_vec(),
        certificate_request: ask.certificate_request.clone(),
        facts: record::encode(&ask.facts),
    }
}

/// A request to come in, from a stranger.
///
/// # Errors
/// [`WireError`] names the field.
pub fn join_from_wire(message: proto::JoinRequest) -> Result<JoinAsk, WireError> {
    let secret = message.secret.try_into().map_err(|_| WireError::Field("secret"))?;
    let certificate_request = certificate_request(message.certificate_request)?;
    Ok(JoinAsk { secret, certificate_request, facts: decode("facts", &message.facts)? })
}

/// What became of a request to come in, as it travels: the inner error is for the node's operator.
#[must_use]
pub fn joined_to_wire(outcome: &Result<Welcome, String>) -> proto::JoinReply {
    use proto::join_reply::Outcome as Wire;
    let outcome = match outcome {
        Ok(welcome) => Wire::Welcome(proto::Welcome {
            certificate: welcome.certificate.certificate.clone(),
            authority: welcome.certificate.authority.clone(),
            replica: welcome.replica.map_or(0, ReplicaId::get),
            shards: welcome.shards,
            stores: welcome
                .stores
                .iter()
                .map(|(node, address)| proto::Store { node: node.to_string(), address: address.clone() })
                .collect(),
        }),
        Err(why) => Wire::Refused(reason(why)),
    };
    proto::JoinReply { outcome: Some(outcome) }
}

/// What became of a request to come in.
///
/// # Errors
/// [`WireError`] names the field; the inner result is what the cluster said.
pub fn joined_from_wire(reply: proto::JoinReply) -> Result<Result<Welcome, String>, WireError> {
    use proto::join_reply::Outcome as Wire;
    let welcome = match reply.outcome.ok_or(WireError::Missing("outcome"))? {
        Wire::Refused(why) => return Ok(Err(reason(&why))),
        Wire::Welcome(welcome) => welcome,
    };
    if welcome.stores.len() > NODES_MAX {
        return Err(WireError::Field("stores"));
    }
    let store = |store: proto::Store| {
        let node = store.node.parse().map_err(|_| WireError::Field("store's name"))?;
        Ok((node, store.address))
    };
    Ok(Ok(Welcome {
        certificate: certificate(welcome.certificate, welcome.authority)?,
        replica: (welcome.replica > 0).then(|| ReplicaId::new(welcome.replica)),
        shards: welcome.shards,
        stores: welcome.stores.into_iter().map(store).collect::<Result<_, WireError>>()?,
    }))
}

/// A request for a new certificate, as it travels.
#[must_use]
pub fn renew_to_wire(certificate_request: Vec<u8>) -> proto::RenewRequest {
    proto::RenewRequest { certificate_request }
}

/// A node's request for a new certificate: PKCS#10 in DER.
///
/// # Errors
/// [`WireError`] names the field.
pub fn renew_from_wire(message: proto::RenewRequest) -> Result<Vec<u8>, WireError> {
    certificate_request(message.certificate_request)
}

/// What became of it, as it travels.
#[must_use]
pub fn renewed_to_wire(outcome: &Result<Certificate, String>) -> proto::RenewReply {
    use proto::renew_reply::Outcome as Wire;
    let outcome = match outcome {
        Ok(Certificate { certificate, authority }) => {
            Wire::Certificate(proto::Certificate { certificate: certificate.clone(), authority: authority.clone() })
        }
        Err(why) => Wire::Refused(reason(why)),
    };
    proto::RenewReply { outcome: Some(outcome) }
}

/// What became of it.
///
/// # Errors
/// [`WireError`] names the field; the inner result is what the store said.
pub fn renewed_from_wire(reply: proto::RenewReply) -> Result<Result<Certificate, String>, WireError> {
    use proto::renew_reply::Outcome as Wire;
    match reply.outcome.ok_or(WireError::Missing("outcome"))? {
        Wire::Refused(why) => Ok(Err(reason(&why))),
        Wire::Certificate(new) => certificate(new.certificate, new.authority).map(Ok),
    }
}

/// How a store is, as it travels.
#[must_use]
pub fn report_to_wire(report: &NodeReport) -> proto::ReportReply {
    proto::ReportReply { report: record::encode(report) }
}

/// How a store says that it is.
///
/// # Errors
/// [`WireError`] names the field; a store of another release may say it in another form.
pub fn report_from_wire(reply: &proto::ReportReply) -> Result<NodeReport, WireError> {
    decode("report", &reply.report)
}

fn certificate_request(request: Vec<u8>) -> Result<Vec<u8>, WireError> {
    if request.is_empty() || request.len() > CERTIFICATE_BYTES_MAX {
        return Err(WireError::Field("certificate_request"));
    }
    Ok(request)
}

fn certificate(certificate: String, authority: String) -> Result<Certificate, WireError> {
    for (field, pem) in [("certificate", &certificate), ("authority", &authority)] {
        if pem.is_empty() || pem.len() > CERTIFICATE_BYTES_MAX {
            return Err(WireError::Field(field));
        }
    }
    Ok(Certificate { certificate, authority })
}

fn reason(why: &str) -> String {
    why[..why.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use securanet_model::{
        GroupId, UnixMillis,
        outbound::OutboundDepth,
        report::{GroupReport, LogPosition, MemberReport},
        request::Totals,
    };

    use super::*;
    use crate::fuzz::fuzz_enrolment;

    fn ask() -> JoinAsk {
        let facts = NodeFacts {
            name: "b".parse().unwrap(),
            site: "south".parse().unwrap(),
            store: true,
            gateway: false,
            address: Some("b.example:7025".to_owned()),
        };
        JoinAsk { secret: [7; 32], certificate_request: vec![1, 2, 3], facts }
    }

    fn welcome() -> Welcome {
        let certificate = Certificate { certificate: "PEM".to_owned(), authority: "CA".to_owned() };
        let stores = vec![("a".parse().unwrap(), "a.example:7025".to_owned())];
        Welcome { certificate, replica: Some(ReplicaId::new(2)), shards: 8, stores }
    }

    fn report() -> NodeReport {
        let member = MemberReport {
            replica: ReplicaId::new(2),
            node: "b".to_owned(),
            voter: true,
            lag: Some(3),
            silent_millis: None,
            clock_off_millis: Some(-12),
        };
        let group = GroupReport {
            group: GroupId::new(1),
            replica: ReplicaId::new(1),
            leads: true,
            leader: Some(ReplicaId::new(1)),
            term: 4,
            members: vec![member],
            hollow: true,
            hollow_blobs: 5,
            replayed: true,
            stopped: Some("why".to_owned()),
            last: Some(LogPosition { term: 4, index: 900 }),
            applied: Some(899),
            clock_ahead_millis: 0,
            totals: Totals::default(),
            pending: 1,
            held: 2,
            outbound: OutboundDepth { next_due: Some(UnixMillis::new(7)), ..OutboundDepth::default() },
        };
        NodeReport { version: "1.0.0".to_owned(), groups: vec![group], ..NodeReport::default() }
    }

    fn seeds() -> Vec<Vec<u8>> {
        vec![
            join_to_wire(&ask()).encode_to_vec(),
            joined_to_wire(&Ok(welcome())).encode_to_vec(),
            joined_to_wire(&Err("no".to_owned())).encode_to_vec(),
            renew_to_wire(vec![4, 5]).encode_to_vec(),
            renewed_to_wire(&Ok(welcome().certificate)).encode_to_vec(),
            renewed_to_wire(&Err("no".to_owned())).encode_to_vec(),
            report_to_wire(&report()).encode_to_vec(),
        ]
    }

    #[test]
    fn messages_survive_a_round_trip() {
        assert!(join_from_wire(join_to_wire(&ask())) == Ok(ask()));
        assert_eq!(joined_from_wire(joined_to_wire(&Ok(welcome()))), Ok(Ok(welcome())));
        let gateway = Ok(Welcome { replica: None, ..welcome() });
        assert_eq!(joined_from_wire(joined_to_wire(&gateway)), Ok(gateway));
        assert_eq!(report_from_wire(&report_to_wire(&report())), Ok(report()));
        seeds().iter().for_each(|seed| fuzz_enrolment(seed));
    }

    #[test]
    fn mutated_messages_are_refused_or_survive() {
        crate::fuzz::mutated(4000, &seeds(), fuzz_enrolment);
    }

    #[test]
    fn what_is_beyond_its_bound_is_refused_by_name() {
        let field = |name| Some(WireError::Field(name));
        let wrong = |change: &dyn Fn(&mut proto::JoinRequest)| {
            let mut message = join_to_wire(&ask());
            change(&mut message);
            join_from_wire(message).err()
        };
        assert_eq!(wrong(&|message| message.secret.push(0)), field("secret"));
        assert_eq!(wrong(&|message| message.certificate_request.clear()), field("certificate_request"));
        let large = vec![0; CERTIFICATE_BYTES_MAX + 1];
        assert_eq!(wrong(&|message| message.certificate_request.clone_from(&large)), field("certificate_request"));
        assert!(matches!(wrong(&|message| message.facts.clear()), Some(WireError::Record { field: "facts", .. })));
        let stores = vec![("a".parse().unwrap(), "a:1".to_owned()); NODES_MAX + 1];
        let many = joined_to_wire(&Ok(Welcome { stores, ..welcome() }));
        assert_eq!(joined_from_wire(many).err(), field("stores"));
        let text = "\u{e4}".repeat(REASON_BYTES_MAX);
        let refused = joined_from_wire(joined_to_wire(&Err(text))).unwrap().unwrap_err();
        assert!(refused.len() <= REASON_BYTES_MAX, "cut at a whole character");
    }
}
