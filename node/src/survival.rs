//! What the cluster survives right now: which node, which site could be lost without any group losing its majority.

use std::collections::{BTreeMap, BTreeSet};

/// A group's voters, by node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Voters {
    /// The group.
    pub(crate) group: u32,
    /// The nodes that vote.
    pub(crate) nodes: BTreeSet<String>,
    /// Those of them that count: they answer, and lack nothing.
    pub(crate) whole: BTreeSet<String>,
}

/// Whose loss would stop groups.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Survival {
    /// Nodes, with the groups that each would stop.
    pub(crate) nodes: BTreeMap<String, Vec<u32>>,
    /// Sites, likewise.
    pub(crate) sites: BTreeMap<String, Vec<u32>>,
    /// Groups that have no majority already.
    pub(crate) stopped: Vec<u32>,
}

/// Counts what would be left of each group, given the site of each node. A node whose site is not known is one by itself.
pub(crate) fn survival(groups: &[Voters], site_of: &BTreeMap<String, String>) -> Survival {
    let mut found = Survival::default();
    let site = |node: &String| site_of.get(node).unwrap_or(node).clone();
    for voters in groups {
        let stops_without = |lost: &dyn Fn(&String) -> bool| {
            let left = voters.whole.iter().filter(|node| !lost(node)).count();
            left * 2 <= voters.nodes.len()
        };
        if stops_without(&|_| false) {
            found.stopped.push(voters.group);
            continue;
        }
        for node in &voters.whole {
            if stops_without(&|other| other == node) {
                found.nodes.entry(node.clone()).or_default().push(voters.group);
            }
        }
        let sites: BTreeSet<String> = voters.whole.iter().map(site).collect();
        for lost in sites {
            if stops_without(&|node| site(node) == lost) {
                found.sites.entry(lost).or_default().push(voters.group);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    fn lost(nodes: &[&str], whole: &[&str], sites: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let sites = sites.iter().map(|(node, site)| ((*node).to_owned(), (*site).to_owned())).collect();
        let groups = [Voters { group: 1, nodes: set(nodes), whole: set(whole) }];
        let Survival { nodes, sites, stopped } = survival(&groups, &sites);
        assert!(stopped.is_empty());
        (nodes.into_keys().collect(), sites.into_keys().collect())
    }

    #[test]
    fn three_sites_survive_any_one_of_them() {
        let sites = [("a", "n"), ("b", "s"), ("c", "w")];
        assert_eq!(lost(&["a", "b", "c"], &["a", "b", "c"], &sites), (vec![], vec![]));
        let (nodes, at) = lost(&["a", "b", "c"], &["a", "b"], &sites);
        assert_eq!((nodes, at), (vec!["a".to_owned(), "b".to_owned()], vec!["n".to_owned(), "s".to_owned()]));
    }

    #[test]
    fn five_at_two_sites_survive_any_node_and_one_site_only() {
        let sites = [("a", "n"), ("b", "n"), ("c", "n"), ("d", "s"), ("e", "s")];
        let all = ["a", "b", "c", "d", "e"];
        assert_eq!(lost(&all, &all, &sites), (vec![], vec!["n".to_owned()]));
    }

    #[test]
    fn a_group_without_a_majority_is_told_as_such() {
        let group = |id, whole: &[&str]| Voters { group: id, nodes: set(&["a", "b", "c"]), whole: set(whole) };
        let found = survival(&[group(1, &["a", "b", "c"]), group(2, &["a"]), group(3, &[])], &BTreeMap::new());
        assert_eq!(found, Survival { stopped: vec![2, 3], ..Survival::default() });
    }

    #[test]
    fn one_or_two_survive_nothing() {
        assert_eq!(lost(&["a"], &["a"], &[]).0, ["a"]);
        assert_eq!(lost(&["a", "b"], &["a", "b"], &[("a", "n"), ("b", "s")]).0, ["a", "b"]);
    }
}
