//! What is computed once when a message comes in, so that FETCH ENVELOPE never opens a body.
//!
//! Texts are raw header bytes with folding removed (RFC 5322 2.2.3), not decoded: IMAP shows them as they
//! were written, and who wants them decoded (SEARCH, JMAP) decodes them.

#[cfg(test)]
mod frozen;

use serde::{Deserialize, Serialize};

/// Envelope, structure, preview and the header that lists show.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// RFC 9051 7.5.2 ENVELOPE.
    pub envelope: Envelope,
    /// RFC 9051 7.5.2 BODYSTRUCTURE.
    pub structure: Part,
    /// RFC 8970 PREVIEW: at most 200 characters of text, already decoded.
    pub preview: String,
    /// Octets of the header of the message, its empty line included, without a recipient's prefix.
    pub header_size_bytes: u64,
    /// Whether the header has octets above 127 (needs UTF8=ACCEPT to be shown as it is).
    pub header_has_utf8: bool,
}

/// RFC 9051 envelope. `None` is NIL; a field that is there but empty is `Some` of nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Envelope {
    /// Date as written.
    pub date: Option<Vec<u8>>,
    /// Subject as written.
    pub subject: Option<Vec<u8>>,
    /// From.
    pub from: Vec<EnvelopeAddress>,
    /// Sender; From where the message has none (RFC 9051 says so).
    pub sender: Vec<EnvelopeAddress>,
    /// Reply-To; From where the message has none.
    pub reply_to: Vec<EnvelopeAddress>,
    /// To.
    pub to: Vec<EnvelopeAddress>,
    /// Cc.
    pub cc: Vec<EnvelopeAddress>,
    /// Bcc.
    pub bcc: Vec<EnvelopeAddress>,
    /// In-Reply-To as written.
    pub in_reply_to: Option<Vec<u8>>,
    /// Message-ID as written.
    pub message_id: Option<Vec<u8>>,
}

/// One address of an envelope. A group starts with `host` absent and `mailbox` its name, and ends with both absent.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct EnvelopeAddress {
    /// Display name as written, unquoted.
    pub name: Option<Vec<u8>>,
    /// Local part, or a group's name.
    pub mailbox: Option<Vec<u8>>,
    /// Domain.
    pub host: Option<Vec<u8>>,
}

/// Parameters of a type or a disposition: name in lower case, value unquoted and unfolded.
pub type Parameters = Vec<(Vec<u8>, Vec<u8>)>;

/// One MIME part with what IMAP shows of it and where its bytes are.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Part {
    /// Type in lower case, `text` where the message says nothing.
    pub media_type: Vec<u8>,
    /// Subtype in lower case.
    pub media_subtype: Vec<u8>,
    /// Parameters: name in lower case, value unquoted and unfolded.
    pub parameters: Parameters,
    /// Content-ID as written.
    pub id: Option<Vec<u8>>,
    /// Content-Description as written.
    pub description: Option<Vec<u8>>,
    /// Content-Transfer-Encoding in upper case, `7BIT` where the message says nothing.
    pub encoding: Vec<u8>,
    /// Content-MD5 as written.
    pub md5: Option<Vec<u8>>,
    /// Content-Disposition: type in lower case and parameters.
    pub disposition: Option<(Vec<u8>, Parameters)>,
    /// Content-Language tags.
    pub language: Vec<Vec<u8>>,
    /// Content-Location as written.
    pub location: Option<Vec<u8>>,
    /// Where the part's header begins in the message (without a recipient's prefix).
    pub header_offset: u64,
    /// Where the part's body begins.
    pub body_offset: u64,
    /// Octets of the body as it stands (encoded).
    pub body_size_bytes: u64,
    /// Lines of the body (its LF octets, and a last line without one).
    pub lines: u64,
    /// What is inside.
    pub inside: Inside,
}

/// What a part contains.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Inside {
    /// A leaf.
    #[default]
    Nothing,
    /// multipart/*: the parts in order; at least one.
    Parts(Vec<Part>),
    /// message/rfc822 or message/global: the message inside.
    Message(Box<(Envelope, Part)>),
}
