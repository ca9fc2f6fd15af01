//! Blobs as rows: keys, the header row, chunk rows. Bytes in, values out; what does not fit is told as damage.
//!
//! Three tables: `1` headers, `2` chunks, `3` blobs being written. A blob exists when its header does; the header
//! is written last, in one batch with the last chunk. All chunks but the last hold exactly
//! [`BLOB_CHUNK_SIZE_BYTES_MAX`] octets of content.
//!
//! Every row ends or begins with a CRC-32 over its key and its bytes, so that a row under a wrong key is found too.
//! It guards against disks, not against people: that content is what its name says is checked with the keyed hash.

use securanet_model::{BlobId, TenantId, UnixMillis, limits::BLOB_CHUNK_SIZE_BYTES_MAX};

/// The version that this code writes, first byte of each row.
const VERSION: u8 = 1;
/// Octets of a header row: version, size, stored size, chunk count, time, checksum.
const HEADER_SIZE_BYTES: usize = 1 + 8 + 8 + 4 + 8 + 4;
/// Octets before the stored bytes of a chunk row: version, codec, octets of content, checksum.
const CHUNK_PREFIX_SIZE_BYTES: usize = 1 + 1 + 4 + 4;
/// Where the checksum lies in a chunk row.
const CHUNK_CHECKSUM_AT: usize = 6;
/// Octets of a blob's name in a key.
const ID_SIZE_BYTES: usize = 4 + 32;

/// Which rows a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Table {
    /// What exists.
    Headers = 1,
    /// Content.
    Chunks = 2,
    /// What is being written, or was when the process ended.
    Unfinished = 3,
}

impl Table {
    /// The key of a blob in this table; in [`Table::Chunks`] the prefix of its chunks' keys.
    pub(crate) fn key(self, id: &BlobId) -> Vec<u8> {
        let mut key = Vec::with_capacity(1 + ID_SIZE_BYTES + 4);
        key.push(self as u8);
        key.extend_from_slice(&id.tenant.get().to_be_bytes());
        key.extend_from_slice(&id.hash);
        key
    }
}

/// The key of a chunk.
pub(crate) fn chunk_key(id: &BlobId, index: u32) -> Vec<u8> {
    let mut key = Table::Chunks.key(id);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The blob of a key of [`Table::Headers`] or [`Table::Unfinished`]; `None` when it is no such key.
pub(crate) fn id_of(key: &[u8]) -> Option<BlobId> {
    let (tenant, hash) = key.get(1..)?.split_first_chunk::<4>()?;
    Some(BlobId { tenant: TenantId::new(u32::from_be_bytes(*tenant)), hash: hash.try_into().ok()? })
}

/// How many chunks content of this size has.
pub(crate) fn chunk_count(size_bytes: u64) -> u64 {
    size_bytes.div_ceil(BLOB_CHUNK_SIZE_BYTES_MAX as u64)
}

/// What makes a blob exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    /// Octets of the content.
    pub(crate) size_bytes: u64,
    /// Octets of its chunk rows, about: two writers of one blob may have compressed differently.
    pub(crate) stored_size_bytes: u64,
    /// How many chunks there are.
    pub(crate) chunks: u32,
    /// When somebody last put or held it; behind the truth by at most a quarter of the grace.
    pub(crate) put_at: UnixMillis,
}

impl Header {
    /// The row.
    pub(crate) fn encode(&self, id: &BlobId) -> Vec<u8> {
        let mut row = Vec::with_capacity(HEADER_SIZE_BYTES);
        row.push(VERSION);
        row.extend_from_slice(&self.size_bytes.to_be_bytes());
        row.extend_from_slice(&self.stored_size_bytes.to_be_bytes());
        row.extend_from_slice(&self.chunks.to_be_bytes());
        row.extend_from_slice(&self.put_at.get().to_be_bytes());
        let checksum = checksum(&Table::Headers.key(id), &row, &[]);
        row.extend_from_slice(&checksum.to_be_bytes());
        row
    }

    /// Reads the row.
    ///
    /// # Errors
    /// What does not fit.
    pub(crate) fn decode(id: &BlobId, row: &[u8]) -> Result<Self, String> {
        match row.first() {
            None => return Err("the header row is empty".to_owned()),
            Some(&VERSION) => {}
            Some(version) => return Err(format!("the header row has version {version}, this release reads {VERSION}")),
        }
        let row: &[u8; HEADER_SIZE_BYTES] =
            row.try_into().map_err(|_| format!("the header row has {} bytes", row.len()))?;
        let (fields, sum) = row.split_at(HEADER_SIZE_BYTES - 4);
        if number(sum) != u64::from(checksum(&Table::Headers.key(id), fields, &[])) {
            return Err("the header row fails its checksum".to_owned());
        }
        let header = Self {
            size_bytes: number(&fields[1..9]),
            stored_size_bytes: number(&fields[9..17]),
            chunks: number(&fields[17..21]) as u32,
            put_at: UnixMillis::new(number(&fields[21..29])),
        };
        if chunk_count(header.size_bytes) != u64::from(header.chunks) {
            return Err(format!("{} bytes do not make {} chunks", header.size_bytes, header.chunks));
        }
        Ok(header)
    }

    /// Octets of content that a chunk holds.
    pub(crate) fn chunk_size_bytes(&self, index: u32) -> usize {
        let start = u64::from(index) * BLOB_CHUNK_SIZE_BYTES_MAX as u64;
        // At most a chunk, so it fits.
        self.size_bytes.saturating_sub(start).min(BLOB_CHUNK_SIZE_BYTES_MAX as u64) as usize
    }
}

/// How a chunk's content is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChunkCodec {
    /// As it is.
    Plain = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// The row of a chunk with `size_bytes` octets of content, stored as `stored`.
pub(crate) fn encode_chunk(key: &[u8], codec: ChunkCodec, size_bytes: usize, stored: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(CHUNK_PREFIX_SIZE_BYTES + stored.len());
    row.extend_from_slice(&[VERSION, codec as u8]);
    // At most a chunk, so it fits.
    row.extend_from_slice(&(size_bytes as u32).to_be_bytes());
    let checksum = checksum(key, &row, stored);
    row.extend_from_slice(&checksum.to_be_bytes());
    row.extend_from_slice(stored);
    row
}

/// A chunk row taken apart: its codec and its stored bytes, checksum and size checked.
///
/// # Errors
/// What does not fit.
pub(crate) fn decode_chunk<'r>(key: &[u8], row: &'r [u8], size_bytes: usize) -> Result<(ChunkCodec, &'r [u8]), String> {
    match row.first() {
        None => return Err("the row is empty".to_owned()),
        Some(&VERSION) => {}
        Some(version) => return Err(format!("the row has version {version}, this release reads {VERSION}")),
    }
    if row.len() < CHUNK_PREFIX_SIZE_BYTES {
        return Err(format!("the row has only {} bytes", row.len()));
    }
    let (prefix, stored) = row.split_at(CHUNK_PREFIX_SIZE_BYTES);
    let (fields, sum) = prefix.split_at(CHUNK_CHECKSUM_AT);
    if number(sum) != u64::from(checksum(key, fields, stored)) {
        return Err("the row fails its checksum".to_owned());
    }
    if number(&fields[2..]) != size_bytes as u64 {
        return Err(format!("the row holds {} bytes of content instead of {size_bytes}", number(&fields[2..])));
    }
    match fields[1] {
        0 if stored.len() != size_bytes => Err(format!("{} bytes are stored instead of {size_bytes}", stored.len())),
        0 => Ok((ChunkCodec::Plain, stored)),
        1 => Ok((ChunkCodec::Zstd, stored)),
        codec => Err(format!("the row has the unknown codec {codec}")),
    }
}

/// The row of a blob being written: when that began.
pub(crate) fn encode_unfinished(since: UnixMillis) -> Vec<u8> {
    let mut row = vec![VERSION];
    row.extend_from_slice(&since.get().to_be_bytes());
    row
}

/// When writing began; a row that does not decode says "long ago", for nothing but its removal depends on it.
pub(crate) fn decode_unfinished(row: &[u8]) -> UnixMillis {
    match row.split_first() {
        Some((&VERSION, since)) if since.len() == 8 => UnixMillis::new(number(since)),
        _ => UnixMillis::new(0),
    }
}

fn checksum(key: &[u8], fields: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(fields);
    hasher.update(stored);
    hasher.finalize()
}

/// A big-endian number of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// What disks may give back instead of what was written.
pub(crate) mod fuzz {
    use super::{
        ChunkCodec, Header, chunk_key, decode_chunk, decode_unfinished, encode_chunk, encode_unfinished, id_of,
    };
    use crate::codec::Codecs;
    use securanet_model::{BlobId, TenantId};

    /// Rows of any bytes decode to what encodes to the same bytes, or are refused; nothing panics.
    pub(crate) fn fuzz_stored(data: &[u8]) {
        let id = BlobId { tenant: TenantId::new(7), hash: [9; 32] };
        if let Ok(header) = Header::decode(&id, data) {
            assert_eq!(header.encode(&id), data);
        }
        let key = chunk_key(&id, 3);
        let codecs = Codecs::default();
        let claimed = data.get(2..6).map_or(0, |size| super::number(size) as usize).min(1 << 20);
        if let Ok((codec, stored)) = decode_chunk(&key, data, claimed) {
            assert_eq!(encode_chunk(&key, codec, claimed, stored), data);
        }
        // Without the checksum in the way: what the decompressor does with foreign bytes.
        for size_bytes in [claimed, data.len()] {
            if let Ok(content) = codecs.expand(ChunkCodec::Zstd, data, size_bytes) {
                assert_eq!(content.len(), size_bytes);
            }
        }
        let since = decode_unfinished(data);
        assert_eq!(decode_unfinished(&encode_unfinished(since)), since);
        if let Some(id) = id_of(data) {
            assert_eq!(super::Table::Headers.key(&id)[1..], data[1..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codecs;

    fn id() -> BlobId {
        BlobId { tenant: TenantId::new(7), hash: [9; 32] }
    }

    fn header() -> Header {
        Header { size_bytes: 3_000_000, stored_size_bytes: 1234, chunks: 3, put_at: UnixMillis::new(1_700_000_000_000) }
    }

    #[test]
    fn rows_are_what_was_frozen() {
        // Version 1 as the first release wrote it: whoever changes this breaks every data directory.
        let row = header().encode(&id());
        let text: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, "0100000000002dc6c000000000000004d2000000030000018bcfe5680030a194ab");
        assert_eq!(row.len(), HEADER_SIZE_BYTES);
        assert_eq!(Header::decode(&id(), &row), Ok(header()));
        let chunk = encode_chunk(&chunk_key(&id(), 2), ChunkCodec::Plain, 3, b"abc");
        assert_eq!(chunk[..6], [1, 0, 0, 0, 0, 3]);
        assert_eq!(&chunk[10..], b"abc");
        assert_eq!(chunk_key(&id(), 2), [&[2, 0, 0, 0, 7][..], &[9; 32], &[0, 0, 0, 2]].concat());
    }

    #[test]
    fn each_changed_bit_of_a_row_is_found() {
        let row = header().encode(&id());
        let key = chunk_key(&id(), 0);
        let chunk = encode_chunk(&key, ChunkCodec::Plain, 3, b"abc");
        for bit in 0..8 {
            for at in 0..row.len() {
                let mut damaged = row.clone();
                damaged[at] ^= 1 << bit;
                assert!(Header::decode(&id(), &damaged).is_err(), "byte {at} bit {bit}");
            }
            for at in 0..chunk.len() {
                let mut damaged = chunk.clone();
                damaged[at] ^= 1 << bit;
                assert!(decode_chunk(&key, &damaged, 3).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn a_row_under_another_key_is_damage() {
        let other = BlobId { tenant: TenantId::new(8), ..id() };
        assert!(Header::decode(&other, &header().encode(&id())).is_err());
        let chunk = encode_chunk(&chunk_key(&id(), 0), ChunkCodec::Plain, 3, b"abc");
        assert!(decode_chunk(&chunk_key(&id(), 1), &chunk, 3).is_err());
    }

    #[test]
    fn foreign_rows_never_panic() {
        let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move || {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            noise as usize
        };
        let codecs = Codecs::default();
        let text = b"all work and no play makes jack a dull boy. ".repeat(20);
        let (codec, stored) = codecs.shrink(&text).unwrap();
        let seeds = [
            header().encode(&id()),
            encode_chunk(&chunk_key(&id(), 3), ChunkCodec::Plain, 3, b"abc"),
            encode_chunk(&chunk_key(&id(), 3), codec, text.len(), &stored.unwrap()),
            codecs.shrink(&text).unwrap().1.unwrap(),
            encode_unfinished(UnixMillis::new(5)),
            Table::Headers.key(&id()),
        ];
        for seed in &seeds {
            fuzz::fuzz_stored(seed);
            for _ in 0..1000 {
                let mut bytes = seed.clone();
                for _ in 0..random() % 4 + 1 {
                    let at = random() % bytes.len().max(1);
                    match random() % 3 {
                        0 if at < bytes.len() => bytes[at] = random() as u8,
                        1 => bytes.truncate(at),
                        _ => bytes.insert(at.min(bytes.len()), random() as u8),
                    }
                }
                fuzz::fuzz_stored(&bytes);
            }
        }
    }
}
