//! What operators are told of a cluster of three sites, from what its stores say.

use securanet_gateway::model::{ReplicaId, nodes::NodeFacts, report::LogPosition, request::Totals};

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A replica of a group of three on a node; the leader has not heard the members for so long.
fn group(id: u32, on: usize, leader: Option<usize>, silent_millis: [u64; 3]) -> GroupReport {
    let leads = leader == Some(on);
    let member = |at: usize| MemberReport {
        replica: ReplicaId::new(at as u64 + 1),
        node: NAMES[at].to_owned(),
        voter: true,
        lag: leads.then_some(0),
        silent_millis: leads.then_some(silent_millis[at]),
        clock_off_millis: leads.then_some(12),
    };
    GroupReport {
        group: GroupId::new(id),
        replica: ReplicaId::new(on as u64 + 1),
        leads,
        leader: leader.map(|leader| ReplicaId::new(leader as u64 + 1)),
        term: 1,
        members: (0..3).map(member).collect(),
        hollow: false,
        hollow_blobs: 0,
        replayed: true,
        stopped: None,
        last: Some(LogPosition { term: 1, index: 10 }),
        applied: Some(10),
        clock_ahead_millis: 0,
        totals: Totals::default(),
        pending: 0,
        held: 0,
        outbound: OutboundDepth::default(),
    }
}

/// Group 1 is led by `a`, group 2 by `b`.
fn reports() -> Reports {
    let report = |on: usize| NodeReport {
        disk_free_bytes: 100,
        disk_reserve_bytes: 10,
        groups: vec![group(1, on, Some(0), [0; 3]), group(2, on, Some(1), [0; 3])],
        ..NodeReport::default()
    };
    NAMES.iter().enumerate().map(|(on, name)| ((*name).to_owned(), Some(report(on)))).collect()
}

fn with(change: impl FnOnce(&mut Reports)) -> Overview {
    let mut reports = reports();
    change(&mut reports);
    Overview::of(Some("a"), &reports, &nodes())
}

fn group_of<'r>(reports: &'r mut Reports, node: &str, at: usize) -> &'r mut GroupReport {
    &mut reports.get_mut(node).unwrap().as_mut().unwrap().groups[at]
}

fn nodes() -> Vec<Node> {
    let node = |name: &&str| {
        let facts = NodeFacts {
            name: name.parse().unwrap(),
            site: name.parse().unwrap(),
            store: true,
            gateway: true,
            address: None,
        };
        Node { facts, state: NodeState::Active, replica: Some(ReplicaId::new(1)), joined: UnixMillis::new(0) }
    };
    NAMES.iter().map(node).collect()
}

#[test]
fn groups_are_told_by_who_leads_them() {
    let well = with(|reports| group_of(reports, "b", 1).members[2].lag = Some(7));
    assert_eq!((well.problems, well.survives.any_node, well.survives.any_site), (vec![], true, true));
    assert_eq!((well.nodes[0].leads.as_slice(), well.nodes[1].leads.as_slice()), (&[1][..], &[2][..]));
    assert_eq!((well.nodes[2].votes, well.nodes[2].disk_free_bytes), (2, Some(100)));
    let led_elsewhere = &well.groups[1];
    assert_eq!((led_elsewhere.leads, led_elsewhere.lag_entries), (false, Some(7)));
    assert_eq!(led_elsewhere.leader.as_deref(), Some("b"));
}

#[test]
fn a_node_that_does_not_answer_is_told_first_and_counts_no_more() {
    let lost = with(|reports| {
        reports.insert("c".to_owned(), None);
        group_of(reports, "b", 1).hollow = true;
    });
    assert_eq!(lost.problems[0], "node c at site c does not answer");
    assert_eq!(lost.survives.not[0], "anything more: groups 2 have no majority", "{:?}", lost.survives);
    assert_eq!(lost.survives.not[1], "node a: groups 1 would stop");
    assert!(!lost.survives.any_node && !lost.survives.any_site && lost.nodes[2].answers == Some(false));
}

#[test]
fn a_node_that_one_leader_does_not_hear_counts_no_more_though_it_answers_here() {
    let lost = with(|reports| *group_of(reports, "b", 1) = group(2, 1, Some(1), [0, 0, 6_000]));
    assert_eq!(lost.problems, ["node c at site c does not answer"]);
    assert!(!lost.survives.any_node);
}

#[test]
fn who_is_hollow_or_far_behind_is_no_survivor() {
    let hollow = with(|reports| {
        let group = group_of(reports, "c", 0);
        (group.hollow, group.hollow_blobs) = (true, 12);
    });
    assert!(hollow.problems[0].starts_with("group 1 lacks 12 message parts on node c"), "{:?}", hollow.problems);
    assert_eq!(hollow.groups[0].hollow, ["c"]);
    assert_eq!(hollow.survives.not[0], "node a: groups 1 would stop");
    let near = with(|reports| group_of(reports, "a", 0).members[2].lag = Some(NEAR_ENTRIES));
    assert!(near.survives.any_node && near.problems.is_empty());
    let behind = with(|reports| group_of(reports, "a", 0).members[2].lag = Some(NEAR_ENTRIES + 1));
    assert_eq!(behind.problems, ["group 1: node c is 1001 entries behind"]);
    assert!(!behind.survives.any_node);
}

#[test]
fn a_clock_that_is_not_the_others_is_told_once_and_whatever_else_is_wrong() {
    let wrong = with(|reports| {
        group_of(reports, "a", 0).members[1].clock_off_millis = Some(-600_123);
        group_of(reports, "b", 1).members[2].clock_off_millis = Some(500);
        group_of(reports, "b", 1).members[1].clock_off_millis = Some(-600_140);
        let behind = group_of(reports, "b", 0);
        (behind.hollow, behind.clock_ahead_millis) = (true, 600_000);
    });
    assert_eq!(
        wrong.problems,
        [
            "group 1 lacks 0 message parts on node b: they are being fetched from other nodes",
            "group 1 takes no changes from node b: its clock is 600 s behind; set the clock",
            "node b: its clock is 600.1 s behind the others': it leads no group; set the clock"
        ]
    );
}

#[test]
fn a_group_that_nobody_leads_is_told_with_what_is_known() {
    let mut reports = reports();
    for node in ["b", "c"] {
        reports.insert(node.to_owned(), None);
    }
    for at in 0..2 {
        *group_of(&mut reports, "a", at) = group(at as u32 + 1, 0, None, [0; 3]);
    }
    let told = Overview::of(Some("a"), &reports, &nodes());
    assert_eq!(
        told.problems[..4],
        [
            "node b at site b does not answer",
            "node c at site c does not answer",
            "group 1 has no leader: it takes no changes",
            "group 2 has no leader: it takes no changes"
        ]
    );
    assert_eq!((told.groups.len(), told.groups[0].voters.len(), told.groups[0].lag_entries), (2, 3, None));
    assert!(told.groups.iter().all(|group| group.leader.is_none()) && told.nodes[0].leads.is_empty());
    assert_eq!(told.survives.not, ["anything more: groups 1, 2 have no majority"]);
}

#[test]
fn mail_that_is_due_and_not_taken_up_is_told_and_a_full_disk_elsewhere_too() {
    let told = with(|reports| {
        group_of(reports, "b", 1).outbound.next_due = Some(UnixMillis::new(1000));
        reports.get_mut("c").unwrap().as_mut().unwrap().disk_free_bytes = 9;
    });
    assert!(told.problems[0].starts_with("group 2: mail for the world has been due for "), "{:?}", told.problems);
    assert!(told.problems[1].starts_with("node c: the disk is below its reserve"), "{:?}", told.problems);
    assert!(told.groups[1].outbound.oldest_due_seconds > Some(1_000_000));
}
