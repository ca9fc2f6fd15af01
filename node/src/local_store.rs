//! The store of this process: its disks, its groups, and what looks after them.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use securanet_blob::{
    intake::{Intake, IntakeSettings},
    keys::ContentKeys,
};
use securanet_gateway::{
    clock,
    connection::Shutdown,
    model::directory::{Cluster, DirectoryAnswer, DirectoryQuery},
};
use securanet_kv::rocks::make_directory;
use securanet_raft::{Groups, Settings, Stores};
use tokio::{task::JoinSet, time::timeout};

use crate::{
    cluster::{
        member::{self, Place},
        membership::DataDirectory,
    },
    config::Config,
    content::ContentCare,
    disk::DiskWatch,
    front::Front,
    report::Reporter,
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
    /// Says how it is.
    pub(crate) reporter: Arc<Reporter>,
    /// Its place among other nodes; none of a node alone.
    pub(crate) place: Option<Arc<Place>>,
}

impl LocalStore {
    /// Order: disks, groups (their logs replay), cluster facts, content, front.
    pub(crate) async fn open(config: &Config, shutdown: &Shutdown, tasks: &mut JoinSet<()>) -> anyhow::Result<Self> {
        let data = config.data_directory.as_deref().context("data_directory: a store needs one")?;
        make_directory(data).with_context(|| format!("data_directory {}", data.display()))?;
        let DataDirectory { shards, member, .. } = DataDirectory::open(data, config)?;
        let disk =
            DiskWatch::new(data, config.store.disk_reserve_bytes).with_context(|| format!("{}", data.display()))?;
        let stores = Stores::open(data, config.store.cache_bytes)
            .with_context(|| format!("{}: cannot be opened; is another securanet running on it?", data.display()))?;
        let place = match (&config.cluster, member) {
            (Some(cluster), Some(member)) => Some(Arc::new(Place::new(config, cluster, member)?)),
            _ => None,
        };
        let settings = match &place {
            Some(place) => place.settings(shards),
            None => Settings::alone(config.hostname.to_string(), shards, Arc::new(clock::now)),
        };
        let groups = Groups::open(settings, &stores).await?;
        let reporter = Reporter::new(groups.clone(), disk.clone());
        let cluster = match &place {
            Some(place) => Box::pin(place.begin((&groups, &reporter), shards, shutdown, tasks)).await?,
            None => facts_alone(&groups, shards).await?,
        };
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
        tasks.spawn(reporter.clone().measure_until(shutdown.clone()));
        tasks.spawn(care.clone().collect_until(shutdown.clone()));
        let front = Arc::new(front);
        if let Some(place) = &place {
            place.open(front.clone(), &groups, shutdown, tasks);
        }
        tracing::info!(shards, "store open");
        Ok(Self { front, groups, stores, disk, care, cluster, reporter, place })
    }
}

/// The facts of a node alone; made when the directory is empty.
async fn facts_alone(groups: &Groups, shards: u32) -> anyhow::Result<Cluster> {
    let ready = timeout(START_PATIENCE, groups.ready()).await;
    ready.context("the groups did not become ready; look at the log above")?;
    loop {
        if let DirectoryAnswer::Cluster(Some(cluster)) = member::as_it_is(groups, DirectoryQuery::Cluster).await? {
            return Ok(cluster);
        }
        member::make_facts(groups, shards).await?;
    }
}
