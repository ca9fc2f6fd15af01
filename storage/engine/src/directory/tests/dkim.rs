//! Keys that sign: made, made active in turn, gone with their domain.

use securanet_model::dkim::{DKIM_KEYS_PER_DOMAIN_MAX, DkimAlgorithm, DkimKey, DkimState, PrivateKey, Selector};

use super::*;

fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}

fn put(domain: &str, which: &str, algorithm: DkimAlgorithm) -> DirectoryCommand {
    let private = PrivateKey::new(which.as_bytes().to_vec());
    DirectoryCommand::PutDkimKey { domain: name(domain), selector: selector(which), algorithm, private }
}

fn set(which: &str, state: DkimState) -> DirectoryCommand {
    DirectoryCommand::SetDkimState { domain: name("example.org"), selector: selector(which), state }
}

fn keys(office: &Office, domain: &str) -> Vec<DkimKey> {
    match office.ask(DirectoryQuery::DkimKeys(name(domain))) {
        DirectoryAnswer::DkimKeys(keys) => keys,
        other => panic!("{other:?}"),
    }
}

fn states(office: &Office) -> String {
    let show = |key: &DkimKey| format!("{} {:?}", key.selector, key.state).to_lowercase();
    keys(office, "example.org").iter().map(show).collect::<Vec<_>>().join(", ")
}

#[test]
fn of_each_algorithm_one_key_signs() {
    use DkimAlgorithm::{Ed25519Sha256, RsaSha256};
    let mut office = Office::new();
    for (which, algorithm) in [("r1", RsaSha256), ("e1", Ed25519Sha256), ("r2", RsaSha256)] {
        office.done(put("example.org", which, algorithm));
    }
    assert_eq!(states(&office), "e1 published, r1 published, r2 published");
    office.done(set("r1", DkimState::Active));
    office.done(set("e1", DkimState::Active));
    assert_eq!(states(&office), "e1 active, r1 active, r2 published", "both algorithms at once");
    office.done(set("r2", DkimState::Active));
    office.done(set("r2", DkimState::Active));
    assert_eq!(states(&office), "e1 active, r1 retired, r2 active");
    office.done(DirectoryCommand::DeleteDkimKey { domain: name("example.org"), selector: selector("R1") });
    assert_eq!(states(&office), "e1 active, r2 active");
    assert_eq!(keys(&office, "example.org")[1].private.pkcs8(), b"r2");
}

#[test]
fn a_key_needs_a_domain_of_ours_and_a_selector_of_its_own() {
    let mut office = Office::new();
    let rsa = DkimAlgorithm::RsaSha256;
    let foreign = office.refused(put("example.net", "s", rsa));
    assert_eq!(foreign, DirectoryRefusal::NotFound("domain example.net".to_owned()));
    assert_eq!(keys(&office, "example.net"), []);
    office.done(put("example.org", "s", rsa));
    let taken = office.refused(put("example.org", "S", DkimAlgorithm::Ed25519Sha256));
    assert_eq!(taken, DirectoryRefusal::Exists("key s of example.org".to_owned()));
    let none = DirectoryRefusal::NotFound("key t of example.org".to_owned());
    assert_eq!(office.refused(set("t", DkimState::Active)), none);
    let delete = DirectoryCommand::DeleteDkimKey { domain: name("example.org"), selector: selector("t") };
    assert_eq!(office.refused(delete), none);
    for octets in [0, 10_000] {
        let private = PrivateKey::new(vec![0; octets]);
        let (domain, selector) = (name("example.org"), selector("x"));
        let put = DirectoryCommand::PutDkimKey { domain, selector, algorithm: rsa, private };
        assert!(matches!(office.refused(put), DirectoryRefusal::Invalid(_)));
    }
    for number in 1..DKIM_KEYS_PER_DOMAIN_MAX {
        office.done(put("example.org", &format!("k{number}"), rsa));
    }
    assert!(matches!(office.refused(put("example.org", "more", rsa)), DirectoryRefusal::TooMany { .. }));
}

#[test]
fn keys_go_with_their_domain() {
    let mut office = Office::new();
    office.done(put("example.org", "s", DkimAlgorithm::RsaSha256));
    office.done(DirectoryCommand::DeleteDomain { name: name("example.org") });
    office.domain("example.org");
    assert_eq!(keys(&office, "example.org"), []);
}
