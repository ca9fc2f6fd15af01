//! What a data directory was made with: read before anything in it is opened.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use securanet_gateway::model::{NodeName, ReplicaId};
use securanet_kv::rocks::make_directory;
use serde::{Deserialize, Serialize};

use crate::{
    config::Config,
    replace::{Readers, replace},
};

/// The file's name.
const FILE: &str = "node.json";
/// A node alone; a release that knows no clusters reads it.
const FORMAT_ALONE: u32 = 1;
/// A member of a cluster: a release that would take it for a node alone must not open it.
const FORMAT_MEMBER: u32 = 2;

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DataDirectory {
    /// Of the whole directory's layout.
    format: u32,
    /// Shard groups, fixed when it was made.
    pub(crate) shards: u32,
    /// Which member of a cluster it is of; none: a node alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member: Option<Member>,
}

/// A member of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) node: NodeName,
    /// Its replica id in all groups.
    pub(crate) replica: ReplicaId,
    /// Whether it made the cluster: its groups begin with it.
    pub(crate) founder: bool,
}

impl DataDirectory {
    /// One that is new.
    pub(crate) fn new(shards: u32, member: Option<Member>) -> Self {
        Self { format: if member.is_some() { FORMAT_MEMBER } else { FORMAT_ALONE }, shards, member }
    }

    /// Reads it; none where the directory is new.
    pub(crate) fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let file = data.join(FILE);
        let Ok(text) = fs::read_to_string(&file) else {
            if data.join("log").exists() {
                bail!("{}: there is a log but no {FILE}: restore it from the backup of this directory", data.display());
            }
            return Ok(None);
        };
        let made: Self = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
        if made.format != Self::new(made.shards, made.member.clone()).format {
            bail!(
                "{}: made by a release of format {}; this one reads {FORMAT_ALONE} and {FORMAT_MEMBER}",
                data.display(),
                made.format
            );
        }
        Ok(Some(made))
    }

    /// Writes it.
    pub(crate) fn write(&self, data: &Path) -> anyhow::Result<()> {
        make_directory(data).with_context(|| format!("data_directory {}", data.display()))?;
        let file = data.join(FILE);
        let text = serde_json::to_string(self)? + "\n";
        replace(&file, &text, Readers::Everybody).with_context(|| format!("{}", file.display()))
    }

    /// What a node that starts finds; written for a node alone whose directory is new.
    pub(crate) fn open(data: &Path, config: &Config) -> anyhow::Result<Self> {
        let place = data.display();
        let made = match (Self::read(data)?, &config.cluster) {
            (None, None) => {
                let made = Self::new(config.store.shards, None);
                made.write(data)?;
                made
            }
            (None, Some(_)) => bail!(
                "{place} is new, and the node file has [cluster]: make a cluster with `securanet found`, or come into one \
                 with `securanet join --token TOKEN`, for which `securanet node token` on a store of that cluster gives a \
                 token"
            ),
            (Some(made), cluster) => {
                match (&made.member, cluster) {
                    (None, Some(_)) => bail!(
                        "{place} was made by a node alone, and the node file has [cluster]: `securanet found` makes it the \
                         first node of a cluster"
                    ),
                    (Some(member), None) => {
                        bail!("{place} is of node {} of a cluster: put [cluster] back into the node file", member.node)
                    }
                    (Some(member), Some(cluster)) if member.node != cluster.node => bail!(
                        "{place} is of node {}, and cluster.node says {}: put the old name back, or give another \
                         data_directory",
                        member.node,
                        cluster.node
                    ),
                    _ => {}
                }
                made
            }
        };
        if made.shards != config.store.shards {
            tracing::warn!(
                configured = config.store.shards,
                fixed = made.shards,
                "store.shards is fixed since the first start"
            );
        }
        Ok(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Member {
        Member { node: "a".parse().expect("a name"), replica: ReplicaId::new(3), founder: false }
    }

    fn config(folder: &Path, cluster: &str) -> Config {
        let file = folder.join("node.toml");
        fs::write(&file, format!("data_directory = \"data\"\n{cluster}")).expect("file");
        Config::load(&file).expect("a node file")
    }

    const A: &str = "[cluster]\nnode = \"a\"\naddress = \"127.0.0.1:2600\"\n";

    #[test]
    fn a_directory_is_opened_as_what_it_was_made() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path().join("data");
        let refused = |cluster: &str| {
            let error = DataDirectory::open(&data, &config(folder.path(), cluster)).expect_err("refused");
            error.to_string()
        };
        assert!(refused(A).contains("securanet found") && refused(A).contains("securanet join"));
        let alone = DataDirectory::open(&data, &config(folder.path(), "")).expect("alone");
        assert_eq!(alone, DataDirectory::new(8, None));
        assert_eq!(fs::read_to_string(data.join(FILE)).expect("text"), "{\"format\":1,\"shards\":8}\n");
        assert!(refused(A).contains("made by a node alone"));
        let joined = DataDirectory::new(8, Some(member()));
        joined.write(&data).expect("written");
        assert_eq!(DataDirectory::open(&data, &config(folder.path(), A)).expect("member"), joined);
        assert!(refused("").contains("put [cluster] back"));
        assert!(refused(&A.replace("\"a\"", "\"b\"")).contains("is of node a, and cluster.node says b"));
    }

    #[test]
    fn what_is_not_whole_or_of_another_release_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let read = || DataDirectory::read(folder.path()).map_err(|error| error.to_string());
        assert_eq!(read(), Ok(None));
        fs::create_dir(folder.path().join("log")).expect("log");
        assert!(read().expect_err("a log alone").contains("no node.json"));
        for format in [0, 2, 3] {
            fs::write(folder.path().join(FILE), format!("{{\"format\":{format},\"shards\":8}}")).expect("file");
            assert!(read().expect_err("format").contains(&format!("format {format}")));
        }
    }
}
