//! The envelope that IMAP shows (RFC 9051 7.5.2), from a header.
//!
//! Texts stay as written. Where a field that may occur once occurs twice, the first counts; several To, Cc or
//! Bcc fields (mailers that write one address a field) are one list.

use securanet_model::summary::{Envelope, EnvelopeAddress};

use crate::mime::{
    address::append_addresses,
    allowance::Allowance,
    header::{Header, Name},
};

/// Reads the envelope out of a header.
pub(crate) fn read(header: &Header<'_>, allowance: &mut Allowance) -> Envelope {
    let mut text = |name| header.first(name).map(|value| allowance.text(value));
    let date = text(Name::Date);
    let subject = text(Name::Subject);
    let message_id = text(Name::MessageId);
    let in_reply_to = text(Name::InReplyTo);
    let from = addresses(header.first(Name::From), allowance);
    let or_from = |list: Vec<EnvelopeAddress>| if list.is_empty() { from.clone() } else { list };
    Envelope {
        date,
        subject,
        sender: or_from(addresses(header.first(Name::Sender), allowance)),
        reply_to: or_from(addresses(header.first(Name::ReplyTo), allowance)),
        to: addresses(header.all(Name::To), allowance),
        cc: addresses(header.all(Name::Cc), allowance),
        bcc: addresses(header.all(Name::Bcc), allowance),
        in_reply_to,
        message_id,
        from,
    }
}

fn addresses<'a>(values: impl IntoIterator<Item = &'a [u8]>, allowance: &mut Allowance) -> Vec<EnvelopeAddress> {
    let mut list = Vec::new();
    values.into_iter().for_each(|value| append_addresses(&mut list, value, allowance));
    list
}
