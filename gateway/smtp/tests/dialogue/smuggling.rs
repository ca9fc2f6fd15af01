//! SMTP smuggling: what other servers take for the end of a message, in both settings, over DATA and BDAT, however
//! TCP cuts it. Behind each variant stands a second message; it must never become one.

use securanet_gateway::listener::BareNewline::{self, Normalise, Reject};

use crate::server::{Client, Server};

const SMUGGLED: &str = "MAIL FROM:<evil@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nsmuggled\r\n.\r\nNOOP\r\n";

/// What becomes of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    /// One message that contains all of it, with newlines normalised.
    Kept,
    /// 550 5.6.11, and the connection is closed.
    Closed,
    /// 554 5.6.0, and the session goes on after the true end.
    Nul,
}
use Fate::{Closed, Kept, Nul};

/// Variant; fate where bare newlines are normalised; fate where they are rejected.
const VARIANTS: &[(&str, Fate, Fate)] = &[
    ("\n.\n", Kept, Closed),
    ("\n.\r\n", Kept, Closed),
    ("\r\n.\n", Kept, Closed),
    ("\n\n.\n\n", Kept, Closed),
    ("\n.\n\r\n", Kept, Closed),
    ("\r\n\n.\r\n", Kept, Closed),
    ("\n.\r", Closed, Closed),
    ("\r.\n", Closed, Closed),
    ("\r.\r", Closed, Closed),
    ("\r.\r\n", Closed, Closed),
    ("\r\n.\r", Closed, Closed),
    ("\n\r.\r\n", Closed, Closed),
    ("\n\r.\n\r", Closed, Closed),
    ("\r\r.\r\r", Closed, Closed),
    ("\r\n.\r\r\n", Closed, Closed),
    ("\r\r\n.\r\n", Closed, Closed),
    ("\r\r\n.\r\r\n", Closed, Closed),
    ("\r\n\0.\r\n", Nul, Nul),
    ("\r\n.\0\r\n", Nul, Nul),
    ("\r\n.\r\0\n", Closed, Closed),
    ("\r\0\n.\r\n", Closed, Closed),
    ("\0\r\n.\n", Nul, Closed),
    ("\n\0.\n", Nul, Closed),
    ("\n.\0\n", Nul, Closed),
    ("\r\n .\r\n", Kept, Kept),
    ("\r\n. \r\n", Kept, Kept),
    ("\r\n\u{b}.\r\n", Kept, Kept),
    ("\r\n\u{c}.\r\n", Kept, Kept),
    ("\u{85}.\u{85}", Kept, Kept),
    ("\u{2028}.\u{2028}", Kept, Kept),
];

async fn begin(server: &mut Server) -> Client {
    let mut client = server.connect();
    let start = "
        S: 220 *
        C: HELO a
        C: MAIL FROM:<sender@example.net>
        C: RCPT TO:<ann@example.org>
        S: 250 *
        S: 250 *
        S: 250 *";
    client.hold(start).await;
    client
}

/// Sends in pieces of so many octets, each of them read by the server by itself.
async fn send_in_pieces(client: &mut Client, octets: &[u8], piece: usize) {
    for piece in octets.chunks(piece) {
        client.send(piece).await;
        tokio::task::yield_now().await;
    }
}

/// Checks what the server said and what the store saw.
fn judge(server: &Server, replies: &str, fate: Fate, label: &str) {
    let replies: Vec<&str> = replies.lines().map(|line| &line[..line.len().min(10)]).collect();
    let executed = server.store.script().executed.len();
    let expect: (&[&str], usize) = match fate {
        Kept => (&["250 2.0.0 ", "221 2.0.0 "], 1),
        Closed => (&["550 5.6.11"], 0),
        Nul => (&["554 5.6.0 ", "221 2.0.0 "], 0),
    };
    assert_eq!((replies.as_slice(), executed), expect, "{label}");
    if fate == Kept {
        let content = String::from_utf8(server.store.contents()[0].clone()).unwrap();
        assert!(
            content.contains("MAIL FROM:<evil@example.net>") && content.contains("smuggled"),
            "{label}: {content:?}"
        );
        let bytes = content.as_bytes();
        assert!((1..bytes.len()).all(|at| (bytes[at] == b'\n') == (bytes[at - 1] == b'\r')), "{label}: {content:?}");
    }
}

async fn check_data(variant: &str, setting: BareNewline, fate: Fate, piece: usize) {
    let label = format!("{variant:?} {setting:?} in pieces of {piece}");
    let mut server = Server::smtp();
    server.bare_newline = setting;
    let mut client = begin(&mut server).await;
    client.hold("C: DATA\nS: 354 *").await;
    // The smuggled message has an end of its own, which is the true one; a conforming relay would have stuffed its
    // dot, so it is stuffed here but for the variant.
    let stuffed = SMUGGLED.replace("\r\n.\r\n", "\r\n..\r\n");
    let wire = format!("first{variant}{stuffed}\r\n.\r\nQUIT\r\n");
    send_in_pieces(&mut client, wire.as_bytes(), piece).await;
    judge(&server, &client.rest().await, fate, &label);
}

#[tokio::test(start_paused = true)]
async fn no_variant_ends_data() {
    for &(variant, normalised, rejected) in VARIANTS {
        for piece in [1, 2, 3, 7, 100_000] {
            check_data(variant, Normalise, normalised, piece).await;
            check_data(variant, Reject, rejected, piece).await;
        }
    }
}

/// Without dot-stuffing the smuggled message's own end is the true end of data: what is behind it is a command only
/// if the line ends before it were right.
#[tokio::test(start_paused = true)]
async fn after_a_refusal_for_line_ends_nothing_is_a_command_any_more() {
    for &(variant, normalised, rejected) in VARIANTS {
        for (setting, fate) in [(Normalise, normalised), (Reject, rejected)] {
            if fate != Closed {
                continue;
            }
            let mut server = Server::smtp();
            server.bare_newline = setting;
            let mut client = begin(&mut server).await;
            client.hold("C: DATA\nS: 354 *").await;
            client.send(format!("first{variant}{SMUGGLED}{SMUGGLED}").as_bytes()).await;
            judge(&server, &client.rest().await, Closed, &format!("{variant:?} {setting:?}"));
        }
    }
}

/// In chunks nothing but the count ends a message, so each variant is content or a refusal there too; cut in two
/// chunks at each position.
async fn check_chunks(variant: &str, setting: BareNewline, fate: Fate, cut: usize) {
    let label = format!("{variant:?} {setting:?} cut at {cut}");
    let mut server = Server::smtp();
    server.bare_newline = setting;
    let mut client = begin(&mut server).await;
    let message = format!("first{variant}{SMUGGLED}");
    let (one, two) = message.as_bytes().split_at("first".len() + cut);
    let mut wire = format!("BDAT {}\r\n", one.len()).into_bytes();
    wire.extend_from_slice(one);
    wire.extend_from_slice(format!("BDAT {} LAST\r\n", two.len()).as_bytes());
    wire.extend_from_slice(two);
    wire.extend_from_slice(b"QUIT\r\n");
    client.send(&wire).await;
    let replies = client.rest().await;
    // The first chunk's own reply: taken, or refused already.
    let (first, rest) = replies.split_once('\n').unwrap();
    match fate {
        Closed if first.starts_with("550") => judge(&server, &replies, fate, &label),
        Nul | Closed if first.starts_with("554") => judge(&server, rest, fate, &label),
        _ => {
            assert!(first.starts_with("250 2.0.0 "), "{label}: {first}");
            judge(&server, rest, fate, &label);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_variant_ends_a_chunk() {
    for &(variant, normalised, rejected) in VARIANTS {
        for cut in 0..=variant.len() {
            check_chunks(variant, Normalise, normalised, cut).await;
            check_chunks(variant, Reject, rejected, cut).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chunked_message_that_ends_with_a_carriage_return_is_refused() {
    let mut server = Server::smtp();
    let mut client = begin(&mut server).await;
    client.send(b"BDAT 2 LAST\r\na\r\nNOOP\r\n").await;
    client.hold("S: 550 5.6.11 *\nS: EOF").await;
    client.bye().await;
    assert!(server.store.script().executed.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_after_a_wrong_end_hears_the_refusal_at_once() {
    let mut server = Server::smtp();
    let mut client = begin(&mut server).await;
    client.hold("C: DATA\nS: 354 *").await;
    let begun = tokio::time::Instant::now();
    client.send(b"text\r\r\n.\r\r\n").await;
    client.expect("550 5.6.11 *", "").await;
    assert_eq!(begun.elapsed().as_secs(), 0);
    client.expect("EOF", "").await;
    client.bye().await;
}

/// The client comes from 192.0.2.7.
#[tokio::test(start_paused = true)]
async fn a_listener_may_treat_networks_differently() {
    for (network, reply) in [("192.0.2.0/24", "550 5.6.11 *"), ("198.51.100.0/24", "250 2.0.0 *")] {
        let mut server = Server::smtp();
        server.bare_newline_networks = vec![(network.parse().unwrap(), Reject)];
        let mut client = begin(&mut server).await;
        client.hold("C: DATA\nS: 354 *").await;
        client.send(b"a\nb\r\n.\r\n").await;
        client.expect(reply, network).await;
    }
}
