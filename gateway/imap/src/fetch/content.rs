//! Copies octets of a message to the connection, as they stand or transformed, in bounded memory.
//!
//! A literal says its size first. Octets as they stand have a known size; transformed ones are run through
//! once to be counted and, unless they were small enough to keep, once more to be sent. A store that fails after
//! the size was said ends the connection: there is no other way to tell the client.

use std::ops::Range;

use bytes::Bytes;
use securanet_gateway::{model::StoreError, store::Content};

use super::{decode::Decoder, header_fields::HeaderFields, section::window};
use crate::{error::ImapError, metric, response::Stop, session::Session};

/// Octets asked of the store at a time: what it gives at once.
const READ_OCTETS: u64 = 1024 * 1024;
/// Transformed octets that are kept instead of transformed again.
const KEPT_OCTETS_MAX: usize = 1024 * 1024;

/// Octets in, other octets out.
pub(super) enum Transform<'a> {
    Fields(HeaderFields<'a>),
    Decoded(Decoder),
}

impl Transform<'_> {
    fn push(&mut self, octets: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Fields(fields) => fields.push(octets, out),
            Self::Decoded(decoder) => decoder.push(octets, out),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::Fields(fields) => fields.finish(out),
            Self::Decoded(decoder) => decoder.finish(out),
        }
    }
}

/// Reads the next piece of a range and takes it off.
async fn next(content: &dyn Content, range: &mut Range<u64>) -> Result<Bytes, StoreError> {
    let end = range.end.min(range.start.saturating_add(READ_OCTETS));
    let piece = content.read(range.start..end).await?;
    if piece.is_empty() {
        return Err(StoreError::Damaged("a message is shorter than its size".to_owned()));
    }
    let taken = (piece.len() as u64).min(end - range.start);
    range.start += taken;
    Ok(piece.slice(..usize::try_from(taken).unwrap_or(piece.len())))
}

/// Writes a range as a literal.
pub(super) async fn octets(session: &mut Session, content: &dyn Content, range: Range<u64>) -> Result<(), Stop> {
    session.out.literal_header(range.end - range.start, false);
    metric::octets_sent(range.end - range.start);
    let mut left = range;
    while !left.is_empty() {
        let piece = next(content, &mut left).await.map_err(ImapError::ContentLost)?;
        session.hand_over().await?;
        session.wire.write(&piece).await?;
    }
    Ok(())
}

/// How many octets a transformed range has.
pub(super) async fn size(
    content: &dyn Content,
    range: Range<u64>,
    transform: Transform<'_>,
) -> Result<u64, StoreError> {
    Ok(run_through(content, range, transform, 0).await?.0)
}

/// Writes a transformed range as a literal, of which only `partial` may be wanted.
pub(super) async fn transformed<'a>(
    session: &mut Session,
    content: &dyn Content,
    range: Range<u64>,
    transform: impl Fn() -> Transform<'a>,
    partial: Option<(u64, u64)>,
    binary: bool,
) -> Result<(), Stop> {
    let (size, kept) = run_through(content, range.clone(), transform(), KEPT_OCTETS_MAX).await?;
    let wanted = window(&(0..size), partial);
    session.out.literal_header(wanted.end - wanted.start, binary);
    metric::octets_sent(wanted.end - wanted.start);
    let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    if kept.len() as u64 == size {
        session.out.bytes.extend_from_slice(&kept[position(wanted.start)..position(wanted.end)]);
        return Ok(());
    }
    let (mut transform, mut left, mut at) = (transform(), range, 0);
    let mut out = Vec::new();
    while at < wanted.end {
        out.clear();
        if left.is_empty() {
            transform.finish(&mut out);
        } else {
            let piece = next(content, &mut left).await.map_err(ImapError::ContentLost)?;
            transform.push(&piece, &mut out);
        }
        let end = at + out.len() as u64;
        let (first, last) = (wanted.start.clamp(at, end) - at, wanted.end.clamp(at, end) - at);
        session.hand_over().await?;
        session.wire.write(&out[position(first)..position(last)]).await?;
        at = end;
    }
    Ok(())
}

/// Counts what comes out, and keeps it while it is not more than `kept_max` (else what is kept is not all).
async fn run_through(
    content: &dyn Content,
    mut range: Range<u64>,
    mut transform: Transform<'_>,
    kept_max: usize,
) -> Result<(u64, Vec<u8>), StoreError> {
    let (mut size, mut kept, mut out) = (0, Vec::new(), Vec::new());
    let mut ended = false;
    while !ended {
        out.clear();
        if range.is_empty() {
            transform.finish(&mut out);
            ended = true;
        } else {
            let piece = next(content, &mut range).await?;
            transform.push(&piece, &mut out);
        }
        size += out.len() as u64;
        if size <= kept_max as u64 {
            kept.extend_from_slice(&out);
        }
    }
    Ok((size, kept))
}
