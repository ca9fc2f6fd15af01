//! How new an answer is, and what that costs.

use std::time::{Duration, Instant};

use securanet_model::{Epoch, Freshness, GroupId, Query, StoreError, Token};

use crate::{nodes::Cluster, support::*};

const GROUP: GroupId = GroupId::new(1);
/// One way; a question to the leader takes twice that.
const DELAY: Duration = Duration::from_millis(100);

fn token(group: u32, index: u64) -> Freshness {
    Freshness::AtLeast(Token { group: GroupId::new(group), epoch: Epoch::new(1), index })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_answers_by_itself_what_need_not_be_newer() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let away = (cluster.leader(1).await + 1) % 3;
    let groups = &cluster.nodes[&away].groups;
    cluster.links.all(|quality| quality.delay = DELAY);
    // A session reads what it wrote.
    let (_, index) = groups.execute(execute(1, 10, vec![deliver(7, 10, &[])])).await.unwrap();
    assert_eq!(inbox_as(groups, 1, 7, token(1, index)).await, [10]);
    let (_, seen) = groups.query(GROUP, Query::Totals, token(1, index)).await.unwrap();
    assert!(seen >= index, "{seen} of {index}");
    // What others were acknowledged: the leader is asked, or not.
    cluster.write(1, 11, deliver(7, 11, &[])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (freshness, alone) in [
        (token(1, index), true),
        (Freshness::Within(5000), true),
        (Freshness::Any, true),
        (Freshness::Within(1), false),
        (token(2, index), false),
        (Freshness::Now, false),
    ] {
        let started = Instant::now();
        assert_eq!(inbox_as(groups, 1, 7, freshness).await, [10, 11], "{freshness:?}");
        assert_eq!(started.elapsed() < DELAY, alone, "{freshness:?}: {:?}", started.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_answers_what_it_has_for_as_long_as_that_may_be_old() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let away = (leader + 1) % 3;
    let groups = &cluster.nodes[&away].groups;
    // Heartbeats come four times a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, index) = groups.query(GROUP, Query::Totals, Freshness::Now).await.unwrap();
    cluster.links.around(cluster.name(away), |quality| quality.cut = true);
    run(&cluster.nodes[&leader].groups, execute(1, 10, vec![deliver(7, 10, &[])])).await.unwrap();
    for freshness in [Freshness::Any, token(1, index), Freshness::Within(60_000)] {
        assert!(inbox_as(groups, 1, 7, freshness).await.is_empty(), "{freshness:?}");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    for freshness in [Freshness::Within(1000), token(1, index + 1), Freshness::Now] {
        let refused = groups.query(GROUP, Query::Totals, freshness).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{freshness:?}: {refused:?}");
    }
    cluster.links.all(|quality| quality.cut = false);
    assert_eq!(inbox_as(groups, 1, 7, Freshness::Within(1000)).await, [10]);
}
