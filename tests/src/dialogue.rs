//! A client that says lines and reads lines: SMTP, LMTP, IMAP and POP3 as a person with telnet would speak them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, bail, ensure};

use crate::server::{PASSWORD, address};

/// Longer than any answer takes on a busy machine, short enough that a hanging test ends.
const PATIENCE: Duration = Duration::from_secs(40);

/// A connection.
pub struct Dialogue {
    stream: BufReader<TcpStream>,
    tag: u32,
}

impl Dialogue {
    /// Connects; nothing is read yet.
    pub fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        Self::connect_within(to, PATIENCE)
    }

    /// Connects; no answer may take longer than `patience`.
    pub fn connect_within(to: SocketAddr, patience: Duration) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), tag: 0 })
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.get_mut().write_all(bytes)?)
    }

    /// Reads a line, without its CRLF.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line)?;
        ensure!(!line.is_empty(), "the server closed the connection");
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Reads exactly this many bytes.
    pub fn bytes(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        matches!(self.stream.read(&mut byte), Ok(0))
    }

    /// Reads a reply of SMTP with all its lines; gives the last.
    pub fn reply(&mut self) -> anyhow::Result<String> {
        loop {
            let line = self.line()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// Says a line of SMTP or POP3 and gives the reply's last line.
    pub fn say(&mut self, line: &str) -> anyhow::Result<String> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Says a line and demands how the reply begins.
    pub fn expect(&mut self, line: &str, beginning: &str) -> anyhow::Result<String> {
        let reply = self.say(line)?;
        ensure!(reply.starts_with(beginning), "{line:?} was answered {reply:?}, not {beginning:?}");
        Ok(reply)
    }

    /// Connects to SMTP (or LMTP) and says hello.
    pub fn smtp(to: SocketAddr, hello: &str) -> anyhow::Result<Self> {
        Self::smtp_within(to, hello, PATIENCE)
    }

    /// The same, with this patience.
    pub fn smtp_within(to: SocketAddr, hello: &str, patience: Duration) -> anyhow::Result<Self> {
        let mut dialogue = Self::connect_within(to, patience)?;
        let greeting = dialogue.reply()?;
        ensure!(greeting.starts_with("220"), "greeting {greeting:?}");
        dialogue.expect(&format!("{hello} client.example"), "250")?;
        Ok(dialogue)
    }

    /// Sends a message (CRLF lines, no leading dots) to local parts of the test domain; gives the reply to its end.
    pub fn deliver(&mut self, from: &str, to: &[&str], message: &str) -> anyhow::Result<String> {
        self.expect(&format!("MAIL FROM:<{from}>"), "250")?;
        for local in to {
            self.expect(&format!("RCPT TO:<{}>", address(local)), "250")?;
        }
        self.expect("DATA", "354")?;
        self.send(message.as_bytes())?;
        self.say(".")
    }

    /// Connects to IMAP and logs in.
    pub fn imap(to: SocketAddr, local: &str) -> anyhow::Result<Self> {
        Self::imap_within(to, local, PATIENCE)
    }

    /// The same, with this patience.
    pub fn imap_within(to: SocketAddr, local: &str, patience: Duration) -> anyhow::Result<Self> {
        let mut dialogue = Self::connect_within(to, patience)?;
        let greeting = dialogue.line()?;
        ensure!(greeting.starts_with("* OK"), "greeting {greeting:?}");
        dialogue.imap_ok(&format!("LOGIN {} {PASSWORD:?}", address(local)))?;
        Ok(dialogue)
    }

    /// Says a command of IMAP; gives the untagged lines (literals inside them as text) and the tagged one.
    pub fn imap_say(&mut self, command: &str) -> anyhow::Result<(Vec<String>, String)> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} {command}\r\n").as_bytes())?;
        self.imap_until(&tag)
    }

    /// Reads untagged lines until the tagged one.
    pub fn imap_until(&mut self, tag: &str) -> anyhow::Result<(Vec<String>, String)> {
        let mut untagged = Vec::new();
        loop {
            let line = self.imap_line()?;
            if let Some(rest) = line.strip_prefix(&format!("{tag} ")) {
                return Ok((untagged, rest.to_owned()));
            }
            untagged.push(line);
        }
    }

    /// Reads a line with the literals in it.
    pub fn imap_line(&mut self) -> anyhow::Result<String> {
        let mut line = self.line()?;
        while let Some(count) = literal(&line) {
            let bytes = self.bytes(count)?;
            line += "\r\n";
            line += &String::from_utf8_lossy(&bytes);
            line += &self.line()?;
        }
        Ok(line)
    }

    /// Says a command of IMAP that must succeed; gives the untagged lines.
    pub fn imap_ok(&mut self, command: &str) -> anyhow::Result<Vec<String>> {
        let (untagged, tagged) = self.imap_say(command)?;
        if !tagged.starts_with("OK") {
            bail!("{command:?} was answered {tagged:?}");
        }
        Ok(untagged)
    }

    /// The bytes of a message, by UID in the selected mailbox.
    pub fn fetch_message(&mut self, uid: u32) -> anyhow::Result<Vec<u8>> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} UID FETCH {uid} (BODY.PEEK[])\r\n").as_bytes())?;
        let line = self.line()?;
        let count = literal(&line).with_context(|| format!("UID FETCH {uid} was answered {line:?}"))?;
        let bytes = self.bytes(count)?;
        let (_, tagged) = self.imap_until(&tag)?;
        ensure!(tagged.starts_with("OK"), "UID FETCH {uid} was answered {tagged:?}");
        Ok(bytes)
    }

    /// Sends message data with dots stuffed and the final dot; the data ends with CRLF.
    pub fn send_data(&mut self, message: &[u8]) -> anyhow::Result<String> {
        let mut stuffed = Vec::with_capacity(message.len() + 16);
        for line in message.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend(line);
        }
        stuffed.extend(b".\r\n");
        self.send(&stuffed)?;
        self.reply()
    }

    /// Appends a message; gives the tagged line.
    pub fn append(&mut self, mailbox: &str, message: &[u8]) -> anyhow::Result<String> {
        self.tag += 1;
        let tag = format!("t{}", self.tag);
        self.send(format!("{tag} APPEND {mailbox} {{{}}}\r\n", message.len()).as_bytes())?;
        let go = self.line()?;
        if !go.starts_with('+') {
            return Ok(go.strip_prefix(&format!("{tag} ")).unwrap_or(&go).to_owned());
        }
        self.send(message)?;
        self.send(b"\r\n")?;
        Ok(self.imap_until(&tag)?.1)
    }

    /// Logs in to POP3; its greeting is read.
    pub fn pop3(to: SocketAddr, local: &str) -> anyhow::Result<Self> {
        let mut dialogue = Self::connect(to)?;
        let greeting = dialogue.line()?;
        ensure!(greeting.starts_with("+OK"), "greeting {greeting:?}");
        dialogue.pop3_ok(&format!("USER {}", address(local)))?;
        dialogue.pop3_ok(&format!("PASS {PASSWORD}"))?;
        Ok(dialogue)
    }

    /// Says a command of POP3 that must succeed.
    pub fn pop3_ok(&mut self, command: &str) -> anyhow::Result<String> {
        self.send(format!("{command}\r\n").as_bytes())?;
        let line = self.line()?;
        ensure!(line.starts_with("+OK"), "{command:?} was answered {line:?}");
        Ok(line)
    }

    /// Reads the lines of a POP3 answer up to its final dot, dot-stuffing taken out, joined by CRLF.
    pub fn pop3_body(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            self.stream.read_until(b'\n', &mut line).context("POP3 body")?;
            ensure!(!line.is_empty(), "the server closed the connection");
            if line == b".\r\n" {
                return Ok(body);
            }
            body.extend(line.strip_prefix(b".").unwrap_or(&line));
        }
    }
}

/// The size of the literal that a line ends with.
fn literal(line: &str) -> Option<usize> {
    line.strip_suffix('}')?.rsplit_once('{')?.1.trim_end_matches('+').parse().ok()
}
