//! `securanet init`: an annotated node file for this machine.
//!
//! It writes nothing that a browser or a mail program would trust: certificates are the operator's. The cluster's
//! secrets and its shards are made when the node first runs.

use std::fs;

use anyhow::{Context, bail};

use crate::cli::Init;

/// The annotated file; also shipped in `deploy/`.
const SAMPLE: &str = include_str!("../../deploy/node.toml");

/// Writes the file, never over one that is there.
pub(crate) fn init(init: &Init) -> anyhow::Result<()> {
    let file = init.directory.join("node.toml");
    if file.exists() {
        bail!("{} exists already; nothing was changed", file.display());
    }
    fs::create_dir_all(&init.directory).with_context(|| format!("{}", init.directory.display()))?;
    fs::write(&file, SAMPLE.replace("mail.example.org", &init.hostname))
        .with_context(|| format!("{}", file.display()))?;
    println!("{} written.", file.display());
    println!("Put the certificate and key of {} where its [[certificate]] says, then:", init.hostname);
    println!("  securanet check-config --config {}", file.display());
    println!("  securanet run --config {}", file.display());
    println!("  securanet domain add DOMAIN --config {}", file.display());
    println!("  securanet account add NAME@DOMAIN --config {}", file.display());
    Ok(())
}
