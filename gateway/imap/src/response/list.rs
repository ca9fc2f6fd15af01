//! LIST and LSUB responses (RFC 9051 7.3.1, RFC 5258, RFC 6154).

use securanet_gateway::model::{MailboxName, SpecialUse};

use super::Out;

/// One row of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ListRow {
    pub(crate) name: MailboxName,
    /// `\NonExistent`: only subscribed, or only a parent.
    pub(crate) exists: bool,
    /// `Some`: `\HasChildren` or `\HasNoChildren`.
    pub(crate) has_children: Option<bool>,
    /// `\Subscribed`
    pub(crate) subscribed: bool,
    pub(crate) special_use: Option<SpecialUse>,
    /// RFC 5258 CHILDINFO: a name below fits the selection.
    pub(crate) child_info: Option<&'static str>,
}

impl Out {
    /// `* LIST (attributes) "/" name`
    pub(crate) fn list_row(&mut self, row: &ListRow) {
        let mut attributes = Vec::new();
        if !row.exists {
            attributes.push("\\NonExistent");
        }
        if let Some(has_children) = row.has_children {
            attributes.push(if has_children { "\\HasChildren" } else { "\\HasNoChildren" });
        }
        if row.subscribed {
            attributes.push("\\Subscribed");
        }
        attributes.extend(row.special_use.map(SpecialUse::attribute));
        self.text("* LIST ");
        self.list(attributes, |out, attribute| out.text(attribute));
        self.text(" \"/\" ");
        self.mailbox_name(&row.name);
        if let Some(selection) = row.child_info {
            self.text(" (\"CHILDINFO\" (\"");
            self.text(selection);
            self.text("\"))");
        }
        self.line_end();
    }

    /// `* LSUB (attributes) "/" name`; a name that is only a parent of subscribed ones is `\Noselect`.
    pub(crate) fn lsub_row(&mut self, name: &MailboxName, no_select: bool) {
        self.text(if no_select { "* LSUB (\\Noselect) \"/\" " } else { "* LSUB () \"/\" " });
        self.mailbox_name(name);
        self.line_end();
    }
}
