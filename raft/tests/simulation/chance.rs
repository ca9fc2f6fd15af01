//! Time and chance of a simulation's thread.
//!
//! Everything in the process asks the system for them by two functions of the C library. They are defined here, so that
//! a thread that simulates gets its own answers: numbers from its seed, and a clock that stands until the simulation
//! moves it. That reaches what no seam of ours could: the order in which a `HashMap` is walked, the branch that
//! `tokio::select!` looks at first, the election timeouts that openraft draws, every `Instant` in every library. Other
//! threads get what the kernel says.
//!
//! `std` keeps the keys of its hash maps for each thread, so each run has a thread of its own.
#![allow(unsafe_code, reason = "symbols of the C library are replaced")]

use std::{cell::Cell, time::Duration};

use rustix::{
    rand::GetRandomFlags,
    time::{ClockId, Timespec},
};

thread_local! {
    static STATE: Cell<Option<State>> = const { Cell::new(None) };
}

#[derive(Clone, Copy)]
struct State {
    random: u64,
    elapsed: Duration,
    wall: Duration,
}

/// When simulations begin, by the wall clock, in seconds since 1970.
const EPOCH_SECONDS: u64 = 1_800_000_000;

/// From now on this thread lives in a simulation.
pub(crate) fn simulate(seed: u64) {
    let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    STATE.set(Some(State { random, elapsed: Duration::from_secs(1000), wall: Duration::from_secs(EPOCH_SECONDS) }));
}

/// Moves the clocks of this thread.
pub(crate) fn advance(by: Duration) {
    if let Some(state) = STATE.get() {
        STATE.set(Some(State { elapsed: state.elapsed + by, wall: state.wall + by, ..state }));
    }
}

/// Moves the wall clock of this thread alone.
pub(crate) fn jump(by: Duration) {
    if let Some(state) = STATE.get() {
        STATE.set(Some(State { wall: state.wall + by, ..state }));
    }
}

/// Whether this thread lives in a simulation.
pub(crate) fn is_simulated() -> bool {
    STATE.get().is_some()
}

/// xorshift64*.
fn next(mut state: State) -> u64 {
    state.random ^= state.random >> 12;
    state.random ^= state.random << 25;
    state.random ^= state.random >> 27;
    STATE.set(Some(state));
    state.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

/// # Safety
/// As the C library's: `buffer` has `length` octets.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    // SAFETY: the caller says so.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
    if STATE.get().is_none() {
        let got = rustix::rand::getrandom(buffer, GetRandomFlags::from_bits_retain(flags));
        return got.map_or(-1, |length| length as isize);
    }
    for piece in buffer.chunks_mut(8) {
        if let Some(state) = STATE.get() {
            piece.copy_from_slice(&next(state).to_le_bytes()[..piece.len()]);
        }
    }
    length as isize
}

/// # Safety
/// As the C library's: `out` is a `timespec`.
#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: i32, out: *mut Timespec) -> i32 {
    let simulated = STATE.get().map(|state| if clock == 0 { state.wall } else { state.elapsed });
    let now = match simulated {
        Some(now) => Timespec { tv_sec: now.as_secs() as i64, tv_nsec: now.subsec_nanos().into() },
        None => rustix::time::clock_gettime(match clock {
            0 => ClockId::Realtime,
            2 => ClockId::ProcessCPUTime,
            3 => ClockId::ThreadCPUTime,
            4 => ClockId::MonotonicRaw,
            5 => ClockId::RealtimeCoarse,
            6 => ClockId::MonotonicCoarse,
            7 => ClockId::Boottime,
            _ => ClockId::Monotonic,
        }),
    };
    // SAFETY: the caller says so.
    unsafe { out.write(now) };
    0
}
