//! What we say we can do (RFC 9051 6.1.1): only what is complete.

use securanet_gateway::login::Mechanism;

use crate::session::Session;

/// What holds in every state.
const ALWAYS: &str = "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE";

/// What holds after login.
const AFTER_LOGIN: &str = "IDLE NAMESPACE CHILDREN UIDPLUS UNSELECT CONDSTORE QRESYNC MOVE SPECIAL-USE \
    CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE ESEARCH SEARCHRES WITHIN MULTIAPPEND UTF8=ACCEPT \
    OBJECTID SAVEDATE PREVIEW QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE";

/// Before login: STARTTLS where there is a certificate, mechanisms where there is privacy.
pub(crate) fn before_login(session: &Session) -> String {
    let mut capabilities = ALWAYS.to_owned();
    let context = session.sasl_context();
    if session.tls.is_some() && context.tls.is_none() {
        capabilities.push_str(" STARTTLS");
    }
    if !context.is_private() {
        capabilities.push_str(" LOGINDISABLED");
    }
    for mechanism in session.service.authenticator.mechanisms(&context) {
        capabilities.push_str(" AUTH=");
        capabilities.push_str(Mechanism::name(mechanism));
    }
    capabilities
}

/// After login.
pub(crate) fn after_login(session: &Session) -> String {
    let limit = session.service.settings.message_size_bytes_max;
    let compress = if session.wire.is_compressed() { "" } else { " COMPRESS=DEFLATE" };
    format!("{ALWAYS} {AFTER_LOGIN}{compress} APPENDLIMIT={limit}")
}
