//! Whom a blob is asked of, and in which order, so that it crosses each link between sites once. Pure.
//!
//! What a site has already is had there: near nodes, those of the same site, are asked before far ones. What it does not
//! have is got from another site by one of its nodes, the puller; the others ask that one, and name the holders to it. Hashes
//! of blob and name choose the puller: all nodes of a site come to the same one without a word, and each blob to another
//! one. Where views differ for a while, because members change or somebody is silent, a blob may cross twice: nothing else
//! depends on it.
//!
//! A near node that was silent a moment ago pulls for nobody, and is asked last.

use securanet_model::BlobId;
use securanet_wire::replication::HOLDERS_MAX;

/// Whom a blob is asked of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    /// The node.
    pub(crate) node: String,
    /// Where it gets it from, if it does not have it; nobody: it says so.
    pub(crate) holders: Vec<String>,
}

impl Source {
    /// A node that is asked for what it has.
    pub(crate) fn plain(node: String) -> Self {
        Self { node, holders: Vec::new() }
    }

    /// Whether it may have to get it itself.
    pub(crate) fn passes_on(&self) -> bool {
        !self.holders.is_empty()
    }
}

/// How a node is to one that asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Distance {
    /// In the same site.
    Near,
    /// In the same site, and silent when it was last asked.
    NearAndSilent,
    /// In another one.
    Far,
}

/// The nodes that may have a group's blobs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Holders {
    own: String,
    near: Vec<String>,
    silent: Vec<String>,
    far: Vec<String>,
    /// Whether the likeliest of all is far.
    begins_far: bool,
}

impl Holders {
    /// Of these nodes, the likeliest first; `own` asks.
    pub(crate) fn new(own: &str, nodes: Vec<String>, distance: impl Fn(&str) -> Distance) -> Self {
        let begins_far = nodes.first().is_some_and(|node| distance(node) == Distance::Far);
        let (mut near, mut silent, mut far) = (Vec::new(), Vec::new(), Vec::new());
        for node in nodes.into_iter().filter(|node| node != own) {
            match distance(&node) {
                Distance::Near => near.push(node),
                Distance::NearAndSilent => silent.push(node),
                Distance::Far => far.push(node),
            }
        }
        Self { own: own.to_owned(), near, silent, far, begins_far }
    }

    /// Whom a blob is asked of, one after the other.
    pub(crate) fn sources(&self, blob: BlobId) -> Vec<Source> {
        let puller = self.puller(blob);
        let others = self.near.iter().filter(|node| Some(node.as_str()) != puller).chain(&self.far);
        let asked = puller.map(|node| {
            let holders = others.clone().take(HOLDERS_MAX).cloned().collect();
            Source { node: node.to_owned(), holders }
        });
        let plain = others.chain(&self.silent).cloned().map(Source::plain);
        asked.into_iter().chain(plain).collect()
    }

    /// The near node that gets a blob for this one; none when this one gets it itself.
    fn puller(&self, blob: BlobId) -> Option<&str> {
        // A near node that is the likeliest has it.
        if !self.begins_far {
            return None;
        }
        let candidates = self.near.iter().chain([&self.own]);
        let puller = candidates.max_by_key(|node| (weight(node, blob), *node))?;
        (*puller != self.own).then_some(puller.as_str())
    }
}

/// Who has the most of it for a blob pulls it.
fn weight(node: &str, blob: BlobId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&blob.tenant.get().to_be_bytes());
    hasher.update(&blob.hash);
    hasher.update(node.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use securanet_model::TenantId;

    use super::*;

    fn blob(number: u8) -> BlobId {
        BlobId { tenant: TenantId::new(1), hash: [number; 32] }
    }

    /// The first letter is the site; `silent` ones were silent.
    fn holders(own: &str, nodes: &[&str], silent: &[&str]) -> Holders {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        Holders::new(own, nodes, |node| match node.starts_with(&own[..1]) {
            true if silent.contains(&node) => Distance::NearAndSilent,
            true => Distance::Near,
            false => Distance::Far,
        })
    }

    /// As text: `b1<a1,c1` is asked to get it from the others, the rest for what they have.
    fn asked(holders: &Holders, number: u8) -> String {
        let text = |source: Source| match source.passes_on() {
            true => format!("{}<{}", source.node, source.holders.join(",")),
            false => source.node,
        };
        holders.sources(blob(number)).into_iter().map(text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn all_nodes_of_a_site_have_a_blob_pulled_by_the_same_one_and_share_them_evenly() {
        let members = ["a1", "a2", "b1", "b2", "b3"];
        let mut pulls = BTreeMap::<String, usize>::new();
        for number in 0..=255 {
            let puller = |own| holders(own, &members, &[]).puller(blob(number)).unwrap_or(own).to_owned();
            let pullers = ["b1", "b2", "b3"].map(puller);
            assert!(pullers.iter().all(|puller| *puller == pullers[0]), "{pullers:?}");
            *pulls.entry(pullers[0].clone()).or_default() += 1;
        }
        assert!(pulls.len() == 3 && pulls.values().all(|&count| count > 60), "{pulls:?}");
    }

    #[test]
    fn who_does_not_pull_asks_who_does_and_the_rest_after_that() {
        let orders = |own, nodes: &[&str], silent: &[&str]| {
            let holders = holders(own, nodes, silent);
            let mut orders: Vec<_> = (0..=255).map(|number| asked(&holders, number)).collect();
            orders.sort();
            orders.dedup();
            orders
        };
        // The sender is far.
        let members = ["a1", "c1", "b1", "b2", "b3"];
        assert_eq!(
            orders("b1", &members, &[]),
            ["b2 b3 a1 c1", "b2<b3,a1,c1 b3 a1 c1", "b3<b2,a1,c1 b2 a1 c1"],
            "it pulls itself, or asks one of the others"
        );
        // Who was silent pulls nothing.
        assert_eq!(orders("b1", &members, &["b2"]), ["b3 a1 c1 b2", "b3<a1,c1 a1 c1 b2"]);
        assert_eq!(orders("b1", &members, &["b2", "b3"]), ["a1 c1 b2 b3"]);
        // The sender is near: it has it.
        assert_eq!(orders("b1", &["b3", "a1", "b2"], &[]), ["b3 b2 a1"]);
        assert_eq!(orders("b1", &["b3", "a1", "b2"], &["b3"]), ["b2 a1 b3"]);
        // Alone in its site, or with nobody at all.
        assert_eq!(orders("c1", &members, &[]), ["a1 b1 b2 b3"]);
        assert_eq!(orders("c1", &["c1"], &[]), [""]);
    }

    #[test]
    fn no_more_holders_are_named_than_may_be() {
        let far: Vec<String> = (10..40).map(|number| format!("a{number}")).collect();
        let members: Vec<&str> = far.iter().map(String::as_str).chain(["b1", "b2"]).collect();
        let holders = holders("b1", &members, &[]);
        let named: Vec<_> = (0..=255).map(|number| holders.sources(blob(number))[0].holders.len()).collect();
        assert!(named.contains(&HOLDERS_MAX) && named.iter().all(|&named| named == 0 || named == HOLDERS_MAX));
    }
}
