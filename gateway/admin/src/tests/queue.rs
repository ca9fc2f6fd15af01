//! The outbound queue over HTTP: what is shown, and which commands an operator's word becomes.

use securanet_gateway::model::{
    RecipientAddress, ReversePath,
    directory::Cluster,
    outbound::{
        Action, Attempt, EnvelopeOptions, Filter, ItemView, Notify, Origin, OutboundAnswer, OutboundCommand,
        OutboundQuery, OutboundRecipient, OutboundReply, Outcome, Place, RecipientView, State as RecipientState,
    },
};

use super::*;

const SHARDS: u32 = 2;
/// Given out three milliseconds into 1970.
const LOG_ID: &str = "00000000-0003-7abc-8def-0123456789ab";

fn recipient(position: u32, address: &str, state: RecipientState) -> RecipientView {
    let address = Address::parse(address).unwrap();
    let tried = Attempt {
        at: UnixMillis::new(5),
        took_millis: 70,
        outcome: Outcome::TemporaryAnswer,
        status: (4, 7, 1),
        host: Some("mx.remote.example [192.0.2.1]:25".to_owned()),
        tls: Some("TLSv1.3".to_owned()),
        answer: "450 4.7.1 greylisted".to_owned(),
        answer_is_remote: true,
    };
    RecipientView {
        position,
        recipient: OutboundRecipient {
            destination: address.domain().as_str().to_owned(),
            address: address.into(),
            notify: Notify::Default,
            original: None,
        },
        state,
        attempts: 1,
        failures: 1,
        uncertain: 0,
        delay_told: false,
        delay_due: None,
        end_told: false,
        history: vec![tried],
    }
}

fn item(number: u64) -> ItemView {
    ItemView {
        item: number,
        queued: UnixMillis::new(number),
        sender: ReversePath::Address(ann().address),
        options: EnvelopeOptions::default(),
        origin: Origin::Account(ann().id),
        message_id: Some("<one@example.org>".to_owned()),
        trace_id: LOG_ID.to_owned(),
        size_bytes: 99,
        recipients: vec![
            recipient(0, "bob@remote.example", RecipientState::Waiting { due: UnixMillis::new(9) }),
            recipient(1, "cid@other.example", RecipientState::Held),
            recipient(2, "dan@remote.example", RecipientState::Delivered),
        ],
    }
}

/// Group 1 has the items 7 and 3 on two pages, group 2 has none.
fn answer_queue(query: &Query) -> Option<Answer> {
    let outbound = |answer| Some(Answer::Outbound(answer));
    match query {
        Query::Directory(DirectoryQuery::Cluster) => {
            let facts = Cluster { id: [0; 16], content_key: [0; 32], login_key: [0; 32], shards: SHARDS };
            Some(Answer::Directory(DirectoryAnswer::Cluster(Some(facts))))
        }
        Query::Outbound(OutboundQuery::Item(number)) => {
            outbound(OutboundAnswer::Item((*number == 7).then(|| Box::new(item(7)))))
        }
        Query::Outbound(OutboundQuery::Items { before, .. }) => outbound(match before {
            None => OutboundAnswer::Items(vec![item(7)], Some(7)),
            Some(7) => OutboundAnswer::Items(Vec::new(), Some(5)),
            Some(5) => OutboundAnswer::Items(vec![item(3)], None),
            other => panic!("a page that is not there: {other:?}"),
        }),
        Query::Outbound(OutboundQuery::ByMessageId(id)) => {
            let items = if id == "<one@example.org>" { vec![item(7)] } else { Vec::new() };
            outbound(OutboundAnswer::Items(items, None))
        }
        _ => None,
    }
}

fn queue() -> Fixture {
    queue_of_node(Some(vec!["backup".to_owned()]))
}

fn queue_of_node(routes: Option<Vec<String>>) -> Fixture {
    let done = |command: &Command| match command {
        Command::Outbound(OutboundCommand::Operate { places, .. }) => {
            let done = places.iter().map(|place| place.position == 0).collect();
            Some(Reply::Outbound(OutboundReply::Operated(done)))
        }
        _ => None,
    };
    api_of_node(FakeStore::new().answering(answer_queue).replying(done), routes)
}

/// Group, places (item and position), and what was to be done.
type Word = (u32, Vec<(u64, u32)>, Action);

fn operated(fixture: &Fixture) -> Vec<Word> {
    let commands = fixture.commands().into_iter();
    let of = |place: &Place| (place.item, place.position);
    commands
        .map(|(group, command)| match command {
            Command::Outbound(OutboundCommand::Operate { places, action }) => {
                (group.get(), places.iter().map(of).collect(), action)
            }
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn the_queue_is_listed_over_pages_and_groups() {
    let (status, page) = queue().get("/v1/queue").await;
    assert_eq!(status, StatusCode::OK);
    let ids: Vec<_> = page["items"].as_array().unwrap().iter().map(|item| item["id"].clone()).collect();
    assert_eq!(ids, ["1-7", "1-3", "2-7", "2-3"]);
    assert_eq!(page["next"], Value::Null);
    let (_, page) = queue().get("/v1/queue?after=2-5").await;
    assert_eq!(page["items"][0]["id"], "2-3");
}

#[tokio::test]
async fn a_filter_reaches_the_queue() {
    let store = FakeStore::new().answering(|query| {
        if let Query::Outbound(OutboundQuery::Items { filter, .. }) = query {
            let expected = Filter {
                destination: Some("remote.example".to_owned()),
                sender: Some(ReversePath::Null),
                recipient: Some(RecipientAddress::parse("bob@remote.example").unwrap()),
                ended: true,
            };
            assert_eq!(*filter, expected);
            return Some(Answer::Outbound(OutboundAnswer::Items(Vec::new(), None)));
        }
        answer_queue(query)
    });
    let path = "/v1/queue?destination=remote.example&sender=%3C%3E&recipient=bob@remote.example&ended=true";
    assert_eq!(api(store).get(path).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_recipient_at_a_host_without_a_name_can_be_asked_for() {
    let store = FakeStore::new().answering(|query| {
        if let Query::Outbound(OutboundQuery::Items { filter, .. }) = query {
            assert_eq!(filter.recipient, Some(RecipientAddress::parse("fax@[192.0.2.9]").unwrap()));
            return Some(Answer::Outbound(OutboundAnswer::Items(Vec::new(), None)));
        }
        answer_queue(query)
    });
    assert_eq!(api(store).get("/v1/queue?recipient=Fax@%5B192.0.2.9%5D").await.0, StatusCode::OK);
}

#[tokio::test]
async fn an_item_is_shown_with_the_remotes_words() {
    let (status, shown) = queue().get("/v1/queue/1-7").await;
    assert_eq!((status, &shown["sender"]), (StatusCode::OK, &json!("<Ann@example.org>")));
    let bob = &shown["recipients"][0];
    assert_eq!((&bob["state"], &bob["due_unix_millis"]), (&json!("waiting"), &json!(9)));
    let attempt = json!({
        "at_unix_millis": 5, "took_millis": 70, "outcome": "refused for now", "status": "4.7.1",
        "host": "mx.remote.example [192.0.2.1]:25", "tls": "TLSv1.3",
        "answer": "450 4.7.1 greylisted", "answer_is_remote": true,
    });
    assert_eq!(bob["history"], json!([attempt]));
    assert_eq!(problem(&queue().get("/v1/queue/1-8").await).0, 404);
    assert_eq!(problem(&queue().get("/v1/queue/99-1").await).0, 404);
    assert_eq!(problem(&queue().get("/v1/queue/seven").await).0, 422);
    assert_eq!(problem(&queue().get("/v1/queue/0-7").await).0, 422);
}

#[tokio::test]
async fn a_message_is_traced_with_or_without_its_brackets_and_by_its_log_id() {
    for id in ["%3Cone@example.org%3E", "one@example.org", LOG_ID, &LOG_ID.to_uppercase()] {
        let (status, shown) = queue().get(&format!("/v1/trace?message_id={id}")).await;
        assert_eq!((status, &shown[0]["id"]), (StatusCode::OK, &json!("1-7")), "{id}");
    }
    assert_eq!(problem(&queue().get("/v1/trace?message_id=two@example.org").await).0, 404);
}

#[tokio::test]
async fn an_operators_word_reaches_the_recipients_that_are_meant() {
    let fixture = queue();
    let word = json!({ "action": "cancel", "id": "1-7" });
    let (status, answer) = fixture.json(Method::POST, "/v1/queue", word).await;
    assert_eq!((status, answer), (StatusCode::OK, json!({ "changed": 1, "unchanged": 1 })));
    assert_eq!(operated(&fixture), [(1, vec![(7, 0), (7, 1)], Action::Cancel)], "those without an end");

    let word = json!({ "action": "reroute", "to": "route:backup", "destination": "remote.example" });
    let (_, answer) = fixture.json(Method::POST, "/v1/queue", word).await;
    assert_eq!(answer, json!({ "changed": 4, "unchanged": 0 }));
    let to_backup = || Action::Reroute("route:backup".to_owned());
    let expected = [(1, 7), (1, 3), (2, 7), (2, 3)].map(|(group, item)| (group, vec![(item, 0)], to_backup()));
    assert_eq!(operated(&fixture), expected);
}

#[tokio::test]
async fn a_word_that_means_nothing_or_everything_by_mistake_is_refused() {
    let cases = [
        json!({ "action": "hold" }),
        json!({ "action": "explode", "all": true }),
        json!({ "action": "reroute", "all": true }),
        json!({ "action": "reroute", "to": "x y", "all": true }),
        json!({ "action": "reroute", "to": "route:a b", "all": true }),
        json!({ "action": "reroute", "to": "[192.0.2.9]", "all": true }),
        json!({ "action": "hold", "recipient": "fax@[2001:db8::9]" }),
        json!({ "action": "hold", "to": "x.example", "all": true }),
    ];
    for word in cases {
        let fixture = queue();
        assert_eq!(problem(&fixture.json(Method::POST, "/v1/queue", word.clone()).await).0, 422, "{word}");
        assert_eq!(operated(&fixture), []);
    }
    let fixture = queue();
    let (status, _) = fixture.json(Method::POST, "/v1/queue", json!({ "action": "hold", "all": true })).await;
    assert_eq!((status, operated(&fixture).len()), (StatusCode::OK, 4));
}

#[tokio::test]
async fn a_route_that_nobody_has_is_refused_where_that_is_known() {
    let word = |to: &str| json!({ "action": "reroute", "to": to, "destination": "remote.example" });
    let two = vec!["backup".to_owned(), "partner".to_owned()];
    for (routes, to, error, remedy) in [
        (two, "route:backpu", "this node has no route \"backpu\"", "it has route:backup, route:partner"),
        (Vec::new(), "route:backup", "this node has no route \"backup\"", "add one to delivery.routing.routes"),
    ] {
        let api = queue_of_node(Some(routes));
        let (status, said, advice) = problem(&api.json(Method::POST, "/v1/queue", word(to)).await);
        assert!(status == 422 && said.contains(error), "{said}");
        assert!(advice.as_deref().is_some_and(|advice| advice.contains(remedy)), "{advice:?}");
        assert!(operated(&api).is_empty());
    }
    // A node that delivers nothing cannot know, and says so.
    for (to, is_warned) in [("route:backpu", true), ("other.example", false)] {
        let api = queue_of_node(None);
        let (status, answer) = api.json(Method::POST, "/v1/queue", word(to)).await;
        assert_eq!((status, answer["warning"].is_string()), (StatusCode::OK, is_warned), "{answer}");
        assert!(!operated(&api).is_empty());
    }
}
