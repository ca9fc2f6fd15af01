//! One DKIM-Signature field (RFC 6376 3.5), made from a header, a body's hash and a key.
//!
//! Always relaxed/relaxed, never `l=` (whoever adds to the body would be signed for), never `t=` (nothing here needs a
//! clock, and a queue's retries stay the same). What is listed in [`OVERSIGNED`] stands in `h=` once more than in the
//! header, so that a field added on the way breaks the signature (8.15).

use base64::{Engine, engine::general_purpose::STANDARD};
use securanet_gateway::{
    model::{DomainName, dkim::Selector},
    signing::{KeyError, SigningKey},
};

use super::{canonical, header::Field};

/// Fields that nobody may add: what readers are shown, and what decides how the body is read.
const OVERSIGNED: &[&str] = &[
    "From",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
];

/// Fields that are signed where they are; lists and forwarders add some of them (5.4.1).
const SIGNED: &[&str] = &[
    "Sender",
    "Content-Disposition",
    "Content-Language",
    "Auto-Submitted",
    "List-Id",
    "List-Help",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Subscribe",
    "List-Post",
    "List-Owner",
    "List-Archive",
    "Feedback-ID",
];

/// Columns of a folded line.
const LINE_COLUMNS: usize = 72;

/// A key and the name that verifiers find it under.
pub struct DomainKey {
    /// The domain that answers for the mail (`d=`).
    pub domain: DomainName,
    /// Its selector (`s=`).
    pub selector: Selector,
    /// The key.
    pub key: SigningKey,
}

/// What the signatures of one message share.
pub(super) struct Signing<'h> {
    fields: &'h [Field<'h>],
    body_hash: String,
    /// Names in the order of `h=`.
    names: Vec<&'static str>,
}

impl<'h> Signing<'h> {
    pub(super) fn new(fields: &'h [Field<'h>], body_hash: &[u8]) -> Self {
        let count = |name: &str| fields.iter().filter(|field| field.name.eq_ignore_ascii_case(name.as_bytes())).count();
        let oversigned = OVERSIGNED.iter().flat_map(|name| std::iter::repeat_n(*name, count(name) + 1));
        let signed = SIGNED.iter().flat_map(|name| std::iter::repeat_n(*name, count(name)));
        Self { fields, body_hash: STANDARD.encode(body_hash), names: oversigned.chain(signed).collect() }
    }

    /// The whole field with its CRLF.
    pub(super) fn field(&self, key: &DomainKey) -> Result<Vec<u8>, KeyError> {
        let mut value = Folded::new("DKIM-Signature:");
        value.tag(&format!("v=1; a={};", key.key.algorithm()));
        value.tag("c=relaxed/relaxed;");
        value.tag(&format!("d={};", key.domain));
        value.tag(&format!("s={};", key.selector));
        value.list("h=", &self.names);
        value.tag(&format!("bh={};", self.body_hash));
        value.tag("b=");
        let unsigned = value.text;
        let signature = key.key.sign(&signed_octets(self.fields, &self.names, &unsigned))?;
        let mut text = unsigned.into_bytes();
        for chunk in STANDARD.encode(signature).as_bytes().chunks(LINE_COLUMNS) {
            text.extend_from_slice(b"\r\n ");
            text.extend_from_slice(chunk);
        }
        text.extend_from_slice(b"\r\n");
        Ok(text)
    }
}

/// RFC 6376 3.7: what is signed. Of several fields of a name the last comes first; one that is not there is nothing.
pub(super) fn signed_octets(fields: &[Field<'_>], names: &[&str], unsigned: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut left: Vec<Option<&Field<'_>>> = fields.iter().map(Some).collect();
    for name in names {
        let is_it = |field: &&mut Option<&Field<'_>>| {
            field.is_some_and(|field| field.name.eq_ignore_ascii_case(name.as_bytes()))
        };
        if let Some(field) = left.iter_mut().rev().find(is_it).and_then(Option::take) {
            canonical::field(field.name, field.value, &mut out);
            out.extend_from_slice(b"\r\n");
        }
    }
    let (name, value) = unsigned.split_once(':').unwrap_or((unsigned, ""));
    canonical::field(name.as_bytes(), value.as_bytes(), &mut out);
    out
}

/// A field whose value is folded between tags.
struct Folded {
    text: String,
    column: usize,
}

impl Folded {
    fn new(name: &str) -> Self {
        Self { text: name.to_owned(), column: name.len() }
    }

    fn tag(&mut self, tag: &str) {
        if self.column + 1 + tag.len() > LINE_COLUMNS {
            self.text.push_str("\r\n");
            self.column = 0;
        }
        self.text.push(' ');
        self.text.push_str(tag);
        self.column += 1 + tag.len();
    }

    /// A list of names separated by colons, folded behind them.
    fn list(&mut self, tag: &str, names: &[&str]) {
        for (at, name) in names.iter().enumerate() {
            let before = if at == 0 { tag } else { "" };
            let behind = if at + 1 == names.len() { ";" } else { ":" };
            let piece = format!("{before}{name}{behind}");
            if at == 0 || self.column + piece.len() > LINE_COLUMNS {
                self.tag_on_new_line(at == 0, &piece);
            } else {
                self.text.push_str(&piece);
                self.column += piece.len();
            }
        }
    }

    fn tag_on_new_line(&mut self, first: bool, piece: &str) {
        if !first {
            self.text.push_str("\r\n");
            self.column = 0;
        }
        self.tag(piece);
    }
}
