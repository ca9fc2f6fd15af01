//! The last step before a message is the remote's: the final dot, and what may still break off before it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use securanet_gateway::{connection::Shutdown, model::outbound::Place};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{intending::Intent, lease::Lease};

/// Asked before the final dot: commits the intent.
pub(crate) struct Gate {
    pub(crate) intents: mpsc::Sender<Intent>,
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
        match timeout(self.lease.left(), self.ask(places)).await {
            // The commit may have taken as long as the lease lived.
            Ok(Some(may)) if self.lease.is_living() => may,
            _ => none,
        }
    }

    /// `None` when the intent could not be committed.
    async fn ask(&self, places: Vec<(Place, u32)>) -> Option<Vec<bool>> {
        let (answer, answered) = oneshot::channel();
        let intent = Intent { lease: self.lease.clone(), places, answer };
        self.intents.send(intent).await.ok()?;
        answered.await.ok()
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
