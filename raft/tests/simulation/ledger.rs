//! What the outside asked for, and what it was told: kept outside of all nodes, and compared with their states at the
//! end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use securanet_model::{Execute, ModSeq, UnixMillis};

/// Something that somebody outside wants.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Want {
    /// A mailbox is there.
    Provision { account: u64 },
    /// This message is in this mailbox.
    Deposit { account: u64, number: u64, with_blob: bool, repeats: u32 },
    /// This message is in all these mailboxes, by the queue of group 1.
    FanOut { number: u64 },
    /// This message leaves by the queue of this group.
    Send { group: u32, number: u64 },
    /// The register (the flags of the first message of an account) has this value instead of the one that it has.
    Register { account: u64, value: u64, instead_of: Option<ModSeq> },
    /// How an account is.
    Look { account: u64 },
}

/// A wish under way: gateways try it one after the other, with the same request.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) id: u64,
    pub(crate) want: Want,
    /// Not before, in milliseconds of the run.
    pub(crate) from: u64,
    /// The request, once somebody has made it: tried again it is the same.
    pub(crate) request: Option<Execute>,
    pub(crate) deadline: Option<UnixMillis>,
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Told {
    /// The sender holds a promise.
    pub(crate) acknowledged: bool,
    /// With this UID.
    pub(crate) uid: Option<u32>,
}

/// A write of the register that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Written {
    pub(crate) instead_of: u64,
    pub(crate) modseq: u64,
    pub(crate) value: u64,
}

/// A final dot that the remote server has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Dot {
    pub(crate) worker: u64,
    pub(crate) attempt: u32,
    pub(crate) accepted: bool,
}

/// Everything that the outside knows.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) waiting: VecDeque<Wish>,
    pub(crate) under_way: usize,
    last_id: u64,
    /// By account and number.
    pub(crate) deposits: BTreeMap<(u64, u64), Told>,
    pub(crate) fan_outs: BTreeMap<u64, Told>,
    pub(crate) sends: BTreeMap<(u32, u64), Told>,
    /// Acknowledged messages that name the blob of their number.
    pub(crate) with_blobs: BTreeSet<u64>,
    /// By account.
    pub(crate) written: BTreeMap<u64, Vec<Written>>,
    /// What the register held at each MODSEQ that somebody has seen, by account.
    pub(crate) values: BTreeMap<(u64, u64), u64>,
    /// The highest UIDNEXT and MODSEQ that somebody was shown, by account.
    pub(crate) shown: BTreeMap<u64, (u32, u64)>,
    /// By queue group and number.
    pub(crate) dots: BTreeMap<(u32, u64), Vec<Dot>>,
    /// What must not be.
    pub(crate) broken: Vec<String>,
}

impl Ledger {
    pub(crate) fn want(&mut self, from: u64, want: Want) {
        self.last_id += 1;
        self.waiting.push_back(Wish { id: self.last_id, want, from, request: None, deadline: None });
    }

    /// The next wish whose time has come.
    pub(crate) fn take(&mut self, now: u64) -> Option<Wish> {
        let at = self.waiting.iter().position(|wish| wish.from <= now)?;
        self.under_way += 1;
        self.waiting.remove(at)
    }

    pub(crate) fn give_back(&mut self, wish: Wish) {
        self.under_way -= 1;
        self.waiting.push_back(wish);
    }

    pub(crate) fn ended(&mut self) {
        self.under_way -= 1;
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }

    pub(crate) fn break_promise(&mut self, what: String) {
        if !self.broken.contains(&what) {
            tracing::info!(target: "simulation", what, "a promise is broken");
            self.broken.push(what);
        }
    }

    /// What a linearizable read has shown of an account, that was asked for when `before` was known.
    pub(crate) fn shows(&mut self, account: u64, before: (u32, u64), now: (u32, u64)) {
        if now.0 < before.0 || now.1 < before.1 {
            self.break_promise(format!("account {account}: UIDNEXT and MODSEQ went back from {before:?} to {now:?}"));
        }
        let shown = self.shown.entry(account).or_default();
        *shown = (shown.0.max(now.0), shown.1.max(now.1));
    }

    /// The register held this value at this MODSEQ.
    pub(crate) fn held(&mut self, account: u64, modseq: u64, value: u64) {
        let before = *self.values.entry((account, modseq)).or_insert(value);
        if before != value {
            self.break_promise(format!("account {account}: at MODSEQ {modseq} it is {before} and {value}"));
        }
    }

    /// Each write names its predecessor: what was acknowledged must be one chain.
    pub(crate) fn check_chains(&mut self) {
        let mut broken = Vec::new();
        for (account, writes) in &mut self.written {
            writes.sort_by_key(|written| written.modseq);
            for two in writes.windows(2) {
                if two[1].instead_of < two[0].modseq {
                    broken.push(format!("account {account}: {:?} does not know {:?}", two[1], two[0]));
                }
            }
            for written in writes.iter().filter(|written| written.modseq <= written.instead_of) {
                broken.push(format!("account {account}: {written:?} goes back"));
            }
        }
        broken.into_iter().for_each(|broken| self.break_promise(broken));
    }
}
