//! Ports for nodes: known before a node starts, and never given to somebody else while it is down.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below what connections going out get; each test process has a stretch of its own.
const FIRST: u16 = 20_000;
const STRETCH: u16 = 64;
const STRETCHES: u32 = 180;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port that nobody has and that this process has not given out before.
///
/// # Panics
/// When none is left.
pub fn free_port() -> u16 {
    let stretch = u16::try_from(std::process::id() % STRETCHES).expect("a small number");
    loop {
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        assert!(number < STRETCH, "no free port is left");
        let port = FIRST + stretch * STRETCH + number;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
