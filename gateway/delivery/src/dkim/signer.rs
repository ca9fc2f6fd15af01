//! Who signs what: the keys of the directory, and the rule by which a message gets the signature of a domain of ours.
//!
//! The signature of a domain makes receivers believe its From, so it is given only to mail whose From was checked when
//! it came: what an account or a granted device submitted (sent on or not), and our own reports. Other mail that is sent on came
//! from anywhere, its From may be forged: it is signed in the name of whoever sends it on, and not at all when that
//! would seem to confirm the From.
//!
//! A domain without keys of its own is signed for by the nearest parent that has some (relaxed alignment, RFC 7489
//! 3.1.1). Keys are remembered until anything in the directory changes.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use securanet_gateway::{
    client::StoreClient,
    model::{
        DomainName, StoreError,
        directory::{DirectoryAnswer, DirectoryQuery},
        dkim::{DkimKey, DkimState},
        outbound::{ItemView, Origin},
        request::Topic,
    },
    signing::SigningKey,
    store::Content,
};
use tokio::sync::watch;

use super::{DomainKey, SignError, open, signature};
use crate::outgoing::{Outgoing, Plan};

/// Domains whose keys are remembered; beyond it, all are forgotten and asked for again.
const DOMAINS_MAX: usize = 10_000;
/// Parents of a domain that are asked for keys.
const PARENTS_MAX: usize = 4;

type Keys = Arc<[Arc<DomainKey>]>;

/// Signs what leaves. Cheap to share.
pub struct Signer {
    client: StoreClient,
    directory: Mutex<Known>,
}

struct Known {
    changes: watch::Receiver<u64>,
    /// How often all was forgotten: an answer from before is not remembered.
    forgotten: u64,
    keys: HashMap<DomainName, Keys>,
}

impl Known {
    /// Forgets all when the directory has changed; answers how often that happened.
    fn refresh(&mut self) -> u64 {
        if self.changes.has_changed().unwrap_or(true) {
            self.changes.mark_unchanged();
            self.keys.clear();
            self.forgotten += 1;
        }
        self.forgotten
    }
}

impl Signer {
    /// A signer with the keys of this store's directory.
    #[must_use]
    pub fn new(client: StoreClient) -> Self {
        let changes = client.store().watch(Topic::Directory);
        Self { client, directory: Mutex::new(Known { changes, forgotten: 0, keys: HashMap::new() }) }
    }

    /// The DKIM-Signature fields of an item as it leaves by a plan, with their CRLFs; nothing where no domain of ours
    /// answers for it. A message that cannot be signed by a fault of its own or of a key leaves without, and the log
    /// says so.
    ///
    /// # Errors
    /// Those of the store: the message or the directory cannot be read.
    pub async fn sign(
        &self,
        item: &ItemView,
        content: &Arc<dyn Content>,
        plan: &Arc<Plan>,
    ) -> Result<Vec<u8>, StoreError> {
        match self.signed(item, content, plan).await {
            Ok(fields) => Ok(fields),
            Err(SignError::Store(error)) => Err(error),
            Err(error @ SignError::Key(_)) => {
                tracing::error!(trace = item.trace_id, %error, "a message leaves without signature");
                Ok(Vec::new())
            }
            Err(error @ SignError::HeaderTooLong) => {
                tracing::warn!(trace = item.trace_id, %error, "a message leaves without signature");
                Ok(Vec::new())
            }
        }
    }

    async fn signed(
        &self,
        item: &ItemView,
        content: &Arc<dyn Content>,
        plan: &Arc<Plan>,
    ) -> Result<Vec<u8>, SignError> {
        let opened = open(Outgoing::new(content.clone(), plan.clone(), Vec::new())).await?;
        let Some(domain) = answerable(item, opened.author_domain()) else { return Ok(Vec::new()) };
        let keys = self.keys_for(&domain).await?;
        if keys.is_empty() { Ok(Vec::new()) } else { opened.sign(&keys).await }
    }

    /// Whether mail of a domain is signed.
    ///
    /// # Errors
    /// Those of the store, and keys that cannot be read.
    pub(crate) async fn signs(&self, domain: &DomainName) -> Result<bool, SignError> {
        self.keys_for(domain).await.map(|keys| !keys.is_empty())
    }

    /// The active keys of a domain or its nearest parent that has some.
    async fn keys_for(&self, domain: &DomainName) -> Result<Keys, SignError> {
        let mut name = domain.clone();
        for _ in 0..=PARENTS_MAX {
            let keys = self.keys_of(&name).await?;
            if !keys.is_empty() {
                return Ok(keys);
            }
            let Some(parent) = parent(&name) else { break };
            name = parent;
        }
        Ok(Arc::new([]))
    }

    async fn keys_of(&self, domain: &DomainName) -> Result<Keys, SignError> {
        let asked = {
            let mut directory = self.directory.lock();
            let asked = directory.refresh();
            if let Some(keys) = directory.keys.get(domain) {
                return Ok(keys.clone());
            }
            asked
        };
        let answer = self.client.look_up(DirectoryQuery::DkimKeys(domain.clone())).await?;
        let DirectoryAnswer::DkimKeys(stored) = answer else {
            return Err(StoreError::Internal("the directory answered out of turn".to_owned()).into());
        };
        let active = stored.into_iter().filter(|key| key.state == DkimState::Active);
        let keys: Keys = active.map(opened).collect::<Result<Vec<_>, _>>()?.into();
        let mut directory = self.directory.lock();
        if directory.refresh() == asked {
            if directory.keys.len() >= DOMAINS_MAX {
                directory.keys.clear();
            }
            directory.keys.insert(domain.clone(), keys.clone());
        }
        Ok(keys)
    }
}

fn opened(key: DkimKey) -> Result<Arc<signature::DomainKey>, SignError> {
    let opened = SigningKey::open(key.algorithm, &key.private)?;
    Ok(Arc::new(DomainKey { domain: key.domain, selector: key.selector, key: opened }))
}

/// The domain without its first label; `None` for one that has a single label behind it.
fn parent(domain: &DomainName) -> Option<DomainName> {
    let (_, rest) = domain.as_str().split_once('.')?;
    if rest.contains('.') { DomainName::parse(rest).ok() } else { None }
}

/// The domain in whose name a message may be signed.
fn answerable(item: &ItemView, author: Option<DomainName>) -> Option<DomainName> {
    match &item.origin {
        Origin::Forward(_) if item.options.author_checked => author,
        Origin::Account(_) | Origin::Report | Origin::Relay(_) | Origin::Local | Origin::TlsReport => author,
        Origin::Forward(by) => {
            let related = author.is_none_or(|author| are_related(&author, by.domain()));
            if related { None } else { Some(by.domain().clone()) }
        }
    }
}

/// Whether a signature of one could stand for the other by relaxed alignment: one is the other or below it, or they
/// have a parent in common that may have keys.
fn are_related(one: &DomainName, other: &DomainName) -> bool {
    let last_two = |domain: &DomainName| {
        let labels: Vec<_> = domain.as_str().rsplit('.').take(2).map(str::to_owned).collect();
        labels
    };
    last_two(one) == last_two(other)
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::{AccountId, Address, ReversePath, UnixMillis, outbound::EnvelopeOptions};

    use super::*;

    fn name(text: &str) -> DomainName {
        DomainName::parse(text).unwrap()
    }

    fn item(origin: Origin) -> ItemView {
        ItemView {
            item: 1,
            queued: UnixMillis::new(0),
            sender: ReversePath::Null,
            options: EnvelopeOptions::default(),
            origin,
            message_id: None,
            trace_id: String::new(),
            size_bytes: 0,
            recipients: Vec::new(),
        }
    }

    #[test]
    fn only_a_checked_from_gets_the_signature_of_its_domain() {
        let forward = Origin::Forward(Address::parse("ann@example.org").unwrap());
        let cases = [
            (Origin::Account(AccountId::new(1)), Some("example.org"), Some("example.org")),
            (Origin::Account(AccountId::new(1)), None, None),
            (Origin::Report, Some("mx.example.org"), Some("mx.example.org")),
            (Origin::TlsReport, Some("mx.example.org"), Some("mx.example.org")),
            (Origin::Relay("printers".to_owned()), Some("example.org"), Some("example.org")),
            (forward.clone(), Some("remote.example"), Some("example.org")),
            (forward.clone(), Some("example.org"), None),
            (forward.clone(), Some("sub.example.org"), None),
            (forward.clone(), None, None),
        ];
        for (origin, author, expect) in cases {
            assert_eq!(answerable(&item(origin.clone()), author.map(name)), expect.map(name), "{origin:?} {author:?}");
        }
        let mut submitted = item(forward);
        submitted.options.author_checked = true;
        assert_eq!(answerable(&submitted, Some(name("example.org"))), Some(name("example.org")), "submitted here");
    }

    #[test]
    fn parents_end_above_the_last_two_labels() {
        assert_eq!(parent(&name("mx.eu.example.org")), Some(name("eu.example.org")));
        assert_eq!(parent(&name("eu.example.org")), Some(name("example.org")));
        assert_eq!(parent(&name("example.org")), None);
    }
}
