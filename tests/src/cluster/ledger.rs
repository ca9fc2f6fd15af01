//! What senders were told about each message.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// What became of an attempt, as its sender knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It was told that the message is kept.
    Acknowledged,
    /// It was told that it is not. It may be there all the same, once: an answer of "not now" promises nothing.
    Refused,
    /// It was told nothing.
    Unknown,
}

/// A message that was sent, or is being sent.
#[derive(Clone, Debug)]
pub struct Mail {
    /// To whom, as local parts or foreign addresses.
    pub to: Vec<String>,
    /// The node that it was given to.
    pub by: String,
    /// What became of it.
    pub fate: Fate,
    /// When the sender knew.
    pub told: Option<Instant>,
}

/// Every attempt of a run; each has its own Message-ID.
pub struct Ledger {
    name: String,
    numbers: AtomicU64,
    mails: Mutex<BTreeMap<String, Mail>>,
}

impl Ledger {
    /// An empty one; Message-IDs begin with its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), numbers: AtomicU64::new(0), mails: Mutex::default() }
    }

    /// An attempt begins; its Message-ID.
    pub fn attempt(&self, to: &[String], by: &str) -> String {
        let id = format!("{}-{}@remote.example", self.name, self.numbers.fetch_add(1, Ordering::SeqCst));
        let mail = Mail { to: to.to_vec(), by: by.to_owned(), fate: Fate::Unknown, told: None };
        self.mails.lock().unwrap().insert(id.clone(), mail);
        id
    }

    /// It has ended.
    ///
    /// # Panics
    /// When it never began.
    pub fn end(&self, id: &str, fate: Fate) {
        let mut mails = self.mails.lock().unwrap();
        let mail = mails.get_mut(id).expect("an attempt");
        (mail.fate, mail.told) = (fate, Some(Instant::now()));
    }

    /// Everything so far.
    pub fn mails(&self) -> BTreeMap<String, Mail> {
        self.mails.lock().unwrap().clone()
    }

    /// Whether this was ever sent.
    pub fn knows(&self, id: &str) -> bool {
        self.mails.lock().unwrap().contains_key(id)
    }

    /// Message-IDs that were acknowledged and went to this one alone, so that they are in the INBOX from then on.
    pub fn kept_by(&self, local: &str) -> Vec<String> {
        let mails = self.mails.lock().unwrap();
        let kept = mails.iter().filter(|(_, mail)| mail.fate == Fate::Acknowledged && mail.to == [local]);
        kept.map(|(id, _)| id.clone()).collect()
    }

    /// When a node acknowledged something last.
    pub fn last_by(&self, node: &str) -> Option<Instant> {
        let mails = self.mails.lock().unwrap();
        let kept = mails.values().filter(|mail| mail.fate == Fate::Acknowledged && mail.by == node);
        kept.filter_map(|mail| mail.told).max()
    }

    /// How many were acknowledged, refused, and left unknown.
    pub fn counts(&self) -> (usize, usize, usize) {
        let mails = self.mails.lock().unwrap();
        let of = |fate| mails.values().filter(|mail| mail.fate == fate).count();
        (of(Fate::Acknowledged), of(Fate::Refused), of(Fate::Unknown))
    }
}
