//! Dialogues with servers of every kind. Each server keeps to a script ([`rude`]).

mod conversation;
mod counting;
mod rude;
mod tls;
mod trouble;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use securanet_gateway::model::{
    Address, RecipientAddress, ReversePath, UnixMillis,
    outbound::{EnvelopeOptions, Notify, OutboundRecipient, Outcome},
};

use super::*;
use crate::route::Hop;

const MESSAGE: &str = "Subject: x\r\n\r\n.a line that begins with a dot\r\n";

/// Waits that a test can bear; the longer ones are for what must not time out.
fn settings() -> ClientSettings {
    let short = Duration::from_millis(300);
    let timeouts = Timeouts {
        connect: Duration::from_secs(5),
        next_address: Duration::from_millis(100),
        greeting: short,
        hello: short,
        tls: Duration::from_secs(5),
        mail: short,
        recipient: short,
        data: short,
        block: short,
        final_dot: short,
        reset: short,
        quit: short,
    };
    ClientSettings { helo_name: "us.test".to_owned(), timeouts, ..ClientSettings::default() }
}

fn client() -> Client {
    Client::new(settings()).unwrap()
}

fn hop(address: SocketAddr) -> Hop {
    Hop::new("mx.test".to_owned(), vec![address])
}

fn recipients(addresses: &[&str]) -> Vec<OutboundRecipient> {
    let recipient = |address: &&str| OutboundRecipient {
        address: RecipientAddress::parse(address).unwrap(),
        destination: "example.net".to_owned(),
        notify: Notify::Default,
        original: None,
    };
    addresses.iter().map(recipient).collect()
}

/// Sends [`MESSAGE`] from ann@example.org, allowing every final dot.
async fn send(session: &mut Session, to: &[&str]) -> Sent {
    send_with(session, to, &EnvelopeOptions::default(), MESSAGE.len() as u64, |accepted| vec![true; accepted.len()])
        .await
}

async fn send_with(
    session: &mut Session,
    to: &[&str],
    options: &EnvelopeOptions,
    size_bytes: u64,
    allow: impl FnOnce(Vec<usize>) -> Vec<bool> + Send,
) -> Sent {
    let sender = ReversePath::Address(Address::parse("ann@example.org").unwrap());
    let recipients = recipients(to);
    let recipients: Vec<_> = recipients.iter().collect();
    let envelope = Envelope {
        sender: &sender,
        recipients: &recipients,
        options,
        size_bytes,
        eight_bit: false,
        utf8_header: false,
        now: UnixMillis::new(0),
    };
    let mut content = Bytes::from_static(MESSAGE.as_bytes());
    session.send(&envelope, &mut content, async |accepted| allow(accepted)).await
}

/// An attempt from the connection on: what becomes of bob@example.net, in words.
async fn attempt(hop: &Hop) -> String {
    match Session::open(hop, &client()).await {
        Ok(mut session) => told(&send(&mut session, &["bob@example.net"]).await.verdicts[0]),
        Err(failure) => format!("open: {}", told(&Verdict::Settled(failure.into()))),
    }
}

fn told(verdict: &Verdict) -> String {
    let told = match verdict {
        Verdict::Settled(told) => told,
        Verdict::Uncertain(_) => return "uncertain".to_owned(),
        Verdict::Again => return "again".to_owned(),
        Verdict::Forbidden => return "forbidden".to_owned(),
    };
    let outcome = match told.outcome {
        Outcome::Delivered { .. } | Outcome::Expanded => "delivered",
        Outcome::TemporaryAnswer => "temporary answer",
        Outcome::TemporaryConnection => "temporary connection",
        Outcome::TemporaryTls => "temporary tls",
        Outcome::TemporaryDns => "temporary dns",
        Outcome::Permanent => "permanent",
        Outcome::NoSuchDomain => "no such domain",
        Outcome::NotTried { .. } => "not tried",
        Outcome::Uncertain => "uncertain",
    };
    let (class, subject, detail) = told.status;
    format!("{outcome} {class}.{subject}.{detail}{}", if told.answer_is_remote { " remote" } else { "" })
}

fn all_told(sent: &Sent) -> Vec<String> {
    sent.verdicts.iter().map(told).collect()
}
