//! Who in this process watches what, and what each store has still to be told of it.
//!
//! A topic is here as long as it has a receiver, and is watched at every store at once: whichever replica tells first wakes
//! its watchers, and they are woken again by the next. Values count wakings; they mean nothing beyond that. Bounded: past
//! the bound a watcher shares one receiver that is woken every second, too often rather than never.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use securanet_model::request::Topic;
use securanet_wire::watching::{TOPICS_MAX, Wish};
use tokio::sync::{Notify, watch};

/// All topics that this process watches.
pub(crate) struct Topics {
    state: Mutex<State>,
    topics_max: usize,
}

struct State {
    topics: HashMap<Topic, watch::Sender<u64>>,
    beyond: watch::Sender<u64>,
    feeds: Vec<Feed>,
}

/// What one store has to be told. Without a stream nothing gathers: it is told all when it has one.
#[derive(Default)]
struct Feed {
    connected: bool,
    wishes: Vec<Wish>,
    /// There is something to tell it.
    wake: Arc<Notify>,
}

impl Topics {
    /// Without stores.
    pub(crate) fn new() -> Self {
        Self::bounded(TOPICS_MAX)
    }

    fn bounded(topics_max: usize) -> Self {
        let state = State { topics: HashMap::new(), beyond: watch::Sender::new(0), feeds: Vec::new() };
        Self { state: Mutex::new(state), topics_max }
    }

    /// One store more; its place.
    pub(crate) fn add_store(&self) -> usize {
        let mut state = self.state.lock();
        state.feeds.push(Feed::default());
        state.feeds.len() - 1
    }

    /// Wakes when there is something to [`Self::take`] for a store.
    pub(crate) fn wake(&self, store: usize) -> Arc<Notify> {
        self.state.lock().feeds[store].wake.clone()
    }

    /// Wakes on each change of the topic, and once more when a store has begun to tell of it.
    pub(crate) fn watch(&self, topic: Topic) -> watch::Receiver<u64> {
        let mut state = self.state.lock();
        if let Some(sender) = state.topics.get(&topic) {
            return sender.subscribe();
        }
        if state.topics.len() >= self.topics_max {
            return state.beyond.subscribe();
        }
        let (sender, receiver) = watch::channel(0);
        state.topics.insert(topic, sender);
        state.tell(Wish::Subscribe(topic));
        receiver
    }

    /// A store has a stream: everything that it must be told, and from now on what is new.
    pub(crate) fn connected(&self, store: usize) -> Vec<Wish> {
        let mut state = self.state.lock();
        let feed = &mut state.feeds[store];
        (feed.connected, feed.wishes) = (true, Vec::new());
        state.topics.keys().map(|topic| Wish::Subscribe(*topic)).collect()
    }

    /// Its stream is gone.
    pub(crate) fn disconnected(&self, store: usize) {
        let feed = &mut self.state.lock().feeds[store];
        (feed.connected, feed.wishes) = (false, Vec::new());
    }

    /// What is new for a store.
    pub(crate) fn take(&self, store: usize) -> Vec<Wish> {
        std::mem::take(&mut self.state.lock().feeds[store].wishes)
    }

    /// A store says that a topic has changed.
    pub(crate) fn changed(&self, topic: Topic) {
        let mut state = self.state.lock();
        let Some(sender) = state.topics.get(&topic) else { return };
        if sender.receiver_count() > 0 {
            sender.send_modify(|count| *count += 1);
            return;
        }
        state.topics.remove(&topic);
        state.tell(Wish::Unsubscribe(topic));
    }

    /// Once a second: those beyond the bound are woken.
    pub(crate) fn tick(&self) {
        let state = self.state.lock();
        if state.beyond.receiver_count() > 0 {
            state.beyond.send_modify(|count| *count += 1);
        }
    }

    /// Forgets topics that nobody watches any more.
    pub(crate) fn sweep(&self) {
        let mut state = self.state.lock();
        let gone: Vec<Topic> =
            state.topics.iter().filter(|(_, sender)| sender.receiver_count() == 0).map(|(topic, _)| *topic).collect();
        for topic in &gone {
            state.topics.remove(topic);
            state.tell(Wish::Unsubscribe(*topic));
        }
    }
}

impl State {
    fn tell(&mut self, wish: Wish) {
        for feed in self.feeds.iter_mut().filter(|feed| feed.connected) {
            feed.wishes.push(wish);
            feed.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use securanet_model::AccountId;

    use super::*;

    fn account(id: u64) -> Topic {
        Topic::Account(AccountId::new(id))
    }

    fn of(stores: usize) -> Topics {
        let topics = Topics::new();
        (0..stores).for_each(|store| assert_eq!(topics.add_store(), store));
        topics
    }

    #[test]
    fn a_store_is_told_everything_when_it_comes_and_then_what_is_new() {
        let topics = of(2);
        let one = topics.watch(account(1));
        assert!(topics.take(0).is_empty(), "nothing gathers for a store that is not there");
        assert_eq!(topics.connected(0), [Wish::Subscribe(account(1))]);
        let two = topics.watch(account(2));
        let again = topics.watch(account(2));
        assert_eq!(topics.take(0), [Wish::Subscribe(account(2))]);
        assert_eq!(topics.take(1), []);
        drop((two, again));
        topics.sweep();
        assert_eq!(topics.take(0), [Wish::Unsubscribe(account(2))]);
        topics.disconnected(0);
        assert_eq!(topics.connected(0), [Wish::Subscribe(account(1))]);
        drop(one);
    }

    #[test]
    fn a_change_wakes_its_watchers_alone_and_each_waking_counts() {
        let topics = of(1);
        topics.connected(0);
        let (mut one, two) = (topics.watch(account(1)), topics.watch(account(2)));
        assert!(!one.has_changed().unwrap(), "nothing has changed yet");
        topics.changed(account(1));
        assert!(one.has_changed().unwrap() && !two.has_changed().unwrap());
        let before = *one.borrow_and_update();
        topics.changed(account(1));
        assert!(*one.borrow_and_update() > before);
    }

    #[test]
    fn a_topic_without_watchers_is_given_up_when_it_changes() {
        let topics = of(1);
        topics.connected(0);
        drop(topics.watch(account(1)));
        topics.take(0);
        topics.changed(account(1));
        assert_eq!(topics.take(0), [Wish::Unsubscribe(account(1))]);
        topics.changed(account(1));
        assert_eq!(topics.take(0), []);
    }

    #[test]
    fn beyond_the_bound_a_watcher_is_woken_too_often_rather_than_never() {
        let topics = Topics::bounded(1);
        let _held = topics.watch(account(1));
        let beyond = topics.watch(account(2));
        topics.tick();
        assert!(beyond.has_changed().unwrap());
    }
}
