//! Import, export and mailboxes.

use futures::stream;
use securanet_gateway::model::{
    Flags, KeyedHash, Keyword, MailboxId, MailboxName, ModSeq, SystemFlags, ThreadId, Uid, UidValidity,
    account::{AccountCommand, AccountRefusal, AccountReply, MailboxInfo, Message, MessageState, UidMap, UidSet},
};

use super::*;

const MESSAGES: &str = "/v1/accounts/ann@example.org/messages";

fn inbox() -> MailboxInfo {
    MailboxInfo {
        id: MailboxId::new(4),
        name: MailboxName::inbox(),
        special_use: None,
        subscribed: true,
        uid_validity: UidValidity::new(1),
        uid_next: Uid::new(3),
        highest_modseq: ModSeq::new(9),
        messages: 2,
        unseen: 1,
        deleted: 0,
        size_bytes: 77,
        deleted_size_bytes: 0,
        horizon: ModSeq::new(1),
        keywords: Vec::new(),
    }
}

fn state(uid: u32) -> MessageState {
    let keyword = Keyword::parse("$Work").unwrap();
    let flags = Flags::new(SystemFlags::SEEN.union(SystemFlags::FLAGGED), [keyword]);
    MessageState { uid: Uid::new(uid), modseq: ModSeq::new(1), flags, email: EmailId::new(u64::from(uid)) }
}

/// An INBOX with the messages 1 and 2.
fn store() -> FakeStore {
    let store = FakeStore::new().answering(|query| {
        let Query::Account(_, query) = query else { return None };
        Some(Answer::Account(match query {
            AccountQuery::Mailboxes => AccountAnswer::Mailboxes(vec![inbox()]),
            AccountQuery::MailboxByName(name) => AccountAnswer::Mailbox(name.is_inbox().then(|| Box::new(inbox()))),
            AccountQuery::States { uids, .. } => AccountAnswer::States(within(uids)),
            AccountQuery::Messages { uids, .. } => {
                AccountAnswer::Messages(within(uids).into_iter().map(message).collect())
            }
            other => panic!("{other:?}"),
        }))
    });
    store.replying(|command| {
        let Command::Account(_, AccountCommand::Import { key, .. }) = command else { return None };
        // One key is known already.
        let known = *key == key_of("known");
        let to = if known { Vec::new() } else { vec![Uid::new(3)] };
        Some(Reply::Account(AccountReply::Uids(UidMap { uid_validity: None, from: Vec::new(), to })))
    })
}

fn within(uids: &UidSet) -> Vec<MessageState> {
    (1..=2).filter(|&uid| uids.contains(Uid::new(uid))).map(state).collect()
}

fn message(state: MessageState) -> Message {
    Message {
        state,
        thread: ThreadId::new(1),
        size_bytes: 30,
        prefix_size_bytes: 0,
        internal_date: UnixMillis::new(1000),
        saved_date: UnixMillis::new(2000),
        summary: None,
    }
}

/// The key as the shard is told it, computed here by its definition.
fn key_of(key: &str) -> KeyedHash {
    let text = format!("import\0{}\0INBOX\0{key}", 7);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    KeyedHash(digest.as_ref()[..16].try_into().unwrap())
}

#[tokio::test]
async fn a_message_is_imported_with_its_flags_and_date() {
    let api = api(store());
    let path =
        format!(r"{MESSAGES}?mailbox=INBOX&key=k1&flags=%5CSeen%20%5Cflagged%20$Work&internal_date_unix_millis=5");
    // In pieces, the border of a line among them.
    let pieces = ["From: a\r", "\n\r\nhello", "\r\n"].map(|piece| Ok::<_, std::io::Error>(Bytes::from(piece)));
    let (status, body) = api.raw(Method::POST, &path, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!((status, &body[..]), (StatusCode::CREATED, &br#"{"uid":3}"#[..]));
    assert_eq!(*api.store.content.lock().unwrap(), b"From: a\r\n\r\nhello\r\n");
    let commands = api.commands();
    let [(group, Command::Account(_, AccountCommand::Import { mailbox, message, key }))] = commands.as_slice() else {
        panic!("{commands:?}")
    };
    assert_eq!((*group, *mailbox, *key), (GroupId::new(2), MailboxId::new(4), key_of("k1")));
    assert_eq!(message.flags, state(1).flags);
    assert_eq!(message.message.internal_date, Some(UnixMillis::new(5)));
}

#[tokio::test]
async fn an_import_that_was_done_before_is_no_error_and_no_message() {
    let api = api(store());
    let (status, body) = api.raw(Method::POST, &format!("{MESSAGES}?mailbox=INBOX&key=known"), "a\r\n").await;
    assert_eq!((status, &body[..]), (StatusCode::OK, &br#"{"uid":null}"#[..]));
}

#[tokio::test]
async fn what_is_no_message_is_refused_before_it_is_kept() {
    let api = api(store());
    let long_key = format!("mailbox=INBOX&key={}", "k".repeat(257));
    let cases: [(&str, &[u8], u16); 9] = [
        ("mailbox=INBOX&key=k", b"a\nb", 422),
        ("mailbox=INBOX&key=k", b"a\rb", 422),
        ("mailbox=INBOX&key=k", b"a\0b", 422),
        ("mailbox=INBOX&key=", b"a\r\n", 422),
        (&long_key, b"a\r\n", 422),
        ("mailbox=INBOX", b"a\r\n", 400),
        ("mailbox=Nowhere&key=k", b"a\r\n", 404),
        ("mailbox=a//b&key=k", b"a\r\n", 422),
        ("mailbox=INBOX&key=k&flags=%5COdd", b"a\r\n", 422),
    ];
    for (query, message, expected) in cases {
        let (status, body) = api.raw(Method::POST, &format!("{MESSAGES}?{query}"), message).await;
        let answer = (status, serde_json::from_slice(&body).unwrap());
        assert_eq!(problem(&answer).0, expected, "{query} {message:?}");
    }
    assert_eq!(api.commands(), []);
}

#[tokio::test]
async fn a_message_may_be_larger_than_json_and_not_larger_than_the_limit() {
    let path = format!("{MESSAGES}?mailbox=INBOX&key=k");
    let (status, _) = api(store()).raw(Method::POST, &path, vec![b'a'; LIMIT_BYTES]).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, body) = api(store()).raw(Method::POST, &path, vec![b'a'; LIMIT_BYTES + 1]).await;
    let (status, _, remedy) = problem(&(status, serde_json::from_slice(&body).unwrap()));
    assert_eq!((status, remedy.is_some()), (413, true));
}

#[tokio::test]
async fn over_quota_says_so() {
    let store = store().replying(|_| Some(Reply::Account(AccountReply::Refused(AccountRefusal::OverQuota))));
    let (status, body) = api(store).raw(Method::POST, &format!("{MESSAGES}?mailbox=INBOX&key=k"), "a\r\n").await;
    assert_eq!(problem(&(status, serde_json::from_slice(&body).unwrap())).0, 507);
}

#[tokio::test]
async fn messages_are_listed_behind_a_uid_to_the_empty_list() {
    let api = api(store());
    let (_, rows) = api.get(&format!("{MESSAGES}?mailbox=inbox")).await;
    let first = json!({
        "uid": 1, "size_bytes": 30, "internal_date_unix_millis": 1000, "flags": ["\\Flagged", "\\Seen", "$Work"],
    });
    assert_eq!(rows[0], first);
    for (after, expected) in [(0, 2), (1, 1), (2, 0), (u32::MAX, 0)] {
        let (_, rows) = api.get(&format!("{MESSAGES}?mailbox=INBOX&after_uid={after}")).await;
        assert_eq!(rows.as_array().unwrap().len(), expected, "behind {after}");
    }
}

#[tokio::test]
async fn a_message_is_exported_octet_by_octet() {
    let api = api(store());
    let content: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).take(700_001).collect();
    api.store.content.lock().unwrap().clone_from(&content);
    let response = request(Method::GET, &format!("{MESSAGES}/2?mailbox=INBOX"), Body::empty());
    let response = api.router.clone().oneshot(response).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_LENGTH], "700001");
    assert_eq!(response.headers()[header::CONTENT_TYPE], "message/rfc822");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), content);
    assert_eq!(problem(&api.get(&format!("{MESSAGES}/9?mailbox=INBOX")).await).0, 404);
}

#[tokio::test]
async fn mailboxes_are_listed_made_renamed_and_deleted() {
    let api = api(store());
    let path = "/v1/accounts/ann@example.org/mailboxes";
    let (_, rows) = api.get(path).await;
    let shown = json!([{
        "name": "INBOX", "special_use": null, "messages": 2, "unseen": 1, "size_bytes": 77,
        "uid_validity": 1, "uid_next": 3,
    }]);
    assert_eq!(rows, shown);
    let name = |text: &str| MailboxName::parse(text).unwrap();
    let nested = format!("{path}/Work%2FOld%20one");
    let create = AccountCommand::CreateMailbox { name: name("Work/Old one"), special_use: None };
    let rename = AccountCommand::RenameMailbox { from: name("Work/Old one"), to: name("Older") };
    let delete = AccountCommand::DeleteMailbox { name: name("Work/Old one") };
    let cases = [
        (Method::POST, path, json!({ "name": "Work/Old one" }), create),
        (Method::PATCH, &nested, json!({ "name": "Older" }), rename),
        (Method::DELETE, &nested, Value::Null, delete),
    ];
    for (method, path, body, expected) in cases {
        let (status, answer) = api.json(method.clone(), path, body).await;
        assert!(status.is_success(), "{method} {path}: {answer}");
        let account = AccountRef { id: ann().id, epoch: ann().epoch };
        assert_eq!(api.commands(), [(GroupId::new(2), Command::Account(account, expected))]);
    }
}
