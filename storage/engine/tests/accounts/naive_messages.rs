//! The naive account's messages: what each command puts where.

use std::collections::BTreeSet;

use securanet_model::{
    EmailId, Flags, KeyedHash, Keyword, MailboxId, SpecialUse, Uid, UidValidity, UnixMillis,
    account::{AccountCommand, AccountRefusal, AccountReply, FlagChange, MessageState, UidMap, UidSet},
    content::NewMessage,
    delivery::{Deliver, DeliverTo, Delivered, QuotaRule},
    limits::SUPPRESSION_MILLIS,
};

use crate::naive::{Email, Instance, Mailbox, Naive, Outcome};

impl Naive {
    pub(crate) fn apply_to_messages(&mut self, stamp: UnixMillis, command: &AccountCommand) -> Outcome<AccountReply> {
        match command {
            AccountCommand::Append { mailbox, messages } => {
                let messages: Vec<_> = messages.iter().map(|each| (&each.message, &each.flags)).collect();
                self.append(mailbox.get(), &messages, stamp)
            }
            AccountCommand::Import { mailbox, message, key } => {
                self.existing(mailbox.get())?;
                if self.is_repeat(*key, stamp) {
                    return Ok(AccountReply::Uids(UidMap::default()));
                }
                self.repeats.insert(key.0[0], stamp);
                self.append(mailbox.get(), &[(&message.message, &message.flags)], stamp)
            }
            AccountCommand::KeepSent { message, key } => {
                if self.is_repeat(*key, stamp) {
                    return Ok(AccountReply::Uids(UidMap::default()));
                }
                self.repeats.insert(key.0[0], stamp);
                self.keep_sent(message, stamp)
            }
            AccountCommand::StoreFlags { .. } => self.store(command),
            AccountCommand::Copy { mailbox, uids, to } => {
                self.transfer(mailbox.get(), Some(uids), to.get(), stamp, false).map(AccountReply::Uids)
            }
            AccountCommand::Move { mailbox, uids, to } => {
                self.transfer(mailbox.get(), Some(uids), to.get(), stamp, true).map(AccountReply::Uids)
            }
            AccountCommand::Expunge { mailbox, uids, deleted_only } => {
                let messages = &mut self.existing(mailbox.get())?.messages;
                let deleted = crate::world::flags("\\Deleted");
                let goes =
                    |instance: &Instance| !deleted_only || instance.flags.clone().plus(&deleted) == instance.flags;
                let named = messages.iter().filter(|(uid, instance)| uids.contains(Uid::new(**uid)) && goes(instance));
                let gone: Vec<u32> = named.map(|(uid, _)| *uid).collect();
                gone.iter().for_each(|uid| drop(messages.remove(uid)));
                Ok(AccountReply::Expunged(gone.into_iter().map(Uid::new).collect()))
            }
            other => panic!("the naive account does not know {other:?}"),
        }
    }

    fn existing(&mut self, mailbox: u32) -> Outcome<&mut Mailbox> {
        self.mailboxes.get_mut(&mailbox).ok_or(AccountRefusal::NoMailbox)
    }

    fn is_repeat(&self, key: KeyedHash, stamp: UnixMillis) -> bool {
        self.repeats.get(&key.0[0]).is_some_and(|delivered| stamp.millis_since(*delivered) < SUPPRESSION_MILLIS)
    }

    fn check_quota(&self, sizes: &[u64]) -> Outcome<()> {
        let bytes = self.used_bytes() + sizes.iter().sum::<u64>();
        let messages = (self.emails.len() + sizes.len()) as u64;
        let fits = |used: u64, max: Option<u64>| max.is_none_or(|max| used <= max);
        match fits(bytes, self.quota.bytes_max) && fits(messages, self.quota.messages_max) {
            true => Ok(()),
            false => Err(AccountRefusal::OverQuota),
        }
    }

    fn store_email(&mut self, message: &NewMessage, size: u64) -> u64 {
        self.last_email += 1;
        let mut keys: Vec<u8> = Vec::new();
        for key in &message.thread_keys {
            if !keys.contains(&key.0[0]) {
                keys.push(key.0[0]);
            }
        }
        let known = keys.iter().find_map(|key| self.thread_keys.get(key)).map(|(thread, _)| *thread);
        let thread = known.unwrap_or(self.last_email);
        for key in keys.into_iter().take(8) {
            self.thread_keys.entry(key).or_insert((thread, BTreeSet::new())).1.insert(self.last_email);
        }
        self.emails.insert(self.last_email, Email { size, thread });
        self.last_email
    }

    /// Puts an email into a mailbox and answers its UID.
    fn place(&mut self, mailbox: u32, email: u64, flags: &Flags, saved: UnixMillis) -> u32 {
        let mailbox = self.mailboxes.get_mut(&mailbox).unwrap();
        let flags = spell(&mut mailbox.keywords, flags);
        let uid = mailbox.uid_next;
        mailbox.uid_next += 1;
        mailbox.messages.insert(uid, Instance { email, modseq: 0, saved, flags });
        uid
    }

    fn append(&mut self, mailbox: u32, messages: &[(&NewMessage, &Flags)], stamp: UnixMillis) -> Outcome<AccountReply> {
        let validity = self.existing(mailbox)?.validity;
        if messages.is_empty() {
            return Ok(AccountReply::Uids(UidMap::default()));
        }
        let copies: Vec<_> = messages.iter().map(|(message, _)| self.sent_copy(mailbox, message, stamp)).collect();
        let new = messages.iter().zip(&copies).filter(|(_, copy)| copy.is_none());
        self.check_quota(&new.map(|((message, _), _)| message.size_bytes).collect::<Vec<_>>())?;
        let mut map = UidMap::default();
        for ((message, flags), copy) in messages.iter().zip(copies) {
            if let Some(uid) = copy {
                let mailbox = self.existing(mailbox)?;
                let copy = mailbox.messages.get_mut(&uid).unwrap();
                copy.flags = spell(&mut mailbox.keywords, &copy.flags.clone().plus(flags));
                map.uid_validity = Some(UidValidity::new(validity));
                map.to.push(Uid::new(uid));
                continue;
            }
            if flags.keywords().len() > 64 {
                return Err(AccountRefusal::TooMany(64));
            }
            let email = self.store_email(message, message.size_bytes);
            map.uid_validity = Some(UidValidity::new(validity));
            map.to.push(Uid::new(self.place(mailbox, email, flags, stamp)));
        }
        Ok(AccountReply::Uids(map))
    }

    fn keep_sent(&mut self, message: &NewMessage, stamp: UnixMillis) -> Outcome<AccountReply> {
        self.check_quota(&[message.size_bytes])?;
        let found = |of: &dyn Fn(&Mailbox) -> bool| self.mailboxes.iter().find(|(_, each)| of(each)).map(|(&id, _)| id);
        let known =
            found(&|each| each.special_use == Some(SpecialUse::Sent)).or_else(|| found(&|each| each.name == "Sent"));
        let mailbox = known.unwrap_or_else(|| self.make("Sent", Some(SpecialUse::Sent), stamp));
        let email = self.store_email(message, message.size_bytes);
        let uid = self.place(mailbox, email, &crate::world::flags("\\Seen"), stamp);
        if let Some(own) = message.thread_keys.first() {
            self.sent.insert(own.0[0], (mailbox, uid, stamp));
        }
        let uid_validity = Some(UidValidity::new(self.mailboxes[&mailbox].validity));
        Ok(AccountReply::Uids(UidMap { uid_validity, from: Vec::new(), to: vec![Uid::new(uid)] }))
    }

    fn sent_copy(&self, mailbox: u32, message: &NewMessage, stamp: UnixMillis) -> Option<u32> {
        let &(of, uid, at) = self.sent.get(&message.thread_keys.first()?.0[0])?;
        let found =
            of == mailbox && stamp.millis_since(at) < 600_000 && self.mailboxes[&of].messages.contains_key(&uid);
        found.then_some(uid)
    }

    fn store(&mut self, command: &AccountCommand) -> Outcome<AccountReply> {
        let AccountCommand::StoreFlags { mailbox, uids, change, flags, unchanged_since } = command else {
            panic!("not a STORE: {command:?}")
        };
        let next = self.modseq + 1;
        let mailbox = self.existing(mailbox.get())?;
        let (mut messages, mut modified) = (Vec::new(), Vec::new());
        for (&uid, instance) in &mut mailbox.messages {
            if !uids.contains(Uid::new(uid)) {
                continue;
            }
            if unchanged_since.is_some_and(|since| instance.modseq > since.get()) {
                modified.push(Uid::new(uid));
                continue;
            }
            let wanted = match change {
                FlagChange::Replace => flags.clone(),
                FlagChange::Add => instance.flags.clone().plus(flags),
                FlagChange::Remove => instance.flags.clone().minus(flags),
            };
            let wanted = spell(&mut mailbox.keywords, &wanted);
            let modseq = if wanted == instance.flags { instance.modseq } else { next };
            instance.flags = wanted.clone();
            let (uid, email) = (Uid::new(uid), EmailId::new(instance.email));
            messages.push(MessageState { uid, modseq: securanet_model::ModSeq::new(modseq), flags: wanted, email });
        }
        Ok(AccountReply::Stored { messages, modified })
    }

    /// COPY and MOVE; without `uids`, all messages.
    pub(crate) fn transfer(
        &mut self,
        from: u32,
        uids: Option<&UidSet>,
        to: u32,
        stamp: UnixMillis,
        moves: bool,
    ) -> Outcome<UidMap> {
        self.existing(to)?;
        let named = |uid: u32| uids.is_none_or(|uids| uids.contains(Uid::new(uid)));
        let source = self.existing(from)?;
        let found: Vec<(u32, Instance)> =
            source.messages.iter().filter(|(uid, _)| named(**uid)).map(|(uid, each)| (*uid, each.clone())).collect();
        if moves {
            found.iter().for_each(|(uid, _)| drop(source.messages.remove(uid)));
        }
        let mut map = UidMap::default();
        for (uid, instance) in found {
            map.uid_validity = Some(UidValidity::new(self.mailboxes[&to].validity));
            map.from.push(Uid::new(uid));
            map.to.push(Uid::new(self.place(to, instance.email, &instance.flags, stamp)));
        }
        Ok(map)
    }

    pub(crate) fn deliver(&mut self, stamp: UnixMillis, deliver: &Deliver, to: &DeliverTo) -> Delivered {
        self.run(|naive| naive.deliver_one(stamp, deliver, to)).unwrap_or_else(Delivered::Refused)
    }

    fn deliver_one(&mut self, stamp: UnixMillis, deliver: &Deliver, to: &DeliverTo) -> Outcome<Delivered> {
        if let Some(key) = to.repeat_key {
            if self.is_repeat(key, stamp) {
                return Ok(Delivered::Repeat);
            }
            self.repeats.insert(key.0[0], stamp);
        }
        let size = deliver.message.size_bytes + to.prefix_size_bytes;
        if deliver.quota == QuotaRule::Enforced {
            self.check_quota(&[size])?;
        }
        let folder = to.folder.as_deref().unwrap_or("INBOX");
        let mut same: Vec<(String, u32)> = self
            .mailboxes
            .iter()
            .filter(|(_, mailbox)| mailbox.name.eq_ignore_ascii_case(folder))
            .map(|(&id, mailbox)| (mailbox.name.clone(), id))
            .collect();
        same.sort();
        let exact = same.iter().find(|(name, _)| name == folder);
        let mailbox = exact.or(same.first()).map_or(1, |(_, id)| *id);
        let email = self.store_email(&deliver.message, size);
        let uid = Uid::new(self.place(mailbox, email, &Flags::default(), stamp));
        Ok(Delivered::Stored { mailbox: MailboxId::new(mailbox), uid, email: EmailId::new(email) })
    }
}

fn spell(known: &mut Vec<Keyword>, flags: &Flags) -> Flags {
    let spelled = flags.keywords().iter().map(|keyword| match known.iter().find(|each| each.matches(keyword)) {
        Some(spelled) => spelled.clone(),
        None => {
            known.push(keyword.clone());
            keyword.clone()
        }
    });
    let spelled: Vec<Keyword> = spelled.collect();
    Flags::new(flags.system, spelled)
}
