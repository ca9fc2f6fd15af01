//! Recipients of ours whose mail goes by way of the queue, as that of the world does.
//!
//! Two reasons: somebody wants to hear of the success (RFC 3461 4.1 NOTIFY=SUCCESS), which the queue's reports tell; or
//! the message is to be held (RFC 4865). All others are put into their mailboxes before the client has its reply.
//!
//! They were resolved at RCPT like any other, so nobody can fill the queue, or have us send reports, with names that
//! are none. The worker resolves them again when their time comes.

use securanet_gateway::{
    model::{
        ReversePath,
        outbound::{Notify, Origin},
    },
    srs::Srs,
};

use crate::{
    envelope::{Accepted, Envelope, Outlet, Recipient},
    grammar::ForwardPath,
};

/// Whether the recipient's mail goes by way of the queue.
pub(crate) fn waits(envelope: &Envelope, recipient: &Recipient) -> bool {
    let is_ours = matches!(recipient.accepted, Accepted::Local { .. });
    // `postmaster` without a domain has no address that the queue could keep.
    // A bounce on its way back goes to no mailbox.
    let has_address = matches!(&recipient.rcpt.recipient, ForwardPath::Address(address) if !Srs::is_rewritten(address));
    is_ours && has_address && (envelope.hold_until.is_some() || is_to_be_told(envelope, recipient))
}

/// Of what is sent on to one address the next server tells (RFC 3461 5.2.7.1); of all else we do. A null sender is never
/// told anything, and a literal's host is nobody whom a report could be sent to.
fn is_to_be_told(envelope: &Envelope, recipient: &Recipient) -> bool {
    !recipient.accepted.leads_to_one_outside()
        && matches!(envelope.mail.sender, ReversePath::Address(_))
        && matches!(recipient.rcpt.notify, Notify::On { success: true, .. })
}

/// The queue that keeps what waits of a message that nobody submits: that of the first such recipient's shard.
pub(super) fn outlet(envelope: &Envelope) -> Option<Outlet> {
    let first = envelope
        .recipients
        .iter()
        .find(|recipient| matches!(recipient.accepted, Accepted::Local { .. }) && waits(envelope, recipient))?;
    let accounts = first.accepted.accounts().iter().map(|account| (account.group, account.tenant));
    let onward = first.accepted.onward().iter().map(|onward| (onward.group, onward.tenant));
    let (group, tenant) = accounts.chain(onward).next()?;
    Some(Outlet { group, tenant, origin: Origin::Local })
}
