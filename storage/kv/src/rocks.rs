//! The RocksDB adapter: the only file that names RocksDB.
