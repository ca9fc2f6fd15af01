//! Seeing whether a destination that could not be reached answers again: a connection, EHLO, QUIT.
//!
//! It counts as no retry. A success makes due at once what waits for the destination; a failure says only that the next
//! probe has its time.

use std::time::Duration;

use securanet_gateway::model::{StoreError, outbound::OutboundCommand};

use tokio::time::timeout;

use super::{Core, queue::Queue, uplink::Sign};
use crate::metric;

/// A host that is not ready within this time is not one to send all that waits to. A letter waits longer (RFC 5321
/// 4.5.3.2), and is tried all the same when its own time comes.
const PATIENCE: Duration = Duration::from_secs(30);

impl Core {
    /// Probes a destination and tells the queue.
    pub(super) async fn probe(&self, queue: &Queue, destination: &str) -> Result<(), StoreError> {
        let alive = timeout(PATIENCE, self.answers(destination)).await.unwrap_or(false);
        metric::probed(alive);
        tracing::info!(group = %queue.group(), destination, alive, "a destination was probed");
        let destination = destination.to_owned();
        queue.repeat(OutboundCommand::Destination { destination, alive }).await.map(drop)
    }

    async fn answers(&self, destination: &str) -> bool {
        let Ok(hops) = self.wire.route(destination, true).await else { return false };
        for hop in hops {
            let probed = self.wire.probe(&hop).await;
            self.saw(destination, probed.as_ref().map_or_else(Sign::of, |()| Sign::Life));
            if probed.is_ok() {
                return true;
            }
        }
        false
    }
}
