//! A store on a disk of its own, the service over it, and a gateway's view of it through a link that can be broken.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use securanet_gateway::{
    client::{self, AccountPlace, StoreClient},
    clock,
    connection::{DrainHandle, Shutdown},
    link::{self, Bounds, ClusterId, Credentials, Identity, Link},
    model::{
        Address, Command, DomainName, Execute, GroupId, MailboxId, MailboxName, StoreError, TenantId,
        account::{AccountAnswer, AccountCommand, AccountQuery, AccountRef, AccountReply, AppendMessage},
        content::Ingested,
        directory::{DirectoryCommand, DirectoryReply, Quota},
        dkim::PrivateKey,
        nodes::Authority,
    },
    remote::RemoteStore,
    store::Store,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
    task::{JoinHandle, JoinSet},
};

use crate::{
    cluster::{authority, join::Files, service::Opened},
    config::Config,
    local_store::LocalStore,
    store_service::StoreService,
};

/// Longer than anything here takes on a machine that compiles beside it.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A store and how to reach it.
pub(super) struct World {
    pub(super) local: LocalStore,
    pub(super) drain: DrainHandle,
    _tasks: JoinSet<()>,
    folder: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with("").await
    }

    /// With lines for the section `[store]`.
    pub(super) async fn with(store: &str) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("node.toml");
        let text = format!("data_directory = \"data\"\n[store]\nshards = 1\ncache_bytes = 16_777_216\n{store}");
        fs::write(&file, text).expect("file");
        let config = Config::load(&file).expect("a node file");
        let (drain, shutdown) = DrainHandle::new();
        let mut tasks = JoinSet::new();
        let local = LocalStore::open(&config, &shutdown, &mut tasks).await.expect("a store");
        Self { local, drain, _tasks: tasks, folder }
    }

    /// Ends it before its folder goes: a store that finds its disk gone ends the process.
    pub(super) async fn close(self) {
        self.local.groups.shutdown().await.expect("closed");
    }

    /// The store as gateways in this process see it.
    pub(super) fn near(&self) -> Arc<dyn Store> {
        self.local.front.clone()
    }

    pub(super) fn credentials(&self, node: &str) -> Arc<Credentials> {
        let data = self.folder.path();
        credentials(data, node)
    }

    /// Serves the store of this world under a node's name.
    pub(super) async fn serve(&self, address: &str, node: &str) -> Served {
        Served::start(address, self.credentials(node), self.near()).await
    }

    /// A gateway's view of stores at these addresses.
    pub(super) fn far(&self, addresses: &[String]) -> Far {
        Far::new(self.credentials("gateway"), addresses)
    }
}

/// A certificate of the cluster whose authority is in this folder; made when it is not.
pub(super) fn credentials(folder: &std::path::Path, node: &str) -> Arc<Credentials> {
    let identity = Identity { node: node.parse().expect("a name"), cluster: ClusterId::new([1; 16]) };
    let (certificate, key) = (folder.join("authority.pem"), folder.join("authority.key"));
    if !certificate.exists() {
        let made = authority::make(identity.cluster).expect("authority");
        fs::write(&key, made.key.pkcs8()).expect("written");
        fs::write(&certificate, made.certificate).expect("written");
    }
    let certificate = fs::read_to_string(certificate).expect("read");
    let authority = Authority { certificate, key: PrivateKey::new(fs::read(key).expect("read")) };
    let files = Files::in_directory(&folder.join("nodes").join(node));
    let request = authority::request(&files.key().expect("key"), &identity.node).expect("request");
    files.write(&authority::sign(&authority, &identity, &request).expect("signed")).expect("written");
    files.credentials().expect("credentials")
}

/// A service that listens.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    drain: DrainHandle,
    task: JoinHandle<()>,
}

impl Served {
    pub(super) async fn start(address: &str, credentials: Arc<Credentials>, store: Arc<dyn Store>) -> Self {
        let listener = TcpListener::bind(address).await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (drain, shutdown): (_, Shutdown) = DrainHandle::new();
        let opened: Opened = Arc::default();
        assert!(opened.set(store).is_ok());
        let served = link::Served::to_nodes(StoreService::routes(opened, shutdown.clone()));
        let stop = shutdown.draining();
        let task = tokio::spawn(async move {
            link::serve(listener, credentials, served, Bounds::default(), stop).await.expect("served");
        });
        Self { address, drain, task }
    }

    /// Ends it as a process that is told to stop does.
    pub(super) async fn stop(self) {
        self.drain.begin();
        tokio::time::timeout(PATIENCE, self.task).await.expect("in time").expect("no panic");
    }
}

/// A gateway's view.
pub(super) struct Far {
    pub(super) store: Arc<RemoteStore>,
    keeping: JoinHandle<()>,
}

impl Far {
    pub(super) fn new(credentials: Arc<Credentials>, addresses: &[String]) -> Self {
        let (store, keeping) = RemoteStore::new(&Link::new(credentials), addresses).expect("addresses");
        Self { store, keeping: tokio::spawn(keeping) }
    }

    pub(super) async fn reached(self) -> Self {
        eventually("the stores are reached", || self.store.unreachable().is_empty()).await;
        self
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

/// Waits until something holds.
pub(super) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = tokio::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A connection in the middle of the way that can be cut, or go silent.
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    cut: broadcast::Sender<()>,
    silent: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let (cut, _) = broadcast::channel(1);
        let silent = Arc::new(AtomicBool::new(false));
        let (cutting, silence) = (cut.clone(), silent.clone());
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (mut over, silence) = (cutting.subscribe(), silence.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = over.recv() => {}
                        () = pass(near, target, silence) => {}
                    }
                });
            }
        });
        Self { address, cut, silent, task }
    }

    /// Breaks all connections; new ones are made.
    pub(super) fn cut(&self) {
        self.cut.send(()).ok();
    }

    /// Passes nothing on and says nothing, as a dead link does; or passes again what it held back.
    pub(super) fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(near: TcpStream, target: SocketAddr, silent: Arc<AtomicBool>) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = copy(near_in, far_out, &silent) => {}
        () = copy(far_in, near_out, &silent) => {}
    }
}

async fn copy(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf, silent: &AtomicBool) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        while silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Somebody with a mailbox.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) place: AccountPlace,
    pub(super) inbox: MailboxId,
}

/// Makes a domain of this name with one account.
pub(super) async fn owner(store: &Arc<dyn Store>, domain: &str) -> Owner {
    let client = StoreClient::new(store.clone());
    let name = DomainName::parse(domain).expect("a name");
    let create = DirectoryCommand::CreateDomain { tenant: TenantId::new(1), name };
    assert!(matches!(client.directory(create).await, Ok(DirectoryReply::Domain(_))));
    let create = DirectoryCommand::CreateAccount {
        address: Address::parse(&format!("ann@{domain}")).expect("an address"),
        display_name: "Ann".to_owned(),
        password: None,
        quota: Quota::default(),
    };
    let Ok(DirectoryReply::Account(account)) = client.directory(create).await else { panic!("no account") };
    let place = AccountPlace { group: account.group, account: AccountRef { id: account.id, epoch: account.epoch } };
    let provision =
        AccountCommand::Provision { tenant: account.tenant, domain: account.domain, quota: Quota::default() };
    client.account(place, provision).await.expect("provisioned");
    let query = AccountQuery::MailboxByName(MailboxName::inbox());
    let Ok(AccountAnswer::Mailbox(Some(inbox))) = client.ask_account(place, query).await else { panic!("no INBOX") };
    Owner { place, inbox: inbox.id }
}

/// Takes a message in.
pub(super) async fn put(store: &Arc<dyn Store>, message: &[u8]) -> Result<Ingested, StoreError> {
    let mut sink = store.put(TenantId::new(1), b"Received: here\r\n".to_vec(), Some(message.len() as u64)).await?;
    // In pieces that fit no frame.
    for piece in message.chunks(10_007) {
        sink.write(piece).await?;
    }
    sink.finish().await
}

/// A request that appends a message.
pub(super) fn append(owner: &Owner, ingested: Ingested) -> Execute {
    let messages = vec![AppendMessage { message: ingested.message, flags: Default::default() }];
    request(
        owner.place.group,
        Command::Account(owner.place.account, AccountCommand::Append { mailbox: owner.inbox, messages }),
    )
}

pub(super) fn request(group: GroupId, command: Command) -> Execute {
    let deadline = clock::now().plus_millis(30_000);
    Execute { group, request: client::request_id(), deadline, commands: vec![command] }
}

/// How many messages the INBOX has.
pub(super) async fn count(store: &Arc<dyn Store>, owner: &Owner) -> u64 {
    let client = StoreClient::new(store.clone());
    let query = AccountQuery::MailboxById(owner.inbox);
    match client.ask_account(owner.place, query).await {
        Ok(AccountAnswer::Mailbox(Some(inbox))) => inbox.messages,
        other => panic!("{other:?}"),
    }
}

/// The UID that an append answered.
pub(super) fn appended(outcome: Result<securanet_gateway::store::Executed, StoreError>) -> u32 {
    use securanet_gateway::model::Reply;
    match outcome.expect("committed").replies.as_slice() {
        [Reply::Account(AccountReply::Uids(map))] => map.to[0].get(),
        other => panic!("{other:?}"),
    }
}
