//! A client's copy of a mailbox, kept up by QRESYNC (RFC 7162) over many sessions at many gateways, and what such a copy
//! proves: MODSEQ and UIDNEXT never go back, no UID appears below UIDNEXT, nothing changes without a new MODSEQ.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    dialogue::Dialogue,
    imap::{Row, code, numbers},
};

/// Why a session ended early.
#[derive(Debug)]
pub enum Trouble {
    /// The connection is gone, or the server said that it cannot now. That may be while things are broken.
    Gone(anyhow::Error),
    /// A promise was broken.
    Broken(String),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Gone(error)
    }
}

/// A session's result.
pub type Lives<T> = Result<T, Trouble>;

/// Gives up with what was broken.
pub(super) fn broken<T>(what: String) -> Lives<T> {
    Err(Trouble::Broken(what))
}

/// A message as a mailbox shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Its UID.
    pub uid: u32,
    /// Its flags without \Recent.
    pub flags: BTreeSet<String>,
}

/// What a client knows of a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cache {
    mailbox: &'static str,
    validity: u64,
    /// HIGHESTMODSEQ of the last completed SELECT.
    pub modseq: u64,
    /// UIDNEXT of the last completed SELECT.
    pub uid_next: u64,
    messages: BTreeMap<u32, (u64, BTreeSet<String>)>,
    ids: BTreeMap<u32, String>,
}

impl Cache {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(mailbox: &'static str) -> Self {
        Self { mailbox, validity: 0, modseq: 0, uid_next: 0, messages: BTreeMap::new(), ids: BTreeMap::new() }
    }

    /// Opens the mailbox (`SELECT` or `EXAMINE`) in a session that enabled QRESYNC, and learns what changed; the first time
    /// everything.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn open(&mut self, imap: &mut Dialogue, verb: &str) -> Lives<()> {
        let first = self.validity == 0;
        let argument =
            if first { "CONDSTORE".to_owned() } else { format!("QRESYNC ({} {})", self.validity, self.modseq) };
        let lines = imap.imap_ok(&format!("{verb} {} ({argument})", self.mailbox))?;
        let [validity, modseq, uid_next] =
            ["UIDVALIDITY", "HIGHESTMODSEQ", "UIDNEXT"].map(|name| number(&lines, name).unwrap_or_default());
        if validity == 0 || modseq == 0 || uid_next == 0 {
            return broken(format!("{verb} {} lacks a code: {lines:?}", self.mailbox));
        }
        if first {
            self.messages.clear();
            self.ids.clear();
            self.hear(&imap.imap_ok("UID FETCH 1:* (UID FLAGS MODSEQ)")?)?;
        } else {
            if validity != self.validity {
                return broken(format!("P3: UIDVALIDITY of {} was {} and is {validity}", self.mailbox, self.validity));
            }
            if modseq < self.modseq || uid_next < self.uid_next {
                let (before, next) = (self.modseq, self.uid_next);
                return broken(format!(
                    "P3: {} went back: HIGHESTMODSEQ {before} to {modseq}, UIDNEXT {next} to {uid_next}",
                    self.mailbox
                ));
            }
            self.hear(&lines)?;
        }
        self.learn_ids(imap)?;
        (self.validity, self.modseq, self.uid_next) = (validity, modseq, uid_next);
        Ok(())
    }

    /// Takes in what the server says.
    ///
    /// # Errors
    /// [`Trouble::Broken`].
    pub fn hear(&mut self, lines: &[String]) -> Lives<()> {
        for line in lines {
            if let Some(row) = Row::parse(line) {
                self.hear_row(&row)?;
            } else if let Some(vanished) = line.strip_prefix("* VANISHED ") {
                for uid in numbers(vanished.trim_start_matches("(EARLIER) ")) {
                    self.messages.remove(&uid);
                    self.ids.remove(&uid);
                }
            } else if line.ends_with(" EXPUNGE") {
                return broken(format!("EXPUNGE although QRESYNC is enabled: {line}"));
            }
        }
        Ok(())
    }

    fn hear_row(&mut self, row: &Row) -> Lives<()> {
        let Some(uid) = row.uid else { return broken(format!("no UID although QRESYNC is enabled: {}", row.text)) };
        let Some(flags) = row.flags.clone() else { return Ok(()) };
        let Some(modseq) = row.modseq else { return broken(format!("flags without MODSEQ: {}", row.text)) };
        match self.messages.get(&uid) {
            Some((before, _)) if modseq < *before => {
                return broken(format!("P3: MODSEQ of UID {uid} was {before}: {}", row.text));
            }
            Some((before, had)) if modseq == *before && *had != flags => {
                return broken(format!("P3: flags changed from {had:?} without a new MODSEQ: {}", row.text));
            }
            None if u64::from(uid) < self.uid_next => {
                return broken(format!("P3: UID {uid} of {} appears below UIDNEXT {}", self.mailbox, self.uid_next));
            }
            _ => {}
        }
        self.messages.insert(uid, (modseq, flags));
        Ok(())
    }

    fn learn_ids(&mut self, imap: &mut Dialogue) -> Lives<()> {
        let unknown: Vec<u32> = self.messages.keys().filter(|uid| !self.ids.contains_key(uid)).copied().collect();
        let (Some(first), Some(last)) = (unknown.first(), unknown.last()) else { return Ok(()) };
        let rows = imap.imap_ok(&format!("UID FETCH {first}:{last} (ENVELOPE)"))?;
        self.hear(&rows)?;
        for row in rows.iter().filter_map(|line| Row::parse(line)) {
            let id = row.text.split('<').nth(1).and_then(|rest| rest.split('>').next());
            match (row.uid, id) {
                (Some(uid), Some(id)) if self.messages.contains_key(&uid) => self.ids.insert(uid, id.to_owned()),
                _ => None,
            };
        }
        // One that was expunged between the two answers has no Message-ID.
        let nameless = unknown.iter().find(|uid| self.messages.contains_key(uid) && !self.ids.contains_key(uid));
        nameless.map_or(Ok(()), |uid| broken(format!("UID {uid} of {} is listed and cannot be fetched", self.mailbox)))
    }

    /// UIDs and Message-IDs.
    pub fn ids(&self) -> impl Iterator<Item = (u32, &str)> {
        self.ids.iter().map(|(uid, id)| (*uid, id.as_str()))
    }

    /// The UID of a message.
    pub fn uid_of(&self, id: &str) -> Option<u32> {
        self.ids().find(|(_, known)| *known == id).map(|(uid, _)| uid)
    }

    /// What it shows, by Message-ID.
    ///
    /// # Errors
    /// [`Trouble::Broken`] when it has a message twice.
    pub fn view(&self) -> Lives<BTreeMap<String, Shown>> {
        let mut view = BTreeMap::new();
        for (uid, (_, flags)) in &self.messages {
            let Some(id) = self.ids.get(uid) else { continue };
            let shown = Shown { uid: *uid, flags: flags.clone() };
            if let Some(other) = view.insert(id.clone(), shown) {
                return broken(format!("P2: {id} is in {} twice, as UID {} and {uid}", self.mailbox, other.uid));
            }
        }
        Ok(view)
    }

    /// Where it differs from another copy of the same mailbox, HIGHESTMODSEQ left out.
    ///
    /// # Errors
    /// [`Trouble::Broken`].
    pub fn must_equal(&self, other: &Self, what: &str) -> Lives<()> {
        let uids: BTreeSet<&u32> = self.messages.keys().chain(other.messages.keys()).collect();
        for uid in uids {
            let (here, there) = (self.messages.get(uid), other.messages.get(uid));
            if here != there || self.ids.get(uid) != other.ids.get(uid) {
                return broken(format!("{what}: UID {uid} of {}: {here:?} and {there:?}", self.mailbox));
            }
        }
        if self.validity != other.validity {
            return broken(format!("{what}: UIDVALIDITY {} and {}", self.validity, other.validity));
        }
        Ok(())
    }
}

/// The number of a response code among these lines.
fn number(lines: &[String], name: &str) -> Option<u64> {
    lines.iter().find_map(|line| code(line, name))?.first()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn known() -> Cache {
        let mut cache = Cache::new("INBOX");
        cache.hear(&lines("* 1 FETCH (UID 3 FLAGS (\\Seen) MODSEQ (7))")).unwrap();
        cache.ids.insert(3, "a@x".to_owned());
        (cache.validity, cache.uid_next, cache.modseq) = (1, 4, 7);
        cache
    }

    #[track_caller]
    fn check(text: &str, expect: &str) {
        match known().hear(&lines(text)) {
            Err(Trouble::Broken(why)) => assert!(why.contains(expect), "{why}"),
            other => panic!("{text} was taken: {other:?}"),
        }
    }

    #[test]
    fn what_must_not_be_is_noticed() {
        check("* 1 FETCH (UID 3 FLAGS () MODSEQ (6))", "MODSEQ of UID 3 was 7");
        check("* 1 FETCH (UID 3 FLAGS () MODSEQ (7))", "without a new MODSEQ");
        check("* 1 FETCH (UID 2 FLAGS () MODSEQ (9))", "UID 2 of INBOX appears below UIDNEXT 4");
        check("* 1 EXPUNGE", "EXPUNGE although");
        check("* 1 FETCH (FLAGS () MODSEQ (9))", "no UID");
        let mut cache = known();
        cache.hear(&lines("* VANISHED (EARLIER) 1:3")).unwrap();
        assert!(cache.view().unwrap().is_empty());
        assert!(cache.must_equal(&known(), "both").is_err());
    }

    #[test]
    fn a_message_that_is_there_twice_is_noticed() {
        let mut cache = known();
        cache.hear(&lines("* 2 FETCH (UID 4 FLAGS () MODSEQ (8))")).unwrap();
        cache.ids.insert(4, "a@x".to_owned());
        assert!(matches!(cache.view(), Err(Trouble::Broken(why)) if why.starts_with("P2")));
    }
}
