//! Tells operators that another node is lost, and that it is back: one line each, however many heartbeats fail between.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;

/// Which nodes are lost: at most as many as there are. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct Reach(Arc<Mutex<BTreeSet<String>>>);

impl Reach {
    /// Heartbeats do not reach a node; whether that is news.
    pub(super) fn lost(&self, node: &str, why: &str) -> bool {
        let news = self.0.lock().insert(node.to_owned());
        if news {
            tracing::warn!(node, why, "another node is lost: heartbeats do not reach it");
        }
        news
    }

    /// A node has answered; whether that is news.
    pub(super) fn heard(&self, node: &str) -> bool {
        let news = self.0.lock().remove(node);
        if news {
            tracing::info!(node, "another node is back");
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_and_each_return_is_told_once() {
        let reach = Reach::default();
        assert!(!reach.heard("a"), "it was never lost");
        assert_eq!([reach.lost("a", "cut"), reach.lost("a", "cut"), reach.lost("b", "cut")], [true, false, true]);
        assert_eq!([reach.heard("a"), reach.heard("a"), reach.lost("a", "cut")], [true, false, true]);
    }
}
