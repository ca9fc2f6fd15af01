//! A fuzz entry for what is found in a message, and for what leaves then.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use securanet_gateway::{
    model::StoreError,
    store::{BoxFuture, Content},
};

use super::{Outgoing, Path, Plan, Scan, Scanner, plan::coding};

/// A message in memory, given out in pieces.
struct Octets {
    octets: Bytes,
    piece: usize,
}

impl Content for Octets {
    fn size_bytes(&self) -> u64 {
        self.octets.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(self.octets.len());
        let start = at(range.start);
        let end = at(range.end).min(start + self.piece);
        Box::pin(async move { Ok(self.octets.slice(start..end)) })
    }
}

/// In-memory content for the other entries of this crate.
pub(crate) fn in_memory(octets: &[u8], piece: usize) -> Arc<dyn Content> {
    Arc::new(Octets { octets: Bytes::copy_from_slice(octets), piece: piece.max(1) })
}

fn scanned(octets: &[u8], step: usize) -> Scan {
    let mut scanner = Scanner::new();
    octets.chunks(step).for_each(|piece| scanner.push(piece));
    scanner.finish()
}

/// Reads what leaves to its end.
pub(crate) fn written(octets: &[u8], plan: &Plan, piece: usize) -> Vec<u8> {
    let mut outgoing = Outgoing::new(in_memory(octets, piece), Arc::new(plan.clone()), Vec::new());
    let mut out = Vec::new();
    while let Some(piece) = futures::executor::block_on(outgoing.next()).unwrap_or_default() {
        assert!(!piece.is_empty(), "nothing is no piece");
        out.extend_from_slice(&piece);
    }
    out
}

/// A message: the first octet chooses what the next host takes, the second how the rest is split. However it is split,
/// the same leaves; it has whole lines only; a narrow host gets ASCII; nothing to do means nothing done.
///
/// # Panics
/// When an invariant does not hold.
pub(crate) fn check(data: &[u8]) {
    let [mode, step, message @ ..] = data else { return };
    let path = Path { eight_bit_mime: mode & 1 == 0, smtp_utf8: mode & 2 == 0 };
    let step = usize::from(*step).max(1);
    let scan = scanned(message, message.len().max(1));
    let plan = scan.plan(path);
    assert_eq!(scanned(message, step).plan(path), plan, "pieces do not change what is found");
    let Ok(plan) = plan else { return };
    let out = written(message, &plan, message.len());
    assert_eq!(written(message, &plan, step), out, "pieces do not change what leaves");
    check_lines(&out, lines_are_short(&scan));
    assert!(plan.is_eight_bit() || out.is_ascii(), "a narrow host gets ASCII");
    let converted = scan.needs_utf8() && !path.smtp_utf8;
    assert!(!converted || !scanned(&out, out.len()).needs_utf8(), "a header that is UTF-8 leaves");
    if plan.is_untouched() {
        assert!(out.starts_with(message) && out.len() <= message.len() + 2, "nothing to do is nothing done");
    }
}

/// Whether nothing had to be left alone that has long lines.
fn lines_are_short(scan: &Scan) -> bool {
    let fits = |long: bool, protected: bool| !long || !protected;
    scan.leaves.iter().all(|leaf| fits(leaf.long_lines, leaf.protected || coding(leaf).is_none()))
        && scan.loose.iter().all(|loose| fits(loose.long_lines, loose.protected))
        && !scan.has_protected_long_header
        && !scan.overflow
}

/// Every line ends with CRLF, and is short where it must be.
fn check_lines(out: &[u8], short: bool) {
    assert!(out.ends_with(b"\r\n"), "what leaves ends with CRLF");
    for line in out.split_inclusive(|&octet| octet == b'\n') {
        let text = line.strip_suffix(b"\r\n");
        assert!(text.is_some_and(|text| memchr::memchr(b'\r', text).is_none()), "a bare CR or LF leaves");
        assert!(!short || line.len() <= 1000, "a line of {} octets leaves", line.len());
    }
}
