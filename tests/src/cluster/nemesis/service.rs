//! Who must be served while something is broken: what a majority of the stores, and whoever reaches it, owes to clients.

/// A node as the question sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'n> {
    /// Its name.
    pub name: &'n str,
    /// It keeps, and votes.
    pub is_store: bool,
    /// It serves clients.
    pub is_gateway: bool,
    /// It runs and does not stand still.
    pub is_up: bool,
}

/// The nodes whose clients must be served. `hear`: whether two nodes hear each other.
///
/// Some store that hears a majority of the stores leads. A node is owed service when it is sure to find the leader, whichever
/// of those it is: it is that one, it hears it, or it hears a store that does.
pub fn owed<'n>(nodes: &[Seen<'n>], hear: impl Fn(&str, &str) -> bool) -> Vec<&'n str> {
    let stores = || nodes.iter().filter(|node| node.is_store);
    let meets = |one: &Seen<'_>, other: &Seen<'_>| {
        one.is_up && other.is_up && (one.name == other.name || hear(one.name, other.name))
    };
    let majority = |one: &Seen<'_>| 2 * stores().filter(|other| meets(one, other)).count() > stores().count();
    let leaders: Vec<&Seen<'_>> = stores().filter(|store| majority(store)).collect();
    let finds = |node: &Seen<'_>, leader: &Seen<'_>| {
        let by_another = || stores().any(|store| meets(node, store) && meets(store, leader));
        meets(node, leader) || (!node.is_store && by_another())
    };
    let served = |node: &&Seen<'n>| !leaders.is_empty() && leaders.iter().all(|leader| finds(node, leader));
    nodes.iter().filter(|node| node.is_gateway && node.is_up).filter(served).map(|node| node.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores are `a` to `e`, gateways `x` to `z`; stores in upper case are gateways too, `-` before a node: it is down.
    #[track_caller]
    fn check(nodes: &str, deaf: &[(&str, &str)], expect: &str) {
        let nodes: Vec<Seen<'_>> = nodes
            .split(' ')
            .map(|word| {
                let name = word.trim_start_matches('-');
                let is_store = name.to_lowercase().as_str() < "f";
                let is_gateway = !is_store || name.to_lowercase() != name;
                Seen { name, is_store, is_gateway, is_up: name == word }
            })
            .collect();
        let hear = |a: &str, b: &str| !deaf.contains(&(a, b)) && !deaf.contains(&(b, a));
        assert_eq!(owed(&nodes, hear).join(" "), expect);
    }

    #[test]
    fn a_majority_owes_service_to_whoever_reaches_it() {
        check("A x y", &[], "A x y");
        check("A x y", &[("A", "x")], "A y");
        check("-A x y", &[], "");
        check("A -x y", &[], "A y");
        check("A B C", &[], "A B C");
        check("A B -C", &[], "A B");
        check("A -B -C", &[], "");
        check("A B C x", &[("A", "B"), ("A", "C")], "B C x");
        check("a b c x", &[("a", "x"), ("b", "x")], "x");
        check("a b c x", &[("a", "x"), ("b", "x"), ("c", "x")], "");
    }

    #[test]
    fn in_a_line_only_the_middle_is_sure_of_its_leader() {
        check("A B C x", &[("A", "B")], "C x");
        check("A B C x", &[("A", "B"), ("x", "A"), ("x", "B")], "C x");
    }
}
