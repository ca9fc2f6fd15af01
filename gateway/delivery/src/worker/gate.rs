//! The last step before a message is the remote's: the final dot, and what may still break off before it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use securanet_gateway::{connection::Shutdown, model::outbound::Place};

use super::{lease::Lease, queue::Queue};

/// Asked before the final dot: commits the intent.
pub(crate) struct Gate {
    pub(crate) queue: Queue,
    pub(crate) lease: Arc<Lease>,
    pub(crate) places: Vec<(Place, u32)>,
    pub(crate) shutdown: Shutdown,
    /// The intent is being committed or is: the transaction is not broken off any more.
    pub(crate) passed: Arc<AtomicBool>,
}

impl Gate {
    /// Whether the final dot may be passed for the recipients at these positions of the envelope.
    pub(crate) async fn pass(self, accepted: Vec<usize>) -> Vec<bool> {
        let none = vec![false; accepted.len()];
        if self.shutdown.is_draining() || !self.lease.is_living() {
            return none;
        }
        self.passed.store(true, Ordering::SeqCst);
        let places = accepted.iter().map(|&at| self.places[at]).collect();
        match self.queue.intend(self.lease.epoch(), places, self.lease.left()).await {
            // The commit may have taken as long as the lease lived.
            Ok(may) if self.lease.is_living() => may,
            Ok(_) => none,
            Err(error) => {
                tracing::warn!(group = %self.queue.group(), %error, "an intent could not be committed: not sent");
                none
            }
        }
    }
}

/// Resolves when a transaction is to be broken off; never once it has passed its gate.
pub(crate) async fn broken_off(shutdown: &Shutdown, lease: &Lease, passed: &AtomicBool) {
    must_stop(shutdown, lease).await;
    if passed.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
}

/// What comes before the gate; `None` when a stop or the lease's end came first.
pub(crate) async fn unless_stopped<T>(shutdown: &Shutdown, lease: &Lease, step: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = step => Some(done),
        () = must_stop(shutdown, lease) => None,
    }
}

async fn must_stop(shutdown: &Shutdown, lease: &Lease) {
    tokio::select! {
        () = shutdown.draining() => {}
        () = lease.ended() => {}
    }
}
