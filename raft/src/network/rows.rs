//! Rows of the log as they travel between sites: with what is sealed in them open.
//!
//! A body was compressed by itself before it came into an entry, and has nothing in common with others any more. So the
//! zstd frames in a row are opened on the way, for the stream's context to see the text; the receiver makes each again.
//! Replicas are equal, octet for octet: the sender opens only what it would make the same way itself, and the receiver
//! compares a checksum of the row. What is encrypted has no frame to be found.
//!
//! A form is the octet 0 and the row, or the octet 1, the row's checksum, and pieces, each behind its length: octets of the
//! row and content in turn. Content that the receiver passed on itself is named: a length of 0, and its digest.
//!
//! Bounds: content that is opened ([`CONTENT_BYTES_MAX`] each, [`ROOM_BYTES`] in a frame of the stream), and what is
//! kept so that the next follower's is not opened again.

use bytes::Bytes;
use parking_lot::Mutex;
use securanet_blob::frame;
use securanet_wire::{WireError, replication::MESSAGE_BYTES_MAX};

use super::passed::{Digest, digest};

const AS_IT_IS: u8 = 0;
const OPENED: u8 = 1;

/// Larger content gains too little from what was before it: parts of messages of 16 KiB are blobs.
const CONTENT_BYTES_MAX: usize = 256 * 1024;
/// Octets of the forms that one frame of the stream carries opened; behind them rows go as they are.
pub(crate) const ROOM_BYTES: usize = 8 * 1024 * 1024;
/// Rows whose form is kept, and how large a form may be for that: 6 MiB at most with their rows.
const KEPT_ROWS: usize = 64;
const KEPT_FORM_BYTES_MAX: usize = 48 * 1024;

/// Gives rows the form that they travel in.
pub(crate) struct Opener(Mutex<Vec<Option<Kept>>>);

struct Kept {
    row: Bytes,
    form: Bytes,
}

impl Default for Opener {
    fn default() -> Self {
        Self(Mutex::new((0..KEPT_ROWS).map(|_| None).collect()))
    }
}

impl Opener {
    /// The form of a row, opened if there is room for it.
    pub(crate) fn open(&self, row: &Bytes, room: &mut usize) -> Bytes {
        let checksum = crc32fast::hash(row);
        let place = checksum as usize % KEPT_ROWS;
        let kept = self.0.lock()[place].as_ref().filter(|kept| kept.row == row).map(|kept| kept.form.clone());
        let form = kept.unwrap_or_else(|| {
            let form = Bytes::from(open(row, checksum));
            if form.len() <= KEPT_FORM_BYTES_MAX {
                self.0.lock()[place] = Some(Kept { row: row.clone(), form: form.clone() });
            }
            form
        });
        match room.checked_sub(form.len()) {
            Some(left) => {
                *room = left;
                form
            }
            None => as_it_is(row).into(),
        }
    }
}

fn as_it_is(row: &[u8]) -> Vec<u8> {
    let mut form = Vec::with_capacity(row.len() + 1);
    form.push(AS_IT_IS);
    form.extend_from_slice(row);
    form
}

/// The form of a row. Content that makes it larger than a stream's frame has room for stays sealed.
fn open(row: &[u8], checksum: u32) -> Vec<u8> {
    form(row, checksum, |sealed, form| put_content(form, sealed)).unwrap_or_else(|| as_it_is(row))
}

/// Adds a frame's content, if that is made again just so and there is room for it.
fn put_content(form: &mut Vec<u8>, sealed: &[u8]) -> bool {
    let content = content(sealed).filter(|content| form.len() + content.len() <= ROOM_BYTES);
    content.as_ref().inspect(|content| put(form, content)).is_some()
}

/// The form of a row in which content is named that the receiver knows, and the rest opened; none when it knows nothing of
/// it, or there is no room.
pub(super) fn name(row: &[u8], room: &mut usize, knows: impl Fn(&Digest) -> bool) -> Option<Bytes> {
    // Opening is dear: only once it is known that not all of it will be.
    if !frames(row).any(|sealed| knows(&digest(sealed))) {
        return None;
    }
    let named = form(row, crc32fast::hash(row), |sealed, form| {
        let digest = digest(sealed);
        if !knows(&digest) {
            return put_content(form, sealed);
        }
        put(form, &[]);
        form.extend_from_slice(&digest);
        true
    })?;
    *room = room.checked_sub(named.len())?;
    Some(named.into())
}

/// What looks like a frame in a row.
fn frames(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = row;
    std::iter::from_fn(move || {
        let found = frame::find(rest, CONTENT_BYTES_MAX)?;
        let frame = &rest[found.clone()];
        rest = &rest[found.end..];
        Some(frame)
    })
}

/// A form of a row: `piece` adds what stands for a frame, or says that nothing does. None when nothing does for any.
fn form(row: &[u8], checksum: u32, piece: impl Fn(&[u8], &mut Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let mut form = Vec::with_capacity(row.len() * 3);
    form.push(OPENED);
    form.extend_from_slice(&checksum.to_be_bytes());
    // The octets from `from` on are not in the form yet; those before `at` were looked at.
    let (mut from, mut at) = (0, 0);
    while let Some(found) = frame::find(&row[at..], CONTENT_BYTES_MAX) {
        let (begin, end, before) = (at + found.start, at + found.end, form.len());
        put(&mut form, &row[from..begin]);
        if piece(&row[begin..end], &mut form) {
            (from, at) = (end, end);
        } else {
            form.truncate(before);
            at = begin + 1;
        }
    }
    if from == 0 {
        return None;
    }
    put(&mut form, &row[from..]);
    Some(form)
}

/// The content of a frame that is made again just so.
fn content(sealed: &[u8]) -> Option<Vec<u8>> {
    let content = frame::decompress(sealed).ok()?;
    (frame::compress(&content).ok()? == sealed).then_some(content)
}

fn put(form: &mut Vec<u8>, piece: &[u8]) {
    let mut length = piece.len();
    while length >= 0x80 {
        form.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    form.push(length as u8);
    form.extend_from_slice(piece);
}

/// Why a row cannot be taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum NotClosed {
    /// It is damaged, or the frame around it.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Content is named that is not kept here.
    #[error("an entry names content that was passed on from here, and is not kept any more")]
    Forgotten,
    /// There is no memory for it.
    #[error("there is no memory to unpack it")]
    Memory,
    /// Its content gives other octets here.
    #[error("a row is not what it was when its content is sealed again")]
    Different,
}

/// The row of a form.
///
/// # Errors
/// [`NotClosed`].
pub(crate) fn close(form: &Bytes, kept: impl Fn(&Digest) -> Option<Bytes>) -> Result<Bytes, NotClosed> {
    let damaged = NotClosed::Wire(WireError::Field("entries: not a form of a row"));
    match form.first() {
        Some(&AS_IT_IS) => Ok(form.slice(1..)),
        Some(&OPENED) => {
            let (checksum, pieces) = form[1..].split_first_chunk().ok_or_else(|| damaged.clone())?;
            let row = sealed(pieces, damaged, kept)?;
            let is_same = crc32fast::hash(&row) == u32::from_be_bytes(*checksum);
            is_same.then(|| row.into()).ok_or(NotClosed::Different)
        }
        _ => Err(damaged),
    }
}

fn sealed(
    mut pieces: &[u8],
    damaged: NotClosed,
    kept: impl Fn(&Digest) -> Option<Bytes>,
) -> Result<Vec<u8>, NotClosed> {
    let damaged = || damaged.clone();
    let mut row = Vec::with_capacity(pieces.len() / 2);
    loop {
        row.extend_from_slice(take(&mut pieces).ok_or_else(damaged)?);
        if pieces.is_empty() {
            return Ok(row);
        }
        match take(&mut pieces).ok_or_else(damaged)? {
            [] => {
                let (digest, rest) = pieces.split_first_chunk().ok_or_else(damaged)?;
                row.extend_from_slice(&kept(digest).ok_or(NotClosed::Forgotten)?);
                pieces = rest;
            }
            content if content.len() <= CONTENT_BYTES_MAX => {
                row.extend_from_slice(&frame::compress(content).map_err(|_| NotClosed::Memory)?);
            }
            _ => return Err(damaged()),
        }
        if row.len() > MESSAGE_BYTES_MAX {
            return Err(damaged());
        }
    }
}

fn take<'p>(pieces: &mut &'p [u8]) -> Option<&'p [u8]> {
    let mut length = 0;
    for shift in [0, 7, 14, 21, 28] {
        let (&octet, rest) = pieces.split_first()?;
        *pieces = rest;
        length |= usize::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            let (piece, rest) = pieces.split_at_checked(length)?;
            *pieces = rest;
            return Some(piece);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(form: &Bytes) -> Result<Bytes, NotClosed> {
        super::close(form, |_| None)
    }

    fn row(contents: &[&str]) -> Bytes {
        let mut row = b"\x01 what stands before ".to_vec();
        for content in contents {
            row.extend_from_slice(&frame::compress(content.as_bytes()).unwrap());
            row.extend_from_slice(b" behind ");
        }
        row.into()
    }

    fn text(number: usize) -> String {
        (0..400).map(|word| format!("word{} ", (word * word + number) % 97)).collect()
    }

    fn form(row: &Bytes) -> Bytes {
        Opener::default().open(row, &mut ROOM_BYTES.clone())
    }

    #[test]
    fn text_stands_openly_in_a_form_and_the_row_comes_back() {
        let (one, other) = (text(1), text(2));
        for (row, opened) in [
            (row(&[&one, &other]), true),
            (row(&[&one]), true),
            (frame::compress(one.as_bytes()).unwrap().into(), true),
            (row(&[]), false),
            (Bytes::new(), false),
        ] {
            let form = form(&row);
            let shows = form.windows(one.len()).any(|octets| octets == one.as_bytes());
            assert_eq!((form[0] == OPENED, shows), (opened, opened));
            assert_eq!(close(&form), Ok(row));
        }
    }

    #[test]
    fn what_would_not_come_back_as_it_was_stays_as_it_is() {
        let text = text(1);
        let otherwise = zstd::bulk::compress(text.as_bytes(), 19).unwrap();
        let ours = frame::compress(text.as_bytes()).unwrap();
        let large = "x".repeat(CONTENT_BYTES_MAX + 1);
        let (cut, rest) = (&ours[..ours.len() - 1], &b"\x28\xb5\x2f\xfd"[..]);
        for (octets, opened) in [
            (otherwise.clone(), false),
            (frame::compress(large.as_bytes()).unwrap(), false),
            ([cut, rest].concat(), false),
            ([rest, &otherwise, &ours, cut].concat(), true),
        ] {
            let row = Bytes::from(octets);
            let form = form(&row);
            assert_eq!(form[0] == OPENED, opened);
            assert_eq!(close(&form), Ok(row));
        }
    }

    #[test]
    fn a_frame_of_the_stream_has_room_for_so_much_and_no_more() {
        let (row, opener) = (row(&[&text(1)]), Opener::default());
        let size = form(&row).len();
        let mut room = size * 2 + 10;
        let forms: Vec<_> = (0..3).map(|_| opener.open(&row, &mut room)).collect();
        assert_eq!((forms[0][0], forms[1][0], forms[2][0], room), (OPENED, OPENED, AS_IT_IS, 10));
        assert!(forms.iter().all(|form| close(form).as_ref() == Ok(&row)));
        // A row with very much in it is opened as far as there is room.
        let zeros = "0".repeat(CONTENT_BYTES_MAX);
        let much = self::row(&vec![zeros.as_str(); ROOM_BYTES / CONTENT_BYTES_MAX + 5]);
        let form = form(&much);
        assert!(form[0] == OPENED && form.len() <= ROOM_BYTES + 4096, "{}", form.len());
        assert_eq!(close(&form), Ok(much));
    }

    #[test]
    fn other_octets_or_damage_are_told_apart() {
        let good = form(&row(&[&text(1)])).to_vec();
        let changed = |change: fn(&mut Vec<u8>)| {
            let mut form = good.clone();
            change(&mut form);
            close(&form.into()).unwrap_err()
        };
        assert_eq!(changed(|form| form[3] ^= 1), NotClosed::Different);
        assert_eq!(changed(|form| *form.last_mut().unwrap() ^= 1), NotClosed::Different);
        let damaged = |error| matches!(error, NotClosed::Wire(WireError::Field(_)));
        assert!(damaged(changed(|form| form[0] = 2)));
        assert!(damaged(changed(|form| form.truncate(4))));
        assert!(damaged(changed(Vec::clear)));
        assert!(damaged(changed(|form| form.truncate(5))));
        assert!(damaged(changed(|form| form.truncate(form.len() - 1))));
    }

    #[test]
    fn what_the_receiver_passed_on_is_named_and_refused_when_it_is_not_kept() {
        let [mine, theirs] = [1, 2].map(|number| frame::compress(text(number).as_bytes()).unwrap());
        let row = Bytes::from([&b"before"[..], &mine, b"between", &theirs, b"behind"].concat());
        let known = digest(&mine);
        let mut room = ROOM_BYTES;
        let form = name(&row, &mut room, |digest| *digest == known).unwrap();
        let shows = |number| form.windows(100).any(|octets| octets == &text(number).as_bytes()[..100]);
        assert_eq!((shows(1), shows(2), ROOM_BYTES - room), (false, true, form.len()));
        assert!(form.len() < text(2).len() + 60, "{}", form.len());
        assert_eq!(super::close(&form, |digest| (*digest == known).then(|| mine.clone().into())).as_ref(), Ok(&row));
        assert_eq!(close(&form), Err(NotClosed::Forgotten));
        assert_eq!(super::close(&form, |_| Some(theirs.clone().into())), Err(NotClosed::Different));
        assert_eq!(name(&row, &mut room, |_| false), None);
        assert_eq!(name(&row, &mut 50, |_| true), None, "there is no room");
        for end in 1..form.len() {
            assert!(super::close(&form.slice(..end), |_| Some(mine.clone().into())).is_err(), "{end}");
        }
    }

    #[test]
    fn what_is_kept_is_never_another_rows() {
        let opener = Opener::default();
        let rows: Vec<Bytes> = (0..KEPT_ROWS * 3).map(|number| row(&[&text(number)])).collect();
        for row in rows.iter().chain(rows.iter().rev()).flat_map(|row| [row, row]) {
            assert_eq!(close(&opener.open(row, &mut ROOM_BYTES.clone())).as_ref(), Ok(row));
        }
    }
}
