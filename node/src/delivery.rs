//! Outbound mail on this node: its part of the node's file, and the worker made of it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use anyhow::Context;
use securanet_delivery::{
    client::{Client, ClientSettings},
    dns::{Dns, DnsSettings},
    report::ReportNames,
    route::{RouteSettings, Router, RouterSettings, TimesSettings},
    tls::policy::{Policies, PolicySettings},
    tls_report::{Tally, TlsReportSettings, TlsReporter},
    worker::{Worker, WorkerSettings},
};
use securanet_gateway::{client::StoreClient, connection::Shutdown, model::DomainName};
use serde::Deserialize;

use crate::{cluster::homes::Homes, own_addresses};

/// Where the demo's mail for the world goes: nobody listens there unless the user does.
pub(crate) const DEMO_SINK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2526);
/// RFC 1035 4.2: where a resolver of this machine would be.
const LOCAL_RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// Mail on its way out.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Delivery {
    /// Whether this node delivers. Otherwise mail waits for one that does.
    pub(crate) enabled: bool,
    /// Which servers are asked for names, and what is believed.
    pub(crate) dns: DnsSettings,
    /// Routes and smarthosts, and what is never connected to.
    pub(crate) routing: RouterSettings,
    /// Who we are to other servers, whom we trust, how long we wait.
    pub(crate) client: ClientSettings,
    /// Which policies of destinations about TLS are kept to.
    pub(crate) tls: PolicySettings,
    /// Whether destinations that ask for it are told how TLS with them went.
    pub(crate) tls_reports: TlsReportSettings,
    /// How much at a time.
    pub(crate) worker: WorkerSettings,
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            enabled: true,
            dns: DnsSettings::default(),
            routing: RouterSettings::default(),
            client: ClientSettings::default(),
            tls: PolicySettings::default(),
            tls_reports: TlsReportSettings::default(),
            worker: WorkerSettings::default(),
        }
    }
}

impl Delivery {
    /// Fills in what the node's name decides where nothing else is said.
    pub(crate) fn named(&mut self, hostname: &DomainName) {
        if self.client.helo_name == ClientSettings::default().helo_name {
            hostname.as_str().clone_into(&mut self.client.helo_name);
        }
        let itself = hostname.as_str().to_owned();
        if !self.routing.self_names.contains(&itself) {
            self.routing.self_names.push(itself);
        }
    }

    /// Adds the addresses at which the world gives us mail to those that are ourselves.
    pub(crate) fn serves(&mut self, listeners: impl Iterator<Item = IpAddr>) {
        let ours = &mut self.routing.self_addresses;
        for address in listeners.flat_map(own_addresses::behind) {
            if !ours.contains(&address) {
                ours.push(address);
            }
        }
    }

    /// Sends everything to a port of this machine instead of into the world, whatever routes there are.
    pub(crate) fn stay_here(&mut self, sink: SocketAddr) {
        let route = RouteSettings {
            name: "here".to_owned(),
            recipient_domains: vec!["*".to_owned()],
            senders: Vec::new(),
            hosts: vec![format!("[{}]:{}", sink.ip(), sink.port())],
            port: None,
            tls: None,
            implicit_tls: false,
            certificate_names: Vec::new(),
            login: None,
            source_addresses: Vec::new(),
            helo_name: None,
            queue: TimesSettings::default(),
        };
        self.routing.routes = vec![route];
        // No name is asked for, so a machine without a network will do.
        self.dns.servers = vec![LOCAL_RESOLVER];
        self.tls.mta_sts = false;
        self.tls_reports.enabled = false;
    }

    /// The names of the routes that mail may wait with; none where this node does not deliver.
    pub(crate) fn routes(&self) -> Option<Vec<String>> {
        let routes = self.routing.routes.iter().filter(|route| !route.hosts.is_empty());
        self.enabled.then(|| routes.map(|route| route.name.clone()).collect())
    }

    /// What delivers, or why nothing can.
    pub(crate) fn worker(
        &self,
        hostname: &DomainName,
        store: StoreClient,
        homes: Option<Arc<Homes>>,
    ) -> anyhow::Result<Outlet> {
        let tally = self.tls_reports.enabled.then(|| Arc::new(Tally::default()));
        let (dns, router, client) = self.parts(Some(store.clone()), tally.clone())?;
        let hostname = hostname.as_str();
        let reporter = match tally {
            Some(tally) => {
                let means = (dns, &router, self.client.roots.as_deref());
                let reporter = TlsReporter::new(&self.tls_reports, hostname, tally, store.clone(), means);
                Some(reporter.context("delivery.tls_reports")?)
            }
            None => None,
        };
        let names = ReportNames { hostname: hostname.to_owned() };
        let mut worker = Worker::new(store, router, client, names, self.worker.clone());
        if let Some(homes) = homes {
            worker = worker.prefers(move |group| homes.has(group));
        }
        Ok(Outlet { worker, reporter })
    }

    /// Reads what the settings name: certificates, trust anchors, the system's resolvers.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        self.tls_reports.check().context("delivery.tls_reports")?;
        if self.enabled { self.parts(None, None).map(drop) } else { Ok(()) }
    }

    fn parts(&self, store: Option<StoreClient>, tally: Option<Arc<Tally>>) -> anyhow::Result<(Dns, Router, Client)> {
        let dns = Dns::new(&self.dns).context("delivery.dns")?;
        let roots = self.client.roots.as_deref();
        let client = Client::new(self.client.clone()).context("delivery.client")?;
        let policies = Policies::load(&self.tls, self.dns.dnssec, roots, store).context("delivery.tls")?;
        let policies = policies.with_tally(tally);
        let router = Router::new(self.routing.clone(), dns.clone(), policies).context("delivery.routing")?;
        Ok((dns, router, client))
    }
}

/// Mail on its way out, and what is told of it.
pub(crate) struct Outlet {
    worker: Worker,
    reporter: Option<TlsReporter>,
}

impl Outlet {
    /// Works until the node drains.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let report = async {
            if let Some(reporter) = self.reporter {
                reporter.run(shutdown.clone()).await;
            }
        };
        tokio::join!(self.worker.run(shutdown.clone()), report);
    }
}
