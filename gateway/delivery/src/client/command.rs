//! MAIL and RCPT with their parameters, each only where the server offers its extension.

use std::fmt::Write;

use securanet_gateway::model::{
    ReversePath, UnixMillis,
    outbound::{EnvelopeOptions, Notify, OutboundRecipient, Return},
};

use super::capability::Capabilities;

/// Who sends what to whom.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The sender.
    pub sender: &'a ReversePath,
    /// The recipients; RFC 5321 4.5.3.1.8 lets a server refuse more than a hundred at a time.
    pub recipients: &'a [&'a OutboundRecipient],
    /// What the envelope asked for.
    pub options: &'a EnvelopeOptions,
    /// Octets of the content, about: for SIZE.
    pub size_bytes: u64,
    /// The content, as it will be handed over, has octets above 127. Ask [`Capabilities::eight_bit_mime`] before.
    pub eight_bit: bool,
    /// The header, as it will be handed over, is UTF-8: RFC 6531 3.4 wants SMTPUTF8 for it, whatever the sender said.
    pub utf8_header: bool,
    /// The time, for DELIVERBY.
    pub now: UnixMillis,
}

impl Envelope<'_> {
    /// SMTPUTF8 must be offered: for what is sent, not for what was once said of it.
    pub(crate) fn needs_utf8(&self) -> bool {
        let sender = matches!(self.sender, ReversePath::Address(address) if address.needs_utf8());
        let literal = matches!(self.sender, ReversePath::Literal(address) if !address.local().is_ascii());
        self.utf8_header || sender || literal || self.recipients.iter().any(|r| r.address.needs_utf8())
    }

    /// RFC 8689 5: a bounce of such mail is to be protected as it was, but not to be lost where that cannot be.
    pub(super) fn demands_tls(&self) -> bool {
        self.options.require_tls && *self.sender != ReversePath::Null
    }

    /// `MAIL FROM:<ann@example.org> SIZE=1000 ...` with its CRLF. REQUIRETLS is said where the server is `authenticated`.
    pub(super) fn mail(&self, offered: &Capabilities, authenticated: bool) -> String {
        let mut line = format!("MAIL FROM:{}", self.sender);
        if offered.size.is_some() && self.size_bytes > 0 {
            let _ = write!(line, " SIZE={}", self.size_bytes);
        }
        if self.eight_bit && offered.eight_bit_mime {
            line.push_str(" BODY=8BITMIME");
        }
        if self.needs_utf8() {
            line.push_str(" SMTPUTF8");
        }
        if self.options.require_tls && authenticated && offered.require_tls {
            line.push_str(" REQUIRETLS");
        }
        if offered.dsn {
            match self.options.ret {
                Some(Return::Full) => line.push_str(" RET=FULL"),
                Some(Return::Headers) => line.push_str(" RET=HDRS"),
                None => {}
            }
            if let Some(id) = self.options.envelope_id.as_deref().filter(|id| is_parameter(id, false)) {
                let _ = write!(line, " ENVID={id}");
            }
        }
        if let (Some(_), Some(by)) = (offered.deliver_by, &self.options.deliver_by) {
            let (by_millis, now_millis) = (i128::from(by.by.get()), i128::from(self.now.get()));
            // RFC 2852 4: nine digits and a sign.
            let seconds = ((by_millis - now_millis) / 1000).clamp(-999_999_999, 999_999_999);
            let mode = if by.or_return { 'R' } else { 'N' };
            let trace = if by.trace { "T" } else { "" };
            let _ = write!(line, " BY={seconds};{mode}{trace}");
        }
        line.push_str("\r\n");
        line
    }

    /// `RCPT TO:<bob@example.org> NOTIFY=...` with its CRLF.
    pub(super) fn rcpt(&self, recipient: &OutboundRecipient, offered: &Capabilities) -> String {
        let mut line = format!("RCPT TO:<{}>", recipient.address);
        if offered.dsn {
            match recipient.notify {
                Notify::Default => {}
                Notify::On { success, failure, delay } if success || failure || delay => {
                    let wanted = [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")];
                    let wanted: Vec<_> = wanted.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name).collect();
                    let _ = write!(line, " NOTIFY={}", wanted.join(","));
                }
                Notify::Never | Notify::On { .. } => line.push_str(" NOTIFY=NEVER"),
            }
            let utf8 = self.needs_utf8();
            if let Some(original) = recipient.original.as_deref().filter(|text| is_parameter(text, utf8)) {
                let _ = write!(line, " ORCPT={original}");
            }
        }
        line.push_str("\r\n");
        line
    }
}

/// Whether a text stays within the value of a parameter (RFC 5321 4.1.2 esmtp-value, RFC 6531 3.3 with UTF-8).
fn is_parameter(text: &str, utf8: bool) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || (utf8 && !c.is_ascii() && !c.is_control()))
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::{Address, RecipientAddress, outbound::DeliverBy};

    use super::*;

    fn all() -> Capabilities {
        Capabilities {
            pipelining: true,
            eight_bit_mime: true,
            smtp_utf8: true,
            chunking: true,
            dsn: true,
            start_tls: true,
            require_tls: true,
            deliver_by: Some(0),
            size: Some(0),
            auth: Vec::new(),
        }
    }

    fn recipient(address: &str, notify: Notify, original: Option<&str>) -> OutboundRecipient {
        OutboundRecipient {
            address: RecipientAddress::parse(address).unwrap(),
            destination: String::new(),
            notify,
            original: original.map(str::to_owned),
        }
    }

    #[test]
    fn rfc_3461_4_parameters_go_to_servers_that_offer_them_and_to_no_other() {
        let sender = ReversePath::Address(Address::parse("ann@example.org").unwrap());
        let options = EnvelopeOptions {
            ret: Some(Return::Headers),
            envelope_id: Some("id+2B1".to_owned()),
            deliver_by: Some(DeliverBy { by: UnixMillis::new(61_500), or_return: false, trace: true }),
            ..EnvelopeOptions::default()
        };
        let on = Notify::On { success: true, failure: false, delay: true };
        let bob = recipient("bob@example.net", on, Some("rfc822;b@example.com"));
        let never = recipient("c d@example.net", Notify::Never, Some("rfc822;a b\r\nRSET"));
        let recipients = [&bob, &never];
        let envelope = Envelope {
            sender: &sender,
            recipients: &recipients,
            options: &options,
            size_bytes: 77,
            eight_bit: true,
            utf8_header: false,
            now: UnixMillis::new(1_000),
        };
        let expected = "MAIL FROM:<ann@example.org> SIZE=77 BODY=8BITMIME RET=HDRS ENVID=id+2B1 BY=60;NT\r\n";
        assert_eq!(envelope.mail(&all(), true), expected);
        let expected = "RCPT TO:<bob@example.net> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b@example.com\r\n";
        assert_eq!(envelope.rcpt(&bob, &all()), expected);
        assert_eq!(envelope.rcpt(&never, &all()), "RCPT TO:<\"c d\"@example.net> NOTIFY=NEVER\r\n");
        let none = Capabilities::default();
        assert_eq!(envelope.mail(&none, true), "MAIL FROM:<ann@example.org>\r\n");
        assert_eq!(envelope.rcpt(&bob, &none), "RCPT TO:<bob@example.net>\r\n");
    }

    #[test]
    fn rfc_5321_4_1_3_a_host_without_a_name_stands_in_brackets() {
        let sender = ReversePath::Null;
        let options = EnvelopeOptions::default();
        let cases = [
            ("scan@[192.0.2.9]", "RCPT TO:<scan@[192.0.2.9]>\r\n"),
            ("\"the fax\"@[IPv6:2001:db8::9]", "RCPT TO:<\"the fax\"@[IPv6:2001:db8::9]>\r\n"),
            ("\u{fc}@[192.0.2.9]", "RCPT TO:<\u{fc}@[192.0.2.9]>\r\n"),
        ];
        for (address, expected) in cases {
            let to = recipient(address, Notify::Default, None);
            let envelope = Envelope {
                sender: &sender,
                recipients: &[&to],
                options: &options,
                size_bytes: 0,
                eight_bit: false,
                utf8_header: false,
                now: UnixMillis::new(0),
            };
            assert_eq!(envelope.rcpt(&to, &all()), expected);
            assert_eq!(envelope.mail(&all(), false).contains("SMTPUTF8"), !address.is_ascii(), "{address}");
        }
    }

    #[test]
    fn rfc_6531_3_4_smtputf8_is_said_where_an_address_needs_it() {
        let bob = recipient("b\u{fc}b@example.net", Notify::Default, None);
        let options = EnvelopeOptions { require_tls: true, ..EnvelopeOptions::default() };
        let recipients = [&bob];
        let (sender, now) = (&ReversePath::Null, UnixMillis::new(0));
        let envelope = Envelope {
            sender,
            recipients: &recipients,
            options: &options,
            size_bytes: 0,
            eight_bit: false,
            utf8_header: false,
            now,
        };
        assert_eq!(envelope.mail(&all(), true), "MAIL FROM:<> SMTPUTF8 REQUIRETLS\r\n");
        assert_eq!(envelope.mail(&all(), false), "MAIL FROM:<> SMTPUTF8\r\n", "to nobody who is not known");
        assert_eq!(envelope.rcpt(&bob, &all()), "RCPT TO:<b\u{fc}b@example.net>\r\n");
        let bob = recipient("bob@example.net", Notify::Default, None);
        let (recipients, said) = ([&bob], EnvelopeOptions { utf8: true, ..EnvelopeOptions::default() });
        let ascii = Envelope { recipients: &recipients, options: &said, ..envelope };
        assert_eq!(ascii.mail(&all(), true), "MAIL FROM:<>\r\n", "what was said is not needed");
        let utf8 = Envelope { utf8_header: true, ..ascii };
        assert_eq!(utf8.mail(&all(), true), "MAIL FROM:<> SMTPUTF8\r\n", "a raw header needs it");
    }
}
