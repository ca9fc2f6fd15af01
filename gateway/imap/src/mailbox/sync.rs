//! Telling a client what has changed in its mailbox (RFC 9051 5.2, RFC 7162 3.2.10).

use crate::{
    error::ImapError,
    response::{Code, Status, Stop},
    session::{Session, state::Selected},
};

impl Selected {
    /// Tells what has changed since the last time, if anything has. `expunges`: sequence numbers may change now.
    ///
    /// A store that cannot answer is asked again next time: the command that was done is not undone by that.
    pub(crate) async fn synchronise(&mut self, session: &mut Session, expunges: bool) -> Result<(), ImapError> {
        let heard = self.authenticated.changes.has_changed().unwrap_or(true);
        if self.view.take_stale() || heard {
            self.authenticated.changes.borrow_and_update();
            match self.absorb(session).await {
                Ok(()) => {}
                Err(Stop::Fatal(error)) => return Err(error),
                Err(Stop::Refused(tagged)) if tagged.code == Some(Code::NON_EXISTENT) => {
                    return Err(ImapError::MailboxGone);
                }
                Err(Stop::Refused(tagged)) => {
                    debug_assert_eq!(tagged.status, Status::No);
                    self.view.expect_changes();
                }
            }
        }
        if expunges {
            let gone = self.view.take_gone();
            session.out.expunged(&gone);
        }
        Ok(())
    }

    async fn absorb(&mut self, session: &mut Session) -> Result<(), Stop> {
        let account = &self.authenticated.account;
        let changes = account.changes(self.view.mailbox, self.view.modseq()).await?;
        let validity = changes.mailbox.uid_validity;
        if validity != self.view.uid_validity {
            // Only a restored backup does that (the design's section 8): the client must begin anew.
            return Err(ImapError::MailboxGone.into());
        }
        let update = self.view.absorb(changes);
        if update.keywords {
            session.out.mailbox_flags(self.view.keywords(), self.view.read_only);
        }
        if let Some(exists) = update.exists {
            self.view.claim_recent(&session.service.recents, account);
            session.out.exists(exists);
            session.out.recent(self.view.recent());
        }
        for (sequence, state) in update.changed {
            let recent = self.view.is_recent(state.uid);
            session.out.flags_changed(sequence, &state, recent, false);
            session.send_gathered().await?;
        }
        Ok(())
    }
}
