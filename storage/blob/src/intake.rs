//! Taking a message in: gathered once, taken apart, its blobs durable and leased, its rest sealed.
//!
//! A [`Spool`] holds the message in one piece of memory: the scanner, the decoder and the store read from it, and
//! nothing copies it. A small message costs no disk and some tens of microseconds; [`Spool::may_block`] tells
//! whether [`Spool::finish`] is of the other kind.
//!
//! Order of durability: blobs put (each under a lease), one sync for all, and only then the answer that lets a
//! command name them. Whoever drops a spool, or fails in the middle, leaves blobs that nobody names: their leases
//! end and collection takes them.
//!
//! Memory is bounded over all messages by one [`Budget`]: a message is charged for what it holds and for what
//! taking it apart needs. A spool that grows reserves more first; without room it refuses with
//! [`BlobError::Busy`] and nothing is lost, so the caller may wait for [`Budget::reserve`] and try again.

use std::sync::Arc;

use securanet_model::{
    TenantId, UnixMillis,
    content::{Ingested, NewMessage},
    limits, record,
    summary::Summary,
};

use crate::{
    BlobError, BlobStore, Lease,
    budget::{Budget, Reservation},
    deposit::Deposit,
    identity::identify,
    keys::ContentKeys,
    mime::{
        boundary::Boundaries,
        header::Header,
        structure::{self, Scan},
    },
    preview, recipe, seal,
};

/// How long blobs are kept for the command that will name them: a request's longest life, five times over.
pub const LEASE_MILLIS: u64 = 5 * limits::REQUEST_DEADLINE_MILLIS_MAX;

/// Octets up to which a spool grows step by step. Beyond, room for the largest message is set aside at once: it is
/// address space, which costs nothing until it is written to, and growing again would copy everything.
const STEPWISE_SIZE_BYTES_MAX: usize = 256 * 1024;
/// Address space that is set aside at once at most; larger limits grow by doubling from there.
const RESERVED_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Memory that taking a message apart needs at most beside the message itself.
const WORK_SIZE_BYTES: u64 = 6 * 1024 * 1024;
/// Memory is reserved in steps of this size.
const STEP_BYTES: u64 = 16 * 1024;

/// Bounds of taking in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IntakeSettings {
    /// Largest message in octets, our trace not counted.
    pub message_size_bytes_max: u64,
    /// Memory for all messages being taken in; at least what one largest message needs is set aside in any case.
    pub memory_bytes_max: u64,
}

impl Default for IntakeSettings {
    fn default() -> Self {
        Self { message_size_bytes_max: limits::MESSAGE_SIZE_BYTES_MAX, memory_bytes_max: 256 * 1024 * 1024 }
    }
}

/// Where messages are taken in.
pub struct Intake {
    store: Arc<BlobStore>,
    keys: ContentKeys,
    settings: IntakeSettings,
    budget: Arc<Budget>,
}

impl Intake {
    /// An intake whose blobs go to `store`, named with `keys`.
    #[must_use]
    pub fn new(store: Arc<BlobStore>, keys: ContentKeys, settings: IntakeSettings) -> Arc<Self> {
        let one_message = charge(settings.message_size_bytes_max.saturating_add(STEP_BYTES));
        let budget = Budget::new(settings.memory_bytes_max.max(one_message));
        Arc::new(Self { store, keys, settings, budget })
    }

    /// The memory that all spools share.
    #[must_use]
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// What [`Intake::begin`] reserves for a message with this announcement: to wait for it beforehand.
    #[must_use]
    pub fn admission_bytes(&self, trace_size_bytes: usize, size_hint_bytes: Option<u64>) -> u64 {
        let first = size_hint_bytes.unwrap_or(0).min(STEPWISE_SIZE_BYTES_MAX as u64);
        charge(first + trace_size_bytes as u64)
    }

    /// Begins to take a message in. `trace` (the Received field, with its line break) stands before what follows;
    /// `size_hint_bytes` is what the client announced (RFC 1870).
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] when the announcement is over the limit; [`BlobError::Busy`] when there is no memory.
    pub fn begin(
        self: &Arc<Self>,
        tenant: TenantId,
        trace: Vec<u8>,
        size_hint_bytes: Option<u64>,
    ) -> Result<Spool, BlobError> {
        let bytes = self.admission_bytes(trace.len(), size_hint_bytes);
        let reservation = self.budget.try_reserve(bytes).ok_or(BlobError::Busy)?;
        self.begin_with(tenant, trace, size_hint_bytes, reservation)
    }

    /// Like [`Intake::begin`], with memory that was waited for ([`Intake::admission_bytes`] of it).
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] when the announcement is over the limit.
    pub fn begin_with(
        self: &Arc<Self>,
        tenant: TenantId,
        trace: Vec<u8>,
        size_hint_bytes: Option<u64>,
        reservation: Reservation,
    ) -> Result<Spool, BlobError> {
        let limit_bytes = self.settings.message_size_bytes_max;
        if size_hint_bytes.is_some_and(|hint| hint > limit_bytes) {
            return Err(BlobError::TooLarge { limit_bytes });
        }
        let trace_size = trace.len();
        let mut bytes = trace;
        let hint = usize::try_from(size_hint_bytes.unwrap_or(4096)).unwrap_or(usize::MAX);
        bytes.reserve_exact(hint.min(STEPWISE_SIZE_BYTES_MAX));
        Ok(Spool { intake: Arc::clone(self), tenant, bytes, trace_size, reservation })
    }
}

/// Memory that a message of this size is charged for: what it holds, and what taking it apart needs.
fn charge(size_bytes: u64) -> u64 {
    size_bytes.saturating_mul(4).min(size_bytes.saturating_add(WORK_SIZE_BYTES)).next_multiple_of(STEP_BYTES)
}

/// A message being gathered. Dropping it forgets it.
pub struct Spool {
    intake: Arc<Intake>,
    tenant: TenantId,
    bytes: Vec<u8>,
    trace_size: usize,
    reservation: Reservation,
}

impl Spool {
    /// Octets taken so far, the trace not counted.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        (self.bytes.len() - self.trace_size) as u64
    }

    /// How much more of the budget is needed before this many octets fit; 0 when they do.
    #[must_use]
    pub fn shortfall_bytes(&self, more: usize) -> u64 {
        charge((self.bytes.len() + more) as u64).saturating_sub(self.reservation.bytes())
    }

    /// Adds memory that was waited for.
    pub fn top_up(&mut self, reservation: Reservation) {
        self.reservation.merge(reservation);
    }

    /// Takes more bytes.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] when the message outgrows the limit; [`BlobError::Busy`] when there is no memory for
    /// them. Nothing of them is taken then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let limit_bytes = self.intake.settings.message_size_bytes_max;
        if self.size_bytes().saturating_add(bytes.len() as u64) > limit_bytes {
            return Err(BlobError::TooLarge { limit_bytes });
        }
        let shortfall_bytes = self.shortfall_bytes(bytes.len());
        if shortfall_bytes > 0 {
            self.top_up(self.intake.budget.try_reserve(shortfall_bytes).ok_or(BlobError::Busy)?);
        }
        self.make_room(bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn make_room(&mut self, more: usize) -> Result<(), BlobError> {
        let needed = self.bytes.len() + more;
        if needed <= self.bytes.capacity() {
            return Ok(());
        }
        let limit = usize::try_from(self.intake.settings.message_size_bytes_max).unwrap_or(usize::MAX);
        let capacity = if needed <= STEPWISE_SIZE_BYTES_MAX {
            needed.saturating_mul(2).min(STEPWISE_SIZE_BYTES_MAX)
        } else {
            limit.min(RESERVED_SIZE_BYTES_MAX.max(needed.saturating_mul(2))).saturating_add(self.trace_size)
        };
        self.bytes.try_reserve_exact(capacity.max(needed) - self.bytes.len()).map_err(|_| BlobError::Busy)
    }

    /// Whether [`Spool::finish`] may wait for a disk or compute for milliseconds: then it belongs on a thread
    /// that may block.
    #[must_use]
    pub const fn may_block(&self) -> bool {
        self.bytes.len() as u64 >= limits::BLOB_PART_SIZE_BYTES_MIN
    }

    /// All is there: takes the message apart, makes its blobs durable, and answers with what commands carry.
    ///
    /// # Errors
    /// Those of the store ([`BlobError::is_fatal`] must be asked); [`BlobError::Codec`].
    pub fn finish(self, now: UnixMillis) -> Result<Ingested, BlobError> {
        let Intake { store, keys, .. } = &*self.intake;
        let Scan { header, envelope, structure } = structure::scan(&self.bytes);
        let (trace, received) = self.bytes.split_at(self.trace_size);
        let own_received = Header::read(trace, 0, &Boundaries::new()).received_count();
        let identity = identify(keys, self.tenant, &header, received);
        let lease = Lease { now, until: now.plus_millis(LEASE_MILLIS) };
        let mut deposit = Deposit::new(store, keys, self.tenant, lease);
        let recipe = deposit.keep(&recipe::cut(&self.bytes, &structure))?;
        let blobs = deposit.finish()?;
        let summary = Summary {
            preview: preview::of(&self.bytes, &structure),
            envelope,
            structure,
            header_size_bytes: header.end() as u64,
            header_has_utf8: !self.bytes[..header.end()].is_ascii(),
        };
        let message = NewMessage {
            size_bytes: self.bytes.len() as u64,
            recipe: seal::seal(recipe.encode())?,
            blobs,
            summary: seal::seal(record::encode_into(&summary, Vec::with_capacity(1024)))?,
            thread_keys: identity.thread_keys,
            internal_date: None,
        };
        Ok(Ingested {
            message,
            received_count: header.received_count().saturating_sub(own_received),
            repeat_key: identity.repeat_key,
            message_id: identity.message_id,
            delivered_to: identity.delivered_to,
            lease_until: lease.until,
        })
    }
}
