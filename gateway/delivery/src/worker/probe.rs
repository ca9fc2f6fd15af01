//! Seeing whether a destination that could not be reached answers again: a connection, EHLO, QUIT.
//!
//! It counts as no retry. A success makes due at once what waits for the destination; a failure says only that the next
//! probe has its time.

use securanet_gateway::model::{StoreError, outbound::OutboundCommand};

use super::{Core, queue::Queue, uplink::Sign};
use crate::metric;

impl Core {
    /// Probes a destination and tells the queue.
    pub(super) async fn probe(&self, queue: &Queue, destination: &str) -> Result<(), StoreError> {
        let alive = self.answers(destination).await;
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
