//! Mail for addresses of ours that send it on: forwarding, aliases and lists with outside members, and its bounces.

use securanet_gateway::{
    clock,
    model::{
        Address, Command, GroupId, Reply,
        directory::{Destinations, Onward, Resolution},
        outbound::{AcceptedItem, Notify, Origin, Outbound, OutboundReply, Return},
    },
    srs::Srs,
};

use crate::{
    server::Server,
    store::{Commits, account, onward},
    submission::accepted,
};

/// A server where fwd@ keeps a copy and sends on, away@ sends on alone, and list@ has an owner.
fn server() -> Server {
    let server = Server::smtp();
    prepare(&server);
    server
}

fn prepare(server: &Server) {
    let far = |by: &str| onward(by, "far@remote.example");
    let mut local = account(1, 1);
    local.list_owner = Some(address("owner@example.org"));
    let of_list = |to: &str| Onward {
        through_list: true,
        list_owner: local.list_owner.clone(),
        ..onward("list@example.org", to)
    };
    let cases = [
        ("fwd@example.org", vec![account(1, 1)], vec![far("fwd@example.org")]),
        ("away@example.org", vec![], vec![far("away@example.org")]),
        ("list@example.org", vec![local.clone()], vec![of_list("m@remote.example"), of_list("n@other.example")]),
    ];
    for (text, accounts, onward) in cases {
        let found = Resolution::Local(Destinations { accounts, onward });
        server.store.script().addresses.insert(text.to_owned(), found);
    }
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn mail(from: &str, to: &[&str], header: &str, reply: &str) -> String {
    let mut dialogue = format!("S: 220 *\nC: HELO a.example\nS: 250 *\nC: MAIL FROM:{from}\nS: 250 *\n");
    to.iter().for_each(|to| dialogue += &format!("C: RCPT TO:{to}\nS: 250 2.1.5 *\n"));
    dialogue += "C: DATA\nS: 354 *\nC: Message-ID: <1@a>\n";
    header.lines().for_each(|line| dialogue += &format!("C: {line}\n"));
    dialogue + &format!("C:\nC: text\nC: .\nS: {reply}")
}

async fn send(server: &mut Server, from: &str, to: &[&str]) {
    server.check(&mail(from, to, "", "250 2.0.0 *")).await;
}

fn sent(server: &Server) -> Outbound {
    let (_, mut acceptance) = accepted(server);
    assert_eq!(acceptance.outbound.len(), 1);
    acceptance.outbound.remove(0)
}

#[tokio::test(start_paused = true)]
async fn what_a_stranger_sends_is_sent_on_with_a_rewritten_sender() {
    let mut server = server();
    send(&mut server, "<Ann@a.example>", &["<fwd@example.org>"]).await;
    let (group, acceptance) = accepted(&server);
    assert_eq!((group, acceptance.fan_out[0].targets[0].to[0].account.id.get()), (GroupId::new(2), 1));
    let outbound = sent(&server);
    let text = outbound.sender.to_string();
    assert!(text.starts_with("<SRS0=") && text.ends_with("=a.example=Ann@example.org>"), "{text}");
    assert_eq!(outbound.origin, Origin::Forward(address("fwd@example.org")));
    assert!(outbound.repeat_key.is_some() && !outbound.options.author_checked);
    assert_eq!(outbound.recipients[0].destination, "remote.example");
}

#[tokio::test(start_paused = true)]
async fn the_null_sender_stays_and_who_only_says_to_be_ours_does_not() {
    for (from, start) in [("<>", "<>"), ("<bob@example.org>", "<SRS0=")] {
        let mut server = server();
        send(&mut server, from, &["<away@example.org>"]).await;
        let sender = sent(&server).sender.to_string();
        assert!(sender.starts_with(start), "{sender}");
        assert!(accepted(&server).1.fan_out.is_empty(), "no copy is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_5321_3_9_2_what_comes_through_a_list_comes_from_its_owner() {
    for (from, expected) in [("<ann@a.example>", "<owner@example.org>"), ("<>", "<>")] {
        let mut server = server();
        send(&mut server, from, &["<list@example.org>"]).await;
        let (_, acceptance) = accepted(&server);
        let outbound = sent(&server);
        assert_eq!((outbound.sender.to_string().as_str(), outbound.recipients.len()), (expected, 2));
        let prefix = String::from_utf8(acceptance.fan_out[0].targets[0].to[0].prefix.bytes.clone()).unwrap();
        assert_eq!(prefix, format!("Return-Path: {expected}\r\nDelivered-To: list@example.org\r\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn each_sender_and_origin_is_a_message_of_its_own_in_one_acceptance() {
    let mut server = server();
    send(&mut server, "<ann@a.example>", &["<list@example.org>", "<fwd@example.org>", "<away@example.org>"]).await;
    let (_, acceptance) = accepted(&server);
    let shown: Vec<_> =
        acceptance.outbound.iter().map(|outbound| (&outbound.origin, outbound.recipients.len())).collect();
    let by = |text| Origin::Forward(address(text));
    let expected = [(&by("away@example.org"), 1), (&by("list@example.org"), 2)];
    assert_eq!(shown, expected, "an address outside gets one copy, in the name of who leads there alone");
    let keys: Vec<_> = acceptance.outbound.iter().map(|outbound| outbound.repeat_key.unwrap()).collect();
    assert_ne!(keys[0], keys[1]);
}

#[tokio::test(start_paused = true)]
async fn rfc_3461_5_2_7_what_the_sender_asked_for_goes_to_one_address_and_through_no_list() {
    let told = |notify, ret, original: Option<&str>| (notify, ret, original.map(str::to_owned));
    let all = Notify::On { success: true, failure: true, delay: false };
    let failure = Notify::On { success: false, failure: true, delay: false };
    let cases = [
        ("<away@example.org>", "SUCCESS,FAILURE", told(all, Some(Return::Full), Some("rfc822;x@y"))),
        ("<fwd@example.org>", "FAILURE", told(failure, Some(Return::Full), Some("rfc822;x@y"))),
        ("<list@example.org>", "FAILURE", told(Notify::Default, None, None)),
    ];
    for (to, asked, expected) in cases {
        let mut server = server();
        let to = format!("{to} NOTIFY={asked} ORCPT=rfc822;x@y");
        send(&mut server, "<ann@a.example> RET=FULL ENVID=e", &[&to]).await;
        let outbound = sent(&server);
        let recipient = &outbound.recipients[0];
        assert_eq!((recipient.notify, outbound.options.ret, recipient.original.clone()), expected, "{to}");
        assert_eq!(outbound.options.envelope_id.is_some(), expected.1.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn rfc_3461_5_2_7_2_of_what_leads_to_several_or_to_a_list_we_tell_ourselves() {
    let several = Resolution::Local(Destinations {
        accounts: Vec::new(),
        onward: vec![onward("two@example.org", "x@remote.example"), onward("two@example.org", "y@remote.example")],
    });
    for to in ["fwd@example.org", "list@example.org", "two@example.org"] {
        let mut server = server();
        server.store.script().addresses.insert("two@example.org".to_owned(), several.clone());
        send(&mut server, "<ann@a.example>", &[&format!("<{to}> NOTIFY=SUCCESS")]).await;
        let outbound = sent(&server);
        let [recipient] = outbound.recipients.as_slice() else { panic!("{outbound:?}") };
        assert!(recipient.is_local() && outbound.origin == Origin::Local, "it waits: {outbound:?}");
        assert_eq!(
            (&recipient.address, outbound.sender.to_string().as_str()),
            (&address(to).into(), "<ann@a.example>")
        );
        assert_eq!(recipient.notify, Notify::On { success: true, failure: false, delay: false });
        assert!(accepted(&server).1.fan_out.is_empty(), "nothing goes anywhere before");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_hears_of_no_success_where_policy_says_so() {
    let success = Notify::On { success: true, failure: true, delay: false };
    let failure = Notify::On { success: false, failure: true, delay: false };
    for (policy, asked, expected) in [
        (None, "SUCCESS,FAILURE", success),
        (Some("true"), "SUCCESS,FAILURE", success),
        (Some("false"), "SUCCESS,FAILURE", failure),
        (Some("false"), "SUCCESS", Notify::Never),
        (Some("false"), "NEVER", Notify::Never),
    ] {
        let mut server = server();
        policy.map(|value| server.store.script().policies.insert("smtp.success_reports", value));
        send(&mut server, "<ann@a.example>", &[&format!("<away@example.org> NOTIFY={asked}")]).await;
        assert_eq!(sent(&server).recipients[0].notify, expected, "{policy:?} {asked}");
    }
    let mut server = server();
    server.store.script().policies.insert("smtp.success_reports", "false");
    send(&mut server, "<ann@a.example>", &["<bob@example.org> NOTIFY=SUCCESS"]).await;
    assert!(matches!(server.store.commands().as_slice(), [Command::Deliver(_)]), "and nothing waits for its sake");
}

#[tokio::test(start_paused = true)]
async fn who_logs_in_hears_of_success_whatever_strangers_may() {
    let mut server = Server::submission();
    prepare(&server);
    server.store.script().policies.insert("smtp.success_reports", "false");
    let ehlo = format!("{}C: AUTH PLAIN {}\nS: 235 *\n", crate::auth::EHLO, crate::auth::PLAIN);
    let rest = "C: MAIL FROM:<ann@example.org>\nS: 250 *\nC: RCPT TO:<away@example.org> NOTIFY=SUCCESS\nS: 250 *\n\
        C: DATA\nS: 354 *\nC: From: ann@example.org\nC:\nC: text\nC: .\nS: 250 *";
    server.check(&(ehlo + rest)).await;
    let success = Notify::On { success: true, failure: false, delay: false };
    assert_eq!(sent(&server).recipients[0].notify, success);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_an_address_by_its_own_name_counts_whatever_led_to_it_before() {
    let mut server = Server::submission();
    prepare(&server);
    let ehlo = format!("{}C: AUTH PLAIN {}\nS: 235 *\n", crate::auth::EHLO, crate::auth::PLAIN);
    let rest = "C: MAIL FROM:<ann@example.org>\nS: 250 *\nC: RCPT TO:<list@example.org>\nS: 250 *\n\
        C: RCPT TO:<M@remote.example> NOTIFY=NEVER\nS: 250 *\n\
        C: DATA\nS: 354 *\nC: From: ann@example.org\nC:\nC: text\nC: .\nS: 250 *";
    server.check(&(ehlo + rest)).await;
    let (_, acceptance) = accepted(&server);
    let shown: Vec<_> = acceptance.outbound.iter().flat_map(|outbound| &outbound.recipients).collect();
    let shown: Vec<_> = shown.into_iter().map(|to| (to.address.canonical(), to.notify)).collect();
    let expected = [("m@remote.example", Notify::Never), ("n@other.example", Notify::Default)];
    assert_eq!(shown, expected.map(|(text, notify)| (text.to_owned(), notify)));
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_on_before_is_not_sent_on_again() {
    let mut server = server();
    let been = "Delivered-To: fwd@example.org\nDelivered-To: away@example.org";
    server.check(&mail("<ann@a.example>", &["<fwd@example.org>"], been, "250 2.0.0 *")).await;
    let commands = server.store.commands();
    assert!(matches!(commands.as_slice(), [Command::Deliver(deliver)] if deliver.to.len() == 1), "{commands:?}");
    server.check(&mail("<ann@a.example>", &["<away@example.org>"], been, "554 5.4.6 *")).await;
    server.check(&mail("<ann@a.example>", &["<away@example.org>", "<list@example.org>"], been, "554 5.4.6 *")).await;
    assert_eq!(server.store.commands().len(), 1, "nothing was kept of what one reply cannot tell");
}

#[tokio::test(start_paused = true)]
async fn a_repeat_that_the_queue_knows_is_kept() {
    let mut server = server();
    let repeat = OutboundReply::Accepted(vec![AcceptedItem { item: 7, repeat: true }]);
    server.store.script().commits = Commits::Reply(Reply::Outbound(repeat));
    send(&mut server, "<ann@a.example>", &["<away@example.org>"]).await;
    send(&mut server, "<ann@a.example>", &["<away@example.org>"]).await;
    let keys: Vec<_> = server.store.commands().iter().map(|command| format!("{command:?}")).collect();
    let key = |text: &String| text.split("repeat_key: ").nth(1).unwrap().split(')').next().unwrap().to_owned();
    assert_eq!(key(&keys[0]), key(&keys[1]), "and is recognised by the same key");
}

#[tokio::test(start_paused = true)]
async fn a_bounce_finds_its_way_back_and_nothing_else_goes_there() {
    let sender = |text: &str| {
        let srs = Srs::new(&[0; 32]);
        srs.address(&address(text), address("x@example.org").domain(), clock::now()).unwrap().to_string()
    };
    let mut server = server();
    let back = sender("ann@a.example");
    send(&mut server, "<>", &[&format!("<{back}>")]).await;
    let outbound = sent(&server);
    assert_eq!(
        (outbound.sender.to_string().as_str(), outbound.recipients[0].address.clone()),
        ("<>", address("ann@a.example").into())
    );
    assert_eq!(outbound.origin, Origin::Forward(address(&back)));
    let refused = |from: &str, to: &str, reply: &str| {
        format!("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:{from}\nS: 250 *\nC: RCPT TO:<{to}>\nS: {reply}")
    };
    server.check(&refused("<joe@b.example>", &back, "550 5.7.1 only bounces *")).await;
    server.check(&refused("<>", &back.replace("=ann@", "=bob@"), "550 5.1.1 *")).await;
    server.check(&refused("<>", "SRS0=a=b@example.org", "550 5.1.1 *")).await;
    server
        .check(&refused("<>", &back.replace("example.org", "elsewhere.example"), "550 5.7.1 not a domain of ours*"))
        .await;
    // The sender's domain has become ours since.
    let mut server = self::server();
    send(&mut server, "<>", &[&format!("<{}>", sender("bob@example.org"))]).await;
    assert!(
        matches!(server.store.commands().as_slice(), [Command::Deliver(deliver)] if deliver.to[0].account.id.get() == 2)
    );
}

#[tokio::test(start_paused = true)]
async fn rfc_2033_each_recipient_that_leads_outside_has_a_reply_of_its_own() {
    let mut server = Server::lmtp();
    prepare(&server);
    let dialogue = "S: 220 *\nC: LHLO a.example\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250-*\nS: 250 *\nC: MAIL FROM:<ann@a.example>\nS: 250 *\n\
        C: RCPT TO:<away@example.org>\nS: 250 *\nC: RCPT TO:<bob@example.org>\nS: 250 *\n\
        C: RCPT TO:<fwd@example.org>\nS: 250 *\n\
        C: DATA\nS: 354 *\nC: Delivered-To: away@example.org\nC:\nC: text\nC: .\n\
        S: 554 5.4.6 *\nS: 250 2.0.0 *\nS: 250 2.0.0 *";
    server.check(dialogue).await;
    let commands = server.store.commands();
    assert!(matches!(commands.as_slice(), [Command::Deliver(_), Command::Outbound(_)]), "{commands:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_submitted_here_and_sent_on_may_be_signed_for_its_author() {
    let mut server = Server::submission();
    prepare(&server);
    let ehlo = format!("{}C: AUTH PLAIN {}\nS: 235 *\n", crate::auth::EHLO, crate::auth::PLAIN);
    let rest = "C: MAIL FROM:<ann@example.org>\nS: 250 *\nC: RCPT TO:<list@example.org>\nS: 250 *\nC: DATA\nS: 354 *\n\
        C: From: ann@example.org\nC:\nC: text\nC: .\nS: 250 *";
    server.check(&(ehlo + rest)).await;
    let (group, _) = accepted(&server);
    assert_eq!((group, sent(&server).options.author_checked), (GroupId::new(1), true), "in the submitter's group");
}

#[tokio::test(start_paused = true)]
async fn the_sender_who_logged_in_stays() {
    let mut server = Server::submission();
    prepare(&server);
    let ehlo = format!("{}C: AUTH PLAIN {}\nS: 235 *\n", crate::auth::EHLO, crate::auth::PLAIN);
    let rest = "C: MAIL FROM:<ann@example.org>\nS: 250 *\nC: RCPT TO:<away@example.org>\nS: 250 *\nC: DATA\nS: 354 *\n\
        C: From: ann@example.org\nC:\nC: text\nC: .\nS: 250 *";
    server.check(&(ehlo + rest)).await;
    assert_eq!(sent(&server).sender.to_string(), "<ann@example.org>");
}
