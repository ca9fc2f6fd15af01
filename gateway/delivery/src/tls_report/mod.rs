//! TLS reporting (RFC 8460): what went well and wrong with TLS towards a domain, told to the domain once a day.
//!
//! The router gives each mail host a [`Subject`]: whose sessions, under which policy. The client counts each session
//! on it; the [`Tally`] gathers that in memory, the [`TlsReporter`] adds it to the directory's counts once a minute, for
//! domains that ask for reports, and sends the reports of days that are over. The directory says when one is due and
//! who sends it, so that all gateways together send it once.
//!
//! Routes of the operator are not reported: nobody's policy was applied.

mod json;
mod letter;
mod post;
mod reporter;
mod settings;
mod tally;
mod txt;

pub use json::{Heading, report};
pub use reporter::TlsReporter;
pub use settings::TlsReportSettings;
pub use tally::{Subject, Tally};
pub(crate) use tally::{failure, result_of};
pub use txt::{Endpoint, endpoints};
