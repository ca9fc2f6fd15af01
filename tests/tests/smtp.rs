//! SMTP and LMTP from strangers: who gets the mail, and what each reply promises.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::Write,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    imap::{Row, status},
    server::{Options, Server, address},
};

const PROXIED: &str = "[[listener]]\nname = \"proxied\"\nprotocol = \"smtp\"\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n\
                       proxy_networks = [\"127.0.0.0/8\"]\n";

fn message(id: &str) -> String {
    format!("From: s@x.example\r\nSubject: {id}\r\nMessage-ID: <{id}@x.example>\r\n\r\nbody of {id}\r\n")
}

fn smtp(server: &Server) -> Dialogue {
    Dialogue::smtp(server.address("smtp"), "EHLO").unwrap()
}

/// Delivers to an address as it is written.
fn deliver(smtp: &mut Dialogue, to: &str, message: &str) -> String {
    smtp.expect("MAIL FROM:<s@x.example>", "250").unwrap();
    smtp.expect(&format!("RCPT TO:<{to}>"), "250").unwrap();
    smtp.expect("DATA", "354").unwrap();
    smtp.send_data(message.as_bytes()).unwrap()
}

fn count(server: &Server, local: &str, mailbox: &str) -> u64 {
    let mut imap = Dialogue::imap(server.address("imap"), local).unwrap();
    status(&imap.imap_ok(&format!("STATUS \"{mailbox}\" (MESSAGES)")).unwrap(), "MESSAGES")
}

/// Several shards are reached a moment after the 250.
fn wait_for(server: &Server, local: &str, mailbox: &str, expected: u64) {
    let start = Instant::now();
    loop {
        let counted = count(server, local, mailbox);
        if counted == expected {
            return;
        }
        assert!(
            counted < expected && start.elapsed().as_secs() < 20,
            "{local}: {counted} in {mailbox}, not {expected}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn aliases_groups_tags_and_catch_all_lead_where_they_should() {
    let server = Server::start(&["ann", "bob", "cid"]).unwrap();
    let [ann, bob, cid] = ["ann", "bob", "cid"].map(address);
    server.cli(&["alias", "add", &address("sales"), &ann], "").unwrap();
    server.cli(&["group", "set", &address("inner"), &ann, &bob], "").unwrap();
    server.cli(&["group", "set", &address("outer"), &address("inner"), &cid, &address("sales")], "").unwrap();
    let mut client = smtp(&server);
    assert!(deliver(&mut client, &address("sales"), &message("alias")).starts_with("250"));
    wait_for(&server, "ann", "INBOX", 1);
    // A nested group: each member once, although two ways lead to ann.
    assert!(deliver(&mut client, &address("outer"), &message("nested")).starts_with("250"));
    for (local, expected) in [("ann", 2), ("bob", 1), ("cid", 1)] {
        wait_for(&server, local, "INBOX", expected);
    }
    // A loop is refused when it is made, or does no harm.
    let looped = server.try_cli(&["group", "set", &address("inner"), &ann, &bob, &address("outer")], "").unwrap();
    if looped.status.success() {
        assert!(deliver(&mut client, &address("outer"), &message("loop")).starts_with("250"));
        wait_for(&server, "bob", "INBOX", 2);
    }
    let foreign = server.cli(&["group", "set", &address("far"), "x@elsewhere.example"], "").unwrap();
    assert!(foreign.contains("leaves"), "the operator is told that mail goes outside: {foreign}");

    // Subaddresses: into the folder when there is one, else the INBOX; the local part is case-insensitive.
    let before = count(&server, "cid", "INBOX");
    Dialogue::imap(server.address("imap"), "cid").unwrap().imap_ok("CREATE Lists").unwrap();
    assert!(deliver(&mut client, &address("cid+lists"), &message("tag1")).starts_with("250"));
    assert!(deliver(&mut client, &address("CID+nowhere"), &message("tag2")).starts_with("250"));
    wait_for(&server, "cid", "Lists", 1);
    wait_for(&server, "cid", "INBOX", before + 1);

    client.expect("MAIL FROM:<s@x.example>", "250").unwrap();
    client.expect(&format!("RCPT TO:<{}>", address("nobody")), "550 5.1.1").unwrap();
    client.expect("RCPT TO:<x@elsewhere.example>", "550 5.7.1").unwrap();
    client.expect(&format!("RCPT TO:<@relay.example:x%elsewhere.example@{}>", "test.example"), "550").unwrap();
    client.expect("RSET", "250").unwrap();
    server.cli(&["domain", "set", "test.example", "--catch-all", &bob], "").unwrap();
    let before = count(&server, "bob", "INBOX");
    assert!(deliver(&mut client, &address("nobody"), &message("caught")).starts_with("250"));
    wait_for(&server, "bob", "INBOX", before + 1);
}

#[test]
fn rfc_5321_4_5_1_postmaster_abuse_and_the_null_sender_are_always_accepted() {
    let server = Server::start(&["ann", "postmaster"]).unwrap();
    let mut client = smtp(&server);
    for (number, to) in ["postmaster", "Postmaster@test.example", "abuse@test.example"].into_iter().enumerate() {
        client.expect("MAIL FROM:<>", "250").unwrap();
        client.expect(&format!("RCPT TO:<{to}>"), "250").unwrap();
        client.expect("DATA", "354").unwrap();
        let reply = client.send_data(message(&format!("role{number}")).as_bytes()).unwrap();
        assert!(reply.starts_with("250"), "{to}: {reply}");
    }
    wait_for(&server, "postmaster", "INBOX", 3);
    let mut imap = Dialogue::imap(server.address("imap"), "postmaster").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let header = imap.imap_ok("FETCH 1 BODY.PEEK[HEADER]").unwrap().join("\n");
    assert!(header.contains("Return-Path: <>"), "{header}");
}

#[test]
fn idn_domains_are_one_domain_in_both_forms() {
    let server = Server::start(&["ann"]).unwrap();
    server.cli(&["domain", "add", "bücher.example"], "").unwrap();
    server.cli(&["alias", "add", "info@bücher.example", &address("ann")], "").unwrap();
    let mut client = smtp(&server);
    assert!(deliver(&mut client, "info@xn--bcher-kva.example", &message("ascii")).starts_with("250"));
    client.expect("MAIL FROM:<s@x.example> SMTPUTF8", "250").unwrap();
    client.expect("RCPT TO:<info@BÜCHER.example>", "250").unwrap();
    client.expect("DATA", "354").unwrap();
    assert!(client.send_data(message("utf8").as_bytes()).unwrap().starts_with("250"));
    wait_for(&server, "ann", "INBOX", 2);
}

#[test]
fn rfc_5321_6_3_a_message_with_over_100_received_fields_loops() {
    let server = Server::start(&["ann"]).unwrap();
    let received = |count: usize| "Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n".repeat(count);
    let mut client = smtp(&server);
    let reply = deliver(&mut client, &address("ann"), &format!("{}{}", received(101), message("loops")));
    assert!(reply.starts_with("554 5.4.6"), "{reply}");
    let reply = deliver(&mut client, &address("ann"), &format!("{}{}", received(99), message("far")));
    assert!(reply.starts_with("250"), "{reply}");
    wait_for(&server, "ann", "INBOX", 1);
}

#[test]
fn a_senders_repeat_is_acknowledged_and_kept_once() {
    let mut server = Server::start(&["ann", "bob"]).unwrap();
    for _ in 0..2 {
        // Our own trace fields differ; what the sender says is the same.
        let mut client = smtp(&server);
        assert!(deliver(&mut client, &address("ann"), &message("same")).starts_with("250"));
        let twice = client.deliver("s@x.example", &["ann", "bob"], &message("both")).unwrap();
        assert!(twice.starts_with("250"), "{twice}");
        server.kill();
        server.restart().unwrap();
    }
    let mut client = smtp(&server);
    // Another body under the same Message-ID, or another sender, is another message.
    let other = message("same").replace("body of", "another body of");
    assert!(deliver(&mut client, &address("ann"), &other).starts_with("250"));
    assert!(client.deliver("other@x.example", &["ann"], &message("same")).unwrap().starts_with("250"));
    wait_for(&server, "bob", "INBOX", 1);
    wait_for(&server, "ann", "INBOX", 4);
    assert_eq!((count(&server, "ann", "INBOX"), count(&server, "bob", "INBOX")), (4, 1));
}

#[test]
fn rfc_2033_lmtp_answers_for_each_recipient() {
    let server = Server::start(&["ann", "bob", "cid"]).unwrap();
    server.cli(&["account", "quota", &address("bob"), "--quota-bytes", "100"], "").unwrap();
    let mut lmtp = Dialogue::smtp(server.address("lmtp"), "LHLO").unwrap();
    lmtp.expect("MAIL FROM:<s@x.example>", "250").unwrap();
    for local in ["ann", "bob", "cid"] {
        lmtp.expect(&format!("RCPT TO:<{}>", address(local)), "250").unwrap();
    }
    lmtp.expect(&format!("RCPT TO:<{}>", address("nobody")), "550 5.1.1").unwrap();
    lmtp.expect("DATA", "354").unwrap();
    let replies = [lmtp.send_data(message("lmtp").as_bytes()).unwrap(), lmtp.reply().unwrap(), lmtp.reply().unwrap()];
    assert!(replies[0].starts_with("250") && replies[2].starts_with("250"), "{replies:?}");
    assert!(replies[1].starts_with("452 4.2.2") || replies[1].starts_with("552 5.2.2"), "{replies:?}");
    lmtp.expect("NOOP", "250").unwrap();
    for (local, expected) in [("ann", 1), ("bob", 0), ("cid", 1)] {
        assert_eq!(count(&server, local, "INBOX"), expected, "{local}");
    }
    lmtp.expect("HELO client.example", "500").unwrap();
    let mut client = Dialogue::connect(server.address("smtp")).unwrap();
    client.reply().unwrap();
    client.expect("LHLO client.example", "500").unwrap();
}

#[test]
fn rfc_3030_chunks_are_one_message_by_their_octets() {
    let server = Server::start(&["ann"]).unwrap();
    let mut client = smtp(&server);
    let body = "Subject: chunks\r\n\r\n.dot\r\n.\r\nRCPT TO:<x@elsewhere.example>\r\nend\r\n";
    client.expect("MAIL FROM:<s@x.example>", "250").unwrap();
    client.expect(&format!("RCPT TO:<{}>", address("ann")), "250").unwrap();
    let (one, two) = body.split_at(24);
    client.send(format!("BDAT {}\r\n{one}BDAT {}\r\n{two}BDAT 0 LAST\r\n", one.len(), two.len()).as_bytes()).unwrap();
    for _ in 0..3 {
        let reply = client.reply().unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    // A chunk without a transaction is read to its end, and is no command.
    client.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n").unwrap();
    assert!(client.reply().unwrap().starts_with("503"));
    assert!(client.reply().unwrap().starts_with("250"), "the octets of a refused chunk were read as a command");
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let kept = imap.fetch_message(1).unwrap();
    assert!(kept.ends_with(body.as_bytes()), "{}", String::from_utf8_lossy(&kept));
}

#[test]
fn a_proxy_header_names_the_client_on_listeners_that_expect_it() {
    let server = Server::start_with(Options { config: PROXIED.to_owned(), ..Options::default() }, &["ann"]).unwrap();
    let mut second = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    second.extend([192, 0, 2, 77, 127, 0, 0, 1, 0x30, 0x39, 0, 25]);
    let headers = [b"PROXY TCP4 192.0.2.77 127.0.0.1 12345 25\r\n".to_vec(), second];
    for (number, header) in headers.into_iter().enumerate() {
        let mut client = Dialogue::connect(server.address("proxied")).unwrap();
        client.send(&header).unwrap();
        assert!(client.reply().unwrap().starts_with("220"));
        client.expect("EHLO client.example", "250").unwrap();
        let reply = client.deliver("s@x.example", &["ann"], &message(&format!("proxy{number}"))).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    let lines = imap.imap_ok("FETCH 1:2 (BODY.PEEK[HEADER.FIELDS (RECEIVED)])").unwrap();
    let rows = Row::all(&lines);
    assert!(rows.len() == 2 && rows.iter().all(|row| row.text.contains("192.0.2.77")), "{lines:?}");
    // No header, and no greeting: the connection ends.
    let mut bare = TcpStream::connect(server.address("proxied")).unwrap();
    bare.write_all(b"EHLO client.example\r\n").unwrap();
    let mut said = String::new();
    bare.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    std::io::Read::read_to_string(&mut bare, &mut said).ok();
    assert!(!said.contains("250"), "{said}");
    // Whoever is no configured proxy cannot say who it is: the connection ends.
    let mut client = Dialogue::connect(server.address("smtp")).unwrap();
    client.reply().unwrap();
    let answer = client.say("PROXY TCP4 192.0.2.77 127.0.0.1 12345 25");
    assert!(answer.is_err(), "{answer:?}");
}

#[test]
fn rfc_2920_and_5321_what_ehlo_announces_holds() {
    let server = Server::start(&["ann"]).unwrap();
    let mut client = Dialogue::connect(server.address("smtp")).unwrap();
    client.reply().unwrap();
    client.send(b"EHLO client.example\r\n").unwrap();
    let mut announced = Vec::new();
    loop {
        let line = client.line().unwrap();
        announced.push(line[4..].to_owned());
        if line.starts_with("250 ") {
            break;
        }
    }
    for keyword in
        ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8", "CHUNKING", "ENHANCEDSTATUSCODES", "DSN", "STARTTLS"]
    {
        assert!(announced.iter().any(|line| line == keyword), "{keyword}: {announced:?}");
    }
    for keyword in ["AUTH", "BINARYMIME", "VRFY", "EXPN", "ETRN", "FUTURERELEASE", "DELIVERBY", "REQUIRETLS"] {
        assert!(!announced.iter().any(|line| line.starts_with(keyword)), "{keyword}: {announced:?}");
    }
    // A whole transaction at once, one recipient refused.
    let to = address("ann");
    client
        .send(
            format!(
                "MAIL FROM:<s@x.example> BODY=8BITMIME\r\nRCPT TO:<{to}>\r\nRCPT TO:<{}>\r\nDATA\r\n",
                address("no")
            )
            .as_bytes(),
        )
        .unwrap();
    let replies: Vec<String> = (0..4).map(|_| client.reply().unwrap()).collect();
    let codes: Vec<&str> = replies.iter().map(|reply| &reply[..3]).collect();
    assert_eq!(codes, ["250", "250", "550", "354"], "{replies:?}");
    client
        .send(format!("{}.\r\nNOOP\r\nVRFY ann\r\nHELP\r\nAUTH PLAIN\r\nQUIT\r\n", message("piped")).as_bytes())
        .unwrap();
    let codes: Vec<String> = (0..6).map(|_| client.reply().unwrap()[..3].to_owned()).collect();
    assert_eq!(
        [&codes[0][..], &codes[1][..], &codes[2][..], &codes[3][..], &codes[5][..]],
        ["250", "250", "252", "214", "221"]
    );
    assert!(codes[4].starts_with('5'), "AUTH on a listener for the world: {codes:?}");
    assert!(client.is_closed());
    assert_eq!(count(&server, "ann", "INBOX"), 1);
}
