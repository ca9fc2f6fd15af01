//! Submission with real clients: logging in, writing to the world and to mailboxes here, and who may not.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::Path,
    process::{Command, Output},
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, PASSWORD, Server, address, make_certificate, must, run},
};
use serde_json::Value;

/// What leaves stays in the queue: the worker has tests of its own.
const QUEUED: &str = "[delivery]\nenabled = false\n";

fn start(accounts: &[&str]) -> Server {
    Server::start_with(Options { config: QUEUED.to_owned(), ..Options::default() }, accounts).unwrap()
}

/// The outbound queue, newest first.
fn queue(server: &Server) -> Vec<Value> {
    let text = server.cli(&["queue", "list", "--json"], "").unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn recipients(item: &Value) -> Vec<String> {
    let rows = item["recipients"].as_array().unwrap();
    rows.iter()
        .map(|row| format!("{} at {}", row["address"].as_str().unwrap(), row["destination"].as_str().unwrap()))
        .collect()
}

/// The messages in an INBOX, oldest first.
fn inbox(server: &Server, local: &str) -> Vec<String> {
    let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
    let exists = imap
        .imap_ok("SELECT INBOX")
        .unwrap()
        .iter()
        .find_map(|line| line.strip_prefix("* ")?.strip_suffix(" EXISTS")?.parse::<u32>().ok());
    let read = |uid| String::from_utf8(imap.fetch_message(uid).unwrap()).unwrap();
    (1..=exists.unwrap()).map(read).collect()
}

/// Logs in over a trusted network and says hello.
fn login(server: &Server, local: &str) -> Dialogue {
    let mut client = Dialogue::smtp(server.address("submission"), "EHLO").unwrap();
    let plain = base64(&format!("\0{}\0{PASSWORD}", address(local)));
    client.expect(&format!("AUTH PLAIN {plain}"), "235 2.7.0").unwrap();
    client
}

fn base64(text: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

#[test]
fn swaks_submits_over_starttls_and_implicit_tls() {
    let server = start(&["ann"]);
    let ann = address("ann");
    let swaks = |words: &[&str]| {
        let mut command = Command::new("swaks");
        command.args(["--from", &ann, "--to", "joe@elsewhere.example", "--helo", "client.example", "--timeout", "40"]);
        command.args(["--auth-user", &ann, "--auth-password", PASSWORD]).args(words);
        must(command, "")
    };
    let (clear, implicit) = (server.port("submission").to_string(), server.port("submissions").to_string());
    swaks(&["--server", "127.0.0.1", "--port", &clear, "--tls", "--auth", "PLAIN"]).unwrap();
    swaks(&["--server", "127.0.0.1", "--port", &implicit, "--tls-on-connect", "--auth", "LOGIN"]).unwrap();
    let (queued, sender) = (queue(&server), format!("<{ann}>"));
    assert_eq!(queued.len(), 2);
    for item in &queued {
        assert_eq!(
            (item["sender"].as_str(), recipients(item)),
            (Some(&*sender), vec!["joe@elsewhere.example at elsewhere.example".to_owned()])
        );
        assert!(item["origin"].as_str().unwrap().starts_with("account "), "{item}");
    }
    let wrong = swaks(&["--server", "127.0.0.1", "--port", &clear, "--tls", "--auth", "PLAIN", "--auth-password", "x"]);
    assert!(wrong.unwrap_err().to_string().contains("535 5.7.8"));
    assert_eq!(queue(&server).len(), 2);
}

#[test]
fn curl_submits_and_the_message_is_completed_on_its_way() {
    let server = start(&["ann", "bob"]);
    let url = format!("smtps://localhost:{}/client.example", server.port("submissions"));
    let (ann, bob) = (address("ann"), address("bob"));
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "40", "--cacert"]).arg(server.certificate());
    command.args(["-u", &format!("{ann}:{PASSWORD}"), &url, "--mail-from", &ann]);
    command.args([
        "--mail-rcpt",
        "joe@b\u{fc}cher.example",
        "--mail-rcpt",
        &bob,
        "--mail-rcpt",
        "zoe@other.example",
        "-T",
        "-",
    ]);
    must(command, &format!("Subject: hello\r\nTo: {bob}\r\nBcc: zoe@other.example\r\n\r\ntext\r\n")).unwrap();
    let [item] = queue(&server).try_into().unwrap();
    assert_eq!(
        recipients(&item),
        ["joe@xn--bcher-kva.example at xn--bcher-kva.example", "zoe@other.example at other.example"]
    );
    let start = std::time::Instant::now();
    let message = loop {
        if let Some(message) = inbox(&server, "bob").pop() {
            break message;
        }
        assert!(start.elapsed().as_secs() < 20, "bob has no mail");
    };
    let trace_id = item["trace_id"].as_str().unwrap();
    assert!(
        message.starts_with(&format!("Return-Path: <{ann}>\r\nDelivered-To: {bob}\r\nReceived: from client.example (")),
        "{message}"
    );
    assert!(message.contains("SMTPSA\r\n\t(TLSv1.3 cipher "), "{message}");
    assert!(message.contains(&format!("\r\n\tid {trace_id};")), "several recipients are not told of: {message}");
    assert!(message.contains(&format!("\r\nFrom: <{ann}>\r\nDate: ")), "{message}");
    assert!(message.contains(&format!("\r\nMessage-ID: <{trace_id}@test.example>\r\n")), "{message}");
    assert!(!message.contains("zoe"), "{message}");
    let traced = server.cli(&["trace", &format!("<{trace_id}@test.example>"), "--json"], "").unwrap();
    assert!(traced.contains(trace_id), "{traced}");
}

const PYTHON: &str = r#"
import base64, hashlib, hmac, os, smtplib, ssl
user, password = os.environ["LOGIN"], os.environ["PASSWORD"]
context = ssl.create_default_context(cafile=os.environ["CA"])
with smtplib.SMTP("localhost", int(os.environ["SUBMISSION"]), timeout=40) as smtp:
    smtp.starttls(context=context)
    smtp.ehlo()
    assert "SCRAM-SHA-256" in smtp.esmtp_features["auth"], smtp.esmtp_features
    assert {"dsn", "futurerelease", "deliverby", "requiretls", "chunking", "size"} <= smtp.esmtp_features.keys()
    # RFC 7677, by hand.
    first = f"n={user},r=client"
    code, challenge = smtp.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(b"n,," + first.encode()).decode())
    assert code == 334, (code, challenge)
    server_first = base64.b64decode(challenge).decode()
    fields = dict(field.split("=", 1) for field in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    final = f"c=biws,r={fields['r']}"
    said = f"{first},{server_first},{final}".encode()
    mac = lambda key, text: hmac.new(key, text, "sha256").digest()
    key = mac(salted, b"Client Key")
    signature = mac(hashlib.sha256(key).digest(), said)
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
    code, last = smtp.docmd(base64.b64encode(f"{final},p={proof}".encode()).decode())
    verifier = base64.b64encode(mac(mac(salted, b"Server Key"), said)).decode()
    assert (code, base64.b64decode(last)) == (334, f"v={verifier}".encode()), (code, last)
    code, _ = smtp.docmd("")
    assert code == 235, code
    refused = smtp.sendmail(
        user, ["joe@elsewhere.example", "nobody@test.example"],
        f"From: {user}\r\nSubject: from python\r\n\r\n.leading dot\r\n",
        mail_options=["RET=HDRS", "ENVID=abc"], rcpt_options=["NOTIFY=SUCCESS,FAILURE"])
    assert list(refused) == ["nobody@test.example"] and refused["nobody@test.example"][0] == 550, refused
    for sender, author in [("bob@test.example", user), (user, "bob@test.example"), (user, f"bob@test.example, {user}")]:
        try:
            smtp.sendmail(sender, ["joe@elsewhere.example"], f"From: {author}\r\n\r\n")
            raise SystemExit(f"{user} was let send as {sender}, {author}")
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            assert error.smtp_code == 550 and b"5.7.1" in error.smtp_error, error
"#;

#[test]
fn python_logs_in_by_scram_and_sends_as_itself_only() {
    let server = start(&["ann", "bob"]);
    let mut command = Command::new("python3");
    command.arg("-c").arg(PYTHON).env("LOGIN", address("ann")).env("PASSWORD", PASSWORD);
    command.env("SUBMISSION", server.port("submission").to_string()).env("CA", server.certificate());
    must(command, "").unwrap();
    let [item] = queue(&server).try_into().unwrap();
    assert_eq!(recipients(&item), ["joe@elsewhere.example at elsewhere.example"]);
}

/// Sends one message to the world; the last reply, or the first that refuses.
fn send(client: &mut Dialogue, sender: &str, from: &str) -> String {
    let mail = client.say(&format!("MAIL FROM:<{sender}>")).unwrap();
    if !mail.starts_with("250") {
        return mail;
    }
    let rcpt = client.say("RCPT TO:<joe@elsewhere.example>").unwrap();
    if !rcpt.starts_with("250") {
        client.expect("RSET", "250").unwrap();
        return rcpt;
    }
    client.expect("DATA", "354").unwrap();
    client.send_data(format!("From: {from}\r\nSubject: a\r\n\r\ntext\r\n").as_bytes()).unwrap()
}

#[test]
fn grants_let_an_account_send_as_others_until_they_are_taken_back() {
    let server = start(&["ann", "bob"]);
    let [ann, bob, sales] = ["ann", "bob", "sales"].map(address);
    server.cli(&["alias", "add", &sales, &bob], "").unwrap();
    let mut client = login(&server, "ann");
    assert!(send(&mut client, &sales, &sales).starts_with("550 5.7.1"));
    server.cli(&["grant", "add", &ann, &sales], "").unwrap();
    server.cli(&["grant", "add", &ann, &bob, "--on-behalf"], "").unwrap();
    let listed = server.cli(&["grant", "list", &ann], "").unwrap();
    assert!(listed.contains("send-as") && listed.contains("on-behalf"), "{listed}");
    assert!(send(&mut client, &sales, &sales).starts_with("250"));
    assert!(send(&mut client, &bob, &bob).starts_with("250"));
    assert!(send(&mut login(&server, "bob"), &ann, &ann).starts_with("550 5.7.1"), "a grant has a direction");
    server.cli(&["grant", "remove", &ann, &sales], "").unwrap();
    assert!(send(&mut client, &sales, &sales).starts_with("550 5.7.1"));
    server.cli(&["grant", "add", &ann, "*@test.example"], "").unwrap();
    assert!(send(&mut client, &sales, &sales).starts_with("250"));
    let foreign = server.try_cli(&["grant", "add", &ann, "x@elsewhere.example"], "").unwrap();
    assert!(!foreign.status.success());
    assert_eq!(queue(&server).len(), 3);
}

#[test]
fn a_device_with_a_relay_grant_sends_without_logging_in() {
    let server = start(&["ann"]);
    let scanner = address("scanner");
    let mut client = Dialogue::smtp(server.address("submission"), "EHLO").unwrap();
    assert!(send(&mut client, &scanner, &scanner).starts_with("530 5.7.0"), "the default grants none");
    let set =
        ["relay", "set", "scanners", "--network", "127.0.0.0/8", "--sender", &scanner, "--to", "elsewhere.example"];
    server.cli(&set, "").unwrap();
    assert!(server.cli(&["relay", "list"], "").unwrap().contains("scanners"));
    assert!(send(&mut client, &scanner, &scanner).starts_with("250"));
    assert!(send(&mut client, &address("ann"), &scanner).starts_with("550 5.7.1"));
    assert!(send(&mut client, &scanner, &address("ann")).starts_with("550 5.7.1"));
    let [item] = queue(&server).try_into().unwrap();
    assert_eq!(item["origin"], "relay scanners");
    let mut world = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    assert!(send(&mut world, &scanner, &scanner).starts_with("550 5.7.1"), "not where the world comes in");
    server.cli(&["relay", "remove", "scanners"], "").unwrap();
    assert!(send(&mut client, &scanner, &scanner).starts_with("530 5.7.0"));
}

/// Makes a certificate and tells its digest as openssl prints it.
fn make_client(folder: &Path) -> String {
    std::fs::create_dir(folder).unwrap();
    make_certificate(folder).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(folder.join("certificate.pem"));
    let printed = must(openssl, "").unwrap();
    printed.trim().split_once('=').unwrap().1.to_owned()
}

/// Submits as the scanner over implicit TLS, with a client certificate.
fn submit_with(server: &Server, client: &Path) -> Output {
    let mut curl = Command::new("curl");
    curl.args(["-sSv", "--insecure", &format!("smtps://{}/scanner", server.address("submissions"))]);
    curl.arg("--cert").arg(client.join("certificate.pem")).arg("--key").arg(client.join("key.pem"));
    curl.args(["--mail-from", &address("scanner"), "--mail-rcpt", "joe@elsewhere.example", "-T", "-"]);
    run(curl, &format!("From: {}\r\n\r\nscanned\r\n", address("scanner"))).unwrap()
}

#[test]
fn a_device_with_a_certificate_sends_without_logging_in() {
    let server = start(&[]);
    let (scanner, other) = (server.folder().join("scanner"), server.folder().join("other"));
    let digest = make_client(&scanner);
    make_client(&other);
    let sender = address("scanner");
    server
        .cli(
            &["relay", "set", "scanner", "--certificate", &digest, "--sender", &sender, "--to", "elsewhere.example"],
            "",
        )
        .unwrap();
    assert!(server.cli(&["relay", "list"], "").unwrap().contains(&digest));
    let taken = submit_with(&server, &scanner);
    assert!(taken.status.success(), "{}", String::from_utf8_lossy(&taken.stderr));
    let refused = submit_with(&server, &other);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("530 5.7.0"), "{said}");
    let [item] = queue(&server).try_into().unwrap();
    assert_eq!(item["origin"], "relay scanner");
}

#[test]
fn a_session_ends_with_its_credentials() {
    let server = start(&["ann"]);
    let mut client = login(&server, "ann");
    client.expect("NOOP", "250").unwrap();
    server.cli(&["password", "set", &address("ann")], "another password\n").unwrap();
    assert!(client.reply().unwrap().starts_with("421 4.7.0"));
    assert!(client.is_closed());
}

#[test]
fn limits_are_policies() {
    let server = start(&["ann"]);
    server.cli(&["policy", "set", "submission.messages_per_hour", "2", "--account", &address("ann")], "").unwrap();
    let (ann, mut client) = (address("ann"), login(&server, "ann"));
    assert!((0..2).all(|_| send(&mut client, &ann, &ann).starts_with("250")));
    assert!(send(&mut client, &ann, &ann).starts_with("450 4.7.1"));
    server.cli(&["policy", "set", "submission.hide_client", "true"], "").unwrap();
}

/// Senders and recipients with which open relays have been found.
const PROBES: [(&str, &str); 20] = [
    ("spam@example.com", "victim@relay.test"),
    ("", "victim@relay.test"),
    ("spam@localhost", "victim@relay.test"),
    ("spam", "victim@relay.test"),
    ("spam@test.example", "victim@relay.test"),
    ("spam@[127.0.0.1]", "victim@relay.test"),
    ("spam@mail.test.example", "victim@relay.test"),
    ("ann@test.example", "victim@relay.test"),
    ("spam@test.example", "victim%relay.test@mail.test.example"),
    ("spam@test.example", "victim%relay.test@[127.0.0.1]"),
    ("spam@test.example", "victim%relay.test@test.example"),
    ("spam@test.example", "\"victim@relay.test\""),
    ("spam@test.example", "\"victim@relay.test\"@test.example"),
    ("spam@test.example", "victim@relay.test@test.example"),
    ("spam@test.example", "victim@relay.test@[127.0.0.1]"),
    ("spam@test.example", "@test.example:victim@relay.test"),
    ("spam@test.example", "@[127.0.0.1]:victim@relay.test"),
    ("spam@test.example", "relay.test!victim"),
    ("spam@test.example", "relay.test!victim@test.example"),
    ("postmaster@test.example", "victim@[127.0.0.1]"),
];

#[test]
fn no_listener_is_an_open_relay() {
    let server = start(&["ann"]);
    for (listener, hello) in [("smtp", "EHLO"), ("strict", "EHLO"), ("lmtp", "LHLO"), ("submission", "EHLO")] {
        for (sender, recipient) in PROBES {
            let mut client = Dialogue::smtp(server.address(listener), hello).unwrap();
            client.say(&format!("MAIL FROM:<{sender}>")).unwrap();
            for command in [format!("RCPT TO:<{recipient}>"), "DATA".to_owned()] {
                let reply = client.say(&command).unwrap();
                assert!(reply.starts_with('5'), "{listener}: {sender} {command}: {reply}");
            }
        }
    }
    assert_eq!(queue(&server), [Value::Null; 0]);
    assert!(inbox(&server, "ann").is_empty());
}
