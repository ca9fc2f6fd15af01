//! Held recipients.

use securanet_gateway::model::{
    AccountId, ReversePath,
    account::AccountRefusal,
    delivery::{HeldKey, HeldRecipient, HeldTo, QueueAnswer, QueueCommand, QueueQuery, QueueReply},
    directory::Cluster,
};

use super::*;

fn key(item: u64, account: u64) -> HeldKey {
    HeldKey { item, target: GroupId::new(3), position: 4, account: AccountId::new(account) }
}

/// Two shards; ann's and a deleted account's mail is held in the second, two of a page.
fn store() -> FakeStore {
    let held = |key| HeldRecipient {
        key,
        refusal: AccountRefusal::NoAccount,
        since: UnixMillis::new(20),
        queued: UnixMillis::new(10),
        sender: ReversePath::Null,
        size_bytes: 300,
    };
    let mut store = FakeStore::new().replying(|command| match command {
        Command::Queue(QueueCommand::Release { held, .. } | QueueCommand::Discard(held)) if held.item == 9 => {
            Some(Reply::Queue(QueueReply::NotHeld))
        }
        Command::Queue(QueueCommand::Release { .. }) => Some(Reply::Queue(QueueReply::Released(1))),
        Command::Queue(QueueCommand::Discard(_)) => Some(Reply::Queue(QueueReply::Discarded)),
        _ => None,
    });
    store.answers = Box::new(move |group, query| {
        Ok(match query {
            Query::Directory(DirectoryQuery::Cluster) => {
                let (id, content_key, login_key) = ([1; 16], [2; 32], [3; 32]);
                Answer::Directory(DirectoryAnswer::Cluster(Some(Cluster { id, content_key, login_key, shards: 2 })))
            }
            Query::Directory(DirectoryQuery::AccountById(id)) => {
                Answer::Directory(DirectoryAnswer::Account((id.get() == 7).then(ann)))
            }
            Query::Queue(QueueQuery::Held { after, .. }) => {
                let all = [key(5, 7), key(6, 8)].into_iter().filter(|key| after.is_none_or(|after| *key > after));
                let here = all.filter(|_| group.get() == 2);
                Answer::Queue(QueueAnswer::Held(here.map(held).collect()))
            }
            other => answer(other),
        })
    });
    store
}

#[tokio::test]
async fn held_recipients_of_all_groups_are_listed_and_the_list_goes_on_where_it_ended() {
    let api = api(store());
    let (status, rows) = api.get("/v1/held").await;
    let row = |id: &str, account: u64, address: Value| {
        json!({
            "id": id, "account": account, "address": address, "refusal": "account is not here",
            "since_unix_millis": 20, "queued_unix_millis": 10, "sender": "<>", "size_bytes": 300,
        })
    };
    let (first, second) = (row("2-5-3-4-7", 7, json!("Ann@example.org")), row("2-6-3-4-8", 8, Value::Null));
    assert_eq!((status, rows), (StatusCode::OK, json!([first, second])));
    assert_eq!(api.get("/v1/held?after=2-5-3-4-7").await.1, json!([second]));
    assert_eq!(api.get("/v1/held?after=2-6-3-4-8").await.1, json!([]));
}

#[tokio::test]
async fn an_operator_releases_or_discards_exactly_what_the_id_says() {
    let api = api(store());
    let released = api.json(Method::POST, "/v1/held/2-5-3-4-7/release", json!({})).await;
    assert_eq!(released, (StatusCode::NO_CONTENT, Value::Null));
    let to = json!({ "to": "ann@example.org" });
    assert_eq!(api.json(Method::POST, "/v1/held/1-6-3-4-8/release", to).await.0, StatusCode::NO_CONTENT);
    assert_eq!(api.json(Method::DELETE, "/v1/held/2-6-3-4-8", Value::Null).await.0, StatusCode::NO_CONTENT);
    let account = AccountRef { id: ann().id, epoch: ann().epoch };
    let instead = Some(HeldTo { group: ann().group, account });
    let expected = [
        (2, QueueCommand::Release { held: key(5, 7), to: None }),
        (1, QueueCommand::Release { held: key(6, 8), to: instead }),
        (2, QueueCommand::Discard(key(6, 8))),
    ];
    assert_eq!(api.commands(), expected.map(|(group, command)| (GroupId::new(group), Command::Queue(command))));
}

#[tokio::test]
async fn what_is_not_held_any_more_or_is_no_id_is_not_found() {
    let api = api(store());
    let (status, error, remedy) = problem(&api.json(Method::DELETE, "/v1/held/2-9-3-4-8", Value::Null).await);
    assert_eq!((status, error.as_str()), (404, "there is no held recipient 2-9-3-4-8"));
    assert!(remedy.is_some_and(|remedy| remedy.contains("list")));
    api.commands();
    let malformed = ["x", "2-5-3-4", "2-5-3-4-7-1", "2-5-4294967296-4-7", "2--5-3-4-7"].map(|id| (id, 422));
    let of_no_queue = ["3-5-3-4-7", "0-5-3-4-7"].map(|id| (id, 404));
    for (id, expected) in malformed.into_iter().chain(of_no_queue) {
        assert_eq!(api.json(Method::DELETE, &format!("/v1/held/{id}"), Value::Null).await.0, expected, "{id}");
    }
    assert_eq!(api.commands(), []);
}
