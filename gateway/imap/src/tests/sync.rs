//! RFC 9051 5.2, 5.5, 7.5.1 and 6.4.3 to 6.4.9, RFC 6851, RFC 4315: several sessions, expunges, copies, flags.

use securanet_gateway::model::{
    Flags, SystemFlags, Uid,
    account::{AccountCommand, FlagChange, UidSet},
};

use super::{Server, store::Memory};

fn expunge(store: &Memory, uid: u32) {
    let uids = UidSet::from_uids([Uid::new(uid)]);
    store.change(AccountCommand::Expunge { mailbox: store.mailbox("INBOX"), uids, deleted_only: false });
}

fn flag(store: &Memory, uid: u32, system: SystemFlags) {
    store.change(AccountCommand::StoreFlags {
        mailbox: store.mailbox("INBOX"),
        uids: UidSet::from_uids([Uid::new(uid)]),
        change: FlagChange::Add,
        flags: Flags::new(system, []),
        unchanged_since: None,
    });
}

#[tokio::test]
async fn rfc_9051_7_5_1_no_expunge_while_fetch_store_and_search_use_sequence_numbers() {
    let server = Server::new();
    server.store.fill(4);
    let mut client = server.inbox().await;
    expunge(&server.store, 1);
    server.store.fill(1);
    flag(&server.store, 3, SystemFlags::FLAGGED);
    client
        .check(
            "FETCH 4 UID",
            &["* 4 FETCH (UID 4)", "* 5 EXISTS", "* 5 RECENT", "* 3 FETCH (FLAGS (\\Flagged \\Recent))", "OK Fetched"],
        )
        .await;
    client.check("STORE 4 +FLAGS.SILENT (\\Seen)", &["OK Stored"]).await;
    client.check("SEARCH UID 4", &["* SEARCH 4", "OK..."]).await;
    client.check("NOOP", &["* 1 EXPUNGE", "OK Done"]).await;
    client.check("SEARCH UID 4", &["* SEARCH 3", "OK..."]).await;
}

#[tokio::test]
async fn rfc_9051_6_4_3_expunge_tells_numbers_that_hold_when_they_are_told() {
    let server = Server::new();
    server.store.fill(4);
    let mut client = server.inbox().await;
    let mut other = server.inbox().await;
    client.check("STORE 2:3 +FLAGS.SILENT (\\Deleted)", &["OK Stored"]).await;
    client.check("UID EXPUNGE 3:4", &["* 3 EXPUNGE", "OK Expunged"]).await;
    client.check("EXPUNGE", &["* 2 EXPUNGE", "OK Expunged"]).await;
    client.check("EXPUNGE", &["OK Expunged"]).await;
    client.check("UID SEARCH ALL", &["* SEARCH 1 4", "OK..."]).await;
    other.check("NOOP", &["* 3 EXPUNGE", "* 2 EXPUNGE", "OK Done"]).await;
}

#[tokio::test]
async fn rfc_9051_6_4_6_store_answers_with_flags_and_does_not_repeat_them() {
    let server = Server::new();
    server.store.fill(2);
    let mut client = server.inbox().await;
    let mut other = server.inbox().await;
    client
        .check(
            "STORE 1:2 +FLAGS (\\Seen $Work)",
            &[
                "* 1 FETCH (FLAGS (\\Seen $Work \\Recent))",
                "* 2 FETCH (FLAGS (\\Seen $Work \\Recent))",
                "* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft $Work)",
                "* OK [PERMANENTFLAGS...",
                "OK Stored",
            ],
        )
        .await;
    client.check("NOOP", &["OK Done"]).await;
    client.check("UID STORE 2 -FLAGS \\Seen", &["* 2 FETCH (UID 2 FLAGS ($Work \\Recent))", "OK Stored"]).await;
    client.check("STORE 1 FLAGS ()", &["* 1 FETCH (FLAGS (\\Recent))", "OK Stored"]).await;
    let told = other.ok("NOOP").await;
    assert!(told.contains("* 2 FETCH (FLAGS ($Work))") && told.contains("* 1 FETCH (FLAGS ())"), "{told}");
    client.check("UID STORE 99 +FLAGS (\\Seen)", &["OK Stored"]).await;
}

#[tokio::test]
async fn rfc_4315_and_6851_copy_and_move_tell_their_uids() {
    let server = Server::new();
    server.store.fill(3);
    let mut client = server.inbox().await;
    client.check("COPY 1,3 Trash", &["OK [COPYUID 1000 1,3 1:2] Copied"]).await;
    client.check("COPY 1 nowhere", &["NO [TRYCREATE] Mailbox does not exist"]).await;
    client.check("UID COPY 77 Trash", &["OK No message fits"]).await;
    client
        .check(
            "MOVE 1:2 Archive",
            &["* OK [COPYUID 1000 1:2 1:2] Moved UIDs", "* 2 EXPUNGE", "* 1 EXPUNGE", "OK Moved"],
        )
        .await;
    client.check("UID MOVE 3 Archive", &["* OK [COPYUID 1000 3 3] Moved UIDs", "* 1 EXPUNGE", "OK Moved"]).await;
    client.check("STATUS Archive (MESSAGES)", &["* STATUS Archive (MESSAGES 3)", "OK..."]).await;
    client.check("UID SEARCH ALL", &["* SEARCH", "OK..."]).await;
}

#[tokio::test]
async fn rfc_9051_6_4_6_a_silent_store_does_not_hide_what_others_have_changed() {
    let server = Server::new();
    server.store.fill(2);
    let mut client = server.inbox().await;
    flag(&server.store, 1, SystemFlags::FLAGGED);
    client.check("STORE 1 +FLAGS.SILENT (\\Seen)", &["* 1 FETCH (FLAGS (\\Flagged \\Recent))", "OK Stored"]).await;
    client.check("NOOP", &["OK Done"]).await;
    expunge(&server.store, 2);
    client.check("COPY 1:2 Trash", &["* 2 EXPUNGE", "NO [EXPUNGEISSUED]..."]).await;
    client.check("STATUS Trash (MESSAGES)", &["* STATUS Trash (MESSAGES 0)", "OK..."]).await;
}

#[tokio::test]
async fn rfc_9051_5_5_pipelined_commands_are_answered_in_order() {
    let server = Server::new();
    server.store.fill(1);
    let mut client = server.inbox().await;
    client.send("x NOOP\r\ny UID SEARCH ALL\r\nz LOGOUT\r\n").await;
    let mut lines = Vec::new();
    for _ in 0..5 {
        lines.push(client.line().await);
    }
    assert_eq!(lines, ["x OK Done", "* SEARCH 1", "y OK Search is done", "* BYE Logging out", "z OK Logged out"]);
}

#[tokio::test]
async fn rfc_9051_2_3_1_1_a_uid_range_with_a_star_has_the_last_message() {
    let server = Server::new();
    server.store.fill(3);
    let mut client = server.inbox().await;
    client.check("UID FETCH 500:* (FLAGS)", &["* 3 FETCH (UID 3 FLAGS (\\Recent))", "OK Fetched"]).await;
    client.ok("SELECT Trash").await;
    client.check("FETCH 1:* FLAGS", &["OK Fetched"]).await;
    client.check("UID FETCH 1:* FLAGS", &["OK Fetched"]).await;
    client.check("SEARCH ALL", &["* SEARCH", "OK..."]).await;
}
