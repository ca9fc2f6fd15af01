//! Compaction on purpose: deleted rows give their space back.
//!
//! Values in blob files need a second step. Compaction only counts which of their bytes are garbage; a file is
//! removed once all of it is. Files that are garbage in part are emptied here, the oldest first and a tenth of
//! them at a time, so that the space needed meanwhile stays small, until little garbage is left.

use rocksdb::{BottommostLevelCompaction, CompactOptions, DB};

use crate::port::KeyRange;

/// Blob files are emptied while more than one byte in this many is garbage.
const GARBAGE_SHARE_MAX: u64 = 10;
/// Each pass empties a tenth of the files: after this many each had its turn.
const PASSES_MAX: usize = 10;

/// How many blob files there are.
const BLOB_FILES: &str = "rocksdb.num-blob-files";
/// Octets of all blob files.
const BLOB_FILES_SIZE: &str = "rocksdb.live-blob-file-size";
/// Octets in them that no row names any more, as far as compaction has seen.
const BLOB_FILES_GARBAGE: &str = "rocksdb.live-blob-file-garbage-size";

pub(super) fn compact(db: &DB, range: &KeyRange, has_blob_files: bool) -> Result<(), rocksdb::Error> {
    run(db, range);
    if !has_blob_files {
        return Ok(());
    }
    for _ in 0..PASSES_MAX {
        let files = property(db, BLOB_FILES)?;
        if property(db, BLOB_FILES_GARBAGE)? <= property(db, BLOB_FILES_SIZE)? / GARBAGE_SHARE_MAX {
            break;
        }
        db.set_options(&[
            ("enable_blob_garbage_collection", "true"),
            ("blob_garbage_collection_age_cutoff", &oldest_tenth(files)),
        ])?;
        // The oldest files may hold any key.
        run(db, &KeyRange { start: Vec::new(), end: None });
        db.set_options(&[("enable_blob_garbage_collection", "false")])?;
    }
    Ok(())
}

/// The share of `files` that RocksDB rounds down to a tenth of them, but to no less than one.
fn oldest_tenth(files: u64) -> String {
    let oldest = files.div_ceil(PASSES_MAX as u64) as f64;
    format!("{:.6}", ((oldest + 0.5) / files.max(1) as f64).min(1.0))
}

fn property(db: &DB, name: &str) -> Result<u64, rocksdb::Error> {
    Ok(db.property_int_value(name)?.unwrap_or(0))
}

fn run(db: &DB, range: &KeyRange) {
    let mut options = CompactOptions::default();
    // Otherwise rows that lie in the last level already would keep the space of their deleted neighbours.
    options.set_bottommost_level_compaction(BottommostLevelCompaction::ForceOptimized);
    db.compact_range_opt(Some(&range.start), range.end.as_ref(), &options);
}

#[cfg(test)]
mod tests {
    use super::oldest_tenth;

    #[test]
    fn the_oldest_tenth_is_at_least_one_file() {
        for (files, oldest) in [(1, 1), (2, 1), (10, 1), (11, 2), (99, 10), (1000, 100), (131_072, 13_108)] {
            let cutoff: f64 = oldest_tenth(files).parse().unwrap();
            assert!(cutoff <= 1.0);
            assert_eq!((cutoff * files as f64) as u64, oldest, "{files} files");
        }
    }
}
