//! The store of this process: its disks, its groups, and what looks after them.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use aws_lc_rs::rand;
use securanet_blob::{
    intake::{Intake, IntakeSettings},
    keys::ContentKeys,
};
use securanet_gateway::{
    clock,
    connection::Shutdown,
    model::directory::{Cluster, DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
};
use securanet_raft::{Groups, Settings, Stores};
use serde::{Deserialize, Serialize};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    config::Config,
    content::ContentCare,
    disk::DiskWatch,
    front::{self, Front},
    replace::{Readers, replace},
};

/// Groups of a node alone elect themselves at once; replaying a long log takes longer than anything else here.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// A store that is open.
pub(crate) struct LocalStore {
    /// As gateways see it.
    pub(crate) front: Arc<Front>,
    /// Its groups.
    pub(crate) groups: Groups,
    /// Its disks.
    pub(crate) stores: Stores,
    /// Its free space.
    pub(crate) disk: Arc<DiskWatch>,
    /// Its blobs.
    pub(crate) care: Arc<ContentCare>,
    /// The cluster's facts.
    pub(crate) cluster: Cluster,
}

/// What a data directory was made with; read before anything in it is opened.
#[derive(Serialize, Deserialize)]
struct DataDirectory {
    /// Of the whole directory's layout.
    format: u32,
    /// Shard groups, fixed when it was made.
    shards: u32,
}

const DATA_FORMAT: u32 = 1;

impl LocalStore {
    /// Order: disks, groups (their logs replay), cluster facts, content, front.
    pub(crate) async fn open(config: &Config, shutdown: &Shutdown, tasks: &mut JoinSet<()>) -> anyhow::Result<Self> {
        let data = config.data_directory.as_deref().context("data_directory: a store needs one")?;
        fs::create_dir_all(data).with_context(|| format!("data_directory {}", data.display()))?;
        let shards = check_data_directory(data, config.store.shards)?;
        let disk =
            DiskWatch::new(data, config.store.disk_reserve_bytes).with_context(|| format!("{}", data.display()))?;
        let stores = Stores::open(data, config.store.cache_bytes)
            .with_context(|| format!("{}: cannot be opened; is another securanet running on it?", data.display()))?;
        let settings = Settings::alone(config.hostname.to_string(), shards, Arc::new(clock::now));
        let groups = Groups::open(settings, &stores).await?;
        let ready = timeout(START_PATIENCE, groups.ready()).await;
        ready.context("the groups did not become ready; look at the log above")?;
        let cluster = cluster_facts(&groups, shards).await?;
        let intake = Intake::new(
            stores.blobs.clone(),
            ContentKeys::new(cluster.content_key),
            IntakeSettings {
                message_size_bytes_max: config.store.message_size_bytes_max,
                memory_bytes_max: config.store.transit_memory_bytes_max,
            },
        );
        let front = Front::new(groups.clone(), intake, stores.blobs.clone(), disk.clone(), shutdown.clone());
        let care = ContentCare::new(groups.clone(), &stores, ContentKeys::new(cluster.content_key));
        tasks.spawn(disk.clone().run(shutdown.clone()));
        tasks.spawn(care.clone().collect_until(shutdown.clone()));
        tracing::info!(shards, "store open");
        Ok(Self { front: Arc::new(front), groups, stores, disk, care, cluster })
    }
}

fn check_data_directory(data: &Path, shards: u32) -> anyhow::Result<u32> {
    let file = data.join("node.json");
    let Ok(text) = fs::read_to_string(&file) else {
        if fs::read_dir(data)?.next().is_some_and(|_| data.join("log").exists()) {
            bail!("{}: there is a log but no node.json: restore it from the backup of this directory", data.display());
        }
        let text = serde_json::to_string(&DataDirectory { format: DATA_FORMAT, shards })? + "\n";
        replace(&file, &text, Readers::Everybody).with_context(|| format!("{}", file.display()))?;
        return Ok(shards);
    };
    let made: DataDirectory = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    if made.format != DATA_FORMAT {
        bail!("{}: made by a release of format {}, this one reads {DATA_FORMAT}", data.display(), made.format);
    }
    if made.shards != shards {
        tracing::warn!(configured = shards, fixed = made.shards, "store.shards is fixed since the first start");
    }
    Ok(made.shards)
}

/// The cluster's facts; made when the directory is empty.
async fn cluster_facts(groups: &Groups, shards: u32) -> anyhow::Result<Cluster> {
    use securanet_gateway::model::{Answer, GroupId, Query};
    let ask = || groups.query(GroupId::DIRECTORY, Query::Directory(DirectoryQuery::Cluster), None);
    if let Answer::Directory(DirectoryAnswer::Cluster(Some(cluster))) = ask().await? {
        return Ok(cluster);
    }
    let mut secret = [0; 80];
    rand::fill(&mut secret).map_err(|_| anyhow::anyhow!("the system gives no random numbers"))?;
    let part = |from: usize| -> [u8; 32] { std::array::from_fn(|at| secret[from + at]) };
    let initialise = DirectoryCommand::Initialise {
        cluster: std::array::from_fn(|at| secret[at]),
        content_key: part(16),
        login_key: part(48),
        shards,
    };
    front::commit(groups, initialise).await.and_then(|reply| match reply {
        DirectoryReply::Refused(refusal) => bail!("the directory refused to be initialised: {refusal}"),
        _ => Ok(()),
    })?;
    match ask().await? {
        Answer::Directory(DirectoryAnswer::Cluster(Some(cluster))) => Ok(cluster),
        other => bail!("the directory has no cluster facts after it was initialised: {other:?}"),
    }
}
