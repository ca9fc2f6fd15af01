//! Appends to another site are packed, and replicas are equal all the same.

use std::collections::HashMap;

use securanet_model::{
    Command,
    content::{NewMessage, Sealed},
    delivery::Deliver,
};
use securanet_wire::replication::{
    Packer,
    proto::{self, replication_client::ReplicationClient},
};
use tokio_stream::StreamExt;

use crate::{nodes::Cluster, support::*};

/// A letter with this in it.
fn letter(number: u64, recipe: Sealed) -> Command {
    let Command::Deliver(deliver) = deliver(7, number, &[]) else { unreachable!() };
    let message = NewMessage { recipe, ..deliver.message.clone() };
    Command::Deliver(Deliver { message, ..deliver })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_came_before_in_other_letters_takes_few_octets_and_replicas_are_equal() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let write = async |numbers: std::ops::Range<u64>| {
        for number in numbers {
            run(&cluster.nodes[&leader].groups, execute(1, number, vec![letter(number, sealed_text(number))]))
                .await
                .unwrap();
        }
    };
    // Until then all that is said is new.
    write(10..30).await;
    cluster.check_equal().await;
    let before = cluster.links.bytes();
    write(30..90).await;
    cluster.check_equal().await;
    let sealed: usize = (30..90).map(|number| sealed_text(number).bytes.len()).sum();
    let went: HashMap<_, _> =
        cluster.links.bytes().into_iter().map(|(pair, now)| (pair.clone(), now - before[&pair])).collect();
    for follower in (0..3).filter(|node| *node != leader) {
        // Heartbeats and all else that goes there are in it.
        let went = went[&(cluster.name(leader).to_owned(), cluster.name(follower).to_owned())];
        println!("{sealed} octets of content went to node {follower} as {went}");
        assert!(went > 3000, "{went} octets: nothing was sent there");
        assert!(went < sealed as u64 / 2, "{went} octets for {sealed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn content_that_a_node_passed_on_does_not_come_back_to_it() {
    let mut cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let leader = cluster.leader(1).await;
    let there = (leader + 1) % 3;
    // Nothing in it was ever said before.
    let letter = |number: u64| {
        let mut random = Random::new(number);
        let text: String = (0..120).map(|_| format!("{:x} ", random.next())).collect();
        letter(number, sealed(&text))
    };
    let size = |command: &Command| match command {
        Command::Deliver(deliver) => deliver.message.recipe.bytes.len() as u64,
        _ => unreachable!(),
    };
    let mut sent = 0;
    let before = cluster.links.bytes();
    for number in 10..50 {
        let command = letter(number);
        sent += size(&command);
        run(&cluster.nodes[&there].groups, execute(1, number, vec![command])).await.unwrap();
    }
    cluster.check_equal().await;
    let went = |from: usize, to: usize| {
        let pair = (cluster.name(from).to_owned(), cluster.name(to).to_owned());
        cluster.links.bytes()[&pair] - before[&pair]
    };
    let (passed_on, back, to_another) = (went(there, leader), went(leader, there), went(leader, 3 - leader - there));
    println!("{sent} octets: {passed_on} to the leader, {back} back, {to_another} to the other one");
    assert!(passed_on > sent && to_another > sent, "{passed_on} and {to_another} octets for {sent}");
    assert!(back < sent / 3, "{back} octets came back of {sent}");
    // It has nothing any more when it was started again.
    cluster.kill(there);
    cluster.restart(there).await;
    cluster.ready(there).await;
    for number in 50..60 {
        run(&cluster.nodes[&there].groups, execute(1, number, vec![letter(number)])).await.unwrap();
    }
    cluster.check_equal().await;
    assert_eq!(cluster.inbox(1, 7).await, (10..60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_a_row_that_does_not_come_back_takes_nothing_packed_any_more() {
    let cluster = Cluster::three().await;
    cluster.write(1, 1, provision(7)).await;
    let mut client = ReplicationClient::connect(format!("http://{}", cluster.address(0))).await.unwrap();
    let hello = Some(proto::Hello { version: 1, node: "stranger".to_owned() });
    // One piece of a row, whose checksum is another row's.
    let form = [&[1, 0, 0, 0, 9, 0x84, 0x07][..], &[7; 900]].concat();
    let vote = Some(proto::Ballot { term: 99, replica: 9, committed: true });
    let append = proto::Append {
        session: 1,
        group: 1,
        targets: vec![1],
        vote,
        entries: vec![form.into()],
        ..Default::default()
    };
    let plain = proto::AppendFrame { hello, appends: vec![append], ..Default::default() };
    let packed = Packer::new().unwrap().pack(plain.clone(), bytes::Bytes::clone).unwrap();
    let mut begin = async |frame: proto::AppendFrame| {
        let frames = tokio_stream::once(frame).chain(tokio_stream::pending());
        client.append(frames).await.unwrap().into_inner()
    };
    let mut replies = begin(packed).await;
    assert!(replies.message().await.unwrap().unwrap().packing.is_some());
    let ended = replies.message().await;
    assert!(matches!(ended, Ok(None)), "{ended:?}");
    // From now on rows are taken as they are, and only so.
    let first = begin(plain).await.message().await.unwrap().unwrap();
    assert!(first.packing.is_none() && !first.replies.is_empty(), "{first:?}");
    // The others go on.
    for number in 10..20 {
        cluster.write(1, number, deliver(7, number, &[])).await;
    }
    cluster.check_equal().await;
}
