//! Promise P1 on the level of system calls: no acknowledgement leaves before the fdatasync that covers its entry.
//!
//! A SIGKILL keeps the page cache, so it proves nothing about syncs. This test reads the order of system calls.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, fs};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, Server},
};

/// One system call of the trace.
struct Call {
    /// When it began, in microseconds.
    began: u64,
    /// When it ended.
    ended: u64,
    text: String,
}

fn micros(text: &str) -> u64 {
    let (seconds, fraction) = text.split_once('.').expect("a time");
    seconds.parse::<u64>().expect("seconds") * 1_000_000 + fraction.parse::<u64>().expect("microseconds")
}

/// Reads a trace of `strace -f -ttt -T`; a call that was interrupted by another thread's is put together again.
fn calls(trace: &str) -> Vec<Call> {
    let mut open = BTreeMap::<&str, (u64, String)>::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let Some((time, call)) = rest.trim_start().split_once(' ') else { continue };
        if !time.contains('.') {
            continue;
        }
        let time = micros(time);
        if let Some((head, _)) = call.split_once(" <unfinished ...>") {
            open.insert(thread, (time, head.to_owned()));
        } else if call.starts_with("<...") {
            if let Some((began, head)) = open.remove(thread) {
                calls.push(Call { began, ended: time + took(call), text: format!("{head} {call}") });
            }
        } else {
            calls.push(Call { began: time, ended: time + took(call), text: call.to_owned() });
        }
    }
    calls
}

/// The `<0.000123>` at the end of a line, in microseconds.
fn took(call: &str) -> u64 {
    call.rsplit_once('<')
        .and_then(|(_, end)| end.strip_suffix('>'))
        .map_or(0, |text| if text.contains('.') { micros(text) } else { 0 })
}

/// The message's bytes came in, then a sync of the log began and ended, then the acknowledgement left.
fn assert_synced(calls: &[Call], incoming: &str, outgoing: &str, what: &str) {
    let first = |find: &str, names: &[&str], after: u64| {
        calls.iter().find(|call| {
            call.began >= after && names.iter().any(|name| call.text.starts_with(name)) && call.text.contains(find)
        })
    };
    let came = first(incoming, &["read", "recv"], 0).unwrap_or_else(|| panic!("{what}: {incoming:?} was never read"));
    let left = first(outgoing, &["write", "send"], came.began)
        .unwrap_or_else(|| panic!("{what}: {outgoing:?} was never written"));
    let synced = calls.iter().any(|call| {
        (call.text.starts_with("fdatasync") || call.text.starts_with("fsync"))
            && call.began >= came.began
            && call.ended <= left.began + 1
    });
    assert!(synced, "P1: {what}: {outgoing:?} left before any sync that began after {incoming:?} had come");
}

#[test]
fn p1_no_acknowledgement_leaves_before_its_sync() {
    let trace_file = std::env::temp_dir().join(format!("securanet-strace-{}", std::process::id()));
    let wrapper = ["strace", "-f", "-ttt", "-T", "-s", "256", "-e"].map(str::to_owned).into_iter().chain([
        "trace=read,readv,recvfrom,recvmsg,write,writev,sendto,sendmsg,fdatasync,fsync".to_owned(),
        "-o".to_owned(),
        trace_file.display().to_string(),
    ]);
    let options = Options { wrapper: wrapper.collect(), ..Options::default() };
    let mut server = Server::start_with(options, &["ann"]).unwrap();

    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    let message = "Subject: x\r\nMessage-ID: <strace-1@x.example>\r\n\r\nMARK-SMTP\r\n";
    assert!(smtp.deliver("s@x.example", &["ann"], message).unwrap().starts_with("250"));
    let mut imap = Dialogue::imap(server.address("imap"), "ann").unwrap();
    imap.imap_ok("SELECT INBOX").unwrap();
    assert!(imap.append("INBOX", b"Subject: y\r\n\r\nMARK-APPEND\r\n").unwrap().starts_with("OK"));
    imap.imap_ok("STORE 1 +FLAGS (MARK-STORE)").unwrap();
    let mut pop3 = Dialogue::pop3(server.address("pop3"), "ann").unwrap();
    pop3.pop3_ok("DELE 1").unwrap();
    pop3.pop3_ok("QUIT").unwrap();
    server.terminate().unwrap();

    let trace = fs::read_to_string(&trace_file).unwrap();
    fs::remove_file(&trace_file).unwrap();
    let calls = calls(&trace);
    assert_synced(&calls, "MARK-SMTP", "250 2.0.0", "SMTP");
    assert_synced(&calls, "MARK-APPEND", "APPENDUID", "IMAP APPEND");
    assert_synced(&calls, "MARK-STORE", " OK ", "IMAP STORE");
    assert_synced(&calls, "QUIT", "+OK", "POP3 QUIT");
}
