//! Starting, wiring and stopping one node.
//!
//! Order of starting: disks, groups (their logs replay), cluster facts, content, store, listeners, outbound mail, admin API.
//! Order of stopping: listeners and their sessions, outbound mail, admin API, background tasks, groups (state flushed). Each task is owned here
//! and joined here.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use aws_lc_rs::rand;
use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::Token;
use securanet_blob::{
    intake::{Intake, IntakeSettings},
    keys::ContentKeys,
};
use securanet_gateway::{
    client::StoreClient,
    clock,
    connection::{DrainHandle, Protocol, Shutdown},
    listener::{self, Listener, ListenerSettings},
    login::{Authenticator, LoginSettings, password::Password},
    model::directory::{Cluster, DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
    tls::{self, CertificateFiles, ClientCertificates, TlsSettings},
};
use securanet_imap::{Imap, ImapSettings};
use securanet_pop3::Pop3;
use securanet_raft::{Groups, Settings, Stores};
use securanet_smtp::{Service, Smtp, SmtpSettings};
use serde::{Deserialize, Serialize};
use tokio::{signal::unix::SignalKind, task::JoinSet, time::timeout};

use crate::{
    addresses,
    config::{self, BareNewline, Config, Speaks, Tls},
    content::ContentCare,
    disk::DiskWatch,
    front::Front,
    nodeport::NodePort,
    replace::{Readers, replace},
    telemetry,
};

/// Everything must have stopped this long after a signal, or the process ends anyway: nothing acknowledged is lost.
const STOP_PATIENCE: Duration = Duration::from_secs(45);
/// Groups of a node alone elect themselves at once; replaying a long log takes longer than anything else here.
const START_PATIENCE: Duration = Duration::from_secs(600);

/// A node that runs.
pub(crate) struct Running {
    drain: DrainHandle,
    tasks: JoinSet<()>,
    groups: Groups,
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

/// `securanet run`
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    start(config).await?.until_stopped().await
}

/// What `check-config` tries beyond reading: certificates load.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    config.listener.iter().try_for_each(|listener| tls_of(config, listener).map(drop))?;
    config.delivery.check()
}

/// Starts everything.
pub(crate) async fn start(config: Config) -> anyhow::Result<Running> {
    telemetry::start_log(&config.log)?;
    let metrics = telemetry::start_metrics()?;
    securanet_delivery::metric::describe();
    securanet_gateway::metric::describe();
    securanet_imap::metric::describe();
    securanet_pop3::describe();
    securanet_raft::metric::describe();
    securanet_smtp::metric::describe();
    metrics::describe_gauge!("securanet_disk_free_bytes", "free space where the data directory is");
    metrics::describe_counter!("securanet_blobs_collected_total", "blobs that nothing referred to and that are gone");
    let data = &config.data_directory;
    fs::create_dir_all(data).with_context(|| format!("data_directory {}", data.display()))?;
    let shards = check_data_directory(data, config.store.shards)?;
    let disk = DiskWatch::new(data, config.store.disk_reserve_bytes).with_context(|| format!("{}", data.display()))?;
    let (drain, shutdown) = DrainHandle::new();

    let stores = Stores::open(data, config.store.cache_bytes)
        .with_context(|| format!("{}: cannot be opened; is another securanet running on it?", data.display()))?;
    let settings = Settings::alone(config.hostname.to_string(), shards, Arc::new(clock::now));
    let groups = Groups::open(settings, &stores).await?;
    timeout(START_PATIENCE, groups.ready()).await.context("the groups did not become ready; look at the log above")?;
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
    let client = StoreClient::new(Arc::new(front));
    let care = ContentCare::new(groups.clone(), &stores, ContentKeys::new(cluster.content_key));

    let mut tasks = JoinSet::new();
    tasks.spawn(disk.clone().run(shutdown.clone()));
    tasks.spawn(care.clone().collect_until(shutdown.clone()));
    let bound = listeners(&config, &client, &shutdown, &mut tasks).await?;
    if config.delivery.enabled {
        tasks.spawn(config.delivery.worker(&config.hostname, client.clone())?.run(shutdown.clone()));
    }
    let port = NodePort {
        hostname: config.hostname.to_string(),
        cluster: cluster.id,
        stores: stores.clone(),
        client: client.clone(),
        groups: groups.clone(),
        disk,
        care,
        metrics: metrics.clone(),
        routes: config.delivery.routes(),
        shutdown: shutdown.clone(),
    };
    let admin = admin(&config, client, port, &shutdown, &mut tasks).await?;
    tasks.spawn(upkeep(metrics, shutdown.clone()));
    addresses::write(data, admin, &bound).with_context(|| format!("{}", data.display()))?;
    tracing::info!(hostname = %config.hostname, version = env!("CARGO_PKG_VERSION"), shards, "ready");
    Ok(Running { drain, tasks, groups })
}

/// Histograms of the recorder grow until they are drained; scrapes do it too, but nobody must scrape.
async fn upkeep(metrics: PrometheusHandle, shutdown: Shutdown) {
    let draining = shutdown.draining();
    tokio::pin!(draining);
    loop {
        tokio::select! {
            () = &mut draining => return,
            () = tokio::time::sleep(Duration::from_secs(5)) => metrics.run_upkeep(),
        }
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
    crate::front::commit(groups, initialise).await.and_then(|reply| match reply {
        DirectoryReply::Refused(refusal) => bail!("the directory refused to be initialised: {refusal}"),
        _ => Ok(()),
    })?;
    match ask().await? {
        Answer::Directory(DirectoryAnswer::Cluster(Some(cluster))) => Ok(cluster),
        other => bail!("the directory has no cluster facts after it was initialised: {other:?}"),
    }
}

fn tls_of(config: &Config, listener: &config::Listener) -> anyhow::Result<Option<Arc<TlsSettings>>> {
    if listener.tls == Tls::None {
        return Ok(None);
    }
    let chosen = |name: &String| listener.certificates.is_empty() || listener.certificates.contains(name);
    let files = config.certificate.iter().filter(|certificate| chosen(&certificate.name));
    let files = files.map(|certificate| CertificateFiles {
        certificate: certificate.certificate_file.clone(),
        key: certificate.key_file.clone(),
        names: Vec::new(),
    });
    let clients = if listener.client_certificates { ClientCertificates::Asked } else { ClientCertificates::Ignored };
    Ok(Some(TlsSettings::load(&listener.name, files.collect(), clients)?))
}

fn listener_settings(listener: &config::Listener) -> ListenerSettings {
    let meaning = |bare: BareNewline| match bare {
        BareNewline::Normalise => listener::BareNewline::Normalise,
        BareNewline::Reject => listener::BareNewline::Reject,
    };
    let other = match listener.bare_newline {
        BareNewline::Normalise => BareNewline::Reject,
        BareNewline::Reject => BareNewline::Normalise,
    };
    ListenerSettings {
        implicit_tls: listener.tls == Tls::Implicit,
        proxy_networks: listener.proxy_networks.clone(),
        trusted_networks: listener.trusted_networks.clone(),
        connections_max: listener.connections_max,
        connections_per_address_max: listener.connections_per_address_max,
        bare_newline: meaning(listener.bare_newline),
        bare_newline_networks: listener
            .bare_newline_exceptions
            .iter()
            .map(|network| (*network, meaning(other)))
            .collect(),
        ..ListenerSettings::new(&listener.name, listener.address)
    }
}

async fn listeners(
    config: &Config,
    client: &StoreClient,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Vec<(String, SocketAddr)>> {
    let smtp = |service: Service| SmtpSettings {
        service,
        message_size_bytes_max: config.store.message_size_bytes_max,
        ..SmtpSettings::new(config.hostname.clone())
    };
    let authenticator = Authenticator::new(client.clone(), LoginSettings::default())?;
    let mx: Arc<dyn Protocol> = Arc::new(Smtp::new(client.clone(), smtp(Service::Exchange)));
    let lmtp: Arc<dyn Protocol> = Arc::new(Smtp::new(client.clone(), smtp(Service::Lmtp)));
    let submission = Smtp::submission(client.clone(), authenticator.clone(), smtp(Service::Submission));
    let submission: Arc<dyn Protocol> = Arc::new(submission);
    let imap_settings =
        ImapSettings { message_size_bytes_max: config.store.message_size_bytes_max, ..ImapSettings::default() };
    let imap: Arc<dyn Protocol> = Arc::new(Imap::new(client.clone(), authenticator.clone(), imap_settings));
    let pop3: Arc<dyn Protocol> = Pop3::new(client.clone(), authenticator);
    let mut bound = Vec::new();
    let mut certificates = Vec::new();
    for listener in &config.listener {
        let protocol = match listener.protocol {
            Speaks::Smtp => mx.clone(),
            Speaks::Lmtp => lmtp.clone(),
            Speaks::Submission => submission.clone(),
            Speaks::Imap => imap.clone(),
            Speaks::Pop3 => pop3.clone(),
        };
        let tls = tls_of(config, listener)?;
        certificates.extend(tls.clone());
        let open = Listener::bind(listener_settings(listener), tls, protocol, shutdown.clone())?;
        bound.push((listener.name.clone(), open.local_address()));
        tasks.spawn(open.serve());
    }
    tasks.spawn(tls::watch(certificates, shutdown.clone()));
    Ok(bound)
}

fn admin_token(file: &PathBuf) -> anyhow::Result<Token> {
    if !file.exists() {
        let secret = Password::generate()?;
        let text = format!("{}\n", secret.expose());
        replace(file, &text, Readers::Owner).with_context(|| format!("{}", file.display()))?;
    }
    let secret = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
    Token::new(secret.trim()).with_context(|| {
        format!("{}: an admin token has at least 16 characters; remove the file to get a new one", file.display())
    })
}

async fn admin(
    config: &Config,
    client: StoreClient,
    port: NodePort,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<SocketAddr> {
    let token = admin_token(&config.token_file())?;
    let socket = tokio::net::TcpListener::bind(config.admin.address)
        .await
        .with_context(|| format!("admin.address {}: choose another in the node file", config.admin.address))?;
    let address = socket.local_addr()?;
    let router = securanet_admin::router(client, Arc::new(port), token);
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        if let Err(error) = securanet_admin::serve(socket, router, shutdown).await {
            tracing::error!(%error, "admin api ended");
        }
    });
    Ok(address)
}

impl Running {
    /// Serves until a signal comes, then drains. A second signal ends the process at once.
    pub(crate) async fn until_stopped(mut self) -> anyhow::Result<()> {
        let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
        let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
        let signal = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(signal, "draining");
        self.drain.begin();
        let stopping = timeout(STOP_PATIENCE, self.stop());
        tokio::select! {
            done = stopping => {
                if done.is_err() {
                    tracing::warn!("not everything ended in time; what was acknowledged is durable");
                }
            }
            _ = interrupt.recv() => tracing::warn!("second signal: ending at once"),
            _ = terminate.recv() => tracing::warn!("second signal: ending at once"),
        }
        Ok(())
    }

    async fn stop(&mut self) {
        while self.tasks.join_next().await.is_some() {}
        match self.groups.shutdown().await {
            Ok(()) => tracing::info!("stopped"),
            Err(error) => tracing::error!(%error, "the state was not made durable; the log has everything"),
        }
    }
}
