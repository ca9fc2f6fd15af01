//! The kinds of faults.

use anyhow::Context;

use super::super::sites::Sites;

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
    /// A group's leader is told to let another voter lead.
    Lead,
    /// A further store comes in, and later is taken out for good.
    Join,
    /// A store loses its disk, and comes back empty in its old place.
    Replace,
    /// A store's disk is full, and later has room again.
    Full,
    /// The wall clock of a node that is a gateway alone jumps by ten minutes, either way, and later back.
    Skew,
    /// The same of a store.
    SkewStore,
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
pub const KINDS: [Kind; 17] = [
    Kind::Kill,
    Kind::Restart,
    Kind::Pause,
    Kind::Drain,
    Kind::Lead,
    Kind::Join,
    Kind::Replace,
    Kind::Full,
    Kind::Skew,
    Kind::SkewStore,
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

    /// Whether it is something of its own among these nodes.
    pub(super) fn makes_sense(self, sites: &Sites) -> bool {
        let (stores, places) = (sites.stores().count(), sites.sites().len());
        match self {
            Self::Drain | Self::Lead | Self::SkewStore | Self::Replace => stores >= 3,
            Self::Join => stores >= 3 && sites.all_nodes().any(|node| !node.is_member()),
            Self::Full => stores >= 3 && sites.all_nodes().any(|node| node.disk().is_some()),
            Self::Skew => sites.nodes().any(|node| !node.role.is_store()),
            Self::Halves | Self::Ring => places >= 4,
            Self::Isolate | Self::Cut | Self::OneWay | Self::Stall | Self::Slow => places >= 2,
            Self::Kill | Self::Restart | Self::Pause => true,
        }
    }

    /// Whether a second fault may come on top of it: not where a store may have given its votes away, or has nothing yet.
    pub(super) fn bears_another(self) -> bool {
        !matches!(self, Self::Drain | Self::Join | Self::Replace)
    }
}
