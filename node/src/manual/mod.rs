//! The manual. `cargo doc --open -p securanet --document-private-items` renders it.
//!
//! Start with [`architecture`]; [`operations`] is for the night, [`data_format`] for whoever opens a disk,
//! [`glossary`] for words, [`adr`] for why it is as it is.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("data_format.md")]
pub mod data_format {}

#[doc = include_str!("glossary.md")]
pub mod glossary {}

/// Architecture decision records: context, decision, consequences, alternatives.
pub mod adr {
    #[doc = include_str!("adr/0001-split-at-the-front.md")]
    pub mod adr_0001_split_at_the_front {}
    #[doc = include_str!("adr/0002-records.md")]
    pub mod adr_0002_records {}
    #[doc = include_str!("adr/0003-scram.md")]
    pub mod adr_0003_scram {}
    #[doc = include_str!("adr/0004-login-memory.md")]
    pub mod adr_0004_login_memory {}
    #[doc = include_str!("adr/0005-admitted-mail-over-quota.md")]
    pub mod adr_0005_admitted_mail_over_quota {}
    #[doc = include_str!("adr/0006-rocksdb-is-compiled-apart.md")]
    pub mod adr_0006_rocksdb_is_compiled_apart {}
    #[doc = include_str!("adr/0007-blob-buffers.md")]
    pub mod adr_0007_blob_buffers {}
}
