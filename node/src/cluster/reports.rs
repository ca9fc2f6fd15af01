//! Asking all stores how they are, at the same time and not for long.

use std::{collections::BTreeMap, time::Duration};

use futures::future::join_all;
use securanet_gateway::model::report::NodeReport;
use securanet_raft::{PeerClass, Peers};
use securanet_wire::enrolment::{
    REPORT_BYTES_MAX,
    proto::{ReportRequest, membership_client::MembershipClient},
    report_from_wire,
};
use tokio::time::timeout;

/// An operator waits; a store that is well answers within a round trip.
const PATIENCE: Duration = Duration::from_secs(1);

/// What each store said, by its node; none of one that has not answered.
pub(crate) type Reports = BTreeMap<String, Option<NodeReport>>;

/// Asks these stores.
pub(crate) async fn ask(peers: &dyn Peers, stores: impl IntoIterator<Item = String>) -> Reports {
    let asked = stores.into_iter().map(|store| async move {
        let report = timeout(PATIENCE, ask_one(peers, &store)).await;
        let report = report.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
        let report = report.inspect_err(|why| tracing::debug!(store, why, "a store does not say how it is"));
        (store, report.ok())
    });
    join_all(asked).await.into_iter().collect()
}

async fn ask_one(peers: &dyn Peers, store: &str) -> Result<NodeReport, String> {
    // Votes have a connection of their own, and so nothing to wait behind.
    let channel = peers.channel(store, PeerClass::Votes).ok_or("it is not known where it is reached")?;
    let mut client = MembershipClient::new(channel).max_decoding_message_size(REPORT_BYTES_MAX);
    let reply = client.report(ReportRequest {}).await.map_err(|status| status.message().to_owned())?;
    report_from_wire(reply.get_ref()).map_err(|error| error.to_string())
}
