//! Where a section's octets are in a message (RFC 9051 6.4.5.1).
//!
//! The recipient's prefix stands before everything that the summary counts and belongs to the header. Part
//! numbers go into multiparts and into messages inside; in a message that is no multipart, part 1 is its body.

use std::ops::Range;

use securanet_gateway::model::summary::{Inside, Part, Summary};

use crate::grammar::fetch::{Section, SectionText};

/// A message's layout.
#[derive(Clone, Copy)]
pub(super) struct Layout<'a> {
    pub(super) summary: &'a Summary,
    pub(super) prefix_size_bytes: u64,
    pub(super) size_bytes: u64,
}

/// Where a section is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Located {
    /// There is no such part.
    Nowhere,
    /// These octets, as they stand.
    Octets(Range<u64>),
    /// Some fields of the header in these octets.
    Fields(Range<u64>),
}

/// A part that a path leads to.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    /// The message itself.
    Message,
    /// One of its parts.
    Part(&'a Part),
}

impl<'a> Layout<'a> {
    /// The part that a path leads to.
    pub(super) fn node(&self, path: &[u32]) -> Option<Node<'a>> {
        let mut numbers = path.iter();
        let Some(&first) = numbers.next() else { return Some(Node::Message) };
        let mut part = child(&self.summary.structure, first, true)?;
        for &number in numbers {
            part = match &part.inside {
                Inside::Message(message) => child(&message.1, number, true)?,
                _ => child(part, number, false)?,
            };
        }
        Some(Node::Part(part))
    }

    /// Where a section is.
    pub(super) fn locate(&self, section: &Section) -> Located {
        match self.node(&section.path) {
            None => Located::Nowhere,
            Some(Node::Message) => self.in_message(&section.text),
            Some(Node::Part(part)) => self.in_part(part, &section.text),
        }
    }

    /// The octets of a whole message or of a part's body.
    pub(super) fn body(&self, node: Node<'_>) -> Range<u64> {
        match node {
            Node::Message => 0..self.size_bytes,
            Node::Part(part) => self.range(part.body_offset, part.body_size_bytes),
        }
    }

    fn range(&self, offset: u64, size: u64) -> Range<u64> {
        let begin = self.prefix_size_bytes.saturating_add(offset).min(self.size_bytes);
        begin..begin.saturating_add(size).min(self.size_bytes)
    }

    fn header_end(&self) -> u64 {
        self.prefix_size_bytes.saturating_add(self.summary.header_size_bytes).min(self.size_bytes)
    }

    fn in_message(&self, text: &SectionText) -> Located {
        match text {
            SectionText::Whole => Located::Octets(0..self.size_bytes),
            SectionText::Header => Located::Octets(0..self.header_end()),
            SectionText::HeaderFields { .. } => Located::Fields(0..self.header_end()),
            SectionText::Text => Located::Octets(self.header_end()..self.size_bytes),
            SectionText::Mime => Located::Nowhere,
        }
    }

    fn in_part(&self, part: &Part, text: &SectionText) -> Located {
        let header = |part: &Part| self.range(part.header_offset, part.body_offset.saturating_sub(part.header_offset));
        let inner = match &part.inside {
            Inside::Message(message) => Some(&message.1),
            _ => None,
        };
        match (text, inner) {
            (SectionText::Whole, _) => Located::Octets(self.range(part.body_offset, part.body_size_bytes)),
            (SectionText::Mime, _) => Located::Octets(header(part)),
            (SectionText::Header, Some(inner)) => Located::Octets(header(inner)),
            (SectionText::HeaderFields { .. }, Some(inner)) => Located::Fields(header(inner)),
            (SectionText::Text, Some(inner)) => {
                let end = part.body_offset.saturating_add(part.body_size_bytes);
                Located::Octets(self.range(inner.body_offset, end.saturating_sub(inner.body_offset)))
            }
            (SectionText::Header | SectionText::HeaderFields { .. } | SectionText::Text, None) => Located::Nowhere,
        }
    }
}

/// Part `number` of a part; `message`: the part is a message's whole content, whose part 1 may be itself.
fn child(part: &Part, number: u32, message: bool) -> Option<&Part> {
    match &part.inside {
        Inside::Parts(parts) => parts.get(usize::try_from(number).ok()?.checked_sub(1)?),
        _ => (message && number == 1).then_some(part),
    }
}

/// The part of a range that `<first.count>` asks for.
pub(super) fn window(range: &Range<u64>, partial: Option<(u64, u64)>) -> Range<u64> {
    let Some((first, count)) = partial else { return range.clone() };
    let begin = range.start.saturating_add(first).min(range.end);
    begin..begin.saturating_add(count).min(range.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grammar::{Cursor, fetch};
    use securanet_gateway::model::summary::Envelope;

    fn leaf(header_offset: u64, body_offset: u64, body_size_bytes: u64) -> Part {
        Part { header_offset, body_offset, body_size_bytes, ..Part::default() }
    }

    fn with(mut part: Part, inside: Inside) -> Part {
        part.inside = inside;
        part
    }

    /// Prefix of 10; header of 100; part 1 leaf; part 2 message with two leaves; part 3 message with text.
    fn summary() -> Summary {
        let inner = Inside::Parts(vec![leaf(320, 330, 20), leaf(360, 370, 30)]);
        let inner = with(leaf(250, 300, 110), inner);
        let text = leaf(520, 540, 50);
        let parts = vec![
            leaf(110, 120, 80),
            with(leaf(220, 250, 160), Inside::Message(Box::new((Envelope::default(), inner)))),
            with(leaf(500, 520, 70), Inside::Message(Box::new((Envelope::default(), text)))),
        ];
        let structure = with(leaf(0, 100, 900), Inside::Parts(parts));
        Summary { structure, header_size_bytes: 100, ..Summary::default() }
    }

    fn locate(section: &str) -> Located {
        let text = format!("BODY[{section}]");
        let fetch = fetch::parse(&mut Cursor::new(text.as_bytes())).unwrap();
        let fetch::FetchItem::Section { section, .. } = fetch.items[0].clone() else { panic!("no section") };
        Layout { summary: &summary(), prefix_size_bytes: 10, size_bytes: 1010 }.locate(&section)
    }

    #[test]
    fn rfc_9051_6_4_5_1_sections_of_the_message() {
        assert_eq!(locate(""), Located::Octets(0..1010));
        assert_eq!(locate("HEADER"), Located::Octets(0..110));
        assert_eq!(locate("HEADER.FIELDS (To)"), Located::Fields(0..110));
        assert_eq!(locate("TEXT"), Located::Octets(110..1010));
    }

    #[test]
    fn rfc_9051_6_4_5_1_sections_of_parts_and_of_messages_inside() {
        assert_eq!(locate("1"), Located::Octets(130..210));
        assert_eq!(locate("1.MIME"), Located::Octets(120..130));
        assert_eq!(locate("1.HEADER"), Located::Nowhere);
        assert_eq!(locate("2"), Located::Octets(260..420));
        assert_eq!(locate("2.HEADER"), Located::Octets(260..310));
        assert_eq!(locate("2.TEXT"), Located::Octets(310..420));
        assert_eq!(locate("2.2"), Located::Octets(380..410));
        assert_eq!(locate("2.2.MIME"), Located::Octets(370..380));
        assert_eq!(locate("3.1"), Located::Octets(550..600));
        assert_eq!(locate("3.2"), Located::Nowhere);
        assert_eq!(locate("4"), Located::Nowhere);
        assert_eq!(locate("1.1"), Located::Nowhere);
    }

    #[test]
    fn rfc_9051_6_4_5_2_a_partial_is_cut_at_the_end() {
        assert_eq!(window(&(10..20), Some((0, 5))), 10..15);
        assert_eq!(window(&(10..20), Some((5, 100))), 15..20);
        assert_eq!(window(&(10..20), Some((100, 5))), 20..20);
        assert_eq!(window(&(10..20), None), 10..20);
    }
}
