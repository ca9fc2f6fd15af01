//! The authenticator: looks a user up, slows failures down, checks a password, opens a login.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::hmac;
use ipnet::IpNet;
use securanet_model::{
    AccountId, Address, DomainId, StoreError,
    account::AccountRef,
    directory::{AccountStatus, Cluster, Credentials, DirectoryAnswer, DirectoryQuery, Page, ScramVerifier},
    policy::Scope,
    request::Topic,
};
use tokio::{
    sync::{OnceCell, watch},
    task::JoinHandle,
    time::Instant,
};

use super::{
    Login, LoginError, Mechanism, SaslContext, ask,
    exchange::Exchange,
    hasher::Hasher,
    look_up,
    memory::{Memory, Tag},
    open::{self, OpenLogins, Proof},
    password::{AppPasswordText, Password, SALT_OCTETS, SCRAM_ITERATIONS, random},
    slowdown::{Attempt, Slowdown, Subject},
};
use crate::{
    client::{AccountPlace, StoreClient},
    metric,
};

/// Longest login name in octets: a local part, an `@`, a domain.
const NAME_OCTETS_MAX: usize = 320;

/// What an operator may choose.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LoginSettings {
    /// Clients in these networks stand for many people (a webmail): failures are not counted by address.
    pub shared_networks: Vec<IpNet>,
}

/// Checks passwords and runs SASL exchanges for all protocols of this process.
pub struct Authenticator {
    client: StoreClient,
    settings: LoginSettings,
    /// What this process tags names and passwords with; drawn at random, kept nowhere.
    key: hmac::Key,
    cluster: OnceCell<Cluster>,
    hasher: Hasher,
    memory: Arc<Memory>,
    slowdown: Arc<Slowdown>,
    logins: Arc<OpenLogins>,
    /// The index of the directory's last change.
    directory: watch::Receiver<u64>,
    watcher: OnceLock<JoinHandle<()>>,
}

/// A login name, brought into the one form under which it is looked up and counted.
pub(crate) struct LoginName {
    canonical: String,
}

/// What the directory knows of a name, and how far it was then.
pub(crate) struct Found {
    pub(crate) credentials: Option<Box<Credentials>>,
    seen: u64,
}

impl Authenticator {
    /// An authenticator over a store. Call it inside a tokio runtime: a task watches the directory for it.
    ///
    /// # Errors
    /// [`LoginError::Store`] when the system gives no random octets.
    pub fn new(client: StoreClient, settings: LoginSettings) -> Result<Arc<Self>, LoginError> {
        let authenticator = Arc::new(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &random::<32>().map_err(internal)?),
            cluster: OnceCell::new(),
            hasher: Hasher::new().map_err(internal)?,
            memory: Arc::default(),
            slowdown: Arc::new(Slowdown::new()),
            logins: Arc::default(),
            directory: client.store().watch(Topic::Directory),
            watcher: OnceLock::new(),
            settings,
            client,
        });
        let memory = Arc::downgrade(&authenticator.memory);
        let (changes, logins) = (authenticator.directory.clone(), authenticator.logins.clone());
        let watch = open::watch(authenticator.client.clone(), changes, logins, memory);
        let _ = authenticator.watcher.set(tokio::spawn(watch));
        Ok(authenticator)
    }

    /// Checks a user name and a password, as USER and PASS, LOGIN and PLAIN bring them. Takes longer when
    /// attempts from this address or for this account have failed.
    ///
    /// # Errors
    /// [`LoginError`]
    pub async fn password(&self, user: &str, password: &[u8], peer: IpAddr) -> Result<Login, LoginError> {
        let outcome = self.check_password(user, None, password, peer).await;
        report("password", user, &outcome);
        outcome
    }

    /// The mechanisms to offer, the best first; none without privacy.
    #[must_use]
    pub fn mechanisms(&self, context: &SaslContext) -> Vec<Mechanism> {
        let bindable = context.tls.as_ref().is_some_and(|tls| tls.exporter.is_some());
        let all = [Mechanism::ScramSha256Plus, Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];
        let offered = |mechanism: &Mechanism| *mechanism != Mechanism::ScramSha256Plus || bindable;
        if context.is_private() { all.into_iter().filter(offered).collect() } else { Vec::new() }
    }

    /// Begins an exchange.
    #[must_use]
    pub fn start(self: &Arc<Self>, mechanism: Mechanism, context: SaslContext) -> Exchange {
        Exchange::new(self.clone(), mechanism, context)
    }

    /// [`Self::password`], perhaps in another's name (RFC 4616), without counting.
    pub(crate) async fn check_password(
        &self,
        user: &str,
        authzid: Option<&str>,
        password: &[u8],
        peer: IpAddr,
    ) -> Result<Login, LoginError> {
        let name = LoginName::parse(user);
        let attempt = self.begin(name.as_ref(), user, peer).await?;
        let mut found = self.find(name.as_ref()).await?;
        // A text that SASLprep refuses was never anybody's password, and takes as long as one that is wrong.
        let password = std::str::from_utf8(password).ok().and_then(|text| Password::prepare(text).ok());
        let mut proof = self.fits(&found, name.as_ref(), password.as_ref()).await?;
        if proof.is_none() {
            // It may have been changed a moment ago, and the nearest replica has not heard of it.
            let now = self.find_now(name.as_ref()).await?;
            if now.version() != found.version() {
                proof = self.fits(&now, name.as_ref(), password.as_ref()).await?;
                found = now;
            }
        }
        match (&found.credentials, proof) {
            (Some(credentials), Some(proof)) if may_act_as(credentials, user, authzid) => {
                attempt.succeeded(Instant::now());
                self.open(credentials, proof, found.seen)
            }
            _ => {
                attempt.failed(Instant::now());
                Err(LoginError::Refused)
            }
        }
    }

    /// Books an attempt and waits as long as earlier failures cost.
    pub(crate) async fn begin(
        &self,
        name: Option<&LoginName>,
        user: &str,
        peer: IpAddr,
    ) -> Result<Attempt, LoginError> {
        let shared = self.settings.shared_networks.iter().any(|network| network.contains(&peer.to_canonical()));
        let text = name.map_or(user, |name| &name.canonical);
        let tag = self.tag(b"subject", &[text.as_bytes()]);
        let mut subject = Subject::default();
        subject.copy_from_slice(&tag[..size_of::<Subject>()]);
        let attempt = self
            .slowdown
            .begin((!shared).then_some(peer), subject, Instant::now())
            .map_err(|retry_after| LoginError::TooManyAttempts { retry_after })?;
        metric::login_delayed(attempt.wait);
        tokio::time::sleep(attempt.wait).await;
        Ok(attempt)
    }

    /// Looks a name up.
    pub(crate) async fn find(&self, name: Option<&LoginName>) -> Result<Found, LoginError> {
        let seen = *self.directory.borrow();
        Found::of(look_up(&self.client, credentials_of(name)).await?, seen)
    }

    /// Asks for a name as it is now.
    async fn find_now(&self, name: Option<&LoginName>) -> Result<Found, LoginError> {
        let seen = *self.directory.borrow();
        Found::of(ask(&self.client, credentials_of(name)).await?, seen)
    }

    /// What the password proves, if it is one of the user's: from memory, or by one computation.
    async fn fits(
        &self,
        found: &Found,
        name: Option<&LoginName>,
        password: Option<&Password>,
    ) -> Result<Option<Proof>, LoginError> {
        let typed = password.map_or("", Password::expose);
        let Some(credentials) = &found.credentials else {
            let name = name.map_or("", |name| &name.canonical);
            let tag = self.tag(b"nobody", &[name.as_bytes(), typed.as_bytes()]);
            self.hasher.fits(tag, None, typed).await?;
            return Ok(None);
        };
        let (id, version) = (credentials.account.id, credentials.account.credential_version);
        let (proof, phc, text) = candidate(credentials, typed);
        let parts: [&[u8]; 3] = [&id.get().to_be_bytes(), &version.to_be_bytes(), typed.as_bytes()];
        // An app password is remembered as one: where policy has forbidden them since, nothing selects it any more
        // and its tag is not looked for.
        let tag = match proof {
            Proof::Password => self.tag(b"password", &parts),
            Proof::AppPassword => self.tag(b"app password", &parts),
        };
        if self.memory.knows(id, version, &tag, Instant::now()) {
            metric::login_remembered();
            return Ok(Some(proof));
        }
        // Nothing fits a text that was refused, whatever is kept of the empty one.
        let phc = phc.filter(|_| password.is_some());
        let fits = self.hasher.fits(tag, phc, &text).await?;
        if fits {
            self.memory.remember(id, version, tag, Instant::now());
        }
        Ok(fits.then_some(proof))
    }

    /// Opens a login of an account whose owner has proved itself.
    pub(crate) fn open(&self, credentials: &Credentials, proof: Proof, seen: u64) -> Result<Login, LoginError> {
        let account = &credentials.account;
        if account.status == AccountStatus::Suspended {
            return Err(LoginError::Disabled);
        }
        let place = AccountPlace { group: account.group, account: AccountRef { id: account.id, epoch: account.epoch } };
        Ok(Login { account: Arc::new(account.clone()), place, open: self.logins.open(account, proof, seen) })
    }

    /// The SCRAM verifier of a user; one that nothing fits, with a salt that is always the same for this name,
    /// where there is no such user, or its domain's policy is without SCRAM, or it was when the password was set.
    pub(crate) async fn scram_verifier(
        &self,
        found: &Found,
        name: Option<&LoginName>,
    ) -> Result<ScramVerifier, LoginError> {
        let domain = found.credentials.as_ref().map(|credentials| credentials.account.domain);
        let allowed = self.scram_allowed(domain).await?;
        let password = found.credentials.as_ref().and_then(|credentials| credentials.password.as_ref());
        match password.and_then(|verifiers| verifiers.scram.as_ref()) {
            Some(verifier) if allowed => Ok(verifier.clone()),
            _ => self.unmatchable_scram(&self.full_name(name.map_or("", |name| &name.canonical)).await?).await,
        }
    }

    /// A name without `@` with the domain that it is looked up in. An account shows one salt for both of its forms:
    /// if nobody's forms differed, comparing the two would tell who is somebody.
    async fn full_name(&self, name: &str) -> Result<String, LoginError> {
        if name.contains('@') {
            return Ok(name.to_owned());
        }
        match look_up(&self.client, DirectoryQuery::Domains(Page { after: None, rows_max: 2 })).await? {
            DirectoryAnswer::Domains(domains) => Ok(match domains.as_slice() {
                [only] => {
                    Address::new(name, only.name.clone()).map_or_else(|_| name.to_owned(), |full| full.canonical())
                }
                _ => name.to_owned(),
            }),
            other => Err(out_of_turn(&other)),
        }
    }

    async fn scram_allowed(&self, domain: Option<DomainId>) -> Result<bool, LoginError> {
        // Asked for unknown users too: it takes its time.
        let scope = domain.map_or(Scope::Cluster, Scope::Domain);
        match look_up(&self.client, DirectoryQuery::Policy("login.scram".to_owned(), scope)).await? {
            DirectoryAnswer::Policy(value) => Ok(value.is_none_or(|(value, _)| value != "false")),
            other => Err(out_of_turn(&other)),
        }
    }

    async fn unmatchable_scram(&self, name: &str) -> Result<ScramVerifier, LoginError> {
        let cluster = self.cluster.get_or_try_init(|| self.ask_cluster()).await?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &cluster.login_key);
        let derive = |what: &[u8]| sign(&key, what, &[name.as_bytes()]);
        let mut salt = derive(b"scram salt").to_vec();
        salt.truncate(SALT_OCTETS);
        Ok(ScramVerifier {
            salt,
            iterations: SCRAM_ITERATIONS,
            // Nobody knows a value whose SHA-256 this is.
            stored_key: derive(b"scram stored key"),
            server_key: derive(b"scram server key"),
        })
    }

    async fn ask_cluster(&self) -> Result<Cluster, LoginError> {
        match look_up(&self.client, DirectoryQuery::Cluster).await? {
            DirectoryAnswer::Cluster(Some(cluster)) => Ok(cluster),
            DirectoryAnswer::Cluster(None) => {
                Err(StoreError::Unavailable("this cluster is not initialised yet".to_owned()).into())
            }
            other => Err(out_of_turn(&other)),
        }
    }

    fn tag(&self, what: &[u8], parts: &[&[u8]]) -> Tag {
        sign(&self.key, what, parts)
    }

    #[cfg(test)]
    pub(crate) fn hasher(&self) -> &Hasher {
        &self.hasher
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Drop for Authenticator {
    fn drop(&mut self) {
        if let Some(watcher) = self.watcher.get() {
            watcher.abort();
        }
    }
}

/// What is no name is nobody's; it is looked up all the same, as the empty name.
fn credentials_of(name: Option<&LoginName>) -> DirectoryQuery {
    DirectoryQuery::Credentials(name.map_or_else(String::new, |name| name.canonical.clone()))
}

impl Found {
    fn of(answer: DirectoryAnswer, seen: u64) -> Result<Self, LoginError> {
        match answer {
            DirectoryAnswer::Credentials(credentials) => Ok(Self { credentials, seen }),
            other => Err(out_of_turn(&other)),
        }
    }

    /// Whose credentials they are, and which.
    fn version(&self) -> Option<(AccountId, u64)> {
        let account = &self.credentials.as_ref()?.account;
        Some((account.id, account.credential_version))
    }

    /// How far the directory was.
    pub(crate) const fn seen(&self) -> u64 {
        self.seen
    }
}

impl LoginName {
    /// The name as typed, prepared (RFC 4013) and, where it is an address, in canonical form; `None`: nobody's.
    pub(crate) fn parse(user: &str) -> Option<Self> {
        if user.len() > NAME_OCTETS_MAX {
            return None;
        }
        let prepared = stringprep::saslprep(user.trim()).ok()?;
        let canonical =
            Address::parse(&prepared).map_or_else(|_| prepared.to_lowercase(), |address| address.canonical());
        (!canonical.is_empty()).then_some(Self { canonical })
    }
}

/// Counts and logs how an attempt ended.
pub(crate) fn report(mechanism: &'static str, user: &str, outcome: &Result<Login, LoginError>) {
    match outcome {
        Ok(login) => {
            metric::login(mechanism, "done");
            tracing::info!(mechanism, account = %login.account.address, "logged in");
        }
        Err(error) => {
            metric::login(mechanism, error.name());
            // As typed, without what would break the line, and not endlessly.
            let user: String = user.chars().take(NAME_OCTETS_MAX).collect();
            tracing::info!(mechanism, user = ?user, reason = %error, "login failed");
        }
    }
}

/// RFC 4616 2, RFC 5802 5.1: nobody may act as another yet, but anybody may say that it is itself.
pub(crate) fn may_act_as(credentials: &Credentials, user: &str, authzid: Option<&str>) -> bool {
    let canonical = |name: &str| LoginName::parse(name).map(|name| name.canonical);
    let Some(wanted) = authzid.filter(|authzid| !authzid.is_empty()) else { return true };
    let wanted = canonical(wanted);
    wanted.is_some() && (wanted == canonical(user) || wanted == Some(credentials.account.address.canonical()))
}

/// The one verifier that this text could fit, what it would prove, and the text as it was hashed for it.
fn candidate<'a>(credentials: &'a Credentials, typed: &str) -> (Proof, Option<&'a str>, zeroize::Zeroizing<String>) {
    if let Some(text) = AppPasswordText::parse(typed) {
        let app = credentials.app_passwords.iter().find(|app| text.selects(&app.verifiers));
        if let Some(app) = app {
            return (Proof::AppPassword, Some(&app.verifiers.argon2id), text.letters);
        }
    }
    let main = credentials.password.as_ref().map(|verifiers| verifiers.argon2id.as_str());
    (Proof::Password, main, zeroize::Zeroizing::new(typed.to_owned()))
}

/// HMAC-SHA-256 of parts, each with its length before it, so that no two lists of parts are alike.
fn sign(key: &hmac::Key, what: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in std::iter::once(&what).chain(parts) {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut tag = [0; 32];
    tag.copy_from_slice(context.sign().as_ref());
    tag
}

fn internal(error: impl std::fmt::Display) -> LoginError {
    StoreError::Internal(error.to_string()).into()
}

fn out_of_turn(answer: &DirectoryAnswer) -> LoginError {
    internal(format!("the directory answered out of turn: {answer:?}"))
}

/// A nonce for SCRAM: printable, without a comma.
pub(crate) fn nonce() -> Result<String, LoginError> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    Ok(BASE64_STANDARD.encode(random::<18>().map_err(internal)?))
}
