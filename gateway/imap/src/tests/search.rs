//! RFC 9051 6.4.4, RFC 4731, RFC 5182, RFC 8474: SEARCH.

use super::Server;

fn fill(server: &Server) {
    server.store.deliver(
        "From: Ann <ann@example.org>\r\nSubject: Apples\r\nDate: Mon, 7 Feb 1994 21:52:25 -0800\r\n\r\nred\r\n",
    );
    server.store.deliver("From: Bob <bob@example.net>\r\nSubject: Pears\r\nX-Tag: y\r\n\r\ngreen and round\r\n");
    server.store.deliver("From: Eve <eve@example.net>\r\nSubject: apple pie\r\n\r\nwith cream\r\n");
}

#[tokio::test]
async fn rfc_9051_6_4_4_keys() {
    let server = Server::new();
    fill(&server);
    let mut client = server.inbox().await;
    client.ok("STORE 2 +FLAGS.SILENT (\\Seen $Work)").await;
    for (key, found) in [
        ("ALL", " 1 2 3"),
        ("UNSEEN", " 1 3"),
        ("NEW", " 1 3"),
        ("OLD", ""),
        ("KEYWORD $work", " 2"),
        ("UNKEYWORD $Work 2:3", " 3"),
        ("SUBJECT apple", " 1 3"),
        ("FROM example.net", " 2 3"),
        ("OR SUBJECT pears BODY cream", " 2 3"),
        ("NOT SUBJECT apple", " 2"),
        ("HEADER X-Tag \"\"", " 2"),
        ("TEXT ROUND", " 2"),
        ("BODY red", " 1"),
        ("SENTON 7-Feb-1994", " 1"),
        ("SINCE 1-Jan-2020", " 1 2 3"),
        ("BEFORE 1-Jan-2020", ""),
        ("LARGER 100", " 1 2"),
        ("UID 2:*", " 2 3"),
        ("EMAILID M7-3", " 3"),
        ("THREADID T7-1", " 1"),
        ("(SEEN) UID 1:5 LARGER 1", " 2"),
        ("YOUNGER 100", ""),
        ("OLDER 100", " 1 2 3"),
    ] {
        client.check(&format!("SEARCH {key}"), &[&format!("* SEARCH{found}"), "OK..."]).await;
    }
}

#[tokio::test]
async fn rfc_9051_6_4_4_charsets() {
    let server = Server::new();
    fill(&server);
    let mut client = server.inbox().await;
    client.check("SEARCH CHARSET US-ASCII SUBJECT pears", &["* SEARCH 2", "OK..."]).await;
    client.check("SEARCH CHARSET KOI8-R SUBJECT x", &["NO [BADCHARSET (UTF-8 US-ASCII)]..."]).await;
}

#[tokio::test]
async fn rfc_4731_extended_results() {
    let server = Server::new();
    fill(&server);
    let mut client = server.inbox().await;
    client.check("SEARCH RETURN () ALL", &["* ESEARCH (TAG \"a3\") ALL 1:3", "OK..."]).await;
    client
        .check(
            "UID SEARCH RETURN (MIN MAX COUNT ALL) SUBJECT apple",
            &["* ESEARCH (TAG \"a4\") UID MIN 1 MAX 3 ALL 1,3 COUNT 2", "OK..."],
        )
        .await;
    client.check("SEARCH RETURN (MIN COUNT) SUBJECT none", &["* ESEARCH (TAG \"a5\") COUNT 0", "OK..."]).await;
    client.ok("ENABLE IMAP4rev2").await;
    client.check("SEARCH SUBJECT pears", &["* ESEARCH (TAG \"a7\") ALL 2", "OK..."]).await;
}

#[tokio::test]
async fn rfc_5182_the_saved_result() {
    let server = Server::new();
    fill(&server);
    let mut client = server.inbox().await;
    client.check("SEARCH RETURN (SAVE) SUBJECT apple", &["OK..."]).await;
    client.check("FETCH $ UID", &["* 1 FETCH (UID 1)", "* 3 FETCH (UID 3)", "OK..."]).await;
    client.check("UID SEARCH $ FROM eve", &["* SEARCH 3", "OK..."]).await;
    client.check("UID STORE $ +FLAGS.SILENT (\\Deleted)", &["OK..."]).await;
    client.check("EXPUNGE", &["* 3 EXPUNGE", "* 1 EXPUNGE", "OK..."]).await;
    client.check("FETCH $ UID", &["OK..."]).await;
    client.check("SEARCH RETURN (SAVE MIN) ALL", &["* ESEARCH (TAG \"a9\") MIN 1", "OK..."]).await;
    client.check("COPY $ Trash", &["OK [COPYUID 1000 2 1] Copied"]).await;
    client.check("SEARCH RETURN (SAVE) CHARSET X ALL", &["NO [BADCHARSET..."]).await;
    client.check("FETCH $ UID", &["OK..."]).await;
}
