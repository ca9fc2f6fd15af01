//! `securanet init`: an annotated node file for this machine.
//!
//! It writes nothing that a browser or a mail program would trust: certificates are the operator's. The cluster's
//! secrets and its shards are made when the node first runs.

use std::fs;

use anyhow::{Context, bail};

use crate::cli::Init;

/// The annotated file; also shipped in `deploy/`.
const SAMPLE: &str = include_str!("../../deploy/node.toml");
/// Where the sample keeps its data: what the shipped unit lets it write to.
pub(crate) const DATA_DIRECTORY: &str = "/var/lib/securanet";

/// Writes the file, never over one that is there.
pub(crate) fn init(init: &Init) -> anyhow::Result<()> {
    let file = init.directory.join("node.toml");
    if file.exists() {
        bail!("{} exists already; nothing was changed", file.display());
    }
    fs::create_dir_all(&init.directory).with_context(|| format!("{}", init.directory.display()))?;
    fs::write(&file, text(&init.hostname, &init.data_directory)).with_context(|| format!("{}", file.display()))?;
    println!("{} written.", file.display());
    println!("Put the certificate and key of {} where its [[certificate]] says, then:", init.hostname);
    println!("  securanet check-config --config {}", file.display());
    println!("  securanet run --config {}", file.display());
    println!("  securanet domain add DOMAIN --config {}", file.display());
    println!("  securanet account add NAME@DOMAIN --config {}", file.display());
    Ok(())
}

fn text(hostname: &str, data_directory: &str) -> String {
    SAMPLE.replace("mail.example.org", hostname).replace(DATA_DIRECTORY, data_directory)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    const UNIT: &str = include_str!("../../deploy/securanet.service");

    /// Loads a node file after making the certificate that it names.
    fn load(text: &str) -> Config {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir(folder.path().join("tls")).expect("folder");
        for file in ["tls/certificate.pem", "tls/key.pem"] {
            fs::write(folder.path().join(file), "").expect("file");
        }
        let file = folder.path().join("node.toml");
        fs::write(&file, text).expect("file");
        Config::load(&file).expect("the sample is a node file")
    }

    #[test]
    fn the_shipped_file_keeps_its_data_where_the_shipped_unit_lets_it_write() {
        let config = load(SAMPLE);
        assert!(UNIT.lines().any(|line| line == "ProtectSystem=strict"), "otherwise this test means nothing");
        let state = UNIT.lines().find_map(|line| line.strip_prefix("StateDirectory=")).expect("one folder to write to");
        let data = config.data_directory.clone().expect("it is a store");
        assert_eq!(data, Path::new("/var/lib").join(state));
        assert!(config.token_file().starts_with(&data), "the token is made there");
        assert!(UNIT.contains("--config /etc/securanet/node.toml"));
    }

    #[test]
    fn the_shipped_file_says_what_holds_without_it() {
        let (shipped, default) = (load(SAMPLE).store, crate::config::Store::default());
        assert_eq!((shipped.cache_bytes, shipped.shards), (default.cache_bytes, default.shards));
        assert_eq!(shipped.message_size_bytes_max, default.message_size_bytes_max);
    }

    #[test]
    fn a_written_file_has_the_name_and_the_folder_that_were_given() {
        let config = load(&text("mx.example.net", "data"));
        assert_eq!(config.hostname.to_string(), "mx.example.net");
        assert!(config.data_directory.is_some_and(|data| data.ends_with("data") && data.is_absolute()));
    }
}
