//! Keys that sign: what becomes of a request, and that no answer has a private key.

use base64::{Engine, engine::general_purpose::STANDARD};
use securanet_gateway::{
    model::{
        directory::DirectoryCommand,
        dkim::{DkimAlgorithm, DkimKey, DkimState, PrivateKey},
    },
    signing::SigningKey,
};

use super::*;

fn stored(selector: &str, algorithm: DkimAlgorithm, state: DkimState, private: PrivateKey) -> DkimKey {
    let created = UnixMillis::new(1_700_000_000_000);
    let domain = DomainName::parse("example.org").unwrap();
    DkimKey { domain, selector: selector.parse().unwrap(), algorithm, private, state, created }
}

/// A store whose domain has these keys, and each that is put.
fn store(keys: Vec<DkimKey>) -> FakeStore {
    let keys = Arc::new(Mutex::new(keys));
    let listed = keys.clone();
    FakeStore::new()
        .answering(move |query| match query {
            Query::Directory(DirectoryQuery::DkimKeys(_)) => {
                Some(Answer::Directory(DirectoryAnswer::DkimKeys(listed.lock().unwrap().clone())))
            }
            _ => None,
        })
        .replying(move |command| {
            if let Command::Directory(DirectoryCommand::PutDkimKey { selector, algorithm, private, .. }) = command {
                let new = stored(selector.as_str(), *algorithm, DkimState::Published, private.clone());
                keys.lock().unwrap().push(new);
            }
            Some(Reply::Directory(DirectoryReply::Done))
        })
}

#[tokio::test]
async fn a_key_is_made_and_its_record_is_shown() {
    for (name, prefix) in [("rsa-sha256", "v=DKIM1; k=rsa;"), ("ed25519-sha256", "v=DKIM1; k=ed25519;")] {
        let api = api(store(Vec::new()));
        let new = json!({ "selector": "S1", "algorithm": name });
        let (status, made) = api.json(Method::POST, "/v1/domains/example.org/dkim", new).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        assert_eq!(
            (&made["selector"], &made["algorithm"], &made["state"]),
            (&json!("s1"), &json!(name), &json!("published"))
        );
        assert_eq!(made["record_name"], "s1._domainkey.example.org");
        let value = made["record_value"].as_str().unwrap();
        assert!(value.starts_with(prefix), "{value}");
        let line = made["zone_line"].as_str().unwrap();
        let strings = line.strip_prefix("s1._domainkey.example.org. IN TXT \"").unwrap().strip_suffix('"').unwrap();
        assert_eq!(strings.replace("\" \"", ""), value);
        assert!(strings.split("\" \"").all(|string| string.len() <= 255), "{line}");

        let commands = api.commands();
        let [(GroupId::DIRECTORY, Command::Directory(DirectoryCommand::PutDkimKey { private, .. }))] = &commands[..]
        else {
            panic!("{commands:?}")
        };
        let secret = STANDARD.encode(private.pkcs8());
        let (_, listed) = api.json(Method::GET, "/v1/domains/example.org/dkim", Value::Null).await;
        assert_eq!(listed[0], made);
        // The public part of an Ed25519 key stands in its PKCS#8; the seed must not be anywhere.
        assert!(!listed.to_string().contains(&secret[secret.len() / 2..secret.len() / 2 + 20]), "{listed}");
    }
}

#[tokio::test]
async fn states_change_and_a_key_that_signs_stays() {
    let key = |state| {
        let private = SigningKey::generate(DkimAlgorithm::Ed25519Sha256).unwrap();
        stored("s", DkimAlgorithm::Ed25519Sha256, state, private)
    };
    let path = "/v1/domains/example.org/dkim/s";
    let api = api(store(vec![key(DkimState::Active)]));
    let answer = api.json(Method::DELETE, path, Value::Null).await;
    let (status, error, remedy) = problem(&answer);
    assert_eq!((status, error.as_str(), remedy.is_some()), (409, "key s signs the mail of example.org", true));
    let (status, _) = api.json(Method::PATCH, path, json!({ "state": "retired" })).await;
    assert_eq!(status, StatusCode::OK);
    let domain = || DomainName::parse("example.org").unwrap();
    let retire =
        DirectoryCommand::SetDkimState { domain: domain(), selector: "s".parse().unwrap(), state: DkimState::Retired };
    assert_eq!(api.commands(), [(GroupId::DIRECTORY, Command::Directory(retire))]);

    let api = super::api(store(vec![key(DkimState::Retired)]));
    let (status, _) = api.json(Method::DELETE, path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let delete = DirectoryCommand::DeleteDkimKey { domain: domain(), selector: "s".parse().unwrap() };
    assert_eq!(api.commands(), [(GroupId::DIRECTORY, Command::Directory(delete))]);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let api = api(store(Vec::new()));
    let cases = [
        (Method::GET, "/v1/domains/example.net/dkim", Value::Null, 404),
        (Method::POST, "/v1/domains/example.org/dkim", json!({ "selector": "a b", "algorithm": "rsa-sha256" }), 422),
        (Method::POST, "/v1/domains/example.org/dkim", json!({ "selector": "a", "algorithm": "rsa-sha1" }), 422),
        (Method::DELETE, "/v1/domains/example.org/dkim/none", Value::Null, 404),
    ];
    for (method, path, body, expected) in cases {
        let (status, answer) = api.json(method.clone(), path, body).await;
        assert_eq!(status.as_u16(), expected, "{method} {path}: {answer}");
    }
    assert_eq!(api.commands(), []);
}
