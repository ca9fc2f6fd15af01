//! The keywords of a mailbox, for the FLAGS response, and how they are spelled there.
//!
//! Keywords are the same in any case (RFC 9051 2.3.2). A mailbox keeps the spelling that it saw first and gives
//! it to every later use, so that a client never sees two spellings of one keyword. It lists the first
//! [`LISTED_MAX`] that it ever saw; further ones can be set but are not listed. None is taken off the list again:
//! finding out that nobody uses a keyword any more would cost a walk through the mailbox.

use securanet_model::{Flags, Keyword, MailboxId, account::AccountRefusal, limits::KEYWORDS_PER_MESSAGE_MAX};

use super::{
    change::{Change, Step},
    tables::AccountKeys,
};
use crate::{EngineError, keys::Table, tx::ReadView};

/// Keywords that a mailbox lists: at 128 octets each this bounds the row to 32 KiB.
const LISTED_MAX: usize = 256;

/// The keywords of a mailbox while a command uses some.
pub(super) struct Keywords {
    mailbox: MailboxId,
    /// `None` as long as nobody needed them: most messages have no keyword.
    listed: Option<Vec<Keyword>>,
    listed_before: usize,
}

impl Keywords {
    pub(super) fn of(mailbox: MailboxId) -> Self {
        Self { mailbox, listed: None, listed_before: 0 }
    }

    /// The flags as this mailbox spells them; new keywords are listed from now on.
    pub(super) fn spell(&mut self, change: &Change<'_, '_>, flags: &Flags) -> Result<Flags, EngineError> {
        if flags.keywords().is_empty() {
            return Ok(flags.clone());
        }
        if self.listed.is_none() {
            let listed = listed(&change.tx.view(), change.keys, self.mailbox)?;
            self.listed_before = listed.len();
            self.listed = Some(listed);
        }
        let list = self.listed.get_or_insert_default();
        let spelled = flags.keywords().iter().map(|keyword| spelling(list, keyword)).collect::<Vec<_>>();
        Ok(Flags::new(flags.system, spelled))
    }

    /// Writes the list if it grew.
    pub(super) fn close(self, change: &mut Change<'_, '_>) {
        if let Some(listed) = self.listed.filter(|listed| listed.len() > self.listed_before) {
            change.tx.put_record(change.keys.mailbox(Table::MailboxKeywords, self.mailbox), &listed);
        }
    }
}

fn spelling(listed: &mut Vec<Keyword>, keyword: &Keyword) -> Keyword {
    if let Some(known) = listed.iter().find(|known| known.matches(keyword)) {
        return known.clone();
    }
    if listed.len() < LISTED_MAX {
        listed.push(keyword.clone());
    }
    keyword.clone()
}

/// The keywords that a mailbox lists, in order of first use.
pub(super) fn listed(view: &ReadView<'_>, keys: AccountKeys, mailbox: MailboxId) -> Result<Vec<Keyword>, EngineError> {
    Ok(view.get_record(&keys.mailbox(Table::MailboxKeywords, mailbox))?.unwrap_or_default())
}

/// Refuses more keywords than a message may have.
pub(super) fn check(flags: &Flags) -> Step<()> {
    if flags.keywords().len() > KEYWORDS_PER_MESSAGE_MAX {
        return Err(AccountRefusal::TooMany(KEYWORDS_PER_MESSAGE_MAX as u64).into());
    }
    Ok(())
}
