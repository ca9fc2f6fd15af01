//! Who may send to the world without logging in: devices with a grant, and nobody else.

use securanet_gateway::model::{
    Address, DomainName,
    outbound::Origin,
    sending::{RelayGrant, RelayRecipients},
};
use securanet_smtp::Service;

use crate::{
    auth::EHLO,
    server::Server,
    submission::{WORLD, accepted, content},
};

/// A printer at the client's address.
fn printer(senders: &[&str], recipients: RelayRecipients) -> RelayGrant {
    RelayGrant {
        name: "printers".to_owned(),
        networks: vec!["192.0.2.0/24".parse().unwrap()],
        certificates: Vec::new(),
        senders: senders.iter().map(|sender| Address::parse(sender).unwrap()).collect(),
        recipients,
        recipients_per_hour: 2,
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_with_a_grant_need_not_log_in() {
    let mut server = Server::submission();
    let partner = RelayRecipients::Domains(vec![DomainName::parse("partner.example").unwrap()]);
    server.store.script().relays = vec![printer(&["scan@example.org"], partner)];
    let dialogue = format!(
        "{EHLO}C: MAIL FROM:<ann@example.org>
        S: 550 5.7.1 *
        C: MAIL FROM:<>
        S: 550 5.7.1 *
        C: MAIL FROM:<scan@example.org>
        S: 250 *
        C: RCPT TO:<joe@elsewhere.example>
        S: 550 5.7.1 devices here may not send to that domain
        C: RCPT TO:<joe@partner.example>
        S: 250 *
        C: RCPT TO:<bob@example.org>
        S: 250 *
        C: RCPT TO:<ann@example.org>
        S: 450 4.7.1 *
        C: DATA
        S: 354 *
        C: Subject: scan
        C: .
        S: 250 2.0.0 *"
    );
    server.check(&dialogue).await;
    let (_, acceptance) = accepted(&server);
    assert_eq!(acceptance.fan_out[0].clone().targets.len(), 1);
    assert_eq!(acceptance.outbound[0].clone().origin, Origin::Relay("printers".to_owned()));
    assert!(content(&server).contains("\r\nFrom: <scan@example.org>\r\nDate: "), "{}", content(&server));
    assert!(server.store.script().puts[0].trace.contains(" with ESMTP\r\n"));
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_for_its_networks_and_its_authors() {
    let mut server = Server::submission();
    let elsewhere = vec!["198.51.100.0/24".parse().unwrap()];
    let grant = printer(&["scan@example.org"], RelayRecipients::Anybody);
    server.store.script().relays = vec![RelayGrant { networks: elsewhere, ..grant.clone() }];
    server.check(&format!("{EHLO}C: MAIL FROM:<scan@example.org>\nS: 530 5.7.0 *")).await;
    server.store.script().relays = vec![grant.clone()];
    let message = format!(
        "{EHLO}C: MAIL FROM:<scan@example.org>\nS: 250 *\nC: RCPT TO:{WORLD}\nS: 250 *\nC: DATA\nS: 354 *\nC: From: ann@example.org\nC: .\nS: 550 5.7.1 *"
    );
    server.check(&message).await;
    // On a listener for the world it grants nothing.
    let mut exchange = Server::smtp();
    exchange.store.script().relays = vec![grant];
    exchange.check(&format!("S: 220 *\nC: HELO a\nS: 250 *\nC: MAIL FROM:<scan@example.org>\nS: 250 *\nC: RCPT TO:{WORLD}\nS: 550 5.7.1 *")).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_sends_to_hosts_without_a_name_where_policy_and_grant_let_it() {
    let partner = || RelayRecipients::Domains(vec![DomainName::parse("partner.example").unwrap()]);
    for (policy, recipients, reply) in [
        ("send", RelayRecipients::Anybody, "250 2.1.5 *"),
        ("send", partner(), "550 5.7.1 *"),
        ("refuse", RelayRecipients::Anybody, "550 5.1.2 *"),
    ] {
        let mut server = Server::submission();
        server.store.script().policies.insert("submission.address_literals", policy);
        server.store.script().relays = vec![printer(&["scan@example.org"], recipients)];
        let dialogue =
            format!("{EHLO}C: MAIL FROM:<scan@example.org>\nS: 250 *\nC: RCPT TO:<fax@[198.51.100.9]>\nS: {reply}");
        server.check(&dialogue).await;
    }
}

/// The probes that open relays have been found with: each asks for a recipient that is not ours.
const PROBES: [(&str, &str); 21] = [
    ("<spam@example.com>", "<victim@relay.test>"),
    ("<spam>", "<victim@relay.test>"),
    ("<>", "<victim@relay.test>"),
    ("<spam@example.org>", "<victim@relay.test>"),
    ("<spam@[192.0.2.7]>", "<victim@relay.test>"),
    ("<spam@mail.example.org>", "<victim@relay.test>"),
    ("<spam@example.org>", "<victim%relay.test@example.org>"),
    ("<spam@example.org>", "<victim%relay.test@[192.0.2.7]>"),
    ("<spam@example.org>", "<\"victim@relay.test\">"),
    ("<spam@example.org>", "<\"victim%relay.test\">"),
    ("<spam@example.org>", "<victim@relay.test@example.org>"),
    ("<spam@example.org>", "<\"victim@relay.test\"@example.org>"),
    ("<spam@example.org>", "<victim@relay.test@[192.0.2.7]>"),
    ("<spam@example.org>", "<@example.org:victim@relay.test>"),
    ("<spam@example.org>", "<@[192.0.2.7]:victim@relay.test>"),
    ("<spam@example.org>", "<relay.test!victim>"),
    ("<spam@example.org>", "<relay.test!victim@example.org>"),
    ("<spam@example.org>", "<relay.test!victim@[192.0.2.7]>"),
    ("<postmaster@example.org>", "<victim@relay.test>"),
    ("<ann@example.org>", "<victim@[198.51.100.1]>"),
    ("<ann@example.org>", "<@relay.test,@example.org:victim@relay.test>"),
];

#[tokio::test(start_paused = true)]
async fn no_listener_is_an_open_relay() {
    for make in [Server::smtp, Server::lmtp, Server::submission] {
        for (sender, recipient) in PROBES {
            let mut server = make();
            // What submitters may do is for them.
            server.store.script().policies.insert("submission.address_literals", "send");
            let hello = if server.settings.service == Service::Lmtp { "LHLO" } else { "HELO" };
            let mut client = server.connect();
            client.hold(&format!("S: 220 *\nC: {hello} probe.example")).await;
            while client.line().await.starts_with("250-") {}
            client.hold(&format!("C: MAIL FROM:{sender}")).await;
            client.line().await;
            client.hold(&format!("C: RCPT TO:{recipient}")).await;
            let reply = client.line().await;
            assert!(reply.starts_with('5'), "{} {sender} {recipient}: {reply}", hello);
            client.hold("C: DATA").await;
            let reply = client.line().await;
            assert!(reply.starts_with('5'), "{} {sender} {recipient}: {reply}", hello);
            client.bye().await;
            assert!(server.store.commands().is_empty());
        }
    }
}
