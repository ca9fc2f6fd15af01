//! Where work runs that waits for a disk: on threads of its own, or, in a simulation, on the only thread there is.
//!
//! A simulation runs several nodes on one thread whose time and chance are its own, so that the same seed gives the
//! same run. Whatever this crate does on another thread would run beside that: so it asks here for one. Everything else
//! needs no seam: tasks, timers and connections are tokio's, which simulates them, and chance and clocks come from the
//! system, where the simulation puts its own (`tests/simulation`).
//!
//! Outside of a simulation these are the calls that stand here, and nothing more.

use std::{cell::RefCell, future::Future, rc::Rc, time::Duration};

use tokio::task::JoinHandle;

thread_local! {
    static SIMULATED: RefCell<Option<Rc<dyn Fn() -> Duration>>> = const { RefCell::new(None) };
}

/// Makes this thread that of a simulation: from now on, and as long as the thread lives. A disk takes as long as
/// `disk_takes` says, each time.
pub fn simulate(disk_takes: impl Fn() -> Duration + 'static) {
    SIMULATED.set(Some(Rc::new(disk_takes)));
}

/// Whether this thread is that of a simulation.
pub(crate) fn is_simulated() -> bool {
    SIMULATED.with_borrow(Option::is_some)
}

/// Waits as long as a simulated disk takes.
pub(crate) fn simulated_disk() -> impl Future<Output = ()> {
    let takes = SIMULATED.with_borrow(|simulated| simulated.clone()).map(|takes| takes());
    tokio::time::sleep(takes.unwrap_or_default())
}

/// Runs what may wait for a disk on a thread that may; in a simulation as a task, in its turn.
pub(crate) fn spawn_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    if is_simulated() { tokio::spawn(async { work() }) } else { tokio::task::spawn_blocking(work) }
}

/// Octets that nobody else has: a UUID of version 7. Made of the clock and chance alone: the generator that keeps ids of
/// one millisecond in order is one for the process, and would let a simulation hear of another one.
pub(crate) fn fresh_id() -> [u8; 16] {
    uuid::Uuid::new_v7(uuid::Timestamp::now(uuid::NoContext)).into_bytes()
}
