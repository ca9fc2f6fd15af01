//! Who may send as whom, which devices may relay, and what becomes of grants when something goes.

use securanet_model::{
    AccountId,
    sending::{
        GRANTS_PER_ACCOUNT_MAX, Grant, GrantKind, Network, RELAYS_MAX, RelayGrant, RelayRecipients, SenderRight,
    },
};

use super::*;

fn grant(account: AccountId, text: &str, kind: GrantKind) -> Grant {
    Grant { account, address: address(text), kind }
}

fn relay(name: &str, sender: &str) -> RelayGrant {
    RelayGrant {
        name: name.to_owned(),
        networks: vec!["192.0.2.0/24".parse::<Network>().unwrap()],
        certificates: Vec::new(),
        senders: vec![address(sender)],
        recipients: RelayRecipients::Anybody,
        recipients_per_hour: 10,
    }
}

impl Office {
    fn right(&self, account: AccountId, text: &str) -> SenderRight {
        match self.ask(DirectoryQuery::SenderRight(account, address(text))) {
            DirectoryAnswer::SenderRight(right) => right,
            other => panic!("{other:?}"),
        }
    }

    fn grants(&self, account: AccountId) -> Vec<String> {
        match self.ask(DirectoryQuery::SendingGrants(account)) {
            DirectoryAnswer::SendingGrants(grants) => {
                grants.iter().map(|grant| format!("{:?} {}", grant.kind, grant.address)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn relays(&self) -> Vec<RelayGrant> {
        match self.ask(DirectoryQuery::RelayGrants) {
            DirectoryAnswer::RelayGrants(relays) => relays,
            other => panic!("{other:?}"),
        }
    }
}

/// ann with an alias and a list of hers, and bob.
fn office() -> (Office, AccountId, AccountId) {
    let mut office = Office::new();
    let ann = office.account("ann@example.org").id;
    let bob = office.account("bob@example.org").id;
    office.alias("info@example.org", "ann@example.org");
    office.done(DirectoryCommand::PutList(List {
        address: address("team@example.org"),
        owner: Some(address("info@example.org")),
        members: vec![address("bob@example.org")],
    }));
    (office, ann, bob)
}

#[test]
fn an_account_sends_as_its_addresses_and_its_lists_and_nobody_else() {
    let (mut office, ann, bob) = office();
    office.catch_all("example.org", Some("bob@example.org"));
    for own in ["ann@example.org", "ANN@Example.ORG", "ann+x@example.org", "info@example.org", "info+y@example.org"] {
        assert_eq!((office.right(ann, own), office.right(bob, own)), (SenderRight::Own, SenderRight::Refused), "{own}");
    }
    assert_eq!(office.right(ann, "team@example.org"), SenderRight::Own);
    assert_eq!(office.right(bob, "team@example.org"), SenderRight::Refused, "a member is no owner");
    for foreign in ["nobody@example.org", "ann@example.net", "annx@example.org", "+ann@example.org"] {
        assert_eq!(office.right(ann, foreign), SenderRight::Refused, "{foreign}");
    }
    assert_eq!(office.right(bob, "nobody@example.org"), SenderRight::Refused, "a catch-all's address is not its own");
}

#[test]
fn a_grant_covers_an_address_or_a_domain() {
    let (mut office, ann, bob) = office();
    office.done(DirectoryCommand::GrantSending(grant(bob, "ann@example.org", GrantKind::OnBehalf)));
    assert_eq!(office.right(bob, "ann@example.org"), SenderRight::OnBehalf);
    assert_eq!(office.right(bob, "ann+x@example.org"), SenderRight::OnBehalf);
    assert_eq!(office.right(bob, "info@example.org"), SenderRight::Refused, "an alias is another address");
    office.done(DirectoryCommand::GrantSending(grant(bob, "*@example.org", GrantKind::SendAs)));
    assert_eq!(office.right(bob, "ann@example.org"), SenderRight::SendAs, "the greater right counts");
    assert_eq!(office.right(bob, "nobody@example.org"), SenderRight::SendAs);
    assert_eq!(office.right(bob, "ann@a.example.org"), SenderRight::Refused);
    assert_eq!(office.grants(bob), ["SendAs *@example.org", "OnBehalf ann@example.org"]);
    assert_eq!(office.grants(ann), [""; 0]);
    office.done(DirectoryCommand::RevokeSending(grant(bob, "*@example.org", GrantKind::SendAs)));
    assert_eq!(office.right(bob, "ann@example.org"), SenderRight::OnBehalf);
}

#[test]
fn a_grant_names_what_is_there_and_is_bounded() {
    let (mut office, ann, bob) = office();
    let unknown = AccountId::new(99);
    for (bad, refusal) in [
        (grant(unknown, "ann@example.org", GrantKind::SendAs), DirectoryRefusal::NotFound("account 99".to_owned())),
        (grant(bob, "x@example.org", GrantKind::SendAs), DirectoryRefusal::NotFound("x@example.org".to_owned())),
        (grant(bob, "x@example.net", GrantKind::SendAs), DirectoryRefusal::ForeignDomain(name("example.net"))),
        (grant(bob, "*@example.net", GrantKind::SendAs), DirectoryRefusal::ForeignDomain(name("example.net"))),
    ] {
        assert_eq!(office.refused(DirectoryCommand::GrantSending(bad)), refusal);
    }
    let absent = grant(bob, "ann@example.org", GrantKind::SendAs);
    let refusal = DirectoryRefusal::NotFound("grant to send as ann@example.org".to_owned());
    assert_eq!(office.refused(DirectoryCommand::RevokeSending(absent)), refusal);
    for at in 0..GRANTS_PER_ACCOUNT_MAX {
        office.done(DirectoryCommand::GrantSending(grant(ann, &format!("bob+{at}@example.org"), GrantKind::SendAs)));
    }
    office.done(DirectoryCommand::GrantSending(grant(ann, "bob+0@example.org", GrantKind::SendAs)));
    let more = grant(ann, "bob@example.org", GrantKind::SendAs);
    assert!(matches!(office.refused(DirectoryCommand::GrantSending(more)), DirectoryRefusal::TooMany { .. }));
}

#[test]
fn a_grant_goes_with_what_it_names_and_with_whom_it_is_for() {
    let (mut office, ann, bob) = office();
    for named in ["ann@example.org", "info@example.org", "ann+x@example.org", "team@example.org"] {
        office.done(DirectoryCommand::GrantSending(grant(bob, named, GrantKind::SendAs)));
    }
    office.done(DirectoryCommand::GrantSending(grant(ann, "bob@example.org", GrantKind::SendAs)));
    office.done(DirectoryCommand::DeleteAccount { account: ann });
    assert_eq!(office.grants(bob), ["SendAs team@example.org"]);
    office.account("ann@example.org");
    assert_eq!(office.right(bob, "ann@example.org"), SenderRight::Refused, "whoever has the address now");
    office.domain("example.net");
    office.done(DirectoryCommand::GrantSending(grant(bob, "*@example.net", GrantKind::SendAs)));
    office.done(DirectoryCommand::DeleteDomain { name: name("example.net") });
    office.domain("example.net");
    assert_eq!(office.right(bob, "x@example.net"), SenderRight::Refused);
}

#[test]
fn a_relay_grant_says_from_where_as_whom_and_to_whom() {
    let mut office = Office::new();
    assert_eq!(office.relays(), [], "the default grants none");
    office.done(DirectoryCommand::PutRelay(relay("printers", "*@example.org")));
    let domains = RelayRecipients::Domains(vec![name("partner.example")]);
    let changed = RelayGrant { recipients: domains, ..relay("printers", "scan@example.org") };
    office.done(DirectoryCommand::PutRelay(changed.clone()));
    assert_eq!(office.relays(), std::slice::from_ref(&changed));
    assert!(changed.may_send_to(&name("partner.example")) && !changed.may_send_to(&name("other.example")));
    let foreign = relay("x", "scan@example.net");
    let refusal = DirectoryRefusal::ForeignDomain(name("example.net"));
    assert_eq!(office.refused(DirectoryCommand::PutRelay(foreign)), refusal);
    for bad in [
        relay("", "scan@example.org"),
        relay("a b", "scan@example.org"),
        RelayGrant { networks: Vec::new(), ..relay("x", "scan@example.org") },
        RelayGrant { senders: Vec::new(), ..relay("x", "scan@example.org") },
        RelayGrant { recipients_per_hour: 0, ..relay("x", "scan@example.org") },
        RelayGrant { networks: vec!["0.0.0.0/0".parse().unwrap()], ..relay("x", "scan@example.org") },
        RelayGrant { networks: vec!["::/0".parse().unwrap()], ..relay("x", "scan@example.org") },
    ] {
        assert!(matches!(office.refused(DirectoryCommand::PutRelay(bad)), DirectoryRefusal::Invalid(_)));
    }
    for at in 1..RELAYS_MAX {
        office.done(DirectoryCommand::PutRelay(relay(&at.to_string(), "scan@example.org")));
    }
    let more = relay("more", "scan@example.org");
    assert!(matches!(office.refused(DirectoryCommand::PutRelay(more)), DirectoryRefusal::TooMany { .. }));
    office.done(DirectoryCommand::DeleteRelay { name: "printers".to_owned() });
    let gone = office.refused(DirectoryCommand::DeleteRelay { name: "printers".to_owned() });
    assert_eq!(gone, DirectoryRefusal::NotFound("relay grant printers".to_owned()));
}

#[test]
fn a_relay_grant_loses_its_senders_with_their_domain() {
    let mut office = Office::new();
    office.domain("example.net");
    let both = vec![address("a@example.org"), address("b@example.net")];
    office.done(DirectoryCommand::PutRelay(RelayGrant { senders: both, ..relay("both", "a@example.org") }));
    office.done(DirectoryCommand::PutRelay(relay("one", "b@example.net")));
    office.done(DirectoryCommand::DeleteDomain { name: name("example.net") });
    let [left] = office.relays().try_into().unwrap();
    assert_eq!((left.name.as_str(), left.senders), ("both", vec![address("a@example.org")]));
}
