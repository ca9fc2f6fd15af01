//! The gateways' wall clock, in one place.

use std::time::{SystemTime, UNIX_EPOCH};

use securanet_model::UnixMillis;

/// Now, by this machine's wall clock.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::new(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
