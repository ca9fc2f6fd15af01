//! What was acknowledged, and what the mailboxes say about it afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use crate::{dialogue::Dialogue, server::Server};

/// Message-IDs of attempts.
#[derive(Default)]
pub struct Ledger {
    acknowledged: Mutex<BTreeSet<String>>,
    attempted: Mutex<BTreeSet<String>>,
    seen: Mutex<BTreeMap<(String, u32), String>>,
}

impl Ledger {
    /// An attempt begins. Each has its own Message-ID.
    ///
    /// # Panics
    /// When the Message-ID was used before.
    pub fn attempt(&self, id: &str) {
        assert!(self.attempted.lock().unwrap().insert(id.to_owned()), "{id} is used twice");
    }

    /// The server said that it has it.
    pub fn acknowledge(&self, id: &str) {
        self.acknowledged.lock().unwrap().insert(id.to_owned());
    }

    /// How many were acknowledged.
    pub fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Compares with the INBOXes of these accounts: acknowledged exactly once, others at most once, no UID for two
    /// messages (also over time), and a clean scrub.
    ///
    /// # Panics
    /// With the promise that is broken.
    pub fn check(&self, server: &Server, accounts: &[&str]) {
        self.check_at(server, server, accounts);
    }

    /// The same, with the mailboxes read at a gateway and the scrub done by its store.
    ///
    /// # Panics
    /// With the promise that is broken.
    pub fn check_at(&self, server: &Server, store: &Server, accounts: &[&str]) {
        let mut found = BTreeMap::<String, u32>::new();
        for local in accounts {
            let mut last = 0;
            for (uid, id) in inbox(server, local) {
                assert!(uid > last, "P3: UIDs of {local} do not ascend: {uid} after {last}");
                last = uid;
                let mut seen = self.seen.lock().unwrap();
                let before = seen.entry(((*local).to_owned(), uid)).or_insert_with(|| id.clone());
                assert_eq!(*before, id, "P3: UID {uid} of {local} names another message than before");
                *found.entry(id).or_default() += 1;
            }
        }
        let attempted = self.attempted.lock().unwrap();
        for (id, count) in &found {
            assert_eq!(*count, 1, "P2: {id} is there {count} times");
            assert!(attempted.contains(id), "{id} was never sent");
        }
        let lost: Vec<_> =
            self.acknowledged.lock().unwrap().iter().filter(|id| !found.contains_key(*id)).cloned().collect();
        assert!(lost.is_empty(), "P1: acknowledged and lost: {lost:?}");
        let scrub = store.cli(&["scrub"], "").expect("scrub");
        assert!(scrub.contains(" 0 findings"), "{scrub}");
    }
}

/// UIDs and Message-IDs of an INBOX.
fn inbox(server: &Server, local: &str) -> Vec<(u32, String)> {
    let mut imap = Dialogue::imap(server.address("imap"), local).expect("login");
    imap.imap_ok("EXAMINE INBOX").expect("examine");
    let rows = imap.imap_ok("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").expect("fetch");
    let parse = |row: &String| {
        let uid = row.split("UID ").nth(1)?.split([' ', ')']).next()?.parse().ok()?;
        let id = row.split('<').nth(1)?.split('>').next()?;
        Some((uid, id.to_owned()))
    };
    let fetched = rows.iter().filter(|row| row.contains(" FETCH "));
    fetched.map(|row| parse(row).unwrap_or_else(|| panic!("no UID or Message-ID in {row:?}"))).collect()
}
