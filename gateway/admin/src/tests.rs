//! The API over HTTP, with a store and a node that answer what a test wants: statuses, bodies, and which commands
//! come out. What the store makes of them is tested where the store is.

mod accounts;
mod border;
mod deliveries;
mod directory;
mod dkim;
mod explain;
mod held;
mod messages;
mod operations;
mod queue;
mod sending;

use std::{
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use securanet_gateway::{
    client::StoreClient,
    model::{
        Address, Answer, Command, DomainId, DomainName, EmailId, Epoch, Execute, Freshness, GroupId, Query, Reply,
        StoreError, TenantId, UnixMillis,
        account::{AccountAnswer, AccountQuery, AccountRef, QuotaUsage},
        content::{Ingested, NewMessage, Sealed},
        directory::{Account, AccountStatus, DirectoryAnswer, DirectoryQuery, DirectoryReply, Domain, Quota},
        request::Topic,
    },
    store::{Answered, BoxFuture, Content, ContentSink, Executed, Store},
};
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::ServiceExt;

use crate::{Node, NodeStatus, Peer, ScrubReport, Token, router};

const SECRET: &str = "correct-horse-battery";

type Answering = dyn Fn(GroupId, &Query) -> Result<Answer, StoreError> + Send + Sync;
type Replying = dyn Fn(GroupId, &Command) -> Result<Reply, StoreError> + Send + Sync;

/// A store of one account, `ann@example.org`, until a test says otherwise.
struct FakeStore {
    answers: Box<Answering>,
    replies: Box<Replying>,
    /// The commands that came, in order.
    commands: Mutex<Vec<(GroupId, Command)>>,
    /// What was written into sinks, and what is read from messages.
    content: Arc<Mutex<Vec<u8>>>,
}

impl FakeStore {
    fn new() -> Self {
        Self {
            answers: Box::new(|_, query| Ok(answer(query))),
            replies: Box::new(|_, command| Ok(reply(command))),
            commands: Mutex::default(),
            content: Arc::default(),
        }
    }

    /// Answers a query that the default answers otherwise.
    fn answering(mut self, own: impl Fn(&Query) -> Option<Answer> + Send + Sync + 'static) -> Self {
        self.answers = Box::new(move |_, query| Ok(own(query).unwrap_or_else(|| answer(query))));
        self
    }

    fn replying(mut self, own: impl Fn(&Command) -> Option<Reply> + Send + Sync + 'static) -> Self {
        self.replies = Box::new(move |_, command| Ok(own(command).unwrap_or_else(|| reply(command))));
        self
    }

    /// Fails every request.
    fn failing(error: StoreError) -> Self {
        let (one, other) = (error.clone(), error);
        Self {
            answers: Box::new(move |_, _| Err(one.clone())),
            replies: Box::new(move |_, _| Err(other.clone())),
            ..Self::new()
        }
    }
}

fn ann() -> Account {
    Account {
        id: securanet_gateway::model::AccountId::new(7),
        tenant: TenantId::new(1),
        domain: DomainId::new(3),
        address: Address::parse("Ann@example.org").unwrap(),
        display_name: "Ann Lee".to_owned(),
        status: AccountStatus::Active,
        quota: Quota { bytes_max: Some(1000), messages_max: None },
        group: GroupId::new(2),
        epoch: Epoch::new(5),
        credential_version: 1,
        created: UnixMillis::new(1_700_000_000_000),
    }
}

fn domain() -> Domain {
    let name = DomainName::parse("example.org").unwrap();
    Domain { id: DomainId::new(3), tenant: TenantId::new(1), name, catch_all: None, quota: Quota::default() }
}

fn answer(query: &Query) -> Answer {
    let info = Address::parse("info@example.org").unwrap();
    match query {
        Query::Directory(DirectoryQuery::AccountByAddress(address)) => {
            let known = *address == ann().address || *address == info;
            Answer::Directory(DirectoryAnswer::Account(known.then(ann)))
        }
        Query::Directory(DirectoryQuery::Domain(name)) => {
            Answer::Directory(DirectoryAnswer::Domain((*name == domain().name).then(domain)))
        }
        Query::Directory(DirectoryQuery::Policy(..)) => {
            Answer::Directory(DirectoryAnswer::Policy(Some(("true".to_owned(), None))))
        }
        Query::Account(_, AccountQuery::Quota) => {
            Answer::Account(AccountAnswer::Quota(QuotaUsage { bytes: 10, messages: 2, quota: Quota::default() }))
        }
        other => panic!("an answer that no test gives: {other:?}"),
    }
}

fn reply(command: &Command) -> Reply {
    match command {
        Command::Directory(_) => Reply::Directory(DirectoryReply::Account(ann())),
        Command::Account(..) => Reply::Account(securanet_gateway::model::account::AccountReply::Done),
        other => panic!("a command that the API does not send: {other:?}"),
    }
}

impl Store for FakeStore {
    fn execute(&self, mut request: Execute) -> BoxFuture<'_, Result<Executed, StoreError>> {
        Box::pin(async move {
            let command = request.commands.pop().unwrap();
            let replied = (self.replies)(request.group, &command);
            self.commands.lock().unwrap().push((request.group, command));
            replied.map(|reply| Executed { replies: vec![reply], index: 1 })
        })
    }

    fn query(&self, group: GroupId, query: Query, _: Freshness) -> BoxFuture<'_, Result<Answered, StoreError>> {
        Box::pin(async move { Ok(Answered { answer: (self.answers)(group, &query)?, index: 0 }) })
    }

    fn watch(&self, _: Topic) -> watch::Receiver<u64> {
        watch::channel(0).1
    }

    fn put(&self, _: TenantId, _: Vec<u8>, _: Option<u64>) -> BoxFuture<'_, Result<Box<dyn ContentSink>, StoreError>> {
        let sink: Box<dyn ContentSink> = Box::new(Sink(self.content.clone()));
        Box::pin(async move { Ok(sink) })
    }

    fn open(&self, _: GroupId, _: AccountRef, _: EmailId) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        let content: Box<dyn Content> = Box::new(Open(Bytes::from(self.content.lock().unwrap().clone())));
        Box::pin(async move { Ok(content) })
    }

    fn open_outbound(&self, _: GroupId, _: u64) -> BoxFuture<'_, Result<Box<dyn Content>, StoreError>> {
        Box::pin(async { Err(StoreError::NotFound) })
    }

    fn accepting(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

struct Sink(Arc<Mutex<Vec<u8>>>);

/// What the fake takes at most.
const LIMIT_BYTES: usize = 1_000_000;

impl ContentSink for Sink {
    fn write<'a>(&'a mut self, bytes: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let mut content = self.0.lock().unwrap();
            content.extend_from_slice(bytes);
            let limit_bytes = LIMIT_BYTES as u64;
            if content.len() > LIMIT_BYTES { Err(StoreError::TooLarge { limit_bytes }) } else { Ok(()) }
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Ingested, StoreError>> {
        let message = NewMessage {
            size_bytes: self.0.lock().unwrap().len() as u64,
            recipe: Sealed::plain(1, Vec::new()),
            blobs: Vec::new(),
            summary: Sealed::plain(1, Vec::new()),
            thread_keys: Vec::new(),
            internal_date: None,
        };
        let repeat_key = securanet_gateway::model::KeyedHash([0; 16]);
        let lease_until = UnixMillis::new(0);
        Box::pin(async move {
            Ok(Ingested {
                message,
                received_count: 0,
                repeat_key,
                message_id: None,
                delivered_to: Vec::new(),
                lease_until,
            })
        })
    }
}

struct Open(Bytes);

impl Content for Open {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, StoreError>> {
        let range = range.start as usize..range.end as usize;
        Box::pin(async move { Ok(self.0.slice(range)) })
    }
}

/// A node whose scrub ends when it is told to.
struct FakeNode {
    ready: Result<(), String>,
    scrub: watch::Receiver<Option<Result<ScrubReport, String>>>,
    scrubs_begun: Arc<Mutex<u32>>,
    routes: Option<Vec<String>>,
}

impl Node for FakeNode {
    fn status(&self) -> BoxFuture<'_, Result<NodeStatus, String>> {
        Box::pin(async {
            Ok(NodeStatus {
                version: "1".to_owned(),
                cluster: "c".to_owned(),
                hostname: "mx.example.org".to_owned(),
                problems: Vec::new(),
                disk_free_bytes: 1,
                disk_reserve_bytes: 2,
                nodes: Vec::new(),
                survives: None,
                data_bytes: 3,
                groups: Vec::new(),
            })
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }

    fn scrub(&self) -> BoxFuture<'_, Result<ScrubReport, String>> {
        *self.scrubs_begun.lock().unwrap() += 1;
        let mut ended = self.scrub.clone();
        Box::pin(async move { ended.wait_for(Option::is_some).await.unwrap().clone().unwrap() })
    }

    fn metrics(&self) -> String {
        "securanet_up 1\n".to_owned()
    }

    fn votes_of(&self, replica: securanet_gateway::model::ReplicaId) -> Vec<u32> {
        if replica.get() == 2 { vec![1, 3] } else { Vec::new() }
    }

    fn hand_over(
        &self,
        group: securanet_gateway::model::GroupId,
        to: securanet_gateway::model::ReplicaId,
    ) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            match (group.get(), to.get()) {
                (1, 2) => Ok(()),
                (2, _) => Err(StoreError::NotLeader { leader: Some("b".to_owned()) }),
                (9, _) => Err(StoreError::NoGroup(group)),
                _ => Err(StoreError::Unavailable("it still catches up".to_owned())),
            }
        })
    }

    fn routes(&self) -> Option<Vec<String>> {
        self.routes.clone()
    }
}

/// The API over a store.
struct Fixture {
    store: Arc<FakeStore>,
    router: Router,
    scrub: watch::Sender<Option<Result<ScrubReport, String>>>,
    scrubs_begun: Arc<Mutex<u32>>,
}

fn api(store: FakeStore) -> Fixture {
    api_of_node(store, None)
}

/// The API of a node that knows these routes.
fn api_of_node(store: FakeStore, routes: Option<Vec<String>>) -> Fixture {
    let store = Arc::new(store);
    let (scrub, ended) = watch::channel(None);
    let scrubs_begun = Arc::default();
    let node = FakeNode { ready: Ok(()), scrub: ended, scrubs_begun: Arc::clone(&scrubs_begun), routes };
    let client = StoreClient::new(store.clone());
    let router = router(client, Arc::new(node), Token::new(SECRET).unwrap());
    Fixture { store, router, scrub, scrubs_begun }
}

const LOCAL: Peer = Peer(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000));

fn request(method: Method, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {SECRET}"))
        .header(header::CONTENT_TYPE, "application/json")
        .extension(LOCAL)
        .body(body.into())
        .unwrap()
}

impl Fixture {
    async fn send(&self, request: Request<Body>) -> (StatusCode, Bytes) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    async fn raw(&self, method: Method, path: &str, body: impl Into<Body>) -> (StatusCode, Bytes) {
        self.send(request(method, path, body)).await
    }

    /// Sends JSON and gives the status and the JSON of the answer; no body is null.
    async fn json(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let (status, answer) = self.raw(method, path, body).await;
        (status, if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer).unwrap() })
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.json(Method::GET, path, Value::Null).await
    }

    fn commands(&self) -> Vec<(GroupId, Command)> {
        std::mem::take(&mut self.store.commands.lock().unwrap())
    }
}

/// A body that says what is wrong; its remedy.
fn problem(answer: &(StatusCode, Value)) -> (u16, String, Option<String>) {
    let error = answer.1["error"].as_str().unwrap_or_else(|| panic!("{answer:?} has no error"));
    (answer.0.as_u16(), error.to_owned(), answer.1["remedy"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn an_account_is_shown_with_what_it_uses() {
    let shown = api(FakeStore::new()).get("/v1/accounts/ann@example.org").await;
    let expected = json!({
        "id": 7,
        "address": "Ann@example.org",
        "display_name": "Ann Lee",
        "status": "active",
        "quota": { "bytes_max": 1000, "messages_max": null },
        "group": 2,
        "created_unix_millis": 1_700_000_000_000_u64,
        "used_bytes": 10,
        "used_messages": 2,
    });
    assert_eq!(shown, (StatusCode::OK, expected));
}
