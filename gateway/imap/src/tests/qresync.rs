//! RFC 7162: CONDSTORE and QRESYNC.

use securanet_gateway::model::{
    Uid,
    account::{AccountCommand, UidSet},
};

use super::Server;

#[tokio::test]
async fn rfc_7162_3_1_3_conditional_store() {
    let server = Server::new();
    server.store.fill(2);
    let mut client = server.inbox().await;
    let mut other = server.inbox().await;
    other.ok("STORE 1 +FLAGS (\\Flagged)").await;
    client
        .check(
            "STORE 1:2 (UNCHANGEDSINCE 3) +FLAGS.SILENT (\\Seen)",
            &[
                "* 1 FETCH (FLAGS (\\Flagged \\Recent) MODSEQ (4))",
                "* 2 FETCH (MODSEQ (5))",
                "OK [MODIFIED 1] Some were changed since",
            ],
        )
        .await;
    client.check("UID STORE 1 (UNCHANGEDSINCE 3) +FLAGS (\\Seen)", &["OK [MODIFIED 1]..."]).await;
    client
        .check("STORE 1 +FLAGS (\\Seen)", &["* 1 FETCH (FLAGS (\\Flagged \\Seen \\Recent) MODSEQ (7))", "OK Stored"])
        .await;
}

#[tokio::test]
async fn rfc_7162_3_1_4_and_3_1_5_fetch_and_search_by_mod_sequence() {
    let server = Server::new();
    server.store.fill(3);
    let mut client = server.inbox().await;
    client.ok("STORE 2 +FLAGS.SILENT (\\Seen)").await;
    client.check("FETCH 1:* (UID) (CHANGEDSINCE 4)", &["* 2 FETCH (UID 2 MODSEQ (5))", "OK Fetched"]).await;
    client.check("SEARCH MODSEQ 4", &["* SEARCH 2 3 (MODSEQ 5)", "OK..."]).await;
    client.check("SEARCH RETURN (MIN) MODSEQ 4", &["* ESEARCH (TAG \"a6\") MIN 2 MODSEQ 5", "OK..."]).await;
    client.check("UID FETCH 1 (FLAGS) (CHANGEDSINCE 1 VANISHED)", &["BAD VANISHED needs..."]).await;
}

#[tokio::test]
async fn rfc_7162_3_2_5_a_client_comes_back_and_hears_what_it_missed() {
    let server = Server::new();
    server.store.fill(5);
    let mut client = server.login().await;
    client.check("SELECT INBOX (QRESYNC (1000 3))", &["BAD Enable QRESYNC first"]).await;
    client.ok("ENABLE QRESYNC").await;
    let (mailbox, uids) = (server.store.mailbox("INBOX"), UidSet::from_uids([Uid::new(1), Uid::new(4)]));
    server.store.change(AccountCommand::Expunge { mailbox, uids, deleted_only: false });
    let mut other = server.inbox().await;
    other.ok("STORE 1 +FLAGS.SILENT (\\Seen)").await;
    let answer = client.ok("SELECT INBOX (QRESYNC (1000 6))").await;
    let missed: Vec<&str> = answer.lines().filter(|line| line.contains("VANISHED") || line.contains("FETCH")).collect();
    assert_eq!(missed, ["* VANISHED (EARLIER) 1,4", "* 1 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (8))"]);
    let answer = client.ok("SELECT INBOX (QRESYNC (1000 6 3:5))").await;
    let missed: Vec<&str> = answer.lines().filter(|line| line.contains("VANISHED") || line.contains("FETCH")).collect();
    assert_eq!(missed, ["* VANISHED (EARLIER) 4"]);
    let answer = client.ok("SELECT INBOX (QRESYNC (999 6))").await;
    assert!(!answer.contains("VANISHED") && !answer.contains("FETCH"), "{answer}");
    client
        .check(
            "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 6 VANISHED)",
            &["* VANISHED (EARLIER) 1,4", "* 1 FETCH (UID 2 FLAGS (\\Seen) MODSEQ (8))", "OK Fetched"],
        )
        .await;
}

#[tokio::test]
async fn rfc_7162_3_2_10_vanished_takes_the_place_of_expunge() {
    let server = Server::new();
    server.store.fill(4);
    let mut client = server.login().await;
    client.ok("ENABLE QRESYNC").await;
    client.ok("SELECT INBOX").await;
    client.ok("STORE 1:3 +FLAGS.SILENT (\\Deleted)").await;
    client.check("EXPUNGE", &["* VANISHED 1:3", "OK [HIGHESTMODSEQ 7] Expunged"]).await;
    let (mailbox, uids) = (server.store.mailbox("INBOX"), UidSet::from_uids([Uid::new(4)]));
    server.store.change(AccountCommand::Expunge { mailbox, uids, deleted_only: false });
    client.check("NOOP", &["* VANISHED 4", "OK Done"]).await;
}
