//! Mail on its way out: items, their recipients, attempts, outcomes, and what operators do about them.
//!
//! An *item* is one message with one sender and its outside recipients, kept in one queue group. Each recipient
//! is settled by itself. Workers (any gateway that delivers) *take* due recipients under a lease, try, and
//! *settle* them with an outcome; the queue alone decides when the next try is due and when there is none any more.
//! The fence refuses intents, never facts: taking and passing the final dot need a living lease, an outcome is
//! always recorded.

use serde::{Deserialize, Serialize};

use crate::{
    AccountId, Address, GroupId, KeyedHash, RecipientAddress, ReversePath, UnixMillis, content::NewMessage,
    delivery::FanOut,
};

/// What one commit takes into a queue group: for accounts, for the world, or both. All or nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Acceptance {
    /// For accounts of ours, in any group: one for each organisation, since content belongs to one; at most
    /// [`crate::limits::ACCEPTED_FAN_OUT_MAX`].
    pub fan_out: Vec<FanOut>,
    /// For the world: one for each sender and origin; at most [`crate::limits::ACCEPTED_OUTBOUND_MAX`], and no more
    /// than [`crate::limits::RECIPIENTS_MAX`] recipients in all.
    pub outbound: Vec<Outbound>,
}

/// A message for recipients outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outbound {
    /// The message.
    pub message: NewMessage,
    /// The envelope's sender.
    pub sender: ReversePath,
    /// 1 to [`crate::limits::RECIPIENTS_MAX`], distinct.
    pub recipients: Vec<OutboundRecipient>,
    /// What the envelope asked for.
    pub options: EnvelopeOptions,
    /// Why it may be sent at all.
    pub origin: Origin,
    /// Message-ID as written, for the trace; at most 255 octets.
    pub message_id: Option<String>,
    /// Names the message in logs and in its Received field.
    pub trace_id: String,
    /// RFC 4865 FUTURERELEASE: not before.
    pub hold_until: Option<UnixMillis>,
    /// Recognises a sender's repeat: a keyed hash of envelope and message. Within
    /// [`crate::limits::SUPPRESSION_MILLIS`] the queue takes it in once; `None` is always taken in.
    pub repeat_key: Option<KeyedHash>,
}

/// One recipient outside.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OutboundRecipient {
    /// Where to.
    pub address: RecipientAddress,
    /// What its mail waits with: the recipient's domain or address literal ([`RecipientAddress::host`]), `route:NAME`
    /// where a route decides, or [`LOCAL_DESTINATION`] for a mailbox of ours. It keeps the mail of a dead destination
    /// from standing before that of others. At most 255 octets, no zero octet.
    pub destination: String,
    /// RFC 3461 4.1 NOTIFY.
    pub notify: Notify,
    /// RFC 3461 4.2 ORCPT as written (`rfc822;ann@example.org`); at most 500 octets.
    pub original: Option<String>,
}

/// The destination of recipients whose mailboxes are ours and whose mail waits all the same: because somebody wants to
/// hear of its success, or because it is held. No domain's name has a colon; an address literal begins with a bracket.
pub const LOCAL_DESTINATION: &str = "local:";

impl OutboundRecipient {
    /// Whether its mail goes into a mailbox of ours.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.destination == LOCAL_DESTINATION
    }
}

/// RFC 3461 4.1: of what the sender wants to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Notify {
    /// Nothing was said: failures, and delays at the server's choice.
    Default,
    /// NEVER.
    Never,
    /// Any of SUCCESS, FAILURE, DELAY.
    On {
        /// SUCCESS.
        success: bool,
        /// FAILURE.
        failure: bool,
        /// DELAY.
        delay: bool,
    },
}

impl Notify {
    /// The same, but for SUCCESS; whoever asked for nothing else hears nothing.
    #[must_use]
    pub const fn without_success(self) -> Self {
        match self {
            Self::On { failure: false, delay: false, .. } => Self::Never,
            Self::On { failure, delay, .. } => Self::On { success: false, failure, delay },
            Self::Default | Self::Never => self,
        }
    }
}

/// RFC 3461 4.3 RET.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Return {
    /// The whole message.
    Full,
    /// Its header.
    Headers,
}

/// RFC 2852 BY.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeliverBy {
    /// Until when.
    pub by: UnixMillis,
    /// R: return it when that is over; otherwise N: tell of the delay and go on.
    pub or_return: bool,
    /// T: each relay reports.
    pub trace: bool,
}

/// What the envelope asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EnvelopeOptions {
    /// RET.
    pub ret: Option<Return>,
    /// ENVID as written (xtext); at most 100 octets.
    pub envelope_id: Option<String>,
    /// BODY=8BITMIME was said or the content has octets above 127.
    pub eight_bit: bool,
    /// SMTPUTF8: an address or a header field needs it.
    pub utf8: bool,
    /// RFC 8689 REQUIRETLS.
    pub require_tls: bool,
    /// RFC 2852.
    pub deliver_by: Option<DeliverBy>,
    /// It was submitted here, by somebody who may write as its From: the domain of that signs it, also where an address
    /// of ours sends it on.
    pub author_checked: bool,
}

/// Why a message may leave.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// An account submitted it.
    Account(AccountId),
    /// A report of ours: a bounce, a delay notice.
    Report,
    /// A device with this relay grant.
    Relay(String),
    /// Mail to this account, alias or list of ours, sent on.
    Forward(Address),
    /// Anybody's mail for mailboxes of ours, which waits ([`LOCAL_DESTINATION`]); it does not leave.
    Local,
    /// A report of ours about TLS (RFC 8460). It alone is sent whatever its destination demands of TLS (section 3):
    /// otherwise who has broken TLS would never hear of it.
    TlsReport,
}

/// A worker of the queue: one running gateway process. A UUID made at its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct WorkerId(pub [u8; 16]);

/// A recipient of an item: its number in the queue group and the recipient's position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The item.
    pub item: u64,
    /// Position among its recipients, from 0.
    pub position: u32,
}

/// When a failing recipient is tried again. Times in seconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// Pauses after the end of the previous attempt; as many retries as there are pauses (at most 32).
    pub retry_after: Vec<u32>,
    /// The same for "no such domain".
    pub no_such_domain_retry_after: Vec<u32>,
    /// The sender is told of the delay so long after the message came; 0: never.
    pub warn_after: u32,
}

impl Default for Schedule {
    /// Four retries: after 15 min, 2 h, 1 d and 3 d (RFC 5321 4.5.4.1 wants 4 to 5 days in all).
    fn default() -> Self {
        Self {
            retry_after: vec![15 * 60, 2 * 3600, 24 * 3600, 72 * 3600],
            no_such_domain_retry_after: vec![5 * 60, 10 * 60, 15 * 60, 30 * 60],
            warn_after: 4 * 3600,
        }
    }
}

/// How an attempt ended for a recipient.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// The remote server has it.
    Delivered {
        /// It takes over the duty to notify (it announced DSN); otherwise a wanted SUCCESS is answered "relayed". Of an
        /// address of ours: the message went on to one address outside, with that duty (RFC 3461 5.2.7.1).
        notifies: bool,
    },
    /// The remote answered 4xx: counts as a retry.
    TemporaryAnswer,
    /// No host of the destination could be reached or held the conversation: counts, and begins probing.
    TemporaryConnection,
    /// The destination's DNS answered SERVFAIL, not at all or bogus: counts.
    TemporaryDns,
    /// TLS was demanded and could not be had: counts.
    TemporaryTls,
    /// A 5xx answer, null MX, or another reason for which no retry can help: bounced at once.
    Permanent,
    /// The domain does not exist: a schedule of its own.
    NoSuchDomain,
    /// A fault of ours (no route, resolver or uplink dead, rate limit, shutdown): counts nothing.
    NotTried {
        /// Tried again after so many seconds; 1 to 3,600.
        again_after: u32,
    },
    /// The connection ended after the final dot and before its answer: the remote may have the message (RFC 1047).
    /// Tried again 11 minutes after the dot; from a recipient's second time on it counts as a failure too.
    Uncertain,
    /// The recipient is an address of ours that has sent it on to several (RFC 3464 2.3.3 "expanded"): of those the
    /// sender hears failures only.
    Expanded,
}

impl Outcome {
    /// Whether the recipient has the message, or those have it whom its address leads to.
    #[must_use]
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Delivered { .. } | Self::Expanded)
    }

    /// Whether somebody else tells the sender of the success.
    #[must_use]
    pub const fn is_told_elsewhere(self) -> bool {
        matches!(self, Self::Delivered { notifies: true })
    }
}

/// What is known of one attempt, for bounces and the trace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: UnixMillis,
    /// How long it took, in milliseconds.
    pub took_millis: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// RFC 3463 status.
    pub status: (u8, u16, u16),
    /// The host that was spoken to, as `name [address]:port`; at most 300 octets.
    pub host: Option<String>,
    /// TLS version and cipher, or why there was none; at most 200 octets.
    pub tls: Option<String>,
    /// The remote's last answer, or what went wrong in our words; at most 1,000 octets.
    pub answer: String,
    /// Whether `answer` came from the remote server.
    pub answer_is_remote: bool,
}

/// The outcome of one attempt for one recipient. A fact: recorded whatever lease there is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settlement {
    /// Whose.
    pub place: Place,
    /// Which attempt, as [`Taken::attempt`] said.
    pub attempt: u32,
    /// What happened.
    pub tried: Attempt,
    /// The schedule that applies to it.
    pub schedule: Schedule,
}

/// Which notice a report is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Notice {
    /// Failed for good.
    Failure,
    /// Still trying.
    Delay,
    /// Delivered, or relayed to a server that does not notify.
    Success,
}

/// A change of the outbound queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OutboundCommand {
    /// Takes a message in.
    Accept(Box<Acceptance>),
    /// Grants a lease (`epoch` none) or renews one. Refused when it has ended: ask for a new one.
    Lease {
        /// Who.
        worker: WorkerId,
        /// Which lease is renewed.
        epoch: Option<u64>,
    },
    /// Takes recipients that are due; each is answered by itself.
    Take {
        /// Under which lease.
        epoch: u64,
        /// Which; at most 1,000.
        places: Vec<Place>,
    },
    /// The final dot of these recipients' transaction comes next.
    Intend {
        /// Under which lease.
        epoch: u64,
        /// Which, with their attempts.
        places: Vec<(Place, u32)>,
    },
    /// Outcomes.
    Settle(Vec<Settlement>),
    /// Makes what an ended lease had taken due again: at most 1,000 recipients a time.
    TakeOver {
        /// The ended lease.
        epoch: u64,
    },
    /// The sender was told about these recipients, with this message; a message that nobody is to get is none.
    Report {
        /// The item.
        item: u64,
        /// Which notice.
        notice: Notice,
        /// About which recipients.
        positions: Vec<u32>,
        /// The message that tells; committed together with the fact that it was told.
        message: Option<Box<Acceptance>>,
    },
    /// A destination was found to answer, or not to; living: at most 1,000 recipients that failed to connect
    /// become due at once, so repeat until `more` is false.
    Destination {
        /// Which.
        destination: String,
        /// Whether it answers.
        alive: bool,
    },
    /// An operator's word about recipients.
    Operate {
        /// About which; at most 1,000.
        places: Vec<Place>,
        /// What.
        action: Action,
    },
    /// Forgets items that ended before the retention of traces: at most 1,000 a time.
    Forget,
}

/// What an operator does.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Stops trying until released.
    Hold,
    /// Ends a hold; due at once.
    Release,
    /// Due at once; counts no retry.
    RetryNow,
    /// Ends it without a report.
    Cancel,
    /// Ends it with a bounce.
    Fail,
    /// Another destination from now on; due at once.
    Reroute(String),
}

/// What a worker gets with a recipient that it took.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// Which.
    pub place: Place,
    /// The number of this attempt, from 1: names it in intents and settlements.
    pub attempt: u32,
    /// The recipient.
    pub recipient: OutboundRecipient,
    /// How the attempt before ended, where that is known: after `NoSuchDomain` no cached answer is good enough.
    pub last: Option<Outcome>,
    /// It stands outside the schedule: an operator, or a probe that was answered, made it due. What was found at its
    /// destination before is no reason not to try.
    pub out_of_turn: bool,
}

/// An item that an acceptance came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AcceptedItem {
    /// Its number.
    pub item: u64,
    /// It was there already: this was its sender's repeat, and nothing was taken in.
    pub repeat: bool,
}

/// What a change of the outbound queue answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OutboundReply {
    /// The message is in the queue: its items for outside, in order.
    Accepted(Vec<AcceptedItem>),
    /// The window to this group is full, nothing was taken in: try later (451).
    WindowFull(GroupId),
    /// The lease and until when it runs on the group's clock.
    Leased {
        /// Its number.
        epoch: u64,
        /// Its end.
        until: UnixMillis,
    },
    /// The lease has ended: nothing was done.
    LeaseEnded,
    /// To `Take`, in order; `None`: it was not due any more.
    Taken(Vec<Option<Taken>>),
    /// To `Intend`, in order: whether the final dot may be passed for this recipient.
    Intended(Vec<bool>),
    /// Done; to commands with a bound: whether there is more to do.
    Done {
        /// Send the same again.
        more: bool,
    },
    /// To `Operate`: in order, whether its state allowed it.
    Operated(Vec<bool>),
    /// To `Report`.
    Reported,
    /// No such item; to `Report` also: not all of these recipients are to be told that now. Nothing was done.
    NoItem,
    /// The command breaks a bound that this vocabulary states: nothing was done. A fault of whoever sent it.
    OutOfBounds,
}

/// Where a recipient is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum State {
    /// For its time to come.
    Waiting {
        /// When.
        due: UnixMillis,
    },
    /// A worker has it.
    Taken {
        /// Under which lease.
        epoch: u64,
    },
    /// A worker has it and may have passed the final dot.
    Sending {
        /// Under which lease.
        epoch: u64,
        /// Since when.
        since: UnixMillis,
    },
    /// An operator holds it.
    Held,
    /// The remote server has it.
    Delivered,
    /// For good.
    Failed,
    /// By an operator.
    Cancelled,
}

/// All that is known of a recipient.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RecipientView {
    /// Its position.
    pub position: u32,
    /// Who.
    pub recipient: OutboundRecipient,
    /// Where it is.
    pub state: State,
    /// Attempts begun.
    pub attempts: u32,
    /// Failures that counted as retries or as the first attempt.
    pub failures: u32,
    /// Attempts that may have been delivered without our knowing (RFC 1047).
    pub uncertain: u32,
    /// The sender was told of the delay.
    pub delay_told: bool,
    /// When the sender is to be told of the delay; `None`: was told, or is not to be.
    pub delay_due: Option<UnixMillis>,
    /// The sender was told of the end, or nobody is to be told.
    pub end_told: bool,
    /// The attempts, oldest first: the first one and the last fifteen.
    pub history: Vec<Attempt>,
}

/// All that is known of an item.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ItemView {
    /// Its number.
    pub item: u64,
    /// When it came.
    pub queued: UnixMillis,
    /// The envelope's sender.
    pub sender: ReversePath,
    /// What the envelope asked for.
    pub options: EnvelopeOptions,
    /// Why it may leave.
    pub origin: Origin,
    /// Message-ID as written.
    pub message_id: Option<String>,
    /// Names it in logs.
    pub trace_id: String,
    /// Octets of the message.
    pub size_bytes: u64,
    /// Its recipients.
    pub recipients: Vec<RecipientView>,
}

/// A destination with work that is due.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DueDestination {
    /// Its name, as in [`OutboundRecipient::destination`].
    pub destination: String,
    /// Since when it could not be reached, if so.
    pub failing_since: Option<UnixMillis>,
    /// What is due, oldest first: four single letters, then one of a bulk mailing, and so on.
    pub places: Vec<Place>,
    /// How many of `places` are single letters.
    pub letters: u32,
}

/// Where a page of due destinations ended. Only the queue reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DueCursor {
    /// The last one looked at among destinations with single letters, with the due time it had.
    pub letters: Option<(UnixMillis, String)>,
    /// The same among those with bulk.
    pub bulk: Option<(UnixMillis, String)>,
}

/// Something else that is due.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Timer {
    /// Recipients of the item ended and the sender is to be told ([`OutboundCommand::Report`]).
    End {
        /// The item.
        item: u64,
    },
    /// The sender is to be told of the delay.
    Delay {
        /// The item.
        item: u64,
    },
    /// See whether the destination answers ([`OutboundCommand::Destination`]).
    Probe {
        /// Which.
        destination: String,
    },
    /// A lease has ended ([`OutboundCommand::TakeOver`]).
    Lease {
        /// Which.
        epoch: u64,
    },
    /// Ended items may be forgotten ([`OutboundCommand::Forget`]).
    Forget,
}

/// Which items an operator means. What is `None` does not restrict.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// This destination.
    pub destination: Option<String>,
    /// This sender.
    pub sender: Option<ReversePath>,
    /// A recipient of this address.
    pub recipient: Option<RecipientAddress>,
    /// Items that ended too (kept for the trace); otherwise only what is not ended.
    pub ended: bool,
}

/// A question about the outbound queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OutboundQuery {
    /// What is due. Destinations take turns, four with single letters, then one with bulk, longest due first.
    Due {
        /// The asker's clock.
        now: UnixMillis,
        /// As the page before said; `None`: from the beginning.
        after: Option<DueCursor>,
        /// At most so many destinations (1 to 1,000).
        destinations_max: u32,
        /// At most so many recipients of each (1 to 1,000; from five on bulk has its share); a page has no more than
        /// 10,000 in all.
        rows_max: u32,
    },
    /// Other work that is due.
    Timers {
        /// The asker's clock.
        now: UnixMillis,
        /// At most so many (1 to 1,000).
        rows_max: u32,
    },
    /// One item.
    Item(u64),
    /// Items, newest first, before `before`.
    Items {
        /// Which.
        filter: Filter,
        /// The last one of the page before.
        before: Option<u64>,
        /// At most so many (1 to 1,000); a page looks at no more than 10,000 items, so it may be shorter.
        rows_max: u32,
    },
    /// The items of a Message-ID, newest first, at most 100.
    ByMessageId(String),
    /// The content of an item that is not ended, for reading.
    Content(u64),
    /// Counts.
    Depth,
    /// One item without its recipients: what an attempt needs to know. Answered as `Item`.
    Envelope(u64),
}

/// Counts of the outbound queue of a group.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct OutboundDepth {
    /// Items that have recipients without an end.
    pub items: u64,
    /// Recipients that wait.
    pub waiting: u64,
    /// Recipients that workers have.
    pub taken: u64,
    /// Recipients that operators hold.
    pub held: u64,
    /// Uncertain repeats since the group exists.
    pub uncertain: u64,
    /// Recipients delivered since the group exists.
    pub delivered: u64,
    /// Recipients failed since the group exists.
    pub failed: u64,
    /// Recipients taken over from ended leases since the group exists.
    pub taken_over: u64,
    /// When the oldest item without an end came.
    pub oldest: Option<UnixMillis>,
    /// The earliest time at which anything of the group is due.
    pub next_due: Option<UnixMillis>,
    /// Recipients failed of messages without a sender since the group exists: no sender was told (double bounces).
    pub double_bounces: u64,
    /// Senders' repeats since the group exists, which were not taken in again.
    pub repeats: u64,
}

/// What the outbound queue answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum OutboundAnswer {
    /// To `Due`; where to go on after, `None` at the end.
    Due(Vec<DueDestination>, Option<DueCursor>),
    /// To `Timers`.
    Timers(Vec<Timer>),
    /// To `Item` and `Envelope`.
    Item(Option<Box<ItemView>>),
    /// To `Items` and `ByMessageId`; the last item looked at, to go on before, `None` at the end. A page may be empty
    /// and still not be the last.
    Items(Vec<ItemView>, Option<u64>),
    /// To `Content`.
    Content(Option<Box<NewMessage>>),
    /// To `Depth`.
    Depth(OutboundDepth),
}
