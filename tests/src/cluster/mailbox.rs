//! What an account's mailboxes must look like, from what its people were told.
//!
//! Only one person changes an account, one command at a time, so that for each message it is known where it is and which flags
//! it has. A command whose answer was lost, or that was refused for now, may take effect at any time or never: from then on the
//! message may be as before or as after, and nobody touches it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use super::resync::{Cache, Lives, Shown, broken};

/// Where mail arrives.
pub const INBOX: &str = "INBOX";
/// Where people move it.
pub const ARCHIVE: &str = "Archive";
/// Both.
pub const MAILBOXES: [&str; 2] = [INBOX, ARCHIVE];
/// The place of a message that was expunged, or never came.
pub const NOWHERE: &str = "nowhere";
/// What people set and take away.
pub const FLAGS: [&str; 4] = ["\\Seen", "\\Flagged", "\\Answered", "$Work"];

/// What is known of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The mailboxes of which it is in one, or [`NOWHERE`].
    pub places: BTreeSet<&'static str>,
    /// What each flag may be.
    flags: BTreeMap<&'static str, BTreeSet<bool>>,
    /// Something about it is not known, and may change by itself.
    doubtful: bool,
    /// A command about it is under way.
    busy: bool,
    version: u64,
}

/// What is known of all messages at a moment.
pub type Snapshot = BTreeMap<String, Entry>;

/// An account.
pub struct Account {
    /// Its local part.
    pub local: String,
    entries: Mutex<Snapshot>,
    /// Which message a UID names, for ever.
    uids: Mutex<BTreeMap<(&'static str, u32), String>>,
    /// HIGHESTMODSEQ and UIDNEXT that somebody has seen.
    floors: Mutex<BTreeMap<&'static str, (u64, u64)>>,
}

impl Entry {
    fn at(place: &'static str) -> Self {
        let flags = FLAGS.map(|flag| (flag, BTreeSet::from([false]))).into();
        Self { places: [place].into(), flags, doubtful: false, busy: false, version: 0 }
    }

    fn fits(&self, mailbox: &str, shown: Option<&Shown>) -> Result<(), String> {
        let Some(shown) = shown else {
            return if self.places.iter().all(|place| *place == mailbox) {
                Err(format!("P1: it must be in {mailbox} and is not"))
            } else {
                Ok(())
            };
        };
        if !self.places.contains(mailbox) {
            return Err(format!("it is in {mailbox} as UID {} and must be in {:?}", shown.uid, self.places));
        }
        for (flag, possible) in &self.flags {
            let has = shown.flags.iter().any(|other| other.eq_ignore_ascii_case(flag));
            if !possible.contains(&has) {
                return Err(format!(
                    "P1: {flag} of UID {} in {mailbox} is {has}, acknowledged was the other",
                    shown.uid
                ));
            }
        }
        Ok(())
    }
}

impl Account {
    /// One that nobody has used.
    #[must_use]
    pub fn new(local: &str) -> Self {
        Self { local: local.to_owned(), entries: Mutex::default(), uids: Mutex::default(), floors: Mutex::default() }
    }

    /// What is known now.
    pub fn snapshot(&self) -> Snapshot {
        self.entries.lock().unwrap().clone()
    }

    /// Messages that are surely in a mailbox.
    pub fn sure(&self, mailbox: &'static str) -> Vec<String> {
        let entries = self.entries.lock().unwrap();
        let sure = |entry: &Entry| !entry.doubtful && entry.places == [mailbox].into();
        entries.iter().filter(|(_, entry)| sure(entry)).map(|(id, _)| id.clone()).collect()
    }

    /// How many messages somebody is in doubt of.
    pub fn doubtful(&self) -> usize {
        self.entries.lock().unwrap().values().filter(|entry| entry.doubtful).count()
    }

    /// Messages that arrived and that the account's person sees for the first time.
    pub fn arrived(&self, ids: impl Iterator<Item = String>) {
        let mut entries = self.entries.lock().unwrap();
        for id in ids {
            entries.entry(id).or_insert_with(|| Entry::at(INBOX));
        }
    }

    /// A command about a message begins.
    pub fn begin(&self, id: &str) {
        let mut entries = self.entries.lock().unwrap();
        let entry = entries.entry(id.to_owned()).or_insert_with(|| Entry::at(NOWHERE));
        (entry.busy, entry.version) = (true, entry.version + 1);
    }

    fn end(&self, id: &str, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries.lock().unwrap();
        let entry = entries.get_mut(id).expect("a command began");
        entry.busy = false;
        change(entry);
    }

    /// It is in this place now; or, when that is not `known`, perhaps.
    pub fn moved(&self, id: &str, to: &'static str, known: bool) {
        self.end(id, |entry| {
            if known {
                entry.places.clear();
            }
            entry.doubtful |= !known;
            entry.places.insert(to);
        });
    }

    /// A flag is so now; or perhaps.
    pub fn flagged(&self, id: &str, flag: &'static str, to: bool, known: bool) {
        self.end(id, |entry| {
            let possible = entry.flags.entry(flag).or_default();
            if known {
                possible.clear();
            }
            possible.insert(to);
            entry.doubtful |= !known;
        });
    }

    /// HIGHESTMODSEQ and UIDNEXT below which nobody may find a mailbox from now on.
    pub fn floor(&self, mailbox: &'static str) -> (u64, u64) {
        self.floors.lock().unwrap().get(mailbox).copied().unwrap_or_default()
    }

    /// A copy of a mailbox was brought up to date at a server, after `floor` was asked for.
    ///
    /// # Errors
    /// When it shows something older, or a UID that names another message than before.
    pub fn opened(&self, mailbox: &'static str, floor: (u64, u64), cache: &Cache) -> Lives<()> {
        let seen = (cache.modseq, cache.uid_next);
        if seen.0 < floor.0 || seen.1 < floor.1 {
            let local = &self.local;
            return broken(format!("P3: {mailbox} of {local} shows {seen:?} where somebody has seen {floor:?} before"));
        }
        let mut floors = self.floors.lock().unwrap();
        let known = floors.entry(mailbox).or_default();
        *known = (known.0.max(seen.0), known.1.max(seen.1));
        drop(floors);
        cache.ids().try_for_each(|(uid, id)| self.names(mailbox, uid, id))
    }

    /// A UID names this message.
    ///
    /// # Errors
    /// When it named another one.
    pub fn names(&self, mailbox: &'static str, uid: u32, id: &str) -> Lives<()> {
        let mut uids = self.uids.lock().unwrap();
        let before = uids.entry((mailbox, uid)).or_insert_with(|| id.to_owned());
        if before == id {
            return Ok(());
        }
        broken(format!("P3: UID {uid} of {mailbox} of {} names {id} and named {before}", self.local))
    }

    /// Compares what a mailbox shows with what was known before it was opened. What somebody has touched since does not count.
    /// `kept`: Message-IDs that were acknowledged before.
    ///
    /// # Errors
    /// With the promise that is broken.
    pub fn compare(
        &self,
        mailbox: &str,
        before: &Snapshot,
        kept: &[String],
        view: &BTreeMap<String, Shown>,
    ) -> Lives<()> {
        let now = self.entries.lock().unwrap();
        let untouched = |id: &str, entry: &Entry| {
            !entry.busy && now.get(id).is_some_and(|now| !now.busy && now.version == entry.version)
        };
        for (id, entry) in before.iter().filter(|(id, entry)| untouched(id, entry)) {
            if let Err(why) = entry.fits(mailbox, view.get(id)) {
                return broken(format!("{id} of {}: {why}", self.local));
            }
        }
        let missing = |id: &&String| !before.contains_key(*id) && !now.contains_key(*id) && !view.contains_key(*id);
        if mailbox == INBOX
            && let Some(id) = kept.iter().find(missing)
        {
            return broken(format!("P1: {id} was acknowledged and is not in the INBOX of {}", self.local));
        }
        Ok(())
    }

    /// Whether a message may be in none of the mailboxes.
    pub fn may_be_nowhere(&self, id: &str) -> bool {
        self.entries.lock().unwrap().get(id).is_some_and(|entry| entry.places.contains(NOWHERE))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::resync::Trouble, *};

    fn view(flags: &[&str]) -> BTreeMap<String, Shown> {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        BTreeMap::from([("m".to_owned(), Shown { uid: 1, flags })])
    }

    #[track_caller]
    fn check(account: &Account, mailbox: &str, shown: &BTreeMap<String, Shown>, expect: &str) {
        match (account.compare(mailbox, &account.snapshot(), &[], shown), expect) {
            (Ok(()), "") => {}
            (Err(Trouble::Broken(why)), expect) if !expect.is_empty() && why.contains(expect) => {}
            (other, expect) => panic!("{other:?} instead of {expect:?}"),
        }
    }

    #[test]
    fn what_was_acknowledged_must_be_seen_and_what_is_unknown_may_be() {
        let account = Account::new("ann");
        account.arrived(["m".to_owned()].into_iter());
        check(&account, INBOX, &view(&[]), "");
        check(&account, INBOX, &BTreeMap::new(), "must be in INBOX");
        check(&account, ARCHIVE, &view(&[]), "it is in Archive");
        account.begin("m");
        check(&account, INBOX, &BTreeMap::new(), "");
        account.flagged("m", "\\Seen", true, true);
        check(&account, INBOX, &view(&[]), "\\Seen of UID 1");
        check(&account, INBOX, &view(&["\\seen"]), "");
        account.begin("m");
        account.flagged("m", "\\Seen", false, false);
        check(&account, INBOX, &view(&[]), "");
        check(&account, INBOX, &view(&["\\Seen"]), "");
        assert!(account.sure(INBOX).is_empty());
        account.begin("m");
        account.moved("m", ARCHIVE, true);
        check(&account, INBOX, &BTreeMap::new(), "");
        check(&account, INBOX, &view(&[]), "must be in");
        check(&account, ARCHIVE, &BTreeMap::new(), "must be in Archive");
    }

    #[test]
    fn mail_that_was_acknowledged_must_be_there_although_nobody_has_seen_it() {
        let account = Account::new("ann");
        let missing = account.compare(INBOX, &account.snapshot(), &["m".to_owned()], &BTreeMap::new());
        assert!(matches!(missing, Err(Trouble::Broken(why)) if why.starts_with("P1")));
        account.names(INBOX, 1, "m").unwrap();
        assert!(account.names(INBOX, 1, "n").is_err());
    }
}
