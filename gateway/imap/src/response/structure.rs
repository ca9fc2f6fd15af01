//! BODY and BODYSTRUCTURE (RFC 9051 7.5.2).
//!
//! A multipart without parts and a message that was not looked into (nested too deep) would be no valid
//! structure: the first is shown with one empty text part, the second as an octet stream.

use securanet_gateway::model::summary::{Envelope, Inside, Part};

use super::Out;

type Parameters = [(Vec<u8>, Vec<u8>)];

impl Out {
    /// The parenthesised structure; `extended` is BODYSTRUCTURE, otherwise BODY.
    pub(crate) fn structure(&mut self, part: &Part, extended: bool) {
        match &part.inside {
            Inside::Parts(parts) => self.multipart(part, parts, extended),
            Inside::Nothing if part.media_type == b"multipart" => {
                self.multipart(part, &[empty_text()], extended);
            }
            Inside::Nothing => self.leaf(part, None, extended),
            Inside::Message(message) => self.leaf(part, Some(message), extended),
        }
    }

    fn multipart(&mut self, part: &Part, parts: &[Part], extended: bool) {
        self.text("(");
        parts.iter().for_each(|inner| self.structure(inner, extended));
        self.text(" ");
        self.string(&part.media_subtype);
        if extended {
            self.text(" ");
            self.parameters(&part.parameters);
            self.extension(part);
        }
        self.text(")");
    }

    fn leaf(&mut self, part: &Part, message: Option<&(Envelope, Part)>, extended: bool) {
        let is_message = part.media_type == b"message" && matches!(&part.media_subtype[..], b"rfc822" | b"global");
        let opaque = is_message && message.is_none();
        self.text("(");
        self.string(if opaque { b"application" } else { &part.media_type });
        self.text(" ");
        self.string(if opaque { b"octet-stream" } else { &part.media_subtype });
        self.text(" ");
        self.parameters(&part.parameters);
        self.text(" ");
        self.nstring(part.id.as_deref());
        self.text(" ");
        self.nstring(part.description.as_deref());
        self.text(" ");
        self.string(if part.encoding.is_empty() { b"7BIT" } else { &part.encoding });
        self.text(" ");
        self.text(&part.body_size_bytes.to_string());
        if let (true, Some((envelope, inner))) = (is_message, message) {
            self.text(" ");
            self.envelope(envelope);
            self.text(" ");
            self.structure(inner, extended);
        }
        if part.media_type == b"text" || is_message && !opaque {
            self.text(" ");
            self.text(&part.lines.to_string());
        }
        if extended {
            self.text(" ");
            self.nstring(part.md5.as_deref());
            self.extension(part);
        }
        self.text(")");
    }

    /// Disposition, language and location, which leaves and multiparts share.
    fn extension(&mut self, part: &Part) {
        self.text(" ");
        match &part.disposition {
            None => self.text("NIL"),
            Some((disposition, parameters)) => {
                self.text("(");
                self.string(disposition);
                self.text(" ");
                self.parameters(parameters);
                self.text(")");
            }
        }
        self.text(" ");
        match part.language.as_slice() {
            [] => self.text("NIL"),
            [only] => self.string(only),
            several => self.list(several, |out, language| out.string(language)),
        }
        self.text(" ");
        self.nstring(part.location.as_deref());
    }

    fn parameters(&mut self, parameters: &Parameters) {
        if parameters.is_empty() {
            return self.text("NIL");
        }
        self.list(parameters, |out, (name, value)| {
            out.string(name);
            out.text(" ");
            out.string(value);
        });
    }
}

fn empty_text() -> Part {
    Part {
        media_type: b"text".to_vec(),
        media_subtype: b"plain".to_vec(),
        encoding: b"7BIT".to_vec(),
        ..Part::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(subtype: &str, size: u64, lines: u64) -> Part {
        Part { media_subtype: subtype.into(), body_size_bytes: size, lines, ..empty_text() }
    }

    fn multipart(inside: Inside) -> Part {
        Part { media_type: b"multipart".to_vec(), media_subtype: b"mixed".to_vec(), inside, ..Part::default() }
    }

    fn written(part: &Part, extended: bool) -> String {
        let mut out = Out::default();
        out.structure(part, extended);
        String::from_utf8(out.bytes).unwrap()
    }

    #[test]
    fn rfc_9051_7_5_2_a_text_part() {
        let mut part = text("plain", 3028, 92);
        part.parameters = vec![(b"charset".to_vec(), b"us-ascii".to_vec())];
        let body = "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7BIT\" 3028 92)";
        assert_eq!(written(&part, false), body);
        assert_eq!(written(&part, true), format!("{} NIL NIL NIL NIL)", body.trim_end_matches(')')));
    }

    #[test]
    fn rfc_9051_7_5_2_a_multipart_and_one_without_parts() {
        let inside = Inside::Parts(vec![text("plain", 1, 1), text("html", 2, 2)]);
        let both = "(\"text\" \"plain\" NIL NIL NIL \"7BIT\" 1 1)(\"text\" \"html\" NIL NIL NIL \"7BIT\" 2 2)";
        assert_eq!(written(&multipart(inside), false), format!("({both} \"mixed\")"));
        let empty = written(&multipart(Inside::Nothing), true);
        let part = "(\"text\" \"plain\" NIL NIL NIL \"7BIT\" 0 0 NIL NIL NIL NIL)";
        assert_eq!(empty, format!("({part} \"mixed\" NIL NIL NIL NIL)"));
    }

    #[test]
    fn rfc_9051_7_5_2_a_message_inside_and_one_not_looked_into() {
        let mut part = Part {
            media_type: b"message".to_vec(),
            media_subtype: b"rfc822".to_vec(),
            body_size_bytes: 9,
            lines: 3,
            ..Part::default()
        };
        assert_eq!(written(&part, false), "(\"application\" \"octet-stream\" NIL NIL NIL \"7BIT\" 9)");
        part.inside = Inside::Message(Box::new((Envelope::default(), text("plain", 1, 1))));
        let nil = "(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)";
        let inner = "(\"text\" \"plain\" NIL NIL NIL \"7BIT\" 1 1)";
        assert_eq!(written(&part, false), format!("(\"message\" \"rfc822\" NIL NIL NIL \"7BIT\" 9 {nil} {inner} 3)"));
    }
}
