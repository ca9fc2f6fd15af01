//! What a server said it can do: the reply to EHLO (RFC 5321 4.1.1.1), read leniently. A line that is not
//! understood is no capability.

use super::reply::Reply;

/// What a server offers. After HELO: nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 6531.
    pub smtp_utf8: bool,
    /// RFC 3030.
    pub chunking: bool,
    /// RFC 3461.
    pub dsn: bool,
    /// RFC 3207.
    pub start_tls: bool,
    /// RFC 8689.
    pub require_tls: bool,
    /// RFC 2852: offered, with the shortest time in seconds that the server takes (0: any).
    pub deliver_by: Option<u64>,
    /// RFC 1870: offered, with the largest message in octets (0: not said).
    pub size: Option<u64>,
    /// RFC 4954: mechanisms, in upper case.
    pub auth: Vec<String>,
}

impl Capabilities {
    /// Reads the reply to EHLO; its first line is a greeting.
    #[must_use]
    pub fn read(reply: &Reply) -> Self {
        let mut found = Self::default();
        for line in reply.lines().iter().skip(1) {
            let mut words = line.split_ascii_whitespace();
            let Some(keyword) = words.next() else { continue };
            let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
            match keyword.to_ascii_uppercase().as_str() {
                "PIPELINING" => found.pipelining = true,
                "8BITMIME" => found.eight_bit_mime = true,
                "SMTPUTF8" => found.smtp_utf8 = true,
                "CHUNKING" => found.chunking = true,
                "DSN" => found.dsn = true,
                "STARTTLS" => found.start_tls = true,
                "REQUIRETLS" => found.require_tls = true,
                "DELIVERBY" => found.deliver_by = Some(number(words.next())),
                "SIZE" => found.size = Some(number(words.next())),
                "AUTH" => found.auth.extend(words.map(str::to_ascii_uppercase)),
                // What some servers said before RFC 2554.
                keyword => {
                    if let Some(first) = keyword.strip_prefix("AUTH=") {
                        found.auth.push(first.to_owned());
                        found.auth.extend(words.map(str::to_ascii_uppercase));
                    }
                }
            }
        }
        found
    }

    /// The largest message that is taken, where the server says so (RFC 1870 4: zero is no limit).
    #[must_use]
    pub fn size_limit(&self) -> Option<u64> {
        self.size.filter(|limit| *limit > 0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn read(lines: &[&str]) -> Capabilities {
        let mut text = String::from("250-mx.example.org\r\n");
        lines.iter().for_each(|line| text.push_str(&format!("250-{line}\r\n")));
        text.push_str("250 HELP\r\n");
        Capabilities::read(&Reply::take(&mut BytesMut::from(text.as_str())).unwrap().unwrap())
    }

    #[test]
    fn rfc_5321_4_1_1_1_keywords_have_no_case_and_may_have_parameters() {
        let found =
            read(&["pipelining", "Size 1000", "AUTH plain LOGIN", "AUTH=CRAM-MD5", "DELIVERBY 240", "X-unknown 7"]);
        assert!(found.pipelining && !found.chunking);
        assert_eq!((found.size_limit(), found.deliver_by), (Some(1000), Some(240)));
        assert_eq!(found.auth, ["PLAIN", "LOGIN", "CRAM-MD5"]);
    }

    #[test]
    fn rfc_1870_4_a_size_of_zero_or_none_is_no_limit() {
        assert_eq!(read(&["SIZE"]).size, Some(0));
        assert_eq!(read(&["SIZE 0"]).size_limit(), None);
        assert_eq!(read(&["SIZE lots"]).size_limit(), None);
        assert_eq!(read(&[]).size, None);
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        let reply = Reply::take(&mut BytesMut::from("250 STARTTLS\r\n")).unwrap().unwrap();
        assert_eq!(Capabilities::read(&reply), Capabilities::default());
    }
}
