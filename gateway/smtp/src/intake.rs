//! A message on its way in: one sink for each tenant, its size, and whether it is refused already.
//!
//! A refused intake has no sinks any more, so nothing of it is kept; its octets are still counted, so that passing
//! over the rest of a message has a bound too.

use std::time::Duration;

use securanet_gateway::{
    client::StoreClient,
    model::{StoreError, TenantId},
    store::ContentSink,
};
use tokio::time::{Instant, timeout, timeout_at};

use crate::{
    grammar::{ContentScanner, Reply},
    refusal,
};

/// The store waits for memory with a bound of its own; this one is for a store that does not answer at all.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The store takes a piece of at most 16 KiB within this, or cannot take the message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Sinks by tenant.
pub(crate) type Sinks = Vec<(TenantId, Box<dyn ContentSink>)>;

/// A message being received.
pub(crate) struct Intake {
    sinks: Sinks,
    refused: Option<Reply>,
    octets: u64,
    octets_max: u64,
    /// When the whole message must have come.
    pub(crate) deadline: Instant,
    /// Finds line ends, and the end.
    pub(crate) scanner: ContentScanner,
    /// Names the message in logs, its trace field and the reply.
    pub(crate) id: String,
}

/// What an intake is opened with.
pub(crate) struct Opening<'a> {
    pub(crate) tenants: &'a [TenantId],
    /// The Received field.
    pub(crate) trace: Vec<u8>,
    /// What the client announced.
    pub(crate) size_octets: Option<u64>,
    pub(crate) octets_max: u64,
    pub(crate) scanner: ContentScanner,
    pub(crate) deadline: Instant,
    pub(crate) id: String,
}

impl Intake {
    /// Opens a sink for each tenant. Where the store refuses, the intake is refused from the beginning.
    pub(crate) async fn open(store: &StoreClient, opening: Opening<'_>) -> Self {
        let Opening { tenants, trace, size_octets, octets_max, scanner, deadline, id } = opening;
        let mut intake = Self {
            sinks: Vec::with_capacity(tenants.len()),
            refused: None,
            octets: 0,
            octets_max,
            deadline,
            scanner,
            id,
        };
        for &tenant in tenants {
            let put = store.store().put(tenant, trace.clone(), size_octets);
            match timeout(OPEN_TIMEOUT, put).await.unwrap_or(Err(StoreError::Busy)) {
                Ok(sink) => intake.sinks.push((tenant, sink)),
                Err(error) => {
                    tracing::info!(mail = intake.id, %error, "store does not take a message");
                    intake.refuse(refusal::of_store(&error));
                    break;
                }
            }
        }
        intake
    }

    /// Why the message is refused, if it is.
    pub(crate) const fn refused(&self) -> Option<&Reply> {
        self.refused.as_ref()
    }

    /// Refuses the message: what was taken is forgotten, what follows is passed over. The first refusal stays.
    pub(crate) fn refuse(&mut self, reply: Reply) {
        self.sinks.clear();
        self.scanner.discard();
        self.refused.get_or_insert(reply);
    }

    /// Octets of the message so far.
    pub(crate) const fn octets(&self) -> u64 {
        self.octets
    }

    /// A chunk of so many octets is announced: refused before it comes, if it is too large.
    pub(crate) fn announce(&mut self, octets: u64) {
        if octets > self.octets_max.saturating_sub(self.octets) {
            self.refuse(refusal::too_large(self.octets_max));
        }
    }

    /// Takes octets of the message.
    pub(crate) async fn write(&mut self, octets: &[u8]) {
        self.octets = self.octets.saturating_add(octets.len() as u64);
        if self.octets > self.octets_max {
            return self.refuse(refusal::too_large(self.octets_max));
        }
        let deadline = Instant::now() + WRITE_TIMEOUT;
        for (_, sink) in &mut self.sinks {
            if let Err(error) = timeout_at(deadline, sink.write(octets)).await.unwrap_or(Err(StoreError::Busy)) {
                tracing::warn!(mail = self.id, %error, "store does not take more of a message");
                return self.refuse(refusal::of_store(&error));
            }
        }
    }

    /// The sinks, all written.
    ///
    /// # Errors
    /// The reply, when the message is refused.
    pub(crate) fn into_sinks(self) -> Result<Sinks, Reply> {
        match self.refused {
            None => Ok(self.sinks),
            Some(reply) => Err(reply),
        }
    }
}
