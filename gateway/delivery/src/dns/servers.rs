//! The resolvers that are asked, and whether they answer at all.
//!
//! Each server has a resolver of its own, so that one which answers SERVFAIL for everything does not hide the
//! next one, and so that "nobody answers anything" can be told from "this destination's servers do not answer".

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        dnssec::TrustAnchors,
        op::ResponseCode,
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{
    answer::{self, Failure, Kind, Known},
    settings::DnsSettings,
};
use crate::settings::SettingsError;

/// The outcome of a control question is believed for this long, so that a dead resolver under a full queue is not
/// asked the same for each letter.
const CONTROL_LIFE: Duration = Duration::from_secs(5);

pub(super) struct Servers {
    resolvers: Vec<TokioResolver>,
    /// The one that answered last is asked first.
    first: AtomicUsize,
    control_names: Vec<Name>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When a server last gave an answer that is one.
    answer: Option<Instant>,
    /// When the control names were last asked for, and what came of it.
    control: Option<(Instant, Control)>,
}

/// What our servers make of names that each of them should know.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Control {
    /// None answers, or what answers has no way into the world.
    Silent,
    /// One answers that it does not want to: it serves some zones only, or not us.
    Refused,
    /// One answers.
    Answered,
}

impl Servers {
    pub(super) fn new(settings: &DnsSettings) -> Result<Self, SettingsError> {
        let servers = if settings.servers.is_empty() {
            let (config, _) = read_system_conf().map_err(|error| SettingsError::NoDnsServer(error.to_string()))?;
            config.name_servers
        } else {
            settings.servers.iter().copied().map(server).collect()
        };
        let anchors = anchors(settings)?;
        let resolvers = servers.into_iter().map(|server| resolver(server, settings, anchors.clone()));
        let not_a_name = |name: &String| SettingsError::Name { key: "control_names", name: name.clone() };
        let control_names = settings.control_names.iter().map(|name| absolute(name).ok_or_else(|| not_a_name(name)));
        Ok(Self {
            resolvers: resolvers.collect::<Result<_, _>>()?,
            first: AtomicUsize::new(0),
            control_names: control_names.collect::<Result<_, _>>()?,
            seen: Mutex::default(),
        })
    }

    /// Asks the servers one after another until one of them knows.
    pub(super) async fn ask(&self, name: &str, kind: Kind) -> Result<(Known, Option<Duration>), Failure> {
        let name = absolute(name).ok_or_else(|| Failure::Answered(format!("{name:?} is no name")))?;
        let first = self.first.load(Ordering::Relaxed);
        let mut failure = Failure::Silent("there is no server".to_owned());
        for turn in 0..self.resolvers.len() {
            let at = (first + turn) % self.resolvers.len();
            let lookup = self.resolvers[at].lookup(name.clone(), kind.record_type()).await;
            let records = lookup.as_ref().map(|lookup| lookup.answers()).map_err(Clone::clone);
            match answer::read(kind, records) {
                Ok(known) => {
                    self.first.store(at, Ordering::Relaxed);
                    self.seen.lock().answer = Some(Instant::now());
                    return Ok(known);
                }
                Err(told @ (Failure::Answered(_) | Failure::Bogus | Failure::Refused(_))) => failure = told,
                Err(silent) if matches!(failure, Failure::Silent(_)) => failure = silent,
                Err(_) => {}
            }
        }
        Err(failure)
    }

    /// Whether a question that failed after `since` says something about the name and not about our servers: one of
    /// them gave an answer since, or answers a control question better than this one.
    pub(super) async fn is_theirs(&self, failure: &Failure, since: Instant) -> bool {
        let better = if matches!(failure, Failure::Refused(_)) { Control::Answered } else { Control::Refused };
        {
            let seen = self.seen.lock();
            if seen.answer.is_some_and(|at| at >= since) {
                return true;
            }
            if let Some((at, control)) = seen.control
                && at + CONTROL_LIFE > Instant::now()
            {
                return control >= better;
            }
        }
        let control = self.control().await;
        self.seen.lock().control = Some((Instant::now(), control));
        control >= better
    }

    /// Asks for what any server that reaches the world knows. SERVFAIL is no answer to it: a resolver whose own uplink
    /// is dead says so about everything.
    async fn control(&self) -> Control {
        let mut best = Control::Silent;
        for resolver in &self.resolvers {
            for name in &self.control_names {
                best = best.max(judge(&resolver.lookup(name.clone(), RecordType::SOA).await));
                if best == Control::Answered {
                    return best;
                }
            }
        }
        best
    }
}

const fn judge<T>(lookup: &Result<T, NetError>) -> Control {
    match lookup {
        Err(
            NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail))
            | NetError::Timeout
            | NetError::Io(_)
            | NetError::NoConnections
            | NetError::Busy,
        ) => Control::Silent,
        Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused))) => Control::Refused,
        _ => Control::Answered,
    }
}

fn server(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

fn anchors(settings: &DnsSettings) -> Result<Option<Arc<TrustAnchors>>, SettingsError> {
    let Some(file) = settings.trust_anchor.as_ref().filter(|_| settings.dnssec) else { return Ok(None) };
    let anchors = TrustAnchors::from_file(file)
        .map_err(|error| SettingsError::TrustAnchor { file: file.clone(), why: error.to_string() })?;
    if anchors.is_empty() {
        return Err(SettingsError::TrustAnchor { file: file.clone(), why: "it has no key".to_owned() });
    }
    Ok(Some(Arc::new(anchors)))
}

fn resolver(
    server: NameServerConfig,
    settings: &DnsSettings,
    anchors: Option<Arc<TrustAnchors>>,
) -> Result<TokioResolver, SettingsError> {
    let mut options = ResolverOpts::default();
    options.timeout = settings.timeout / u32::try_from(settings.repeats + 1).unwrap_or(u32::MAX);
    options.attempts = settings.repeats;
    options.validate = settings.dnssec;
    options.use_hosts_file = ResolveHosts::Never;
    // Ours remembers.
    options.cache_size = 0;
    options.num_concurrent_reqs = 1;
    // An alias on the way counts for whether an answer is secure.
    options.preserve_intermediates = true;
    // Many destinations at once are our daily bread.
    options.max_active_requests = 1024;
    let config = ResolverConfig::from_name_servers(vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options);
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(anchors);
    }
    builder.build().map_err(|error| SettingsError::Dns(error.to_string()))
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}
