//! The envelope of one message: who sends, who gets it, and which accounts that means.
//!
//! Invariant: an envelope never outgrows the bounds that a commit has: recipients, accounts, tenants.

use securanet_gateway::model::{TenantId, directory::LocalRecipient, limits};

use crate::grammar::{ClientName, Hello, MailFrom, RcptTo, Reply};

/// Organisations that one message may be for: its content is put once for each.
const TENANTS_MAX: usize = 8;

/// How a client introduced itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Client {
    pub(crate) hello: Hello,
    pub(crate) name: ClientName,
}

/// What an accepted recipient address leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Accepted {
    pub(crate) accounts: Vec<LocalRecipient>,
    /// `postmaster` or `abuse`: no quota stands in its way.
    pub(crate) role: bool,
}

/// One accepted RCPT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Recipient {
    pub(crate) rcpt: RcptTo,
    pub(crate) accepted: Accepted,
}

impl Recipient {
    /// Whether an account over its quota refuses: where the sender hears of it, which it cannot for one member of
    /// a list among others.
    pub(crate) const fn enforces_quota(&self) -> bool {
        !self.accepted.role && self.accepted.accounts.len() == 1
    }
}

/// The envelope so far.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Envelope {
    pub(crate) mail: MailFrom,
    pub(crate) recipients: Vec<Recipient>,
    /// In order of appearance, distinct.
    pub(crate) tenants: Vec<TenantId>,
    accounts: usize,
}

impl Envelope {
    pub(crate) const fn new(mail: MailFrom) -> Self {
        Self { mail, recipients: Vec::new(), tenants: Vec::new(), accounts: 0 }
    }

    /// Adds a recipient.
    ///
    /// # Errors
    /// The refusal, when the envelope is full; it is as before then.
    pub(crate) fn add(&mut self, rcpt: RcptTo, accepted: Accepted) -> Result<(), Reply> {
        let mut tenants = self.tenants.clone();
        for account in &accepted.accounts {
            if !tenants.contains(&account.tenant) {
                tenants.push(account.tenant);
            }
        }
        let accounts = self.accounts + accepted.accounts.len();
        // A list alone always fits: the directory resolves to no more accounts than this.
        if !self.recipients.is_empty() && (accounts > limits::GROUP_MEMBERS_MAX || tenants.len() > TENANTS_MAX) {
            return Err(too_many());
        }
        (self.tenants, self.accounts) = (tenants, accounts);
        self.recipients.push(Recipient { rcpt, accepted });
        Ok(())
    }
}

/// RFC 5321 4.5.3.1.10: the client sends what is left in another transaction.
pub(crate) fn too_many() -> Reply {
    Reply::new(452, (5, 3), "too many recipients: send again to the rest")
}
