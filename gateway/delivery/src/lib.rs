//! Mail on its way out: takes what is due from the outbound queue, finds the hosts of its destination, speaks SMTP
//! to them and settles each recipient with what they answered.
//!
//! The queue is a state table in the store: it alone knows what is due and when there is no retry any more. This
//! room holds nothing that a restart would lose.

pub mod client;
pub mod dkim;
pub mod dns;
pub mod fuzz;
pub mod metric;
pub mod outgoing;
pub mod report;
pub mod route;
pub mod settings;
pub mod tls;
pub mod tls_report;
pub mod worker;
