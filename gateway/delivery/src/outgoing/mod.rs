//! Content as it leaves: streamed, and changed only where the next host could not take it otherwise.
//!
//! [`scan()`] reads a message once and says what it is made of; [`Scan::plan`] says what has to change for a host,
//! usually nothing; [`Outgoing`] then yields the octets. A signature is made over an [`Outgoing`] and stands before
//! it, so that nothing changes after signing. Which changes there are stands in [`plan`].
//!
//! What it does not do: dots are stuffed by the client; Bcc was taken out when the message was submitted.
//!
//! Invariants: what is yielded has no bare CR or LF and ends with CRLF, whatever the content is; memory holds one
//! piece (256 KiB) and the plan, never the message.

mod encode;
mod field;
pub(crate) mod fuzz;
#[cfg(test)]
pub(crate) mod harness;
mod line;
mod pieces;
mod plan;
mod scan;
mod scanner;
#[cfg(test)]
mod tests;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use securanet_gateway::{model::StoreError, store::Content};

use self::encode::{Encoder, LineEnds};
pub(crate) use self::{
    pieces::{Pieces, header},
    scanner::Scanner,
    words::encoded_words,
};
pub use self::{
    plan::{Path, Plan, Unsendable},
    scan::Scan,
};

/// Reads a message once and finds what may have to change on its way.
///
/// # Errors
/// Those of the store.
pub async fn scan(content: &dyn Content) -> Result<Scan, StoreError> {
    let mut scanner = Scanner::new();
    let mut pieces = Pieces::all(content);
    while let Some(piece) = pieces.next().await? {
        scanner.push(&piece);
    }
    Ok(scanner.finish())
}

/// A message as it leaves, a piece at a time.
pub struct Outgoing {
    content: Arc<dyn Content>,
    plan: Arc<Plan>,
    /// What stands before the message, until it was yielded.
    front: Bytes,
    front_octets: u64,
    /// How far the message was read.
    at: u64,
    /// The edit that comes next, or that `at` is in.
    edit: usize,
    encoder: Option<Encoder>,
    line_ends: LineEnds,
    /// The last two octets that were yielded.
    last: [u8; 2],
    ended: bool,
}

impl Outgoing {
    /// The message as `plan` wants it, behind `front` (whole header fields, or nothing).
    #[must_use]
    pub fn new(content: Arc<dyn Content>, plan: Arc<Plan>, front: Vec<u8>) -> Self {
        Self {
            content,
            plan,
            front_octets: front.len() as u64,
            front: front.into(),
            at: 0,
            edit: 0,
            encoder: None,
            line_ends: LineEnds::default(),
            last: [0; 2],
            ended: false,
        }
    }

    /// The plan that it follows.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Octets that will be yielded in all: exact when the plan changes nothing (and the message ends with CRLF),
    /// else an estimate, rather too large.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.front_octets + self.plan.size_bytes_about
    }

    /// The next octets, never none of them; `None` at the end. Cancel-safe: a dropped call has yielded nothing and
    /// lost nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if !self.front.is_empty() {
            let front = std::mem::take(&mut self.front);
            self.remember(&front);
            return Ok(Some(front));
        }
        while self.at < self.content.size_bytes() || self.edit < self.plan.edits.len() {
            let piece = self.advance().await?;
            if !piece.is_empty() {
                self.remember(&piece);
                return Ok(Some(piece));
            }
        }
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        let mut rest = Vec::new();
        self.line_ends.finish(&mut rest);
        self.remember(&rest);
        if self.last != *b"\r\n" {
            rest.extend_from_slice(if self.last[1] == b'\r' { b"\n" } else { b"\r\n" });
        }
        Ok(Some(rest.into()).filter(|rest: &Bytes| !rest.is_empty()))
    }

    /// One step: up to the next edit, or within it.
    async fn advance(&mut self) -> Result<Bytes, StoreError> {
        let size = self.content.size_bytes();
        let Some(edit) = self.plan.edits.get(self.edit) else {
            let piece = pieces::read(&*self.content, self.at..size).await?;
            self.at += piece.len() as u64;
            return Ok(self.mended(piece));
        };
        if self.at < edit.range.start {
            let piece = pieces::read(&*self.content, self.at..edit.range.start).await?;
            self.at += piece.len() as u64;
            return Ok(self.mended(piece));
        }
        if let plan::With::Octets(with) = &edit.with {
            let with = Bytes::copy_from_slice(with);
            self.at = edit.range.end;
            self.edit += 1;
            return Ok(with);
        }
        let mut out = Vec::new();
        if self.at < edit.range.end {
            let piece = pieces::read(&*self.content, self.at..edit.range.end).await?;
            self.at += piece.len() as u64;
            let piece = self.mended(piece);
            let with = &self.plan.edits[self.edit].with;
            if self.encoder.is_none() {
                self.encoder = with.encoder();
            }
            if let Some(encoder) = &mut self.encoder {
                encoder.push(&piece, &mut out);
            }
        } else {
            if let Some(mut encoder) = self.encoder.take() {
                encoder.finish(&mut out);
            }
            if edit.with.final_line_end() {
                out.extend_from_slice(b"\r\n");
            }
            self.edit += 1;
        }
        Ok(out.into())
    }

    fn mended(&mut self, piece: Bytes) -> Bytes {
        if !self.plan.mend_line_ends {
            return piece;
        }
        let mut out = Vec::with_capacity(piece.len() + 16);
        self.line_ends.push(&piece, &mut out);
        out.into()
    }

    fn remember(&mut self, piece: &[u8]) {
        match piece {
            [] => {}
            [one] => self.last = [self.last[1], *one],
            [.., before, last] => self.last = [*before, *last],
        }
    }
}
