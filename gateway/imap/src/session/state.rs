//! The states of RFC 9051 section 3 as types; each command consumes the state that it finds.

use securanet_gateway::{login::Login, model::account::UidSet};
use tokio::sync::watch;

use super::Session;
use crate::{
    command::{self, append},
    error::ImapError,
    grammar::{
        Command, Tag,
        append::Head,
        command::{AnyCommand, AuthenticatedCommand, MailboxArg, SelectedCommand},
        framing::LiteralHeader,
    },
    mailbox::{Account, View},
    response::{Code, Status, Stop, Tagged},
};

/// Where a session stands.
pub(crate) enum State {
    /// RFC 9051 3.1
    NotAuthenticated(NotAuthenticated),
    /// RFC 9051 3.2
    Authenticated(Authenticated),
    /// RFC 9051 3.3
    Selected(Box<Selected>),
    /// RFC 9051 3.4
    Logout,
}

/// Nobody has logged in.
pub(crate) struct NotAuthenticated;

/// Somebody has logged in.
pub(crate) struct Authenticated {
    pub(crate) account: Account,
    /// Wakes on each change of the account's mailboxes.
    pub(crate) changes: watch::Receiver<u64>,
}

/// A mailbox is open.
pub(crate) struct Selected {
    pub(crate) authenticated: Authenticated,
    pub(crate) view: View,
    /// RFC 5182: what `$` is.
    pub(crate) saved: UidSet,
}

/// What happens behind the tagged response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Then {
    /// The next command is read.
    Continue,
    /// TLS begins.
    StartTls,
    /// Compression begins.
    Compress,
}

/// A command that was answered.
pub(crate) struct Done {
    pub(crate) state: State,
    pub(crate) tagged: Tagged,
    pub(crate) then: Then,
}

impl Done {
    pub(crate) const fn new(state: State, tagged: Tagged) -> Self {
        Self { state, tagged, then: Then::Continue }
    }
}

/// A refusal is an answer; only what ends the session stays an error.
pub(crate) fn settle(result: Result<Tagged, Stop>) -> Result<Tagged, ImapError> {
    match result {
        Ok(tagged) | Err(Stop::Refused(tagged)) => Ok(tagged),
        Err(Stop::Fatal(error)) => Err(error),
    }
}

impl State {
    pub(crate) const fn begin() -> Self {
        Self::NotAuthenticated(NotAuthenticated)
    }

    /// Who has logged in.
    pub(crate) fn login(&self) -> Option<&Login> {
        match self {
            Self::NotAuthenticated(_) | Self::Logout => None,
            Self::Authenticated(state) => Some(&state.account.login),
            Self::Selected(state) => Some(&state.authenticated.account.login),
        }
    }

    /// The state stays, the command is answered.
    pub(crate) const fn answer(self, tagged: Tagged) -> Done {
        Done::new(self, tagged)
    }

    /// Answers a command.
    pub(crate) async fn handle(self, session: &mut Session, tag: &Tag, command: Command) -> Result<Done, ImapError> {
        match (self, command) {
            (_, Command::Any(AnyCommand::Logout)) => {
                session.out.untagged("BYE Logging out");
                Ok(Done::new(Self::Logout, Tagged::ok("Logged out")))
            }
            (Self::Selected(state), Command::Any(command)) => {
                let tagged = command::any::run(session, true, command);
                state.finish(session, tagged, After::Ask).await
            }
            (state, Command::Any(command)) => {
                let tagged = command::any::run(session, state.login().is_some(), command);
                Ok(state.answer(tagged))
            }
            (Self::NotAuthenticated(state), Command::NotAuthenticated(command)) => {
                command::not_authenticated::run(session, state, command).await
            }
            (state @ Self::NotAuthenticated(_), _) => Ok(state.answer(Tagged::bad("Log in first"))),
            (state, Command::NotAuthenticated(_)) => Ok(state.answer(Tagged::bad("You have logged in already"))),
            (Self::Logout, _) => Ok(Done::new(Self::Logout, Tagged::bad("You have logged out"))),
            (Self::Authenticated(state), Command::Authenticated(command)) => state.handle(session, command).await,
            (Self::Selected(state), Command::Authenticated(command)) => state.handle(session, command).await,
            (Self::Selected(state), Command::Selected(command)) => state.on_messages(session, tag, command).await,
            (state, Command::Selected(_)) => Ok(state.answer(Tagged::bad("Select a mailbox first"))),
        }
    }

    /// Answers an APPEND whose first literal comes next.
    pub(crate) async fn append(
        self,
        session: &mut Session,
        head: Head,
        header: LiteralHeader,
    ) -> Result<Done, ImapError> {
        match self {
            Self::Authenticated(state) => {
                let tagged = settle(append::run(session, &state.account, head, header).await)?;
                Ok(Self::Authenticated(state).answer(tagged))
            }
            Self::Selected(state) => {
                let result = append::run(session, &state.authenticated.account, head, header).await;
                let tagged = settle(result)?;
                state.finish(session, tagged, After::Ask).await
            }
            state => {
                session.pass_over_literal(&header, &state).await?;
                Ok(state.answer(Tagged::bad("Log in first")))
            }
        }
    }
}

impl Authenticated {
    async fn handle(mut self, session: &mut Session, command: AuthenticatedCommand) -> Result<Done, ImapError> {
        match command {
            AuthenticatedCommand::Select(select) => command::select::run(session, self, select).await,
            AuthenticatedCommand::Compress => Ok(command::compress::run(session, State::Authenticated(self))),
            AuthenticatedCommand::Idle => {
                let tagged = settle(command::idle::without_mailbox(session, &mut self).await)?;
                Ok(State::Authenticated(self).answer(tagged))
            }
            command => {
                let tagged = settle(command::authenticated::run(session, &self.account, command).await)?;
                Ok(State::Authenticated(self).answer(tagged))
            }
        }
    }
}

impl Selected {
    async fn handle(
        mut self: Box<Self>,
        session: &mut Session,
        command: AuthenticatedCommand,
    ) -> Result<Done, ImapError> {
        match command {
            AuthenticatedCommand::Select(select) => {
                session.out.ok(&Code::CLOSED, "Mailbox is closed");
                command::select::run(session, self.authenticated, select).await
            }
            AuthenticatedCommand::Compress => Ok(command::compress::run(session, State::Selected(self))),
            AuthenticatedCommand::Idle => {
                let tagged = settle(command::idle::with_mailbox(session, &mut self).await)?;
                Ok(State::Selected(self).answer(tagged))
            }
            AuthenticatedCommand::Delete(name) => self.delete(session, name).await,
            command => {
                let tagged = settle(command::authenticated::run(session, &self.authenticated.account, command).await)?;
                self.finish(session, tagged, After::Tell).await
            }
        }
    }

    /// DELETE may hit the mailbox that is open: then it is closed first.
    async fn delete(self: Box<Self>, session: &mut Session, name: MailboxArg) -> Result<Done, ImapError> {
        let own = name.name(session.out.enabled.utf8).is_ok_and(|name| name == self.view.name);
        let command = AuthenticatedCommand::Delete(name);
        let tagged = settle(command::authenticated::run(session, &self.authenticated.account, command).await)?;
        if own && tagged.status == Status::Ok {
            session.out.ok(&Code::CLOSED, "Mailbox is closed");
            return Ok(State::Authenticated(self.authenticated).answer(tagged));
        }
        self.finish(session, tagged, After::Tell).await
    }

    async fn on_messages(
        mut self: Box<Self>,
        session: &mut Session,
        tag: &Tag,
        command: SelectedCommand,
    ) -> Result<Done, ImapError> {
        match command {
            SelectedCommand::Close | SelectedCommand::Unselect => {
                let expunge = command == SelectedCommand::Close;
                let tagged = settle(command::close::run(&self, expunge).await)?;
                Ok(State::Authenticated(self.authenticated).answer(tagged))
            }
            command => {
                let after = After::command(&command);
                let tagged = settle(command::selected::run(session, &mut self, tag, command).await)?;
                self.finish(session, tagged, after).await
            }
        }
    }

    /// Tells what has changed, then the answer stands.
    async fn finish(
        mut self: Box<Self>,
        session: &mut Session,
        mut tagged: Tagged,
        after: After,
    ) -> Result<Done, ImapError> {
        if matches!(after, After::Ask | After::Expunged) {
            self.view.expect_changes();
        }
        self.synchronise(session, after != After::Hold).await?;
        let expunged = after == After::Expunged && tagged.status == Status::Ok && tagged.code.is_none();
        if expunged && session.out.enabled.condstore {
            // RFC 7162 3.2.7
            tagged = tagged.code(Code::highest_mod_seq(self.view.modseq()));
        }
        Ok(State::Selected(self).answer(tagged))
    }
}

/// What is told of the mailbox between a command and its tagged response (RFC 9051 7.5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    /// Everything but expunges: sequence numbers must not change in FETCH, STORE and SEARCH.
    Hold,
    /// Everything, if anything has changed.
    Tell,
    /// Everything; the store is asked although no change was heard of (NOOP, CHECK, APPEND).
    Ask,
    /// Everything, and how far that is (EXPUNGE, MOVE).
    Expunged,
}

impl After {
    const fn command(command: &SelectedCommand) -> Self {
        use SelectedCommand as S;
        match command {
            S::Fetch { uid: false, .. } | S::Store { uid: false, .. } | S::Search { uid: false, .. } => Self::Hold,
            S::Expunge | S::UidExpunge(_) | S::Move { .. } => Self::Expunged,
            S::Check | S::Copy { .. } => Self::Ask,
            _ => Self::Tell,
        }
    }
}
