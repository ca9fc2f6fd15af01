//! Lines and octets over a transport in memory.

use tokio::io::{DuplexStream, duplex};

use super::*;

const SOON: Duration = Duration::from_secs(1);

fn pair() -> (LineStream<DuplexStream>, DuplexStream) {
    let (ours, client) = duplex(256 * 1024);
    (LineStream::new(ours), client)
}

fn complete(text: &'static str, ending: LineEnding) -> Line {
    Line::Complete { bytes: Bytes::from_static(text.as_bytes()), ending }
}

#[tokio::test]
async fn lines_come_with_their_ending_reported() {
    let (mut stream, mut client) = pair();
    client.write_all(b"NOOP\r\nNOOP\na\rb\r\r\n\r\nQU").await.unwrap();
    assert_eq!(stream.line(512, SOON).await.unwrap(), complete("NOOP", LineEnding::CrLf));
    assert_eq!(stream.line(512, SOON).await.unwrap(), complete("NOOP", LineEnding::BareLf));
    assert_eq!(stream.line(512, SOON).await.unwrap(), complete("a\rb\r", LineEnding::CrLf));
    assert_eq!(stream.line(512, SOON).await.unwrap(), complete("", LineEnding::CrLf));
    drop(client);
    assert!(matches!(stream.line(512, SOON).await, Err(StreamError::Closed { partial: true })));
}

#[tokio::test]
async fn a_line_that_is_too_long_is_passed_over_and_the_next_one_is_read() {
    let (mut stream, mut client) = pair();
    client.write_all(&[&[b'x'; 10_000][..], b"\r\n0123456\r\n01234567\r\n"].concat()).await.unwrap();
    assert_eq!(stream.line(9, SOON).await.unwrap(), Line::TooLong { octets: 10_002 });
    assert_eq!(stream.line(9, SOON).await.unwrap(), complete("0123456", LineEnding::CrLf));
    assert_eq!(stream.line(9, SOON).await.unwrap(), Line::TooLong { octets: 10 });
}

#[tokio::test]
async fn an_endless_line_ends_the_session_and_takes_no_memory() {
    let (mut stream, mut client) = pair();
    let sender = tokio::spawn(async move { while client.write_all(&[b'x'; 65536]).await.is_ok() {} });
    assert!(matches!(stream.line(512, SOON).await, Err(StreamError::EndlessLine)));
    assert!(stream.input.capacity() < 512 * 1024);
    drop(stream);
    sender.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_trickles_has_the_deadline_of_the_whole_line() {
    let (mut stream, mut client) = pair();
    let sender = tokio::spawn(async move {
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let began = Instant::now();
    let outcome = stream.line(512, Duration::from_secs(300)).await;
    assert!(matches!(outcome, Err(StreamError::ReadTimeout)));
    assert_eq!(began.elapsed().as_secs(), 300);
    drop(stream);
    sender.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let (ours, _client) = duplex(1024);
    let mut stream = LineStream::new(ours);
    let began = Instant::now();
    assert!(matches!(stream.send(&[0; 4096]).await, Err(StreamError::WriteTimeout)));
    assert_eq!(began.elapsed(), WRITE_TIMEOUT);
}

#[tokio::test]
async fn answers_to_pipelined_commands_leave_together_before_we_wait() {
    let (mut stream, mut client) = pair();
    client.write_all(b"A\r\nB\r\n").await.unwrap();
    for answer in [b"1\r\n", b"2\r\n"] {
        stream.line(512, SOON).await.unwrap();
        stream.write(answer).await.unwrap();
    }
    assert_eq!(stream.output.len(), 6);
    let waiting = tokio::spawn(async move { stream.line(512, SOON).await.map(|_| ()) });
    let mut answers = [0; 6];
    client.read_exact(&mut answers).await.unwrap();
    assert_eq!(&answers, b"1\r\n2\r\n");
    drop(client);
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_read_that_is_cancelled_loses_nothing() {
    let (mut stream, mut client) = pair();
    client.write_all(b"NO").await.unwrap();
    let cancelled = timeout(Duration::from_millis(20), stream.line(512, SOON)).await;
    assert!(cancelled.is_err());
    client.write_all(b"OP\r\n").await.unwrap();
    assert_eq!(stream.line(512, SOON).await.unwrap(), complete("NOOP", LineEnding::CrLf));
}

#[tokio::test]
async fn octets_and_lines_are_read_from_one_buffer() {
    let (mut stream, mut client) = pair();
    client.write_all(b"A {5}\r\nhello\r\nrest").await.unwrap();
    stream.line(512, SOON).await.unwrap();
    assert_eq!(stream.read_exact(5, SOON).await.unwrap(), "hello");
    assert_eq!(stream.line(512, SOON).await.unwrap(), complete("", LineEnding::CrLf));
    let rest = stream.read_some(2, SOON).await.unwrap();
    assert_eq!((rest.as_ref(), stream.buffered()), (&b"re"[..], &b"st"[..]));
    stream.unread(&rest);
    assert_eq!(stream.read_some(100, SOON).await.unwrap(), "rest");
}
