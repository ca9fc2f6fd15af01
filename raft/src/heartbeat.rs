//! Heartbeats of all groups that a node leads, at the same time: what goes to one node then goes in one frame.
//!
//! openraft would send each group's in a time of its own, and an idle link would carry mostly the heads of frames. It can
//! be told when: so one clock beats for all groups, and each group's own task passes the beat on, so that a group that is
//! stuck holds up no other one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};

use crate::group::Group;

/// Beats until nobody listens any more.
pub(crate) async fn beat(every: Duration, beats: watch::Sender<()>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => beats.send_modify(|()| {}),
            () = beats.closed() => return,
        }
    }
}

/// Sends a group's heartbeats with each beat while it is led here, until openraft stops.
pub(crate) async fn follow(group: Arc<Group>, mut beats: watch::Receiver<()>) {
    while beats.changed().await.is_ok() {
        // Only openraft's end is an error.
        if group.raft.is_leader() && !group.is_alone() && group.raft.trigger().heartbeat().await.is_err() {
            return;
        }
        if group.has_stopped() {
            return;
        }
    }
}
