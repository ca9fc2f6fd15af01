//! Policies in the directory behind those in this process: what one gateway fetched, each knows, also after a restart
//! (RFC 8461 10.2: a cached policy is what holds against whoever suppresses its record or its host).
//!
//! The process' memory is the fast path and is always right for what this process fetched; the directory is asked for
//! what is not in it, and told what is new. A directory that does not answer is done without, and said so in the log.

use std::time::Duration;

use futures::future::BoxFuture;
use quick_cache::sync::Cache;
use securanet_gateway::{
    client::StoreClient,
    clock,
    model::{
        DomainName,
        directory::{DirectoryAnswer, DirectoryCommand, DirectoryQuery, DirectoryReply},
        sts::{STS_POLICY_OCTETS_MAX, StsPolicyRow},
    },
};
use tokio::time::{Instant, timeout};

use super::{
    grammar::StsPolicy,
    memory::{PolicyMemory, ProcessMemory, Remembered},
};

/// Mail waits no longer for what the directory has.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// Nor for the directory to keep something: twice a commit's usual time on the slowest links.
const TELL_PATIENCE: Duration = Duration::from_secs(5);
/// That the directory has no policy of a domain is believed so long; another gateway may have fetched one meanwhile.
const ABSENT_FOR: Duration = Duration::from_secs(60);

/// Keeps policies in this process and in the directory.
pub struct DirectoryMemory {
    client: StoreClient,
    process: ProcessMemory,
    /// Domains of which the directory had nothing, and until when that is believed.
    absent: Cache<String, Instant>,
}

impl DirectoryMemory {
    /// `domains_max`: policies kept in this process.
    #[must_use]
    pub fn new(client: StoreClient, domains_max: usize) -> Self {
        Self { client, process: ProcessMemory::new(domains_max), absent: Cache::new(domains_max.max(1)) }
    }

    async fn ask(&self, domain: &str) -> Option<Remembered> {
        let name = DomainName::parse(domain).ok()?;
        if self.absent.get(domain).is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let asked = self.client.look_up(DirectoryQuery::StsPolicy(name));
        let row = match timeout(ASK_PATIENCE, asked).await {
            Ok(Ok(DirectoryAnswer::StsPolicy(row))) => row,
            failed => {
                tracing::warn!(domain, ?failed, "whether an MTA-STS policy is known cannot be told");
                return None;
            }
        };
        let remembered = row.and_then(|row| read(&row)).filter(|known| known.lives(clock::now()));
        match &remembered {
            Some(known) => self.process.put(domain, known.clone()).await,
            None => self.absent.insert(domain.to_owned(), Instant::now() + ABSENT_FOR),
        }
        remembered
    }

    async fn tell(&self, domain: &str, remembered: Remembered) {
        let Ok(name) = DomainName::parse(domain) else { return };
        let text = remembered.policy.text();
        if text.len() > STS_POLICY_OCTETS_MAX {
            tracing::warn!(domain, octets = text.len(), "an MTA-STS policy is too long to be kept beyond this process");
            return;
        }
        let row = StsPolicyRow {
            domain: name,
            id: remembered.id,
            text,
            fetched: remembered.fetched,
            max_age_seconds: remembered.policy.max_age_seconds,
        };
        match timeout(TELL_PATIENCE, self.client.directory(DirectoryCommand::PutStsPolicy(row))).await {
            Ok(Ok(DirectoryReply::Done)) => {}
            failed => tracing::warn!(domain, ?failed, "an MTA-STS policy is kept in this process alone"),
        }
    }
}

fn read(row: &StsPolicyRow) -> Option<Remembered> {
    let policy = StsPolicy::parse(row.text.as_bytes())?;
    Some(Remembered { id: row.id.clone(), policy, fetched: row.fetched })
}

impl PolicyMemory for DirectoryMemory {
    fn get<'a>(&'a self, domain: &'a str) -> BoxFuture<'a, Option<Remembered>> {
        Box::pin(async move {
            match self.process.get(domain).await.filter(|known| known.lives(clock::now())) {
                Some(known) => Some(known),
                None => self.ask(domain).await,
            }
        })
    }

    /// Told to the directory only where it is news: another policy, or half of the old one's life is over.
    fn put<'a>(&'a self, domain: &'a str, remembered: Remembered) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let before = self.process.get(domain).await;
            self.process.put(domain, remembered.clone()).await;
            let same = |before: &Remembered| before.id == remembered.id && before.policy == remembered.policy;
            if before.is_none_or(|before| !same(&before) || before.is_half_over(remembered.fetched)) {
                self.tell(domain, remembered).await;
            }
        })
    }
}
