//! Real messages, broken ones among them: what goes in comes out byte for byte.
//!
//! They are what packages ship: the messages of the `mail-parser` crate, those of Python's own tests and SpamAssassin's
//! samples. Each is first brought to CRLF. Those with a bare CR or a NUL are refused by SMTP and APPEND and imported with a counted
//! substitution; every other one goes in by SMTP and by APPEND.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cargo_metadata::MetadataCommand;
use securanet_tests::{
    dialogue::Dialogue,
    server::{Server, address},
};

/// What each source has at least; fewer, and something was not found.
const PARSER_MESSAGES_MIN: usize = 110;
const PYTHON_MESSAGES_MIN: usize = 45;
const SPAMASSASSIN_MESSAGES: usize = 2;

fn in_maildir(path: &Path) -> bool {
    path.parent().is_some_and(|folder| folder.ends_with("cur") || folder.ends_with("new"))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "eml" || extension == "txt")
            || in_maildir(&path)
        {
            found.push(path);
        }
    }
}

/// The test messages of the `mail-parser` crate.
fn parser_messages() -> Vec<PathBuf> {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let metadata = MetadataCommand::new().manifest_path(manifest).exec().expect("cargo metadata");
    let parser = metadata.packages.iter().find(|package| package.name.as_str() == "mail-parser").expect("mail-parser");
    let mut files = Vec::new();
    files_below(parser.manifest_path.parent().expect("folder").join("resources").as_std_path(), &mut files);
    files
}

/// The test messages of Python's `email`. Debian has them in a package of their own, for its own Python only.
fn python_messages() -> Vec<PathBuf> {
    let script = "import test.test_email, os; print(os.path.join(os.path.dirname(test.test_email.__file__), 'data'))";
    let mut files = Vec::new();
    for python in ["/usr/bin/python3", "python3"] {
        let Ok(output) = Command::new(python).args(["-c", script]).output() else { continue };
        let folder = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        if folder.is_dir() {
            files_below(&folder, &mut files);
            break;
        }
    }
    files
}

/// One message that is spam and one that is not, from Debian's package, unpacked and not installed.
fn spamassassin_messages() -> Vec<PathBuf> {
    let unpack = concat!(env!("CARGO_MANIFEST_DIR"), "/rivals/unpack");
    let output = Command::new(unpack).arg("spamassassin").output().expect("unpack");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let root = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let mut files = Vec::new();
    files_below(&root.join("usr/share/doc/spamassassin/examples"), &mut files);
    files
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let (mut files, python, spamassassin) = (parser_messages(), python_messages(), spamassassin_messages());
    assert!(files.len() >= PARSER_MESSAGES_MIN, "only {} messages of mail-parser were found", files.len());
    assert!(python.len() >= PYTHON_MESSAGES_MIN, "only {} messages of Python were found", python.len());
    assert_eq!(spamassassin.len(), SPAMASSASSIN_MESSAGES, "SpamAssassin's samples");
    files.extend(python.into_iter().chain(spamassassin));
    files.sort();
    let read =
        |path: PathBuf| (path.file_name().unwrap().to_string_lossy().into_owned(), to_crlf(&fs::read(&path).unwrap()));
    files.into_iter().map(read).filter(|(_, message)| !message.is_empty()).collect()
}

fn to_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b'\n' && (at == 0 || bytes[at - 1] != b'\r') {
            out.push(b'\r');
        }
        out.push(byte);
    }
    if !out.ends_with(b"\r\n") {
        out.extend(b"\r\n");
    }
    out
}

fn is_refused(message: &[u8]) -> bool {
    let bare_cr = message.iter().enumerate().any(|(at, &byte)| byte == b'\r' && message.get(at + 1) != Some(&b'\n'));
    bare_cr || message.contains(&0)
}

/// A message that already went through a hundred servers would be refused as a loop, which is another test.
fn is_loop(message: &[u8]) -> bool {
    String::from_utf8_lossy(message).matches("\r\nReceived:").count() > 99
}

fn smtp_in(server: &Server, local: &str, message: &[u8]) -> anyhow::Result<String> {
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO")?;
    smtp.expect("MAIL FROM:<s@remote.example> BODY=8BITMIME", "250")?;
    smtp.expect(&format!("RCPT TO:<{}>", address(local)), "250")?;
    smtp.expect("DATA", "354")?;
    smtp.send_data(message)
}

/// What we put before a message: exactly these three fields.
fn assert_trace(name: &str, trace: &[u8]) {
    let text = String::from_utf8_lossy(trace).replace("\r\n\t", " ").replace("\r\n ", " ");
    let fields: Vec<&str> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(fields, ["Return-Path", "Delivered-To", "Received"], "{name}: {text}");
}

#[test]
fn real_messages_come_out_byte_for_byte() {
    let server = Server::start(&["ann", "bob", "cid"]).unwrap();
    let (refused, taken): (Vec<_>, Vec<_>) = corpus().into_iter().partition(|(_, message)| is_refused(message));
    let mut imap = Dialogue::imap(server.address("imap"), "bob").unwrap();

    for (name, message) in &taken {
        assert!(!is_loop(message), "{name}");
        let reply = smtp_in(&server, "ann", message).unwrap();
        assert!(reply.starts_with("250"), "{name}: {reply}");
        let reply = imap.append("INBOX", message).unwrap();
        assert!(reply.starts_with("OK"), "{name}: {reply}");
    }
    check_taken(&server, &taken);

    for (name, message) in &refused {
        let reply = smtp_in(&server, "ann", message).unwrap();
        assert!(reply.starts_with("55"), "{name}: {reply}");
        let reply = imap.append("INBOX", message).unwrap();
        assert!(reply.starts_with("NO") || reply.starts_with("BAD"), "{name}: {reply}");
    }
    check_taken(&server, &taken);
    import(&server, &taken, &refused);
    assert!(server.cli(&["scrub"], "").unwrap().contains(" 0 findings"));
}

fn check_taken(server: &Server, taken: &[(String, Vec<u8>)]) {
    let mut ann = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let mut bob = Dialogue::imap(server.address("imap"), "bob").unwrap();
    let mut pop3 = Dialogue::pop3(server.address("pop3"), "ann").unwrap();
    for imap in [&mut ann, &mut bob] {
        let selected = imap.imap_ok("EXAMINE INBOX").unwrap();
        assert!(selected.contains(&format!("* {} EXISTS", taken.len())), "{selected:?}");
        // Whatever is broken in a message, its structure is an answer that can be read.
        imap.imap_ok("FETCH 1:* (ENVELOPE BODYSTRUCTURE RFC822.SIZE)").unwrap();
    }
    for (number, (name, message)) in (1..).zip(taken) {
        assert!(bob.fetch_message(number).unwrap() == *message, "APPEND and FETCH changed {name}");
        let fetched = ann.fetch_message(number).unwrap();
        let trace = fetched.strip_suffix(message.as_slice());
        assert_trace(name, trace.unwrap_or_else(|| panic!("SMTP and FETCH changed {name}")));
        pop3.pop3_ok(&format!("RETR {number}")).unwrap();
        assert!(pop3.pop3_body().unwrap() == fetched, "RETR changed {name}");
    }
    pop3.pop3_ok("QUIT").unwrap();
}

fn import(server: &Server, taken: &[(String, Vec<u8>)], refused: &[(String, Vec<u8>)]) {
    let folder = server.folder().join("import");
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for (number, (_, message)) in taken.iter().chain(refused).enumerate() {
        fs::write(folder.join(format!("cur/{number:04}.corpus:2,S")), message).unwrap();
    }
    let source = folder.display().to_string();
    let words = ["import", &address("cid"), &source];
    let told = server.cli(&words, "").unwrap();
    let all = taken.len() + refused.len();
    assert!(told.contains(&format!("{all} imported, 0 known already, 0 refused")), "{told}");
    assert!(refused.is_empty() || told.contains("bare CRs became CRLF"), "{told}");
    let again = server.cli(&words, "").unwrap();
    assert!(again.contains(&format!("0 imported, {all} known already")), "{again}");
    // Without its journal too: the shard knows the keys.
    for entry in fs::read_dir(server.folder().join("securanet")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let again = server.cli(&words, "").unwrap();
    assert!(again.contains(&format!("0 imported, {all} known already")), "{again}");

    let out = server.folder().join("export");
    let told = server.cli(&["export", &address("cid"), &out.display().to_string()], "").unwrap();
    assert!(told.contains(&format!("{all} exported")), "{told}");
    for (number, (name, message)) in (1..).zip(taken) {
        let found = fs::read_dir(out.join("cur"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.file_name().unwrap().to_string_lossy().split('.').nth(1) == Some(&number.to_string()));
        assert!(fs::read(found.expect(name)).unwrap() == *message, "import and export changed {name}");
    }
}
