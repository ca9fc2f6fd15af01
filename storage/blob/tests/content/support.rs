//! An intake over a store in memory, and short words for what the tests do with it.

use std::sync::Arc;

use securanet_blob::{BlobStore, ContentKeys, Intake, IntakeSettings, Reader, open_summary};
use securanet_kv::memory::MemoryStore;
use securanet_model::{
    TenantId, UnixMillis,
    account::MessageContent,
    content::{Ingested, Sealed},
    record,
    summary::Summary,
};

pub(crate) const NOW: UnixMillis = UnixMillis::new(1_763_719_543_000);
pub(crate) const TENANT: TenantId = TenantId::new(1);

/// A store in memory with an intake before it.
pub(crate) struct Room {
    pub(crate) store: Arc<BlobStore>,
    pub(crate) intake: Arc<Intake>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self::with(IntakeSettings::default())
    }

    pub(crate) fn with(settings: IntakeSettings) -> Self {
        let store = Arc::new(BlobStore::new(Arc::new(MemoryStore::new())));
        let intake = Intake::new(Arc::clone(&store), ContentKeys::new([7; 32]), settings);
        Self { store, intake }
    }

    pub(crate) fn take_in(&self, trace: &[u8], message: &[u8]) -> Ingested {
        let mut spool = self.intake.begin(TENANT, trace.to_vec(), None).unwrap();
        message.chunks(10_000).for_each(|chunk| spool.write(chunk).unwrap());
        spool.finish(NOW).unwrap()
    }

    pub(crate) fn open(&self, prefix: &[u8], ingested: &Ingested) -> Reader {
        Reader::open(&self.store, &content(prefix, ingested)).unwrap()
    }

    pub(crate) fn summary(&self, message: &[u8]) -> Summary {
        summary(&self.take_in(b"", message))
    }
}

/// What the engine would keep of a message.
pub(crate) fn content(prefix: &[u8], ingested: &Ingested) -> MessageContent {
    MessageContent {
        prefix: Sealed::plain(1, prefix.to_vec()),
        prefix_size_bytes: prefix.len() as u64,
        recipe: ingested.message.recipe.clone(),
        size_bytes: prefix.len() as u64 + ingested.message.size_bytes,
        blobs: ingested.message.blobs.iter().map(|blob| blob.id).collect(),
    }
}

pub(crate) fn summary(ingested: &Ingested) -> Summary {
    record::decode(&open_summary(&ingested.message.summary).unwrap().bytes).unwrap()
}

/// The whole message, read range after range.
pub(crate) fn read_all(reader: &Reader) -> Vec<u8> {
    let mut whole = Vec::new();
    while (whole.len() as u64) < reader.size_bytes() {
        let more = reader.read(whole.len() as u64..u64::MAX).unwrap();
        assert!(!more.is_empty() && more.len() <= 1024 * 1024);
        whole.extend_from_slice(&more);
    }
    whole
}

/// Deterministic noise (xorshift64*).
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn below(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % below.max(1)
    }

    pub(crate) fn octets(&mut self, size_bytes: usize) -> Vec<u8> {
        (0..size_bytes).map(|_| self.below(256) as u8).collect()
    }

    pub(crate) fn words(&mut self, size_bytes: usize) -> Vec<u8> {
        const WORDS: [&str; 8] = ["lorem ", "ipsum ", "dolor ", "sit ", "amet,\r\n", "--x", "=\r\n", "é "];
        let mut text: Vec<u8> = Vec::with_capacity(size_bytes + 8);
        while text.len() < size_bytes {
            text.extend_from_slice(WORDS[self.below(WORDS.len())].as_bytes());
        }
        text.truncate(size_bytes);
        text
    }
}

/// Octets in base64, in lines.
pub(crate) fn base64_lines(octets: &[u8], line_length: usize, line_break: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let characters = STANDARD.encode(octets);
    let lines: Vec<&str> =
        characters.as_bytes().chunks(line_length).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join(line_break)
}
