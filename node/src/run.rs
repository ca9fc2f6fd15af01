//! Starting, wiring and stopping one node.
//!
//! Order of starting: the store (or the link to stores elsewhere), listeners, outbound mail, the listener for other nodes,
//! admin API. Order of stopping: leadership goes to other nodes, listeners and their sessions, outbound mail, admin API, background tasks, the store. Each task is owned here
//! and joined here.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use securanet_admin::{Node, Token};
use securanet_gateway::{
    client::StoreClient,
    connection::{DrainHandle, Protocol, Shutdown},
    listener::{self, Listener, ListenerSettings},
    login::{Authenticator, LoginSettings, password::Password},
    tls::{self, CertificateFiles, ClientCertificates, TlsSettings},
};
use securanet_imap::{Imap, ImapSettings};
use securanet_pop3::Pop3;
use securanet_smtp::{Service, Smtp, SmtpSettings};
use tokio::{signal::unix::SignalKind, task::JoinSet, time::timeout};

use crate::{
    addresses,
    backend::Backend,
    cluster::join::Files,
    config::{self, BareNewline, Config, Speaks, Tls},
    replace::{Readers, replace},
    report, telemetry,
};

/// Everything must have stopped this long after a signal, or the process ends anyway: nothing acknowledged is lost.
const STOP_PATIENCE: Duration = Duration::from_secs(45);

/// A node that runs.
struct Running {
    drain: DrainHandle,
    tasks: JoinSet<()>,
    backend: Backend,
}

/// `securanet run`
pub(crate) async fn run(config: Config) -> anyhow::Result<()> {
    start(config).await?.until_stopped().await
}

/// What `check-config` tries beyond reading: certificates load.
pub(crate) fn check(config: &Config) -> anyhow::Result<()> {
    config.listener.iter().try_for_each(|listener| tls_of(config, listener).map(drop))?;
    if let Some(cluster) = &config.cluster {
        let files = Files::in_directory(&cluster.folder(config)?);
        if files.has_certificate() {
            files.credentials()?;
        }
    }
    config.delivery.check()
}

/// Starts everything.
async fn start(config: Config) -> anyhow::Result<Running> {
    telemetry::start_log(&config.log)?;
    let metrics = telemetry::start_metrics()?;
    securanet_delivery::metric::describe();
    securanet_gateway::metric::describe();
    securanet_imap::metric::describe();
    securanet_pop3::describe();
    securanet_raft::metric::describe();
    securanet_smtp::metric::describe();
    report::describe();
    metrics::describe_gauge!("securanet_disk_free_bytes", "free space where the data directory is");
    metrics::describe_counter!("securanet_blobs_collected_total", "blobs that nothing referred to and that are gone");
    let (drain, shutdown) = DrainHandle::new();
    let mut tasks = JoinSet::new();
    let backend = Backend::open(&config, &shutdown, &mut tasks).await?;
    let client = backend.client();
    let mut bound = Vec::new();
    if config.is_gateway() {
        bound = listeners(&config, &client, &shutdown, &mut tasks).await?;
        if config.delivery.enabled {
            let outlet = config.delivery.worker(&config.hostname, client.clone(), backend.homes())?;
            tasks.spawn(outlet.run(shutdown.clone()));
        }
    }
    bound.extend(backend.serves_nodes_at().map(|address| ("cluster".to_owned(), address)));
    let port = backend.port(&config, &client, metrics.clone(), &shutdown);
    let admin = admin(&config, client, port, &shutdown, &mut tasks).await?;
    tasks.spawn(upkeep(metrics, shutdown.clone()));
    let folder = config.facts_directory();
    addresses::write(folder, admin, &bound).with_context(|| format!("{}", folder.display()))?;
    tracing::info!(hostname = %config.hostname, version = env!("CARGO_PKG_VERSION"), "ready");
    Ok(Running { drain, tasks, backend })
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
    port: Arc<dyn Node>,
    shutdown: &Shutdown,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<SocketAddr> {
    let token = admin_token(&config.token_file())?;
    let socket = tokio::net::TcpListener::bind(config.admin.address)
        .await
        .with_context(|| format!("admin.address {}: choose another in the node file", config.admin.address))?;
    let address = socket.local_addr()?;
    let router = securanet_admin::router(client, port, token);
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
    async fn until_stopped(mut self) -> anyhow::Result<()> {
        let mut interrupt = tokio::signal::unix::signal(SignalKind::interrupt())?;
        let mut terminate = tokio::signal::unix::signal(SignalKind::terminate())?;
        let signal = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        tracing::info!(signal, "draining");
        self.backend.resign().await;
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
        self.backend.stop().await;
    }
}
