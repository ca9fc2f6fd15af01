//! Commands as the RFCs write them, and what they are understood as.

use securanet_gateway::model::{SystemFlags, account::FlagChange};

use crate::grammar::{
    Command, SequenceSet,
    command::{AuthenticatedCommand, NotAuthenticatedCommand, SelectedCommand},
    date::Date,
    fetch::{FetchItem, Section, SectionText},
    parse,
    search::{Comparison, SearchKey, TextKey},
};

fn command(text: &str) -> Command {
    parse(format!("a {text}").as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}")).command
}

fn error(text: &str) -> String {
    match parse(text.as_bytes()) {
        Ok(parsed) => panic!("{text} is {parsed:?}"),
        Err(error) => error.to_string(),
    }
}

fn search(text: &str) -> SearchKey {
    match command(&format!("SEARCH {text}")) {
        Command::Selected(SelectedCommand::Search { search, .. }) => search.key.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn items(text: &str) -> Vec<FetchItem> {
    match command(&format!("FETCH 1 {text}")) {
        Command::Selected(SelectedCommand::Fetch { fetch, .. }) => fetch.items,
        other => panic!("{other:?}"),
    }
}

#[test]
fn errors_say_what_was_wrong_and_where() {
    assert_eq!(error("a FOO"), "a command that we know expected at octet 2");
    assert_eq!(error("a"), "a space expected at octet 1");
    assert_eq!(error("a NOOP x"), "the end of the command expected at octet 7");
    assert_eq!(error("a FETCH 1 (FLAGS BODY[1.])"), "a part number or a section expected at octet 24");
    assert_eq!(error("a UID NOOP"), "a command that we know expected at octet 2");
    assert_eq!(error("a SEARCH FOO"), "a search key expected at octet 9");
    assert_eq!(error("+ NOOP"), "a tag expected at octet 0");
}

#[test]
fn a_password_is_never_printed() {
    let login = command("LOGIN ann \"top secret\"");
    assert!(!format!("{login:?}").contains("secret"));
    let Command::NotAuthenticated(NotAuthenticatedCommand::Login { user, password }) = login else { panic!() };
    assert_eq!((&user[..], password.expose()), (&b"ann"[..], &b"top secret"[..]));
}

#[test]
fn rfc_9051_6_4_4_search_keys() {
    let seen = SearchKey::Flag(SystemFlags::SEEN);
    let not = |key| SearchKey::Not(Box::new(key));
    assert_eq!(search("ALL"), SearchKey::all());
    assert_eq!(search("(SEEN)"), seen);
    assert_eq!(search("UNSEEN"), not(seen.clone()));
    assert_eq!(
        search("OR NOT SEEN (FLAGGED SEEN)"),
        SearchKey::Or(Box::new((not(seen.clone()), SearchKey::And(vec![SearchKey::Flag(SystemFlags::FLAGGED), seen]))))
    );
    let date = Date::new(1994, 2, 1).unwrap();
    assert_eq!(search("SINCE 1-Feb-1994"), SearchKey::Internal(Comparison::Since, date));
    let sent = SearchKey::Text(TextKey::Sent(Comparison::Before, date));
    assert_eq!(search("SENTBEFORE \"01-Feb-1994\""), sent);
    let header = TextKey::Header { name: "X-Y".to_owned(), text: String::new() };
    assert_eq!(search("HEADER X-Y \"\""), SearchKey::Text(header));
    assert_eq!(search("CHARSET UTF-8 TEXT {2}\r\nü"), SearchKey::Text(TextKey::Text("ü".to_owned())));
    assert_eq!(search("$"), SearchKey::Sequence(SequenceSet::Saved));
}

#[test]
fn search_keys_have_bounds() {
    assert!(error(&format!("a SEARCH {}SEEN", "NOT ".repeat(100))).starts_with("fewer search keys"));
    assert!(error(&format!("a SEARCH {}SEEN{}", "(".repeat(100), ")".repeat(100))).starts_with("fewer search keys"));
    assert!(error(&format!("a SEARCH {}", "SEEN ".repeat(3000))).starts_with("fewer search keys"));
    assert!(parse(format!("a SEARCH {}SEEN", "NOT ".repeat(60)).as_bytes()).is_ok());
}

#[test]
fn rfc_9051_6_4_5_fetch_items() {
    use FetchItem as F;
    assert_eq!(items("FAST"), [F::Flags, F::InternalDate, F::Size]);
    assert_eq!(items("(BODY BODYSTRUCTURE)"), [F::Body, F::BodyStructure]);
    let section = Section {
        path: vec![4, 1],
        text: SectionText::HeaderFields { names: vec![b"To".to_vec(), b"Cc".to_vec()], not: true },
    };
    assert_eq!(
        items("BODY.PEEK[4.1.HEADER.FIELDS.NOT (To \"Cc\")]<5.9>"),
        [F::Section { section, partial: Some((5, 9)), peek: true }]
    );
    assert_eq!(items("BINARY[1.2]"), [F::Binary { path: vec![1, 2], partial: None, peek: false }]);
    for wrong in ["BODY[MIME]", "BODY[0]", "BODY[1]<0.0>", "()", "BODY.PEEK", "FLAGS[]", "HEADER"] {
        assert!(parse(format!("a FETCH 1 {wrong}").as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn rfc_9051_6_4_6_store() {
    let Command::Selected(SelectedCommand::Store { uid, store, .. }) =
        command("UID STORE 1:2 (UNCHANGEDSINCE 7) +FLAGS.SILENT \\Seen \\Recent $Forwarded")
    else {
        panic!()
    };
    assert!(uid && store.silent && store.change == FlagChange::Add);
    assert_eq!((store.unchanged_since, store.flags.keywords().len()), (Some(7), 1));
    assert!(parse(b"a STORE 1 FLAGS (\\Foo)").is_err());
    assert!(parse(b"a STORE 1 FLAGS (\\*)").is_err());
}

#[test]
fn rfc_7162_3_2_5_select_with_qresync() {
    let Command::Authenticated(AuthenticatedCommand::Select(select)) =
        command("SELECT INBOX (QRESYNC (67890007 90060115194045000 41:211,214:541 (5 20)))")
    else {
        panic!()
    };
    let qresync = select.qresync.unwrap();
    assert_eq!((qresync.uid_validity, qresync.mod_seq), (67_890_007, 90_060_115_194_045_000));
    assert_eq!(qresync.known_uids.unwrap().resolve(600), [(41, 211), (214, 541)]);
    assert!(parse(b"a SELECT INBOX (QRESYNC (67890007 90060115194045000))").is_ok());
}
