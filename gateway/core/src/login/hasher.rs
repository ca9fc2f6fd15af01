//! Computing argon2id: never on a thread of the runtime, never more at once than there are cores, and once for
//! all who ask the same at the same time.
//!
//! Each computation takes 19 MiB; as many as cores at once is what a machine can do anyway, and bounds the
//! memory. Who cannot be served in ten seconds is told to come again: a client that is kept waiting longer
//! gives up and asks once more, on top.

use std::{collections::HashMap, sync::Arc, time::Duration};

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use parking_lot::Mutex;
use securanet_model::StoreError;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::Instant,
};
use zeroize::Zeroizing;

use super::{LoginError, memory::Tag, password};
use crate::metric;

const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);
/// A verifier that came from elsewhere may cost more than ours, but not so much that it stops the machine.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;

/// Computes for all logins of this process.
pub(crate) struct Hasher {
    cores: Arc<Semaphore>,
    unmatchable: String,
    under_way: Mutex<HashMap<Tag, Arc<OnceCell<bool>>>>,
    #[cfg(test)]
    runs: std::sync::atomic::AtomicUsize,
}

/// One asker's share in a computation; the last one to leave takes it out of the map.
struct Share<'a> {
    hasher: &'a Hasher,
    tag: Tag,
    cell: Arc<OnceCell<bool>>,
}

impl Hasher {
    pub(crate) fn new() -> Result<Self, password::PasswordError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            cores: Arc::new(Semaphore::new(cores)),
            unmatchable: password::unmatchable()?,
            under_way: Mutex::default(),
            #[cfg(test)]
            runs: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// Whether a password fits a PHC string; without one nothing fits, and finding that takes as long. `tag`
    /// names (whose, which version, which password).
    pub(crate) async fn fits(&self, tag: Tag, phc: Option<&str>, password: &str) -> Result<bool, LoginError> {
        let share = self.share(tag);
        let phc = phc.unwrap_or(&self.unmatchable);
        // When the one who computes goes away, the next of the waiting ones does it.
        share.cell.get_or_try_init(|| self.compute(phc.to_owned(), password.to_owned())).await.copied()
    }

    fn share(&self, tag: Tag) -> Share<'_> {
        let cell = self.under_way.lock().entry(tag).or_default().clone();
        Share { hasher: self, tag, cell }
    }

    async fn compute(&self, phc: String, password: String) -> Result<bool, LoginError> {
        let password = Zeroizing::new(password);
        let permit = tokio::time::timeout(QUEUE_TIMEOUT, self.cores.clone().acquire_owned())
            .await
            .map_err(|_| StoreError::Busy)?
            .map_err(|_| StoreError::Draining)?;
        #[cfg(test)]
        self.runs.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let computed = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let fits = verify(&phc, &password);
            metric::login_hashed(began.elapsed());
            // Kept until the work is done, also when nobody waits for it any more.
            drop(permit);
            fits
        });
        Ok(computed.await.map_err(|error| StoreError::Internal(format!("argon2id: {error}")))??)
    }

    #[cfg(test)]
    pub(crate) fn runs(&self) -> usize {
        self.runs.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut under_way = self.hasher.under_way.lock();
        // The map's and ours: nobody else is waiting.
        if Arc::strong_count(&self.cell) == 2 {
            under_way.remove(&self.tag);
        }
    }
}

fn verify(phc: &str, password: &str) -> Result<bool, StoreError> {
    let damaged =
        |what: &str| StoreError::Damaged(format!("a password verifier in the directory {what}: set the password anew"));
    let hash = PasswordHash::new(phc).map_err(|_| damaged("is no PHC string"))?;
    let params = argon2::Params::try_from(&hash).map_err(|_| damaged("has no argon2 parameters"))?;
    if params.m_cost() > MEMORY_KIB_MAX || params.t_cost() > PASSES_MAX {
        return Err(damaged("costs too much to check"));
    }
    Ok(Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}
