//! What an operator decides about TLS reports.

use securanet_gateway::model::Address;
use serde::{Deserialize, Serialize};

use crate::settings::SettingsError;

/// Whether sessions are counted and reported, and in whose name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsReportSettings {
    /// Sessions are counted, and reports sent to domains that ask for them. Default true.
    pub enabled: bool,
    /// Who sends reports; default: the host's name.
    pub organization: Option<String>,
    /// Whom to ask about them, an address or a URL; default: postmaster at the host's name.
    pub contact: Option<String>,
    /// Their author: an address of a domain that has DKIM keys, since a report without a signature may not be believed.
    /// Default: MAILER-DAEMON at the host's name.
    pub from: Option<String>,
}

impl Default for TlsReportSettings {
    fn default() -> Self {
        Self { enabled: true, organization: None, contact: None, from: None }
    }
}

/// The same with what the host's name decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Names {
    pub(super) organization: String,
    pub(super) contact: String,
    pub(super) from: Address,
}

impl TlsReportSettings {
    /// Whether the names in it are some.
    ///
    /// # Errors
    /// [`SettingsError`] with the key and what would fit.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.names("localhost.localdomain").map(drop)
    }

    pub(super) fn names(&self, hostname: &str) -> Result<Names, SettingsError> {
        let from = self.from.clone().unwrap_or_else(|| format!("MAILER-DAEMON@{hostname}"));
        let wrong = |_| SettingsError::Name { key: "tls_reports.from", name: from.clone() };
        Ok(Names {
            organization: self.organization.clone().unwrap_or_else(|| hostname.to_owned()),
            contact: self.contact.clone().unwrap_or_else(|| format!("postmaster@{hostname}")),
            from: Address::parse(&from).map_err(wrong)?,
        })
    }
}
