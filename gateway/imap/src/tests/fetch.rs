//! RFC 9051 6.4.5 and 7.5.2, RFC 3501 6.4.5, RFC 3516, RFC 8474, RFC 8514, RFC 8970: FETCH.

use securanet_gateway::model::{
    Uid,
    account::{AccountCommand, UidSet},
};

use super::{Server, store::PREFIX};

const SIMPLE: &str = "Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Ann <ann@example.org>\r\nTo: bob@example.net\r\n\
    Subject: \"quoted\"\r\nMessage-ID: <1@example.org>\r\n\r\nHello\r\nworld\r\n";

const NESTED: &str = "Subject: outer\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
    Content-Type: text/plain\r\n\r\none\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ndeep\r\n\
    --b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\nAwQ=\r\n--b\r\n\
    Content-Type: text/plain\r\nContent-Transfer-Encoding: x-odd\r\n\r\n?\r\n--b--\r\n";

#[tokio::test]
async fn rfc_9051_7_5_2_items_of_the_row_and_of_the_summary() {
    let server = Server::new();
    server.store.deliver(SIMPLE);
    let mut client = server.inbox().await;
    let size = PREFIX.len() + SIMPLE.len();
    client
        .check(
            "FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ EMAILID THREADID SAVEDATE PREVIEW)",
            &[
                &format!(
                    "* 1 FETCH (UID 1 FLAGS (\\Recent) INTERNALDATE \"14-Nov-2023 22:13:20 +0000\" RFC822.SIZE {size} \
                     MODSEQ (2) EMAILID (M7-1) THREADID (T7-1) SAVEDATE \"14-Nov-2023 22:15:00 +0000\" \
                     PREVIEW \"a preview\")"
                ),
                "OK Fetched",
            ],
        )
        .await;
    client
        .check(
            "FETCH 1 (ENVELOPE BODY BODYSTRUCTURE)",
            &[
                "* 1 FETCH (ENVELOPE (\"Mon, 7 Feb 1994 21:52:25 -0800\" \"\\\"quoted\\\"\" \
                 ((\"Ann\" NIL \"ann\" \"example.org\")) ((\"Ann\" NIL \"ann\" \"example.org\")) \
                 ((\"Ann\" NIL \"ann\" \"example.org\")) ((NIL NIL \"bob\" \"example.net\")) NIL NIL NIL \
                 \"<1@example.org>\") BODY (\"text\" \"plain\" NIL NIL NIL \"7BIT\" 14 2) \
                 BODYSTRUCTURE (\"text\" \"plain\" NIL NIL NIL \"7BIT\" 14 2 NIL NIL NIL NIL))",
                "OK Fetched",
            ],
        )
        .await;
    assert_eq!(server.store.commits(), 0, "nothing was marked as seen");
}

#[tokio::test]
async fn rfc_9051_6_4_5_sections_and_partials() {
    let server = Server::new();
    server.store.deliver(SIMPLE);
    let mut client = server.inbox().await;
    let whole = [PREFIX, SIMPLE].concat();
    let header = &whole[..whole.find("\r\n\r\n").unwrap() + 4];
    let cases: &[(&str, String)] = &[
        ("BODY.PEEK[]", whole.clone()),
        ("BODY.PEEK[HEADER]", header.to_owned()),
        ("BODY.PEEK[TEXT]", "Hello\r\nworld\r\n".to_owned()),
        ("BODY.PEEK[1]", "Hello\r\nworld\r\n".to_owned()),
        (
            "BODY.PEEK[HEADER.FIELDS (to \"X\" subject)]",
            "To: bob@example.net\r\nSubject: \"quoted\"\r\n\r\n".to_owned(),
        ),
        (
            "BODY.PEEK[HEADER.FIELDS.NOT (date from to subject return-path)]",
            "Message-ID: <1@example.org>\r\n\r\n".to_owned(),
        ),
        ("BODY.PEEK[TEXT]<2.3>", "llo".to_owned()),
        ("BODY.PEEK[TEXT]<100.3>", String::new()),
        ("BODY.PEEK[HEADER.FIELDS (to)]<4.3>", "bob".to_owned()),
    ];
    for (item, octets) in cases {
        let mut name = item.replace(".PEEK", "").replace("\"X\"", "X");
        if let Some((before, partial)) = name.clone().split_once('<') {
            name = format!("{before}<{}>", partial.split('.').next().unwrap());
        }
        let expect = format!("* 1 FETCH ({name} {{{}}}\r\n{octets})\nOK Fetched", octets.len());
        assert_eq!(client.ask(&format!("FETCH 1 {item}")).await, expect, "{item}");
    }
    client.check("FETCH 1 BODY.PEEK[2]", &["* 1 FETCH (BODY[2] NIL)", "OK Fetched"]).await;
    let expect = format!("* 1 FETCH (RFC822.HEADER {{{}}}\r\n{header})\nOK Fetched", header.len());
    assert_eq!(client.ask("FETCH 1 RFC822.HEADER").await, expect);
}

#[tokio::test]
async fn rfc_9051_6_4_5_1_parts_of_parts() {
    let server = Server::new();
    server.store.deliver(NESTED);
    let mut client = server.inbox().await;
    for (section, octets) in [
        ("1", "one"),
        ("1.MIME", "Content-Type: text/plain\r\n\r\n"),
        ("2", "Subject: inner\r\n\r\ndeep"),
        ("2.HEADER", "Subject: inner\r\n\r\n"),
        ("2.TEXT", "deep"),
        ("2.1", "deep"),
        ("3", "AAEC\r\nAwQ="),
    ] {
        let expect = format!("* 1 FETCH (BODY[{section}] {{{}}}\r\n{octets})\nOK Fetched", octets.len());
        assert_eq!(client.ask(&format!("FETCH 1 BODY.PEEK[{section}]")).await, expect, "{section}");
    }
}

#[tokio::test]
async fn rfc_3516_binary_is_decoded_and_an_unknown_encoding_is_said() {
    let server = Server::new();
    server.store.deliver(NESTED);
    let mut client = server.inbox().await;
    client
        .check("FETCH 1 BINARY.PEEK[3]", &["* 1 FETCH (BINARY[3] ~{5}\r", "\0\u{1}\u{2}\u{3}\u{4})", "OK Fetched"])
        .await;
    client.check("FETCH 1 BINARY.PEEK[3]<1.2>", &["* 1 FETCH (BINARY[3]<1> ~{2}\r", "\u{1}\u{2})", "OK Fetched"]).await;
    client.check("FETCH 1 BINARY.SIZE[3]", &["* 1 FETCH (BINARY.SIZE[3] 5)", "OK Fetched"]).await;
    client.check("FETCH 1 (UID BINARY.PEEK[4])", &["* 1 FETCH (UID 1)", "NO [UNKNOWN-CTE]..."]).await;
}

#[tokio::test]
async fn rfc_9051_6_4_5_reading_a_body_sets_seen_and_tells_it() {
    let server = Server::new();
    server.store.deliver(SIMPLE);
    server.store.deliver(SIMPLE);
    let mut client = server.inbox().await;
    let answer = client.ok("FETCH 1:2 BODY[TEXT]").await;
    assert_eq!(answer.matches("FLAGS (\\Seen \\Recent)").count(), 2, "{answer}");
    assert_eq!(server.store.commits(), 1);
    let answer = client.ok("FETCH 1 BODY[TEXT]").await;
    assert!(!answer.contains("FLAGS"), "{answer}");
    client.check("NOOP", &["OK Done"]).await;
    let mut reader = server.login().await;
    server.store.deliver(SIMPLE);
    reader.ok("EXAMINE INBOX").await;
    assert!(!reader.ok("FETCH 3 BODY[]").await.contains("Seen"));
    assert_eq!(server.store.commits(), 1);
}

#[tokio::test]
async fn rfc_2180_4_1_2_a_message_expunged_elsewhere_is_said_and_the_others_come() {
    let server = Server::new();
    server.store.fill(3);
    let mut client = server.inbox().await;
    let (mailbox, uids) = (server.store.mailbox("INBOX"), UidSet::from_uids([Uid::new(2)]));
    server.store.change(AccountCommand::Expunge { mailbox, uids, deleted_only: false });
    client.check("FETCH 1:3 UID", &["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)", "NO [EXPUNGEISSUED]..."]).await;
    client.check("STORE 2 +FLAGS (\\Seen)", &["NO [EXPUNGEISSUED]..."]).await;
    client.check("SEARCH ALL", &["* SEARCH 1 3", "OK..."]).await;
    client.check("COPY 2 Trash", &["* 2 EXPUNGE", "NO [EXPUNGEISSUED]..."]).await;
    client.check("FETCH 2 UID", &["* 2 FETCH (UID 3)", "OK Fetched"]).await;
    client.check("FETCH 3 UID", &["BAD There are only 2 messages"]).await;
}

#[tokio::test]
async fn a_large_message_streams_in_pieces() {
    let server = Server::new();
    let body = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n".repeat(40_000);
    server.store.deliver(&format!("Subject: large\r\n\r\n{body}"));
    let mut client = server.inbox().await;
    let answer = client.ok("FETCH 1 BODY.PEEK[TEXT]").await;
    assert!(answer.contains(&body) && answer.ends_with("\nOK Fetched"));
}
