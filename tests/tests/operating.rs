//! Operating one node: draining, a full disk, quotas, suspension, certificates, memory, and what others see of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Server, address, must},
};

const MESSAGE: &str = "Subject: x\r\nMessage-ID: <op@x.example>\r\n\r\nbody\r\n";

fn http(server: &Server, path: &str) -> (String, String) {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "40", "-w", "\n%{http_code}"]);
    command.arg(format!("http://{}{path}", server.address("admin")));
    let text = must(command, "").unwrap();
    let (body, code) = text.rsplit_once('\n').unwrap();
    (code.to_owned(), body.to_owned())
}

#[test]
fn draining_tells_every_client_and_loses_nothing() {
    let mut server = Server::start(&["ann"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    assert!(smtp.deliver("s@x.example", &["ann"], MESSAGE).unwrap().starts_with("250"));
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let mut pop3 = Dialogue::connect(server.address("pop3")).unwrap();
    pop3.line().unwrap();
    let stopping = thread::scope(|scope| {
        let stopped = scope.spawn(|| server.terminate());
        let told = smtp.line().unwrap();
        assert!(told.starts_with("421 4.3.2"), "{told}");
        let told = imap.line().unwrap();
        assert!(told.starts_with("* BYE"), "{told}");
        let told = pop3.line().unwrap();
        assert!(told.starts_with("-ERR"), "{told}");
        stopped.join().unwrap()
    });
    stopping.unwrap();
    server.restart().unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    assert!(imap.imap_ok("STATUS INBOX (MESSAGES)").unwrap().join("").contains("MESSAGES 1"));
}

#[test]
fn below_the_disk_reserve_no_mail_is_taken_in_and_reads_go_on() {
    let mut server = Server::start(&["ann"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    assert!(smtp.deliver("s@x.example", &["ann"], MESSAGE).unwrap().starts_with("250"));
    assert_eq!(http(&server, "/readyz").0, "200");
    let node_file = fs::read_to_string(server.config()).unwrap();
    assert!(!node_file.contains("disk_reserve_bytes"));
    server.set_config("[store]\ndisk_reserve_bytes = 9_000_000_000_000_000\n");
    server.restart().unwrap();

    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    smtp.expect("MAIL FROM:<s@x.example>", "452 4.3.1").unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    assert!(imap.imap_ok("FETCH 1 BODY.PEEK[]").unwrap().join("").contains("body"));
    let reply = imap.append("INBOX", MESSAGE.as_bytes()).unwrap();
    assert!(reply.starts_with("NO"), "{reply}");
    assert_eq!(http(&server, "/readyz").0, "503");
    assert_eq!(http(&server, "/healthz").0, "200");
    assert!(server.cli(&["status"], "").unwrap().starts_with("!! "));
}

#[test]
fn quotas_are_said_at_rcpt_and_by_imap() {
    let server = Server::start(&["ann"]).unwrap();
    server.cli(&["account", "quota", &address("ann"), "--quota-bytes", "2000"], "").unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    assert!(smtp.deliver("s@x.example", &["ann"], MESSAGE).unwrap().starts_with("250"));
    smtp.expect("MAIL FROM:<s@x.example> SIZE=5000", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", address("ann")), "452 4.2.2").unwrap();
    smtp.expect("RSET", "250").unwrap();
    server.cli(&["policy", "set", "smtp.over_quota_reply", "552"], "").unwrap();
    smtp.expect("MAIL FROM:<s@x.example> SIZE=5000", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", address("ann")), "552 5.2.2").unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let reply = imap.append("INBOX", "x".repeat(4000).as_bytes()).unwrap();
    assert!(reply.starts_with("NO [OVERQUOTA]"), "{reply}");
    let quota = imap.imap_ok("GETQUOTAROOT INBOX").unwrap().join("\n");
    assert!(quota.contains("STORAGE"), "{quota}");
}

#[test]
fn a_password_change_or_a_suspension_ends_sessions_within_a_second() {
    let server = Server::start(&["ann", "bob"]).unwrap();
    let mut ann = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let mut bob = Dialogue::imap(server.address("imap"), "bob").unwrap();
    server.cli(&["password", "set", &address("ann")], "another password\n").unwrap();
    let start = Instant::now();
    let told = ann.line().unwrap();
    assert!(told.starts_with("* BYE") && start.elapsed() < Duration::from_secs(2), "{told} {:?}", start.elapsed());
    assert!(Dialogue::imap(server.address("imap"), "ann").is_err(), "the old password still logs in");

    server.cli(&["account", "suspend", &address("bob")], "").unwrap();
    let start = Instant::now();
    let told = bob.line().unwrap();
    assert!(told.starts_with("* BYE") && start.elapsed() < Duration::from_secs(2), "{told} {:?}", start.elapsed());
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    smtp.expect("MAIL FROM:<s@x.example>", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", address("bob")), "550 5.2.1").unwrap();
}

/// The largest resident size of a process since it was last reset, in octets.
fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn resident_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A message with a base64 attachment that nothing compresses, `size` octets in all or a little less.
fn large_message(size: usize) -> Vec<u8> {
    let mut message =
        b"Subject: large\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
        Content-Type: text/plain\r\n\r\nsee attachment\r\n--b\r\nContent-Type: application/octet-stream\r\n\
        Content-Transfer-Encoding: base64\r\n\r\n"
            .to_vec();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random: u64 = 0x9E37_79B9_7F4A_7C15;
    while message.len() + 100 < size {
        for _ in 0..76 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            message.push(alphabet[(random >> 40) as usize % 64]);
        }
        message.extend(b"\r\n");
    }
    message.extend(b"--b--\r\n");
    message
}

#[test]
fn a_message_of_50_mib_takes_less_than_64_mib_of_memory() {
    let server = Server::start(&["ann"]).unwrap();
    let message = large_message(50 << 20);
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    // Once small, so that what is made once is made.
    assert!(smtp.deliver("s@x.example", &["ann"], MESSAGE).unwrap().starts_with("250"));
    let process = server.process_id();
    fs::write(format!("/proc/{process}/clear_refs"), "5").unwrap();
    let before = resident_memory(process);
    smtp.expect(&format!("MAIL FROM:<s@x.example> SIZE={}", message.len()), "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", address("ann")), "250").unwrap();
    smtp.expect("DATA", "354").unwrap();
    let reply = smtp.send_data(&message).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let more = peak_memory(process).saturating_sub(before);
    println!("{} MiB more for {} MiB", more >> 20, message.len() >> 20);
    assert!(more < 64 << 20, "{} MiB more", more >> 20);

    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    assert!(imap.fetch_message(2).unwrap().ends_with(&message));
    let too_large = large_message((50 << 20) + 4096);
    smtp.expect(&format!("MAIL FROM:<s@x.example> SIZE={}", too_large.len()), "552 5.3.4").unwrap();
    smtp.expect("MAIL FROM:<s@x.example>", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{}>", address("ann")), "250").unwrap();
    smtp.expect("DATA", "354").unwrap();
    let reply = smtp.send_data(&too_large).unwrap();
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let server = Server::start(&["ann"]).unwrap();
    let shown = || {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-connect", &format!("localhost:{}", server.port("imaps")), "-showcerts"]);
        let text = must(command, "").unwrap();
        text.split("-----BEGIN CERTIFICATE-----").nth(1).map(str::to_owned)
    };
    let first = shown().expect("a certificate");
    let mut names = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    names.distinguished_name.push(rcgen::DnType::CommonName, "renewed");
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = names.self_signed(&key).unwrap();
    fs::write(server.folder().join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(server.folder().join("certificate.pem"), certificate.pem()).unwrap();
    let start = Instant::now();
    while shown().as_ref() == Some(&first) {
        assert!(start.elapsed() < Duration::from_secs(30), "still the old certificate:\n{}", server.log());
        thread::sleep(Duration::from_millis(200));
    }
    assert!(http(&server, "/metrics").1.contains("certificate"), "no expiry among the metrics");
}

#[test]
fn idle_wakes_when_mail_comes() {
    let server = Server::start(&["ann"]).unwrap();
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    imap.send(b"i1 IDLE\r\n").unwrap();
    assert!(imap.line().unwrap().starts_with('+'));
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let start = Instant::now();
    assert!(smtp.deliver("s@x.example", &["ann"], MESSAGE).unwrap().starts_with("250"));
    let woken = imap.line().unwrap();
    assert!(woken.contains("1 EXISTS") && start.elapsed() < Duration::from_secs(2), "{woken} {:?}", start.elapsed());
    imap.send(b"DONE\r\n").unwrap();
    assert!(imap.imap_until("i1").unwrap().1.starts_with("OK"));
}

#[test]
fn a_mistake_in_the_node_file_is_named_with_its_remedy() {
    let server = Server::start(&[]).unwrap();
    let file = server.folder().join("wrong.toml");
    fs::write(&file, "data_directory = \"d\"\n[store]\nshard = 3\n").unwrap();
    let output = Command::new(securanet_tests::server::binary())
        .arg("check-config")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains("wrong.toml") && told.contains("unknown field `shard`"),
        "{told}"
    );
}
