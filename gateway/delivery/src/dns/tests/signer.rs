//! A zone that is signed as it is asked: the root, with a key that a file names as its trust anchor.

use std::{sync::Arc, time::SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use hickory_resolver::proto::{
    dnssec::{
        DnssecSigner, PublicKey, SigningKey, TBS,
        crypto::Ed25519SigningKey,
        rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG, SigInput},
    },
    op::{Message, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, SerialNumber},
};

/// Signs answers.
pub(crate) struct Signer {
    signer: DnssecSigner,
}

impl Signer {
    /// A key, and the file that names it.
    pub(crate) fn new() -> (Arc<Self>, tempfile::NamedTempFile) {
        let key = Ed25519SigningKey::from_pkcs8(&Ed25519SigningKey::generate_pkcs8().unwrap()).unwrap();
        let public = key.to_public_key().unwrap();
        let anchor = tempfile::NamedTempFile::new().unwrap();
        let text = format!(". 3600 IN DNSKEY 257 3 15 {}\n", BASE64_STANDARD.encode(public.public_bytes()));
        std::fs::write(anchor.path(), text).unwrap();
        let duration = std::time::Duration::from_secs(3600);
        let signer = DnssecSigner::new(DNSKEY::from_key(&public), Box::new(key), Name::root(), duration);
        (Arc::new(Self { signer }), anchor)
    }

    /// Completes an answer as the signed root zone gives it: keys, proofs of absence, signatures.
    pub(super) fn sign(&self, query: &Query, reply: &mut Message, forged: bool) {
        let name = query.name().clone();
        let cut = Name::from_ascii("unsigned.test.").unwrap();
        let below_cut = cut.zone_of(&name) && !(name == cut && query.query_type() == RecordType::DS);
        if below_cut || reply.metadata.response_code != ResponseCode::NoError {
            return;
        }
        if query.query_type() == RecordType::DNSKEY && name.is_root() {
            let key = RData::DNSSEC(DNSSECRData::DNSKEY(self.signer.to_dnskey()));
            reply.add_answer(Record::from_rdata(name.clone(), 300, key));
        }
        if reply.answers.is_empty() {
            let soa = RData::try_from_str(RecordType::SOA, "a. b. 1 2 3 4 5").unwrap();
            reply.add_authority(Record::from_rdata(Name::root(), 300, soa));
            let types = if name == cut { vec![RecordType::NS] } else { Vec::new() };
            let next = Name::from_ascii("a").unwrap().append_name(&name).unwrap();
            let nsec = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, types)));
            reply.add_authority(Record::from_rdata(name, 300, nsec));
        }
        let answers = self.signatures(&reply.answers, forged);
        let authorities = self.signatures(&reply.authorities, forged);
        reply.add_answers(answers);
        reply.add_authorities(authorities);
    }

    fn signatures(&self, records: &[Record], forged: bool) -> Vec<Record> {
        let mut sets: Vec<(Name, RecordType)> =
            records.iter().map(|record| (record.name.clone(), record.record_type())).collect();
        sets.sort();
        sets.dedup();
        sets.into_iter().map(|(name, kind)| self.signature(&name, kind, records, forged)).collect()
    }

    fn signature(&self, name: &Name, kind: RecordType, records: &[Record], forged: bool) -> Record {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let now = u32::try_from(now).unwrap();
        let input = SigInput {
            type_covered: kind,
            algorithm: self.signer.key().algorithm(),
            num_labels: name.num_labels(),
            original_ttl: 300,
            sig_expiration: SerialNumber::new(now + 3600),
            sig_inception: SerialNumber::new(now - 3600),
            key_tag: self.signer.calculate_key_tag().unwrap(),
            signer_name: Name::root(),
        };
        let set = records.iter().filter(|record| record.name == *name && record.record_type() == kind);
        let signed = TBS::from_input(name, DNSClass::IN, &input, set).unwrap();
        let mut signature = self.signer.sign(&signed).unwrap();
        if forged {
            signature[0] ^= 1;
        }
        let signature = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        Record::from_rdata(name.clone(), 300, signature)
    }
}
