//! Notices to a sender: what became of a message (RFC 6522 multipart/report, RFC 3464, RFC 6533).
//!
//! Three parts: words for people, the same for programs, and the message's header or the whole of it. Everything that
//! others wrote (answers of servers, the subject, addresses) is cleaned, bounded and folded before it stands here.
//!
//! What it deliberately does not do: it does not decide who is told what (the queue does), and it never answers a null
//! sender: [`Report::new`] gives none. It is written in pieces; of the original it holds the header (64 KiB at most).
//!
//! A report is ASCII unless an address of it is not; then it has RFC 6533's types. Octets above 127 stand in bodies
//! only, so that a host without 8BITMIME gets them encoded as in any other message.

pub(crate) mod fuzz;
mod human;
mod original;
mod reason;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod xtext;

use securanet_gateway::{
    model::{
        Address, RecipientAddress, ReversePath, StoreError, UnixMillis,
        outbound::{ItemView, Notice, Outcome, RecipientView},
    },
    store::{Content, ContentSink},
};
use uuid::Uuid;

use self::original::Original;

/// What happened to the recipients of a report (RFC 3464 2.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Not delivered, and nothing more will be tried.
    Failed,
    /// Not delivered yet.
    Delayed,
    /// In a mailbox.
    Delivered,
    /// Given to a server that sends no notices.
    Relayed,
    /// Sent on to several whom an address of ours leads to.
    Expanded,
}

impl Action {
    /// What a notice tells of a recipient.
    #[must_use]
    pub fn of(notice: Notice, recipient: &RecipientView) -> Self {
        match notice {
            Notice::Failure => Self::Failed,
            Notice::Delay => Self::Delayed,
            Notice::Success if recipient.history.last().is_some_and(|last| last.outcome == Outcome::Expanded) => {
                Self::Expanded
            }
            Notice::Success if recipient.recipient.is_local() => Self::Delivered,
            // A remote server's mailboxes are not ours to vouch for (RFC 3461 5.2.2).
            Notice::Success => Self::Relayed,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Expanded => "expanded",
        }
    }
}

/// Who writes reports.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReportNames {
    /// The name of this mail system, A-labels: Reporting-MTA, and the domain of `MAILER-DAEMON`.
    pub hostname: String,
}

/// A report that is to be written.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    item: &'a ItemView,
    recipients: Vec<&'a RecipientView>,
    action: Action,
    names: &'a ReportNames,
    now: UnixMillis,
    retry_until: Option<UnixMillis>,
    to: String,
}

/// What was written: what the envelope of the report has to say about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Its Message-ID, with its angle brackets.
    pub message_id: String,
    /// It has octets above 127 ([`EnvelopeOptions::eight_bit`]).
    ///
    /// [`EnvelopeOptions::eight_bit`]: securanet_gateway::model::outbound::EnvelopeOptions::eight_bit
    pub eight_bit: bool,
    /// Its header is UTF-8 ([`EnvelopeOptions::utf8`]).
    ///
    /// [`EnvelopeOptions::utf8`]: securanet_gateway::model::outbound::EnvelopeOptions::utf8
    pub utf8: bool,
    /// What it tells of was to have TLS up to its recipient, and so is it (RFC 8689 5).
    pub require_tls: bool,
}

impl<'a> Report<'a> {
    /// A report to the item's sender about the recipients at these positions (others are ignored); `None` when the
    /// sender is null, which is never answered (RFC 5321 6.1).
    #[must_use]
    pub fn new(
        item: &'a ItemView,
        positions: &[u32],
        notice: Notice,
        names: &'a ReportNames,
        now: UnixMillis,
    ) -> Option<Self> {
        let to = match &item.sender {
            ReversePath::Null => return None,
            ReversePath::Address(address) => address.to_string(),
            ReversePath::Literal(address) => address.to_string(),
        };
        Some(Self::build(item, positions, notice, names, now, to))
    }

    /// The same to somebody else: the postmaster, about what a null sender's message came to.
    #[must_use]
    pub fn to_postmaster(
        item: &'a ItemView,
        positions: &[u32],
        notice: Notice,
        names: &'a ReportNames,
        (now, postmaster): (UnixMillis, &Address),
    ) -> Self {
        Self::build(item, positions, notice, names, now, postmaster.to_string())
    }

    fn build(
        item: &'a ItemView,
        positions: &[u32],
        notice: Notice,
        names: &'a ReportNames,
        now: UnixMillis,
        to: String,
    ) -> Self {
        let recipients: Vec<&RecipientView> =
            item.recipients.iter().filter(|recipient| positions.contains(&recipient.position)).collect();
        // One report is about recipients of whom the same is told: whoever asks for it has seen to that.
        let action = recipients.first().map_or(Action::Failed, |recipient| Action::of(notice, recipient));
        Self { item, recipients, action, names, now, retry_until: None, to }
    }

    /// Until when delivery is tried, for a delay (Will-Retry-Until).
    #[must_use]
    pub fn retry_until(mut self, until: UnixMillis) -> Self {
        self.retry_until = Some(until);
        self
    }

    /// Writes the report. `original` is the message that it is about; without it, its header is left out.
    ///
    /// # Errors
    /// Those of the store, in reading or in writing.
    pub async fn write(
        &self,
        original: Option<&dyn Content>,
        sink: &mut dyn ContentSink,
    ) -> Result<Written, StoreError> {
        let original = match original {
            Some(content) => Some(Original::read(content, self.returns_all(content)).await?),
            None => None,
        };
        let id = Uuid::now_v7().simple().to_string();
        let words = human::Words::new(self, original.as_ref());
        let frame = Frame {
            boundary: format!("=_{id}"),
            message_id: format!("<{id}@{}>", self.names.hostname),
            global: self.is_global(),
            words_eight_bit: words.is_eight_bit(),
            original_eight_bit: original.as_ref().is_some_and(Original::is_eight_bit),
        };
        let mut out = String::new();
        self.header(&mut out, &frame, original.as_ref());
        frame.open_words(&mut out);
        words.introduction(&mut out);
        for recipient in &self.recipients {
            words.recipient(&mut out, recipient);
            flush(&mut out, sink).await?;
        }
        words.signature(&mut out);
        frame.open_status(&mut out);
        status::message(&mut out, self, frame.global);
        for recipient in &self.recipients {
            status::recipient(&mut out, self, recipient, frame.global);
            flush(&mut out, sink).await?;
        }
        if let Some(original) = &original {
            original.open(&mut out, &frame.boundary);
            flush(&mut out, sink).await?;
            original.copy(sink).await?;
        }
        out.push_str(&format!("\r\n--{}--\r\n", frame.boundary));
        flush(&mut out, sink).await?;
        Ok(Written {
            eight_bit: frame.is_eight_bit(),
            utf8: !self.to.is_ascii(),
            require_tls: self.item.options.require_tls,
            message_id: frame.message_id,
        })
    }

    /// RFC 3461 4.3: the whole message only for failures, only when wanted, only when it is small; never one that was to
    /// have TLS (RFC 8689 5).
    fn returns_all(&self, content: &dyn Content) -> bool {
        use securanet_gateway::model::outbound::Return;
        self.action == Action::Failed
            && self.item.options.ret == Some(Return::Full)
            && !self.item.options.require_tls
            && content.size_bytes() <= original::WHOLE_OCTETS_MAX
    }

    /// Whether an address that stands in it is not ASCII.
    fn is_global(&self) -> bool {
        let mut addresses = self.recipients.iter().map(|recipient| &recipient.recipient.address);
        addresses.any(RecipientAddress::needs_utf8) || !self.to.is_ascii()
    }

    fn header(&self, out: &mut String, frame: &Frame, original: Option<&Original<'_>>) {
        let subject = human::subject(self.action, original.map(|original| original.subject.as_str()));
        text::field(out, "From", &format!("Mail Delivery System <MAILER-DAEMON@{}>", self.names.hostname));
        text::field(out, "To", &format!("<{}>", self.to));
        text::field(out, "Subject", &text::encoded_words(&subject));
        text::field(out, "Date", &text::date(self.now));
        text::field(out, "Message-ID", &frame.message_id);
        if let Some(id) = self.item.message_id.as_deref().filter(|id| is_message_id(id)) {
            text::field(out, "In-Reply-To", id);
            text::field(out, "References", id);
        }
        text::field(out, "Auto-Submitted", "auto-replied");
        text::field(out, "MIME-Version", "1.0");
        out.push_str("Content-Type: multipart/report; report-type=delivery-status;\r\n");
        out.push_str(&format!(" boundary=\"{}\"\r\n", frame.boundary));
        if frame.is_eight_bit() {
            out.push_str("Content-Transfer-Encoding: 8bit\r\n");
        }
        out.push_str("\r\nThis is a report of a mail system in MIME format.\r\n");
    }
}

/// What the parts of one report share.
struct Frame {
    boundary: String,
    message_id: String,
    global: bool,
    words_eight_bit: bool,
    original_eight_bit: bool,
}

impl Frame {
    const fn is_eight_bit(&self) -> bool {
        self.global || self.words_eight_bit || self.original_eight_bit
    }

    fn open_words(&self, out: &mut String) {
        let charset = if self.words_eight_bit { "utf-8" } else { "us-ascii" };
        out.push_str(&format!("\r\n--{}\r\n", self.boundary));
        out.push_str(&format!("Content-Type: text/plain; charset={charset}\r\n"));
        text::field(out, "Content-Description", "What happened, in words");
        out.push_str(transfer_encoding(self.words_eight_bit));
    }

    fn open_status(&self, out: &mut String) {
        let kind = if self.global { "global-delivery-status" } else { "delivery-status" };
        out.push_str(&format!("\r\n--{}\r\nContent-Type: message/{kind}\r\n", self.boundary));
        text::field(out, "Content-Description", "What happened, for programs");
        out.push_str(transfer_encoding(self.global));
    }
}

/// The field of a part, and the end of its header.
const fn transfer_encoding(eight_bit: bool) -> &'static str {
    if eight_bit { "Content-Transfer-Encoding: 8bit\r\n\r\n" } else { "\r\n" }
}

/// RFC 5322 msg-id, near enough that it may stand in a header of ours.
fn is_message_id(id: &str) -> bool {
    let inside = id.strip_prefix('<').and_then(|id| id.strip_suffix('>'));
    inside.is_some_and(|id| {
        !id.is_empty() && id.len() <= 253 && id.bytes().all(|b| b.is_ascii_graphic() && b != b'<' && b != b'>')
    })
}

/// Gives what was written to the sink.
async fn flush(out: &mut String, sink: &mut dyn ContentSink) -> Result<(), StoreError> {
    let written = sink.write(out.as_bytes()).await;
    out.clear();
    written
}
