//! RFC 9051 6.3.4 to 6.3.11, RFC 5258, RFC 5819, RFC 6154, RFC 9208: mailboxes, listings, quota.

use securanet_gateway::model::directory::Quota;

use super::Server;

#[tokio::test]
async fn rfc_9051_6_3_9_list() {
    let server = Server::new();
    let mut client = server.login().await;
    client.check("LIST \"\" \"\"", &["* LIST (\\Noselect) \"/\" \"\"", "OK..."]).await;
    client.ok("CREATE work/2024/").await;
    client.check("LIST \"\" inb%", &["* LIST (\\HasNoChildren) \"/\" INBOX", "OK..."]).await;
    client
        .check(
            "LIST \"\" %",
            &[
                "* LIST (\\HasNoChildren \\Archive) \"/\" Archive",
                "* LIST (\\HasNoChildren \\Drafts) \"/\" Drafts",
                "* LIST (\\HasNoChildren) \"/\" INBOX",
                "* LIST (\\HasNoChildren \\Junk) \"/\" Junk",
                "* LIST (\\HasNoChildren \\Sent) \"/\" Sent",
                "* LIST (\\HasNoChildren \\Trash) \"/\" Trash",
                "* LIST (\\HasChildren) \"/\" work",
                "OK Mailboxes listed",
            ],
        )
        .await;
    client.check("LIST work/ %", &["* LIST (\\HasNoChildren) \"/\" work/2024", "OK..."]).await;
    client
        .check(
            "LIST \"\" (inbox work)",
            &["* LIST (\\HasNoChildren) \"/\" INBOX", "* LIST (\\HasChildren) \"/\" work", "OK..."],
        )
        .await;
}

#[tokio::test]
async fn rfc_5258_subscriptions_and_recursive_match() {
    let server = Server::new();
    let mut client = server.login().await;
    client.ok("CREATE a/b/c").await;
    client.ok("SUBSCRIBE a/b/c").await;
    client.ok("SUBSCRIBE lost/child").await;
    client
        .check(
            "LIST (SUBSCRIBED) \"\" *",
            &[
                "* LIST (\\HasNoChildren \\Subscribed) \"/\" a/b/c",
                "* LIST (\\NonExistent \\Subscribed) \"/\" lost/child",
                "OK...",
            ],
        )
        .await;
    client
        .check(
            "LIST (SUBSCRIBED RECURSIVEMATCH) \"\" %",
            &[
                "* LIST (\\HasChildren) \"/\" a (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                "* LIST (\\NonExistent) \"/\" lost (\"CHILDINFO\" (\"SUBSCRIBED\"))",
                "OK...",
            ],
        )
        .await;
    client.check("LIST (RECURSIVEMATCH) \"\" *", &["BAD..."]).await;
    client.check("LSUB \"\" %", &["* LSUB (\\Noselect) \"/\" a", "* LSUB (\\Noselect) \"/\" lost", "OK..."]).await;
    client.ok("UNSUBSCRIBE lost/child").await;
    client.check("LSUB \"\" *", &["* LSUB () \"/\" a/b/c", "OK..."]).await;
}

#[tokio::test]
async fn rfc_5819_and_6154_list_with_status_and_special_use() {
    let server = Server::new();
    server.store.deliver("Subject: x\r\n\r\nx\r\n");
    let mut client = server.login().await;
    client
        .check(
            "LIST \"\" INBOX RETURN (SUBSCRIBED CHILDREN STATUS (MESSAGES UNSEEN))",
            &["* LIST (\\HasNoChildren) \"/\" INBOX", "* STATUS INBOX (MESSAGES 1 UNSEEN 1)", "OK..."],
        )
        .await;
    let special = client.ok("LIST (SPECIAL-USE) \"\" * RETURN (SPECIAL-USE)").await;
    assert_eq!(special.lines().count(), 6, "{special}");
    client.check("CREATE spam (USE (\\Junk))", &["NO [USEATTR]..."]).await;
    client.check("CREATE all (USE (\\All))", &["NO [USEATTR]..."]).await;
    client.check("CREATE x", &["OK [MAILBOXID (F7-7)] Created"]).await;
}

#[tokio::test]
async fn rfc_9051_6_3_4_create_delete_rename_and_their_refusals() {
    let server = Server::new();
    let mut client = server.login().await;
    client.check("CREATE INBOX", &["NO [ALREADYEXISTS]..."]).await;
    client.check("DELETE INBOX", &["NO [CANNOT]..."]).await;
    client.check("DELETE nothing", &["NO [NONEXISTENT] Mailbox does not exist"]).await;
    client.ok("CREATE a/b").await;
    client.check("DELETE a", &["NO [HASCHILDREN]..."]).await;
    client.check("RENAME a/b INBOX", &["NO [ALREADYEXISTS]..."]).await;
    client.check("RENAME a/b c", &["OK Renamed"]).await;
    client.check("CREATE a//b", &["NO [CANNOT]..."]).await;
    client.check("CREATE \"a*b\"", &["NO [CANNOT]..."]).await;
}

#[tokio::test]
async fn rfc_3501_5_1_3_names_are_modified_utf_7_until_utf_8_is_enabled() {
    let server = Server::new();
    let mut client = server.login().await;
    client.ok("CREATE Entw&APw-rfe").await;
    client.check("LIST \"\" Entw*", &["* LIST (\\HasNoChildren) \"/\" Entw&APw-rfe", "OK..."]).await;
    client.check("CREATE \"Entw&\"", &["NO [CANNOT]..."]).await;
    client.check("ENABLE UTF8=ACCEPT", &["* ENABLED UTF8=ACCEPT", "OK..."]).await;
    client.check("LIST \"\" \"Entwü*\"", &["* LIST (\\HasNoChildren) \"/\" \"Entwürfe\"", "OK..."]).await;
    client.check("STATUS \"Entwürfe\" (MESSAGES)", &["* STATUS \"Entwürfe\" (MESSAGES 0)", "OK..."]).await;
}

#[tokio::test]
async fn rfc_9051_6_3_11_status_has_all_items() {
    let server = Server::new();
    server.store.deliver("Subject: x\r\n\r\nx\r\n");
    let mut client = server.login().await;
    let items = "MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE HIGHESTMODSEQ APPENDLIMIT MAILBOXID";
    client
        .check(
            &format!("STATUS INBOX ({items})"),
            &[
                "* STATUS INBOX (MESSAGES 1 RECENT 1 UIDNEXT 2 UIDVALIDITY 1000 UNSEEN 1 DELETED 0 SIZE 49 \
                 HIGHESTMODSEQ 2 APPENDLIMIT 52428800 MAILBOXID (F7-1))",
                "OK Status listed",
            ],
        )
        .await;
    client.check("STATUS nowhere (MESSAGES)", &["NO [NONEXISTENT]..."]).await;
    client.check("STATUS INBOX (FOO)", &["BAD..."]).await;
}

#[tokio::test]
async fn rfc_9208_4_1_quota() {
    let server = Server::new();
    let mut client = server.login().await;
    client.check("GETQUOTAROOT INBOX", &["* QUOTAROOT INBOX", "OK..."]).await;
    client.check("GETQUOTA \"\"", &["NO [NONEXISTENT] No such quota root"]).await;
    server.store.set_quota(Quota { bytes_max: Some(10_240), messages_max: Some(5) });
    server.store.deliver("Subject: x\r\n\r\nx\r\n");
    client
        .check("GETQUOTAROOT INBOX", &["* QUOTAROOT INBOX \"\"", "* QUOTA \"\" (STORAGE 1 10 MESSAGE 1 5)", "OK..."])
        .await;
    client.check("GETQUOTA \"\"", &["* QUOTA \"\" (STORAGE 1 10 MESSAGE 1 5)", "OK..."]).await;
    client.check("SETQUOTA \"\" (STORAGE 1)", &["NO [NOPERM]..."]).await;
    client.check("NAMESPACE", &["* NAMESPACE ((\"\" \"/\")) NIL NIL", "OK..."]).await;
}
