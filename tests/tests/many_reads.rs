//! A gateway reads the beginning of many messages, as every client's first synchronisation does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, Server},
};

const MESSAGES: usize = 200;

#[test]
fn a_gateway_opens_thousands_of_messages_over_one_connection() {
    let store = Server::start_store(&["ann"]).unwrap();
    let options = Options { config: "[delivery]\nenabled = false\n".to_owned(), ..Options::default() };
    let gateway = store.start_gateway("gateway-1", options).unwrap();
    let mut imap = Dialogue::imap(gateway.address("imap"), "ann").unwrap();
    for number in 0..MESSAGES {
        let text = format!("Subject: {number}\r\nMessage-ID: <m{number}@x.example>\r\n\r\n{}", "text\r\n".repeat(100));
        assert!(imap.append("INBOX", text.as_bytes()).unwrap().starts_with("OK"));
    }
    imap.imap_ok("SELECT INBOX").unwrap();
    for round in 0..15 {
        let (lines, tagged) = imap.imap_say("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").unwrap();
        assert!(tagged.starts_with("OK"), "round {round}, after {} rows: {tagged}\n{}", lines.len(), gateway.log());
        assert_eq!(lines.len(), MESSAGES);
    }
    assert!(!gateway.log().contains("reached limit"), "{}", gateway.log());
}
