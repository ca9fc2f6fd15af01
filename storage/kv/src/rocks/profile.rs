//! The three jobs a store can have on a node, and what RocksDB is told for each.
//!
//! Everything here is about memory, CPU and the wear of the disk, never about what is kept: a store may be
//! opened with another size of cache or buffer at any time.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, LogLevel, Options};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// How a store is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    job: Job,
    cache_bytes: usize,
    write_buffer_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Job {
    Log,
    State,
    Blob,
}

impl Profile {
    /// The Raft log of all groups: written once with the WAL on, read seldom, removed soon by range.
    #[must_use]
    pub const fn log() -> Self {
        Self { job: Job::Log, cache_bytes: 8 * MIB, write_buffer_bytes: 16 * MIB }
    }

    /// All groups' tables: small rows, read much, written without WAL ([`crate::Durability::Volatile`]).
    #[must_use]
    pub const fn state() -> Self {
        Self { job: Job::State, cache_bytes: 64 * MIB, write_buffer_bytes: 32 * MIB }
    }

    /// Message content: chunks of up to 1 MiB, kept beside the tables, written once. Its two write buffers of
    /// 2 MiB are memory that one large delivery costs beside the message itself.
    #[must_use]
    pub const fn blob() -> Self {
        Self { job: Job::Blob, cache_bytes: 16 * MIB, write_buffer_bytes: 2 * MIB }
    }

    /// With a block cache of this size; it also holds indexes and filters. At least 1 MiB.
    #[must_use]
    pub const fn with_cache_bytes(mut self, cache_bytes: usize) -> Self {
        self.cache_bytes = if cache_bytes < MIB { MIB } else { cache_bytes };
        self
    }

    /// Octets of the block cache.
    #[must_use]
    pub const fn cache_bytes(&self) -> usize {
        self.cache_bytes
    }

    /// With write buffers of this size; there are up to two of the blob store, three of the others. At least 1 MiB.
    #[must_use]
    pub const fn with_write_buffer_bytes(mut self, write_buffer_bytes: usize) -> Self {
        self.write_buffer_bytes = if write_buffer_bytes < MIB { MIB } else { write_buffer_bytes };
        self
    }

    /// Whether large values lie in files of their own, which compaction alone does not shrink.
    pub(super) fn has_blob_files(&self) -> bool {
        self.job == Job::Blob
    }

    pub(super) fn options(&self) -> Options {
        let mut options = self.common();
        match self.job {
            Job::Log => log(&mut options),
            Job::State => state(&mut options),
            Job::Blob => blob(&mut options),
        }
        options.set_block_based_table_factory(&self.tables());
        options
    }

    fn common(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_size(self.write_buffer_bytes);
        // One flush and one compaction at a time: a node has three stores and may have two cores.
        options.set_max_background_jobs(2);
        // A bound: by default RocksDB keeps every file open. 256 tables of 64 MiB are 16 GiB of open tables.
        options.set_max_open_files(256);
        // Of several writers one writes for all; the others sleep at once instead of spinning for 100 us.
        options.set_enable_write_thread_adaptive_yield(false);
        // Writes back in steps, so that a flush at the end of a large file does not hold up the log's.
        options.set_bytes_per_sync(MIB as u64);
        // After a power cut the WAL ends where its first gap is: what was synced lies before it.
        options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_skip_stats_update_on_db_open(true);
        options.set_stats_dump_period_sec(0);
        options.set_stats_persist_period_sec(0);
        options.set_max_manifest_file_size(16 * MIB);
        // RocksDB's own diary, at most 3 MiB of it.
        options.set_log_level(LogLevel::Warn);
        options.set_keep_log_file_num(3);
        options.set_max_log_file_size(MIB);
        options
    }

    fn tables(&self) -> BlockBasedOptions {
        let mut tables = BlockBasedOptions::default();
        tables.set_block_cache(&Cache::new_lru_cache(self.cache_bytes));
        // Inside the cache, so that its size is the bound of what reading keeps in memory.
        tables.set_cache_index_and_filter_blocks(true);
        tables.set_pin_l0_filter_and_index_blocks_in_cache(true);
        match self.job {
            Job::Log => tables.set_block_size(32 * KIB),
            // Ten bits: one lookup in a hundred for an absent key reads a block.
            Job::State | Job::Blob => {
                tables.set_bloom_filter(10.0, false);
                tables.set_optimize_filters_for_memory(true);
            }
        }
        if self.job == Job::State {
            tables.set_block_size(8 * KIB);
        }
        tables
    }
}

fn log(options: &mut Options) {
    options.set_max_write_buffer_number(3);
    // Logs are not recycled: it would take a third off each sync on ext4 (0.17 to 0.10 ms) and keep the size of
    // one more log on disk, but recovery then has to tell old records from new ones in the same file.
    // Entries are compressed content for the most part: what still shrinks, lz4 finds.
    options.set_compression_type(DBCompressionType::Lz4);
}

fn state(options: &mut Options) {
    options.set_max_write_buffer_number(3);
    options.set_atomic_flush(true);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_bottommost_compression_type(DBCompressionType::Zstd);
}

fn blob(options: &mut Options) {
    options.set_max_write_buffer_number(2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_wal_bytes_per_sync(MIB as u64);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(4 * KIB as u64);
    options.set_blob_file_size(64 * MIB as u64);
    // Chunks come compressed.
    options.set_blob_compression_type(DBCompressionType::None);
    // RocksDB collects garbage by a file's age, not by how much of it is garbage, and would move a good part of the
    // store in every compaction (our keys are hashes). So it is switched on only while we compact on purpose.
    options.set_enable_blob_gc(false);
}
