//! What the engine does to an account, in the plainest form: maps and no disk.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use securanet_gateway::model::{
    EmailId, Flags, MailboxId, MailboxName, ModSeq, SpecialUse, SystemFlags, ThreadId, Uid, UidValidity, UnixMillis,
    account::{
        AccountAnswer, AccountCommand, AccountQuery, AccountRefusal, AccountReply, AppendMessage, Changes, FlagChange,
        MailboxInfo, Message, MessageState, QuotaUsage, UidMap, UidSet,
    },
    content::Sealed,
    directory::Quota,
    record,
};

use super::mime;

pub(crate) struct Stored {
    pub(crate) state: MessageState,
    pub(crate) prefix: &'static str,
    pub(crate) internal_date: UnixMillis,
}

pub(crate) struct Mailbox {
    pub(crate) id: MailboxId,
    pub(crate) special_use: Option<SpecialUse>,
    pub(crate) subscribed: bool,
    pub(crate) uid_next: Uid,
    pub(crate) highest_modseq: ModSeq,
    pub(crate) messages: BTreeMap<Uid, Stored>,
    pub(crate) vanished: Vec<(Uid, ModSeq)>,
}

pub(crate) struct State {
    pub(crate) mailboxes: BTreeMap<MailboxName, Mailbox>,
    pub(crate) dangling: BTreeSet<MailboxName>,
    pub(crate) contents: HashMap<EmailId, Arc<Vec<u8>>>,
    pub(crate) modseq: u64,
    pub(crate) next_id: u32,
    pub(crate) next_email: u64,
    pub(crate) quota: Quota,
    pub(crate) commits: u64,
}

impl State {
    /// INBOX and the mailboxes with a special use, all empty.
    pub(crate) fn new() -> Self {
        let mut state = Self {
            mailboxes: BTreeMap::new(),
            dangling: BTreeSet::new(),
            contents: HashMap::new(),
            modseq: 1,
            next_id: 1,
            next_email: 1,
            quota: Quota::default(),
            commits: 0,
        };
        state.create(MailboxName::inbox(), None);
        for special_use in SpecialUse::ALL {
            state.create(MailboxName::parse(special_use.default_name()).unwrap(), Some(special_use));
        }
        state
    }

    pub(crate) fn create(&mut self, name: MailboxName, special_use: Option<SpecialUse>) -> MailboxId {
        let id = MailboxId::new(self.next_id);
        self.next_id += 1;
        let subscribed = self.dangling.remove(&name);
        let mailbox = Mailbox {
            id,
            special_use,
            subscribed,
            uid_next: Uid::FIRST,
            highest_modseq: ModSeq::new(self.modseq),
            messages: BTreeMap::new(),
            vanished: Vec::new(),
        };
        self.mailboxes.insert(name, mailbox);
        id
    }

    pub(crate) fn by_id(&mut self, id: MailboxId) -> Option<&mut Mailbox> {
        self.mailboxes.values_mut().find(|mailbox| mailbox.id == id)
    }

    pub(crate) fn add(
        &mut self,
        name: &MailboxName,
        message: Vec<u8>,
        prefix: &'static str,
        flags: Flags,
        date: Option<UnixMillis>,
    ) -> Uid {
        let email = EmailId::new(self.next_email);
        self.next_email += 1;
        self.contents.insert(email, Arc::new(message));
        self.instance(name, email, prefix, flags, date.unwrap_or(UnixMillis::new(1_700_000_000_000)))
    }

    pub(crate) fn instance(
        &mut self,
        name: &MailboxName,
        email: EmailId,
        prefix: &'static str,
        flags: Flags,
        internal_date: UnixMillis,
    ) -> Uid {
        self.modseq += 1;
        let modseq = ModSeq::new(self.modseq);
        let mailbox = self.mailboxes.get_mut(name).unwrap();
        let uid = mailbox.uid_next;
        mailbox.uid_next = uid.next();
        mailbox.highest_modseq = modseq;
        mailbox
            .messages
            .insert(uid, Stored { state: MessageState { uid, modseq, flags, email }, prefix, internal_date });
        uid
    }

    pub(crate) fn size(&self, email: EmailId) -> u64 {
        self.contents[&email].len() as u64
    }

    pub(crate) fn used(&self) -> u64 {
        self.contents.values().map(|content| content.len() as u64).sum()
    }

    pub(crate) fn info(&self, name: &MailboxName) -> Option<MailboxInfo> {
        let mailbox = self.mailboxes.get(name)?;
        let with = |flag: SystemFlags| {
            mailbox.messages.values().filter(move |stored| stored.state.flags.system.contains(flag))
        };
        let size = |stored: &Stored| self.size(stored.state.email);
        let mut keywords: Vec<_> =
            mailbox.messages.values().flat_map(|stored| stored.state.flags.keywords().to_vec()).collect();
        keywords.sort();
        keywords.dedup();
        Some(MailboxInfo {
            id: mailbox.id,
            name: name.clone(),
            special_use: mailbox.special_use,
            subscribed: mailbox.subscribed,
            uid_validity: UidValidity::new(1000),
            uid_next: mailbox.uid_next,
            highest_modseq: mailbox.highest_modseq,
            messages: mailbox.messages.len() as u64,
            unseen: (mailbox.messages.len() - with(SystemFlags::SEEN).count()) as u64,
            deleted: with(SystemFlags::DELETED).count() as u64,
            size_bytes: mailbox.messages.values().map(size).sum(),
            deleted_size_bytes: with(SystemFlags::DELETED).map(size).sum(),
            horizon: ModSeq::ZERO,
            keywords,
        })
    }

    pub(crate) fn name_of(&self, id: MailboxId) -> Option<MailboxName> {
        self.mailboxes.iter().find(|(_, mailbox)| mailbox.id == id).map(|(name, _)| name.clone())
    }

    pub(crate) fn apply(&mut self, command: AccountCommand) -> AccountReply {
        self.commits += 1;
        self.try_apply(command).unwrap_or_else(AccountReply::Refused)
    }

    pub(crate) fn try_apply(&mut self, command: AccountCommand) -> Result<AccountReply, AccountRefusal> {
        use AccountCommand as C;
        match command {
            C::CreateMailbox { name, special_use } => {
                if self.mailboxes.contains_key(&name) {
                    return Err(AccountRefusal::MailboxExists);
                }
                if special_use.is_some() && self.mailboxes.values().any(|own| own.special_use == special_use) {
                    return Err(AccountRefusal::SpecialUseTaken);
                }
                for parent in std::iter::successors(name.parent(), MailboxName::parent) {
                    if !self.mailboxes.contains_key(&parent) {
                        self.create(parent, None);
                    }
                }
                Ok(AccountReply::Created(self.create(name, special_use)))
            }
            C::DeleteMailbox { name } => self.delete(&name),
            C::RenameMailbox { from, to } => self.rename(&from, &to),
            C::Subscribe { name, subscribed } => {
                match self.mailboxes.get_mut(&name) {
                    Some(mailbox) => mailbox.subscribed = subscribed,
                    None if subscribed => drop(self.dangling.insert(name)),
                    None => drop(self.dangling.remove(&name)),
                }
                Ok(AccountReply::Done)
            }
            C::Append { mailbox, messages } => self.append(mailbox, messages),
            C::StoreFlags { mailbox, uids, change, flags, unchanged_since } => {
                self.store_flags(mailbox, &uids, change, &flags, unchanged_since)
            }
            C::Copy { mailbox, uids, to } => self.copy(mailbox, &uids, to),
            C::Move { mailbox, uids, to } => {
                let reply = self.copy(mailbox, &uids, to)?;
                self.expunge(mailbox, &uids, false)?;
                Ok(reply)
            }
            C::Expunge { mailbox, uids, deleted_only } => {
                Ok(AccountReply::Expunged(self.expunge(mailbox, &uids, deleted_only)?))
            }
            other => panic!("IMAP does not say {other:?}"),
        }
    }

    pub(crate) fn delete(&mut self, name: &MailboxName) -> Result<AccountReply, AccountRefusal> {
        if name.is_inbox() {
            return Err(AccountRefusal::Inbox);
        }
        if self.mailboxes.keys().any(|other| other.is_below(name)) {
            return Err(AccountRefusal::HasChildren);
        }
        self.mailboxes.remove(name).map(|_| AccountReply::Done).ok_or(AccountRefusal::NoMailbox)
    }

    pub(crate) fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Result<AccountReply, AccountRefusal> {
        if self.mailboxes.contains_key(to) {
            return Err(AccountRefusal::MailboxExists);
        }
        let mailbox = self.mailboxes.remove(from).ok_or(AccountRefusal::NoMailbox)?;
        self.mailboxes.insert(to.clone(), mailbox);
        Ok(AccountReply::Done)
    }

    pub(crate) fn append(
        &mut self,
        id: MailboxId,
        messages: Vec<AppendMessage>,
    ) -> Result<AccountReply, AccountRefusal> {
        let name = self.name_of(id).ok_or(AccountRefusal::NoMailbox)?;
        let new: u64 = messages.iter().map(|append| append.message.size_bytes).sum();
        if self.quota.bytes_max.is_some_and(|max| self.used() + new > max) {
            return Err(AccountRefusal::OverQuota);
        }
        let add = |append: AppendMessage| {
            self.add(&name, append.message.recipe.bytes, "", append.flags, append.message.internal_date)
        };
        let to = messages.into_iter().map(add).collect();
        Ok(AccountReply::Uids(UidMap { uid_validity: Some(UidValidity::new(1000)), from: Vec::new(), to }))
    }

    pub(crate) fn store_flags(
        &mut self,
        id: MailboxId,
        uids: &UidSet,
        change: FlagChange,
        flags: &Flags,
        unchanged_since: Option<ModSeq>,
    ) -> Result<AccountReply, AccountRefusal> {
        self.modseq += 1;
        let modseq = ModSeq::new(self.modseq);
        let mailbox = self.by_id(id).ok_or(AccountRefusal::NoMailbox)?;
        let (mut messages, mut modified) = (Vec::new(), Vec::new());
        for (uid, stored) in mailbox.messages.iter_mut().filter(|(uid, _)| uids.contains(**uid)) {
            if unchanged_since.is_some_and(|since| stored.state.modseq > since) {
                modified.push(*uid);
                continue;
            }
            let own = stored.state.flags.clone();
            let new = match change {
                FlagChange::Replace => flags.clone(),
                FlagChange::Add => own.clone().plus(flags),
                FlagChange::Remove => own.clone().minus(flags),
            };
            if new != own {
                stored.state.flags = new;
                stored.state.modseq = modseq;
                mailbox.highest_modseq = modseq;
            }
            messages.push(stored.state.clone());
        }
        Ok(AccountReply::Stored { messages, modified })
    }

    pub(crate) fn copy(&mut self, id: MailboxId, uids: &UidSet, to: MailboxId) -> Result<AccountReply, AccountRefusal> {
        let target = self.name_of(to).ok_or(AccountRefusal::NoMailbox)?;
        let mailbox = self.by_id(id).ok_or(AccountRefusal::NoMailbox)?;
        let chosen: Vec<_> = mailbox
            .messages
            .values()
            .filter(|stored| uids.contains(stored.state.uid))
            .map(|stored| (stored.state.clone(), stored.prefix, stored.internal_date))
            .collect();
        let mut map = UidMap { uid_validity: Some(UidValidity::new(1000)), ..UidMap::default() };
        for (state, prefix, date) in chosen {
            map.from.push(state.uid);
            map.to.push(self.instance(&target, state.email, prefix, state.flags, date));
        }
        Ok(AccountReply::Uids(map))
    }

    pub(crate) fn expunge(
        &mut self,
        id: MailboxId,
        uids: &UidSet,
        deleted_only: bool,
    ) -> Result<Vec<Uid>, AccountRefusal> {
        self.modseq += 1;
        let modseq = ModSeq::new(self.modseq);
        let mailbox = self.by_id(id).ok_or(AccountRefusal::NoMailbox)?;
        let goes = |stored: &Stored| {
            uids.contains(stored.state.uid)
                && (!deleted_only || stored.state.flags.system.contains(SystemFlags::DELETED))
        };
        let gone: Vec<Uid> =
            mailbox.messages.values().filter(|stored| goes(stored)).map(|stored| stored.state.uid).collect();
        for uid in &gone {
            mailbox.messages.remove(uid);
            mailbox.vanished.push((*uid, modseq));
            mailbox.highest_modseq = modseq;
        }
        Ok(gone)
    }

    pub(crate) fn answer(&mut self, query: AccountQuery) -> AccountAnswer {
        use AccountQuery as Q;
        match query {
            Q::Mailboxes => {
                AccountAnswer::Mailboxes(self.mailboxes.keys().filter_map(|name| self.info(name)).collect())
            }
            Q::DanglingSubscriptions => AccountAnswer::Names(self.dangling.iter().cloned().collect()),
            Q::MailboxByName(name) => AccountAnswer::Mailbox(self.info(&name).map(Box::new)),
            Q::Quota => AccountAnswer::Quota(QuotaUsage {
                bytes: self.used(),
                messages: self.contents.len() as u64,
                quota: self.quota,
            }),
            Q::States { mailbox, uids, rows_max } => match self.by_id(mailbox) {
                None => AccountAnswer::Refused(AccountRefusal::NoMailbox),
                Some(mailbox) => AccountAnswer::States(
                    mailbox
                        .messages
                        .values()
                        .map(|stored| stored.state.clone())
                        .filter(|state| uids.contains(state.uid))
                        .take(rows_max as usize)
                        .collect(),
                ),
            },
            Q::Messages { mailbox, uids, with_summary, rows_max } => {
                self.messages(mailbox, &uids, with_summary, rows_max)
            }
            Q::Changes { mailbox, since } => self.changes(mailbox, since),
            other => panic!("IMAP does not ask {other:?}"),
        }
    }

    pub(crate) fn messages(
        &mut self,
        id: MailboxId,
        uids: &UidSet,
        with_summary: bool,
        rows_max: u32,
    ) -> AccountAnswer {
        let contents = self.contents.clone();
        let Some(mailbox) = self.by_id(id) else { return AccountAnswer::Refused(AccountRefusal::NoMailbox) };
        let chosen = mailbox.messages.values().filter(|stored| uids.contains(stored.state.uid));
        let message = |stored: &Stored| {
            let content = &contents[&stored.state.email];
            let own = &content[stored.prefix.len()..];
            Message {
                state: stored.state.clone(),
                thread: ThreadId::new(stored.state.email.get()),
                size_bytes: content.len() as u64,
                prefix_size_bytes: stored.prefix.len() as u64,
                internal_date: stored.internal_date,
                saved_date: UnixMillis::new(1_700_000_100_000),
                summary: with_summary.then(|| Sealed::plain(1, record::encode(&mime::summary(own)))),
            }
        };
        AccountAnswer::Messages(chosen.take(rows_max as usize).map(message).collect())
    }

    pub(crate) fn changes(&mut self, id: MailboxId, since: ModSeq) -> AccountAnswer {
        let info = self.name_of(id).and_then(|name| self.info(&name));
        let (Some(info), Some(mailbox)) = (info, self.by_id(id)) else {
            return AccountAnswer::Refused(AccountRefusal::NoMailbox);
        };
        let states = mailbox.messages.values().map(|stored| stored.state.clone());
        let vanished = mailbox.vanished.iter().filter(|(_, modseq)| *modseq > since).map(|(uid, _)| *uid);
        AccountAnswer::Changes(Box::new(Changes {
            mailbox: info,
            messages: states.filter(|state| state.modseq > since).collect(),
            vanished: UidSet::from_uids(vanished),
        }))
    }
}
