//! Relay grants: from which networks or with which certificates devices may submit mail without logging in, as whom,
//! and to whom.
//!
//! A grant's senders stand in domains of ours. One whose domain goes loses those senders, and goes itself with the
//! last of them.

use std::ops::ControlFlow;

use securanet_kv::Direction;
use securanet_model::{
    DomainName,
    directory::{DirectoryRefusal, DirectoryReply},
    sending::{RELAY_ENTRIES_MAX, RELAYS_MAX, RelayGrant, RelayRecipients},
};

use super::{Outcome, addresses};
use crate::{
    EngineError,
    keys::{Key, Table},
    tx::{ReadView, Tx},
};

/// Octets of a grant's name.
const NAME_OCTETS_MAX: usize = 64;

/// All of them, sorted by name.
pub(super) fn all(view: &ReadView<'_>) -> Result<Vec<RelayGrant>, EngineError> {
    let mut relays = Vec::new();
    view.visit_records(&view.key(Table::RelayGrant).range(), Direction::Forward, |_, relay| {
        relays.push(relay);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(relays)
}

pub(super) fn put(tx: &mut Tx<'_>, relay: &RelayGrant) -> Outcome {
    check(relay)?;
    for sender in &relay.senders {
        addresses::domain_of(&tx.view(), sender)?;
    }
    let there = all(&tx.view())?;
    if there.len() >= RELAYS_MAX && there.iter().all(|other| other.name != relay.name) {
        return Err(too_many("relay grants", RELAYS_MAX).into());
    }
    store(tx, relay);
    Ok(DirectoryReply::Done)
}

pub(super) fn delete(tx: &mut Tx<'_>, name: &str) -> Outcome {
    let there: Option<RelayGrant> = tx.view().get_record(&key(&tx.view(), name))?;
    if there.is_none() {
        return Err(DirectoryRefusal::NotFound(format!("relay grant {name}")).into());
    }
    let key = key(&tx.view(), name);
    tx.delete(key);
    Ok(DirectoryReply::Done)
}

/// Takes the senders of a domain that is gone away.
pub(super) fn lose_domain(tx: &mut Tx<'_>, name: &DomainName) -> Result<(), EngineError> {
    for mut relay in all(&tx.view())? {
        let before = relay.senders.len();
        relay.senders.retain(|sender| sender.domain() != name);
        if relay.senders.is_empty() {
            let key = key(&tx.view(), &relay.name);
            tx.delete(key);
        } else if relay.senders.len() < before {
            store(tx, &relay);
        }
    }
    Ok(())
}

fn check(relay: &RelayGrant) -> Result<(), DirectoryRefusal> {
    let is_name = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    let fits = (1..=NAME_OCTETS_MAX).contains(&relay.name.len()) && relay.name.bytes().all(is_name);
    if !fits {
        let text = format!("a relay grant's name has 1 to {NAME_OCTETS_MAX} letters, digits, '-', '_' or '.'");
        return Err(DirectoryRefusal::Invalid(text));
    }
    if relay.networks.is_empty() && relay.certificates.is_empty() || relay.senders.is_empty() {
        let text = "a relay grant names its networks or certificates, and its senders";
        return Err(DirectoryRefusal::Invalid(text.to_owned()));
    }
    if let Some(network) = relay.networks.iter().find(|network| network.is_everything()) {
        let text = format!(
            "{network} is everybody: a relay grant for it would make an open relay; name the devices' networks"
        );
        return Err(DirectoryRefusal::Invalid(text));
    }
    if relay.recipients_per_hour == 0 {
        return Err(DirectoryRefusal::Invalid("a relay grant allows at least one recipient in an hour".to_owned()));
    }
    let domains = if let RelayRecipients::Domains(domains) = &relay.recipients { domains.len() } else { 0 };
    let entries = [relay.networks.len(), relay.certificates.len(), relay.senders.len(), domains];
    if entries.iter().any(|&count| count > RELAY_ENTRIES_MAX) {
        let what = "networks, certificates, senders or recipient domains of one relay grant";
        return Err(too_many(what, RELAY_ENTRIES_MAX));
    }
    Ok(())
}

fn too_many(what: &str, limit: usize) -> DirectoryRefusal {
    DirectoryRefusal::TooMany { what: what.to_owned(), limit: limit as u64 }
}

fn store(tx: &mut Tx<'_>, relay: &RelayGrant) {
    let key = key(&tx.view(), &relay.name);
    tx.put_record(key, relay);
}

fn key(view: &ReadView<'_>, name: &str) -> Key {
    view.key(Table::RelayGrant).octets(name.as_bytes())
}
