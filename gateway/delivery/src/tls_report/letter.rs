//! A report as mail (RFC 8460 5.3): multipart/report with words for people and the JSON, compressed.

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use securanet_gateway::model::{Address, DomainName};

use super::json;

/// Octets of a line of base64 (RFC 2045 6.8).
const LINE_OCTETS: usize = 76;

/// A report that is to be written as mail.
#[derive(Debug)]
pub(super) struct Letter<'a> {
    pub(super) from: &'a Address,
    pub(super) to: &'a Address,
    pub(super) domain: &'a DomainName,
    pub(super) day: u32,
    /// Names the report; without angle brackets.
    pub(super) id: &'a str,
    /// The JSON, compressed with gzip.
    pub(super) packed: &'a [u8],
    pub(super) now: Timestamp,
}

impl Letter<'_> {
    /// Who sends reports: the domain of their author.
    fn submitter(&self) -> &str {
        self.from.domain().as_str()
    }

    /// The same for the same report, so that whoever gets it twice sees that.
    pub(super) fn message_id(&self) -> String {
        format!("<{}@{}>", self.id, self.submitter())
    }

    /// RFC 8460 5.1.
    fn file_name(&self) -> String {
        let (begin, end) = (json::begin(self.day).as_second(), json::end(self.day).as_second());
        format!("{}!{}!{begin}!{end}.json.gz", self.submitter(), self.domain)
    }

    pub(super) fn text(&self) -> String {
        let (submitter, domain, id) = (self.submitter(), self.domain, self.id);
        // Neither base64 nor our own words have a line that begins like it.
        let boundary = "=_tlsrpt";
        let date = self.now.to_zoned(jiff::tz::TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S %z");
        let day = json::begin(self.day).to_zoned(jiff::tz::TimeZone::UTC).strftime("%Y-%m-%d").to_string();
        let mut text = format!(
            "From: {}\r\nTo: {}\r\nSubject: Report Domain: {domain}\r\n Submitter: {submitter}\r\n Report-ID: <{id}>\r\n\
             Date: {date}\r\nMessage-ID: {}\r\nMIME-Version: 1.0\r\nAuto-Submitted: auto-generated\r\nTLS-Required: No\r\n\
             TLS-Report-Domain: {domain}\r\nTLS-Report-Submitter: {submitter}\r\n\
             Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n boundary=\"{boundary}\"\r\n\r\n\
             --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
             This is a report about TLS of mail from {submitter} to\r\n{domain} on {day} (UTC), as RFC 8460 describes it.\r\n\
             It was asked for by the TXT record _smtp._tls.{domain}.\r\n\r\n\
             --{boundary}\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\
             Content-Disposition: attachment;\r\n filename=\"{}\"\r\n\r\n",
            self.from,
            self.to,
            self.message_id(),
            self.file_name(),
        );
        let encoded = BASE64_STANDARD.encode(self.packed);
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE_OCTETS));
            text.push_str(line);
            text.push_str("\r\n");
            rest = after;
        }
        text.push_str(&format!("--{boundary}--\r\n"));
        text
    }
}

#[cfg(test)]
mod tests {
    use mail_parser::MimeHeaders;

    use super::*;

    #[test]
    fn rfc_8460_5_3_the_letter_has_its_fields_and_parts() {
        let address = |text: &str| Address::parse(text).unwrap();
        let letter = Letter {
            from: &address("MAILER-DAEMON@mail.example.org"),
            to: &address("tls@far.example"),
            domain: &DomainName::parse("far.example").unwrap(),
            day: 16_892,
            id: "2016-04-01.far.example.0",
            packed: &[7; 500],
            now: "2016-04-02T01:00:00Z".parse().unwrap(),
        };
        let text = letter.text();
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "whole lines only");
        let message = mail_parser::MessageParser::new().parse(text.as_bytes()).unwrap();
        let field = |name: &str| message.header_raw(name).unwrap_or_default().replace("\r\n", "").trim().to_owned();
        assert_eq!(
            field("Subject"),
            "Report Domain: far.example Submitter: mail.example.org Report-ID: <2016-04-01.far.example.0>"
        );
        assert_eq!(field("TLS-Report-Domain"), "far.example");
        assert_eq!(field("TLS-Report-Submitter"), "mail.example.org");
        assert_eq!(field("Date"), "Sat, 02 Apr 2016 01:00:00 +0000");
        let kind = message.content_type().unwrap();
        assert_eq!((kind.ctype(), kind.subtype()), ("multipart", Some("report")));
        assert_eq!(kind.attribute("report-type"), Some("tlsrpt"));
        let part = message.attachment(0).unwrap();
        assert_eq!(part.content_type().unwrap().subtype(), Some("tlsrpt+gzip"));
        assert_eq!(part.attachment_name(), Some("mail.example.org!far.example!1459468800!1459555199.json.gz"));
        assert_eq!(part.contents(), [7; 500]);
    }
}
