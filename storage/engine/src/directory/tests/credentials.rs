//! Passwords and logins.

use securanet_model::{AccountId, AppPasswordId, policy::Scope};

use super::*;

fn set_password(account: AccountId, salt: Option<u8>) -> DirectoryCommand {
    DirectoryCommand::SetPassword { account, password: salt.map(verifiers) }
}

fn add_app_password(account: AccountId, label: &str) -> DirectoryCommand {
    // Another label is another salt, from its first letters on: that is how a login tells them apart.
    let salt: String = label.chars().rev().filter(char::is_ascii_alphanumeric).collect();
    let argon2id = format!("$argon2id$v=19$m=19456,t=2,p=1${salt}AAAAAA$9");
    DirectoryCommand::AddAppPassword {
        account,
        label: label.to_owned(),
        verifiers: Verifiers { argon2id, scram: None },
    }
}

#[test]
fn a_login_name_is_an_address_that_leads_to_one_account() {
    let mut office = Office::new();
    let ann = office.account("ann@example.org");
    office.alias("info@example.org", "ann@example.org");
    office.alias("hello@example.org", "info@example.org");
    office.list("team@example.org", &["ann@example.org"]);
    office.alias("crew@example.org", "team@example.org");
    for login in ["ann@example.org", "ANN@Example.org", "ann", "Ann", "info", "hello@example.org"] {
        assert_eq!(office.credentials(login).map(|found| found.account.id), Some(ann.id), "{login}");
    }
    for login in ["team@example.org", "crew", "ann+x@example.org", "bob", "", "@", "ann@", "ann@example.net", "a\u{0}b"]
    {
        assert_eq!(office.credentials(login), None, "{login:?}");
    }
    office.domain("example.net");
    assert_eq!(office.credentials("ann"), None, "with two domains a bare name is nobody's");
    assert!(office.credentials("ann@example.org").is_some());
}

#[test]
fn the_suspended_are_found_and_the_deleted_are_not() {
    let mut office = Office::new();
    let ann = office.account("ann@example.org");
    office.suspend(&ann, AccountStatus::Suspended);
    assert_eq!(office.credentials("ann").unwrap().account.status, AccountStatus::Suspended);
    office.done(DirectoryCommand::DeleteAccount { account: ann.id });
    assert_eq!(office.credentials("ann"), None);
}

#[test]
fn each_change_of_credentials_raises_their_version() {
    let mut office = Office::new();
    let id = office.account("ann@example.org").id;
    let version = |office: &Office| office.credentials("ann").unwrap().account.credential_version;
    let mut last = version(&office);
    let changes = [
        set_password(id, Some(7)),
        set_password(id, None),
        add_app_password(id, "phone"),
        DirectoryCommand::RemoveAppPassword { account: id, id: AppPasswordId::new(1) },
    ];
    for change in changes {
        office.done(change.clone());
        assert_eq!(version(&office), last + 1, "{change:?}");
        last = version(&office);
    }
    assert_eq!(office.credentials("ann").unwrap().password, None);
}

#[test]
fn app_passwords_are_numbered_and_never_reuse_a_number() {
    let mut office = Office::new();
    let id = office.account("ann@example.org").id;
    let number = |reply| match reply {
        DirectoryReply::AppPassword(number) => number.get(),
        other => panic!("{other:?}"),
    };
    assert_eq!(number(office.run(add_app_password(id, "phone"))), 1);
    assert_eq!(number(office.run(add_app_password(id, "tablet"))), 2);
    office.done(DirectoryCommand::RemoveAppPassword { account: id, id: AppPasswordId::new(2) });
    assert_eq!(number(office.run(add_app_password(id, "watch"))), 3);
    let labels: Vec<String> =
        office.credentials("ann").unwrap().app_passwords.into_iter().map(|password| password.label).collect();
    assert_eq!(labels, ["phone", "watch"]);
    let remove = DirectoryCommand::RemoveAppPassword { account: id, id: AppPasswordId::new(2) };
    assert!(matches!(office.refused(remove), DirectoryRefusal::NotFound(_)));
    for n in 3..=32 {
        office.done(add_app_password(id, &format!("device {n}")));
    }
    assert!(matches!(office.refused(add_app_password(id, "more")), DirectoryRefusal::TooMany { limit: 32, .. }));
}

#[test]
fn an_app_password_that_a_login_could_not_tell_from_another_is_refused() {
    let mut office = Office::new();
    let (ann, bob) = (office.account("ann@example.org").id, office.account("bob@example.org").id);
    let add = |account, salt: &str| {
        let argon2id = format!("$argon2id$v=19$m=19456,t=2,p=1${salt}$9");
        let (label, verifiers) = ("phone".to_owned(), Verifiers { argon2id, scram: None });
        DirectoryCommand::AddAppPassword { account, label, verifiers }
    };
    office.done(add(ann, "abcAAAAAAAAAAAAAAAAAAA"));
    let before = office.credentials("ann");
    // Twenty bits are three letters and a third of the fourth.
    for alike in ["abcAAAAAAAAAAAAAAAAAAA", "abcPzzzzzzzzzzzzzzzzzz"] {
        assert!(matches!(office.refused(add(ann, alike)), DirectoryRefusal::Exists(_)), "{alike}");
    }
    assert_eq!(office.credentials("ann"), before, "nothing has changed, the credential version neither");
    for other in ["abcQAAAAAAAAAAAAAAAAAA", "abdAAAAAAAAAAAAAAAAAAA"] {
        office.done(add(ann, other));
    }
    office.done(add(bob, "abcAAAAAAAAAAAAAAAAAAA"));
}

#[test]
fn app_passwords_are_shown_only_where_policy_allows() {
    let mut office = Office::new();
    let id = office.account("ann@example.org").id;
    office.done(add_app_password(id, "phone"));
    let key = "account.app_passwords".to_owned();
    office.done(DirectoryCommand::SetPolicy {
        key: key.clone(),
        scope: Scope::Cluster,
        value: Some("false".to_owned()),
    });
    assert_eq!(office.credentials("ann").unwrap().app_passwords, []);
    office.done(DirectoryCommand::SetPolicy { key, scope: Scope::Account(id), value: Some("true".to_owned()) });
    assert_eq!(office.credentials("ann").unwrap().app_passwords.len(), 1);
}

#[test]
fn verifiers_that_are_none_are_refused() {
    let mut office = Office::new();
    let id = office.account("ann@example.org").id;
    let mut plain = verifiers(1);
    plain.argon2id = "secret".to_owned();
    let mut weak = verifiers(1);
    weak.scram.as_mut().unwrap().iterations = 4096;
    let mut unsalted = verifiers(1);
    unsalted.scram.as_mut().unwrap().salt = vec![0; 8];
    for password in [plain, weak, unsalted] {
        let command = DirectoryCommand::SetPassword { account: id, password: Some(password) };
        assert!(matches!(office.refused(command), DirectoryRefusal::Invalid(_)));
    }
    let missing = DirectoryRefusal::NotFound("account 9".to_owned());
    assert_eq!(office.refused(set_password(AccountId::new(9), None)), missing);
}
