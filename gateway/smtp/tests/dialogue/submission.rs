//! RFC 6409: what people and devices of ours may send, and what becomes of it on the way.

use securanet_gateway::model::{
    AccountId, Address, Command, GroupId, Reply, ReversePath, StoreError, TenantId,
    delivery::QueueCommand,
    directory::Resolution,
    outbound::{Acceptance, EnvelopeOptions, Notify, Origin, Outbound, OutboundCommand, OutboundReply, Return},
    sending::SenderRight,
};

use crate::{
    auth::{EHLO, PLAIN},
    server::Server,
    store::{Commits, account},
};

/// ann logs in and holds a dialogue.
async fn check(server: &mut Server, dialogue: &str) {
    server.check(&format!("{EHLO}C: AUTH PLAIN {PLAIN}\nS: 235 *\n{dialogue}")).await;
}

/// ann sends `message` to `recipients`; the last reply is `reply`.
async fn send(server: &mut Server, mail: &str, recipients: &[&str], message: &str, reply: &str) {
    let mut dialogue = format!("C: MAIL FROM:{mail}\nS: 250 2.1.0 *\n");
    for recipient in recipients {
        dialogue += &format!("C: RCPT TO:{recipient}\nS: 250 2.1.5 *\n");
    }
    dialogue += "C: DATA\nS: 354 *\n";
    message.lines().for_each(|line| dialogue += &format!("C: {line}\n"));
    check(server, &format!("{dialogue}C: .\nS: {reply}")).await;
}

const ANN: &str = "<ann@example.org>";
pub(crate) const WORLD: &str = "<joe@elsewhere.example>";
const LETTER: &str = "From: ann@example.org\nSubject: a\n\ntext";

/// The one acceptance that was committed, and where.
pub(crate) fn accepted(server: &Server) -> (GroupId, Acceptance) {
    let script = server.store.script();
    let [request] = script.executed.as_slice() else { panic!("{:?}", script.executed) };
    let [Command::Outbound(OutboundCommand::Accept(acceptance))] = request.commands.as_slice() else {
        panic!("{request:?}")
    };
    (request.group, acceptance.as_ref().clone())
}

fn outbound(server: &Server) -> Outbound {
    accepted(server).1.outbound.remove(0)
}

/// What was put of the last message.
pub(crate) fn content(server: &Server) -> String {
    String::from_utf8(server.store.contents().pop().unwrap()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn mail_for_the_world_is_one_acceptance_in_the_accounts_group() {
    let mut server = Server::submission();
    send(&mut server, ANN, &[WORLD], LETTER, "250 2.0.0 kept as *").await;
    let (group, acceptance) = accepted(&server);
    assert_eq!((group, acceptance.fan_out.is_empty()), (GroupId::new(1), true));
    let outbound = acceptance.outbound[0].clone();
    assert_eq!(outbound.sender, ReversePath::Address(Address::parse("ann@example.org").unwrap()));
    assert_eq!(outbound.origin, Origin::Account(AccountId::new(1)));
    assert_eq!(outbound.options, EnvelopeOptions { author_checked: true, ..EnvelopeOptions::default() });
    let [recipient] = outbound.recipients.as_slice() else { panic!("{outbound:?}") };
    assert_eq!((recipient.address.to_string().as_str(), recipient.notify), ("joe@elsewhere.example", Notify::Default));
    assert_eq!(recipient.destination, "elsewhere.example");
    let trace = server.store.script().puts[0].trace.clone();
    let start = "Received: from [192.0.2.7] ([192.0.2.7])\r\n\tby mail.example.org with ESMTPA\r\n\tid ";
    assert!(trace.starts_with(&format!("{start}{}\r\n\tfor <joe@elsewhere.example>;", outbound.trace_id)), "{trace}");
}

#[tokio::test(start_paused = true)]
async fn mailboxes_here_are_the_fan_out_of_the_same_acceptance() {
    let mut server = Server::submission();
    let recipients = ["<bob@example.org>", WORLD, "<ann@example.org>", "<JOE@elsewhere.example>", "<x@other.example>"];
    send(&mut server, ANN, &recipients, LETTER, "250 2.0.0 *").await;
    let (group, acceptance) = accepted(&server);
    assert_eq!(group, GroupId::new(1));
    let fan_out = acceptance.fan_out[0].clone();
    let targets: Vec<_> = fan_out.targets.iter().map(|target| (target.group.get(), target.to.len())).collect();
    assert_eq!(targets, [(2, 1), (1, 1)]);
    let outside: Vec<_> = acceptance.outbound[0].clone().recipients.iter().map(|r| r.destination.clone()).collect();
    assert_eq!(outside, ["elsewhere.example", "other.example"], "each recipient once");
    assert_eq!(server.store.script().puts.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn mail_for_mailboxes_here_alone_goes_as_any_other() {
    let mut server = Server::submission();
    send(&mut server, ANN, &["<bob@example.org>"], LETTER, "250 2.0.0 *").await;
    assert!(matches!(server.store.commands().as_slice(), [Command::Deliver(_)]));
    let mut server = Server::submission();
    send(&mut server, ANN, &["<all@example.org>"], LETTER, "250 2.0.0 *").await;
    assert!(matches!(server.store.commands().as_slice(), [Command::Queue(QueueCommand::FanOut(_))]));
    check(&mut server, "C: MAIL FROM:<ann@example.org>\nS: 250 *\nC: RCPT TO:<nobody@example.org>\nS: 550 5.1.1 *")
        .await;
}

#[tokio::test(start_paused = true)]
async fn mailboxes_of_another_organisation_are_in_the_same_acceptance() {
    let mut server = Server::submission();
    let mut other = account(7, 2);
    other.tenant = TenantId::new(2);
    let resolution = Resolution::Local(vec![other].into());
    server.store.script().addresses.insert("other@example.org".to_owned(), resolution);
    send(&mut server, ANN, &[WORLD, "<other@example.org>", "<bob@example.org>"], LETTER, "250 2.0.0 *").await;
    let (_, acceptance) = accepted(&server);
    let accounts: Vec<_> = acceptance.fan_out.iter().map(|fan_out| fan_out.targets[0].to[0].account.id.get()).collect();
    assert_eq!((accounts, acceptance.outbound.len()), (vec![2, 7], 1));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_or_a_store_that_fails_keeps_nothing() {
    for (commits, reply) in [
        (Commits::Reply(Reply::Outbound(OutboundReply::WindowFull(GroupId::new(2)))), "451 4.3.0 too much mail *"),
        (Commits::Reply(Reply::Unknown), "451 4.3.0 *"),
        (Commits::Reply(Reply::Outbound(OutboundReply::NoItem)), "451 4.3.0 *"),
        (Commits::Fail(StoreError::DiskFull { reserve_bytes: 1 }), "452 4.3.1 *"),
    ] {
        let mut server = Server::submission();
        server.store.script().commits = commits;
        send(&mut server, ANN, &[WORLD, "<bob@example.org>"], LETTER, reply).await;
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_6409_6_1_an_account_sends_from_its_own_addresses() {
    let mut server = Server::submission();
    server.store.script().rights.insert("sales@example.org", SenderRight::SendAs);
    let mail = |sender: &str, reply: &str| format!("C: MAIL FROM:{sender}\nS: {reply}\nC: RSET\nS: 250 *\n");
    let dialogue = [
        mail("<ann@example.org>", "250 2.1.0 *"),
        mail("<ANN+shop@Example.ORG>", "250 2.1.0 *"),
        mail("<sales@example.org>", "250 2.1.0 *"),
        mail("<>", "250 2.1.0 *"),
        mail("<bob@example.org>", "550 5.7.1 you may not send as bob@example.org"),
        mail("<ann@elsewhere.example>", "550 5.7.1 *"),
        mail("<ann@[192.0.2.1]>", "550 5.7.1 *"),
    ];
    check(&mut server, &dialogue.concat()).await;
    // What was granted a moment ago holds where it is not known yet.
    server.store.script().behind = true;
    check(&mut server, &mail("<sales@example.org>", "250 2.1.0 *")).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_6409_6_1_from_names_whoever_sends() {
    for (from, reply) in [
        ("From: Ann <ann@example.org>", "250 2.0.0 *"),
        ("From: Ann\n <ann+x@example.org>", "250 2.0.0 *"),
        ("From: bob@example.org", "550 5.7.1 you may not send as bob@example.org, which From names"),
        ("From: ceo@bank.example <ann@example.org>", "550 5.7.1 *"),
        ("From: ann@example.org, bob@example.org", "550 5.7.1 *"),
        ("From: ann@example.org\nFrom: bob@example.org", "550 5.6.0 *"),
        ("From: nobody", "550 5.6.0 *"),
        ("From: ann@example.org\nSender: bob@example.org", "550 5.7.1 *"),
        ("Resent-From: ann@example.org\nFrom: bob@example.org", "550 5.7.1 *"),
    ] {
        let mut server = Server::submission();
        send(&mut server, ANN, &[WORLD], &format!("{from}\nDate: x\nMessage-ID: <1@a>\n\ntext"), reply).await;
        assert_eq!(server.store.commands().is_empty(), !reply.starts_with("250"), "{from}");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_8098_a_receipt_has_no_sender_but_an_author() {
    let mut server = Server::submission();
    send(&mut server, "<>", &[WORLD], "Subject: read", "250 2.0.0 *").await;
    assert_eq!(outbound(&server).sender, ReversePath::Null);
    assert!(content(&server).contains("From: \"Ann \\\"A\\\" Lee\" <ann@example.org>\r\n"), "{}", content(&server));
    send(&mut server, "<>", &[WORLD], "From: bob@example.org", "550 5.7.1 *").await;
}

#[tokio::test(start_paused = true)]
async fn rfc_5322_3_6_2_on_behalf_adds_sender() {
    let mut server = Server::submission();
    server.store.script().rights.insert("boss@example.org", SenderRight::OnBehalf);
    let message = "From: boss@example.org\nSender: boss@example.org\nDate: x\nMessage-ID: <1@a>";
    send(&mut server, "<boss@example.org>", &[WORLD], message, "250 2.0.0 *").await;
    let expect = "From: boss@example.org\r\nDate: x\r\nMessage-ID: <1@a>\r\nSender: <ann@example.org>\r\n\r\n";
    assert_eq!(content(&server), expect);
    // Being allowed to send on behalf is not being the sender.
    let message = "From: ann@example.org\nSender: boss@example.org";
    send(&mut server, ANN, &[WORLD], message, "550 5.7.1 *").await;
}

#[tokio::test(start_paused = true)]
async fn rfc_6409_8_date_and_message_id_are_added_and_bcc_is_not_sent() {
    let mut server = Server::submission();
    let message = "From: ann@example.org\nTo: joe@elsewhere.example\nBcc: x@y.example,\n z@y.example\n\nBcc: text";
    send(&mut server, ANN, &[WORLD], message, "250 2.0.0 *").await;
    let content = content(&server);
    let id = outbound(&server).trace_id;
    let (head, body) = content.split_once("\r\n\r\n").unwrap();
    let lines: Vec<_> = head.split("\r\n").collect();
    let [from, to, date, message_id] = lines.as_slice() else { panic!("{head}") };
    assert_eq!((*from, *to), ("From: ann@example.org", "To: joe@elsewhere.example"));
    assert!(date.starts_with("Date: ") && date.ends_with(" +0000"), "{date}");
    assert_eq!(*message_id, format!("Message-ID: <{id}@example.org>"));
    assert_eq!(body, "Bcc: text\r\n");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_header_is_body() {
    let mut server = Server::submission();
    send(&mut server, ANN, &[WORLD], "just text", "250 2.0.0 *").await;
    assert!(content(&server).ends_with("@example.org>\r\n\r\njust text\r\n"), "{}", content(&server));
    send(&mut server, ANN, &[WORLD], "", "250 2.0.0 *").await;
    assert!(content(&server).ends_with("@example.org>\r\n\r\n"));
}

#[tokio::test(start_paused = true)]
async fn rfc_3030_a_header_in_chunks_is_completed_too() {
    let mut server = Server::submission();
    let mut client = server.connect();
    client
        .hold(&format!(
            "{EHLO}C: AUTH PLAIN {PLAIN}\nS: 235 *\nC: MAIL FROM:{ANN}\nS: 250 *\nC: RCPT TO:{WORLD}\nS: 250 *"
        ))
        .await;
    client.send(b"BDAT 10\r\nFrom: ann@BDAT 15\r\nexample.org\r\n\r\nBDAT 4 LAST\r\ntext").await;
    client.hold("S: 250 2.0.0 *\nS: 250 2.0.0 *\nS: 250 2.0.0 kept as *").await;
    client.bye().await;
    assert!(content(&server).starts_with("From: ann@example.org\r\nDate: "));
    assert!(content(&server).ends_with("\r\n\r\ntext"));
}

#[tokio::test(start_paused = true)]
async fn the_client_is_hidden_where_policy_says_so() {
    let mut server = Server::submission();
    server.store.script().policies.insert("submission.hide_client", "true");
    send(&mut server, ANN, &[WORLD], LETTER, "250 2.0.0 *").await;
    let trace = server.store.script().puts[0].trace.clone();
    assert!(trace.starts_with("Received: by mail.example.org with ESMTPA\r\n\tid "), "{trace}");
    assert!(!trace.contains("192.0.2.7"), "{trace}");
}

#[tokio::test(start_paused = true)]
async fn rfc_3461_what_the_envelope_asks_for_goes_with_it() {
    let mut server = Server::submission();
    let mail = "<ann@example.org> RET=HDRS ENVID=QQ314159 BODY=8BITMIME";
    let rcpt = "<joe@elsewhere.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;joe@elsewhere.example";
    send(&mut server, mail, &[rcpt, "<x@y.example> NOTIFY=NEVER"], LETTER, "250 2.0.0 *").await;
    let outbound = outbound(&server);
    assert_eq!((outbound.options.ret, outbound.options.eight_bit), (Some(Return::Headers), true));
    assert_eq!(outbound.options.envelope_id.as_deref(), Some("QQ314159"));
    let notify: Vec<_> = outbound.recipients.iter().map(|recipient| recipient.notify).collect();
    assert_eq!(notify, [Notify::On { success: true, failure: false, delay: true }, Notify::Never]);
    assert_eq!(outbound.recipients[0].original.as_deref(), Some("rfc822;joe@elsewhere.example"));
}

#[tokio::test(start_paused = true)]
async fn rfc_6531_utf8_is_asked_for_only_where_it_is_needed() {
    let ask = async |mail: &str, rcpt: &str, subject: &str| {
        let mut server = Server::submission();
        let message = format!("From: ann@example.org\nSubject: {subject}\n\nbödy");
        send(&mut server, mail, &[rcpt], &message, "250 2.0.0 *").await;
        let options = outbound(&server).options;
        (options.utf8, options.eight_bit)
    };
    assert_eq!(ask(ANN, WORLD, "a").await, (false, true));
    assert_eq!(ask("<ann@example.org> SMTPUTF8", WORLD, "a").await, (false, true));
    assert_eq!(ask("<ann@example.org> SMTPUTF8", WORLD, "ä").await, (true, true));
    assert_eq!(ask("<ann@example.org> SMTPUTF8", "<jürgen@elsewhere.example>", "a").await, (true, true));
    assert_eq!(ask(ANN, WORLD, "ä").await, (false, true), "old programs write so, and the world reads it");
}

#[tokio::test(start_paused = true)]
async fn a_destination_is_a_domain_in_ascii_and_lower_case() {
    let mut server = Server::submission();
    send(&mut server, "<ann@example.org> SMTPUTF8", &["<Joe@BÜCHER.Example>"], LETTER, "250 2.0.0 *").await;
    let outbound = outbound(&server);
    assert_eq!(outbound.recipients[0].destination, "xn--bcher-kva.example");
    assert_eq!(outbound.recipients[0].address.to_string(), "Joe@xn--bcher-kva.example");
}

#[tokio::test(start_paused = true)]
async fn rfc_4865_a_message_is_held() {
    let mut server = Server::submission();
    let now = securanet_gateway::clock::now();
    send(&mut server, "<ann@example.org> HOLDFOR=3600", &[WORLD], LETTER, "250 2.0.0 *").await;
    let held = outbound(&server).hold_until.unwrap().millis_since(now);
    assert!((3_600_000..3_660_000).contains(&held), "{held}");
    let mail = |parameters: &str, reply: &str| {
        format!("C: MAIL FROM:<ann@example.org> {parameters}\nS: {reply}\nC: RSET\nS: 250 *\n")
    };
    let dialogue = [
        mail("HOLDFOR=2592000", "250 *"),
        mail("HOLDFOR=2592001", "501 5.5.4 *"),
        mail("HOLDUNTIL=2126-01-01T00:00:00Z", "501 5.5.4 *"),
        mail("HOLDFOR=60 BY=60;R", "501 5.5.4 *"),
        mail("HOLDFOR=60 BY=61;R", "250 *"),
    ];
    check(&mut server, &dialogue.concat()).await;
    let here = "C: MAIL FROM:<ann@example.org> HOLDFOR=60\nS: 250 *\nC: RCPT TO:<bob@example.org>\nS: 250 *\n\
                C: RCPT TO:<postmaster>\nS: 550 5.3.3 *";
    check(&mut server, here).await;
}

#[tokio::test(start_paused = true)]
async fn rfc_2852_and_8689_deliver_by_and_require_tls() {
    let mut server = Server::submission();
    let now = securanet_gateway::clock::now();
    send(&mut server, "<ann@example.org> BY=120;RT", &[WORLD], LETTER, "250 2.0.0 *").await;
    let by = outbound(&server).options.deliver_by.unwrap();
    assert!((120_000..180_000).contains(&by.by.millis_since(now)) && by.or_return && by.trace, "{by:?}");
    // Where TLS is not on it is not announced.
    check(&mut server, "C: MAIL FROM:<ann@example.org> REQUIRETLS\nS: 555 5.5.4 *").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_announced_to_submitters_alone_is_refused_elsewhere() {
    let mail = |parameter: &str| format!("C: MAIL FROM:<> {parameter}\nS: 555 5.5.4 *\n");
    let parameters = ["HOLDFOR=60", "BY=60;R", "REQUIRETLS", "AUTH=<>"].map(mail).concat();
    Server::smtp().check(&format!("S: 220 *\nC: HELO a\nS: 250 *\n{parameters}")).await;
}

#[tokio::test(start_paused = true)]
async fn an_account_sends_so_much_in_an_hour() {
    let mut server = Server::submission();
    server.store.script().policies.insert("submission.messages_per_hour", "2");
    server.store.script().policies.insert("submission.recipients_per_hour", "3");
    let mail = "C: MAIL FROM:<ann@example.org>\nS: ";
    let rcpt = |reply: &str| format!("\nC: RCPT TO:<joe@elsewhere.example>\nS: {reply}");
    let many = [rcpt("250 *"), rcpt("250 *"), rcpt("250 *"), rcpt("450 4.7.1 too many recipients *")].concat();
    check(&mut server, &format!("{mail}250 *{many}")).await;
    check(&mut server, &format!("{mail}250 *\nC: RSET\nS: 250 *\n{mail}450 4.7.1 too many messages *")).await;
    tokio::time::sleep(std::time::Duration::from_secs(3700)).await;
    check(&mut server, &format!("{mail}250 *{}", rcpt("250 *"))).await;
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_looked_up_is_told_to_come_again() {
    let mut server = Server::submission();
    let mut client = server.connect();
    let fails = |server: &Server, fails: bool| {
        let error = StoreError::Unavailable("no leader".to_owned());
        server.store.script().directory_fails = fails.then_some(error);
    };
    client.hold(&format!("{EHLO}C: AUTH PLAIN {PLAIN}\nS: 235 *")).await;
    fails(&server, true);
    client.hold(&format!("C: MAIL FROM:{ANN}\nS: 451 4.3.0 *")).await;
    fails(&server, false);
    client.hold(&format!("C: MAIL FROM:{ANN}\nS: 250 *\nC: RCPT TO:{WORLD}\nS: 250 *\nC: DATA\nS: 354 *")).await;
    fails(&server, true);
    client.hold("C: From: ann+shop@example.org\nC:\nC: text\nC: .\nS: 451 4.3.0 *").await;
    client.bye().await;
    assert!(server.store.commands().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc_6409_a_header_has_a_bounded_length() {
    let mut server = Server::submission();
    let mut client = server.connect();
    let start = format!("C: AUTH PLAIN {PLAIN}\nS: 235 *\nC: MAIL FROM:{ANN}\nS: 250 *\nC: RCPT TO:{WORLD}\nS: 250 *");
    client.hold(&format!("{EHLO}{start}\nC: DATA\nS: 354 *")).await;
    let line = format!("X-Long: {}\r\n", "x".repeat(900));
    client.send(line.repeat(1200).as_bytes()).await;
    client.hold("C:\nC: .\nS: 552 5.3.4 header is larger *\nC: NOOP\nS: 250 *").await;
    client.bye().await;
    assert!(server.store.contents().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_4_1_3_hosts_without_a_name_are_sent_to_by_policy() {
    let mut server = Server::submission();
    let refused = "C: MAIL FROM:<ann@example.org>
        S: 250 *
        C: RCPT TO:<fax@[198.51.100.9]>
        S: 550 5.1.2 hosts without a name are not sent to: give a domain";
    check(&mut server, refused).await;
    server.store.script().policies.insert("submission.address_literals", "send");
    let recipients =
        ["<Fax@[198.51.100.9]>", "<fax@[IPv6:::ffff:198.51.100.9]>", "<\"a fax\"@[ipv6:2001:DB8:0::9]>", WORLD];
    send(&mut server, ANN, &recipients, LETTER, "250 2.0.0 *").await;
    let outbound = outbound(&server);
    let to: Vec<_> = outbound.recipients.iter().map(|to| format!("{} {}", to.address, to.destination)).collect();
    let expected = [
        "Fax@[198.51.100.9] [198.51.100.9]",
        "\"a fax\"@[IPv6:2001:db8::9] [IPv6:2001:db8::9]",
        "joe@elsewhere.example elsewhere.example",
    ];
    assert_eq!(to, expected, "each host once, whatever its form");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_reaches_no_host_without_a_name_whatever_the_policy() {
    let mut exchange = Server::smtp();
    exchange.store.script().policies.insert("submission.address_literals", "send");
    let dialogue = "S: 220 *
        C: HELO a
        S: 250 *
        C: MAIL FROM:<ann@example.org>
        S: 250 *
        C: RCPT TO:<fax@[198.51.100.9]>
        S: 550 5.7.1 not a domain of ours: no relaying";
    exchange.check(dialogue).await;
}
