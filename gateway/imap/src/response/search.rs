//! SEARCH and ESEARCH responses (RFC 3501 7.2.5, RFC 9051 7.3.4, RFC 7162 3.1.5).

use super::{Out, sets};
use crate::grammar::{Tag, search::Returns};

/// What a search found: numbers ascending (sequence numbers or UIDs).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Found {
    pub(crate) numbers: Vec<u32>,
    /// Highest mod-sequence among what is returned, when the search asked about mod-sequences.
    pub(crate) modseq: Option<u64>,
}

impl Out {
    /// `* SEARCH numbers [(MODSEQ n)]`
    pub(crate) fn search(&mut self, found: &Found) {
        self.text("* SEARCH");
        for number in &found.numbers {
            self.text(" ");
            self.text(&number.to_string());
        }
        if let Some(modseq) = found.modseq {
            self.text(&format!(" (MODSEQ {modseq})"));
        }
        self.line_end();
    }

    /// `* ESEARCH (TAG "tag") [UID] results`
    pub(crate) fn extended_search(&mut self, tag: &Tag, uid: bool, returns: &Returns, found: &Found) {
        self.text("* ESEARCH (TAG ");
        self.string(tag.to_string().as_bytes());
        self.text(if uid { ") UID" } else { ")" });
        if let (Some(first), Some(last)) = (found.numbers.first(), found.numbers.last()) {
            if returns.min {
                self.text(&format!(" MIN {first}"));
            }
            if returns.max {
                self.text(&format!(" MAX {last}"));
            }
            if returns.all {
                self.text(&format!(" ALL {}", sets::numbers(found.numbers.iter().copied())));
            }
        }
        if returns.count {
            self.text(&format!(" COUNT {}", found.numbers.len()));
        }
        if let Some(modseq) = found.modseq {
            self.text(&format!(" MODSEQ {modseq}"));
        }
        self.line_end();
    }
}
