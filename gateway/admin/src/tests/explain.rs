//! Which policies hold between a sender and a recipient.

use securanet_gateway::model::policy::{CATALOGUE, Scope};

use super::*;

/// The account, the cluster and nobody have each set one value.
fn store() -> FakeStore {
    FakeStore::new().answering(|query| match query {
        Query::Directory(DirectoryQuery::Policy(key, scope)) => {
            let holds = match (key.as_str(), scope) {
                ("queue.retry_after", Scope::Account(_)) => ("1m".to_owned(), Some(*scope)),
                ("queue.retry_after", Scope::Cluster) => ("5m".to_owned(), Some(Scope::Cluster)),
                ("smtp.subaddress_folder", Scope::Account(_)) => {
                    ("false".to_owned(), Some(Scope::Domain(DomainId::new(3))))
                }
                _ => ("as shipped".to_owned(), None),
            };
            Some(Answer::Directory(DirectoryAnswer::Policy(Some(holds))))
        }
        _ => None,
    })
}

#[tokio::test]
async fn each_policy_goes_by_whom_it_is_about() {
    let (ours, foreign) = ("ann@example.org", "bob@remote.example");
    // Key; value, scope and whose, for mail out, in, and through (a report).
    let cases = [
        (
            "queue.retry_after",
            Some(("1m", "account 7", "sender")),
            Some(("5m", "cluster", "all mail")),
            Some(("5m", "cluster", "all mail")),
        ),
        (
            "queue.warn_after",
            Some(("as shipped", "default", "sender")),
            Some(("as shipped", "default", "all mail")),
            Some(("as shipped", "default", "all mail")),
        ),
        ("submission.messages_per_hour", Some(("as shipped", "default", "sender")), None, None),
        ("account.app_passwords", Some(("as shipped", "default", "sender")), None, None),
        ("smtp.subaddress_folder", None, Some(("false", "domain 3", "recipient")), None),
    ];
    let api = api(store());
    for (at, (sender, recipient)) in [(ours, foreign), (foreign, ours), ("%3C%3E", foreign)].into_iter().enumerate() {
        let (status, rows) = api.get(&format!("/v1/policies/explain?sender={sender}&recipient={recipient}")).await;
        assert_eq!(status, StatusCode::OK, "{rows}");
        for (key, out, incoming, through) in cases {
            let expected = [out, incoming, through][at];
            let row = rows.as_array().unwrap().iter().find(|row| row["key"] == key);
            let shown = row.map(|row| ["value", "scope", "of"].map(|field| row[field].as_str().unwrap().to_owned()));
            let expected = expected.map(|(value, scope, of)| [value, scope, of].map(str::to_owned));
            assert_eq!(shown, expected, "{key} from {sender} to {recipient}");
            let default = CATALOGUE.iter().find(|policy| policy.key == key).unwrap().default;
            assert!(row.is_none_or(|row| row["default"] == default), "{key}");
        }
    }
}

#[tokio::test]
async fn mail_within_the_house_goes_by_the_whole_catalogue() {
    let address = "ann@example.org";
    let (_, rows) = api(store()).get(&format!("/v1/policies/explain?sender={address}&recipient={address}")).await;
    assert_eq!(rows.as_array().unwrap().len(), CATALOGUE.len());
}

#[tokio::test]
async fn a_recipient_at_a_host_without_a_name_is_none_of_ours() {
    let path = "/v1/policies/explain?sender=ann@example.org&recipient=fax@%5B192.0.2.9%5D";
    let (status, rows) = api(store()).get(path).await;
    assert_eq!(status, StatusCode::OK, "{rows}");
    let keys: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["key"].as_str().unwrap()).collect();
    assert!(keys.contains(&"submission.address_literals") && !keys.contains(&"smtp.subaddress_folder"), "{keys:?}");
}

#[tokio::test]
async fn what_is_no_address_is_refused() {
    let answer = api(store()).get("/v1/policies/explain?sender=ann&recipient=bob@remote.example").await;
    assert_eq!(problem(&answer).0, 422);
}
