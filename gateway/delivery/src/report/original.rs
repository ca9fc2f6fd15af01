//! The message that a report is about: its header, or the whole of it, as the report's last part.

use mail_parser::MessageParser;
use securanet_gateway::{
    model::StoreError,
    store::{Content, ContentSink},
};

use super::{text, transfer_encoding};
use crate::outgoing::{Pieces, header};

/// A message larger than this is not returned, its header is: nobody needs his own attachment twice.
pub(super) const WHOLE_OCTETS_MAX: u64 = 100 * 1024;
/// A longer header is cut at a field.
const HEADER_OCTETS_MAX: usize = 64 * 1024;
/// Octets of a subject that are shown.
const SUBJECT_OCTETS_MAX: usize = 120;

/// The original, as far as it is returned.
pub(super) struct Original<'c> {
    content: &'c dyn Content,
    header: Vec<u8>,
    /// Decoded and cleaned; empty when there is none.
    pub(super) subject: String,
    /// All of it is returned.
    whole: bool,
    eight_bit: bool,
}

impl<'c> Original<'c> {
    /// Reads the header, and where the whole message will be returned, looks through it.
    pub(super) async fn read(content: &'c dyn Content, whole: bool) -> Result<Self, StoreError> {
        let header = header(content, HEADER_OCTETS_MAX).await?;
        let mut eight_bit = !header.is_ascii();
        let mut pieces = Pieces::all(content);
        while whole && !eight_bit {
            let Some(piece) = pieces.next().await? else { break };
            eight_bit = !piece.is_ascii();
        }
        let parsed = MessageParser::new().parse_headers(&header[..]);
        let subject = parsed.as_ref().and_then(|message| message.subject()).unwrap_or_default();
        let subject = text::clean(subject, SUBJECT_OCTETS_MAX);
        Ok(Self { content, header, subject, whole, eight_bit })
    }

    pub(super) const fn is_eight_bit(&self) -> bool {
        self.eight_bit
    }

    /// RFC 6533 6.3 and RFC 6522 4: the type says whether the header is UTF-8.
    const fn kind(&self, utf8_header: bool) -> &'static str {
        match (self.whole, utf8_header) {
            (true, false) => "message/rfc822",
            (true, true) => "message/global",
            (false, false) => "text/rfc822-headers",
            (false, true) => "message/global-headers",
        }
    }

    /// Begins the part.
    pub(super) fn open(&self, out: &mut String, boundary: &str) {
        let utf8_header = !self.header.is_ascii() && std::str::from_utf8(&self.header).is_ok();
        out.push_str(&format!("\r\n--{boundary}\r\nContent-Type: {}\r\n", self.kind(utf8_header)));
        let what = if self.whole { "The message" } else { "The header of the message" };
        text::field(out, "Content-Description", what);
        out.push_str(transfer_encoding(self.eight_bit));
    }

    /// Writes the part's body.
    pub(super) async fn copy(&self, sink: &mut dyn ContentSink) -> Result<(), StoreError> {
        if !self.whole {
            return sink.write(&self.header).await;
        }
        let mut pieces = Pieces::all(self.content);
        while let Some(piece) = pieces.next().await? {
            sink.write(&piece).await?;
        }
        Ok(())
    }
}
