//! QUOTA and QUOTAROOT responses (RFC 9208): one root, named by the empty string, for each account.

use securanet_gateway::model::{MailboxName, account::QuotaUsage};

use super::Out;

impl Out {
    /// `* QUOTAROOT mailbox [""]`: without limits there is no root.
    pub(crate) fn quota_root(&mut self, mailbox: &MailboxName, usage: &QuotaUsage) {
        self.text("* QUOTAROOT ");
        self.mailbox_name(mailbox);
        if has_limit(usage) {
            self.text(" \"\"");
        }
        self.line_end();
    }

    /// `* QUOTA "" (STORAGE used limit MESSAGE used limit)`; storage in units of 1024 octets.
    pub(crate) fn quota(&mut self, usage: &QuotaUsage) {
        if !has_limit(usage) {
            return;
        }
        let storage = usage.quota.bytes_max.map(|max| {
            // Rounded so that a full mailbox never looks as if it had room.
            format!("STORAGE {} {}", usage.bytes.div_ceil(1024), max / 1024)
        });
        let messages = usage.quota.messages_max.map(|max| format!("MESSAGE {} {max}", usage.messages));
        let resources: Vec<String> = storage.into_iter().chain(messages).collect();
        self.untagged(&format!("QUOTA \"\" ({})", resources.join(" ")));
    }
}

/// Whether the account has any limit at all.
pub(crate) const fn has_limit(usage: &QuotaUsage) -> bool {
    usage.quota.bytes_max.is_some() || usage.quota.messages_max.is_some()
}
