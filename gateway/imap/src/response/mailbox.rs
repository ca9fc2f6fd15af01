//! Responses about a mailbox: FLAGS, EXISTS, RECENT, STATUS, EXPUNGE, VANISHED (RFC 9051 7.3 and 7.5,
//! RFC 7162).

use securanet_gateway::model::{
    AccountId, Flags, Keyword, SystemFlags, Uid,
    account::{MailboxInfo, UidSet},
};

use super::{Out, code::mailbox_object_id, sets};
use crate::grammar::status::StatusItem;

/// `"(" flags ")"`
pub(crate) fn flag_list(system: SystemFlags, keywords: &[Keyword], more: Option<&'static str>) -> String {
    let system = SystemFlags::NAMED.iter().filter(|(flag, _)| system.contains(*flag)).map(|&(_, name)| name);
    let all: Vec<&str> = system.chain(keywords.iter().map(Keyword::as_str)).chain(more).collect();
    format!("({})", all.join(" "))
}

/// All system flags.
pub(crate) fn all_system_flags() -> SystemFlags {
    SystemFlags::NAMED.iter().fold(SystemFlags::NONE, |all, &(flag, _)| all.union(flag))
}

impl Out {
    /// `* FLAGS (...)` and `* OK [PERMANENTFLAGS (...)]`
    pub(crate) fn mailbox_flags(&mut self, keywords: &[Keyword], read_only: bool) {
        self.untagged(&format!("FLAGS {}", flag_list(all_system_flags(), keywords, None)));
        let permanent = if read_only { "()".to_owned() } else { flag_list(all_system_flags(), keywords, Some("\\*")) };
        self.ok(&super::Code::permanent_flags(&permanent), "Flags permitted");
    }

    /// `* n EXISTS`
    pub(crate) fn exists(&mut self, messages: u32) {
        self.untagged(&format!("{messages} EXISTS"));
    }

    /// `* n RECENT`, which IMAP4rev2 does not have.
    pub(crate) fn recent(&mut self, messages: u32) {
        if !self.enabled.rev2 {
            self.untagged(&format!("{messages} RECENT"));
        }
    }

    /// `* n EXPUNGE` for each, highest first, so that no number changes before it is told; or `* VANISHED`.
    pub(crate) fn expunged(&mut self, gone: &[(u32, Uid)]) {
        if gone.is_empty() {
            return;
        }
        if self.enabled.qresync {
            let set = sets::numbers(gone.iter().map(|(_, uid)| uid.get()));
            return self.untagged(&format!("VANISHED {set}"));
        }
        for (sequence, _) in gone.iter().rev() {
            self.untagged(&format!("{sequence} EXPUNGE"));
        }
    }

    /// `* VANISHED (EARLIER) uids`
    pub(crate) fn vanished_earlier(&mut self, gone: &UidSet) {
        if !gone.is_empty() {
            self.untagged(&format!("VANISHED (EARLIER) {}", sets::uid_ranges(gone)));
        }
    }

    /// `FLAGS (...)` of a message
    pub(crate) fn message_flags(&mut self, flags: &Flags, recent: bool) {
        let recent = (recent && !self.enabled.rev2).then_some("\\Recent");
        self.text("FLAGS ");
        self.text(&flag_list(flags.system, flags.keywords(), recent));
    }

    /// `* STATUS name (...)`; `recent` is the number of messages that no session was told of.
    pub(crate) fn status_row(
        &mut self,
        account: AccountId,
        info: &MailboxInfo,
        items: &[StatusItem],
        recent: u32,
        append_limit: u64,
    ) {
        self.text("* STATUS ");
        self.mailbox_name(&info.name);
        self.text(" ");
        self.list(items, |out, item| {
            let value = match item {
                StatusItem::Messages => info.messages.to_string(),
                StatusItem::Recent => recent.to_string(),
                StatusItem::UidNext => info.uid_next.to_string(),
                StatusItem::UidValidity => info.uid_validity.to_string(),
                StatusItem::Unseen => info.unseen.to_string(),
                StatusItem::Deleted => info.deleted.to_string(),
                StatusItem::DeletedStorage => info.deleted_size_bytes.div_ceil(1024).to_string(),
                StatusItem::Size => info.size_bytes.to_string(),
                StatusItem::HighestModSeq => info.highest_modseq.to_string(),
                StatusItem::AppendLimit => append_limit.to_string(),
                StatusItem::MailboxId => format!("({})", mailbox_object_id(account, info.id)),
            };
            out.text(item.name());
            out.text(" ");
            out.text(&value);
        });
        self.line_end();
    }
}
