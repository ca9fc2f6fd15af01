//! Adding and removing an account across directory and shard, also when it was cut off; passwords.

use securanet_gateway::model::{
    AccountId, AppPasswordId,
    account::{AccountCommand, AccountRefusal, AccountReply},
    directory::{Credentials, DirectoryCommand, DirectoryRefusal},
};

use super::*;

const NEW: &str = "/v1/accounts";
const ANN: &str = "/v1/accounts/ann@example.org";

fn new_account() -> Value {
    json!({ "address": "ann@example.org", "display_name": "Ann", "password": "open sesame", "quota": { "bytes_max": 5 } })
}

fn quota() -> Quota {
    Quota { bytes_max: Some(5), messages_max: None }
}

fn provision() -> (GroupId, Command) {
    let account = AccountRef { id: AccountId::new(7), epoch: Epoch::new(5) };
    let provision = AccountCommand::Provision { tenant: TenantId::new(1), domain: DomainId::new(3), quota: quota() };
    (GroupId::new(2), Command::Account(account, provision))
}

fn refuse(refusal: DirectoryRefusal) -> Reply {
    Reply::Directory(DirectoryReply::Refused(refusal))
}

fn exists(command: &Command) -> Option<Reply> {
    let exists = || refuse(DirectoryRefusal::Exists("ann@example.org".to_owned()));
    matches!(command, Command::Directory(DirectoryCommand::CreateAccount { .. })).then(exists)
}

fn no_mailboxes(query: &Query) -> Option<Answer> {
    let none = || Answer::Account(AccountAnswer::Refused(AccountRefusal::NoAccount));
    matches!(query, Query::Account(..)).then(none)
}

#[tokio::test]
async fn an_account_is_made_in_the_directory_and_then_in_its_shard() {
    let api = api(FakeStore::new());
    let (status, made) = api.json(Method::POST, NEW, new_account()).await;
    assert_eq!((status, &made["group"]), (StatusCode::CREATED, &json!(2)));
    assert!(!made.to_string().contains("sesame"), "a password is not repeated");
    let commands = api.commands();
    let [(GroupId::DIRECTORY, Command::Directory(create)), second] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    let DirectoryCommand::CreateAccount { address, password: Some(verifiers), .. } = create else {
        panic!("{create:?}")
    };
    assert_eq!(address.canonical(), "ann@example.org");
    assert!(verifiers.argon2id.starts_with("$argon2id$") && verifiers.scram.is_some());
    assert_eq!(*second, provision());
}

#[tokio::test]
async fn scram_is_left_out_where_the_domain_is_without() {
    let store = FakeStore::new().answering(|query| {
        let off = || Answer::Directory(DirectoryAnswer::Policy(Some(("false".to_owned(), None))));
        matches!(query, Query::Directory(DirectoryQuery::Policy(key, _)) if key == "login.scram").then(off)
    });
    let api = api(store);
    let (status, _) = api.json(Method::PUT, &format!("{ANN}/password"), json!({ "password": "open sesame" })).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let commands = api.commands();
    let [(_, Command::Directory(DirectoryCommand::SetPassword { password: Some(verifiers), .. }))] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    assert!(verifiers.scram.is_none());
}

#[tokio::test]
async fn an_account_that_was_cut_off_is_finished_by_the_same_request() {
    let api = api(FakeStore::new().replying(exists).answering(no_mailboxes));
    let (status, _) = api.json(Method::POST, NEW, new_account()).await;
    assert_eq!(status, StatusCode::CREATED);
    let commands = api.commands();
    let names = ["CreateAccount", "UpdateAccount", "SetPassword", "Provision"];
    for (name, (_, command)) in names.iter().zip(&commands) {
        assert!(format!("{command:?}").contains(name), "{name}: {command:?}");
    }
    assert_eq!(commands.len(), names.len());
    assert_eq!(commands[3], provision());
}

#[tokio::test]
async fn an_account_that_is_there_is_not_taken_over() {
    let store = FakeStore::new().replying(exists);
    let api = api(store);
    let answer = api.json(Method::POST, NEW, new_account()).await;
    assert_eq!(problem(&answer), (409, "ann@example.org exists already".to_owned(), None));
    assert_eq!(api.commands().len(), 1, "its password is not touched");
}

#[tokio::test]
async fn removing_empties_the_shard_before_the_directory_forgets_where_it_was() {
    let api = api(FakeStore::new());
    assert_eq!(api.json(Method::DELETE, ANN, Value::Null).await, (StatusCode::NO_CONTENT, Value::Null));
    let commands = api.commands();
    let names = ["status: Some(Suspended)", "Remove", "DeleteAccount"];
    for (name, (_, command)) in names.iter().zip(&commands) {
        assert!(format!("{command:?}").contains(name), "{name}: {command:?}");
    }
    assert_eq!(commands.len(), names.len());
}

#[tokio::test]
async fn a_removal_that_was_cut_off_is_finished_by_the_same_request() {
    let store = FakeStore::new().replying(|command| {
        let gone = || Reply::Account(AccountReply::Refused(AccountRefusal::NoAccount));
        matches!(command, Command::Account(..)).then(gone)
    });
    let api = api(store);
    assert_eq!(api.json(Method::DELETE, ANN, Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.commands().len(), 3);
}

#[tokio::test]
async fn an_account_is_changed_only_by_its_own_address() {
    let api = api(FakeStore::new());
    for (method, path) in
        [(Method::DELETE, "/v1/accounts/info@example.org"), (Method::PATCH, "/v1/accounts/info@example.org")]
    {
        let (status, _, remedy) = problem(&api.json(method, path, json!({ "suspended": true })).await);
        assert_eq!(status, 404);
        assert!(remedy.unwrap().contains("Ann@example.org"));
    }
    assert_eq!(api.commands(), []);
}

#[tokio::test]
async fn a_quota_is_set_in_directory_and_shard() {
    let api = api(FakeStore::new());
    let (status, _) = api.json(Method::PATCH, ANN, json!({ "quota": { "bytes_max": 5 } })).await;
    assert_eq!(status, StatusCode::OK);
    let commands = api.commands();
    assert!(
        matches!(commands[0].1, Command::Directory(DirectoryCommand::UpdateAccount { quota: Some(given), .. }) if given == quota())
    );
    assert!(matches!(commands[1].1, Command::Account(_, AccountCommand::SetQuota(given)) if given == quota()));
    api.json(Method::PATCH, ANN, json!({ "suspended": true })).await;
    assert_eq!(api.commands().len(), 1, "a suspension is the directory's alone");
}

#[tokio::test]
async fn passwords_that_will_not_do_are_refused_without_being_told_back() {
    let api = api(FakeStore::new());
    for password in ["short", "bell\u{7}bell\u{7}"] {
        let answer = api.json(Method::PUT, &format!("{ANN}/password"), json!({ "password": password })).await;
        let (status, error, _) = problem(&answer);
        assert_eq!(status, 422);
        assert!(!error.contains(password));
    }
    assert_eq!(api.commands(), []);
    api.json(Method::PUT, &format!("{ANN}/password"), json!({ "password": null })).await;
    let expected = DirectoryCommand::SetPassword { account: AccountId::new(7), password: None };
    assert_eq!(api.commands(), [(GroupId::DIRECTORY, Command::Directory(expected))]);
}

#[tokio::test]
async fn an_app_password_is_made_here_and_shown_once() {
    let made_id = |command: &Command| {
        let id = || Reply::Directory(DirectoryReply::AppPassword(AppPasswordId::new(4)));
        matches!(command, Command::Directory(DirectoryCommand::AddAppPassword { .. })).then(id)
    };
    let api = api(FakeStore::new().replying(made_id));
    let path = format!("{ANN}/app-passwords");
    let (status, made) = api.json(Method::POST, &path, json!({ "label": "phone" })).await;
    assert_eq!((status, &made["id"]), (StatusCode::CREATED, &json!(4)));
    assert!(made["password"].as_str().unwrap().len() >= 20);
    let commands = api.commands();
    let (_, Command::Directory(DirectoryCommand::AddAppPassword { label, verifiers, .. })) = &commands[0] else {
        panic!("{commands:?}")
    };
    assert_eq!(label, "phone");
    assert!(verifiers.argon2id.starts_with("$argon2id$"));
    api.json(Method::DELETE, &format!("{path}/4"), Value::Null).await;
    let expected = DirectoryCommand::RemoveAppPassword { account: AccountId::new(7), id: AppPasswordId::new(4) };
    assert_eq!(api.commands(), [(GroupId::DIRECTORY, Command::Directory(expected))]);
}

#[tokio::test]
async fn an_app_password_that_would_shadow_another_is_drawn_anew() {
    let api = |shadowing: usize| {
        let drawn = std::sync::atomic::AtomicUsize::new(0);
        api(FakeStore::new().replying(move |command| {
            let Command::Directory(DirectoryCommand::AddAppPassword { .. }) = command else { return None };
            let shadows = drawn.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < shadowing;
            let refused = DirectoryReply::Refused(DirectoryRefusal::Exists("one like it".to_owned()));
            let made = DirectoryReply::AppPassword(AppPasswordId::new(4));
            Some(Reply::Directory(if shadows { refused } else { made }))
        }))
    };
    let path = format!("{ANN}/app-passwords");
    let twice = api(2);
    let (status, _) = twice.json(Method::POST, &path, json!({ "label": "phone" })).await;
    assert_eq!((status, twice.commands().len()), (StatusCode::CREATED, 3));
    let always = api(usize::MAX);
    let (status, _) = always.json(Method::POST, &path, json!({ "label": "phone" })).await;
    assert_eq!((status, always.commands().len()), (StatusCode::INTERNAL_SERVER_ERROR, 4));
}

#[tokio::test]
async fn app_passwords_are_listed_without_what_is_kept_of_them() {
    let store = FakeStore::new().answering(|query| {
        let Query::Directory(DirectoryQuery::Credentials(_)) = query else { return None };
        let verifiers =
            securanet_gateway::model::directory::Verifiers { argon2id: "$argon2id$x".to_owned(), scram: None };
        let (id, created) = (AppPasswordId::new(1), UnixMillis::new(9));
        let password =
            securanet_gateway::model::directory::AppPassword { id, label: "phone".to_owned(), created, verifiers };
        let credentials = Credentials { account: ann(), password: None, app_passwords: vec![password] };
        Some(Answer::Directory(DirectoryAnswer::Credentials(Some(Box::new(credentials)))))
    });
    let listed = api(store).get(&format!("{ANN}/app-passwords")).await;
    let expected = json!([{ "id": 1, "label": "phone", "created_unix_millis": 9 }]);
    assert_eq!(listed, (StatusCode::OK, expected));
}
