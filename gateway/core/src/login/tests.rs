//! The login as a whole, over a scripted store: what it costs, what it says, when it ends.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{hmac, pbkdf2};
use base64::{Engine, prelude::BASE64_STANDARD};
use parking_lot::Mutex;
use securanet_model::{
    AccountId, Address, Answer, AppPasswordId, DomainId, EmailId, Epoch, Execute, GroupId, Query, StoreError, TenantId,
    Token, UnixMillis,
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
    store::{BoxFuture, Content, ContentSink, Executed, Store},
};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1));

/// A directory of a few accounts.
struct Directory {
    by_name: Mutex<HashMap<String, Credentials>>,
    changes: watch::Sender<u64>,
    asked: AtomicUsize,
    scram_allowed: bool,
}

impl Directory {
    fn new() -> Arc<Self> {
        let by_name = Mutex::new(HashMap::from([("ann@example.org".to_owned(), ann())]));
        Arc::new(Self { by_name, changes: watch::Sender::new(1), asked: AtomicUsize::new(0), scram_allowed: true })
    }

    /// Changes what is kept of ann, as a command would, and tells.
    fn change(&self, change: impl FnOnce(&mut Credentials)) {
        if let Some(credentials) = self.by_name.lock().get_mut("ann@example.org") {
            change(credentials);
        }
        self.changes.send_modify(|index| *index += 1);
    }

    fn answer(&self, query: DirectoryQuery) -> DirectoryAnswer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let by_name = self.by_name.lock();
        match query {
            DirectoryQuery::Credentials(name) => {
                DirectoryAnswer::Credentials(by_name.get(&name).cloned().map(Box::new))
            }
            DirectoryQuery::AccountById(id) => {
                let found = by_name.values().find(|credentials| credentials.account.id == id);
                DirectoryAnswer::Account(found.map(|credentials| credentials.account.clone()))
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

    fn query(&self, _: GroupId, query: Query, _: Option<Token>) -> BoxFuture<'_, Result<Answer, StoreError>> {
        let Query::Directory(query) = query else { panic!("a login asks the directory only") };
        Box::pin(async move { Ok(Answer::Directory(self.answer(query))) })
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
    let tls = TlsInfo { version: "TLSv1.3", cipher: String::new(), server_name: None, exporter: Some(exporter) };
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

#[tokio::test]
async fn a_right_password_opens_a_login_and_a_wrong_one_is_refused() {
    let authenticator = authenticator(&Directory::new());
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Ok(AccountId::new(7)));
    assert_eq!(password(&authenticator, " Ann@EXAMPLE.org", "sesame").await, Ok(AccountId::new(7)));
    for wrong in ["Sesame", "", "sesame\u{7}", "\u{1f511}"] {
        assert_eq!(password(&authenticator, "ann@example.org", wrong).await, Err(LoginError::Refused), "{wrong:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_user_costs_what_a_wrong_password_costs() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let mut costs = Vec::new();
    for (user, typed) in [
        ("ann@example.org", "wrong"),
        ("nobody@example.org", "wrong"),
        ("not an address", "wrong"),
        (&"x".repeat(400), "wrong"),
        ("ann@example.org", "a bell \u{7}"),
    ] {
        let before = (authenticator.hasher().runs(), directory.asked.load(Ordering::SeqCst));
        assert_eq!(password(&authenticator, user, typed).await, Err(LoginError::Refused));
        let after = (authenticator.hasher().runs(), directory.asked.load(Ordering::SeqCst));
        costs.push((after.0 - before.0, after.1 - before.1));
    }
    assert_eq!(costs, [(1, 1); 5], "(argon2id computations, directory queries)");
}

#[tokio::test]
async fn an_account_without_a_password_costs_the_same_and_lets_nobody_in() {
    let directory = Directory::new();
    directory.change(|ann| ann.password = None);
    let authenticator = authenticator(&directory);
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Err(LoginError::Refused));
    assert_eq!(authenticator.hasher().runs(), 1);
}

#[tokio::test]
async fn ten_connections_at_once_cost_one_computation() {
    let authenticator = authenticator(&Directory::new());
    let logins = (0..10).map(|_| password(&authenticator, "ann@example.org", "sesame"));
    for outcome in futures::future::join_all(logins).await {
        assert_eq!(outcome, Ok(AccountId::new(7)));
    }
    assert_eq!(authenticator.hasher().runs(), 1);
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Ok(AccountId::new(7)));
    assert_eq!(authenticator.hasher().runs(), 1, "and the next one is answered from memory");
}

#[tokio::test]
async fn when_the_one_who_computes_goes_away_another_one_does_it() {
    let authenticator = authenticator(&Directory::new());
    {
        let first = password(&authenticator, "ann@example.org", "sesame");
        tokio::pin!(first);
        // Far enough to have begun to compute.
        while authenticator.hasher().runs() == 0 {
            assert!(futures::poll!(&mut first).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Ok(AccountId::new(7)));
}

#[tokio::test]
async fn a_wrong_password_is_never_remembered() {
    let authenticator = authenticator(&Directory::new());
    for runs in 1..=3 {
        assert_eq!(password(&authenticator, "ann@example.org", "wrong").await, Err(LoginError::Refused));
        assert_eq!(authenticator.hasher().runs(), runs);
    }
    assert!(authenticator.memory().accounts().is_empty());
}

#[tokio::test]
async fn a_new_password_empties_the_memory_and_ends_open_sessions_within_a_second() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let login = authenticator.password("ann@example.org", b"sesame", PEER).await.unwrap();
    assert_eq!(authenticator.memory().accounts(), [AccountId::new(7)]);
    assert!(tokio::time::timeout(Duration::from_millis(200), login.ended()).await.is_err());
    directory.change(|ann| {
        ann.password = Some(make_verifiers("open", false).unwrap());
        ann.account.credential_version = 2;
    });
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Err(LoginError::Refused));
    let began = Instant::now();
    login.ended().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert!(authenticator.memory().accounts().is_empty());
    let again = authenticator.password("ann@example.org", b"open", PEER).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(300), again.ended()).await.is_err(), "the new login goes on");
}

#[tokio::test]
async fn suspension_and_deletion_end_open_sessions_and_other_changes_do_not() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let login = authenticator.password("ann@example.org", b"sesame", PEER).await.unwrap();
    directory.change(|ann| ann.account.display_name = "Anna".to_owned());
    assert!(tokio::time::timeout(Duration::from_millis(400), login.ended()).await.is_err());
    directory.change(|ann| ann.account.status = AccountStatus::Suspended);
    tokio::time::timeout(Duration::from_secs(1), login.ended()).await.unwrap();

    directory.change(|ann| ann.account.status = AccountStatus::Active);
    let login = authenticator.password("ann@example.org", b"sesame", PEER).await.unwrap();
    directory.by_name.lock().clear();
    directory.change(|_| ());
    tokio::time::timeout(Duration::from_secs(1), login.ended()).await.unwrap();
}

#[tokio::test]
async fn a_change_between_lookup_and_login_is_not_missed() {
    let directory = Directory::new();
    let authenticator = authenticator(&directory);
    let mut exchange = authenticator.start(Mechanism::ScramSha256, private());
    let server_first = challenge(exchange.step(b"n,,n=ann@example.org,r=abc").await);
    directory.change(|ann| ann.account.credential_version = 2);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let last = scram_final(&server_first, "n=ann@example.org,r=abc", b"n,,", "sesame");
    challenge(exchange.step(&last).await);
    let Ok(SaslStep::Done(login)) = exchange.step(b"").await else { panic!("the proof was right") };
    tokio::time::timeout(Duration::from_secs(1), login.ended()).await.unwrap();
}

#[tokio::test]
async fn a_suspended_account_is_told_so_only_with_its_password() {
    let directory = Directory::new();
    directory.change(|ann| ann.account.status = AccountStatus::Suspended);
    let authenticator = authenticator(&directory);
    assert_eq!(password(&authenticator, "ann@example.org", "wrong").await, Err(LoginError::Refused));
    assert_eq!(password(&authenticator, "ann@example.org", "sesame").await, Err(LoginError::Disabled));
}

#[tokio::test]
async fn an_app_password_logs_in_and_costs_one_computation_whatever_else_there_is() {
    let directory = Directory::new();
    let apps: Vec<_> = (0..3).map(|_| make_app_password().unwrap()).collect();
    directory.change(|ann| {
        let kept = |(id, app): (usize, &NewAppPassword)| AppPassword {
            id: AppPasswordId::new(u32::try_from(id).unwrap()),
            label: "phone".to_owned(),
            created: UnixMillis::new(0),
            verifiers: app.verifiers.clone(),
        };
        ann.app_passwords = apps.iter().enumerate().map(kept).collect();
    });
    let authenticator = authenticator(&directory);
    let typed = apps[2].password.expose().to_uppercase();
    assert_eq!(password(&authenticator, "ann@example.org", &typed).await, Ok(AccountId::new(7)));
    assert_eq!(authenticator.hasher().runs(), 1);
    let strange = make_app_password().unwrap();
    for wrong in ["wrong", strange.password.expose()] {
        let before = authenticator.hasher().runs();
        assert_eq!(password(&authenticator, "ann@example.org", wrong).await, Err(LoginError::Refused));
        assert_eq!(authenticator.hasher().runs() - before, 1);
    }
    directory.change(|ann| {
        ann.app_passwords.pop();
        ann.account.credential_version += 1;
    });
    assert_eq!(password(&authenticator, "ann@example.org", &typed).await, Err(LoginError::Refused));
}

#[tokio::test(start_paused = true)]
async fn failures_slow_down_the_next_attempts_whether_or_not_there_is_such_a_user() {
    for user in ["ann@example.org", "nobody@example.org"] {
        let authenticator = authenticator(&Directory::new());
        let mut waited = Vec::new();
        for _ in 0..8 {
            let began = Instant::now();
            assert_eq!(password(&authenticator, user, "wrong").await, Err(LoginError::Refused));
            waited.push(began.elapsed().as_millis() / 500);
        }
        assert_eq!(waited, [0, 0, 0, 0, 0, 1, 2, 4], "{user}");
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_limit_nothing_is_computed_and_who_logged_in_before_gets_in() {
    let authenticator = authenticator(&Directory::new());
    assert!(authenticator.password("ann@example.org", b"sesame", PEER).await.is_ok());
    let computed = loop {
        match authenticator.password("ann@example.org", b"wrong", ELSEWHERE).await {
            Err(LoginError::Refused) => {}
            Err(LoginError::TooManyAttempts { retry_after }) => {
                assert!(retry_after > Duration::ZERO);
                break authenticator.hasher().runs();
            }
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        authenticator.password("ann@example.org", b"sesame", ELSEWHERE).await,
        Err(LoginError::TooManyAttempts { .. })
    ));
    assert_eq!(authenticator.hasher().runs(), computed);
    assert!(authenticator.password("ann@example.org", b"sesame", PEER).await.is_ok());
}

#[tokio::test]
async fn rfc_4616_plain_with_and_without_an_initial_response() {
    let authenticator = authenticator(&Directory::new());
    let mut exchange = authenticator.start(Mechanism::Plain, private());
    assert_eq!(done(exchange.step(b"\0ann@example.org\0sesame").await), AccountId::new(7));
    let mut exchange = authenticator.start(Mechanism::Plain, private());
    assert_eq!(challenge(exchange.step(b"").await), b"");
    assert_eq!(done(exchange.step(b"Ann@Example.org\0ann@example.org\0sesame").await), AccountId::new(7));
    assert!(matches!(refused(exchange.step(b"").await), LoginError::Malformed(_)));
}

#[tokio::test]
async fn rfc_4616_section_2_nobody_acts_as_another() {
    let authenticator = authenticator(&Directory::new());
    let mut exchange = authenticator.start(Mechanism::Plain, private());
    assert_eq!(refused(exchange.step(b"bob@example.org\0ann@example.org\0sesame").await), LoginError::Refused);
}

#[tokio::test]
async fn login_asks_for_user_and_password() {
    let authenticator = authenticator(&Directory::new());
    let mut exchange = authenticator.start(Mechanism::Login, private());
    assert_eq!(challenge(exchange.step(b"").await), b"Username:");
    assert_eq!(challenge(exchange.step(b"ann@example.org").await), b"Password:");
    assert_eq!(done(exchange.step(b"sesame").await), AccountId::new(7));
    let mut exchange = authenticator.start(Mechanism::Login, private());
    assert_eq!(challenge(exchange.step(b"ann@example.org").await), b"Password:");
    assert_eq!(refused(exchange.step(b"wrong").await), LoginError::Refused);
}

#[tokio::test]
async fn nothing_is_offered_or_begun_without_privacy() {
    let authenticator = authenticator(&Directory::new());
    let open = SaslContext { peer: PEER, tls: None, trusted: false };
    assert!(authenticator.mechanisms(&open).is_empty());
    for mechanism in [Mechanism::Plain, Mechanism::Login, Mechanism::ScramSha256] {
        let mut exchange = authenticator.start(mechanism, open.clone());
        assert_eq!(refused(exchange.step(b"\0ann@example.org\0sesame").await), LoginError::PrivacyRequired);
    }
    use Mechanism::{Login, Plain, ScramSha256, ScramSha256Plus};
    assert_eq!(authenticator.mechanisms(&private()), [ScramSha256, Plain, Login]);
    assert_eq!(authenticator.mechanisms(&bound([1; 32])), [ScramSha256Plus, ScramSha256, Plain, Login]);
    let mut exchange = authenticator.start(ScramSha256Plus, private());
    assert!(matches!(
        refused(exchange.step(b"p=tls-exporter,,n=ann@example.org,r=abc").await),
        LoginError::Malformed(_)
    ));
}

/// The client's second message.
fn scram_final(server_first: &[u8], bare: &str, binding_input: &[u8], password: &str) -> Vec<u8> {
    let server_first = std::str::from_utf8(server_first).unwrap();
    let fields: Vec<&str> = server_first.split(',').collect();
    let salt = BASE64_STANDARD.decode(&fields[1][2..]).unwrap();
    let mut salted = [0; 32];
    let rounds = fields[2][2..].parse().unwrap();
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, &salt, password.as_bytes(), &mut salted);
    let sign = |key: &[u8], message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let client_key = sign(&salted, b"Client Key");
    let stored_key = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, client_key.as_ref());
    let without_proof = format!("c={},{}", BASE64_STANDARD.encode(binding_input), fields[0]);
    let signature = sign(stored_key.as_ref(), format!("{bare},{server_first},{without_proof}").as_bytes());
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
    format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)).into_bytes()
}

/// A whole exchange; the client sees this channel binding.
async fn scram(
    authenticator: &Arc<Authenticator>,
    context: SaslContext,
    user: &str,
    password: &str,
    exporter: Option<[u8; 32]>,
) -> Result<AccountId, LoginError> {
    let (mechanism, header) = match exporter {
        Some(_) => (Mechanism::ScramSha256Plus, "p=tls-exporter,,"),
        None => (Mechanism::ScramSha256, "n,,"),
    };
    let bare = format!("n={user},r=fyko");
    let mut exchange = authenticator.start(mechanism, context);
    let server_first = challenge(exchange.step(format!("{header}{bare}").as_bytes()).await);
    let bound = exporter.map(|exporter| exporter.to_vec()).unwrap_or_default();
    let last = scram_final(&server_first, &bare, &[header.as_bytes(), &bound].concat(), password);
    match exchange.step(&last).await? {
        SaslStep::Challenge(proof) => assert!(proof.starts_with(b"v="), "the server proves itself"),
        SaslStep::Done(_) => panic!("the server has not proved itself"),
    }
    Ok(done(exchange.step(b"").await))
}

#[tokio::test]
async fn rfc_7677_scram_logs_in_without_argon2() {
    let authenticator = authenticator(&Directory::new());
    let ann = "ann@example.org";
    assert_eq!(scram(&authenticator, private(), ann, "sesame", None).await, Ok(AccountId::new(7)));
    assert_eq!(scram(&authenticator, private(), ann, "wrong", None).await, Err(LoginError::Refused));
    assert_eq!(authenticator.hasher().runs(), 0);
}

#[tokio::test]
async fn rfc_9266_scram_plus_is_bound_to_its_connection() {
    let authenticator = authenticator(&Directory::new());
    let (ann, seen) = ("ann@example.org", Some([1; 32]));
    assert_eq!(scram(&authenticator, bound([1; 32]), ann, "sesame", seen).await, Ok(AccountId::new(7)));
    assert_eq!(scram(&authenticator, bound([2; 32]), ann, "sesame", seen).await, Err(LoginError::Refused));
}

#[tokio::test]
async fn scram_answers_for_unknown_users_with_a_stable_salt() {
    let directory = Directory::new();
    let salt = async |authenticator: &Arc<Authenticator>, user: &str| {
        let mut exchange = authenticator.start(Mechanism::ScramSha256, private());
        let server_first = challenge(exchange.step(format!("n,,n={user},r=x").as_bytes()).await);
        let text = String::from_utf8(server_first).unwrap();
        text.split_once(",s=").unwrap().1.to_owned()
    };
    let (one, other) = (authenticator(&directory), authenticator(&directory));
    let nobody = salt(&one, "nobody@example.org").await;
    assert_eq!(nobody, salt(&one, "Nobody@EXAMPLE.org").await);
    assert_eq!(nobody, salt(&other, "nobody@example.org").await, "on another gateway too");
    assert_ne!(nobody, salt(&one, "somebody@example.org").await);
    let real = salt(&one, "ann@example.org").await;
    assert_eq!(
        (real.len(), &real[real.len() - 8..]),
        (nobody.len(), &nobody[nobody.len() - 8..]),
        "salt and iterations"
    );
    assert_eq!(scram(&one, private(), "nobody@example.org", "x", None).await, Err(LoginError::Refused));
}

#[tokio::test]
async fn a_domain_without_scram_does_not_use_the_verifiers_that_exist() {
    let directory = Directory::new();
    let by_name = Mutex::new(directory.by_name.lock().clone());
    let without =
        Directory { by_name, changes: watch::Sender::new(1), asked: AtomicUsize::new(0), scram_allowed: false };
    let authenticator = authenticator(&Arc::new(without));
    let outcome = scram(&authenticator, private(), "ann@example.org", "sesame", None).await;
    assert_eq!(outcome, Err(LoginError::Refused));
}

#[tokio::test(start_paused = true)]
async fn scram_failures_slow_down_like_others() {
    let authenticator = authenticator(&Directory::new());
    for _ in 0..6 {
        let outcome = scram(&authenticator, private(), "ann@example.org", "wrong", None).await;
        assert_eq!(outcome, Err(LoginError::Refused));
    }
    let began = Instant::now();
    assert!(scram(&authenticator, private(), "ann@example.org", "sesame", None).await.is_ok());
    assert_eq!(began.elapsed().as_secs(), 1, "six failures");
}
