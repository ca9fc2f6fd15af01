//! RFC 6531: SMTPUTF8; RFC 3461: parameters of DSN.

use crate::server::Server;

#[tokio::test(start_paused = true)]
async fn rfc_6531_3_5_addresses_beyond_ascii_need_smtputf8() {
    let mut server = Server::smtp();
    let ann = server.store.script().addresses["ann@example.org"].clone();
    server.store.script().addresses.insert("jürgen@xn--bcher-kva.example.org".to_owned(), ann.clone());
    server.store.script().addresses.insert("ann@xn--bcher-kva.example.org".to_owned(), ann);
    let dialogue = "
        S: 220 *
        C: HELO a
        S: 250 *
        C: MAIL FROM:<jürgen@example.net>
        S: 553 5.6.7 *
        C: MAIL FROM:<>
        S: 250 *
        C: RCPT TO:<jürgen@bücher.example.org>
        S: 553 5.6.7 *
        C: RCPT TO:<ann@XN--BCHER-KVA.example.org>
        S: 250 2.1.5 *
        C: RSET
        S: 250 *
        C: MAIL FROM:<jürgen@example.net> SMTPUTF8
        S: 250 *
        C: RCPT TO:<jürgen@bücher.example.org>
        S: 250 2.1.5 *
        C: DATA
        S: 354 *
        C: Subject: für dich
        C: .
        S: 250 2.0.0 *";
    server.check(dialogue).await;
    assert!(server.store.script().puts[0].trace.contains("for <jürgen@xn--bcher-kva.example.org>;"));
    assert_eq!(server.store.contents(), ["Subject: für dich\r\n".as_bytes()]);
}

#[tokio::test(start_paused = true)]
async fn rfc_3461_dsn_parameters_are_taken() {
    // For mailboxes here they say nothing yet: who asks for word of success hears none.
    let dialogue = "
        S: 220 *
        C: HELO a
        S: 250 *
        C: MAIL FROM:<a@b.c> RET=HDRS ENVID=QQ314159
        S: 250 *
        C: RCPT TO:<ann@example.org> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;ann@example.org
        S: 250 *
        C: RCPT TO:<ann@example.org> NOTIFY=SOMETIMES
        S: 501 5.5.4 *";
    Server::smtp().check(dialogue).await;
}
