//! Copies in Sent, with a client that uploads its own: Python's smtplib and imaplib.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::Command;

use securanet_tests::server::{Options, PASSWORD, Server, address, must};

/// Submits, then looks at Sent and uploads what it sent, as Outlook and Thunderbird do. Prints one line a finding.
const CLIENT: &str = r#"
import imaplib, smtplib, ssl, sys
smtp_port, imap_port, certificate, ann, bob, password = sys.argv[1:]
tls = ssl.create_default_context(cafile=certificate)

def submit(number, recipient):
    message = (f"From: {ann}\r\nTo: {recipient}\r\nBcc: hidden@elsewhere.example\r\nSubject: {number}\r\n"
               f"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <{number}@test.example>\r\n\r\ntext {number}\r\n")
    with smtplib.SMTP_SSL("localhost", int(smtp_port), context=tls) as client:
        client.login(ann, password)
        client.sendmail(ann, [recipient], message)
    return message.encode()

imap = imaplib.IMAP4_SSL("localhost", int(imap_port), ssl_context=tls)
imap.login(ann, password)
def sent():
    imap.select("Sent")
    found = imap.uid("search", "ALL")[1][0].split()
    flags = lambda uid: imap.uid("fetch", uid, "FLAGS")[1][0].decode().split("FLAGS ")[1].replace(" \\Recent", "")
    return " ".join(f"{uid.decode()}={flags(uid)}" for uid in found)
def append(flags, message):
    code = imap.append("Sent", flags, None, message)[1][0].decode()
    return code[1:].split("]")[0].split()[2]
def multiappend(*messages):
    tag = imap._new_tag()
    line = tag + b" APPEND Sent"
    for message in messages:
        line += b" (\\Flagged) {%d+}\r\n" % len(message) + message
    imap.send(line + b"\r\n")
    kind, text = imap._command_complete("APPEND", tag)
    return text[0].decode()[1:].split("]")[0].split()[2]

for number in sys.stdin.read().split():
    first = submit(f"{number}-world", "joe@elsewhere.example")
    print("after the world:", sent())
    second = submit(f"{number}-bob", bob)
    print("after bob:", sent())
    submit(f"{number}-bob", bob)
    print("after the repeat:", sent())
    print("upload:", append("(\\Seen)", first))
    print("upload with a flag:", append("(\\Seen \\Answered)", second))
    other = first.replace(b"Message-ID: <", b"Message-ID: <other-")
    print("uploads:", multiappend(second, other, first))
    print("then:", sent())
    uid = imap.uid("search", "SUBJECT", f"{number}-world")[1][0].split()[0]
    text = imap.uid("fetch", uid, "BODY.PEEK[]")[1][0][1]
    print("hidden:", b"hidden@" in text, "text:", text.endswith(b"text %s-world\r\n" % number.encode()))
"#;

fn client(server: &Server, number: &str) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", CLIENT, &server.port("submissions").to_string(), &server.port("imaps").to_string()]);
    command.arg(server.certificate()).args([&address("ann"), &address("bob"), PASSWORD]);
    must(command, number).unwrap()
}

/// What leaves stays in the queue.
const QUEUED: &str = "[delivery]\nenabled = false\n";

#[test]
fn what_is_submitted_is_in_sent_once_even_if_the_client_uploads_it_too() {
    let mut server =
        Server::start_with(Options { config: QUEUED.to_owned(), ..Options::default() }, &["ann", "bob"]).unwrap();
    let off = client(&server, "off");
    assert!(
        off.starts_with("after the world: \nafter bob: \nafter the repeat: \nupload: 1\nupload with a flag: 2\n"),
        "{off}"
    );
    assert!(off.contains("uploads: 3:5\n"), "{off}");
    let ann = address("ann");
    server.cli(&["policy", "set", "submission.copy_to_sent", "true", "--account", &ann], "").unwrap();
    let mut imap = securanet_tests::dialogue::Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT Sent").unwrap();
    imap.imap_ok("STORE 1:* +FLAGS.SILENT (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    let expected = "after the world: 6=(\\Seen))\n\
                    after bob: 6=(\\Seen)) 7=(\\Seen))\n\
                    after the repeat: 6=(\\Seen)) 7=(\\Seen))\n\
                    upload: 6\n\
                    upload with a flag: 7\n\
                    uploads: 7:8,6\n\
                    then: 6=(\\Flagged \\Seen)) 7=(\\Answered \\Flagged \\Seen)) 8=(\\Flagged))\n\
                    hidden: False text: True\n";
    assert_eq!(client(&server, "on"), expected);
    // What a crash leaves is the same.
    server.kill();
    server.restart().unwrap();
    let mut imap = securanet_tests::dialogue::Dialogue::imap(server.address("imap"), "ann").unwrap();
    let lines = imap.imap_ok("STATUS Sent (MESSAGES UNSEEN UIDNEXT)").unwrap();
    let count = |item| securanet_tests::imap::status(&lines, item);
    assert_eq!((count("MESSAGES"), count("UNSEEN"), count("UIDNEXT")), (3, 1, 9));
}

#[test]
fn a_full_mailbox_keeps_no_copy_and_hinders_no_mail() {
    let server =
        Server::start_with(Options { config: QUEUED.to_owned(), ..Options::default() }, &["ann", "bob"]).unwrap();
    server.cli(&["policy", "set", "submission.copy_to_sent", "true"], "").unwrap();
    server.cli(&["account", "quota", &address("ann"), "--quota-bytes", "10"], "").unwrap();
    let mut swaks = Command::new("swaks");
    swaks.args(["--from", &address("ann"), "--to", &address("bob"), "--auth-user", &address("ann")]);
    swaks.args(["--auth-password", PASSWORD, "--auth", "PLAIN", "--tls", "--server", "127.0.0.1", "--timeout", "40"]);
    swaks.args(["--port", &server.port("submission").to_string()]);
    must(swaks, "").unwrap();
    let exists = |local: &str, mailbox: &str| {
        let mut imap = securanet_tests::dialogue::Dialogue::imap(server.address("imap"), local).unwrap();
        securanet_tests::imap::status(&imap.imap_ok(&format!("STATUS {mailbox} (MESSAGES)")).unwrap(), "MESSAGES")
    };
    assert_eq!((exists("bob", "INBOX"), exists("ann", "Sent")), (1, 0));
    assert!(server.log().contains("no copy in Sent: the account is full"), "{}", server.log());
}
