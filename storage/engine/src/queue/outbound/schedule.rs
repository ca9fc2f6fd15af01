//! When a recipient is tried again. Pure: an outcome, a schedule and what was counted before in; what next out.
//!
//! # What counts
//!
//! | outcome | counts | next |
//! |---|---|---|
//! | delivered | nothing | none |
//! | permanent | nothing | none: failed at once |
//! | temporary (answer, connection, DNS, TLS) | a general failure | the pause of that count in `retry_after` |
//! | no such domain | a failure of its own kind | the pause of that count in `no_such_domain_retry_after` |
//! | not tried | nothing: it was our fault | when it says, 1 s to 1 h later |
//! | uncertain, for the first time | nothing | [`DOUBT_MILLIS`] after the final dot |
//! | uncertain again | a general failure | the later of both: a remote that never answers the dot must not get the message without end |
//!
//! The first attempt and one more for each pause: with the default schedule five in all. The failure for which
//! there is no pause left is the end.
//!
//! **Switching kinds.** General failures and "no such domain" are counted apart, and each has its own pauses: a
//! domain that vanishes in the second day of a general delay gets all its own retries, in an hour, and then the
//! end; one whose name comes back but whose hosts are down begins the general schedule from its first pause. What a
//! kind has used up it does not get back, so there are never more attempts than both schedules have together.
//!
//! **Outside the schedule.** An attempt that an operator or a probe's success brought forward has a `resume` time: when
//! it fails for a while before that time, it counts nothing and goes on then, as if it had not been made.
//! Otherwise a host that comes and goes would use up four days of retries in two hours.
//!
//! **RFC 2852.** With "return", nothing waits beyond the deadline: whatever is due later is due then, and taking it
//! at that time ends it (see [`super::take`]).

use securanet_model::{
    UnixMillis,
    outbound::{Outcome, Schedule},
};

use super::rows::Recipient;

/// RFC 5321 4.5.3.2.6 lets a server take ten minutes to answer the final dot; one more is for clocks and queues.
pub(super) const DOUBT_MILLIS: u64 = 11 * 60 * 1000;
/// Pauses that a schedule may have; what is behind them is not used.
const PAUSES_MAX: usize = 32;
/// Longest time until something that was not tried is tried again, in seconds.
const NOT_TRIED_SECONDS_MAX: u32 = 3600;

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// The remote has it.
    Delivered {
        /// It tells the sender.
        notifies: bool,
    },
    /// No try is left, or none can help.
    Failed,
    /// Tried again then.
    Again(UnixMillis),
}

/// Counts an outcome and says what comes next. `now` is the end of the attempt, `sent` when its final dot was
/// allowed (or `now`).
pub(super) fn next(
    row: &mut Recipient,
    outcome: Outcome,
    schedule: &Schedule,
    now: UnixMillis,
    sent: UnixMillis,
) -> Next {
    let resume = row.resume.filter(|resume| *resume > now);
    let in_doubt_until = sent.plus_millis(DOUBT_MILLIS);
    let next = match outcome {
        Outcome::Delivered { .. } | Outcome::Expanded => Next::Delivered { notifies: outcome.is_told_elsewhere() },
        Outcome::Permanent => Next::Failed,
        Outcome::NotTried { again_after } => {
            return Next::Again(limit(row, now.plus_millis(millis(again_after.clamp(1, NOT_TRIED_SECONDS_MAX)))));
        }
        // The caller has counted this one already.
        Outcome::Uncertain if row.uncertain < 2 => Next::Again(in_doubt_until),
        Outcome::Uncertain => match pause(&mut row.failures, &schedule.retry_after, now) {
            Next::Again(due) => Next::Again(due.max(in_doubt_until)),
            next => next,
        },
        Outcome::NoSuchDomain
        | Outcome::TemporaryAnswer
        | Outcome::TemporaryConnection
        | Outcome::TemporaryDns
        | Outcome::TemporaryTls => match resume {
            Some(resume) => Next::Again(resume),
            None if outcome == Outcome::NoSuchDomain => {
                pause(&mut row.no_such_domain, &schedule.no_such_domain_retry_after, now)
            }
            None => pause(&mut row.failures, &schedule.retry_after, now),
        },
    };
    row.resume = None;
    match next {
        Next::Again(due) => Next::Again(limit(row, due)),
        next => next,
    }
}

/// When the sender is told of the delay, after a failure: `warn_after` from the message's coming, but never in the
/// past; at once when the domain does not exist, because its retries are over in an hour. `None`: never.
pub(super) fn warn_at(
    outcome: Outcome,
    schedule: &Schedule,
    queued: UnixMillis,
    now: UnixMillis,
) -> Option<UnixMillis> {
    match (outcome, schedule.warn_after) {
        (_, 0) => None,
        (Outcome::NoSuchDomain, _) => Some(now),
        (_, seconds) => Some(queued.plus_millis(millis(seconds)).max(now)),
    }
}

/// A due time that an RFC 2852 deadline allows.
pub(super) fn limit(row: &Recipient, due: UnixMillis) -> UnixMillis {
    row.return_by.map_or(due, |by| due.min(by))
}

fn pause(counted: &mut u32, pauses: &[u32], now: UnixMillis) -> Next {
    let used = *counted as usize;
    *counted = counted.saturating_add(1);
    let pause = pauses.iter().take(PAUSES_MAX).nth(used);
    pause.map_or(Next::Failed, |seconds| Next::Again(now.plus_millis(millis(*seconds))))
}

fn millis(seconds: u32) -> u64 {
    u64::from(seconds) * 1000
}
