//! One sync of the disk for many: whoever asks while one runs shares the next.
//!
//! The sync that runs does not count for those who come while it does: their bytes may have been written after
//! it began. After a failed one nothing is known any more, so all who wait and all who come get its error.

use parking_lot::{Condvar, Mutex};
use securanet_kv::KvError;

/// Gathers callers.
#[derive(Default)]
pub(crate) struct GroupSync {
    state: Mutex<State>,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// How many syncs began and how many of them are over.
    begun: u64,
    over: u64,
    failed: Option<KvError>,
}

impl GroupSync {
    /// Returns once a `sync` that began after this call is over; this caller's, or another's.
    ///
    /// # Errors
    /// The first error that any `sync` gave.
    pub(crate) fn wait(&self, sync: &dyn Fn() -> Result<(), KvError>) -> Result<(), KvError> {
        let mut state = self.state.lock();
        let needed = state.begun + 1;
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if state.over >= needed {
                return Ok(());
            }
            if state.begun > state.over {
                self.done.wait(&mut state);
                continue;
            }
            state.begun += 1;
            drop(state);
            let result = sync();
            state = self.state.lock();
            state.over += 1;
            state.failed = result.err();
            self.done.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn callers_share_syncs_and_each_gets_one_that_began_after_it() {
        let (group, written, synced, syncs) =
            (GroupSync::default(), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let sync = || {
            let covered = written.load(Ordering::SeqCst);
            thread::sleep(Duration::from_millis(1));
            synced.fetch_max(covered, Ordering::SeqCst);
            syncs.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        group.wait(&sync).unwrap();
                        assert!(synced.load(Ordering::SeqCst) >= mine, "write {mine} is not covered");
                    }
                });
            }
        });
        assert!(syncs.load(Ordering::SeqCst) < 160, "nothing was shared");
    }

    #[test]
    fn an_error_is_for_all_and_for_ever() {
        let group = GroupSync::default();
        let error = KvError::Io { path: "blob".to_owned(), message: "no".to_owned() };
        assert_eq!(group.wait(&|| Err(error.clone())), Err(error.clone()));
        assert_eq!(group.wait(&|| Ok(())), Err(error));
    }
}
