//! CAPABILITY, NOOP, ID (RFC 9051 6.1, RFC 2971). LOGOUT ends the session and stands with the states.

use super::capability;
use crate::{grammar::command::AnyCommand, response::Tagged, session::Session};

/// Octets of each ID value that are logged.
const LOGGED_OCTETS_MAX: usize = 64;

/// Answers.
pub(crate) fn run(session: &mut Session, known: bool, command: AnyCommand) -> Tagged {
    match command {
        AnyCommand::Capability => {
            let capabilities = if known { capability::after_login(session) } else { capability::before_login(session) };
            session.out.untagged(&format!("CAPABILITY {capabilities}"));
            Tagged::ok("These are they")
        }
        AnyCommand::Noop | AnyCommand::Logout => Tagged::ok("Done"),
        AnyCommand::Id(fields) => {
            let readable = |octets: &[u8]| {
                let octets = &octets[..octets.len().min(LOGGED_OCTETS_MAX)];
                String::from_utf8_lossy(octets).replace(char::is_control, " ")
            };
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{}={}", readable(name), readable(value.as_deref().unwrap_or_default())))
                .collect();
            tracing::debug!(fields = fields.join(" "), "client says who it is");
            // A stranger is not told which release to attack.
            let version = if known { concat!(" \"version\" \"", env!("CARGO_PKG_VERSION"), "\"") } else { "" };
            session.out.untagged(&format!("ID (\"name\" \"SecuraNET Mail\"{version})"));
            Tagged::ok("Nice to meet you")
        }
    }
}
