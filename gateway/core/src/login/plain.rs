//! RFC 4616 PLAIN: its one message.

/// `[authzid] NUL authcid NUL passwd`.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct PlainMessage<'a> {
    /// Whom the client wants to act as; empty: as itself.
    pub(crate) authzid: &'a str,
    /// Who the client is.
    pub(crate) authcid: &'a str,
    /// Its password.
    pub(crate) password: &'a [u8],
}

impl<'a> PlainMessage<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, &'static str> {
        let mut fields = message.split(|&octet| octet == 0);
        let (Some(authzid), Some(authcid), Some(password), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err("PLAIN needs two NUL octets");
        };
        if authcid.is_empty() || password.is_empty() {
            return Err("PLAIN needs a user name and a password");
        }
        let text = |octets| std::str::from_utf8(octets).map_err(|_| "PLAIN is UTF-8");
        Ok(Self { authzid: text(authzid)?, authcid: text(authcid)?, password })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4616_section_4_examples() {
        let message = PlainMessage::parse(b"\0tim\0tanstaaftanstaaf").ok().unwrap();
        assert_eq!((message.authzid, message.authcid, message.password), ("", "tim", &b"tanstaaftanstaaf"[..]));
        let message = PlainMessage::parse(b"Ursel\0Kurt\0xipj3plmq").ok().unwrap();
        assert_eq!((message.authzid, message.authcid, message.password), ("Ursel", "Kurt", &b"xipj3plmq"[..]));
    }

    #[test]
    fn what_is_no_plain_message_is_refused() {
        for bytes in [&b""[..], b"tim", b"tim\0pass", b"\0tim\0a\0b", b"\0\0pass", b"\0tim\0", b"\0t\xff\0pass"] {
            assert!(PlainMessage::parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
