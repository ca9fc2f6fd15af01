//! Dialogues that break off, hang or turn to garbage, at each stage.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket},
};

use super::{rude::Rude, *};

/// A dialogue that goes well; its answers are the stages.
const STAGES: &[&str] = &[
    "S: 220 mx.test",
    "C~ EHLO",
    "S: 250 mx.test",
    "C~ MAIL",
    "S: 250 ok",
    "C~ RCPT",
    "S: 250 ok",
    "C: DATA",
    "S: 354 go on",
    "CONTENT",
    "S: 250 ok",
];

/// Plays the dialogue up to an answer (greeting, EHLO, MAIL, RCPT, DATA, final dot), and then something else.
fn until(stage: usize, instead: &str) -> String {
    let answers = STAGES.iter().enumerate().filter(|(_, line)| line.starts_with("S:"));
    let at = answers.map(|(at, _)| at).nth(stage).unwrap();
    STAGES[..at].iter().copied().chain([instead]).collect::<Vec<_>>().join("\n")
}

async fn at_each_stage(instead: &str, expected: [&str; 6]) {
    for (stage, expected) in expected.into_iter().enumerate() {
        let server = Rude::start(&[&until(stage, instead)]).await;
        assert_eq!(attempt(&hop(server.address)).await, expected, "{instead} at stage {stage}");
        server.done().await;
    }
}

#[tokio::test]
async fn rfc_1047_a_connection_that_breaks_is_temporary_before_the_final_dot_and_uncertain_after_it() {
    let open = "open: temporary connection 4.4.2";
    let lost = "temporary connection 4.4.2";
    at_each_stage("CLOSE", [open, open, lost, lost, lost, "uncertain"]).await;
    at_each_stage("R: 250-half of an\nCLOSE", [open, open, lost, lost, lost, "uncertain"]).await;
}

#[tokio::test]
async fn rfc_5321_4_5_3_2_a_server_that_hangs_is_waited_for_so_long() {
    let open = "open: temporary connection 4.4.2";
    let lost = "temporary connection 4.4.2";
    at_each_stage("HANG", [open, open, lost, lost, lost, "uncertain"]).await;
}

#[tokio::test]
async fn rfc_1047_garbage_is_temporary_before_the_final_dot_and_uncertain_after_it() {
    let open = "open: temporary connection 4.5.0";
    let garbage = "temporary answer 4.5.0";
    at_each_stage("S: hello, friend", [open, open, garbage, garbage, garbage, "uncertain"]).await;
    let endless = format!("R: 250 {}", "x".repeat(5000));
    at_each_stage(&endless, [open, open, garbage, garbage, garbage, "uncertain"]).await;
}

#[tokio::test]
async fn rfc_5321_3_8_421_is_temporary_wherever_it_comes() {
    let open = "open: temporary connection 4.3.2 remote";
    let closing = "temporary answer 4.3.2 remote";
    at_each_stage("S: 421 4.3.2 closing", [open, open, closing, closing, closing, closing]).await;
}

#[tokio::test]
async fn rfc_5321_4_2_1_the_first_digit_decides_at_each_stage() {
    let open = "open: temporary connection 4.7.1 remote";
    let later = "temporary answer 4.7.1 remote";
    at_each_stage("S: 450 4.7.1 later", [open, open, later, later, later, later]).await;
    let never = "permanent 5.7.1 remote";
    for stage in 2..6 {
        let server = Rude::start(&[&until(stage, "S: 550 5.7.1 never")]).await;
        assert_eq!(attempt(&hop(server.address)).await, never, "stage {stage}");
        server.done().await;
    }
}

#[tokio::test]
async fn rfc_5321_3_1_a_host_that_refuses_all_mail_may_have_another_address_that_does_not() {
    let refusing = ["S: 554 no mail here", "S: 421 too busy", "CLOSE"];
    let accepting = STAGES.join("\n");
    for refusal in refusing {
        let (bad, good) = (Rude::start(&[refusal]).await, Rude::start(&[&accepting]).await);
        let mut both = hop(bad.address);
        both.addresses.push(good.address);
        assert_eq!(attempt(&both).await, "delivered 2.0.0 remote", "{refusal}");
        bad.done().await;
        good.done().await;
    }
    let bad = Rude::start(&["S: 554 no mail here"]).await;
    assert_eq!(attempt(&hop(bad.address)).await, "open: temporary connection 4.3.2 remote");
}

#[tokio::test]
async fn rfc_8305_5_addresses_are_tried_in_turn_until_one_answers() {
    // A port that nobody listens on, and one whose queue is full: neither answers.
    let refused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let good = Rude::start(&[&STAGES.join("\n")]).await;
    let mut all = hop(refused);
    all.addresses.push(good.address);
    assert_eq!(attempt(&all).await, "delivered 2.0.0 remote");
    good.done().await;
    assert_eq!(attempt(&hop(refused)).await, "open: temporary connection 4.4.1");
}

#[tokio::test]
async fn answers_that_came_before_the_break_count() {
    let server = Rude::start(&["
        S: 220 mx.test
        C~ EHLO
        S: 250-mx.test
        S: 250 PIPELINING
        C~ MAIL
        C~ RCPT
        C~ RCPT
        C~ RCPT
        S: 250 ok
        S: 550 5.1.1 no such mailbox
        S: 250 ok
        CLOSE"])
    .await;
    let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
    let sent = send(&mut session, &["a@example.net", "b@example.net", "c@example.net"]).await;
    let lost = "temporary connection 4.4.2";
    assert_eq!(all_told(&sent), ["permanent 5.1.1 remote", lost, lost]);
    server.done().await;
}

#[tokio::test]
async fn rfc_5321_4_1_1_1_a_server_that_offers_what_it_cannot_do_harms_nobody() {
    // It offers PIPELINING and answers the first command only.
    let server = Rude::start(&["
        S: 220 mx.test
        C~ EHLO
        S: 250-mx.test
        S: 250 PIPELINING
        C~ MAIL
        S: 250 ok
        HANG"])
    .await;
    assert_eq!(attempt(&hop(server.address)).await, "temporary connection 4.4.2");
    server.done().await;
    // It offers CHUNKING and does not know BDAT.
    let server = Rude::start(&["
        S: 220 mx.test
        C~ EHLO
        S: 250-mx.test
        S: 250 CHUNKING
        C~ MAIL
        S: 250 ok
        C~ RCPT
        S: 250 ok
        CHUNK
        S: 500 5.5.1 what?"])
    .await;
    assert_eq!(attempt(&hop(server.address)).await, "permanent 5.5.1 remote");
    server.done().await;
}

#[tokio::test]
async fn rfc_1047_a_last_chunk_that_is_not_all_there_is_certainly_not_delivered() {
    struct Long(bool);
    impl Octets for Long {
        fn next(&mut self) -> futures::future::BoxFuture<'_, std::io::Result<Option<Bytes>>> {
            let all = (!std::mem::replace(&mut self.0, true)).then(|| Bytes::from(vec![b'x'; 20_000_000]));
            Box::pin(async { Ok(all) })
        }
    }
    let hello = "S: 220 mx.test\nC~ EHLO\nS: 250-mx.test\nS: 250 CHUNKING\nC~ MAIL\nS: 250 ok\nC~ RCPT\nS: 250 ok\n";
    for (end, expected) in [("C~ BDAT\nCLOSE", "temporary connection 4.4.2"), ("CHUNK\nCLOSE", "uncertain")] {
        let server = Rude::start(&[&format!("{hello}{end}")]).await;
        let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
        let (sender, options) = (ReversePath::Null, EnvelopeOptions::default());
        let recipients = recipients(&["bob@example.net"]);
        let recipients: Vec<_> = recipients.iter().collect();
        let (recipients, options, now) = (&recipients[..], &options, UnixMillis::new(0));
        let envelope =
            Envelope { sender: &sender, recipients, options, size_bytes: 0, eight_bit: false, utf8_header: false, now };
        let sent = session.send(&envelope, &mut Long(false), async |accepted| vec![true; accepted.len()]).await;
        assert_eq!(all_told(&sent), [expected], "{end}");
        server.done().await;
    }
}

#[tokio::test]
async fn a_server_that_speaks_in_the_middle_of_the_message_is_heard() {
    struct Endless;
    impl Octets for Endless {
        fn next(&mut self) -> futures::future::BoxFuture<'_, std::io::Result<Option<Bytes>>> {
            Box::pin(async { Ok(Some(Bytes::from_static(&[b'x'; 50_000]))) })
        }
    }
    for after in ["HANG", "CLOSE"] {
        let server =
            Rude::start(&[&until(5, "").replace("CONTENT", &format!("S: 552 5.3.4 too large\n{after}"))]).await;
        let mut session = Session::open(&hop(server.address), &client()).await.unwrap();
        let (sender, options) = (ReversePath::Null, EnvelopeOptions::default());
        let recipients = recipients(&["bob@example.net"]);
        let recipients: Vec<_> = recipients.iter().collect();
        let (recipients, options, now) = (&recipients[..], &options, UnixMillis::new(0));
        let envelope =
            Envelope { sender: &sender, recipients, options, size_bytes: 0, eight_bit: false, utf8_header: false, now };
        let mut endless = Endless;
        let sending = session.send(&envelope, &mut endless, async |_| panic!("the message has no end"));
        let sent = tokio::time::timeout(Duration::from_secs(10), sending).await.unwrap();
        assert_eq!(all_told(&sent), ["permanent 5.3.4 remote"], "{after}");
        assert!(!session.reusable());
    }
}

/// Answers each command before it takes the next one, at length, with small buffers: a client that writes all its
/// commands before it reads an answer waits for ever.
async fn stubborn() -> SocketAddr {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    socket.set_send_buffer_size(2048).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"220 mx.test\r\n").await.unwrap();
        let (mut line, mut content) = (Vec::new(), false);
        while let Ok(octet) = tcp.read_u8().await {
            line.push(octet);
            if octet != b'\n' {
                continue;
            }
            let answer = match line.as_slice() {
                b".\r\n" => "250 2.0.0 ok\r\n".to_owned(),
                _ if content => String::new(),
                b"DATA\r\n" => "354 go on\r\n".to_owned(),
                [b'E', ..] => "250-mx.test\r\n250 PIPELINING\r\n".to_owned(),
                _ => format!("250 {}\r\n", "y".repeat(1500)),
            };
            content = content && line != b".\r\n" || line == b"DATA\r\n";
            line.clear();
            tcp.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn rfc_2920_3_1_many_pipelined_commands_do_not_lock_up() {
    let address = stubborn().await;
    let settings =
        ClientSettings { timeouts: Timeouts { block: Duration::from_secs(10), ..settings().timeouts }, ..settings() };
    let mut session = Session::open(&hop(address), &Client::new(settings).unwrap()).await.unwrap();
    let names: Vec<_> = (0..600).map(|at| format!("{}{at}@example.net", "r".repeat(200))).collect();
    let to: Vec<_> = names.iter().map(String::as_str).collect();
    let sent = tokio::time::timeout(Duration::from_secs(30), send(&mut session, &to)).await.unwrap();
    assert!(all_told(&sent).iter().all(|told| told == "delivered 2.0.0 remote"));
}

#[tokio::test]
async fn a_server_that_floods_us_is_left() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"220 mx.test\r\n").await.unwrap();
        while tcp.write_all(&b"250 ok\r\n".repeat(1000)).await.is_ok() {}
    });
    let settings =
        ClientSettings { timeouts: Timeouts { block: Duration::from_secs(10), ..settings().timeouts }, ..settings() };
    let mut session = Session::open(&hop(address), &Client::new(settings).unwrap()).await.unwrap();
    // A yes to each command that was not heard yet is not a yes to the message.
    let sent = send(&mut session, &["bob@example.net"]).await;
    assert!(!told(&sent.verdicts[0]).starts_with("delivered"), "{sent:?}");
}
