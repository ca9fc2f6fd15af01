//! The texts of a message and the headers of its parts: where they are, and what they say once decoded.
//!
//! Parts that are neither text nor a message are passed over (RFC 9051 6.4.4 leaves that to the server): nobody
//! looks for words in the base64 of a picture.

use std::ops::Range;

use securanet_gateway::model::{
    StoreError,
    summary::{Inside, Part},
};

use super::{Searched, charset::Streamed, fold::Needle, header};
use crate::fetch::decode::Decoder;

/// Whether a text of the message's body has it; headers of messages inside count as text.
///
/// # Errors
/// [`StoreError`] of reading it.
pub(super) async fn find(message: &Searched<'_>, part_headers: bool, needle: &mut Needle) -> Result<bool, StoreError> {
    for place in places(&message.summary.structure, part_headers) {
        if needle.is_found() {
            break;
        }
        match place {
            Place::Header(range) => {
                let octets = message.read_header(message.behind_prefix(range)).await?;
                if header::fields(&octets).any(|field| needle.search(&header::text(&field))) {
                    break;
                }
            }
            Place::Text(part) => text(message, part, needle).await?,
        }
    }
    Ok(needle.is_found())
}

enum Place<'a> {
    Header(Range<u64>),
    Text(&'a Part),
}

/// In the order of the message; without recursion, however deep a message is.
fn places(top: &Part, part_headers: bool) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    let mut open = vec![(top, false)];
    while let Some((part, has_header)) = open.pop() {
        if has_header {
            places.push(Place::Header(part.header_offset..part.body_offset));
        }
        match &part.inside {
            Inside::Parts(parts) => open.extend(parts.iter().rev().map(|part| (part, part_headers))),
            Inside::Message(inner) => open.push((&inner.1, true)),
            Inside::Nothing if matches!(&part.media_type[..], b"text" | b"message") => places.push(Place::Text(part)),
            Inside::Nothing => {}
        }
    }
    places
}

async fn text(message: &Searched<'_>, part: &Part, needle: &mut Needle) -> Result<(), StoreError> {
    // An encoding that nobody knows: the octets as they stand.
    let mut decoder = Decoder::of(&part.encoding).unwrap_or(Decoder::Identity);
    let charset = part.parameters.iter().find(|(name, _)| name == b"charset");
    let mut streamed = Streamed::new(charset.map_or(b"utf-8", |(_, value)| value));
    let mut octets = Vec::new();
    let range = part.body_offset..part.body_offset.saturating_add(part.body_size_bytes);
    message
        .read(message.behind_prefix(range), |piece| {
            octets.clear();
            decoder.push(piece, &mut octets);
            needle.push(streamed.push(&octets, false));
            !needle.is_found()
        })
        .await?;
    octets.clear();
    decoder.finish(&mut octets);
    needle.push(streamed.push(&octets, true));
    needle.end();
    Ok(())
}
