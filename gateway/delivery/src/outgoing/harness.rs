//! Messages in memory, for tests of this crate.

use std::{
    ops::Range,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use securanet_gateway::{
    model::{KeyedHash, StoreError, UnixMillis, content::Ingested, content::NewMessage, content::Sealed},
    store::{BoxFuture, Content, ContentSink},
};

use super::{Outgoing, Path, Plan, Scan, Scanner};

/// A message that is given out in pieces of at most so many octets.
pub(crate) struct Message {
    octets: Bytes,
    piece: usize,
}

impl Message {
    pub(crate) fn open(octets: impl Into<Vec<u8>>, piece: usize) -> Arc<dyn Content> {
        Arc::new(Self { octets: Bytes::from(octets.into()), piece })
    }
}

impl Content for Message {
    fn size_bytes(&self) -> u64 {
        self.octets.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let start = range.start as usize;
        let end = (range.end as usize).min(self.octets.len()).min(start + self.piece);
        Box::pin(async move { Ok(self.octets.slice(start..end)) })
    }
}

/// Takes a message in and keeps it.
#[derive(Clone, Default)]
pub(crate) struct Sink(pub(crate) Arc<Mutex<Vec<u8>>>);

impl ContentSink for Sink {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Box::pin(async { Ok(()) })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        let message = NewMessage {
            size_bytes: self.0.lock().unwrap().len() as u64,
            recipe: Sealed::plain(1, Vec::new()),
            blobs: Vec::new(),
            summary: Sealed::plain(1, Vec::new()),
            thread_keys: Vec::new(),
            internal_date: None,
        };
        let repeat_key = KeyedHash([0; 16]);
        let lease_until = UnixMillis::new(0);
        Box::pin(async move {
            Ok(Ingested {
                message,
                received_count: 0,
                repeat_key,
                message_id: None,
                delivered_to: Vec::new(),
                lease_until,
            })
        })
    }
}

/// Everything is taken.
pub(crate) const WIDE: Path = Path { eight_bit_mime: true, smtp_utf8: true };
/// RFC 5321 without extensions.
pub(crate) const NARROW: Path = Path { eight_bit_mime: false, smtp_utf8: false };

pub(crate) fn scanned(message: &[u8], step: usize) -> Scan {
    let mut scanner = Scanner::new();
    message.chunks(step.max(1)).for_each(|piece| scanner.push(piece));
    scanner.finish()
}

/// What leaves, by a plan.
pub(crate) fn written(message: &[u8], plan: Plan, piece: usize) -> Vec<u8> {
    futures::executor::block_on(async {
        let mut outgoing = Outgoing::new(Message::open(message, piece.max(1)), Arc::new(plan), Vec::new());
        let mut out = Vec::new();
        while let Some(piece) = outgoing.next().await.unwrap() {
            assert!(!piece.is_empty());
            out.extend_from_slice(&piece);
        }
        assert_eq!(outgoing.next().await, Ok(None), "the end stays the end");
        out
    })
}

/// What leaves over a path.
pub(crate) fn leaves(message: &[u8], path: Path) -> Vec<u8> {
    let plan = scanned(message, message.len()).plan(path).unwrap();
    let out = written(message, plan.clone(), message.len());
    for step in [1, 2, 7, 64] {
        assert_eq!(scanned(message, step).plan(path), Ok(plan.clone()), "in pieces of {step}");
        assert_eq!(written(message, plan.clone(), step), out, "in pieces of {step}");
    }
    let about = plan.size_bytes_about;
    assert!(plan.mend_line_ends || out.len() as u64 <= about + 2, "{} octets, said {about}", out.len());
    out
}

/// Feeds mutations of the seeds, the same ones each time.
pub(crate) fn mutated(seeds: &[&[u8]], rounds: u32, entry: impl Fn(&[u8])) {
    const SPECIAL: &[u8] = b"\0\r\n\t -.:;=/+\"\\()<>@bsA\xff\xc3\xbc";
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below.max(1) as u64).unwrap()
    };
    for _ in 0..rounds {
        let mut data = seeds[next(seeds.len())].to_vec();
        for _ in 0..next(6) {
            let at = next(data.len() + 1);
            match next(6) {
                0 => data.insert(at, SPECIAL[next(SPECIAL.len())]),
                1 if at < data.len() => drop(data.remove(at)),
                2 if at < data.len() => data[at] = u8::try_from(next(256)).unwrap(),
                3 if next(4) == 0 => data.truncate(at),
                4 => {
                    let other = seeds[next(seeds.len())];
                    let from = next(other.len());
                    data.splice(at..at, other[from..].iter().copied());
                }
                _ => {
                    let length = next(2000);
                    data.splice(at..at, std::iter::repeat_n(b'x', length));
                }
            }
        }
        entry(&data);
    }
}
