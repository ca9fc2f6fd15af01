//! The header field that we add to all mail: Received. Each recipient's own (Return-Path, Delivered-To) are made by
//! [`securanet_gateway::deposit`].
//!
//! Whatever a stranger chose in them was parsed before (a [`ClientName`], a path), so no text can break a line.

use std::{io::Write, net::IpAddr};

use securanet_gateway::{
    connection::TlsInfo,
    model::{DomainName, UnixMillis},
};

use crate::grammar::{ClientName, ForwardPath, Hello};

/// More Received fields than this mean a loop (RFC 5321 6.3).
pub(crate) const RECEIVED_MAX: u32 = 100;

/// Facts of a Received field.
pub(crate) struct Received<'a> {
    pub(crate) client: &'a ClientName,
    /// Where the client is; nothing: that is not to be told, nor its name.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) hostname: &'a DomainName,
    pub(crate) hello: Hello,
    pub(crate) utf8: bool,
    /// The client has logged in.
    pub(crate) authenticated: bool,
    pub(crate) tls: Option<&'a TlsInfo>,
    /// Follows the message through all logs.
    pub(crate) id: &'a str,
    /// The recipient, where there is only one: the others must not learn of each other.
    pub(crate) recipient: Option<&'a ForwardPath>,
    pub(crate) at: UnixMillis,
}

impl Received<'_> {
    /// RFC 5321 4.4, folded, with its CRLF.
    pub(crate) fn field(&self) -> Vec<u8> {
        let mut field = Vec::with_capacity(320);
        // Writing to a Vec cannot fail.
        let _ = self.write(&mut field);
        field
    }

    fn write(&self, out: &mut Vec<u8>) -> std::io::Result<()> {
        write!(out, "Received: ")?;
        match self.peer {
            Some(IpAddr::V4(peer)) => write!(out, "from {} ([{peer}])\r\n\t", self.client.as_str())?,
            Some(IpAddr::V6(peer)) => write!(out, "from {} ([IPv6:{peer}])\r\n\t", self.client.as_str())?,
            None => {}
        }
        write!(out, "by {} with {}", self.hostname, self.protocol())?;
        if let Some(tls) = self.tls {
            write!(out, "\r\n\t({} cipher {})", tls.version, tls.cipher)?;
        }
        write!(out, "\r\n\tid {}", self.id)?;
        if let Some(recipient) = self.recipient {
            write!(out, "\r\n\tfor <{recipient}>")?;
        }
        write!(out, ";\r\n\t{}\r\n", date_time(self.at))
    }

    /// RFC 3848 and RFC 6531 4.3. Nothing is registered for HELO under TLS.
    const fn protocol(&self) -> &'static str {
        match (self.hello, self.tls.is_some(), self.utf8) {
            (Hello::Helo, ..) => "SMTP",
            (Hello::Ehlo, false, false) if self.authenticated => "ESMTPA",
            (Hello::Ehlo, true, false) if self.authenticated => "ESMTPSA",
            (Hello::Ehlo, false, true) if self.authenticated => "UTF8SMTPA",
            (Hello::Ehlo, true, true) if self.authenticated => "UTF8SMTPSA",
            (Hello::Ehlo, false, false) => "ESMTP",
            (Hello::Ehlo, true, false) => "ESMTPS",
            (Hello::Ehlo, false, true) => "UTF8SMTP",
            (Hello::Ehlo, true, true) => "UTF8SMTPS",
            (Hello::Lhlo, false, false) => "LMTP",
            (Hello::Lhlo, true, false) => "LMTPS",
            (Hello::Lhlo, false, true) => "UTF8LMTP",
            (Hello::Lhlo, true, true) => "UTF8LMTPS",
        }
    }
}

/// RFC 5322 3.3, in UTC.
pub(crate) fn date_time(at: UnixMillis) -> impl std::fmt::Display {
    let second = i64::try_from(at.seconds()).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    time.strftime("%a, %d %b %Y %H:%M:%S +0000")
}

/// RFC 3339 5.6, in UTC.
pub(crate) fn rfc3339(at: UnixMillis) -> impl std::fmt::Display {
    let second = i64::try_from(at.seconds()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::Address;

    use super::*;

    #[test]
    fn rfc_5321_4_4_received_tells_where_a_message_came_from() {
        let tls = TlsInfo {
            version: "TLSv1.3",
            cipher: "TLS_AES_256_GCM_SHA384".to_owned(),
            server_name: None,
            exporter: None,
            client_certificate: None,
        };
        let recipient = ForwardPath::Address(Address::parse("ann@example.org").unwrap());
        let received = Received {
            client: &ClientName::parse("mx.example.net").unwrap(),
            peer: Some("192.0.2.7".parse().unwrap()),
            hostname: &DomainName::parse("mail.example.org").unwrap(),
            hello: Hello::Ehlo,
            utf8: false,
            authenticated: false,
            tls: Some(&tls),
            id: "0198",
            recipient: Some(&recipient),
            at: UnixMillis::new(784_887_151_000),
        };
        let expect = "Received: from mx.example.net ([192.0.2.7])\r\n\tby mail.example.org with ESMTPS\r\n\
                      \t(TLSv1.3 cipher TLS_AES_256_GCM_SHA384)\r\n\tid 0198\r\n\tfor <ann@example.org>;\r\n\
                      \tTue, 15 Nov 1994 08:12:31 +0000\r\n";
        assert_eq!(String::from_utf8(received.field()).unwrap(), expect);
    }

    #[test]
    fn rfc_3848_and_6531_4_3_protocols_have_their_names() {
        let received_as = |hello, utf8, authenticated| {
            let name = ClientName::parse("[IPv6:2001:db8::7]").unwrap();
            let hostname = DomainName::parse("mail.example.org").unwrap();
            let peer = Some("2001:db8::7".parse().unwrap());
            let at = UnixMillis::new(0);
            let facts = Received {
                client: &name,
                peer,
                hostname: &hostname,
                hello,
                utf8,
                authenticated,
                tls: None,
                id: "1",
                recipient: None,
                at,
            };
            String::from_utf8(facts.field()).unwrap()
        };
        let received = |hello, utf8| received_as(hello, utf8, false);
        assert!(received_as(Hello::Ehlo, false, true).contains("with ESMTPA\r\n"));
        assert!(received_as(Hello::Ehlo, true, true).contains("with UTF8SMTPA\r\n"));
        assert!(received(Hello::Helo, false).contains("with SMTP\r\n"));
        assert!(received(Hello::Ehlo, true).contains("with UTF8SMTP\r\n"));
        assert!(received(Hello::Lhlo, false).contains("with LMTP\r\n"));
        assert!(received(Hello::Ehlo, false).starts_with("Received: from [IPv6:2001:db8::7] ([IPv6:2001:db8::7])\r\n"));
    }
}
