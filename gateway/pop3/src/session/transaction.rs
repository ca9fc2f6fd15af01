//! TRANSACTION (RFC 1939 5): the maildrop is this session's, and nothing of it changes yet.

use std::{sync::Arc, time::Duration};

use securanet_gateway::{
    client::{AccountPlace, StoreClient},
    login::Login,
    model::{
        EmailId, MailboxId, MailboxName, StoreError, Uid,
        account::{AccountAnswer, AccountQuery, UidSet},
    },
    store::Content,
};
use tokio::time::timeout;

use super::{End, Input, Link, Pop3, update::Update};
use crate::{
    command::{Command, MessageNumber},
    lease::{Lease, LeaseError},
    maildrop::{Maildrop, NoMessage},
    metric,
    reply::{Code, Reply, capabilities},
    stuffing::Stuffing,
    top::Top,
};

/// Rows asked for at a time when a maildrop is opened.
const ROWS_MAX: u32 = 1000;
/// Messages of one session; more of them come into sight when these are deleted.
const MESSAGES_MAX: usize = 500_000;
/// Octets of a message held at a time.
const PIECE_OCTETS: u64 = 64 * 1024;
/// A store that takes longer to answer or to read a piece is as good as gone.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client with its maildrop.
pub(super) struct Transaction {
    pop3: Arc<Pop3>,
    link: Link,
    login: Login,
    mailbox: MailboxId,
    maildrop: Maildrop,
    lease: Lease,
}

/// Why a command did not do what it should.
enum Fault {
    /// The client is told, and the session goes on.
    Reply(Reply),
    /// The session ends.
    End(End),
}

impl Transaction {
    /// Locks the maildrop and lists it. If that cannot be, the link comes back with what to tell the client.
    pub(super) async fn open(pop3: Arc<Pop3>, mut link: Link, login: Login) -> Result<Self, (Link, Reply)> {
        // The lock comes after all that was acknowledged before it, and so does the list.
        let client = pop3.client.for_session();
        let lease = match Lease::take(client.clone(), login.place).await {
            Ok(lease) => lease,
            Err(error) => return Err((link, not_leased(&error))),
        };
        let (mailbox, maildrop) = match list(&client, login.place).await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "maildrop not opened");
                metric::maildrop("failed");
                lease.release().await;
                return Err((link, store_reply(&error)));
            }
        };
        let (messages, octets) = maildrop.stat();
        metric::maildrop("opened");
        tracing::info!(messages, octets, "maildrop opened");
        // If it cannot be sent, the first read ends the session.
        let reply = Reply::ok(format_args!("{messages} messages ({octets} octets)"));
        let _ = link.reply(&reply).await;
        Ok(Self { pop3, link, login, mailbox, maildrop, lease })
    }

    /// Until QUIT, or until the session ends otherwise and the lock is given back without any change.
    pub(super) async fn run(mut self) -> Result<Update, End> {
        let end = loop {
            match self.turn().await {
                Ok(true) => {}
                Ok(false) => return Ok(self.into_update()),
                Err(end) => break end,
            }
        };
        let Self { link, lease, .. } = self;
        // At once: who comes back with a new connection finds the maildrop free.
        let (end, ()) = tokio::join!(link.close(end), lease.release());
        Err(end)
    }

    /// One command; `false`: it was QUIT.
    async fn turn(&mut self) -> Result<bool, End> {
        let input = tokio::select! {
            biased;
            () = self.login.ended() => return Err(End::Revoked),
            input = self.link.next() => input.map_err(|error| End::of(&error))?,
        };
        let line = match input {
            Input::Line(line) => line,
            Input::TooLong => return self.link.error(&Reply::err(None, "line too long")).await.map(|()| true),
            Input::Draining => return Err(End::Drained),
        };
        let command = match Command::parse(&line) {
            Ok(Command::Quit) => return Ok(false),
            Ok(command) => command,
            Err(error) => return self.link.error(&error.into()).await.map(|()| true),
        };
        if self.link.shutdown.is_draining() {
            return Err(End::Drained);
        }
        let login = self.login.clone();
        let outcome = tokio::select! {
            biased;
            // In the middle of a message there is no room for a word.
            () = login.ended() => return Err(End::Lost),
            outcome = self.execute(command) => outcome,
        };
        match outcome {
            Ok(()) => Ok(true),
            Err(Fault::Reply(reply)) => self.link.error(&reply).await.map(|()| true),
            Err(Fault::End(end)) => Err(end),
        }
    }

    async fn execute(&mut self, command: Command) -> Result<(), Fault> {
        self.keep_lease().await?;
        let reply = match command {
            Command::Noop => Reply::ok("nothing done"),
            Command::Stat => {
                let (messages, octets) = self.maildrop.stat();
                Reply::ok(format_args!("{messages} {octets}"))
            }
            Command::List(None) => self.list(|_, entry| entry.size_bytes.to_string()),
            Command::List(Some(number)) => {
                Reply::ok(format_args!("{number} {}", self.maildrop.get(number)?.size_bytes))
            }
            Command::Uidl(None) => self.list(|maildrop, entry| maildrop.unique_id(entry)),
            Command::Uidl(Some(number)) => {
                Reply::ok(format_args!("{number} {}", self.maildrop.unique_id(self.maildrop.get(number)?)))
            }
            Command::Dele(number) => {
                self.maildrop.delete(number)?;
                Reply::ok("marked")
            }
            Command::Rset => {
                self.maildrop.reset();
                Reply::ok("no marks")
            }
            Command::Capa => self.capa(),
            Command::Retr(number) => return self.retr(number).await,
            Command::Top(number, lines) => return self.top(number, lines).await,
            Command::User(_) | Command::Pass(_) | Command::Auth { .. } | Command::AuthList => {
                return Err(Fault::Reply(Reply::err(None, "logged in already")));
            }
            Command::Stls | Command::Utf8 | Command::Quit => {
                return Err(Fault::Reply(Reply::err(None, "not in this state")));
            }
        };
        Ok(self.link.reply(&reply).await?)
    }

    async fn keep_lease(&mut self) -> Result<(), Fault> {
        match self.lease.keep().await {
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::info!(%error, "maildrop lost");
                // Between two commands there is room for a word; in the middle of a message `send` is not told.
                let _ = self.link.reply(&not_leased(&error)).await;
                Err(Fault::End(End::Errors))
            }
        }
    }

    fn list(&self, what: impl Fn(&Maildrop, &crate::maildrop::Entry) -> String) -> Reply {
        let (messages, octets) = self.maildrop.stat();
        let lines = self.maildrop.iter().map(|(number, entry)| format!("{number} {}", what(&self.maildrop, entry)));
        Reply::list(&format!("{messages} messages ({octets} octets)"), lines)
    }

    fn capa(&self) -> Reply {
        let context = self.link.sasl();
        let mechanisms = self.pop3.authenticator.mechanisms(&context);
        Reply::list("capabilities", capabilities(&mechanisms, context.is_private(), false))
    }

    async fn retr(&mut self, number: MessageNumber) -> Result<(), Fault> {
        let content = self.open_message(self.maildrop.get(number)?.email).await?;
        let reply = Reply::ok(format_args!("{} octets", content.size_bytes()));
        self.link.reply(&reply).await?;
        self.send(content.as_ref(), None).await?;
        metric::retrieved();
        Ok(())
    }

    async fn top(&mut self, number: MessageNumber, lines: u32) -> Result<(), Fault> {
        let content = self.open_message(self.maildrop.get(number)?.email).await?;
        self.link.reply(&Reply::ok("top of message follows")).await?;
        self.send(content.as_ref(), Some(Top::new(lines))).await
    }

    async fn open_message(&self, email: EmailId) -> Result<Box<dyn Content>, Fault> {
        let AccountPlace { group, account } = self.login.place;
        let opened = self.pop3.client.store().open(group, account, email);
        match within(opened).await {
            Ok(content) => Ok(content),
            // Deleted by IMAP, which knows no maildrop locks.
            Err(StoreError::NotFound) => Err(Fault::Reply(Reply::err(None, "the message is gone"))),
            Err(error) => {
                tracing::warn!(%error, %email, "message not opened");
                Err(Fault::Reply(store_reply(&error)))
            }
        }
    }

    /// Sends a message, or its top, piece by piece. What goes wrong here ends the session: the client has no
    /// other way to tell half a message from a whole one.
    async fn send(&mut self, content: &dyn Content, mut top: Option<Top>) -> Result<(), Fault> {
        let (mut stuffing, mut offset, mut out) = (Stuffing::default(), 0, Vec::new());
        while offset < content.size_bytes() && !top.as_ref().is_some_and(Top::is_done) {
            let piece = match within(content.read(offset..offset + PIECE_OCTETS)).await {
                Ok(piece) if !piece.is_empty() => piece,
                outcome => {
                    tracing::warn!(error = ?outcome.err(), "message broke off");
                    return Err(Fault::End(End::Lost));
                }
            };
            let wanted = top.as_mut().map_or(&piece[..], |top| top.wanted(&piece));
            stuffing.push(wanted, &mut out);
            offset += piece.len() as u64;
            metric::octets_sent(wanted.len() as u64);
            self.link.stream.write(&out).await.map_err(|error| Fault::End(End::of(&error)))?;
            out.clear();
            if self.lease.keep().await.is_err() {
                return Err(Fault::End(End::Lost));
            }
        }
        stuffing.finish(&mut out);
        self.link.stream.write(&out).await.map_err(|error| Fault::End(End::of(&error)))
    }

    fn into_update(self) -> Update {
        let Self { pop3, link, login, mailbox, maildrop, lease } = self;
        Update::new(pop3, link, login.place, mailbox, maildrop.marked(), lease)
    }
}

impl From<NoMessage> for Fault {
    fn from(error: NoMessage) -> Self {
        Self::Reply(Reply::err(None, error))
    }
}

impl From<End> for Fault {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

/// The INBOX and what is in it.
async fn list(client: &StoreClient, place: AccountPlace) -> Result<(MailboxId, Maildrop), StoreError> {
    let query = AccountQuery::MailboxByName(MailboxName::inbox());
    let mailbox = match within(client.ask_account(place, query)).await? {
        AccountAnswer::Mailbox(Some(mailbox)) => mailbox.id,
        AccountAnswer::Refused(why) => return Err(StoreError::Unavailable(why.to_string())),
        _ => return Err(StoreError::Damaged("an account has no INBOX".to_owned())),
    };
    let mut messages = Vec::new();
    let mut from = Uid::FIRST;
    while messages.len() < MESSAGES_MAX {
        let uids = UidSet::from_ranges([(from, Uid::new(u32::MAX))]);
        let query = AccountQuery::Messages { mailbox, uids, with_summary: false, rows_max: ROWS_MAX };
        let page = match within(client.ask_account(place, query)).await? {
            AccountAnswer::Messages(page) => page,
            other => return Err(StoreError::Unavailable(format!("the shard answered {other:?}"))),
        };
        messages.extend(page.iter().map(|message| (message.state.uid, message.state.email, message.size_bytes)));
        match page.last() {
            Some(last) if last.state.uid < Uid::new(u32::MAX) => from = last.state.uid.next(),
            _ => break,
        }
    }
    Ok((mailbox, Maildrop::new(place.account.id, messages)))
}

async fn within<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| Err(StoreError::Unavailable("the store does not answer".to_owned()));
    timeout(STORE_TIMEOUT, asked).await.unwrap_or_else(late)
}

fn not_leased(error: &LeaseError) -> Reply {
    match error {
        LeaseError::InUse => {
            metric::maildrop("in_use");
            Reply::err(Some(Code::InUse), "another session has this maildrop")
        }
        LeaseError::Refused(why) => {
            metric::maildrop("failed");
            tracing::warn!(%why, "maildrop not locked");
            Reply::err(Some(Code::SysTemp), "the maildrop cannot be locked right now")
        }
        LeaseError::Store(error) => {
            metric::maildrop("failed");
            store_reply(error)
        }
    }
}

fn store_reply(error: &StoreError) -> Reply {
    match error {
        StoreError::Damaged(_) | StoreError::Internal(_) => {
            Reply::err(Some(Code::SysPerm), "stored data needs the operator's attention")
        }
        _ => Reply::err(Some(Code::SysTemp), "the store does not answer, try again later"),
    }
}
