//! The envelope of one message: who sends, who gets it, and which accounts that means.
//!
//! Invariant: an envelope never outgrows the bounds that a commit has: recipients, accounts, tenants.

use std::{collections::HashSet, sync::Arc};

use securanet_gateway::model::{
    Address, GroupId, ReversePath, TenantId, UnixMillis,
    directory::LocalRecipient,
    limits,
    outbound::{DeliverBy, Origin},
};

use crate::{
    grammar::{By, ClientName, Hello, Hold, MailFrom, RcptTo, Reply},
    plan::local,
    submission::submitter::Submitter,
};

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
pub(crate) enum Accepted {
    /// Mailboxes of ours, and whom an address of ours sends its mail on to.
    Local {
        accounts: Vec<LocalRecipient>,
        /// Addresses outside that it is sent on to.
        onward: Vec<SentOn>,
        /// `postmaster` or `abuse`: no quota stands in its way.
        role: bool,
    },
    /// The world; only for who submits.
    Outside {
        /// What its mail waits with in the queue.
        destination: String,
    },
}

/// Somebody outside to whom mail for an address of ours is sent on. That is no relaying: whoever set up the account's
/// forwarding, the alias or the list has granted it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SentOn {
    pub(crate) to: Address,
    /// The envelope's sender for this one.
    pub(crate) sender: ReversePath,
    /// Who sends it on.
    pub(crate) by: Address,
    /// Whose content it is.
    pub(crate) tenant: TenantId,
    /// The queue that keeps it.
    pub(crate) group: GroupId,
    pub(crate) through_list: bool,
}

/// Where the mail of a submitter goes out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outlet {
    /// The queue that keeps it.
    pub(crate) group: GroupId,
    /// Whose content it is.
    pub(crate) tenant: TenantId,
    /// Why it may leave.
    pub(crate) origin: Origin,
}

impl Accepted {
    /// The mailboxes.
    pub(crate) fn accounts(&self) -> &[LocalRecipient] {
        match self {
            Self::Local { accounts, .. } => accounts,
            Self::Outside { .. } => &[],
        }
    }

    /// Whether it is one address of the world under another name: not a list, which has its mail when it is given to it.
    pub(crate) fn leads_to_one_outside(&self) -> bool {
        self.accounts().is_empty() && matches!(self.onward(), [onward] if !onward.through_list)
    }

    /// Those outside whom it is sent on to.
    pub(crate) fn onward(&self) -> &[SentOn] {
        match self {
            Self::Local { onward, .. } => onward,
            Self::Outside { .. } => &[],
        }
    }
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
    pub(crate) fn enforces_quota(&self) -> bool {
        let Accepted::Local { accounts, onward, role: false } = &self.accepted else { return false };
        matches!(accounts.as_slice(), [account] if onward.iter().all(|onward| onward.by == account.address))
    }
}

/// The envelope so far.
pub(crate) struct Envelope {
    pub(crate) mail: MailFrom,
    pub(crate) recipients: Vec<Recipient>,
    /// In order of appearance, distinct.
    pub(crate) tenants: Vec<TenantId>,
    /// Who submits it; nobody: it comes from the world.
    pub(crate) submitter: Option<Arc<Submitter>>,
    /// Where what is for the world goes out.
    pub(crate) outlet: Option<Outlet>,
    /// RFC 4865: not before.
    pub(crate) hold_until: Option<UnixMillis>,
    /// RFC 2852.
    pub(crate) deliver_by: Option<DeliverBy>,
    /// With whom their mail is sent on to.
    accounts: usize,
}

impl Envelope {
    pub(crate) const fn new(mail: MailFrom) -> Self {
        Self {
            mail,
            recipients: Vec::new(),
            tenants: Vec::new(),
            submitter: None,
            outlet: None,
            hold_until: None,
            deliver_by: None,
            accounts: 0,
        }
    }

    /// An envelope that somebody submits.
    pub(crate) fn submitted(mail: MailFrom, submitter: Submitter, now: UnixMillis) -> Self {
        let hold_until = mail.hold.map(|hold| until(hold, now));
        let deliver_by = mail.by.map(|by| deliver_by(by, now));
        let outlet = Some(submitter.outlet.clone());
        let tenants = submitter.sent_to().into_iter().map(|(_, tenant)| tenant).collect();
        Self { submitter: Some(Arc::new(submitter)), outlet, hold_until, deliver_by, tenants, ..Self::new(mail) }
    }

    /// Adds a recipient.
    ///
    /// # Errors
    /// The refusal, when the envelope is full; it is as before then.
    pub(crate) fn add(&mut self, rcpt: RcptTo, accepted: Accepted) -> Result<(), Reply> {
        let recipient = Recipient { rcpt, accepted };
        let waits = local::waits(self, &recipient);
        let accepted = &recipient.accepted;
        if self.hold_until.is_some() && matches!(accepted, Accepted::Local { .. }) && !waits {
            return Err(Reply::new(
                550,
                (3, 3),
                "mail for postmaster cannot be held: name a domain, or do without HOLDFOR",
            ));
        }
        let mut tenants = self.tenants.clone();
        let outlet = self.outlet.as_ref().filter(|_| waits || matches!(accepted, Accepted::Outside { .. }));
        let of_accounts = accepted.accounts().iter().map(|account| account.tenant);
        let of_onward = accepted.onward().iter().map(|onward| onward.tenant);
        for tenant in of_accounts.chain(of_onward).chain(outlet.map(|outlet| outlet.tenant)) {
            if !tenants.contains(&tenant) {
                tenants.push(tenant);
            }
        }
        let accounts = self.accounts + accepted.accounts().len() + accepted.onward().len();
        // A list alone always fits: the directory resolves to no more than this.
        if !self.recipients.is_empty() && (accounts > limits::GROUP_MEMBERS_MAX || tenants.len() > TENANTS_MAX) {
            return Err(too_many());
        }
        if !self.recipients.is_empty() && self.messages_with(accepted) > limits::ACCEPTED_OUTBOUND_MAX {
            return Err(too_many());
        }
        (self.tenants, self.accounts) = (tenants, accounts);
        self.recipients.push(recipient);
        Ok(())
    }

    /// Messages into the world with this recipient too: one for each sender and address of ours that sends on.
    fn messages_with(&self, accepted: &Accepted) -> usize {
        let all = self.recipients.iter().map(|recipient| &recipient.accepted).chain([accepted]);
        let messages: HashSet<_> =
            all.flat_map(Accepted::onward).map(|onward| (onward.sender.to_string(), onward.by.canonical())).collect();
        messages.len()
    }
}

fn until(hold: Hold, now: UnixMillis) -> UnixMillis {
    match hold {
        Hold::For(seconds) => now.plus_millis(u64::from(seconds) * 1000),
        Hold::Until(at) => at,
    }
}

fn deliver_by(by: By, now: UnixMillis) -> DeliverBy {
    let millis = u64::from(by.seconds.unsigned_abs()) * 1000;
    let until =
        if by.seconds < 0 { UnixMillis::new(now.get().saturating_sub(millis)) } else { now.plus_millis(millis) };
    DeliverBy { by: until, or_return: by.or_return, trace: by.trace }
}

/// RFC 5321 4.5.3.1.10: the client sends what is left in another transaction.
pub(crate) fn too_many() -> Reply {
    Reply::new(452, (5, 3), "too many recipients: send again to the rest")
}
