//! Flags that were acknowledged, and the counters of mailboxes, and what the mailboxes say about both afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use crate::{dialogue::Dialogue, server::Server};

/// The flags of one message, sorted.
pub type Flags = BTreeSet<String>;

/// What one session at a time has set in INBOXes.
#[derive(Default)]
pub struct Marks {
    /// By account and UID: what they may be. The last one was asked for last; alone, it was acknowledged.
    possible: Mutex<BTreeMap<(String, u32), Vec<Flags>>>,
    counters: Mutex<BTreeMap<String, Counters>>,
}

/// What STATUS says of a mailbox and never goes back.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    uid_validity: u64,
    uid_next: u64,
    highest_modseq: u64,
}

impl Counters {
    /// Asks.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn ask(imap: &mut Dialogue, mailbox: &str) -> anyhow::Result<Self> {
        let text = imap.imap_ok(&format!("STATUS {mailbox} (UIDVALIDITY UIDNEXT HIGHESTMODSEQ)"))?.join(" ");
        let number = |name: &str| {
            let after = text.split_once(&format!("{name} ")).map(|(_, after)| after.split([' ', ')']).next());
            after.flatten().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let (uid_validity, uid_next) = (number("UIDVALIDITY"), number("UIDNEXT"));
        Ok(Self { uid_validity, uid_next, highest_modseq: number("HIGHESTMODSEQ") })
    }
}

impl Marks {
    /// Flags are about to be set.
    pub fn attempt(&self, local: &str, uid: u32, flags: Flags) {
        let mut possible = self.possible.lock().unwrap();
        possible.entry((local.to_owned(), uid)).or_insert_with(|| vec![Flags::new()]).push(flags);
    }

    /// What was asked for last is so.
    pub fn acknowledge(&self, local: &str, uid: u32) {
        if let Some(possible) = self.possible.lock().unwrap().get_mut(&(local.to_owned(), uid)) {
            possible.drain(..possible.len() - 1);
        }
    }

    /// Counters were seen.
    ///
    /// # Panics
    /// When they went back.
    pub fn saw(&self, local: &str, now: Counters) {
        let mut counters = self.counters.lock().unwrap();
        let before =
            counters.insert(local.to_owned(), now).unwrap_or(Counters { highest_modseq: 0, uid_next: 0, ..now });
        assert_eq!(before.uid_validity, now.uid_validity, "P3: UIDVALIDITY of {local} has changed");
        assert!(before.uid_next <= now.uid_next, "P3: {local}: {before:?} before {now:?}");
        assert!(before.highest_modseq <= now.highest_modseq, "P3: {local}: {before:?} before {now:?}");
    }

    /// How many messages have flags that were acknowledged.
    pub fn count(&self) -> usize {
        self.possible.lock().unwrap().values().filter(|possible| possible.len() == 1).count()
    }

    /// Compares with the INBOXes: flags are as last acknowledged, or as asked for after that; counters have not gone back.
    ///
    /// # Panics
    /// When they are not.
    pub fn check(&self, server: &Server, accounts: &[&str]) {
        for local in accounts {
            let mut imap = Dialogue::imap(server.address("imap"), local).expect("login");
            self.saw(local, Counters::ask(&mut imap, "INBOX").expect("status"));
            imap.imap_ok("EXAMINE INBOX").expect("examine");
            let found: BTreeMap<u32, Flags> =
                imap.imap_ok("UID FETCH 1:* (FLAGS)").expect("fetch").iter().filter_map(|row| flags(row)).collect();
            let mut all = self.possible.lock().unwrap();
            for ((_, uid), possible) in all.iter_mut().filter(|((of, _), _)| of == local) {
                let now = found.get(uid).unwrap_or_else(|| panic!("P1: UID {uid} of {local} had flags and is gone"));
                assert!(
                    possible.contains(now),
                    "P1: flags of UID {uid} of {local} are {now:?}, not one of {possible:?}"
                );
                *possible = vec![now.clone()];
            }
        }
    }
}

/// The UID and the flags of a FETCH response.
fn flags(row: &str) -> Option<(u32, Flags)> {
    let uid = row.split_once("UID ")?.1.split([' ', ')']).next()?.parse().ok()?;
    let list = row.split_once("FLAGS (")?.1.split(')').next()?;
    Some((uid, list.split_whitespace().filter(|flag| *flag != "\\Recent").map(str::to_owned).collect()))
}
