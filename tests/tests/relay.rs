//! A real Postfix relays into us over TLS: it verifies our certificate, and what it queued arrives exactly once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    ledger::Ledger,
    server::{Server, address, must},
};
use tempfile::TempDir;

/// Unpacking Postfix the first time and starting it; and its queue manager waits for nothing, so delivery is quick.
const PATIENCE: Duration = Duration::from_secs(120);
const MESSAGES: usize = 20;

/// Debian's Postfix, unpacked but not installed, relaying to our server; ended when dropped.
struct Postfix {
    child: Child,
    folder: TempDir,
    smtp: SocketAddr,
}

impl Postfix {
    fn start(server: &Server) -> Self {
        let folder = tempfile::Builder::new().prefix("securanet-postfix-").tempdir().unwrap();
        // Its processes give up root's rights and still have to come through.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let configuration = format!(
            "relayhost = [localhost]:{}\nsmtp_host_lookup = native\nsmtp_tls_security_level = verify\n\
             smtp_tls_CAfile = {}\nsmtp_tls_loglevel = 1\nmaillog_file_prefixes = {folder}\nmaillog_file = {folder}/log/mail\n",
            server.port("smtp"),
            server.certificate().display(),
            folder = folder.path().display(),
        );
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals/postfix");
        let child = Command::new(script)
            .arg(folder.path())
            .arg(port.to_string())
            .arg(configuration)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut postfix = Self { child, folder, smtp: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) };
        let start = Instant::now();
        while Dialogue::smtp(postfix.smtp, "EHLO").is_err() {
            assert!(start.elapsed() < PATIENCE, "Postfix does not start:\n{}", postfix.log());
            assert!(postfix.child.try_wait().unwrap().is_none(), "Postfix ended:\n{}", postfix.log());
            sleep(Duration::from_millis(100));
        }
        postfix
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log/mail")).unwrap_or_default()
    }

    fn submit(&self, to: &[&str], message: &str) {
        let mut command = Command::new(self.folder.path().join("sendmail"));
        command.args(["-i", "-f", "s@remote.example"]).args(to.iter().map(|local| address(local)));
        must(command, message).unwrap();
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- Postfix's log:\n{}", self.log());
        }
    }
}

/// How many messages the INBOX holds.
fn count(server: &Server, local: &str) -> usize {
    let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
    let status = imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap().join("");
    status.split("MESSAGES ").nth(1).unwrap().split(')').next().unwrap().parse().unwrap()
}

#[test]
fn what_a_postfix_relays_over_verified_tls_arrives_exactly_once() {
    let server = Server::start(&["ann", "bob"]).unwrap();
    let postfix = Postfix::start(&server);
    let ledger = Ledger::default();
    let mut smtp = Dialogue::smtp(postfix.smtp, "EHLO").unwrap();
    for number in 0..MESSAGES {
        let local = if number % 4 < 2 { "ann" } else { "bob" };
        let id = format!("relay-{number}@remote.example");
        ledger.attempt(&id);
        let header = format!("From: s@remote.example\nTo: {}\nSubject: {number}\nMessage-ID: <{id}>\n", address(local));
        if number % 2 == 0 {
            let message = format!("{header}\nBy SMTP.\n..a dot\n").replace('\n', "\r\n");
            assert!(smtp.deliver("s@remote.example", &[local], &message).unwrap().starts_with("250"));
        } else {
            postfix.submit(&[local], &format!("{header}\nBy sendmail.\n.a dot\n.\nand more\n"));
        }
        ledger.acknowledge(&id);
    }

    let start = Instant::now();
    while count(&server, "ann") + count(&server, "bob") < MESSAGES {
        assert!(start.elapsed() < PATIENCE, "Postfix has not relayed everything:\n{}", postfix.log());
        sleep(Duration::from_millis(100));
    }
    ledger.check(&server, &["ann", "bob"]);
    for local in ["ann", "bob"] {
        let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
        imap.imap_ok("EXAMINE INBOX").unwrap();
        for uid in 1..=u32::try_from(MESSAGES / 2).unwrap() {
            let message = String::from_utf8(imap.fetch_message(uid).unwrap()).unwrap();
            let ours = message.split("\r\nReceived: ").nth(1).unwrap_or_else(|| panic!("no Received in {message}"));
            assert!(ours.starts_with("from postfix.example"), "{message}");
            assert!(ours.contains("with ESMTPS"), "no TLS in {message}");
            assert!(
                message.ends_with("\r\n.a dot\r\n") || message.ends_with("\r\n.a dot\r\n.\r\nand more\r\n"),
                "{message}"
            );
        }
    }
    let log = postfix.log();
    assert!(log.contains("Verified TLS connection established to localhost"), "{log}");
}
