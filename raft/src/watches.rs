//! Who wants to be told of changes: a registry of topics that somebody watches.
//!
//! A topic is here as long as it has a receiver. The registry is bounded; beyond the bound a watcher shares one
//! receiver that wakes on every change, so it is woken for nothing but never misses anything.

use std::collections::HashMap;

use parking_lot::Mutex;
use securanet_model::request::Topic;
use tokio::sync::watch;

/// Watchers of changes in all groups of a node.
pub(crate) struct Watches {
    topics: Mutex<HashMap<Topic, watch::Sender<u64>>>,
    everything: watch::Sender<u64>,
    topics_max: usize,
}

impl Watches {
    /// A registry of at most `topics_max` topics (one takes some 200 octets).
    #[must_use]
    pub(crate) fn new(topics_max: usize) -> Self {
        Self { topics: Mutex::default(), everything: watch::Sender::new(0), topics_max }
    }

    /// Wakes on each change of the topic that becomes visible from now on; the value is the index of the last one.
    #[must_use]
    pub(crate) fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        let mut topics = self.topics.lock();
        if let Some(sender) = topics.get(&topic) {
            return sender.subscribe();
        }
        if topics.len() >= self.topics_max {
            topics.retain(|_, sender| sender.receiver_count() > 0);
        }
        if topics.len() >= self.topics_max {
            return self.everything.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        topics.insert(topic, sender);
        receiver
    }

    /// Tells the watchers of these topics; called when the change can be read.
    pub(crate) fn changed(&self, touched: &[Topic], index: u64) {
        if touched.is_empty() {
            return;
        }
        let mut topics = self.topics.lock();
        for topic in touched {
            let Some(sender) = topics.get(topic) else { continue };
            if sender.receiver_count() == 0 {
                topics.remove(topic);
            } else {
                sender.send_replace(index);
            }
        }
        drop(topics);
        if self.everything.receiver_count() > 0 {
            self.everything.send_replace(index);
        }
    }

    /// Tells all watchers: a group's state was replaced, nobody knows what is different.
    pub(crate) fn everything_changed(&self, index: u64) {
        let topics = self.topics.lock();
        topics.values().chain([&self.everything]).for_each(|sender| {
            sender.send_replace(index);
        });
    }

    /// Topics held.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.topics.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use securanet_model::AccountId;

    use super::*;

    fn account(id: u64) -> Topic {
        Topic::Account(AccountId::new(id))
    }

    #[test]
    fn a_change_wakes_the_watchers_of_its_topic_alone() {
        let watches = Watches::new(10);
        let (mut one, two) = (watches.watch(account(1)), watches.watch(account(2)));
        watches.changed(&[account(1)], 7);
        assert!(one.has_changed().unwrap() && !two.has_changed().unwrap());
        assert_eq!(*one.borrow_and_update(), 7);
    }

    #[test]
    fn a_topic_that_nobody_watches_any_more_is_forgotten() {
        let watches = Watches::new(2);
        drop((watches.watch(account(1)), watches.watch(account(2))));
        watches.changed(&[account(1)], 1);
        assert_eq!(watches.len(), 1);
        let _three = watches.watch(account(3));
        let _four = watches.watch(account(4));
        assert_eq!(watches.len(), 2);
    }

    #[test]
    fn beyond_the_bound_a_watcher_is_woken_too_often_rather_than_never() {
        let watches = Watches::new(1);
        let _held = watches.watch(account(1));
        let beyond = watches.watch(account(2));
        watches.changed(&[account(2)], 5);
        assert!(beyond.has_changed().unwrap());
    }
}
