//! The login as a whole, over a scripted directory.

mod mechanisms;
mod passwords;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use securanet_model::{
    AccountId, Address, Answer, AppPasswordId, DomainId, EmailId, Epoch, Execute, Freshness, GroupId, Query,
    StoreError, TenantId, UnixMillis,
    account::AccountRef,
    directory::{
        Account, AccountStatus, AppPassword, Cluster, Credentials, DirectoryAnswer, DirectoryQuery, Quota, Verifiers,
    },
    request::Topic,
};
use tokio::{sync::watch, time::Instant};

use super::*;
use crate::{
    client::StoreClient,
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

/// A directory of a few accounts.
struct Directory {
    by_name: Mutex<HashMap<String, Credentials>>,
    /// What the nearest replica has, while it is behind.
    behind: Mutex<Option<HashMap<String, Credentials>>>,
    changes: watch::Sender<u64>,
    asked: AtomicUsize,
    scram_allowed: bool,
    app_passwords_allowed: AtomicBool,
}

impl Directory {
    fn new() -> Arc<Self> {
        let by_name = Mutex::new(HashMap::from([("ann@example.org".to_owned(), ann())]));
        Arc::new(Self {
            by_name,
            behind: Mutex::default(),
            changes: watch::Sender::new(1),
            asked: AtomicUsize::new(0),
            scram_allowed: true,
            app_passwords_allowed: AtomicBool::new(true),
        })
    }

    /// Changes what is kept of ann, as a command would, and tells.
    fn change(&self, change: impl FnOnce(&mut Credentials)) {
        if let Some(credentials) = self.by_name.lock().get_mut("ann@example.org") {
            change(credentials);
        }
        self.changes.send_modify(|index| *index += 1);
    }

    fn answer(&self, query: DirectoryQuery, freshness: Freshness) -> DirectoryAnswer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let by_name = match self.behind.lock().clone() {
            Some(behind) if freshness != Freshness::Now => behind,
            _ => self.by_name.lock().clone(),
        };
        match query {
            DirectoryQuery::Credentials(name) => {
                // The only domain's, as the directory completes it.
                let name = if name.contains('@') { name } else { format!("{name}@example.org") };
                let mut found = by_name.get(&name).cloned().map(Box::new);
                if !self.app_passwords_allowed.load(Ordering::SeqCst) {
                    found.iter_mut().for_each(|found| found.app_passwords.clear());
                }
                DirectoryAnswer::Credentials(found)
            }
            DirectoryQuery::AccountById(id) => {
                let found = by_name.values().find(|credentials| credentials.account.id == id);
                DirectoryAnswer::Account(found.map(|credentials| credentials.account.clone()))
            }
            DirectoryQuery::Policy(key, _) if key == "account.app_passwords" => {
                let allowed = self.app_passwords_allowed.load(Ordering::SeqCst);
                DirectoryAnswer::Policy(Some((allowed.to_string(), None)))
            }
            DirectoryQuery::Domains(_) => {
                let name = securanet_model::DomainName::parse("example.org").unwrap();
                let (id, tenant, quota) = (DomainId::new(1), TenantId::new(1), Quota::default());
                let domain = securanet_model::directory::Domain { id, tenant, name, catch_all: None, quota };
                DirectoryAnswer::Domains(vec![domain])
            }
            DirectoryQuery::Policy(..) => DirectoryAnswer::Policy(Some((self.scram_allowed.to_string(), None))),
            DirectoryQuery::Cluster => {
                let (id, content_key) = ([1; 16], [2; 32]);
                DirectoryAnswer::Cluster(Some(Cluster { id, content_key, login_key: [3; 32], shards: 1 }))
            }
            other => panic!("the login does not ask {other:?}"),
        }
    }
}

impl Store for Directory {
    fn execute(&self, _: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async { Err(StoreError::Internal("a login changes nothing".to_owned())) })
    }

    fn query(&self, _: GroupId, query: Query, freshness: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        let Query::Directory(query) = query else { panic!("a login asks the directory only") };
        Box::pin(async move { Ok(Answered { answer: Answer::Directory(self.answer(query, freshness)), index: 0 }) })
    }

    fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        assert_eq!(topic, Topic::Directory);
        self.changes.subscribe()
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn open(&self, _: GroupId, _: AccountRef, _: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn verifiers() -> Verifiers {
    static ONCE: std::sync::OnceLock<Verifiers> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| make_verifiers("sesame", true).unwrap()).clone()
}

fn ann() -> Credentials {
    let account = Account {
        id: AccountId::new(7),
        tenant: TenantId::new(1),
        domain: DomainId::new(1),
        address: Address::parse("ann@example.org").unwrap(),
        display_name: "Ann".to_owned(),
        status: AccountStatus::Active,
        quota: Quota::default(),
        group: GroupId::new(2),
        epoch: Epoch::new(0),
        credential_version: 1,
        created: UnixMillis::new(0),
    };
    Credentials { account, password: Some(verifiers()), app_passwords: Vec::new() }
}

fn authenticator(directory: &Arc<Directory>) -> Arc<Authenticator> {
    Authenticator::new(StoreClient::new(directory.clone()), LoginSettings::default()).unwrap()
}

async fn password(authenticator: &Authenticator, user: &str, password: &str) -> Result<AccountId, LoginError> {
    authenticator.password(user, password.as_bytes(), PEER).await.map(|login| login.account.id)
}

fn private() -> SaslContext {
    SaslContext { peer: PEER, tls: None, trusted: true }
}

fn bound(exporter: [u8; 32]) -> SaslContext {
    let tls = TlsInfo {
        version: "TLSv1.3",
        cipher: String::new(),
        server_name: None,
        exporter: Some(exporter),
        client_certificate: None,
    };
    SaslContext { peer: PEER, tls: Some(Arc::new(tls)), trusted: false }
}

fn challenge(step: Result<SaslStep, LoginError>) -> Vec<u8> {
    match step {
        Ok(SaslStep::Challenge(challenge)) => challenge,
        Ok(SaslStep::Done(_)) => panic!("done too early"),
        Err(error) => panic!("{error}"),
    }
}

fn done(step: Result<SaslStep, LoginError>) -> AccountId {
    match step {
        Ok(SaslStep::Done(login)) => login.account.id,
        Ok(SaslStep::Challenge(_)) => panic!("one challenge too many"),
        Err(error) => panic!("{error}"),
    }
}

fn refused<T>(outcome: Result<T, LoginError>) -> LoginError {
    outcome.err().expect("nobody is logged in")
}
