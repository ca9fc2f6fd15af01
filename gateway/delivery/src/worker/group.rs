//! The worker of one queue group: looks at what is due, takes it under a lease, and has the group's timers fired.
//!
//! It looks when the store's watch says that work came in, when memory has room again, when a fact was settled, when
//! the next thing is due, and every half minute whoever forgot to wake it. It holds a lease only while it has
//! something in hand.
//!
//! A recipient is claimed in memory, then its envelope is read, then it is taken: so what fails before the last step
//! costs nothing. When it is not known whether something was taken, the lease is abandoned: it ends, and whoever sees
//! that makes due again what was taken under it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use securanet_gateway::model::{
    GroupId, StoreError, UnixMillis,
    outbound::{DueCursor, DueDestination, Origin, Place, Schedule, Taken},
    request::Topic,
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Core,
    destination::Load,
    intending::Intent,
    lease::{Lease, RENEWED_EVERY},
    letter::{Head, Letter, TLS_REPORT_PREFIX},
    queue::{LeaseReply, Queue},
    revival::{Task, revived},
    settling::Fact,
    timers::Timers,
};
use crate::metric;

/// Looks at the queue at least this often, whoever forgot to wake us.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// Never looks more often: what comes in a burst is taken in one go.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// When something is due that cannot be begun now, it looks again so soon.
const PATIENCE: Duration = Duration::from_secs(1);
/// A lease with nothing in hand is kept so long: mail that trickles in needs no new one for each letter.
const IDLE_LEASE: Duration = Duration::from_secs(10);
/// Granting a lease is one commit.
const LEASE_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to renew a lease while the group does not answer.
const RENEW_AGAIN: Duration = Duration::from_millis(300);
/// Destinations of a page, and recipients of each: together what memory holds by default.
const PAGE_DESTINATIONS: u32 = 50;
const PAGE_ROWS: u32 = 100;
/// Recipients of one command.
const TAKE_MAX: usize = 1000;
/// Envelopes read at the same time.
const ENVELOPES_AT_ONCE: usize = 16;
/// Of five places of a destination the queue gives four to single letters, as long as there are some.
const LETTERS_OF_FIVE: usize = 4;

/// What everybody who has a letter of the group knows of it.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) group: GroupId,
    in_hand: AtomicUsize,
    wake: Notify,
}

impl Handle {
    pub(crate) fn new(group: GroupId) -> Self {
        Self { group, in_hand: AtomicUsize::new(0), wake: Notify::new() }
    }

    /// Recipients were claimed (they end with [`Core::release`]).
    fn claimed(&self, count: usize) {
        self.in_hand.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn released(&self, count: usize) {
        self.in_hand.fetch_sub(count, Ordering::Relaxed);
    }

    fn is_idle(&self) -> bool {
        self.in_hand.load(Ordering::Relaxed) == 0
    }

    /// Something may be due sooner than was known.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

/// The ways of the group's letters into its queue.
#[derive(Clone)]
pub(crate) struct Lines {
    pub(crate) facts: mpsc::Sender<Fact>,
    pub(crate) intents: mpsc::Sender<Intent>,
}

/// One claimed recipient. Dropped before it is a letter's, its memory is given back.
struct Claim {
    core: Arc<Core>,
    handle: Arc<Handle>,
    destination: Arc<str>,
    place: Place,
    is_bulk: bool,
    handed_on: bool,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.handed_on {
            self.core.release(&self.handle, &self.destination, 1);
        }
    }
}

/// What is known of an item that is about to be taken.
struct Known {
    head: Arc<Head>,
    schedule: Arc<Schedule>,
}

/// The worker of one group.
struct Group {
    core: Arc<Core>,
    handle: Arc<Handle>,
    lines: Lines,
    queue: Queue,
    lease: Option<Arc<Lease>>,
    lease_used: Instant,
    cursor: Option<DueCursor>,
    timers: Timers,
    renewals: JoinSet<()>,
}

/// When to look again.
struct Next {
    pause: Duration,
    /// More is due than memory had room for.
    wants_room: bool,
}

/// Works on a group until the node drains, whatever happens; gives what renews the lease, for as long as sessions need it.
pub(crate) async fn run(core: Arc<Core>, handle: Arc<Handle>, lines: Lines) -> JoinSet<()> {
    let task = Task { name: "group", group: handle.group };
    revived(task, &core.shutdown, || Group::new(core.clone(), handle.clone(), lines.clone()).run()).await
}

impl Group {
    fn new(core: Arc<Core>, handle: Arc<Handle>, lines: Lines) -> Self {
        let queue = Queue::new(core.client.clone(), handle.group);
        Self {
            timers: Timers::new(core.clone(), queue.clone()),
            core,
            handle,
            lines,
            queue,
            lease: None,
            lease_used: Instant::now(),
            cursor: None,
            renewals: JoinSet::new(),
        }
    }

    /// Works until the node drains; gives what renews the lease, for as long as sessions need it.
    async fn run(mut self) -> JoinSet<()> {
        let mut topic = self.core.client.store().watch(Topic::Outbound(self.handle.group));
        let mut room = self.core.room.subscribe();
        let draining = self.core.shutdown.draining();
        tokio::pin!(draining);
        loop {
            topic.mark_unchanged();
            room.mark_unchanged();
            let next = tokio::select! {
                // First: one that died of its look stops all the same.
                biased;
                () = &mut draining => break,
                next = self.look() => next,
            };
            tokio::select! {
                () = &mut draining => break,
                Ok(()) = topic.changed() => {}
                Ok(()) = room.changed(), if next.wants_room => {}
                () = self.handle.wake.notified() => {}
                () = self.timers.ended() => {}
                () = sleep(next.pause) => {}
            }
            sleep(BETWEEN_LOOKS).await;
        }
        self.timers.stop().await;
        self.renewals
    }

    async fn look(&mut self) -> Next {
        while self.renewals.try_join_next().is_some() {}
        match self.try_look().await {
            Ok(next) => next,
            Err(error) => {
                // A new leader, or the timer, brings the next look.
                tracing::debug!(group = %self.handle.group, %error, "the outbound queue cannot be read");
                Next { pause: PATIENCE, wants_room: false }
            }
        }
    }

    async fn try_look(&mut self) -> Result<Next, StoreError> {
        let now = self.core.now();
        let left_for = self.core.leaves_for(self.handle.group);
        let mine = now.minus_millis(u64::try_from(left_for.as_millis()).unwrap_or(u64::MAX));
        self.timers.begin(mine).await?;
        let wants_room = self.bring(mine).await?;
        self.let_lease_go();
        let depth = self.queue.depth().await?;
        metric::depth(self.handle.group, &depth, now);
        let due_in = depth.next_due.map(|due| {
            let mine = due.plus_millis(u64::try_from(left_for.as_millis()).unwrap_or(0));
            Duration::from_millis(mine.millis_since(self.core.now()))
        });
        let pause = match due_in {
            _ if wants_room || self.timers.is_busy() => PATIENCE,
            Some(due_in) if due_in.is_zero() => PATIENCE / 4,
            Some(due_in) => due_in,
            None => LOOK_AGAIN,
        };
        let longest = if self.lease.is_some() { IDLE_LEASE } else { LOOK_AGAIN };
        Ok(Next { pause: pause.min(longest), wants_room })
    }

    fn let_lease_go(&mut self) {
        let unused = self.handle.is_idle() && self.lease_used.elapsed() >= IDLE_LEASE;
        if unused && let Some(lease) = self.lease.take() {
            lease.end();
        }
    }

    /// Takes what is due and has room in memory; whether more is due.
    async fn bring(&mut self, now: UnixMillis) -> Result<bool, StoreError> {
        let mut wants_room = false;
        let mut again = false;
        loop {
            let (page, next) = self.queue.due(now, self.cursor.take(), PAGE_DESTINATIONS, PAGE_ROWS).await?;
            let claims = self.claim(&page);
            let due: usize = page.iter().map(|destination| destination.places.len()).sum();
            wants_room |= claims.len() < due;
            again |= claims.len() == due && page.iter().any(|each| each.places.len() == PAGE_ROWS as usize);
            let taken = self.take(claims).await?;
            self.cursor = next;
            if self.core.is_full() {
                return Ok(true);
            }
            if self.cursor.is_none() && !(std::mem::take(&mut again) && taken > 0) {
                return Ok(wants_room);
            }
        }
    }

    fn claim(&self, page: &[DueDestination]) -> Vec<Claim> {
        let mut claims = Vec::new();
        let mut scheduler = self.core.scheduler.lock();
        for due in page {
            let name = scheduler.known_as(&due.destination);
            let granted = scheduler.claim(Instant::now(), &name, due.places.len(), due.failing_since.is_some());
            let bulk = bulk_of(due.places.len(), due.letters as usize);
            for (&place, is_bulk) in due.places.iter().zip(bulk).take(granted) {
                self.handle.claimed(1);
                let (core, handle, destination) = (self.core.clone(), self.handle.clone(), name.clone());
                claims.push(Claim { core, handle, destination, place, is_bulk, handed_on: false });
            }
        }
        claims
    }

    /// Takes what was claimed and hands it to the scheduler; how many there were.
    async fn take(&mut self, claims: Vec<Claim>) -> Result<usize, StoreError> {
        if claims.is_empty() {
            return Ok(0);
        }
        let lease = self.lease().await?;
        let heads = self.heads(&claims).await?;
        let mut count = 0;
        let mut rest = claims;
        while !rest.is_empty() {
            let chunk: Vec<Claim> = rest.drain(..rest.len().min(TAKE_MAX)).collect();
            let places = chunk.iter().map(|claim| claim.place).collect();
            match self.queue.take(lease.epoch(), places, lease.left()).await {
                Ok(Some(taken)) => count += self.offer(chunk, taken, &heads, &lease).await,
                Ok(None) => {
                    lease.end();
                    return Ok(count);
                }
                Err(error) => {
                    tracing::warn!(group = %self.handle.group, %error, "not known what was taken: the lease is abandoned");
                    lease.end();
                    return Err(error);
                }
            }
        }
        Ok(count)
    }

    /// The lease that lives, or a new one.
    async fn lease(&mut self) -> Result<Arc<Lease>, StoreError> {
        self.lease_used = Instant::now();
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.is_living()) {
            return Ok(lease.clone());
        }
        let asked = Instant::now();
        let LeaseReply::Granted(epoch) = self.queue.lease(self.core.worker, None, LEASE_PATIENCE).await? else {
            return Err(StoreError::Unavailable("no lease was granted".to_owned()));
        };
        let lease = Arc::new(Lease::new(epoch, asked));
        self.renewals.spawn(renew(self.core.clone(), self.queue.clone(), lease.clone()));
        self.lease = Some(lease.clone());
        Ok(lease)
    }

    /// The envelopes of what was claimed, by item.
    async fn heads(&self, claims: &[Claim]) -> Result<BTreeMap<u64, Known>, StoreError> {
        let mut items: Vec<u64> = claims.iter().map(|claim| claim.place.item).collect();
        items.sort_unstable();
        items.dedup();
        let read = stream::iter(items).map(|item| async move {
            let Some(head) = self.core.heads.of(&self.queue, item).await? else { return Ok(None) };
            let schedule = self.core.schedules.of(&head.view.origin).await?;
            Ok::<_, StoreError>(Some((item, Known { head, schedule })))
        });
        let found: Vec<_> = read.buffer_unordered(ENVELOPES_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// A route's times go before those of the sender's policies.
    fn schedule(&self, destination: &str, policies: &Arc<Schedule>) -> Arc<Schedule> {
        let destination = destination.strip_prefix(TLS_REPORT_PREFIX).unwrap_or(destination);
        self.core.wire.times(destination).map_or_else(|| policies.clone(), |times| Arc::new(times.over(policies)))
    }

    /// Hands what was taken to the scheduler, recipients of one item and destination together.
    async fn offer(
        &self,
        claims: Vec<Claim>,
        taken: Vec<Option<Taken>>,
        known: &BTreeMap<u64, Known>,
        lease: &Arc<Lease>,
    ) -> usize {
        let mut count = 0;
        let mut letters: Vec<(Arc<str>, Load<Letter>)> = Vec::new();
        let mut open: BTreeMap<(u64, Arc<str>), usize> = BTreeMap::new();
        for (mut claim, taken) in claims.into_iter().zip(taken) {
            let (Some(taken), Some(known)) = (taken, known.get(&claim.place.item)) else { continue };
            count += 1;
            let destination = self.core.routed(&known.head.view, &taken, &claim.destination);
            if destination != claim.destination {
                // Where one TLS report goes says nothing of the other mail there.
                let aside = known.head.view.origin == Origin::TlsReport;
                let queued = (!aside).then_some(taken.recipient.destination.as_str());
                let moved = (&claim.destination, &destination);
                self.core.scheduler.lock().reclaim(Instant::now(), queued, moved, 1);
            }
            let key = (claim.place.item, destination.clone());
            let at = open.get(&key).copied().filter(|&at| letters[at].1.recipients < self.core.recipients_max());
            let at = at.unwrap_or_else(|| {
                let letter = Letter {
                    core: self.core.clone(),
                    handle: self.handle.clone(),
                    facts: self.lines.facts.clone(),
                    intents: self.lines.intents.clone(),
                    lease: lease.clone(),
                    head: known.head.clone(),
                    schedule: self.schedule(&destination, &known.schedule),
                    destination: destination.clone(),
                    recipients: Vec::new(),
                };
                letters.push((destination, Load { letter, recipients: 0, is_bulk: claim.is_bulk }));
                letters.len() - 1
            });
            open.insert(key, at);
            let load = &mut letters[at].1;
            load.letter.recipients.push(taken);
            load.recipients += 1;
            claim.handed_on = true;
        }
        let now = Instant::now();
        for (letter, verdict) in self.core.offer(letters) {
            letter.settle_all(now, &verdict).await;
        }
        count
    }
}

/// Which of a destination's places are bulk, by the order in which the queue gives them.
fn bulk_of(places: usize, letters: usize) -> impl Iterator<Item = bool> {
    let mut left = (letters.min(places), places - letters.min(places));
    (0..places).map(move |at| {
        let bulks_turn = at % (LETTERS_OF_FIVE + 1) == LETTERS_OF_FIVE;
        let is_bulk = if bulks_turn { left.1 > 0 } else { left.0 == 0 };
        if is_bulk {
            left.1 -= 1
        } else {
            left.0 -= 1
        }
        is_bulk
    })
}

/// Renews a lease until it ends.
async fn renew(core: Arc<Core>, queue: Queue, lease: Arc<Lease>) {
    let mut pause = RENEWED_EVERY;
    while lease.is_living() {
        tokio::select! {
            () = sleep(pause) => {}
            () = lease.ended() => break,
        }
        let asked = Instant::now();
        match queue.lease(core.worker, Some(lease.epoch()), lease.left()).await {
            Ok(LeaseReply::Granted(_)) => {
                lease.renewed(asked);
                pause = RENEWED_EVERY;
            }
            Ok(LeaseReply::Ended) => lease.end(),
            Err(_) => pause = RENEW_AGAIN,
        }
    }
    let dropped = core.drop_letters(&lease, queue.group());
    if dropped > 0 {
        tracing::warn!(group = %queue.group(), recipients = dropped, "a lease was lost: its recipients become due again");
        metric::lease_lost();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_is_told_from_letters_by_the_queues_order() {
        let cases =
            [(0, 0, ""), (3, 3, "lll"), (3, 0, "bbb"), (7, 5, "llllblb"), (12, 8, "llllbllllbbb"), (8, 6, "llllbllb")];
        for (places, letters, expected) in cases {
            let text: String = bulk_of(places, letters).map(|is_bulk| if is_bulk { 'b' } else { 'l' }).collect();
            assert_eq!(text, expected, "{places} places, {letters} letters");
        }
    }
}
