//! Writes survive the loss of any node, take one round trip, and no leader is believed that is none.

use std::time::{Duration, Instant};

use securanet_wire::replication::proto::{self, replication_client::ReplicationClient};

use crate::{
    nodes::{Cluster, SHARDS},
    support::*,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_survive_the_kill_of_each_node_in_turn() {
    let mut cluster = Cluster::three().await;
    for group in 1..=SHARDS {
        cluster.write(group, u64::from(group), provision(7)).await;
    }
    let mut expected = Vec::new();
    for node in 0..3 {
        let number = |n: u64| 100 * (node as u64 + 1) + n;
        for n in 0..5 {
            cluster.write(1, number(n), deliver(7, number(n), &[])).await;
        }
        let led = cluster.leader(1).await == node;
        cluster.kill(node);
        let killed = Instant::now();
        for n in 5..10 {
            cluster.write(1, number(n), deliver(7, number(n), &[])).await;
            if n == 5 {
                println!(
                    "node {node}, {}: {:?} without service",
                    if led { "led" } else { "followed" },
                    killed.elapsed()
                );
                // Promise P5 with a margin for a machine that is busy.
                assert!(killed.elapsed() < Duration::from_secs(6), "{:?} without service", killed.elapsed());
            }
        }
        expected.extend((0..10).map(number));
        assert_eq!(cluster.inbox(1, 7).await, expected);
        cluster.restart(node).await;
        cluster.check_equal().await;
    }
    assert_eq!(cluster.inbox(1, 7).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_lose_power_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    for n in 10..30 {
        cluster.write(1, n, deliver(7, n, &[])).await;
    }
    for node in 0..3 {
        cluster.kill(node);
    }
    for node in 0..3 {
        cluster.open(node).await;
    }
    cluster.links.all(|quality| quality.cut = false);
    for node in 0..3 {
        cluster.ready(node).await;
    }
    assert_eq!(cluster.inbox(1, 7).await, (10..30).collect::<Vec<_>>());
    cluster.check_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_takes_one_round_trip_and_many_share_it() {
    const DELAY: Duration = Duration::from_millis(40);
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    cluster.links.all(|quality| quality.delay = DELAY);
    let leader = cluster.leader(1).await;
    let groups = &cluster.nodes[&leader].groups;
    // Each by itself.
    let mut took = Vec::new();
    for n in 10..25 {
        let started = Instant::now();
        run(groups, execute(1, n, vec![deliver(7, n, &[])])).await.unwrap();
        took.push(started.elapsed());
    }
    took.sort();
    println!("one by one at 80 ms: median {:?}, worst {:?}", took[took.len() / 2], took[took.len() - 1]);
    assert!(took[took.len() / 2] >= 2 * DELAY, "the links are not slow: this measures nothing");
    assert!(took[took.len() / 2] < 3 * DELAY, "a commit takes more than one round trip: {took:?}");
    // One that comes while another is on its way does not wait for it.
    let theirs = groups.clone();
    let before = tokio::spawn(async move { run(&theirs, execute(1, 50, vec![deliver(7, 50, &[])])).await.unwrap() });
    tokio::time::sleep(Duration::from_millis(20)).await;
    let started = Instant::now();
    run(groups, execute(1, 51, vec![deliver(7, 51, &[])])).await.unwrap();
    println!("behind another one: {:?}", started.elapsed());
    assert!(started.elapsed() < 3 * DELAY, "it waited for the one before: {:?}", started.elapsed());
    before.await.unwrap();
    // A new one every 5 ms: each waits for at most the proposals before it, none for the sum of them.
    let started = Instant::now();
    let mut all = Vec::new();
    for n in 100..200 {
        let groups = groups.clone();
        all.push(tokio::spawn(async move { run(&groups, execute(1, n, vec![deliver(7, n, &[])])).await.unwrap() }));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for one in all {
        one.await.unwrap();
    }
    println!("100 within 500 ms at 80 ms: all after {:?}", started.elapsed());
    assert!(started.elapsed() < Duration::from_millis(2000), "{:?}", started.elapsed());
    assert_eq!(cluster.inbox(1, 7).await.len(), 117);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_leader_acknowledges_nothing_and_gives_way() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let old = cluster.leader(1).await;
    cluster.links.around(cluster.name(old), |quality| quality.cut = true);
    let groups = cluster.nodes[&old].groups.clone();
    let lonely = tokio::spawn(async move {
        let request = execute(1, 900, vec![deliver(7, 900, &[])]);
        tokio::time::timeout(Duration::from_secs(4), run(&groups, request)).await
    });
    for n in 10..20 {
        cluster.write(1, n, deliver(7, n, &[])).await;
    }
    let lonely = lonely.await.unwrap();
    assert!(!matches!(lonely, Ok(Ok(_))), "acknowledged without a majority: {lonely:?}");
    cluster.links.all(|quality| quality.cut = false);
    cluster.check_equal().await;
    assert_eq!(cluster.inbox(1, 7).await, (10..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_for_another_replica_or_no_leaders_is_refused_with_a_reason() {
    let cluster = Cluster::three().await;
    let address = cluster.address(0);
    let mut client = ReplicationClient::connect(format!("http://{address}")).await.unwrap();
    let hello = proto::Hello { version: 1, node: "stranger".to_owned() };
    let vote = proto::Ballot { term: 99, replica: 9, committed: false };
    let ask =
        proto::VoteRequest { hello: Some(hello.clone()), group: 1, target: 9, vote: Some(vote), ..Default::default() };
    let refused = |reply: proto::VoteReply| match reply.outcome {
        Some(proto::vote_reply::Outcome::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    let why = refused(client.vote(ask.clone()).await.unwrap().into_inner());
    assert!(why.contains("this is replica 1"), "{why}");
    let why =
        refused(client.vote(proto::VoteRequest { group: 77, target: 1, ..ask.clone() }).await.unwrap().into_inner());
    assert!(why.contains("no group 77"), "{why}");
    let old = proto::Hello { version: 2, ..hello.clone() };
    let status = client.vote(proto::VoteRequest { hello: Some(old), ..ask }).await.unwrap_err();
    assert!(status.message().contains("version"), "{status}");
    // Appends: for another replica, of no leader, damaged. Each says why, and the stream goes on.
    let append = |session, group, target, vote, entries: Vec<bytes::Bytes>| proto::Append {
        session,
        group,
        targets: vec![target],
        vote: Some(vote),
        entries,
        ..Default::default()
    };
    let leader = proto::Ballot { committed: true, ..vote };
    let appends = vec![
        append(1, 1, 3, leader, Vec::new()),
        append(2, 1, 1, vote, Vec::new()),
        append(3, 2, 1, leader, vec![bytes::Bytes::from_static(b"\x01junk")]),
    ];
    let frame = proto::AppendFrame { hello: Some(hello), appends, ..Default::default() };
    let frames = tokio_stream::StreamExt::chain(tokio_stream::once(frame), tokio_stream::pending());
    let mut replies = client.append(frames).await.unwrap().into_inner();
    let mut whys = std::collections::BTreeMap::new();
    while whys.len() < 3 {
        for reply in replies.message().await.unwrap().unwrap().replies {
            let Some(proto::append_reply::Outcome::Refused(why)) = reply.outcome else { panic!("{reply:?}") };
            whys.insert(reply.session, why);
        }
    }
    assert!(whys[&1].contains("it was for [3]"), "{whys:?}");
    assert!(whys[&2].contains("no leader's"), "{whys:?}");
    assert!(whys[&3].contains("does not decode"), "{whys:?}");
    // A stream that does not say who sends it is ended.
    let frame = proto::AppendFrame::default();
    let frames = tokio_stream::StreamExt::chain(tokio_stream::once(frame), tokio_stream::pending());
    let mut replies = client.append(frames).await.unwrap().into_inner();
    let taken = replies.message().await.unwrap().unwrap();
    assert!(taken.packing.is_some() && taken.replies.is_empty(), "{taken:?}");
    let ended = replies.message().await;
    assert!(matches!(ended, Ok(None)), "{ended:?}");
    cluster.write(1, 1, provision(7)).await;
}
