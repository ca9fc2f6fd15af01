//! Compares texts without case, octet by octet, as they stand in the message.

use securanet_gateway::model::{StoreError, summary::EnvelopeAddress};

use super::Searched;
use crate::grammar::{
    Cursor,
    date::{Date, MONTHS},
    search::TextKey,
};

/// Octets of a header that are looked at.
const HEADER_OCTETS_MAX: usize = 1024 * 1024;

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
        TextKey::Subject(text) => envelope.subject.as_deref().is_some_and(|subject| contains(subject, text)),
        TextKey::Sent(comparison, date) => {
            envelope.date.as_deref().and_then(day).is_some_and(|day| comparison.fits(day, *date))
        }
        TextKey::Header { name, text } => field(&header(message).await?, name, text),
        TextKey::Body(text) => streamed(message, message.body(), text).await?,
        TextKey::Text(text) => streamed(message, 0..message.content.size_bytes(), text).await?,
    })
}

async fn header(message: &Searched<'_>) -> Result<Vec<u8>, StoreError> {
    let mut header = Vec::new();
    message
        .read(message.header(), |piece| {
            header.extend_from_slice(piece);
            header.len() < HEADER_OCTETS_MAX
        })
        .await?;
    Ok(header)
}

async fn streamed(message: &Searched<'_>, range: std::ops::Range<u64>, text: &str) -> Result<bool, StoreError> {
    let mut window: Vec<u8> = Vec::new();
    let mut found = text.is_empty();
    let keep = text.len().saturating_sub(1);
    message
        .read(range, |piece| {
            window.extend_from_slice(piece);
            found = found || contains(&window, text);
            window.drain(..window.len().saturating_sub(keep));
            !found
        })
        .await?;
    Ok(found)
}

fn addresses(addresses: &[EnvelopeAddress], text: &str) -> bool {
    addresses.iter().any(|address| {
        let part = |part: &Option<Vec<u8>>| part.clone().unwrap_or_default();
        let whole = [part(&address.name), b" <".to_vec(), part(&address.mailbox), b"@".to_vec(), part(&address.host)];
        contains(&whole.concat(), text)
    })
}

fn field(header: &[u8], name: &str, text: &str) -> bool {
    let mut value: Option<Vec<u8>> = None;
    for line in header.split(|&octet| octet == b'\n') {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            if let Some(value) = &mut value {
                value.extend_from_slice(line);
            }
            continue;
        }
        if value.as_deref().is_some_and(|value| contains(value, text)) {
            return true;
        }
        let colon = line.iter().position(|&octet| octet == b':');
        let own = colon.filter(|&at| line[..at].trim_ascii_end().eq_ignore_ascii_case(name.as_bytes()));
        value = own.map(|at| line[at + 1..].to_vec());
    }
    value.as_deref().is_some_and(|value| contains(value, text))
}

fn contains(octets: &[u8], text: &str) -> bool {
    text.is_empty() || octets.windows(text.len()).any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
}

/// The day of a Date field: `Mon, 7 Feb 1994 21:52:25 -0800`.
fn day(field: &[u8]) -> Option<Date> {
    let text = field.split(|&octet| octet == b',').next_back()?.trim_ascii();
    let mut words = text.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
    let (day, month, year) = (words.next()?, words.next()?, words.next()?);
    MONTHS.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(month))?;
    let date = [day, b"-", month, b"-", year].concat();
    Date::parse(&mut Cursor::new(&date)).ok()
}
