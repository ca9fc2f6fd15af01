//! `securanet found` and `securanet join`: how a node becomes a member of a cluster, before it runs.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, bail};
use rcgen::KeyPair;
use securanet_gateway::{
    link::{Credentials, JoinTicket, LinkError, LinkFiles, stranger},
    model::{ReplicaId, nodes::NodeFacts},
};
use securanet_kv::rocks::make_directory;
use securanet_wire::enrolment::{
    Certificate, JoinAsk, MESSAGE_BYTES_MAX, Welcome, join_to_wire, joined_from_wire,
    proto::enrolment_client::EnrolmentClient,
};
use tokio::time::timeout;

use super::{
    authority,
    known::{Known, KnownNode},
    membership::{DataDirectory, Member},
};
use crate::{
    config::Config,
    replace::{Readers, replace},
    roles::Cluster,
};

/// One store has so long to let a node in: a commit, and then some.
const JOIN_PATIENCE: Duration = Duration::from_secs(45);

/// Where a node's key and certificate are.
#[derive(Clone)]
pub(crate) struct Files(LinkFiles);

impl Files {
    /// In this folder.
    pub(crate) fn in_directory(folder: &Path) -> Self {
        Self(LinkFiles {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            authority: folder.join("authority.pem"),
        })
    }

    /// Whether the node has a certificate.
    pub(crate) fn has_certificate(&self) -> bool {
        self.0.certificate.exists()
    }

    /// The node's key; made when there is none, so that a node whose answer was lost asks again with the same.
    pub(crate) fn key(&self) -> anyhow::Result<KeyPair> {
        let file = &self.0.key;
        if !file.exists() {
            let folder = file.parent().unwrap_or(Path::new("."));
            make_directory(folder).with_context(|| format!("{}", folder.display()))?;
            let key = KeyPair::generate()?;
            replace(file, &key.serialize_pem(), Readers::Owner).with_context(|| format!("{}", file.display()))?;
        }
        let pem = fs::read_to_string(file).with_context(|| format!("{}", file.display()))?;
        KeyPair::from_pem(&pem).with_context(|| format!("{}", file.display()))
    }

    /// Writes certificates that belong to the key, and sees that they can be used. The node's own comes last: it says that
    /// the node has come in.
    pub(crate) fn write(&self, new: &Certificate) -> anyhow::Result<()> {
        for (file, pem) in [(&self.0.authority, &new.authority), (&self.0.certificate, &new.certificate)] {
            replace(file, pem, Readers::Everybody).with_context(|| format!("{}", file.display()))?;
        }
        self.credentials().map(drop)
    }

    /// Reads them.
    pub(crate) fn credentials(&self) -> anyhow::Result<Arc<Credentials>> {
        Credentials::load(self.0.clone()).context("the node's certificate in its cluster")
    }
}

/// What the node says of itself.
pub(crate) fn facts(config: &Config, cluster: &Cluster) -> NodeFacts {
    NodeFacts {
        name: cluster.node.clone(),
        site: cluster.site.clone(),
        store: config.is_store(),
        gateway: config.is_gateway(),
        address: cluster.advertised(),
    }
}

fn cluster_of(config: &Config) -> anyhow::Result<&Cluster> {
    config.cluster.as_ref().context("the node file has no [cluster]: give `node`, `site` and where the node is")
}

/// `securanet found`
pub(crate) fn found(config_file: &Path) -> anyhow::Result<()> {
    let config = Config::load(config_file)?;
    let shards = make_founder(&config).with_context(|| config_file.display().to_string())?;
    println!("{} will make a new cluster of {shards} shards when it runs:", who(&config)?);
    println!("  securanet run --config {}", config_file.display());
    println!("Then, for each node that is to come in, get a token:");
    println!("  securanet node token --config {}", config_file.display());
    Ok(())
}

/// `securanet join`
pub(crate) async fn join(config_file: &Path, token: &str) -> anyhow::Result<()> {
    let config = Config::load(config_file)?;
    come_in(&config, token).await?;
    println!("{} has come in:", who(&config)?);
    println!("  securanet run --config {}", config_file.display());
    Ok(())
}

fn who(config: &Config) -> anyhow::Result<String> {
    let cluster = cluster_of(config)?;
    Ok(format!("node {} at site {}", cluster.node, cluster.site))
}

/// Makes a store the founder of a cluster; how many shards that has.
pub(crate) fn make_founder(config: &Config) -> anyhow::Result<u32> {
    let cluster = cluster_of(config)?;
    let data = config.data_directory.as_deref().context("a cluster is made by a store: add \"store\" to `roles`")?;
    let shards = match DataDirectory::read(data)? {
        None => config.store.shards,
        Some(DataDirectory { member: None, shards, .. }) => shards,
        Some(DataDirectory { member: Some(member), .. }) => {
            bail!("{}: it is of node {} of a cluster already; nothing was changed", data.display(), member.node)
        }
    };
    let member = Member { node: cluster.node.clone(), replica: ReplicaId::new(1), founder: true };
    DataDirectory::new(shards, Some(member)).write(data)?;
    Ok(shards)
}

/// Lets a node come into a cluster.
pub(crate) async fn come_in(config: &Config, token: &str) -> anyhow::Result<()> {
    let ticket: JoinTicket = token.parse()?;
    let cluster = cluster_of(config)?;
    let folder = cluster.folder(config)?;
    let files = Files::in_directory(&folder);
    match &config.data_directory {
        Some(data) => check_empty(data)?,
        None if files.has_certificate() => {
            bail!("{}: it has come in already; remove that file to come in again", files.0.certificate.display())
        }
        None => {}
    }
    let key = files.key()?;
    let certificate_request = authority::request(&key, &cluster.node)?;
    let ask = JoinAsk { secret: ticket.secret, certificate_request, facts: facts(config, cluster) };
    let welcome = ask_each(&ticket, cluster.reach.values(), &ask).await?;
    let known = Known::load(&folder, BTreeMap::new())?;
    let store =
        |address: &String| KnownNode { address: Some(address.clone()), site: None, store: true, removed: false };
    known.remember(welcome.stores.iter().map(|(name, address)| (name.clone(), store(address))).collect())?;
    if let Some(data) = &config.data_directory {
        let replica = welcome.replica.context("the cluster gave this store no replica id")?;
        let member = Member { node: cluster.node.clone(), replica, founder: false };
        DataDirectory::new(welcome.shards, Some(member)).write(data)?;
    }
    files.write(&welcome.certificate)
}

fn check_empty(data: &Path) -> anyhow::Result<()> {
    let place = data.display();
    match DataDirectory::read(data)? {
        None => Ok(()),
        Some(DataDirectory { member: Some(member), .. }) => {
            bail!("{place}: it is of node {} of a cluster already; nothing was changed", member.node)
        }
        Some(DataDirectory { member: None, .. }) => bail!(
            "{place}: it holds the mail of a node alone, which cannot come into another cluster: export its accounts, and \
             join with an empty data_directory"
        ),
    }
}

/// Asks one store after the other until one answers: where the node file says that they are reached, then where the ticket
/// does.
async fn ask_each<'a>(
    ticket: &'a JoinTicket,
    reach: impl Iterator<Item = &'a String>,
    ask: &JoinAsk,
) -> anyhow::Result<Welcome> {
    let mut problems = Vec::new();
    for address in reach.chain(&ticket.addresses) {
        match timeout(JOIN_PATIENCE, ask_one(address, ticket.authority, ask)).await {
            Ok(Ok(outcome)) => return outcome.map_err(|why| anyhow::anyhow!("{address} refuses: {why}")),
            Ok(Err(error)) => problems.push(format!("{error:#}")),
            Err(_) => problems.push(format!("{address}: no answer within {JOIN_PATIENCE:?}")),
        }
    }
    bail!("no store of the cluster could be asked: {}; the token can still be used", problems.join("; "))
}

async fn ask_one(address: &str, authority: [u8; 32], ask: &JoinAsk) -> anyhow::Result<Result<Welcome, String>> {
    let channel = stranger(address, authority).await.map_err(|error: LinkError| anyhow::anyhow!("{error}"))?;
    let mut client = EnrolmentClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let reply = client.join(join_to_wire(ask)).await.with_context(|| address.to_owned())?;
    joined_from_wire(reply.into_inner()).with_context(|| address.to_owned())
}
