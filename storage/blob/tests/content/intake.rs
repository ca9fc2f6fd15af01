//! The bounds of taking in, blobs that are shared, and order of durability.

use std::sync::Arc;

use securanet_blob::{BlobError, BlobStore, ContentKeys, Intake, IntakeSettings, Reader, intake::LEASE_MILLIS};
use securanet_kv::memory::MemoryStore;
use securanet_model::limits::BLOB_PART_SIZE_BYTES_MIN;

use crate::support::{NOW, Noise, Room, TENANT, base64_lines, content, read_all};

const MIB: u64 = 1024 * 1024;

#[test]
fn a_message_over_the_limit_is_refused_and_nothing_of_it_taken() {
    let room = Room::with(IntakeSettings { message_size_bytes_max: 1000, memory_bytes_max: 0 });
    let too_large = |error: BlobError| matches!(error, BlobError::TooLarge { limit_bytes: 1000 });
    assert!(room.intake.begin(TENANT, vec![], Some(1001)).err().is_some_and(too_large));
    let mut spool = room.intake.begin(TENANT, b"Received: x\r\n".to_vec(), Some(10)).unwrap();
    spool.write(&[b'x'; 999]).unwrap();
    assert!(too_large(spool.write(b"yz").unwrap_err()));
    spool.write(b"y").unwrap();
    assert_eq!(spool.size_bytes(), 1000);
    assert_eq!(spool.finish(NOW).unwrap().message.size_bytes, 1013);
}

#[test]
fn memory_is_bounded_over_all_messages_and_given_back() {
    let room = Room::with(IntakeSettings { message_size_bytes_max: 10 * MIB, memory_bytes_max: 0 });
    let budget = room.intake.budget();
    assert!(budget.capacity_bytes() >= 16 * MIB, "one largest message always fits");
    let mut large = room.intake.begin(TENANT, vec![], None).unwrap();
    let mut small = room.intake.begin(TENANT, vec![], None).unwrap();
    for _ in 0..9 {
        large.write(&vec![b'x'; MIB as usize]).unwrap();
    }
    let chunk = vec![b'y'; 512 * 1024];
    let refused = std::iter::from_fn(|| Some(small.write(&chunk))).take(10).find_map(Result::err);
    assert!(matches!(refused, Some(BlobError::Busy)));
    let needed = small.shortfall_bytes(chunk.len());
    assert!(needed > 0 && budget.try_reserve(needed).is_none());
    drop(large);
    small.top_up(budget.try_reserve(needed).unwrap());
    small.write(&chunk).unwrap();
    drop(small);
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn an_attachment_is_one_blob_however_it_is_encoded() {
    let room = Room::new();
    let file = Noise(1).octets(100_000);
    let mail = |line_length, line_break: &str, ending: &str| {
        let body = base64_lines(&file, line_length, line_break);
        format!(
            "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nhi\r\n--b\r\nContent-Type: application/pdf\r\n\
             Content-Transfer-Encoding: base64\r\n\r\n{body}{ending}\r\n--b--\r\n"
        )
    };
    let mut names = Vec::new();
    for message in [mail(76, "\r\n", ""), mail(72, "\n", "\r\n"), mail(1_000_000, "\r\n", "\r\n\r\n--\r\nfooter")] {
        let ingested = room.take_in(b"", message.as_bytes());
        assert_eq!(ingested.message.blobs.len(), 1);
        assert_eq!(ingested.message.blobs[0].size_bytes, 100_000);
        names.push(ingested.message.blobs[0].id);
        assert_eq!(read_all(&room.open(b"", &ingested)), message.as_bytes());
    }
    names.dedup();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0], ContentKeys::new([7; 32]).blob_id(TENANT, &file));
}

#[test]
fn the_smallest_blob_and_the_largest_inline_part() {
    let room = Room::new();
    let text = |size: u64| [b"Subject: x\r\n\r\n".to_vec(), Noise(2).words(size as usize)].concat();
    let below = room.take_in(b"", &text(BLOB_PART_SIZE_BYTES_MIN - 1));
    let at = room.take_in(b"", &text(BLOB_PART_SIZE_BYTES_MIN));
    assert_eq!((below.message.blobs.len(), at.message.blobs.len()), (0, 1));
}

#[test]
fn many_small_parts_and_giant_headers_become_one_blob() {
    let room = Room::new();
    let parts = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned()
        + &"--b\r\n\r\nsmall part of some length\r\n".repeat(5000)
        + "--b--\r\n";
    let header = format!("X-Giant: {}\r\n\r\nbody", "x".repeat(200_000));
    for message in [parts, header] {
        let ingested = room.take_in(b"Received: by us\r\n", message.as_bytes());
        assert_eq!(ingested.message.blobs.len(), 1);
        assert!(ingested.message.recipe.bytes.len() < 500);
        let whole = [b"Received: by us\r\n", message.as_bytes()].concat();
        assert_eq!(read_all(&room.open(b"", &ingested)), whole);
    }
}

#[test]
fn the_number_of_blobs_of_one_message_is_bounded() {
    let room = Room::new();
    let part = |n: usize| format!("--b\r\n\r\n{n}{}\r\n", "x".repeat(BLOB_PART_SIZE_BYTES_MIN as usize));
    let message: String = (0..1100).map(part).collect();
    let message = format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{message}--b--\r\n");
    let ingested = room.take_in(b"", message.as_bytes());
    assert_eq!(ingested.message.blobs.len(), 1001, "1,000 parts and the inline rest");
    assert_eq!(read_all(&room.open(b"", &ingested)), message.as_bytes());
}

#[test]
fn blobs_are_durable_and_leased_when_finish_returns() {
    let kv = MemoryStore::new();
    let store = Arc::new(BlobStore::new(Arc::new(kv.clone())));
    let intake = Intake::new(store, ContentKeys::new([7; 32]), IntakeSettings::default());
    let message = [b"\r\n".to_vec(), Noise(3).words(3_000_000)].concat();
    let take_in = || {
        let mut spool = intake.begin(TENANT, vec![], None).unwrap();
        spool.write(&message).unwrap();
        assert!(spool.may_block());
        spool.finish(NOW).unwrap()
    };
    let ingested = take_in();
    assert!(ingested.lease_until.millis_since(NOW) > 2 * securanet_model::limits::REQUEST_DEADLINE_MILLIS_MAX);
    let after_crash = Arc::new(BlobStore::new(Arc::new(kv.crashed_copy())));
    let reader = Reader::open(&after_crash, &content(b"", &ingested)).unwrap();
    assert!(reader.may_block());
    assert_eq!(read_all(&reader), message);
    assert_eq!(take_in().message, ingested.message, "a repeat names the same blob");
}

#[test]
fn a_message_whose_blob_is_gone_says_which() {
    let room = Room::new();
    let ingested = room.take_in(b"\r\n", &Noise(4).words(50_000));
    let id = ingested.message.blobs[0].id;
    assert!(room.store.delete(id, NOW.plus_millis(LEASE_MILLIS)).unwrap());
    let refused = Reader::open(&room.store, &content(b"", &ingested)).err();
    assert!(matches!(refused, Some(BlobError::Missing(missing)) if missing == id));
}

#[test]
fn what_threads_share_may_be_shared() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<Intake>();
    shared::<Reader>();
    moved::<securanet_blob::Spool>();
}
