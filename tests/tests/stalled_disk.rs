//! A disk that does not answer: nobody is told that mail was kept, reads go on, and what was refused comes again and
//! is kept once.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use securanet_tests::{
    dialogue::Dialogue,
    server::{Options, Server},
};

/// How long each thread's next sync takes: longer than anybody waits for a commit (30 s), and than the second attempt
/// needs to come.
const STALL_MICROS: u64 = 38_000_000;

fn message(id: &str) -> String {
    format!("Subject: x\r\nMessage-ID: <{id}@x.example>\r\n\r\nbody of {id}\r\n")
}

/// Runs the server; once the file is there, its syncs stall. The tracer is the server's parent, because where a kernel
/// is strict about tracing only ancestors may.
fn stalling(flag: &str) -> Vec<String> {
    let script = format!(
        "\"$@\" & server=$!; until [ -e {flag} ]; do sleep 0.05; done; exec strace -f -qq -o {flag}.trace -p $server \
         -e trace=fdatasync,fsync -e inject=fdatasync,fsync:delay_enter={STALL_MICROS}:when=1"
    );
    ["sh", "-c", &script, "sh"].map(str::to_owned).into()
}

/// Until the tracer has found every thread of the server.
fn wait_until_traced(server: &Server) {
    let start = Instant::now();
    let tasks = format!("/proc/{}/task", server.process_id());
    let traced = || {
        fs::read_dir(&tasks).unwrap().all(|task| {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0")
        })
    };
    while !traced() {
        assert!(start.elapsed() < Duration::from_secs(20), "strace cannot trace the server");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn without_a_commit_in_30_seconds_mail_is_refused_for_now_and_its_repeat_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let flag = folder.path().join("stall");
    let options = Options { wrapper: stalling(&flag.display().to_string()), ..Options::default() };
    let server = Server::start_with(options, &["ann", "bob"]).unwrap();
    let mut smtp = Dialogue::smtp(server.address("smtp"), "EHLO").unwrap();
    assert!(smtp.deliver("s@x.example", &["ann"], &message("before")).unwrap().starts_with("250"));
    let mut reader = Dialogue::imap(server.address("imap"), "ann").unwrap();
    let mut writer = Dialogue::imap(server.address("imap"), "bob").unwrap();
    fs::write(&flag, "").unwrap();
    wait_until_traced(&server);

    let refused = |reply: &str, begun: Instant, what: &str| {
        let took = begun.elapsed().as_secs();
        assert!((25..36).contains(&took), "{what} was answered {reply:?} after {took} s");
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            let reply = smtp.deliver("s@x.example", &["ann"], &message("stalled")).unwrap();
            assert!(reply.starts_with("451 4.3.0"), "{reply}");
            refused(&reply, begun, "DATA");
        });
        scope.spawn(|| {
            let begun = Instant::now();
            let reply = writer.append("INBOX", message("appended").as_bytes()).unwrap();
            assert!(reply.starts_with("NO [UNAVAILABLE]"), "{reply}");
            refused(&reply, begun, "APPEND");
        });
        thread::sleep(Duration::from_secs(1));
        let begun = Instant::now();
        let selected = reader.imap_ok("SELECT INBOX").unwrap();
        assert!(selected.contains(&"* 1 EXISTS".to_owned()), "{selected:?}");
        assert!(reader.fetch_message(1).unwrap().ends_with(b"body of before\r\n"));
        assert!(begun.elapsed() < Duration::from_secs(5), "reading waited for the disk: {:?}", begun.elapsed());
    });

    // The sender comes again, as it was told. Its first attempt may have been in the log all the time.
    let reply = smtp.deliver("s@x.example", &["ann"], &message("stalled")).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let lines = reader.imap_ok("NOOP").unwrap();
    assert!(lines.contains(&"* 2 EXISTS".to_owned()), "{lines:?}");
    assert!(reader.fetch_message(2).unwrap().ends_with(b"body of stalled\r\n"));
    assert!(server.cli(&["scrub"], "").unwrap().contains(" 0 findings"));
}
