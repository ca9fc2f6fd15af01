//! ENVELOPE (RFC 9051 7.5.2).

use securanet_gateway::model::summary::{Envelope, EnvelopeAddress};

use super::Out;

impl Out {
    /// The parenthesised envelope.
    pub(crate) fn envelope(&mut self, envelope: &Envelope) {
        self.text("(");
        self.nstring(envelope.date.as_deref());
        self.text(" ");
        self.nstring(envelope.subject.as_deref());
        let lists = [&envelope.from, &envelope.sender, &envelope.reply_to, &envelope.to, &envelope.cc, &envelope.bcc];
        for addresses in lists {
            self.text(" ");
            self.addresses(addresses);
        }
        self.text(" ");
        self.nstring(envelope.in_reply_to.as_deref());
        self.text(" ");
        self.nstring(envelope.message_id.as_deref());
        self.text(")");
    }

    fn addresses(&mut self, addresses: &[EnvelopeAddress]) {
        if addresses.is_empty() {
            return self.text("NIL");
        }
        self.text("(");
        for address in addresses {
            self.text("(");
            self.nstring(address.name.as_deref());
            // The source route: nobody has used it since RFC 2822 made it obsolete.
            self.text(" NIL ");
            self.nstring(address.mailbox.as_deref());
            self.text(" ");
            self.nstring(address.host.as_deref());
            self.text(")");
        }
        self.text(")");
    }
}
