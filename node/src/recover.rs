//! `securanet group recover`: makes this store's replicas the groups, when a majority of their voters is gone for good.
//!
//! It runs while the store is stopped: the disk's lock sees to that, and nothing else can write then. The other stores are
//! asked first; who answers is no loss, and may know more. What is to be done with each group is decided by [`judge`],
//! from values alone; the consent is a phrase that names who is given up.

use std::{
    collections::BTreeSet,
    io::{BufRead, IsTerminal},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, bail};
use securanet_gateway::{
    clock,
    link::Link,
    model::{GroupId, report::LogPosition},
};
use securanet_raft::{
    Stores,
    recover::{Consent, Holding, recover as write, survey},
};
use serde_json::{Value, json};

use crate::{
    cli::Recover,
    cluster::{
        join::Files,
        known::{Known, LinkPeers},
        membership::DataDirectory,
        reports::{self, Reports},
    },
    commands::{print_table, time},
    config::Config,
};

/// What is to become of a group here.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    /// A node leads it.
    Led(String),
    /// A majority of its voters lives: it needs no recovery.
    Majority,
    /// Another living replica has more of it, or as much and goes first.
    Elsewhere(String),
    /// This store has no replica of it that the group knows.
    NoMember,
    /// It is recovered from here.
    Here(Consent),
}

/// What is to become of a group, as `own`, the node here, holds it, and as others answer.
fn judge(holding: &Holding, own: &str, reports: &Reports) -> Verdict {
    let answers = |node: &str| node == own || reports.get(node).is_some_and(Option::is_some);
    let replicas = || {
        let answered = reports.iter().filter_map(|(node, report)| Some((node, report.as_ref()?)));
        answered
            .flat_map(|(node, report)| report.groups.iter().map(move |group| (node, group)))
            .filter(|(_, group)| group.group == holding.group)
    };
    if let Some((node, _)) = replicas().find(|(_, group)| group.is_led()) {
        return Verdict::Led(node.clone());
    }
    if !holding.members.iter().any(|(replica, node, _)| *replica == holding.replica && node == own) {
        return Verdict::NoMember;
    }
    let voters = holding.voters();
    if voters.iter().filter(|node| answers(node)).count() * 2 > voters.len() {
        return Verdict::Majority;
    }
    // The longest log has all that any of them may have applied; of two that are as long the one with all its blobs, then
    // the older one.
    let rank = |last: Option<LogPosition>, hollow: bool, replica| (last, !hollow, std::cmp::Reverse(replica));
    let here = rank(holding.last, holding.hollow, holding.replica);
    let member = |node: &str| holding.members.iter().any(|(_, member, _)| member == node);
    let others = replicas().filter(|(node, _)| member(node));
    let others: Vec<_> = others.map(|(node, group)| (rank(group.last, group.hollow, group.replica), node)).collect();
    if let Some((_, node)) = others.iter().filter(|(other, _)| *other > here).max_by_key(|(other, _)| *other) {
        return Verdict::Elsewhere((*node).clone());
    }
    let lost = holding.members.iter().map(|(_, node, _)| node).filter(|node| !answers(node)).cloned().collect();
    Verdict::Here(Consent { group: holding.group, lost, give_up_blobs: holding.hollow && others.is_empty() })
}

/// `securanet group recover`
pub(crate) async fn recover(config_file: &Path, wish: &Recover) -> anyhow::Result<()> {
    let config = Config::load(config_file)?;
    let cluster = config.cluster.as_ref().context("the node file has no [cluster]: a node alone has nobody to lose")?;
    let data = config.data_directory.as_deref().context("a gateway keeps nothing: recover a group at a store")?;
    let made = DataDirectory::read(data)?.filter(|made| made.member.is_some());
    let made = made.with_context(|| format!("{}: it is of no member of a cluster", data.display()))?;
    let stores = Stores::open(data, config.store.cache_bytes).with_context(|| {
        format!("{}: cannot be opened: stop this node first (`systemctl stop securanet`)", data.display())
    })?;
    let folder = cluster.folder(&config)?;
    let known = Arc::new(Known::load(&folder, cluster.reach.clone())?);
    let link = Link::new(Files::in_directory(&folder).credentials()?);
    let peers = LinkPeers::new(cluster.site.clone(), known.clone());
    peers.set_link(link.clone());

    let holdings = survey(&stores, (0..=made.shards).map(GroupId::new))?;
    let own = cluster.node.as_str();
    let others: BTreeSet<String> =
        holdings.iter().flat_map(|holding| &holding.members).map(|(_, node, _)| node.clone()).collect();
    let reports = reports::ask(&peers, others.into_iter().filter(|node| node != own)).await;
    let verdicts: Vec<Verdict> = holdings.iter().map(|holding| judge(holding, own, &reports)).collect();
    println!("node {own} at site {} of cluster {}", cluster.site, link.identity().cluster);
    tell_nodes(own, &reports);
    let rows: Vec<Value> = holdings.iter().zip(&verdicts).map(|(holding, verdict)| row(holding, verdict)).collect();
    print_table(&COLUMNS, &rows);

    let chosen = |consent: &&Consent| wish.group.is_empty() || wish.group.contains(&consent.group.get());
    let here =
        verdicts.iter().filter_map(|verdict| if let Verdict::Here(consent) = verdict { Some(consent) } else { None });
    let mut consents: Vec<Consent> = here.filter(chosen).cloned().collect();
    if consents.is_empty() {
        bail!("nothing is to be recovered here; nothing was changed");
    }
    // The directory says who is out of the cluster, whichever groups they were in.
    let lost: BTreeSet<String> = consents.iter().flat_map(|consent| consent.lost.clone()).collect();
    let directory = consents.iter_mut().find(|consent| consent.group == GroupId::DIRECTORY);
    let has_directory = directory.map(|directory| directory.lost.clone_from(&lost)).is_some();
    tell_losses(&holdings, &consents, &lost);
    let phrase = format!("give up {}", lost.iter().cloned().collect::<Vec<_>>().join(" "));
    check_consent(wish.consent.as_deref(), &phrase)?;

    // First: from here on they are refused, whatever comes between.
    known.give_up(&lost)?;
    write(&stores, &consents, made.shards, clock::now())?;
    tell_what_next(config_file, &consents, &lost, has_directory);
    Ok(())
}

const COLUMNS: [(&str, &str); 7] = [
    ("group", "group"),
    ("voters", "voters"),
    ("last entry", "last"),
    ("in the state", "applied"),
    ("heard of last", "heard"),
    ("lacks parts", "hollow"),
    ("what", "what"),
];

fn row(holding: &Holding, verdict: &Verdict) -> Value {
    let what = match verdict {
        Verdict::Led(node) => format!("goes on: node {node} leads it"),
        Verdict::Majority => "has its majority: start this node, and wait".to_owned(),
        Verdict::Elsewhere(node) => format!("node {node} has more of it: recover it there"),
        Verdict::NoMember => "this store is no member of it".to_owned(),
        Verdict::Here(_) => "can be recovered here".to_owned(),
    };
    json!({
        "group": holding.group.get(),
        "voters": holding.voters(),
        "last": holding.last.map(|last| format!("{} (term {})", last.index, last.term)),
        "applied": holding.applied,
        "heard": time(holding.last_heard.map(|heard| heard.get())),
        "hollow": holding.hollow,
        "what": what,
    })
}

fn tell_nodes(own: &str, reports: &Reports) {
    println!("node {own}: it is here, stopped");
    for (node, report) in reports {
        match report {
            Some(_) => println!("node {node}: it answers"),
            None => {
                println!("!! node {node}: no answer. If it lives, stop here and start it: it is given up otherwise")
            }
        }
    }
    println!();
}

fn tell_losses(holdings: &[Holding], consents: &[Consent], lost: &BTreeSet<String>) {
    let lost = lost.iter().cloned().collect::<Vec<_>>().join(", ");
    println!();
    println!("What may be lost:");
    println!(
        "  What nodes {lost} acknowledged without this store: nobody can know what that was, or whether there is any."
    );
    for consent in consents {
        let Some(holding) = holdings.iter().find(|holding| holding.group == consent.group) else { continue };
        let index = holding.last.map_or(0, |last| last.index);
        let heard = time(holding.last_heard.map(|heard| heard.get()));
        println!("  group {}: everything after entry {index}, of {heard}", consent.group);
        if holding.unapplied() > 0 {
            println!(
                "      its last {} entries are kept, and may be changes that nobody was told of",
                holding.unapplied()
            );
        }
        if consent.give_up_blobs {
            println!(
                "      parts of messages that this store lacks, and nobody else has; `securanet scrub` names them then"
            );
        }
    }
    println!("What else changes:");
    println!("  All mailboxes of these groups get a new UIDVALIDITY: mail clients download them anew.");
    println!("  Mail that left shortly before may be sent twice; retries begin where this store saw them.");
    println!("  Nodes {lost} are refused for ever as they are; with an empty data directory they may come back.");
    println!();
}

fn check_consent(given: Option<&str>, phrase: &str) -> anyhow::Result<()> {
    let typed = match given {
        Some(given) => given.to_owned(),
        None if std::io::stdin().is_terminal() => {
            println!("To go on, type: {phrase}");
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line)?;
            line
        }
        None => bail!("nobody can be asked here; nothing was changed. A script says --consent \"{phrase}\""),
    };
    if typed.trim() != phrase {
        bail!("that is not \"{phrase}\"; nothing was changed");
    }
    Ok(())
}

fn tell_what_next(config_file: &Path, consents: &[Consent], lost: &BTreeSet<String>, has_directory: bool) {
    let groups = consents.iter().map(|consent| consent.group.to_string()).collect::<Vec<_>>().join(", ");
    println!("Groups {groups} are recovered: this store is their only voter, until others have come in.");
    println!("  securanet run --config {}", config_file.display());
    if !has_directory {
        for node in lost {
            println!(
                "  securanet node remove {node} --force     (at a node where the directory, group 0, has a leader)"
            );
        }
    }
    println!("Then let stores in, `securanet node token`, until `securanet status` says that any node may be lost.");
    println!(
        "Accounts that were made or changed shortly before may be missing or old: look at `securanet account list`."
    );
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::{
        ReplicaId,
        outbound::OutboundDepth,
        report::{GroupReport, MemberReport, NodeReport},
        request::Totals,
    };

    use super::*;

    const GROUP: GroupId = GroupId::new(3);

    fn at(term: u64, index: u64) -> Option<LogPosition> {
        Some(LogPosition { term, index })
    }

    /// What node `a` holds of a group of these voters.
    fn holding(voters: &[&str], last: Option<LogPosition>) -> Holding {
        let member = |(at, node): (usize, &&str)| (ReplicaId::new(at as u64 + 1), (*node).to_owned(), true);
        Holding {
            group: GROUP,
            replica: ReplicaId::new(1),
            members: voters.iter().enumerate().map(member).collect(),
            last,
            applied: None,
            last_heard: None,
            hollow: false,
        }
    }

    fn member(replica: u64) -> MemberReport {
        let replica = ReplicaId::new(replica);
        MemberReport {
            replica,
            node: "b".to_owned(),
            voter: true,
            lag: Some(0),
            silent_millis: Some(0),
            clock_off_millis: None,
        }
    }

    fn says(replica: u64, last: Option<LogPosition>, leads: bool) -> Option<NodeReport> {
        let group = GroupReport {
            group: GROUP,
            replica: ReplicaId::new(replica),
            leads,
            leader: None,
            term: 1,
            members: leads.then(|| member(replica)).into_iter().collect(),
            hollow: false,
            hollow_blobs: 0,
            replayed: true,
            stopped: None,
            last,
            applied: None,
            clock_ahead_millis: 0,
            totals: Totals::default(),
            pending: 0,
            held: 0,
            outbound: OutboundDepth::default(),
        };
        Some(NodeReport { groups: vec![group], ..NodeReport::default() })
    }

    fn reports(said: &[(&str, Option<NodeReport>)]) -> Reports {
        said.iter().map(|(node, report)| ((*node).to_owned(), report.clone())).collect()
    }

    fn here(lost: &[&str], give_up_blobs: bool) -> Verdict {
        let lost = lost.iter().map(|node| (*node).to_owned()).collect();
        Verdict::Here(Consent { group: GROUP, lost, give_up_blobs })
    }

    const FIVE: [&str; 5] = ["a", "b", "c", "d", "e"];

    #[test]
    fn the_last_of_three_recovers_and_gives_up_the_others() {
        let silent = reports(&[("b", None), ("c", None)]);
        let three = holding(&["a", "b", "c"], at(4, 90));
        assert_eq!(judge(&three, "a", &silent), here(&["b", "c"], false));
        assert_eq!(judge(&Holding { hollow: true, ..three }, "a", &silent), here(&["b", "c"], true));
    }

    #[test]
    fn a_group_with_a_majority_or_a_leader_is_left_alone() {
        let three = holding(&["a", "b", "c"], at(4, 90));
        let one = reports(&[("b", says(2, at(4, 80), false)), ("c", None)]);
        assert_eq!(judge(&three, "a", &one), Verdict::Majority);
        assert_eq!(judge(&holding(&["a"], at(4, 90)), "a", &Reports::new()), Verdict::Majority, "recovered already");
        let led = reports(&[("b", says(2, at(4, 99), true)), ("c", None)]);
        assert_eq!(judge(&holding(&FIVE, at(4, 90)), "a", &led), Verdict::Led("b".to_owned()));
        // It led, and has lost its majority.
        let mut alone = says(2, at(4, 80), true).unwrap();
        let silent = |replica| MemberReport { silent_millis: Some(60_000), ..member(replica) };
        alone.groups[0].members.extend([silent(3), silent(4)]);
        assert_eq!(
            judge(&holding(&FIVE, at(4, 90)), "a", &reports(&[("b", Some(alone))])),
            here(&["c", "d", "e"], false)
        );
    }

    #[test]
    fn of_several_survivors_the_one_with_the_longest_log_goes_first() {
        let five = holding(&FIVE, at(4, 90));
        let with = |last| reports(&[("b", says(2, last, false)), ("c", None), ("d", None), ("e", None)]);
        assert_eq!(judge(&five, "a", &with(at(4, 91))), Verdict::Elsewhere("b".to_owned()));
        assert_eq!(judge(&five, "a", &with(at(5, 12))), Verdict::Elsewhere("b".to_owned()), "the term goes first");
        assert_eq!(judge(&five, "a", &with(at(4, 90))), here(&["c", "d", "e"], false), "as long: the older replica");
        assert_eq!(judge(&five, "a", &with(at(4, 7))), here(&["c", "d", "e"], false));
        let hollow = Holding { hollow: true, ..five };
        assert_eq!(judge(&hollow, "a", &with(at(4, 90))), Verdict::Elsewhere("b".to_owned()), "it has its blobs");
        assert_eq!(judge(&hollow, "a", &with(at(4, 7))), here(&["c", "d", "e"], false), "somebody may have them");
    }

    #[test]
    fn who_was_given_up_recovers_nothing() {
        let others = Holding { replica: ReplicaId::new(9), ..holding(&["b", "c"], at(4, 90)) };
        assert_eq!(judge(&others, "a", &reports(&[("b", None), ("c", None)])), Verdict::NoMember);
    }

    #[test]
    fn only_the_phrase_is_consent() {
        assert!(check_consent(Some("give up b c"), "give up b c").is_ok());
        for wrong in ["", "yes", "give up b", "Give up b c"] {
            let refused = check_consent(Some(wrong), "give up b c").unwrap_err().to_string();
            assert!(refused.contains("nothing was changed"), "{refused}");
        }
    }
}
