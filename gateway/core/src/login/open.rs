//! Open logins, and their end when the account changes under them.
//!
//! One task watches the directory for the whole process. When it has changed, the task asks for each account
//! that has an open login or a remembered password, once however many sessions it has, and ends those whose
//! credential version, place or existence is not what it was, or whose app password policy forbids now. Changes that come close together are looked at
//! together, so that an import of many accounts does not ask for all of them after each.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use securanet_model::{
    AccountId, Epoch, GroupId,
    directory::{Account, AccountStatus, DirectoryAnswer, DirectoryQuery},
    policy::Scope,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::memory::Memory;
use crate::{client::StoreClient, metric};

/// Changes within this time are looked at together; with the asking, well within the second that is promised.
const GATHERED: Duration = Duration::from_millis(100);
/// Asking for very many accounts takes time; what it takes is left to others four times over, up to this.
const REST_MAX: Duration = Duration::from_millis(500);
/// When the directory gives no answer, it is asked again after this.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// Remembered passwords are dropped at their end at least this often, also when nobody logs in.
const EXPIRY_PERIOD: Duration = Duration::from_secs(30);

/// What a login was opened with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Proof {
    /// The account's password, itself or by SCRAM.
    Password,
    /// An app password: it ends when policy forbids these, though no credential has changed.
    AppPassword,
}

/// What an open login relies on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Facts {
    account: AccountId,
    credential_version: u64,
    group: GroupId,
    epoch: Epoch,
    proof: Proof,
}

/// All open logins of this process.
#[derive(Default)]
pub(crate) struct OpenLogins {
    by_account: Mutex<HashMap<AccountId, Vec<Weak<OpenLogin>>>>,
    /// How far the directory had come when it was last asked; and who wants it asked again.
    swept: Mutex<u64>,
    again: Notify,
}

/// The logins of one account under the same facts.
pub(crate) struct OpenLogin {
    facts: Facts,
    ended: watch::Sender<bool>,
    registry: Arc<OpenLogins>,
}

impl OpenLogins {
    /// Registers a login of an account that was read when the directory's watch stood at `seen`.
    pub(crate) fn open(self: &Arc<Self>, account: &Account, proof: Proof, seen: u64) -> Arc<OpenLogin> {
        let facts = Facts::of(account, proof);
        let mut by_account = self.by_account.lock();
        let entries = by_account.entry(account.id).or_default();
        let there = entries.iter().filter_map(Weak::upgrade).find(|login| login.facts == facts);
        let login = there.unwrap_or_else(|| {
            let login = Arc::new(OpenLogin { facts, ended: watch::Sender::new(false), registry: self.clone() });
            entries.push(Arc::downgrade(&login));
            login
        });
        drop(by_account);
        // The account may have changed after it was read and been asked for before it was registered.
        if *self.swept.lock() > seen {
            self.again.notify_one();
        }
        login
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.by_account.lock().keys().copied().collect()
    }

    /// Whether the account has an open login that relies on app passwords being allowed.
    fn has_by_app_password(&self, id: AccountId) -> bool {
        let by_account = self.by_account.lock();
        let mut entries = by_account.get(&id).into_iter().flatten().filter_map(Weak::upgrade);
        entries.any(|login| login.facts.proof == Proof::AppPassword)
    }

    /// Ends the logins of an account that rely on anything but this; `None`: the account is gone.
    fn end_unless(&self, id: AccountId, account: Option<&Account>, app_passwords: bool) {
        let entries: Vec<_> = self.by_account.lock().get(&id).into_iter().flatten().filter_map(Weak::upgrade).collect();
        for login in entries {
            if let Some(reason) = login.facts.broken_by(account, app_passwords)
                && !login.ended.send_replace(true)
            {
                metric::logins_ended(reason);
                tracing::info!(account = %id, reason, "open sessions ended");
            }
        }
    }
}

impl OpenLogin {
    /// Resolves when the login has ended.
    pub(crate) async fn ended(&self) {
        // The sender lives as long as `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

impl Drop for OpenLogin {
    fn drop(&mut self) {
        let mut by_account = self.registry.by_account.lock();
        let Some(entries) = by_account.get_mut(&self.facts.account) else { return };
        entries.retain(|entry| entry.strong_count() > 0);
        if entries.is_empty() {
            by_account.remove(&self.facts.account);
        }
    }
}

impl Facts {
    const fn of(account: &Account, proof: Proof) -> Self {
        Self {
            account: account.id,
            credential_version: account.credential_version,
            group: account.group,
            epoch: account.epoch,
            proof,
        }
    }

    /// Why a session that relies on these facts must end, if it must.
    fn broken_by(&self, account: Option<&Account>, app_passwords: bool) -> Option<&'static str> {
        let Some(account) = account else { return Some("deleted") };
        let now = Self::of(account, self.proof);
        if account.status != AccountStatus::Active {
            Some("suspended")
        } else if now.credential_version != self.credential_version {
            Some("credentials")
        } else if self.proof == Proof::AppPassword && !app_passwords {
            Some("policy")
        } else {
            (now != *self).then_some("moved")
        }
    }
}

/// Watches the directory until nobody holds the memory any more. `changes` is older than every login, so that
/// none can rely on something that changed unseen.
pub(crate) async fn watch(
    client: StoreClient,
    mut changes: watch::Receiver<u64>,
    logins: Arc<OpenLogins>,
    memory: Weak<Memory>,
) {
    loop {
        let ended = tokio::select! {
            changed = changes.changed() => changed.is_err(),
            () = logins.again.notified() => false,
            () = tokio::time::sleep(EXPIRY_PERIOD) => {
                let Some(memory) = memory.upgrade() else { return };
                memory.expire(Instant::now());
                continue;
            }
        };
        if ended {
            return;
        }
        tokio::time::sleep(GATHERED).await;
        let index = *changes.borrow_and_update();
        let Some(memory) = memory.upgrade() else { return };
        *logins.swept.lock() = index;
        let began = Instant::now();
        sweep(&client, &logins, &memory).await;
        tokio::time::sleep((began.elapsed() * 4).min(REST_MAX)).await;
    }
}

async fn sweep(client: &StoreClient, logins: &OpenLogins, memory: &Memory) {
    let mut accounts = [logins.accounts(), memory.accounts()].concat();
    accounts.sort_unstable();
    accounts.dedup();
    for id in accounts {
        let account = account(client, id).await;
        memory.forget(id, account.as_ref().map(|account| account.credential_version));
        // Asked only for those whom it concerns, and as late as they were registered: a login that comes while this
        // runs is seen by the next sweep, which it asks for itself.
        let app_passwords = !logins.has_by_app_password(id) || may_use_app_passwords(client, id).await;
        logins.end_unless(id, account.as_ref(), app_passwords);
    }
}

/// Whether policy allows the account app passwords. Asks until there is an answer.
async fn may_use_app_passwords(client: &StoreClient, id: AccountId) -> bool {
    loop {
        let query = DirectoryQuery::Policy("account.app_passwords".to_owned(), Scope::Account(id));
        match super::ask(client, query).await {
            Ok(DirectoryAnswer::Policy(value)) => return value.is_none_or(|(value, _)| value != "false"),
            Ok(_) | Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// The account as it is now. Asks until there is an answer: what is not known ends nobody's session.
async fn account(client: &StoreClient, id: AccountId) -> Option<Account> {
    loop {
        match super::ask(client, DirectoryQuery::AccountById(id)).await {
            Ok(DirectoryAnswer::Account(account)) => return account,
            Ok(_) | Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}
