//! RFC 4978: COMPRESS=DEFLATE.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::Server;

struct Deflated {
    io: tokio::io::DuplexStream,
    deflate: Compress,
    inflate: Decompress,
    text: Vec<u8>,
}

impl Deflated {
    async fn send(&mut self, text: &str) {
        let mut out = Vec::with_capacity(text.len() + 1024);
        self.deflate.compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync).unwrap();
        self.io.write_all(&out).await.unwrap();
    }

    async fn until(&mut self, end: &str) -> String {
        loop {
            let text = String::from_utf8_lossy(&self.text).into_owned();
            if let Some(at) = text.find(end) {
                self.text.drain(..at + end.len());
                return text[..at + end.len()].to_owned();
            }
            let mut octets = [0; 4096];
            let read = self.io.read(&mut octets).await.unwrap();
            assert!(read > 0, "ended before {end:?}: {text}");
            let mut input = &octets[..read];
            while !input.is_empty() {
                let before = self.inflate.total_in();
                let mut out = Vec::with_capacity(64 * 1024);
                self.inflate.decompress_vec(input, &mut out, FlushDecompress::Sync).unwrap();
                input = &input[usize::try_from(self.inflate.total_in() - before).unwrap()..];
                self.text.extend_from_slice(&out);
            }
        }
    }
}

#[tokio::test]
async fn rfc_4978_3_both_directions_are_compressed_behind_the_answer() {
    let server = Server::new();
    let body = "the same line again and again\r\n".repeat(20_000);
    server.store.deliver(&format!("Subject: x\r\n\r\n{body}"));
    let mut client = server.inbox().await;
    client.check("COMPRESS LZ4", &["BAD..."]).await;
    client.check("COMPRESS DEFLATE", &["OK Compression begins"]).await;
    assert!(client.input.is_empty());
    let (deflate, inflate) = (Compress::new(Compression::default(), false), Decompress::new(false));
    let mut client = Deflated { io: client.io, deflate, inflate, text: Vec::new() };
    client.send("x COMPRESS DEFLATE\r\ny CAPABILITY\r\n").await;
    assert_eq!(client.until("\r\n").await, "x NO [COMPRESSIONACTIVE] Compression is on already\r\n");
    assert!(!client.until("y OK").await.contains("COMPRESS=DEFLATE"));
    client.send("z FETCH 1 BODY.PEEK[TEXT]\r\n").await;
    assert!(client.until("z OK Fetched\r\n").await.contains(&body));
    client.send(&format!("w APPEND INBOX {{{}+}}\r\n{body}\r\n", body.len())).await;
    client.until("w OK [APPENDUID 1000 2] Appended\r\n").await;
}
