//! Dialogues that go well, or whose answers say what is wrong.

use super::{rude::Rude, *};

const ACCEPTS: &str = "
    S: 220 mx.test
    C: EHLO us.test
    S: 250 mx.test
    C: MAIL FROM:<ann@example.org>
    S: 250 ok
    C: RCPT TO:<bob@example.net>
    S: 250 ok
    C: DATA
    S: 354 go on
    C: Subject: x
    C:
    C: ..a line that begins with a dot
    C: .
    S: 250 2.6.0 queued as 7
    C: QUIT
    S: 221 bye";

#[tokio::test]
async fn rfc_5321_3_3_a_message_goes_out() {
    let script = ACCEPTS.replace("C:\n", "C: \n");
    let server = Rude::start(&[&script]).await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    let sent = send(&mut session, &["bob@example.net"]).await;
    let expected = RecipientOutcome {
        outcome: Outcome::Delivered { notifies: false },
        status: (2, 6, 0),
        host: Some(format!("mx.test [127.0.0.1]:{}", server.address.port())),
        tls: Some("none (not offered)".to_owned()),
        answer: "250 2.6.0 queued as 7".to_owned(),
        answer_is_remote: true,
    };
    assert_eq!(sent, Sent { verdicts: vec![Verdict::Settled(expected)], stale: false });
    assert!(session.reusable());
    session.quit().await;
    server.done().await;
}

#[tokio::test]
async fn rfc_5321_4_1_4_a_server_without_ehlo_is_greeted_with_helo() {
    let server = Rude::start(&["
        S: 220 old.test
        C: EHLO us.test
        S: 502 what?
        C: HELO us.test
        S: 250 old.test
        C: MAIL FROM:<ann@example.org>
        S: 250 ok
        C: RCPT TO:<bob@example.net>
        S: 250 ok
        C: DATA
        S: 354 go on
        CONTENT
        S: 250 ok"])
    .await;
    assert_eq!(attempt(&hop(server.address)).await, "delivered 2.0.0 remote");
    server.done().await;
}

#[tokio::test]
async fn rfc_2920_3_1_commands_go_in_one_piece_and_each_recipient_has_its_answer() {
    let server = Rude::start(&["
        S: 220 mx.test
        C: EHLO us.test
        S: 250-mx.test
        S: 250-DSN
        S: 250-SIZE 1000000
        S: 250 PIPELINING
        C: MAIL FROM:<ann@example.org> SIZE=46
        C: RCPT TO:<a@example.net>
        C: RCPT TO:<b@example.net>
        C: RCPT TO:<c@example.net>
        C: RCPT TO:<d@example.net>
        C: DATA
        S: 250 ok
        S: 250 2.1.5 ok
        S: 550 5.1.1 no such mailbox
        S: 451 4.7.1 greylisted, try again
        S: 251 forwarding
        S: 354 go on
        CONTENT
        S: 250 ok"])
    .await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    let mut asked = Vec::new();
    let to = ["a@example.net", "b@example.net", "c@example.net", "d@example.net"];
    let options = EnvelopeOptions::default();
    let sent = send_with(&mut session, &to, &options, MESSAGE.len() as u64, |accepted| {
        asked.clone_from(&accepted);
        vec![true; accepted.len()]
    })
    .await;
    assert_eq!(asked, [0, 3], "the word before the final dot is about the accepted ones");
    let delivered = "delivered 2.0.0 remote";
    assert_eq!(all_told(&sent), [delivered, "permanent 5.1.1 remote", "temporary answer 4.7.1 remote", delivered]);
    let Verdict::Settled(first) = &sent.verdicts[0] else { panic!("settled") };
    assert_eq!(first.outcome, Outcome::Delivered { notifies: true }, "RFC 3461: it offered DSN");
    drop(session);
    server.done().await;
}

/// Sends to two with DATA pipelined: the verdicts, whether the connection can be used again, and what the server heard
/// after DATA, up to the end of a second transaction where there may be one.
async fn refused(answers: [&str; 4], after: &str) -> (Vec<String>, bool, Vec<String>) {
    let server = Rude::start(&[&format!(
        "S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 PIPELINING\nC~ MAIL\nC~ RCPT\nC~ RCPT\nC: DATA\nS: {}\n{after}",
        answers.join("\nS: ")
    )])
    .await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    let to = ["a@example.net", "b@example.net"];
    let nobody = |_| panic!("nobody was accepted, so there is no end to be asked about");
    let sent = send_with(&mut session, &to, &EnvelopeOptions::default(), 0, nobody).await;
    let reusable = session.reusable();
    if reusable {
        assert_eq!(all_told(&send(&mut session, &["bob@example.net"]).await), ["delivered 2.0.0 remote"]);
    }
    drop(session);
    let heard = server.done().await;
    (all_told(&sent), reusable, heard.into_iter().skip_while(|line| line != "DATA").skip(1).collect())
}

const NEXT: &str =
    "C: RSET\nS: 250 ok\nC~ MAIL\nC~ RCPT\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go on\nCONTENT\nS: 250 ok";

#[tokio::test]
async fn rfc_2920_3_1_data_that_was_refused_with_all_recipients_leaves_a_good_connection() {
    let answers = ["250 ok", "550 5.1.1 no", "451 4.7.1 later", "554 5.5.1 no valid recipients"];
    let (told, reusable, _) = refused(answers, NEXT).await;
    assert_eq!(told, ["permanent 5.1.1 remote", "temporary answer 4.7.1 remote"]);
    assert!(reusable);
    let (told, reusable, _) = refused(["550 5.7.1 not you", "503 no", "503 no", "503 no"], NEXT).await;
    assert_eq!(told, ["permanent 5.7.1 remote", "permanent 5.7.1 remote"], "the answer to MAIL counts");
    assert!(reusable);
}

#[tokio::test]
async fn rfc_2920_3_1_a_354_after_every_recipient_was_refused_is_answered_with_a_lone_dot() {
    let cases = [
        (["250 ok", "550 5.1.1 no", "550 5.1.1 no", "354 go on"], "permanent 5.1.1 remote"),
        (["450 4.7.1 not now", "503 no", "503 no", "354 go on"], "temporary answer 4.7.1 remote"),
    ];
    for (answers, expected) in cases {
        // Whatever it says to the end, nothing was delivered.
        for end in ["250 2.0.0 queued for nobody", "554 5.5.1 no valid recipients"] {
            let (told, reusable, heard) = refused(answers, &format!("C: .\nS: {end}\n{NEXT}")).await;
            assert_eq!(told, [expected, expected], "{end}");
            assert!(reusable && heard[..2] == [".", "RSET"], "{heard:?}");
        }
        for end in ["CLOSE", "HANG", "S: 421 4.3.2 closing"] {
            let (told, reusable, _) = refused(answers, &format!("C: .\n{end}")).await;
            assert_eq!(told, [expected, expected], "{end}");
            assert!(!reusable, "{end}");
        }
    }
}

#[tokio::test]
async fn rfc_2920_3_1_recipients_of_a_refused_sender_get_no_empty_message() {
    let (told, reusable, heard) = refused(["550 5.7.1 not you", "250 ok", "250 ok", "354 go on"], "").await;
    assert_eq!(told, ["permanent 5.7.1 remote", "permanent 5.7.1 remote"]);
    assert!(!reusable, "there is no end that would not deliver");
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test]
async fn rfc_5321_4_5_3_1_10_too_many_recipients_are_for_another_transaction() {
    let cases = [
        ("452 4.5.3 too many recipients", "again", "temporary answer 4.5.3 remote"),
        ("452 too many", "again", "temporary answer 4.1.0 remote"),
        ("552 too many", "again", "permanent 5.1.0 remote"),
        ("552 5.5.3 too many recipients", "again", "temporary answer 4.5.3 remote"),
        ("552 5.2.2 mailbox full", "permanent 5.2.2 remote", "permanent 5.2.2 remote"),
        ("452 4.2.2 mailbox full", "temporary answer 4.2.2 remote", "temporary answer 4.2.2 remote"),
    ];
    let script = |first: &str, second: &str| {
        format!(
            "S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 PIPELINING\nC~ MAIL\nC~ RCPT\nC~ RCPT\nC: DATA\nS: 250 ok\n\
             S: {first}\nS: {second}\nS: 354 go on\nCONTENT\nS: 250 ok"
        )
    };
    let alone = |answer: &str| {
        format!(
            "S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 PIPELINING\nC~ MAIL\nC~ RCPT\nC: DATA\nS: 250 ok\n\
             S: {answer}\nS: 554 5.5.1 no valid recipients"
        )
    };
    for (answer, after_another, for_itself) in cases {
        let server = Rude::start(&[&script("250 ok", answer), &alone(answer)]).await;
        let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
        let sent = send(&mut session, &["a@example.net", "b@example.net"]).await;
        assert_eq!(all_told(&sent), ["delivered 2.0.0 remote", after_another], "{answer}");
        drop(session);
        assert_eq!(attempt(&hop(server.address)).await, for_itself, "{answer}");
        server.done().await;
    }
}

#[tokio::test]
async fn rfc_1870_6_1_what_is_larger_than_the_server_takes_is_not_even_begun() {
    let server = Rude::start(&["S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 SIZE 1000\nC: QUIT\nS: 221 bye"]).await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    let sent = send_with(&mut session, &["bob@example.net"], &EnvelopeOptions::default(), 1001, |_| Vec::new()).await;
    assert_eq!(all_told(&sent), ["permanent 5.3.4"]);
    session.quit().await;
    server.done().await;
}

#[tokio::test]
async fn what_a_server_does_not_offer_is_not_asked_of_it() {
    use securanet_gateway::model::outbound::DeliverBy;
    let require_tls = EnvelopeOptions { require_tls: true, ..EnvelopeOptions::default() };
    let by = DeliverBy { by: UnixMillis::new(1000), or_return: true, trace: false };
    let deliver_by = EnvelopeOptions { deliver_by: Some(by), ..EnvelopeOptions::default() };
    let cases = [
        (EnvelopeOptions::default(), "b\u{f6}b@example.net", "permanent 5.6.7"),
        (require_tls, "bob@example.net", "permanent 5.7.30"),
        (deliver_by, "bob@example.net", "permanent 5.3.3"),
    ];
    let server =
        Rude::start(&["S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 REQUIRETLS\nC: QUIT\nS: 221 bye"]).await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    for (options, to, expected) in cases {
        let sent = send_with(&mut session, &[to], &options, 10, |_| Vec::new()).await;
        assert_eq!(all_told(&sent), [expected]);
    }
    session.quit().await;
    server.done().await;
}

#[tokio::test]
async fn rfc_3030_2_content_goes_in_chunks_and_the_word_comes_before_the_last() {
    struct Much(u32);
    impl Octets for Much {
        fn next(&mut self) -> futures::future::BoxFuture<'_, std::io::Result<Option<Bytes>>> {
            self.0 = self.0.saturating_sub(1);
            let piece = (self.0 > 0).then(|| Bytes::from("0123456789abcde\r\n.".repeat(30_000)));
            Box::pin(async { Ok(piece) })
        }
    }
    let server = Rude::start(&["
        S: 220 mx.test
        C~ EHLO
        S: 250-mx.test
        S: 250-CHUNKING
        S: 250 PIPELINING
        C~ MAIL
        C~ RCPT
        S: 250 ok
        S: 250 ok
        CHUNK
        S: 250 got it
        CHUNK
        S: 250 got it
        CHUNK
        S: 250 2.0.0 done"])
    .await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    let (sender, options) = (ReversePath::Null, EnvelopeOptions::default());
    let recipients = recipients(&["bob@example.net"]);
    let recipients: Vec<_> = recipients.iter().collect();
    let (recipients, options, now) = (&recipients[..], &options, UnixMillis::new(0));
    let envelope =
        Envelope { sender: &sender, recipients, options, size_bytes: 0, eight_bit: false, utf8_header: false, now };
    let mut heard_before = Vec::new();
    let sent = session
        .send(&envelope, &mut Much(6), async |accepted| {
            heard_before = server.heard();
            vec![true; accepted.len()]
        })
        .await;
    assert_eq!(all_told(&sent), ["delivered 2.0.0 remote"]);
    assert!(!heard_before.iter().any(|line| line.ends_with(" LAST")), "the last chunk waits for the word");
    drop(session);
    let heard = server.done().await;
    let content: String = heard
        .iter()
        .skip_while(|line| !line.starts_with("BDAT"))
        .filter(|line| !line.starts_with("BDAT"))
        .cloned()
        .collect();
    assert_eq!(content, "0123456789abcde\r\n.".repeat(30_000 * 5) + "\r\n", "no dot is doubled");
    assert!(heard.iter().any(|line| line.starts_with("BDAT") && line.ends_with(" LAST")));
}

#[tokio::test]
async fn rfc_5321_4_1_1_5_a_connection_is_used_again_and_reset_where_it_must_be() {
    let server = Rude::start(&["
        S: 220 mx.test
        C~ EHLO
        S: 250 mx.test
        C~ MAIL
        S: 250 ok
        C~ RCPT
        S: 550 5.1.1 no such mailbox
        C: RSET
        S: 250 ok
        C~ MAIL
        S: 250 ok
        C~ RCPT
        S: 250 ok
        C: DATA
        S: 354 go on
        CONTENT
        S: 250 ok
        C~ MAIL
        S: 451 4.3.0 later
        C: QUIT
        S: 221 bye"])
    .await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    assert_eq!(all_told(&send(&mut session, &["x@example.net"]).await), ["permanent 5.1.1 remote"]);
    assert_eq!(all_told(&send(&mut session, &["bob@example.net"]).await), ["delivered 2.0.0 remote"]);
    assert_eq!(all_told(&send(&mut session, &["bob@example.net"]).await), ["temporary answer 4.3.0 remote"]);
    session.quit().await;
    server.done().await;
}

#[tokio::test]
async fn a_connection_that_died_between_two_messages_says_nothing_about_the_second() {
    let good = "S: 220 mx.test\nC~ EHLO\nS: 250 mx.test\nC~ MAIL\nS: 250 ok\nC~ RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nCONTENT\nS: 250 ok";
    for end in ["CLOSE", "S: 421 4.4.2 idle too long\nCLOSE"] {
        let server = Rude::start(&[&format!("{good}\n{end}")]).await;
        let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
        assert!(!send(&mut session, &["bob@example.net"]).await.stale);
        let sent = send(&mut session, &["bob@example.net"]).await;
        assert!(sent.stale && !session.reusable(), "{end}: {sent:?}");
        server.done().await;
    }
}

#[tokio::test]
async fn a_session_is_used_for_so_many_messages_and_no_more() {
    let one = "C~ MAIL\nS: 250 ok\nC~ RCPT\nS: 550 no\nC: RSET\nS: 250 ok\n";
    let server = Rude::start(&[&format!(
        "S: 220 mx.test\nC~ EHLO\nS: 250 mx.test\n{one}C~ MAIL\nS: 250 ok\nC~ RCPT\nS: 550 no"
    )])
    .await;
    let client = Client::new(ClientSettings { messages_per_connection_max: 2, ..settings() }).unwrap();
    let mut session = Session::open(&hop(server.address), &client).await.unwrap();
    send(&mut session, &["bob@example.net"]).await;
    assert!(session.reusable());
    send(&mut session, &["bob@example.net"]).await;
    assert!(!session.reusable());
    drop(session);
    server.done().await;
}

#[tokio::test]
async fn the_final_dot_is_not_passed_without_the_word_for_every_accepted_recipient() {
    for chunking in ["", "S: 250-CHUNKING\n"] {
        let (data, begins) = if chunking.is_empty() { ("C: DATA\n", "S: 354 go on") } else { ("", "") };
        let server = Rude::start(&[&format!(
            "S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\n{chunking}S: 250 PIPELINING\nC~ MAIL\nC~ RCPT\nC~ RCPT\n{data}\
             S: 250 ok\nS: 250 ok\nS: 250 ok\n{begins}"
        )])
        .await;
        let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
        let to = ["a@example.net", "b@example.net"];
        let sent = send_with(&mut session, &to, &EnvelopeOptions::default(), 0, |_| vec![false, true]).await;
        assert_eq!(all_told(&sent), ["forbidden", "not tried 4.3.0"]);
        assert!(!session.reusable());
        drop(session);
        let heard = server.done().await;
        assert!(!heard.iter().any(|line| line == "." || line.starts_with("BDAT")), "{heard:?}");
    }
}

#[tokio::test]
async fn content_that_cannot_be_read_is_our_fault_and_nothing_is_delivered() {
    struct Broken;
    impl Octets for Broken {
        fn next(&mut self) -> futures::future::BoxFuture<'_, std::io::Result<Option<Bytes>>> {
            Box::pin(async { Err(std::io::Error::other("disk on fire")) })
        }
    }
    let server = Rude::start(&[
        "S: 220 mx.test\nC~ EHLO\nS: 250 mx.test\nC~ MAIL\nS: 250 ok\nC~ RCPT\nS: 250 ok\nC: DATA\nS: 354 go",
    ])
    .await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    let (sender, options) = (ReversePath::Null, EnvelopeOptions::default());
    let recipients = recipients(&["bob@example.net"]);
    let recipients: Vec<_> = recipients.iter().collect();
    let (recipients, options, now) = (&recipients[..], &options, UnixMillis::new(0));
    let envelope =
        Envelope { sender: &sender, recipients, options, size_bytes: 0, eight_bit: false, utf8_header: false, now };
    let sent = session.send(&envelope, &mut Broken, async |_| panic!("there is no end to be asked about")).await;
    assert_eq!(all_told(&sent), ["not tried 4.3.0"]);
    drop(session);
    assert!(!server.done().await.contains(&".".to_owned()));
}

#[tokio::test]
async fn a_probe_says_hello_and_goodbye() {
    let server =
        Rude::start(&["S: 220 mx.test\nC: EHLO us.test\nS: 250 mx.test\nC: QUIT\nS: 221 bye", "S: 554 no"]).await;
    Session::probe(&hop(server.address), &client()).await.unwrap();
    let failure = Session::probe(&hop(server.address), &client()).await.unwrap_err();
    assert_eq!((failure.stage, failure.outcome), (Stage::Greeting, Outcome::TemporaryConnection));
    server.done().await;
}
