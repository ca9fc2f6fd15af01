//! Memory of one large delivery: below 64 MiB for a message of 50 MiB, whatever it is made of.
//!
//! Counted by the allocator, in a process of its own. What the disk keeps is not memory of the delivery: the store
//! here forgets what is written to it.
#![allow(clippy::unwrap_used, reason = "a panic in a test is the failure")]
#![allow(unsafe_code, reason = "a counting allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use securanet_blob::{BlobStore, ContentKeys, Intake, IntakeSettings};
use securanet_kv::{Direction, Durability, KeyRange, KeyValue, KvError, Read, Row, WriteBatch};
use securanet_model::{TenantId, UnixMillis};

const MIB: usize = 1024 * 1024;

struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn count(more: usize) {
    PEAK.fetch_max(USED.fetch_add(more, Relaxed) + more, Relaxed);
}

// SAFETY: everything is handed to the system's allocator as it came; only counters are touched beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Counted as if both were there for a moment: the worst that can happen.
        count(new_size);
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A disk that keeps nothing.
struct Forgetful;

impl Read for Forgetful {
    fn get(&self, _: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(None)
    }

    fn visit(
        &self,
        _: &KeyRange,
        _: Direction,
        _: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), KvError> {
        Ok(())
    }
}

impl KeyValue for Forgetful {
    fn write(&self, _: WriteBatch, _: Durability) -> Result<(), KvError> {
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        Ok(())
    }

    fn sync(&self) -> Result<(), KvError> {
        Ok(())
    }

    fn snapshot(&self) -> Box<dyn Read> {
        Box::new(Forgetful)
    }

    fn ingest(&self, _: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> Result<u64, KvError> {
        Ok(0)
    }

    fn compact(&self, _: &KeyRange) -> Result<(), KvError> {
        Ok(())
    }
}

/// Takes in `header` and then pieces of `body` until the message is as large as allowed; the peak above before.
fn peak_of(header: &str, body: impl Fn(usize) -> Vec<u8>, hint: Option<u64>) -> usize {
    let store = Arc::new(BlobStore::new(Arc::new(Forgetful)));
    let intake = Intake::new(store, ContentKeys::new([7; 32]), IntakeSettings::default());
    let before = USED.load(Relaxed);
    PEAK.store(before, Relaxed);
    let mut spool = intake.begin(TenantId::new(1), b"Received: by us\r\n".to_vec(), hint).unwrap();
    spool.write(header.as_bytes()).unwrap();
    let mut piece = 0;
    loop {
        let bytes = body(piece);
        if spool.size_bytes() as usize + bytes.len() > 50 * MIB {
            break;
        }
        spool.write(&bytes).unwrap();
        piece += 1;
    }
    assert!(spool.size_bytes() as usize > 49 * MIB);
    let charged = intake.budget().used_bytes() as usize;
    let ingested = spool.finish(UnixMillis::new(1)).unwrap();
    let peak = PEAK.load(Relaxed) - before;
    assert!(!ingested.message.blobs.is_empty());
    assert_eq!(intake.budget().used_bytes(), 0);
    assert!(peak < charged + MIB, "peak {} KiB, charged {} KiB", peak / 1024, charged / 1024);
    peak
}

/// The n-th piece of a body.
type Body = fn(usize) -> Vec<u8>;

#[test]
fn one_delivery_of_50_mib_needs_less_than_64_mib() {
    let line = |piece: usize| {
        let octet = b'A' + (piece % 26) as u8;
        let mut lines = [vec![octet; 76], b"\r\n".to_vec()].concat().repeat(128);
        lines.truncate(78 * 128);
        lines
    };
    let cases: [(&str, String, Body); 4] = [
        ("base64", "Content-Transfer-Encoding: base64\r\n\r\n".to_owned(), line),
        ("text", "Subject: x\r\n\r\n".to_owned(), line),
        ("one header field", "X: ".to_owned(), |_| vec![b'x'; 10_000]),
        ("parts", "Content-Type: multipart/mixed; boundary=b\r\n".to_owned(), |piece| {
            format!("\r\n--b\r\nContent-Type: text/plain; name={piece}\r\n\r\n{}", "y".repeat(4900)).into_bytes()
        }),
    ];
    for (what, header, body) in cases {
        for hint in [None, Some(50 * MIB as u64)] {
            let peak = peak_of(&header, body, hint);
            println!("{what}, announced {hint:?}: {} KiB", peak / 1024);
            assert!(peak < 64 * MIB, "{what}: {} KiB", peak / 1024);
        }
    }
}
