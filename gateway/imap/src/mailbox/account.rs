//! Typed questions and changes of one account, with refusals as answers for the client.

use securanet_gateway::{
    client::StoreClient,
    login::Login,
    model::{
        AccountId, MailboxId, MailboxName, ModSeq, StoreError, TenantId,
        account::{
            AccountAnswer, AccountCommand, AccountQuery, AccountReply, Changes, MailboxInfo, Message, MessageState,
            QuotaUsage, UidSet,
        },
    },
};

use crate::response::Stop;

/// Rows of flags asked for at a time: some 40 octets each.
pub(crate) const STATE_ROWS_MAX: u32 = 5000;
/// Rows without summaries asked for at a time.
pub(crate) const MESSAGE_ROWS_MAX: u32 = 1000;
/// Rows with summaries asked for at a time: some kilobytes each.
pub(crate) const SUMMARY_ROWS_MAX: u32 = 100;

/// The account of a session.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) store: StoreClient,
    pub(crate) login: Login,
}

impl Account {
    pub(crate) fn id(&self) -> AccountId {
        self.login.account.id
    }

    pub(crate) fn tenant(&self) -> TenantId {
        self.login.account.tenant
    }

    async fn ask(&self, query: AccountQuery) -> Result<AccountAnswer, Stop> {
        match self.store.ask_account(self.login.place, query).await? {
            AccountAnswer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    /// Changes the account; a refusal stops.
    pub(crate) async fn change(&self, command: AccountCommand) -> Result<AccountReply, Stop> {
        match self.store.account(self.login.place, command).await? {
            AccountReply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }

    /// All mailboxes, sorted by name.
    pub(crate) async fn mailboxes(&self) -> Result<Vec<MailboxInfo>, Stop> {
        match self.ask(AccountQuery::Mailboxes).await? {
            AccountAnswer::Mailboxes(mailboxes) => Ok(mailboxes),
            _ => Err(out_of_turn()),
        }
    }

    /// Subscribed names without a mailbox, sorted.
    pub(crate) async fn dangling_subscriptions(&self) -> Result<Vec<MailboxName>, Stop> {
        match self.ask(AccountQuery::DanglingSubscriptions).await? {
            AccountAnswer::Names(names) => Ok(names),
            _ => Err(out_of_turn()),
        }
    }

    /// One mailbox. That there is none is known for certain: another session may have made it a moment ago.
    pub(crate) async fn mailbox(&self, name: &MailboxName) -> Result<Option<MailboxInfo>, Stop> {
        match self.mailbox_as_seen(name).await? {
            None => {
                self.store.refresh();
                self.mailbox_as_seen(name).await
            }
            found => Ok(found),
        }
    }

    async fn mailbox_as_seen(&self, name: &MailboxName) -> Result<Option<MailboxInfo>, Stop> {
        match self.ask(AccountQuery::MailboxByName(name.clone())).await? {
            AccountAnswer::Mailbox(mailbox) => Ok(mailbox.map(|mailbox| *mailbox)),
            _ => Err(out_of_turn()),
        }
    }

    /// What changed in a mailbox after a mod-sequence.
    pub(crate) async fn changes(&self, mailbox: MailboxId, since: ModSeq) -> Result<Changes, Stop> {
        match self.ask(AccountQuery::Changes { mailbox, since }).await? {
            AccountAnswer::Changes(changes) => Ok(*changes),
            _ => Err(out_of_turn()),
        }
    }

    /// Flags of messages, ascending, at most [`STATE_ROWS_MAX`].
    pub(crate) async fn states(&self, mailbox: MailboxId, uids: UidSet) -> Result<Vec<MessageState>, Stop> {
        match self.ask(AccountQuery::States { mailbox, uids, rows_max: STATE_ROWS_MAX }).await? {
            AccountAnswer::States(states) => Ok(states),
            _ => Err(out_of_turn()),
        }
    }

    /// Messages, ascending, at most [`SUMMARY_ROWS_MAX`] or [`MESSAGE_ROWS_MAX`].
    pub(crate) async fn messages(
        &self,
        mailbox: MailboxId,
        uids: UidSet,
        with_summary: bool,
    ) -> Result<Vec<Message>, Stop> {
        let rows_max = if with_summary { SUMMARY_ROWS_MAX } else { MESSAGE_ROWS_MAX };
        match self.ask(AccountQuery::Messages { mailbox, uids, with_summary, rows_max }).await? {
            AccountAnswer::Messages(messages) => Ok(messages),
            _ => Err(out_of_turn()),
        }
    }

    /// What the account uses and may use.
    pub(crate) async fn quota(&self) -> Result<QuotaUsage, Stop> {
        match self.ask(AccountQuery::Quota).await? {
            AccountAnswer::Quota(usage) => Ok(usage),
            _ => Err(out_of_turn()),
        }
    }
}

/// The store answered another question than the one asked.
pub(crate) fn out_of_turn() -> Stop {
    StoreError::Internal("the store answered out of turn".to_owned()).into()
}
