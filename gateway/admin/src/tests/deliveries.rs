//! What of a Message-ID is in mailboxes.

use securanet_gateway::model::{
    Flags, MailboxId, MailboxName, ModSeq, ThreadId, Uid, UidValidity,
    account::{MailboxInfo, Message, MessageState, UidSet},
    directory::{LocalRecipient, Resolution},
    record,
    summary::{Envelope, Summary},
};

use super::*;

const PATH: &str = "/v1/deliveries?to=info@example.org&message_id=";

fn inbox(uid_next: u32) -> MailboxInfo {
    MailboxInfo {
        id: MailboxId::new(4),
        name: MailboxName::inbox(),
        special_use: None,
        subscribed: true,
        uid_validity: UidValidity::new(1),
        uid_next: Uid::new(uid_next),
        highest_modseq: ModSeq::new(9),
        messages: 3,
        unseen: 1,
        deleted: 0,
        size_bytes: 77,
        deleted_size_bytes: 0,
        horizon: ModSeq::new(1),
        keywords: Vec::new(),
    }
}

/// Message 1 and the newest have the id `<a@b>`, number 2 none.
fn message(uid: u32) -> Message {
    let message_id = (uid != 2).then(|| b" <a@b>".to_vec());
    let summary = Summary { envelope: Envelope { message_id, ..Envelope::default() }, ..Summary::default() };
    Message {
        state: MessageState {
            uid: Uid::new(uid),
            modseq: ModSeq::new(1),
            flags: Flags::default(),
            email: EmailId::new(uid.into()),
        },
        thread: ThreadId::new(1),
        size_bytes: 30,
        prefix_size_bytes: 0,
        internal_date: UnixMillis::new(1000),
        saved_date: UnixMillis::new(2000),
        summary: Some(Sealed::plain(1, record::encode(&summary))),
    }
}

/// ann has an INBOX with the messages 1, 2 and `newest`; info@ is hers, nobody@ is nobody's.
fn store(newest: u32) -> FakeStore {
    let store = FakeStore::new().answering(move |query| {
        let within = |uids: &UidSet| {
            let all = [1, 2, newest].into_iter().filter(|&uid| uids.contains(Uid::new(uid)));
            all.map(message).collect()
        };
        Some(match query {
            Query::Directory(DirectoryQuery::Resolve(address)) => {
                let account = LocalRecipient {
                    account: ann().id,
                    tenant: ann().tenant,
                    domain: ann().domain,
                    group: ann().group,
                    epoch: ann().epoch,
                    address: ann().address,
                    folder: None,
                    list_owner: None,
                };
                let known = address.local() == "info";
                let found = if known { Resolution::Local(vec![account].into()) } else { Resolution::Unknown };
                Answer::Directory(DirectoryAnswer::Resolution(found))
            }
            Query::Account(_, AccountQuery::Mailboxes) => {
                Answer::Account(AccountAnswer::Mailboxes(vec![inbox(newest + 1)]))
            }
            Query::Account(_, AccountQuery::Messages { uids, with_summary: true, .. }) => {
                Answer::Account(AccountAnswer::Messages(within(uids)))
            }
            other => panic!("{other:?}"),
        })
    });
    *store.content.lock().unwrap() =
        b"Return-Path: <s@x>\r\nDelivered-To: info@example.org\r\nReceived: from a\r\n\tby b\r\n\r\ntext".to_vec();
    store
}

#[tokio::test]
async fn each_message_tells_how_it_came_newest_first() {
    let (status, answer) = api(store(700)).get(&format!("{PATH}a@b")).await;
    assert_eq!((status, &answer["complete"]), (StatusCode::OK, &json!(true)));
    let rows = answer["found"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["uid"].as_u64().unwrap()).collect::<Vec<_>>(), [700, 1]);
    let expected = json!({
        "account": "Ann@example.org", "mailbox": "INBOX", "uid": 700, "size_bytes": 30, "saved_unix_millis": 2000,
        "return_path": "<s@x>", "delivered_to": "info@example.org", "received": "from a by b",
    });
    assert_eq!(rows[0], expected);
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_not_looked_at_and_that_is_said() {
    let (status, answer) = api(store(9000)).get(&format!("{PATH}%3Ca@b%3E")).await;
    assert_eq!((status, &answer["complete"]), (StatusCode::OK, &json!(false)));
    assert_eq!(answer["found"].as_array().unwrap().len(), 1, "{answer}");
}

#[tokio::test]
async fn nothing_found_says_what_to_do() {
    let api = api(store(3));
    let cases = [format!("{PATH}c@d"), "/v1/deliveries?to=nobody@example.org&message_id=a@b".to_owned()];
    for path in cases {
        let (status, _, remedy) = problem(&api.get(&path).await);
        assert_eq!((status, remedy.is_some()), (404, true), "{path}");
    }
    assert_eq!(problem(&api.get("/v1/deliveries?to=nobody&message_id=a@b").await).0, 422);
}
