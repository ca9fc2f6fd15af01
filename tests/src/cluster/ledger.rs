//! What senders were told about each message.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
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
}

/// Every attempt of a run; each has its own Message-ID.
pub struct Ledger {
    name: String,
    numbers: AtomicU64,
    mails: Mutex<BTreeMap<String, Mail>>,
    /// When each node acknowledged something, in order.
    times: Mutex<BTreeMap<String, Vec<Instant>>>,
}

impl Ledger {
    /// An empty one; Message-IDs begin with its name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), numbers: AtomicU64::new(0), mails: Mutex::default(), times: Mutex::default() }
    }

    /// An attempt begins; its Message-ID.
    pub fn attempt(&self, to: &[String], by: &str) -> String {
        let id = format!("{}-{}@remote.example", self.name, self.numbers.fetch_add(1, Ordering::SeqCst));
        let mail = Mail { to: to.to_vec(), by: by.to_owned(), fate: Fate::Unknown };
        self.mails.lock().unwrap().insert(id.clone(), mail);
        id
    }

    /// An attempt that was not acknowledged is made again, as it was.
    ///
    /// # Panics
    /// When there was none, or it was acknowledged.
    pub fn repeat(&self, id: &str, by: &str) {
        let mut mails = self.mails.lock().unwrap();
        let mail = mails.get_mut(id).expect("an attempt");
        assert_ne!(mail.fate, Fate::Acknowledged, "{id} is kept already");
        (mail.by, mail.fate) = (by.to_owned(), Fate::Unknown);
    }

    /// It has ended.
    ///
    /// # Panics
    /// When it never began.
    pub fn end(&self, id: &str, fate: Fate) {
        let mut mails = self.mails.lock().unwrap();
        let mail = mails.get_mut(id).expect("an attempt");
        mail.fate = fate;
        if fate == Fate::Acknowledged {
            self.times.lock().unwrap().entry(mail.by.clone()).or_default().push(Instant::now());
        }
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
        self.times.lock().unwrap().get(node).and_then(|times| times.last().copied())
    }

    /// The longest time from `since` on in which a node acknowledged nothing, the present silence included.
    pub fn silence_of(&self, node: &str, since: Instant) -> Duration {
        let times = self.times.lock().unwrap();
        let after = times.get(node).into_iter().flatten().copied().filter(|at| *at > since);
        let mut last = since;
        let mut longest = Duration::ZERO;
        for at in after.chain([Instant::now()]) {
            longest = longest.max(at - last);
            last = at;
        }
        longest
    }

    /// How many were acknowledged, refused, and left unknown.
    pub fn counts(&self) -> (usize, usize, usize) {
        let mails = self.mails.lock().unwrap();
        let of = |fate| mails.values().filter(|mail| mail.fate == fate).count();
        (of(Fate::Acknowledged), of(Fate::Refused), of(Fate::Unknown))
    }
}
