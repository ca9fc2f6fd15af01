//! The kinds of faults.

use anyhow::Context;

/// What may be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// SIGKILL, and later a start.
    Kill,
    /// SIGTERM, and a start.
    Restart,
    /// SIGSTOP, and later SIGCONT.
    Pause,
    /// A store is told to give its work away, and later to do it again: leaders move, members change.
    Drain,
    /// A site is cut off from all others.
    Isolate,
    /// The sites fall into two halves.
    Halves,
    /// Each site hears its two neighbours in a ring only.
    Ring,
    /// Two sites do not hear each other; others hear both.
    Cut,
    /// A site does not hear another one, and is heard.
    OneWay,
    /// Nothing passes between two sites, and nothing is lost.
    Stall,
    /// Between two sites it is far, and the pipe is narrow.
    Slow,
}

/// All kinds.
pub const KINDS: [Kind; 11] = [
    Kind::Kill,
    Kind::Restart,
    Kind::Pause,
    Kind::Drain,
    Kind::Isolate,
    Kind::Halves,
    Kind::Ring,
    Kind::Cut,
    Kind::OneWay,
    Kind::Stall,
    Kind::Slow,
];

impl Kind {
    /// By its name in lower case.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn parse(name: &str) -> anyhow::Result<Self> {
        let known = KINDS.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(name));
        known.with_context(|| format!("there is no fault {name}; there are {KINDS:?}"))
    }

    /// Whether it is something of its own among so many stores and sites.
    pub(super) fn makes_sense(self, stores: usize, sites: usize) -> bool {
        match self {
            Self::Drain => stores >= 3,
            Self::Halves | Self::Ring => sites >= 4,
            Self::Isolate | Self::Cut | Self::OneWay | Self::Stall | Self::Slow => sites >= 2,
            Self::Kill | Self::Restart | Self::Pause => true,
        }
    }
}
