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
    submission::completion::{Completed, Completion},
};

/// The store waits for memory with a bound of its own; this one is for a store that does not answer at all.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// The store takes a piece of at most 16 KiB within this, or cannot take the message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// A piece.
const PIECE_OCTETS: usize = 16 * 1024;

/// Sinks by tenant.
pub(crate) type Sinks = Vec<(TenantId, Box<dyn ContentSink>)>;

/// A message being received.
pub(crate) struct Intake {
    sinks: Sinks,
    refused: Option<Reply>,
    octets: u64,
    octets_max: u64,
    /// While the header of a submitted message is not whole: nothing was written yet.
    completion: Option<Completion>,
    eight_bit: bool,
    eight_bit_header: bool,
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
    /// Completes the header, where the message is submitted.
    pub(crate) completion: Option<Completion>,
}

/// A message that has come whole.
pub(crate) struct Received {
    pub(crate) sinks: Sinks,
    /// It has octets above 127.
    pub(crate) eight_bit: bool,
    /// Its header has some.
    pub(crate) eight_bit_header: bool,
}

impl Intake {
    /// Opens a sink for each tenant. Where the store refuses, the intake is refused from the beginning.
    pub(crate) async fn open(store: &StoreClient, opening: Opening<'_>) -> Self {
        let Opening { tenants, trace, size_octets, octets_max, scanner, deadline, id, completion } = opening;
        let mut intake = Self {
            sinks: Vec::with_capacity(tenants.len()),
            refused: None,
            octets: 0,
            octets_max,
            completion,
            eight_bit: false,
            eight_bit_header: false,
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
        self.completion = None;
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
        self.eight_bit |= !octets.is_ascii();
        let Some(completion) = &mut self.completion else { return self.put(octets).await };
        match completion.push(octets).await {
            Ok(None) => {}
            Ok(Some(completed)) => self.put_header(completed).await,
            Err(reply) => self.refuse(reply),
        }
    }

    /// The header is whole: from here on the message goes through as it comes.
    async fn put_header(&mut self, completed: Completed) {
        self.completion = None;
        self.eight_bit_header = completed.has_eight_bit;
        for piece in completed.octets.chunks(PIECE_OCTETS) {
            self.put(piece).await;
        }
    }

    async fn put(&mut self, octets: &[u8]) {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        for (_, sink) in &mut self.sinks {
            if let Err(error) = timeout_at(deadline, sink.write(octets)).await.unwrap_or(Err(StoreError::Busy)) {
                tracing::warn!(mail = self.id, %error, "store does not take more of a message");
                return self.refuse(refusal::of_store(&error));
            }
        }
    }

    /// The message is over: the sinks, all written.
    ///
    /// # Errors
    /// The reply, when the message is refused.
    pub(crate) async fn finish(mut self) -> Result<Received, Reply> {
        if let Some(completion) = self.completion.take() {
            match completion.finish().await {
                Ok(completed) => self.put_header(completed).await,
                Err(reply) => self.refuse(reply),
            }
        }
        match self.refused {
            None => {
                Ok(Received { sinks: self.sinks, eight_bit: self.eight_bit, eight_bit_header: self.eight_bit_header })
            }
            Some(reply) => Err(reply),
        }
    }
}
