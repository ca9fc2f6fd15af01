//! Grants of sending and relay grants: what becomes of a request.

use securanet_gateway::model::{
    AccountId,
    directory::DirectoryCommand,
    sending::{Grant, GrantKind, RelayGrant, RelayRecipients},
};

use super::*;

fn grant(kind: GrantKind) -> Grant {
    Grant { account: AccountId::new(7), address: Address::parse("sales@example.org").unwrap(), kind }
}

fn relay(recipients: RelayRecipients) -> RelayGrant {
    RelayGrant {
        name: "printers".to_owned(),
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        certificates: Vec::new(),
        senders: vec![Address::parse("*@example.org").unwrap()],
        recipients,
        recipients_per_hour: 10,
    }
}

#[tokio::test]
async fn requests_become_commands() {
    let grants = "/v1/accounts/ann@example.org/grants";
    let domains = RelayRecipients::Domains(vec![DomainName::parse("partner.example").unwrap()]);
    let new = |domains: Value| {
        json!({ "networks": ["192.0.2.7/24"], "senders": ["*@example.org"], "recipient_domains": domains,
            "recipients_per_hour": 10 })
    };
    let cases = [
        (
            Method::POST,
            grants.to_owned(),
            json!({ "address": "sales@example.org", "kind": "send-as" }),
            DirectoryCommand::GrantSending(grant(GrantKind::SendAs)),
        ),
        (
            Method::DELETE,
            format!("{grants}/on-behalf/sales@example.org"),
            Value::Null,
            DirectoryCommand::RevokeSending(grant(GrantKind::OnBehalf)),
        ),
        (
            Method::PUT,
            "/v1/relays/printers".to_owned(),
            new(Value::Null),
            DirectoryCommand::PutRelay(relay(RelayRecipients::Anybody)),
        ),
        (
            Method::PUT,
            "/v1/relays/printers".to_owned(),
            new(json!(["Partner.example"])),
            DirectoryCommand::PutRelay(relay(domains)),
        ),
        (
            Method::DELETE,
            "/v1/relays/printers".to_owned(),
            Value::Null,
            DirectoryCommand::DeleteRelay { name: "printers".to_owned() },
        ),
    ];
    for (method, path, body, expected) in cases {
        let api = api(FakeStore::new());
        let (status, answer) = api.json(method.clone(), &path, body).await;
        assert!(status.is_success(), "{method} {path}: {status} {answer}");
        assert_eq!(api.commands(), [(GroupId::DIRECTORY, Command::Directory(expected))], "{method} {path}");
    }
}

#[tokio::test]
async fn a_relay_for_half_the_world_is_warned_of() {
    for (network, domains, warned) in [
        ("128.0.0.0/1", Value::Null, true),
        ("2000::/3", Value::Null, true),
        ("10.0.0.0/8", Value::Null, false),
        ("128.0.0.0/1", json!(["partner.example"]), false),
    ] {
        let new = json!({ "networks": [network], "senders": ["*@example.org"], "recipient_domains": domains,
            "recipients_per_hour": 10 });
        let (status, set) = api(FakeStore::new()).json(Method::PUT, "/v1/relays/printers", new).await;
        assert_eq!(status, StatusCode::OK);
        let warnings = set["warnings"].as_array().unwrap();
        assert_eq!(!warnings.is_empty(), warned, "{network}: {set}");
        assert!(warnings.iter().all(|warning| warning.as_str().unwrap().starts_with(network)), "{set}");
    }
}

#[tokio::test]
async fn what_is_no_grant_is_refused() {
    let relay = |network: &str| json!({ "networks": [network], "senders": ["a@b.example"], "recipients_per_hour": 1 });
    for (method, path, body, expected) in [
        (Method::POST, "/v1/accounts/ann@example.org/grants", json!({ "address": "x", "kind": "send-as" }), 422),
        (Method::POST, "/v1/accounts/bob@example.org/grants", json!({ "address": "a@b.c", "kind": "send-as" }), 404),
        (Method::POST, "/v1/accounts/ann@example.org/grants", json!({ "address": "a@b.c", "kind": "be" }), 422),
        (Method::DELETE, "/v1/accounts/ann@example.org/grants/be/a@b.c", Value::Null, 400),
        (Method::PUT, "/v1/relays/x", relay("192.0.2.0/33"), 422),
    ] {
        let api = api(FakeStore::new());
        let (status, answer) = api.json(method, path, body).await;
        assert_eq!(status.as_u16(), expected, "{path}: {answer}");
        assert!(api.commands().is_empty());
    }
}
