//! Names of FETCH items as responses repeat them, and FETCH responses that nobody asked for.

use securanet_gateway::model::account::MessageState;

use super::Out;
use crate::grammar::fetch::{Section, SectionText};

impl Out {
    /// `BODY[section]<first>`; what is in the brackets is repeated as the client wrote it.
    pub(crate) fn section_name(&mut self, section: &Section, first: Option<u64>) {
        self.text("BODY[");
        self.path(&section.path);
        if !section.path.is_empty() && section.text != SectionText::Whole {
            self.text(".");
        }
        match &section.text {
            SectionText::Whole => {}
            SectionText::Header => self.text("HEADER"),
            SectionText::Text => self.text("TEXT"),
            SectionText::Mime => self.text("MIME"),
            SectionText::HeaderFields { names, not } => {
                self.text(if *not { "HEADER.FIELDS.NOT " } else { "HEADER.FIELDS " });
                self.list(names, |out, name| out.astring(name));
            }
        }
        self.text("]");
        self.origin(first);
    }

    /// `BINARY[path]<first>` or `BINARY.SIZE[path]`
    pub(crate) fn binary_name(&mut self, item: &str, path: &[u32], first: Option<u64>) {
        self.text(item);
        self.text("[");
        self.path(path);
        self.text("]");
        self.origin(first);
    }

    fn origin(&mut self, first: Option<u64>) {
        if let Some(first) = first {
            self.text(&format!("<{first}>"));
        }
    }

    fn path(&mut self, path: &[u32]) {
        let numbers: Vec<String> = path.iter().map(u32::to_string).collect();
        self.text(&numbers.join("."));
    }

    /// `* n FETCH (FLAGS (...) ...)`, with UID and MODSEQ where the client's extensions want them.
    pub(crate) fn flags_changed(&mut self, sequence: u32, state: &MessageState, recent: bool, with_uid: bool) {
        self.text(&format!("* {sequence} FETCH ("));
        self.uid_for(state, with_uid);
        self.message_flags(&state.flags, recent);
        if self.enabled.condstore {
            self.text(&format!(" MODSEQ ({})", state.modseq));
        }
        self.text(")");
        self.line_end();
    }

    /// `* n FETCH (UID u MODSEQ (m))`: what a silent STORE tells a client that knows mod-sequences.
    pub(crate) fn modseq_changed(&mut self, sequence: u32, state: &MessageState, with_uid: bool) {
        self.text(&format!("* {sequence} FETCH ("));
        self.uid_for(state, with_uid);
        self.text(&format!("MODSEQ ({}))", state.modseq));
        self.line_end();
    }

    fn uid_for(&mut self, state: &MessageState, with_uid: bool) {
        if with_uid || self.enabled.qresync || self.enabled.rev2 {
            self.text(&format!("UID {} ", state.uid));
        }
    }
}
