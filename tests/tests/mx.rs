//! Mail into a small world: real DNS, real mail servers on port 25, and hosts that are dead in each way there is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "mx/sts.rs"]
mod sts;
#[path = "mx/tls_report.rs"]
mod tls_report;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, PASSWORD, Server, address, must},
    world::{Dns, Kind, Remote, Signed, Zone, add_address, apart},
};

const POSTFIX: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
const EXIM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 11);
const OPENSMTPD: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 12);
/// An address where connections are refused.
const REFUSING: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 99);
/// One that takes connections and never speaks.
const SILENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 98);

const EXAMPLE: Zone<'static> = Zone {
    name: "example",
    records: "postfix MX 10 mx.postfix\nmx.postfix A 192.0.2.10\n\
              exim MX 10 mx.exim\nmx.exim A 192.0.2.11\n\
              opensmtpd A 192.0.2.12\n\
              refusing A 192.0.2.99\nsilent A 192.0.2.98\nvoid A 198.51.100.7\n\
              second MX 10 refusing\nsecond MX 20 void\nsecond MX 30 mx.exim\n\
              null MX 0 .\n\
              self MX 10 mail.test\nself MX 20 mx.exim\nmail.test A 192.0.2.1\n\
              loopback A 127.0.0.1\n",
    signed: Signed::No,
};

/// One that no server can answer for.
const BROKEN: Zone<'static> = Zone { name: "broken", records: "this is ( no zone\n", signed: Signed::No };

/// Lines of the node file for this world; a dead host costs seconds here, not minutes.
fn config(more: &str) -> Options {
    let config = format!(
        "[delivery.dns]\nservers = [\"192.0.2.53:53\"]\ntimeout_seconds = 1\nnegative_ttl_seconds_max = 1\n\
         [delivery.client.timeouts]\nconnect_seconds = 2\ngreeting_seconds = 2\nnext_address_seconds = 1\n{more}"
    );
    Options { config, ..Options::default() }
}

/// Retries after a second each.
fn hurry(server: &Server) {
    for (key, value) in [("queue.retry_after", "1s,1s,1s,1s"), ("queue.no_such_domain_retry_after", "1s,1s,1s,1s")] {
        server.cli(&["policy", "set", key, value], "").unwrap();
    }
}

/// Submits a message of `ann`; its subject is its text too.
fn submit(server: &Server, to: &[&str], subject: &str) {
    submit_with(server, to, subject, "");
}

/// The same with more header fields.
fn submit_with(server: &Server, to: &[&str], subject: &str, fields: &str) {
    let mut smtp = Dialogue::smtp(server.address("submission"), "EHLO").unwrap();
    let secret = BASE64_STANDARD.encode(format!("\0{}\0{PASSWORD}", address("ann")));
    smtp.expect(&format!("AUTH PLAIN {secret}"), "235").unwrap();
    smtp.expect(&format!("MAIL FROM:<{}>", address("ann")), "250").unwrap();
    for recipient in to {
        smtp.expect(&format!("RCPT TO:<{recipient}>"), "250").unwrap();
    }
    smtp.expect("DATA", "354").unwrap();
    let message = format!("From: {}\r\nSubject: {subject}\r\n{fields}\r\n{subject}\r\n..a dot\r\n", address("ann"));
    smtp.send(message.as_bytes()).unwrap();
    smtp.expect(".", "250").unwrap();
}

/// Waits until something is there.
fn wait<T>(what: &str, server: &Server, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(90), "{what} did not happen:\n{}", queue(server));
        sleep(Duration::from_millis(100));
    }
}

fn queue(server: &Server) -> String {
    server.cli(&["queue", "list"], "").unwrap_or_else(|error| error.to_string())
}

/// The messages in ann's INBOX.
fn inbox(server: &Server) -> Vec<String> {
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let untagged = imap.imap_ok("EXAMINE INBOX").unwrap().join("\n");
    let exists = untagged.lines().find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse().ok());
    (1..=exists.unwrap_or(0u32))
        .map(|uid| String::from_utf8_lossy(&imap.fetch_message(uid).unwrap()).into_owned())
        .collect()
}

/// The one bounce about a recipient; it takes its time, and there is no second one.
fn bounce_about(server: &Server, recipient: &str) -> String {
    let about = |message: &&String| {
        message.contains("Action: failed") && message.contains(&format!("Final-Recipient: rfc822; {recipient}"))
    };
    let found = wait(&format!("a bounce about {recipient}"), server, || inbox(server).iter().find(about).cloned());
    sleep(Duration::from_secs(2));
    assert_eq!(inbox(server).iter().filter(about).count(), 1, "bounces about {recipient}");
    found
}

fn holds(remote: &Remote, subject: &str) -> usize {
    remote.messages().iter().filter(|message| message.contains(&format!("Subject: {subject}\n"))).count()
}

#[test]
fn mail_reaches_postfix_exim_and_opensmtpd_by_what_dns_says() {
    apart("mail_reaches_postfix_exim_and_opensmtpd_by_what_dns_says", || {
        let _dns = Dns::start(&[EXAMPLE]);
        let remotes = [
            ("postfix.example", Remote::start(Kind::Postfix, POSTFIX, "postfix.example", None)),
            ("exim.example", Remote::start(Kind::Exim, EXIM, "exim.example", None)),
            ("opensmtpd.example", Remote::start(Kind::OpenSmtpd, OPENSMTPD, "opensmtpd.example", None)),
        ];
        let server = Server::start_with(config(""), &["ann", "bob"]).unwrap();
        let everybody: Vec<String> = remotes.iter().map(|(domain, _)| format!("you@{domain}")).collect();
        let mut to: Vec<&str> = everybody.iter().map(String::as_str).collect();
        let bob = address("bob");
        to.push(&bob);
        submit(&server, &to, "to all");
        for (domain, remote) in &remotes {
            wait(domain, &server, || (holds(remote, "to all") == 1).then_some(()));
            let message = remote.messages().pop().unwrap();
            assert!(message.replace("\r\n", "\n").ends_with("to all\n.a dot\n"), "{message}");
            for field in ["Date: ", "Message-ID: <", "Received: from client.example"] {
                assert!(message.contains(field), "no {field} in {message}");
            }
        }
        let mut imap = Dialogue::imap(server.address("imap"), "bob").unwrap();
        wait("bob's copy", &server, || {
            imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap()[0].contains("MESSAGES 1").then_some(())
        });
        for (domain, remote) in &remotes {
            submit(&server, &[&format!("nobody@{domain}")], "to nobody");
            let bounce = bounce_about(&server, &format!("nobody@{domain}"));
            assert!(bounce.contains("no such person here"), "the remote's words are missing in {bounce}");
            assert!(bounce.contains("Status: 5.1.1"), "{bounce}");
            assert_eq!(holds(remote, "to nobody"), 0);
        }
    });
}

#[test]
fn dead_hosts_before_a_living_one_cost_no_retry() {
    apart("dead_hosts_before_a_living_one_cost_no_retry", || {
        let _dns = Dns::start(&[EXAMPLE]);
        add_address(REFUSING);
        let exim = Remote::start(Kind::Exim, EXIM, "second.example", None);
        let server = Server::start_with(config(""), &["ann"]).unwrap();
        submit(&server, &["you@second.example"], "by the third host");
        wait("delivery", &server, || (holds(&exim, "by the third host") == 1).then_some(()));
    });
}

#[test]
fn what_can_never_be_delivered_bounces_at_once() {
    apart("what_can_never_be_delivered_bounces_at_once", || {
        let _dns = Dns::start(&[EXAMPLE]);
        let server =
            Server::start_with(config("[delivery.routing]\nself_names = [\"mail.test.example\"]\n"), &["ann"]).unwrap();
        for (recipient, status) in [("you@null.example", "5.1.10"), ("you@self.example", "5.4.6")] {
            submit(&server, &[recipient], "never");
            let bounce = bounce_about(&server, recipient);
            assert!(bounce.contains(&format!("Status: {status}")), "{recipient}: {bounce}");
        }
    });
}

#[test]
fn a_failing_destination_is_tried_five_times_and_bounces_once() {
    apart("a_failing_destination_is_tried_five_times_and_bounces_once", || {
        let _dns = Dns::start(&[EXAMPLE, BROKEN]);
        add_address(REFUSING);
        add_address(SILENT);
        let _silent = TcpListener::bind((SILENT, 25)).unwrap();
        // Whatever DNS says, mail never goes there.
        let ourselves = TcpListener::bind((Ipv4Addr::LOCALHOST, 25)).unwrap();
        ourselves.set_nonblocking(true).unwrap();
        let exim = Remote::start(Kind::Exim, EXIM, "exim.example", None);
        let server = Server::start_with(config(""), &["ann"]).unwrap();
        hurry(&server);
        let dead = [
            "later@exim.example",
            "you@refusing.example",
            "you@silent.example",
            "you@void.example",
            "you@there.broken",
            "you@loopback.example",
        ];
        for recipient in dead.iter().chain(&["grey@exim.example", "you@nowhere.example"]) {
            submit(&server, &[recipient], "try");
        }
        wait("the greylisted one", &server, || (holds(&exim, "try") == 1).then_some(()));
        for recipient in dead.iter().chain(&["you@nowhere.example"]) {
            bounce_about(&server, recipient);
        }
        assert!(ourselves.accept().is_err(), "a connection to a loopback address");
        let nowhere = bounce_about(&server, "you@nowhere.example");
        assert!(nowhere.contains("Status: 5.1.2"), "{nowhere}");
        let delays: Vec<String> =
            inbox(&server).into_iter().filter(|message| message.contains("Action: delayed")).collect();
        assert_eq!(
            delays.len(),
            1,
            "of a domain that does not exist the sender hears after the first attempt: {delays:?}"
        );
        let tried = exim.log().matches("temporarily rejected RCPT <later@exim.example>").count();
        assert_eq!(tried, 5, "the first attempt and four retries:\n{}", exim.log());
    });
}

#[test]
fn a_dead_resolver_costs_no_retry() {
    apart("a_dead_resolver_costs_no_retry", || {
        let dns = Dns::start(&[EXAMPLE]);
        let exim = Remote::start(Kind::Exim, EXIM, "exim.example", None);
        let server = Server::start_with(config(""), &["ann"]).unwrap();
        hurry(&server);
        dns.pause();
        submit(&server, &["you@exim.example"], "patience");
        // Longer than four retries and their questions would take.
        sleep(Duration::from_secs(15));
        assert_eq!(inbox(&server), Vec::<String>::new(), "a fault of ours must not bounce");
        dns.resume();
        server.cli(&["queue", "retry", "--all"], "").unwrap();
        wait("delivery", &server, || (holds(&exim, "patience") == 1).then_some(()));
    });
}

#[test]
fn tls_is_used_where_it_is_offered_and_done_without_where_it_is_broken() {
    apart("tls_is_used_where_it_is_offered_and_done_without_where_it_is_broken", || {
        let _dns = Dns::start(&[EXAMPLE]);
        let server = Server::start_with(config(""), &["ann"]).unwrap();
        let (certificate, key) = (server.certificate(), server.folder().join("key.pem"));
        let offered = Some((certificate.as_path(), key.as_path()));
        let postfix = Remote::start(Kind::Postfix, POSTFIX, "postfix.example", offered);
        // Its certificate is announced and cannot be read.
        let nothing = server.folder().join("nothing.pem");
        std::fs::write(&nothing, "nothing").unwrap();
        let exim = Remote::start(Kind::Exim, EXIM, "exim.example", Some((nothing.as_path(), nothing.as_path())));
        submit(&server, &["you@postfix.example", "you@exim.example"], "sealed");
        wait("delivery to Postfix", &server, || (holds(&postfix, "sealed") == 1).then_some(()));
        assert!(postfix.log().contains("TLS connection established from"), "{}", postfix.log());
        wait("delivery to Exim", &server, || (holds(&exim, "sealed") == 1).then_some(()));
        let id =
            exim.messages()[0].lines().find_map(|line| line.strip_prefix("Message-ID: ").map(str::to_owned)).unwrap();
        let trace = server.cli(&["trace", id.trim()], "").unwrap();
        assert!(trace.contains("TLSv1.3"), "the trace says how it went to Postfix:\n{trace}");
        assert!(trace.contains("none (failed"), "the trace says how it went to Exim:\n{trace}");
    });
}

/// SHA-256 of the public key of a certificate, as TLSA records of usage 3, selector 1 have it (RFC 6698).
fn key_hash(certificate: &Path) -> String {
    let pipeline =
        "openssl x509 -in \"$0\" -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -r";
    let mut command = Command::new("sh");
    command.args(["-c", pipeline]).arg(certificate);
    must(command, "").unwrap().split(' ').next().unwrap().to_owned()
}

#[test]
fn rfc_7672_dane_decides_who_gets_the_mail() {
    apart("rfc_7672_dane_decides_who_gets_the_mail", || {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
        securanet_tests::server::make_certificate(folder.path()).unwrap();
        let records = format!(
            "good MX 10 mx.good\nmx.good A {POSTFIX}\n_25._tcp.mx.good TLSA 3 1 1 {}\n\
             wrong MX 10 mx.wrong\nmx.wrong A {EXIM}\n_25._tcp.mx.wrong TLSA 3 1 1 {}\n\
             plain MX 10 mx.plain\nmx.plain A {OPENSMTPD}\n_25._tcp.mx.plain TLSA 3 1 1 {}\n",
            key_hash(&certificate),
            "0".repeat(64),
            key_hash(&certificate),
        );
        let dns = Dns::start(&[
            Zone { name: "dane", records: &records, signed: Signed::Yes },
            Zone { name: "bogus", records: "you MX 10 mx\nmx A 192.0.2.10\n", signed: Signed::Broken },
        ]);
        let offered = Some((certificate.as_path(), key.as_path()));
        let postfix = Remote::start(Kind::Postfix, POSTFIX, "good.dane", offered);
        let exim = Remote::start(Kind::Exim, EXIM, "wrong.dane", offered);
        let opensmtpd = Remote::start(Kind::OpenSmtpd, OPENSMTPD, "plain.dane", None);
        let options = config("");
        let validating = format!(
            "servers = [\"192.0.2.53:53\"]\ndnssec = true\ntrust_anchor = {:?}",
            dns.anchor().display().to_string()
        );
        let config = options.config.replace("servers = [\"192.0.2.53:53\"]", &validating);
        let server = Server::start_with(Options { config, ..options }, &["ann"]).unwrap();
        hurry(&server);
        let refused = ["you@wrong.dane", "you@plain.dane", "you@you.bogus"];
        submit(&server, &["you@good.dane"], "secret");
        for recipient in refused {
            submit(&server, &[recipient], "secret");
        }
        wait("delivery under DANE", &server, || (holds(&postfix, "secret") == 1).then_some(()));
        assert!(postfix.log().contains("TLS connection established from"), "{}", postfix.log());
        for recipient in refused {
            bounce_about(&server, recipient);
        }
        assert_eq!(
            (holds(&exim, "secret"), holds(&opensmtpd, "secret")),
            (0, 0),
            "never to whom DANE does not vouch for"
        );
    });
}
