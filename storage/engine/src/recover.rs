//! A group that was rebuilt from what one replica had (`securanet group recover`).
//!
//! The lost tail of its log may have given out numbers that others still hold: clients UIDs and email ids, target groups
//! delivery keys, gateways places in the outbound queue and leases, nodes replica ids. Nothing may get one of these again,
//! so every counter jumps further than any tail can have counted. Jumping twice does no harm.

use securanet_model::{Reply, UnixMillis, request::Recover};

use crate::{EngineError, account, directory, queue, tx::Tx};

/// Further than any log that is kept counts: its retention is a day.
pub(crate) const JUMP: u64 = 1 << 32;
/// The same where numbers have 32 bits and are given out at human rate.
pub(crate) const JUMP_SMALL: u32 = 1 << 16;

/// Applies one part of it; the caller has checked what kind of group this is.
pub(crate) fn apply(tx: &mut Tx<'_>, clock: UnixMillis, recover: &Recover) -> Result<Reply, EngineError> {
    let mailboxes = match recover {
        Recover::Directory { lost } => {
            directory::recover(tx, lost)?;
            0
        }
        Recover::Queues { shards } => {
            queue::recover(tx, clock, *shards)?;
            0
        }
        Recover::Accounts { first, last } => account::recover(tx, clock, (*first, *last))?,
    };
    Ok(Reply::Recovered { mailboxes })
}

#[cfg(test)]
mod tests;
