//! Compares texts as they are meant: decoded, and without case.

use securanet_gateway::model::{StoreError, summary::EnvelopeAddress};

use super::{Searched, body, fold::Needle, header};
use crate::grammar::{
    Cursor,
    date::{Date, MONTHS},
    search::TextKey,
};

/// Whether a message fits a key.
///
/// # Errors
/// [`StoreError`] of reading it.
pub(crate) async fn matches(key: &TextKey, message: &Searched<'_>) -> Result<bool, StoreError> {
    let envelope = &message.summary.envelope;
    Ok(match key {
        TextKey::From(text) => addresses(&envelope.from, text),
        TextKey::To(text) => addresses(&envelope.to, text),
        TextKey::Cc(text) => addresses(&envelope.cc, text),
        TextKey::Bcc(text) => addresses(&envelope.bcc, text),
        TextKey::Subject(text) => {
            envelope.subject.as_deref().is_some_and(|subject| Needle::new(text).search(&header::text(subject)))
        }
        TextKey::Sent(comparison, date) => {
            envelope.date.as_deref().and_then(day).is_some_and(|day| comparison.fits(day, *date))
        }
        TextKey::Header { name, text } => {
            header::has(&message.read_header(message.header()).await?, name, &mut Needle::new(text))
        }
        TextKey::Body(text) => body::find(message, false, &mut Needle::new(text)).await?,
        TextKey::Text(text) => {
            let mut needle = Needle::new(text);
            let octets = message.read_header(message.header()).await?;
            header::fields(&octets).any(|field| needle.search(&header::text(&field)))
                || body::find(message, true, &mut needle).await?
        }
    })
}

fn addresses(addresses: &[EnvelopeAddress], text: &str) -> bool {
    let mut needle = Needle::new(text);
    addresses.iter().any(|address| {
        let name = header::text(address.name.as_deref().unwrap_or_default());
        let part = |part: &Option<Vec<u8>>| header::text(part.as_deref().unwrap_or_default());
        needle.search(&format!("{name} <{}@{}>", part(&address.mailbox), part(&address.host)))
    })
}

/// The day of a Date field: `Mon, 7 Feb 1994 21:52:25 -0800`.
fn day(field: &[u8]) -> Option<Date> {
    // The weekday is left out now and then, and a comment may have commas of its own.
    let comma = field.iter().position(|&octet| octet == b',');
    let weekday = comma.filter(|&at| field[..at].trim_ascii().iter().all(u8::is_ascii_alphabetic));
    let text = weekday.map_or(field, |at| &field[at + 1..]);
    let mut words = text.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    MONTHS.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(month))?;
    let date = [day, b"-", month, b"-", year].concat();
    Date::parse(&mut Cursor::new(&date)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_5322_3_3_the_day_is_read_with_and_without_a_weekday() {
        let expected = day(b"Mon, 7 Feb 1994 21:52:25 -0800");
        assert!(expected.is_some());
        for field in ["7 Feb 1994 21:52:25 -0800", " Mon,  07 FEB 1994 21:52 (late, very)", "7 Feb 1994 (a, b)"] {
            assert_eq!(day(field.as_bytes()), expected, "{field}");
        }
        assert_eq!(day(b"yesterday"), None);
    }
}
