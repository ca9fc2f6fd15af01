//! A bound on memory that many messages share.
//!
//! Whoever takes bytes in reserves them first. Without room there are two ways: refuse at once
//! ([`Budget::try_reserve`]) or wait in line ([`Budget::reserve`], a plain future that any executor can drive and
//! any timer can cut short). The line is first come, first served: a large request is not overtaken for ever by
//! small ones. A reservation gives its bytes back when it is dropped.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Bytes that may be in use at the same time.
pub struct Budget {
    capacity_bytes: u64,
    state: Mutex<State>,
}

struct State {
    free_bytes: u64,
    next_ticket: u64,
    line: BTreeMap<u64, Waiting>,
}

struct Waiting {
    bytes: u64,
    granted: bool,
    waker: Option<Waker>,
}

impl Budget {
    /// A budget of this many bytes, all of them free.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Arc<Self> {
        let state = State { free_bytes: capacity_bytes, next_ticket: 0, line: BTreeMap::new() };
        Arc::new(Self { capacity_bytes, state: Mutex::new(state) })
    }

    /// All its bytes.
    #[must_use]
    pub const fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Bytes in use now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.capacity_bytes - self.state().free_bytes
    }

    /// Reserves bytes if they are free and nobody waits for them already.
    #[must_use]
    pub fn try_reserve(self: &Arc<Self>, bytes: u64) -> Option<Reservation> {
        let mut state = self.state();
        if bytes > state.free_bytes || !state.line.is_empty() {
            return None;
        }
        state.free_bytes -= bytes;
        drop(state);
        Some(Reservation { budget: Arc::clone(self), bytes })
    }

    /// Reserves bytes as soon as they are free; more than the whole budget is cut to it. Waits from the first
    /// poll on, for as long as it takes: put a deadline around it. Dropping it leaves the line.
    #[must_use = "a future does nothing unless it is awaited"]
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Reserve {
        Reserve { budget: Arc::clone(self), bytes: bytes.min(self.capacity_bytes), ticket: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; and if it did, the numbers would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self, bytes: u64) {
        let woken = {
            let mut state = self.state();
            state.free_bytes += bytes;
            state.serve_line()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

impl State {
    /// Grants what fits, in order; returns whom to wake.
    fn serve_line(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        for waiting in self.line.values_mut().filter(|waiting| !waiting.granted) {
            if waiting.bytes > self.free_bytes {
                break;
            }
            self.free_bytes -= waiting.bytes;
            waiting.granted = true;
            woken.extend(waiting.waker.take());
        }
        woken
    }
}

/// Bytes of a [`Budget`] that are somebody's until dropped.
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// How many.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds the bytes of another reservation of the same budget.
    pub fn merge(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.budget, &other.budget), "two budgets");
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.release(self.bytes);
        }
    }
}

/// Waiting for a [`Reservation`].
pub struct Reserve {
    budget: Arc<Budget>,
    bytes: u64,
    ticket: Option<u64>,
}

impl Future for Reserve {
    type Output = Reservation;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reservation> {
        let (budget, bytes) = (Arc::clone(&self.budget), self.bytes);
        let mut state = budget.state();
        let ticket = *self.ticket.get_or_insert_with(|| {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.line.insert(ticket, Waiting { bytes, granted: false, waker: None });
            ticket
        });
        // Whoever is new in an empty line may be served at once; nobody else is woken by that.
        let woken = state.serve_line();
        let poll = match state.line.get_mut(&ticket) {
            Some(waiting) if !waiting.granted => {
                waiting.waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => {
                state.line.remove(&ticket);
                Poll::Ready(())
            }
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
        poll.map(|()| {
            self.ticket = None;
            Reservation { budget, bytes }
        })
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let woken = {
            let mut state = self.budget.state();
            if let Some(Waiting { granted: true, bytes, .. }) = state.line.remove(&ticket) {
                state.free_bytes += bytes;
            }
            // A large request that left may have stood before smaller ones.
            state.serve_line()
        };
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(reserve: &mut Reserve, woken: &Arc<Woken>) -> Option<Reservation> {
        let waker = Waker::from(Arc::clone(woken));
        match Pin::new(reserve).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(reservation) => Some(reservation),
            Poll::Pending => None,
        }
    }

    #[test]
    fn bytes_come_back_when_reservations_are_dropped() {
        let budget = Budget::new(10);
        let mut first = budget.try_reserve(4).unwrap();
        first.merge(budget.try_reserve(4).unwrap());
        assert_eq!((first.bytes(), budget.used_bytes()), (8, 8));
        assert!(budget.try_reserve(3).is_none());
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn the_line_is_served_in_order_and_nobody_overtakes() {
        let (budget, woken) = (Budget::new(10), Arc::new(Woken::default()));
        let held = budget.try_reserve(8).unwrap();
        let (mut large, mut small) = (budget.reserve(100), budget.reserve(1));
        assert!(poll(&mut large, &woken).is_none());
        assert!(poll(&mut small, &woken).is_none(), "it stands behind the large one");
        assert!(budget.try_reserve(1).is_none());
        drop(held);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        let held = poll(&mut large, &woken).unwrap();
        assert_eq!(held.bytes(), 10, "cut to the whole budget");
        drop(held);
        assert_eq!(poll(&mut small, &woken).unwrap().bytes(), 1);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn who_leaves_the_line_lets_the_others_go_on() {
        let (budget, woken) = (Budget::new(10), Arc::new(Woken::default()));
        let held = budget.try_reserve(5).unwrap();
        let (mut large, mut small) = (budget.reserve(10), budget.reserve(5));
        assert!(poll(&mut large, &woken).is_none() && poll(&mut small, &woken).is_none());
        drop(large);
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        drop(small);
        assert_eq!(budget.used_bytes(), 5, "granted but never fetched");
        drop(held);
        assert_eq!(budget.used_bytes(), 0);
    }
}
