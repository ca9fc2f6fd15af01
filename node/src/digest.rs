//! `securanet digest`: what the replicas of a stopped store hold.

use std::path::Path;

use anyhow::Context;

use crate::{commands::print_table, config::Config};

const COLUMNS: [(&str, &str); 5] = [
    ("group", "group"),
    ("applied", "applied_index"),
    ("term", "applied_term"),
    ("rows", "rows"),
    ("digest of its truth", "digest"),
];

/// `securanet digest`
pub(crate) fn digest(config_file: &Path, json: bool) -> anyhow::Result<()> {
    let config = Config::load(config_file)?;
    let data = config.data_directory.as_deref().context("a gateway alone keeps nothing: ask a store")?;
    let digests = securanet_raft::digests(data).context("the node must not run")?;
    let rows = serde_json::to_value(digests)?;
    if json {
        println!("{rows}");
    } else {
        print_table(&COLUMNS, rows.as_array().map_or(&[][..], Vec::as_slice));
    }
    Ok(())
}
