//! The manual. `cargo doc --open -p securanet --document-private-items` renders it.
//!
//! Start with [`architecture`]; [`operations`] is for the night, [`failures`] for trying what happens, [`data_format`] for whoever opens a disk,
//! [`glossary`] for words, [`adr`] for why it is as it is.

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("operations.md")]
pub mod operations {}

#[doc = include_str!("data_format.md")]
pub mod data_format {}

#[doc = include_str!("failures.md")]
pub mod failures {}

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
    #[doc = include_str!("adr/0008-requests-are-remembered-in-rows.md")]
    pub mod adr_0008_requests_are_remembered_in_rows {}
    #[doc = include_str!("adr/0009-reachability-rows.md")]
    pub mod adr_0009_reachability_rows {}
    #[doc = include_str!("adr/0010-own-mime-scanner.md")]
    pub mod adr_0010_own_mime_scanner {}
    #[doc = include_str!("adr/0011-import-one-after-the-other.md")]
    pub mod adr_0011_import_one_after_the_other {}
    #[doc = include_str!("adr/0012-app-passwords-carry-their-selector.md")]
    pub mod adr_0012_app_passwords_carry_their_selector {}
    #[doc = include_str!("adr/0013-one-sync-and-a-state-that-replays.md")]
    pub mod adr_0013_one_sync_and_a_state_that_replays {}
    #[doc = include_str!("adr/0014-blob-garbage-on-purpose-only.md")]
    pub mod adr_0014_blob_garbage_on_purpose_only {}
    #[doc = include_str!("adr/0015-an-account-is-removed-in-three-steps.md")]
    pub mod adr_0015_an_account_is_removed_in_three_steps {}
    #[doc = include_str!("adr/0016-renaming-and-uidvalidity.md")]
    pub mod adr_0016_renaming_and_uidvalidity {}
    #[doc = include_str!("adr/0017-utf8-headers-for-old-clients.md")]
    pub mod adr_0017_utf8_headers_for_old_clients {}
    #[doc = include_str!("adr/0018-one-failure-for-all-that-waits.md")]
    pub mod adr_0018_one_failure_for_all_that_waits {}
    #[doc = include_str!("adr/0019-what-is-sent-on.md")]
    pub mod adr_0019_what_is_sent_on {}
    #[doc = include_str!("adr/0020-gateways-reach-stores-by-grpc.md")]
    pub mod adr_0020_gateways_reach_stores_by_grpc {}
    #[doc = include_str!("adr/0021-one-stream-to-each-node.md")]
    pub mod adr_0021_one_stream_to_each_node {}
    #[doc = include_str!("adr/0022-any-replica-and-one-step.md")]
    pub mod adr_0022_any_replica_and_one_step {}
    #[doc = include_str!("adr/0023-how-a-node-comes-in.md")]
    pub mod adr_0023_how_a_node_comes_in {}
    #[doc = include_str!("adr/0024-how-new-an-answer-is.md")]
    pub mod adr_0024_how_new_an_answer_is {}
    #[doc = include_str!("adr/0025-recovery-from-one-replica.md")]
    pub mod adr_0025_recovery_from_one_replica {}
    #[doc = include_str!("adr/0026-simulation.md")]
    pub mod adr_0026_simulation {}
    #[doc = include_str!("adr/0027-text-is-open-between-sites.md")]
    pub mod adr_0027_text_is_open_between_sites {}
    #[doc = include_str!("adr/0028-the-clock-guard.md")]
    pub mod adr_0028_the_clock_guard {}
}
