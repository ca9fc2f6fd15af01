//! Real clients, each on a real scenario. They are Debian packages; `make test` installs them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use securanet_tests::{
    dialogue::Dialogue,
    server::{PASSWORD, Server, address, must},
};

fn python(script: &str, server: &Server, more: &[&str]) -> String {
    let mut command = Command::new("python3");
    command.arg("-c").arg(script);
    for listener in ["smtp", "lmtp", "imap", "imaps", "pop3", "pop3s"] {
        command.env(listener.to_uppercase(), server.port(listener).to_string());
    }
    command.env("CA", server.certificate()).env("USER", address("ann")).env("PASSWORD", PASSWORD).args(more);
    must(command, "").unwrap()
}

#[test]
fn curl_sends_over_starttls_and_reads_by_imaps_and_pop3s() {
    let server = Server::start(&["ann"]).unwrap();
    let ca = server.certificate().display().to_string();
    let curl = |words: &[&str], input: &str| {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "40", "--cacert", &ca]).args(words);
        must(command, input).unwrap()
    };
    let to = address("ann");
    let smtp = format!("smtp://localhost:{}/client.example", server.port("smtp"));
    let message = "From: s@remote.example\r\nSubject: from curl\r\n\r\nbody by curl\r\n";
    curl(&["--ssl-reqd", &smtp, "--mail-from", "s@remote.example", "--mail-rcpt", &to, "-T", "-"], message);
    let user = format!("{to}:{PASSWORD}");
    let imap = format!("imaps://localhost:{}/INBOX;MAILINDEX=1", server.port("imaps"));
    assert!(curl(&["-u", &user, &imap], "").contains("body by curl"));
    let pop3 = format!("pop3s://localhost:{}/1", server.port("pop3s"));
    assert!(curl(&["-u", &user, &pop3], "").contains("body by curl"));
    let starttls = format!("imap://localhost:{}/INBOX;MAILINDEX=1", server.port("imap"));
    assert!(curl(&["--ssl-reqd", "-u", &user, &starttls], "").contains("body by curl"));
}

#[test]
fn swaks_delivers_by_smtp_and_lmtp_and_is_refused_as_a_relay() {
    let server = Server::start(&["ann"]).unwrap();
    let swaks = |words: &[&str]| {
        let mut command = Command::new("swaks");
        command.args(["--from", "s@remote.example", "--helo", "client.example", "--timeout", "40"]).args(words);
        command
    };
    let smtp = format!("127.0.0.1:{}", server.port("smtp"));
    must(swaks(&["--server", &smtp, "--tls", "--to", &address("ann")]), "").unwrap();
    let lmtp = format!("127.0.0.1:{}", server.port("lmtp"));
    must(swaks(&["--server", &lmtp, "--protocol", "LMTP", "--to", &address("ann")]), "").unwrap();
    let refused = must(swaks(&["--server", &smtp, "--to", "x@elsewhere.example"]), "").unwrap_err().to_string();
    assert!(refused.contains("550 5.7.1"), "{refused}");
    let unknown = must(swaks(&["--server", &smtp, "--to", &address("nobody")]), "").unwrap_err().to_string();
    assert!(unknown.contains("550 5.1.1"), "{unknown}");
}

#[test]
fn python_speaks_smtp_imap_and_pop3() {
    let server = Server::start(&["ann"]).unwrap();
    let script = r#"
import os, ssl, smtplib, imaplib, poplib
context = ssl.create_default_context(cafile=os.environ['CA'])
user, password = os.environ['USER'], os.environ['PASSWORD']
smtp = smtplib.SMTP('localhost', int(os.environ['SMTP']), timeout=40)
smtp.starttls(context=context)
smtp.sendmail('s@remote.example', [user], b'Subject: py\r\nFrom: s@remote.example\r\n\r\nbody\r\n.dot\r\n')
smtp.quit()
imap = imaplib.IMAP4_SSL('localhost', int(os.environ['IMAPS']), ssl_context=context)
imap.login(user, password)
assert imap.select()[1] == [b'1']
assert imap.search(None, 'SUBJECT', 'py')[1] == [b'1']
assert imap.search(None, 'BODY', 'nowhere')[1] == [b'']
data = imap.fetch('1', '(RFC822)')[1][0][1]
assert data.endswith(b'\r\n\r\nbody\r\n.dot\r\n'), data
stored = imap.store('1', '+FLAGS', r'(\Flagged)')[1][0]
assert rb'\Flagged' in stored and rb'\Seen' in stored, stored
assert imap.append('Sent', r'(\Seen)', None, b'Subject: sent\r\n\r\nx\r\n')[0] == 'OK'
assert imap.copy('1', 'Archive')[0] == 'OK'
assert imap.create('"a b/c"')[0] == 'OK'
assert imap.rename('"a b/c"', '"a b/d"')[0] == 'OK'
assert imap.delete('"a b/d"')[0] == 'OK'
assert imap.logout()[0] == 'BYE'
pop = poplib.POP3_SSL('localhost', int(os.environ['POP3S']), context=context)
pop.user(user); pop.pass_(password)
assert pop.stat()[0] == 1
assert pop.retr(1)[1][-2:] == [b'body', b'.dot'], pop.retr(1)
assert b'\r\n'.join(pop.top(1, 1)[1]).endswith(b'body')
pop.dele(1); pop.quit()
pop = poplib.POP3_SSL('localhost', int(os.environ['POP3S']), context=context)
pop.user(user); pop.pass_(password)
assert pop.stat()[0] == 0
print('fine')
"#;
    assert_eq!(python(script, &server, &[]), "fine\n");
}

/// Messages of the big synchronisation.
const SYNC_MESSAGES: usize = 5000;

fn write_maildir(folder: &Path, count: usize) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for number in 0..count {
        let text = format!(
            "From: s@remote.example\nSubject: sync {number}\nMessage-ID: <sync-{number}@remote.example>\n\nbody of {number}\n"
        );
        fs::write(folder.join(format!("cur/{number}.sync.local:2,S")), text).unwrap();
    }
}

fn mbsync(server: &Server, config: &Path) {
    let mut command = Command::new("mbsync");
    command.args(["-c", &config.display().to_string(), "-q", "sync"]).env("HOME", server.folder());
    must(command, "").unwrap();
}

fn messages_in(folder: &Path) -> Vec<String> {
    let list =
        |part: &str| fs::read_dir(folder.join(part)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    list("cur").chain(list("new")).collect()
}

#[test]
fn mbsync_keeps_a_maildir_and_a_mailbox_the_same_both_ways() {
    let server = Server::start(&["ann"]).unwrap();
    let local = server.folder().join("mail");
    write_maildir(&local.join("Work"), SYNC_MESSAGES);
    let config = server.folder().join("mbsyncrc");
    fs::write(
        &config,
        format!(
            "IMAPStore far\nHost localhost\nPort {}\nUser {}\nPass \"{PASSWORD}\"\nSSLType IMAPS\nCertificateFile {}\nPipelineDepth 50\n\n\
             MaildirStore near\nPath {}/\n\nChannel sync\nFar :far:Work\nNear :near:Work\nCreate Both\nExpunge Both\nSync All\nSyncState *\n",
            server.port("imaps"),
            address("ann"),
            server.certificate().display(),
            local.display(),
        ),
    )
    .unwrap();
    mbsync(&server, &config);
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let counted = imap.imap_ok("STATUS Work (MESSAGES UNSEEN)").unwrap().join("");
    assert!(counted.contains(&format!("MESSAGES {SYNC_MESSAGES}")) && counted.contains("UNSEEN 0"), "{counted}");

    // Far side: 100 flagged, 200 deleted. Near side: 50 deleted, 25 answered.
    imap.imap_ok("SELECT Work").unwrap();
    imap.imap_ok("UID STORE 1:100 +FLAGS (\\Flagged)").unwrap();
    imap.imap_ok("UID STORE 301:500 +FLAGS (\\Deleted)").unwrap();
    imap.imap_ok("EXPUNGE").unwrap();
    let work = local.join("Work");
    let mut near = messages_in(&work);
    near.sort();
    for name in &near[..50] {
        fs::remove_file(work.join("cur").join(name)).unwrap();
    }
    for name in &near[50..75] {
        let answered = name.replacen(":2,", ":2,R", 1);
        fs::rename(work.join("cur").join(name), work.join("cur").join(answered)).unwrap();
    }
    mbsync(&server, &config);
    mbsync(&server, &config);

    let count = |rows: Vec<String>| -> usize {
        let found = rows.iter().find_map(|row| row.split("COUNT ").nth(1)).expect("a count");
        found.trim_end_matches(')').parse().expect("a number")
    };
    let far = count(imap.imap_ok("UID SEARCH RETURN (COUNT) ALL").unwrap());
    let near = messages_in(&work);
    assert_eq!(near.len(), far, "both sides hold the same number");
    assert!((SYNC_MESSAGES - 250..=SYNC_MESSAGES - 200).contains(&far), "{far}");
    for (flag, letter) in [("ANSWERED", 'R'), ("FLAGGED", 'F')] {
        let far = count(imap.imap_ok(&format!("UID SEARCH RETURN (COUNT) {flag}")).unwrap());
        let has = |name: &&String| name.split(":2,").nth(1).is_some_and(|flags| flags.contains(letter));
        let near = near.iter().filter(has).count();
        assert_eq!(far, near, "{flag} on both sides");
        assert!(far > 0, "no message is {flag}: nothing was proved");
    }
}

#[test]
fn fetchmail_fetches_by_pop3_and_deletes() {
    let server = Server::start(&["ann"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    for number in 0..20 {
        let message = format!("Subject: f{number}\r\nMessage-ID: <f{number}@x.example>\r\n\r\nbody {number}\r\n");
        assert!(smtp.deliver("s@x.example", &["ann"], &message).unwrap().starts_with("250"));
    }
    let (rc, fetched) = (server.folder().join("fetchmailrc"), server.folder().join("fetched"));
    let text = format!(
        "poll localhost protocol pop3 port {} username \"{}\" password \"{PASSWORD}\" ssl sslcertck sslcertfile \"{}\" \
         fetchall no keep mda \"cat >> {}\"\n",
        server.port("pop3s"),
        address("ann"),
        server.certificate().display(),
        fetched.display(),
    );
    fs::write(&rc, text).unwrap();
    fs::set_permissions(&rc, PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = Command::new("fetchmail");
    command.arg("-f").arg(&rc).args(["--nosyslog", "--pidfile"]).arg(server.folder().join("fetchmail.pid"));
    command.env("FETCHMAILHOME", server.folder()).env("HOME", server.folder());
    must(command, "").unwrap();
    let text = fs::read_to_string(&fetched).unwrap();
    assert!((0..20).all(|number| text.contains(&format!("Message-ID: <f{number}@x.example>"))), "{text}");
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    assert!(imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap().join("").contains("MESSAGES 0"));
}

#[test]
fn mutt_reads_a_mailbox() {
    let server = Server::start(&["ann"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let message = "From: s@x.example\r\nSubject: for mutt\r\nMessage-ID: <m@x.example>\r\n\r\nread by mutt\r\n";
    assert!(smtp.deliver("s@x.example", &["ann"], message).unwrap().starts_with("250"));
    let home = server.folder().join("mutt");
    fs::create_dir_all(&home).unwrap();
    let rc = format!(
        "set folder=\"imaps://localhost:{}/\"\nset imap_user=\"{}\"\nset imap_pass=\"{PASSWORD}\"\n\
         set certificate_file=\"{}\"\nset spoolfile=\"+INBOX\"\nset ssl_usesystemcerts=no\nset move=no\nset header_cache=\n\
         set sort=date\nset confirmcreate=no\nset confirmappend=no\n",
        server.port("imaps"),
        address("ann"),
        server.certificate().display(),
    );
    fs::write(home.join("muttrc"), rc).unwrap();
    let copy = home.join("copy");
    let mut command = Command::new("mutt");
    command.arg("-F").arg(home.join("muttrc")).env("HOME", &home).env("TERM", "xterm");
    command.arg("-e").arg(format!(
        "push \"<tag-pattern>~A<enter><tag-prefix><copy-message>{}<enter><sync-mailbox><exit>\"",
        copy.display()
    ));
    let mut through = Command::new("timeout");
    through
        .arg("60")
        .arg("script")
        .args(["-qec", &shell(&command), "/dev/null"])
        .env("HOME", &home)
        .env("TERM", "xterm");
    must(through, "").unwrap();
    let text = fs::read_to_string(&copy).expect("mutt copied the message");
    assert!(text.contains("read by mutt"), "{text}");
}

/// A command as a line for the shell: mutt wants a terminal, which `script` gives it.
fn shell(command: &Command) -> String {
    let quote = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy().replace('\'', "'\\''"));
    std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect::<Vec<_>>().join(" ")
}
