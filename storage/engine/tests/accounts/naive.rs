//! An account as one would describe it to a child: sets of messages, no rows, no counters kept.
//!
//! A command only says which messages are where afterwards. Everything else follows from comparing before and
//! after: mod-sequences, the change log, which emails are gone, usage.

use std::collections::{BTreeMap, BTreeSet};

use securanet_model::{
    EmailId, Flags, Keyword, MailboxId, ModSeq, SpecialUse, Uid, UidValidity, UnixMillis,
    account::{AccountCommand, AccountRefusal, AccountReply, Changed, MailboxInfo, MessageState},
    directory::Quota,
};

use crate::world::name;

pub(crate) type Outcome<T> = Result<T, AccountRefusal>;

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Naive {
    pub(crate) quota: Quota,
    pub(crate) modseq: u64,
    pub(crate) last_mailbox: u32,
    pub(crate) last_email: u64,
    pub(crate) last_validity: u32,
    /// The greatest UIDVALIDITY that a name lost.
    pub(crate) lost_validity: u32,
    pub(crate) mailboxes: BTreeMap<u32, Mailbox>,
    pub(crate) subscribed: BTreeSet<String>,
    pub(crate) emails: BTreeMap<u64, Email>,
    /// Thread and living messages of each thread key.
    pub(crate) thread_keys: BTreeMap<u8, (u64, BTreeSet<u64>)>,
    /// When each repeat key was delivered.
    pub(crate) repeats: BTreeMap<u8, UnixMillis>,
    /// Copies in Sent: mailbox, UID and when, of each Message-ID.
    pub(crate) sent: BTreeMap<u8, (u32, u32, UnixMillis)>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Mailbox {
    pub(crate) name: String,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) validity: u32,
    pub(crate) uid_next: u32,
    pub(crate) highest: u64,
    pub(crate) keywords: Vec<Keyword>,
    pub(crate) messages: BTreeMap<u32, Instance>,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Instance {
    pub(crate) email: u64,
    pub(crate) modseq: u64,
    pub(crate) saved: UnixMillis,
    pub(crate) flags: Flags,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Email {
    pub(crate) size: u64,
    pub(crate) thread: u64,
}

impl Naive {
    pub(crate) fn new(stamp: UnixMillis, quota: Quota) -> Self {
        let mut naive = Self {
            quota,
            modseq: 0,
            last_mailbox: 0,
            last_email: 0,
            last_validity: 0,
            lost_validity: 0,
            mailboxes: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            emails: BTreeMap::new(),
            thread_keys: BTreeMap::new(),
            repeats: BTreeMap::new(),
            sent: BTreeMap::new(),
        };
        let before = naive.clone();
        naive.make("INBOX", None, stamp);
        for special_use in SpecialUse::ALL {
            naive.make(special_use.default_name(), Some(special_use), stamp);
        }
        naive.subscribed = naive.mailboxes.values().map(|mailbox| mailbox.name.clone()).collect();
        naive.settle(&before);
        naive
    }

    /// Runs a command; a refused one leaves everything as it was.
    pub(crate) fn run<T>(&mut self, work: impl FnOnce(&mut Self) -> Outcome<T>) -> Outcome<T> {
        let before = self.clone();
        let done = work(self);
        match &done {
            Ok(_) => self.settle(&before),
            Err(_) => *self = before,
        }
        done
    }

    pub(crate) fn change(&mut self, stamp: UnixMillis, command: &AccountCommand) -> AccountReply {
        if let AccountCommand::SetQuota(quota) = command {
            self.quota = *quota;
            return AccountReply::Done;
        }
        self.run(|naive| naive.apply(stamp, command)).unwrap_or_else(AccountReply::Refused)
    }

    fn apply(&mut self, stamp: UnixMillis, command: &AccountCommand) -> Outcome<AccountReply> {
        match command {
            AccountCommand::CreateMailbox { name, special_use } => {
                self.create(name.as_str(), *special_use, stamp).map(|id| AccountReply::Created(MailboxId::new(id)))
            }
            AccountCommand::DeleteMailbox { name } => self.delete(name.as_str()),
            AccountCommand::RenameMailbox { from, to } => self.rename(from.as_str(), to.as_str(), stamp),
            AccountCommand::Subscribe { name, subscribed } => {
                match subscribed {
                    true => self.subscribed.insert(name.to_string()),
                    false => self.subscribed.remove(name.as_str()),
                };
                Ok(AccountReply::Done)
            }
            other => self.apply_to_messages(stamp, other),
        }
    }

    /// What follows from the difference to `before`.
    fn settle(&mut self, before: &Self) {
        let alive: BTreeSet<u64> = self.instances().map(|(_, _, instance)| instance.email).collect();
        self.emails.retain(|email, _| alive.contains(email));
        self.thread_keys.values_mut().for_each(|(_, emails)| emails.retain(|email| alive.contains(email)));
        self.thread_keys.retain(|_, (_, emails)| !emails.is_empty());
        if self == before {
            return;
        }
        self.modseq += 1;
        for (id, mailbox) in &mut self.mailboxes {
            let old = before.mailboxes.get(id);
            for (uid, instance) in &mut mailbox.messages {
                let same = old.and_then(|old| old.messages.get(uid)).is_some_and(|old| old.flags == instance.flags);
                if !same {
                    instance.modseq = self.modseq;
                }
            }
            if old.is_none_or(|old| old.messages != mailbox.messages || old.uid_next != mailbox.uid_next) {
                mailbox.highest = self.modseq;
            }
        }
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = (u32, u32, &Instance)> {
        self.mailboxes
            .iter()
            .flat_map(|(id, mailbox)| mailbox.messages.iter().map(move |(uid, instance)| (*id, *uid, instance)))
    }

    /// What the change log must say about the way from `before` to here.
    pub(crate) fn changed_since(&self, before: &Self) -> Vec<Changed> {
        let mut changed = BTreeSet::new();
        let ids = |naive: &Self| naive.mailboxes.keys().copied().collect::<BTreeSet<_>>();
        for &id in ids(self).union(&ids(before)) {
            match (before.mailboxes.get(&id), self.mailboxes.get(&id)) {
                (None, Some(_)) => changed.insert(Changed::MailboxCreated(MailboxId::new(id))),
                (Some(_), None) => changed.insert(Changed::MailboxDestroyed(MailboxId::new(id))),
                (Some(old), Some(new)) => {
                    let subscribed = |naive: &Self, mailbox: &Mailbox| naive.subscribed.contains(&mailbox.name);
                    let differs = old.name != new.name || subscribed(before, new) != subscribed(self, new);
                    differs && changed.insert(Changed::MailboxUpdated(MailboxId::new(id)))
                }
                (None, None) => false,
            };
        }
        let places = |naive: &Self, email: u64| {
            let own = naive.instances().filter(|(_, _, instance)| instance.email == email);
            own.map(|(id, uid, instance)| (id, uid, instance.flags.clone())).collect::<Vec<_>>()
        };
        let emails: BTreeSet<u64> = self.emails.keys().chain(before.emails.keys()).copied().collect();
        for email in emails {
            let id = EmailId::new(email);
            match (before.emails.contains_key(&email), self.emails.contains_key(&email)) {
                (false, true) => changed.insert(Changed::EmailCreated(id)),
                (true, false) => changed.insert(Changed::EmailDestroyed(id)),
                _ => places(before, email) != places(self, email) && changed.insert(Changed::EmailUpdated(id)),
            };
        }
        changed.into_iter().collect()
    }

    pub(crate) fn infos(&self) -> Vec<MailboxInfo> {
        let mut infos: Vec<_> = self.mailboxes.iter().map(|(&id, mailbox)| self.info(id, mailbox)).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    fn info(&self, id: u32, mailbox: &Mailbox) -> MailboxInfo {
        let size = |instance: &&Instance| self.emails[&instance.email].size;
        let all = || mailbox.messages.values();
        let has = |instance: &&Instance, flag| crate::world::flags(flag).minus(&instance.flags) == Flags::default();
        let deleted = || all().filter(|instance| has(instance, "\\Deleted"));
        MailboxInfo {
            id: MailboxId::new(id),
            name: name(&mailbox.name),
            special_use: mailbox.special_use,
            subscribed: self.subscribed.contains(&mailbox.name),
            uid_validity: UidValidity::new(mailbox.validity),
            uid_next: Uid::new(mailbox.uid_next),
            highest_modseq: ModSeq::new(mailbox.highest),
            messages: all().count() as u64,
            unseen: all().filter(|instance| !has(instance, "\\Seen")).count() as u64,
            deleted: deleted().count() as u64,
            size_bytes: all().map(|instance| size(&instance)).sum(),
            deleted_size_bytes: deleted().map(|instance| size(&instance)).sum(),
            horizon: ModSeq::ZERO,
            keywords: mailbox.keywords.clone(),
        }
    }

    pub(crate) fn states(&self, mailbox: u32) -> Vec<MessageState> {
        let state = |(uid, instance): (&u32, &Instance)| MessageState {
            uid: Uid::new(*uid),
            modseq: ModSeq::new(instance.modseq),
            flags: instance.flags.clone(),
            email: EmailId::new(instance.email),
        };
        self.mailboxes[&mailbox].messages.iter().map(state).collect()
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.emails.values().map(|email| email.size).sum()
    }

    fn find(&self, name: &str) -> Option<u32> {
        self.mailboxes.iter().find(|(_, mailbox)| mailbox.name == name).map(|(&id, _)| id)
    }

    fn validity(&mut self, stamp: UnixMillis) -> u32 {
        self.last_validity = (self.last_validity + 1).max(u32::try_from(stamp.seconds()).unwrap());
        self.last_validity
    }

    pub(crate) fn make(&mut self, name: &str, special_use: Option<SpecialUse>, stamp: UnixMillis) -> u32 {
        self.last_mailbox += 1;
        let (validity, keywords, messages) = (self.validity(stamp), Vec::new(), BTreeMap::new());
        let name = name.to_owned();
        let mailbox = Mailbox { name, special_use, validity, uid_next: 1, highest: 0, keywords, messages };
        self.mailboxes.insert(self.last_mailbox, mailbox);
        self.last_mailbox
    }

    fn make_parents(&mut self, name: &str, stamp: UnixMillis) {
        for (at, _) in name.match_indices('/') {
            if self.find(&name[..at]).is_none() {
                self.make(&name[..at], None, stamp);
            }
        }
    }

    fn create(&mut self, name: &str, special_use: Option<SpecialUse>, stamp: UnixMillis) -> Outcome<u32> {
        if self.find(name).is_some() {
            return Err(AccountRefusal::MailboxExists);
        }
        if special_use.is_some() && self.mailboxes.values().any(|mailbox| mailbox.special_use == special_use) {
            return Err(AccountRefusal::SpecialUseTaken);
        }
        self.make_parents(name, stamp);
        Ok(self.make(name, special_use, stamp))
    }

    fn below(&self, name: &str) -> Vec<u32> {
        let prefix = format!("{name}/");
        let below = self.mailboxes.iter().filter(|(_, mailbox)| mailbox.name.starts_with(&prefix));
        below.map(|(&id, _)| id).collect()
    }

    fn delete(&mut self, name: &str) -> Outcome<AccountReply> {
        if name == "INBOX" {
            return Err(AccountRefusal::Inbox);
        }
        let id = self.find(name).ok_or(AccountRefusal::NoMailbox)?;
        if !self.below(name).is_empty() {
            return Err(AccountRefusal::HasChildren);
        }
        let gone = self.mailboxes.remove(&id).unwrap();
        self.lost_validity = self.lost_validity.max(gone.validity);
        Ok(AccountReply::Done)
    }

    fn rename(&mut self, from: &str, to: &str, stamp: UnixMillis) -> Outcome<AccountReply> {
        let id = self.find(from).ok_or(AccountRefusal::NoMailbox)?;
        if to == "INBOX" {
            return Err(AccountRefusal::Inbox);
        }
        if self.find(to).is_some() {
            return Err(AccountRefusal::MailboxExists);
        }
        if from == "INBOX" {
            let new = self.create(to, None, stamp)?;
            self.transfer(id, None, new, stamp, true)?;
            return Ok(AccountReply::Done);
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(AccountRefusal::BelowItself);
        }
        let mut moving = self.below(from);
        moving.sort_by_key(|id| (self.mailboxes[id].name.to_ascii_lowercase(), self.mailboxes[id].name.clone()));
        moving.insert(0, id);
        self.make_parents(to, stamp);
        let lost = self.lost_validity;
        for id in moving {
            let old = self.mailboxes[&id].validity;
            let new = if old < lost { self.validity(stamp) } else { old };
            self.lost_validity = self.lost_validity.max(old);
            let mailbox = self.mailboxes.get_mut(&id).unwrap();
            mailbox.name = format!("{to}{}", &mailbox.name[from.len()..]);
            mailbox.validity = new;
        }
        Ok(AccountReply::Done)
    }
}
