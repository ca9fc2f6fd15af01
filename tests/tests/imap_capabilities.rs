//! Every capability that the server advertises is shown to work by a test that this table names. A capability that
//! is advertised and not in the table fails, and so does a row whose test is gone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use securanet_tests::{
    dialogue::Dialogue,
    imap::{Row, code_number, found},
    server::{PASSWORD, Server, address, must},
};

/// Capability, file, test.
const SHOWN_BY: [(&str, &str, &str); 40] = [
    ("IMAP4rev1", "imap_sessions", "rfc_9051_7_5_1_an_expunge_elsewhere_waits_until_sequence_numbers_may_change"),
    ("IMAP4rev2", "imap_capabilities", "rfc_9051_rev2_speaks_its_own_answers_when_enabled"),
    ("LITERAL+", "imap_messages", "rfc_7888_literals_are_bounded_and_a_refused_one_is_no_command"),
    ("LITERAL-", "imap_messages", "rfc_7888_literals_are_bounded_and_a_refused_one_is_no_command"),
    ("SASL-IR", "login", "every_mechanism_logs_in_through_every_protocol"),
    ("ID", "imap_capabilities", "rfc_2971_2342_id_and_namespace_answer"),
    ("NAMESPACE", "imap_capabilities", "rfc_2971_2342_id_and_namespace_answer"),
    ("ENABLE", "imap_resync", "rfc_7162_3_1_6_modseq_comes_once_condstore_is_on"),
    ("STARTTLS", "login", "every_mechanism_logs_in_through_every_protocol"),
    ("LOGINDISABLED", "login", "every_mechanism_logs_in_through_every_protocol"),
    ("AUTH=PLAIN", "login", "every_mechanism_logs_in_through_every_protocol"),
    ("AUTH=LOGIN", "login", "every_mechanism_logs_in_through_every_protocol"),
    ("AUTH=SCRAM-SHA-256", "login", "every_mechanism_logs_in_through_every_protocol"),
    ("AUTH=SCRAM-SHA-256-PLUS", "channel_binding", "rfc_9266_a_login_bound_to_its_connection_succeeds"),
    ("IDLE", "imap_sessions", "idle_wakes_for_flags_expunges_and_mail"),
    ("CHILDREN", "imap_mailboxes", "rfc_5258_list_extended_selects_and_returns"),
    ("UIDPLUS", "imap_messages", "rfc_4315_copy_and_move_map_old_uids_to_new_ones"),
    ("UNSELECT", "imap_messages", "rfc_9051_6_4_6_flags_of_a_mailbox_opened_by_examine_stay"),
    ("CONDSTORE", "imap_resync", "rfc_7162_3_1_3_unchangedsince_stores_only_what_nobody_else_has_touched"),
    ("QRESYNC", "imap_resync", "rfc_7162_3_2_5_whoever_was_away_ends_with_what_a_new_client_sees"),
    ("MOVE", "imap_messages", "rfc_4315_copy_and_move_map_old_uids_to_new_ones"),
    ("SPECIAL-USE", "imap_mailboxes", "rfc_6154_special_use_is_listed_and_created_once"),
    ("CREATE-SPECIAL-USE", "imap_mailboxes", "rfc_6154_special_use_is_listed_and_created_once"),
    ("LIST-EXTENDED", "imap_mailboxes", "rfc_5258_list_extended_selects_and_returns"),
    ("LIST-STATUS", "imap_mailboxes", "rfc_5258_list_extended_selects_and_returns"),
    ("STATUS=SIZE", "imap_mailboxes", "status_counts_what_is_there"),
    ("ESEARCH", "imap_search", "rfc_9051_6_4_4_each_search_key_finds_what_a_reference_finds"),
    ("SEARCHRES", "imap_search", "rfc_9051_6_4_4_each_search_key_finds_what_a_reference_finds"),
    ("WITHIN", "imap_search", "rfc_9051_6_4_4_each_search_key_finds_what_a_reference_finds"),
    ("MULTIAPPEND", "imap_messages", "rfc_3502_several_messages_come_in_all_or_not_at_all"),
    ("UTF8=ACCEPT", "imap_mailboxes", "rfc_9755_names_are_utf8_when_enabled_and_modified_utf7_otherwise"),
    ("OBJECTID", "imap_messages", "rfc_8474_ids_stay_with_copies_and_threads"),
    ("SAVEDATE", "imap_messages", "rfc_8514_and_8970_saved_dates_and_previews_are_known"),
    ("PREVIEW", "imap_messages", "rfc_8514_and_8970_saved_dates_and_previews_are_known"),
    ("QUOTA", "imap_mailboxes", "rfc_9208_quota_is_told_and_bounds_what_comes_in"),
    ("QUOTA=RES-STORAGE", "imap_mailboxes", "rfc_9208_quota_is_told_and_bounds_what_comes_in"),
    ("QUOTA=RES-MESSAGE", "imap_mailboxes", "rfc_9208_quota_is_told_and_bounds_what_comes_in"),
    ("COMPRESS=DEFLATE", "imap_capabilities", "rfc_4978_compression_carries_what_plain_text_carries"),
    ("BINARY", "imap_capabilities", "rfc_3516_binary_parts_come_decoded"),
    ("APPENDLIMIT", "imap_messages", "rfc_7888_literals_are_bounded_and_a_refused_one_is_no_command"),
];

fn capabilities(lines: &[String]) -> BTreeSet<String> {
    let line = lines.iter().find(|line| line.contains("CAPABILITY ")).unwrap_or_else(|| panic!("{lines:?}"));
    let words = line.split_once("CAPABILITY ").unwrap().1.split(']').next().unwrap();
    words
        .split_whitespace()
        .map(|word| if word.starts_with("APPENDLIMIT=") { "APPENDLIMIT" } else { word }.to_owned())
        .collect()
}

#[test]
fn every_advertised_capability_has_a_test() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::connect(server.address("imap")).unwrap();
    let greeting = imap.line().unwrap();
    let mut advertised = capabilities(&[greeting]);
    advertised.extend(capabilities(&imap.imap_ok("CAPABILITY").unwrap()));
    let (_, tagged) = imap.imap_say(&format!("LOGIN {} {PASSWORD:?}", address("ann"))).unwrap();
    let after = capabilities(&imap.imap_ok("CAPABILITY").unwrap());
    assert_eq!(capabilities(&[tagged]), after, "what LOGIN says is what CAPABILITY says");
    assert!(
        !after.iter().any(|name| name.starts_with("AUTH=") || name == "STARTTLS" || name == "LOGINDISABLED"),
        "{after:?}"
    );
    advertised.extend(after);
    for capability in &advertised {
        assert!(SHOWN_BY.iter().any(|row| row.0 == capability), "{capability} is advertised, and no test shows it");
    }
    for (capability, file, test) in SHOWN_BY {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/{file}.rs"));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("#[test]\nfn {test}()")), "{capability}: {test} is not in {}", path.display());
    }
}

#[test]
fn rfc_2971_2342_id_and_namespace_answer() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::connect(server.address("imap")).unwrap();
    imap.line().unwrap();
    let lines = imap.imap_ok("ID (\"name\" \"test\" \"version\" NIL)").unwrap();
    assert!(lines[0].starts_with("* ID (") && lines[0].contains("\"name\" \"SecuraNET"), "{lines:?}");
    assert!(imap.imap_ok("ID NIL").is_ok());
    let (_, tagged) = imap.imap_say("NAMESPACE").unwrap();
    assert!(tagged.starts_with("BAD"), "before login: {tagged}");
    imap.imap_ok(&format!("LOGIN {} {PASSWORD:?}", address("ann"))).unwrap();
    assert_eq!(imap.imap_ok("NAMESPACE").unwrap(), ["* NAMESPACE ((\"\" \"/\")) NIL NIL"]);
}

#[test]
fn rfc_9051_rev2_speaks_its_own_answers_when_enabled() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.append("INBOX", b"Subject: one\r\n\r\nbody\r\n").unwrap();
    imap.imap_ok("CREATE &APw-ber").unwrap();
    assert_eq!(imap.imap_ok("ENABLE IMAP4rev2").unwrap(), ["* ENABLED IMAP4rev2"]);
    let lines = imap.imap_ok("LIST \"\" *").unwrap();
    assert!(lines.iter().any(|line| line.contains("über")), "names are UTF-8: {lines:?}");
    let lines = imap.imap_ok("SELECT INBOX").unwrap();
    assert!(!lines.iter().any(|line| line.ends_with("RECENT")), "RECENT is gone: {lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("* LIST ") && line.contains("INBOX")), "6.3.2: LIST: {lines:?}");
    let lines = imap.imap_ok("SEARCH ALL").unwrap();
    assert!(lines.iter().any(|line| line.starts_with("* ESEARCH") && line.ends_with("ALL 1")), "{lines:?}");
    let lines = imap.imap_ok("FETCH 1 (FLAGS)").unwrap();
    assert!(!lines.join("").contains("\\Recent"), "{lines:?}");
    let lines = imap.imap_ok("STATUS INBOX (DELETED SIZE)").unwrap();
    assert!(lines[0].contains("DELETED 0"), "{lines:?}");
}

#[test]
fn rfc_3516_binary_parts_come_decoded() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let message = "Subject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
                   Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc\r\n--b\r\n\
                   Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAGhlbGxv\r\n--b\r\n\
                   Content-Transfer-Encoding: x-own\r\n\r\n???\r\n--b--\r\n";
    imap.append("INBOX", message.as_bytes()).unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let lines = imap.imap_ok("FETCH 1 (BINARY.PEEK[1] BINARY.SIZE[2])").unwrap();
    assert!(lines.join("").contains("a=bc") && lines.join("").contains("BINARY.SIZE[2] 6"), "{lines:?}");
    imap.send(b"b1 FETCH 1 (BINARY.PEEK[2])\r\n").unwrap();
    let line = imap.line().unwrap();
    assert!(line.ends_with("~{6}"), "RFC 3516 4.3: what has a NUL is a literal8: {line}");
    assert_eq!(imap.bytes(6).unwrap(), b"\0hello");
    assert!(imap.imap_until("b1").unwrap().1.starts_with("OK"));
    let (_, tagged) = imap.imap_say("FETCH 1 (BINARY.PEEK[3])").unwrap();
    assert!(tagged.starts_with("NO [UNKNOWN-CTE]"), "{tagged}");
}

#[test]
fn rfc_4978_compression_carries_what_plain_text_carries() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let known = code_number(&imap.imap_ok("SELECT INBOX").unwrap(), "UIDNEXT");
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/compress.py"));
    command.env("IMAP", server.port("imap").to_string()).env("USER", address("ann")).env("PASSWORD", PASSWORD);
    let told = must(command, "").unwrap();
    assert!(told.starts_with("fine"), "{told}");
    imap.imap_ok("NOOP").unwrap();
    let rows = Row::all(&imap.imap_ok("FETCH 1:* (UID)").unwrap());
    assert_eq!(rows[0].uid, Some(u32::try_from(known).unwrap()), "what came in compressed is there for all");
    assert_eq!(found(&imap.imap_ok("SEARCH SUBJECT compressed").unwrap()).len(), rows.len());
}
