//! Appends and heartbeats, and what is answered.

use std::collections::HashMap;

use prost::bytes::Bytes;
use securanet_model::{GroupId, UnixMillis};

use super::{Ballot, Position, ballot, hello_from_wire, hello_to_wire, proto, reason};
use crate::WireError;

/// Entries of one append.
const ENTRIES_MAX: usize = 1024;
/// Replicas that one append is for.
const TARGETS_MAX: usize = 16;
/// Groups whose last append is remembered; what others repeat is sent whole.
const GROUPS_MAX: usize = 4096;
/// Appends of one frame, and replies of one.
const APPENDS_MAX: usize = 4096;

/// Appends that travel together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AppendFrame {
    /// The node that speaks; in the first frame of a stream.
    pub node: Option<String>,
    /// The appends.
    pub appends: Vec<Append>,
    /// Asks for the receiver's wall clock: a number that its answer has again.
    pub clock_asked: Option<u64>,
}

/// Entries for a log, or none: a heartbeat.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Append {
    /// Which session of the connection.
    pub session: u64,
    /// Whose log.
    pub group: GroupId,
    /// The replicas that it is for: one to sixteen.
    pub targets: Vec<u64>,
    /// The leader.
    pub vote: Ballot,
    /// The entry before the first of these.
    pub previous: Option<Position>,
    /// Rows of the log.
    pub entries: Vec<Bytes>,
    /// How far the group has committed.
    pub commit: Option<Position>,
}

impl Append {
    /// Octets of its entries.
    #[must_use]
    pub fn entries_bytes(&self) -> usize {
        self.entries.iter().map(Bytes::len).sum()
    }
}

/// An answer to an append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppendReply {
    /// The append's session.
    pub session: u64,
    /// The replica that answers.
    pub replica: u64,
    /// What it says.
    pub outcome: Outcome,
}

/// What became of an append.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The log is the leader's up to here, durably.
    Matched(Option<Position>),
    /// The entry before those sent is not here.
    Conflict(Position),
    /// There is a later leader or candidate.
    HigherVote(Ballot),
    /// It was not looked at, and why.
    Refused(String),
    /// It waits for blobs.
    Waiting {
        /// How many it names.
        blobs: u64,
    },
    /// What a frame asked for, whatever its appends: session and replica are 0.
    Clock {
        /// The number of the question.
        asked: u64,
        /// The receiver's wall clock.
        wall: UnixMillis,
    },
}

/// The last append of each group on a stream: what is the same again is not sent again. Each end has one.
#[derive(Debug, Default)]
pub struct Repeated(HashMap<GroupId, Append>);

impl Repeated {
    fn shorten(&mut self, append: Append) -> proto::Append {
        let (session, group) = (append.session, append.group);
        if !append.entries.is_empty() {
            self.0.remove(&group);
            return append_to_wire(append);
        }
        let repeats =
            self.0.get(&group).is_some_and(|last| *last == Append { session: last.session, ..append.clone() });
        if repeats {
            return proto::Append { session, group: group.get(), repeats, ..proto::Append::default() };
        }
        if self.0.len() < GROUPS_MAX || self.0.contains_key(&group) {
            self.0.insert(group, append.clone());
        }
        append_to_wire(append)
    }

    fn restore(&mut self, append: proto::Append) -> Result<Append, WireError> {
        if append.repeats {
            let last = self.0.get(&GroupId::new(append.group)).ok_or(WireError::Field("repeats: there was none"))?;
            return Ok(Append { session: append.session, ..last.clone() });
        }
        let append = append_from_wire(append)?;
        if !append.entries.is_empty() {
            self.0.remove(&append.group);
        } else if self.0.len() < GROUPS_MAX || self.0.contains_key(&append.group) {
            self.0.insert(append.group, append.clone());
        }
        Ok(append)
    }
}

fn append_to_wire(append: Append) -> proto::Append {
    proto::Append {
        session: append.session,
        group: append.group.get(),
        targets: append.targets,
        vote: Some(append.vote.into()),
        previous: append.previous.map(Into::into),
        entries: append.entries,
        commit: append.commit.map(Into::into),
        repeats: false,
    }
}

/// A frame as it travels.
#[must_use]
pub fn frame_to_wire(frame: AppendFrame, repeated: &mut Repeated) -> proto::AppendFrame {
    proto::AppendFrame {
        hello: frame.node.as_deref().map(hello_to_wire),
        appends: frame.appends.into_iter().map(|append| repeated.shorten(append)).collect(),
        clock_asked: frame.clock_asked,
        ..proto::AppendFrame::default()
    }
}

/// A frame from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn frame_from_wire(frame: proto::AppendFrame, repeated: &mut Repeated) -> Result<AppendFrame, WireError> {
    if !frame.packed.is_empty() {
        return Err(WireError::Field("packed: it is not unpacked"));
    }
    if frame.appends.len() > APPENDS_MAX {
        return Err(WireError::Field("appends: too many in one frame"));
    }
    let node = frame.hello.map(|hello| hello_from_wire(Some(hello))).transpose()?;
    let appends = frame.appends.into_iter().map(|append| repeated.restore(append)).collect::<Result<_, _>>()?;
    Ok(AppendFrame { node, appends, clock_asked: frame.clock_asked })
}

fn append_from_wire(append: proto::Append) -> Result<Append, WireError> {
    if append.targets.is_empty() || append.targets.len() > TARGETS_MAX {
        return Err(WireError::Field("targets"));
    }
    if append.entries.len() > ENTRIES_MAX {
        return Err(WireError::Field("entries: too many in one append"));
    }
    Ok(Append {
        session: append.session,
        group: GroupId::new(append.group),
        targets: append.targets,
        vote: ballot(append.vote)?,
        previous: append.previous.map(Into::into),
        entries: append.entries,
        commit: append.commit.map(Into::into),
    })
}

/// Replies as they travel.
#[must_use]
pub fn replies_to_wire(replies: Vec<AppendReply>) -> proto::ReplyFrame {
    use proto::append_reply::Outcome as Wire;
    let reply = |AppendReply { session, replica, outcome }: AppendReply| {
        let outcome = match outcome {
            Outcome::Matched(upto) => Wire::Matched(proto::Matched { upto: upto.map(Into::into) }),
            Outcome::Conflict(position) => Wire::Conflict(position.into()),
            Outcome::HigherVote(vote) => Wire::HigherVote(vote.into()),
            Outcome::Refused(why) => Wire::Refused(reason(why)),
            Outcome::Waiting { blobs } => Wire::Waiting(proto::Waiting { blobs }),
            Outcome::Clock { asked, wall } => Wire::Clock(proto::Clock { asked, unix_millis: wall.get() }),
        };
        proto::AppendReply { session, replica, outcome: Some(outcome) }
    };
    proto::ReplyFrame { replies: replies.into_iter().map(reply).collect(), ..proto::ReplyFrame::default() }
}

/// Replies from a peer.
///
/// # Errors
/// [`WireError`] names the field.
pub fn replies_from_wire(frame: proto::ReplyFrame) -> Result<Vec<AppendReply>, WireError> {
    use proto::append_reply::Outcome as Wire;
    if frame.replies.len() > APPENDS_MAX {
        return Err(WireError::Field("replies: too many in one frame"));
    }
    let reply = |proto::AppendReply { session, replica, outcome }: proto::AppendReply| {
        let outcome = match outcome.ok_or(WireError::Missing("outcome"))? {
            Wire::Matched(matched) => Outcome::Matched(matched.upto.map(Into::into)),
            Wire::Conflict(position) => Outcome::Conflict(position.into()),
            Wire::HigherVote(vote) => Outcome::HigherVote(vote.into()),
            Wire::Refused(why) => Outcome::Refused(reason(why)),
            Wire::Waiting(waiting) => Outcome::Waiting { blobs: waiting.blobs },
            Wire::Clock(clock) => Outcome::Clock { asked: clock.asked, wall: UnixMillis::new(clock.unix_millis) },
        };
        Ok(AppendReply { session, replica, outcome })
    };
    frame.replies.into_iter().map(reply).collect()
}
