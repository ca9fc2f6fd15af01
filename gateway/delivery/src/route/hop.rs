//! One host that may take the mail, and under which conditions.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use zeroize::Zeroizing;

use crate::{dns::TlsaRecord, tls_report::Subject};

/// A host that may take the mail.
#[derive(Clone, Debug)]
pub struct Hop {
    /// Its name, A-labels, or `[address]`.
    pub name: String,
    /// Its name is no stranger's claim: the operator gave it, it is the recipient's domain itself, or DNSSEC or an MTA-STS
    /// policy vouches for it (RFC 8689 2). A certificate for a name that an attacker chose proves nothing.
    pub name_is_sure: bool,
    /// Where it is, in the order in which they are tried; never empty.
    pub addresses: Vec<SocketAddr>,
    /// What TLS must be like.
    pub tls: TlsDemand,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// Who we are there.
    pub auth: Option<Arc<Login>>,
    /// The route that led here, if one did.
    pub route: Option<String>,
    /// Addresses that we connect from, instead of those of the client's settings.
    pub source_addresses: Vec<IpAddr>,
    /// What we call ourselves, instead of the name in the client's settings.
    pub helo_name: Option<String>,
    /// Why TLS is as demanded, for the trace: `route x`, `DANE`, `MTA-STS`.
    pub tls_reason: Option<String>,
    /// Whose sessions it counts for TLS reports, under which policy; none where a route decided.
    pub tls_subject: Option<Arc<Subject>>,
}

/// What TLS must be like.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TlsDemand {
    /// None is spoken.
    Never,
    /// RFC 7435: what is offered is used, no certificate is checked, and plaintext is better than no mail.
    Opportunistic,
    /// The same, but a certificate for one of these names from an authority that we trust is looked for: what is wrong
    /// with it is reported and does no harm (RFC 8461 5 testing).
    Tested(Vec<String>),
    /// TLS, with whatever certificate.
    Encrypted,
    /// TLS with a certificate for one of these names from an authority that we trust.
    Verified(Vec<String>),
    /// RFC 7672: TLS with a certificate that one of the records fits.
    Dane {
        /// Usable records; none: nothing fits.
        records: Arc<[TlsaRecord]>,
        /// Names for usage 2: the TLSA base domain and the destination.
        names: Vec<String>,
    },
}

impl TlsDemand {
    /// Whether plaintext is out of the question.
    #[must_use]
    pub const fn is_demanded(&self) -> bool {
        matches!(self, Self::Encrypted | Self::Verified(_) | Self::Dane { .. })
    }

    /// Whether the server's identity is checked.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        matches!(self, Self::Verified(_) | Self::Dane { .. })
    }
}

impl Hop {
    /// The same host for mail with REQUIRETLS (RFC 8689 4.2.1): TLS, and its identity checked. `None` when nothing proves
    /// that it is a host of the destination.
    #[must_use]
    pub fn requiring_tls(mut self) -> Option<Self> {
        if !self.name_is_sure {
            return None;
        }
        if !self.tls.is_authenticated() {
            self.tls = TlsDemand::Verified(vec![self.name.clone()]);
            self.tls_reason = Some("REQUIRETLS".to_owned());
            // What the sender demanded is no policy of the destination.
            self.tls_subject = None;
        }
        Some(self)
    }
}

/// Who we are at a smarthost. No `Debug` shows the password.
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
