//! The program that operators try failures out with.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use securanet_tests::dialogue::Dialogue;

const PATIENCE: Duration = Duration::from_secs(90);

/// The program, with its input and its lines.
struct Program {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    fn start(words: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sites"));
        let mut child = command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (say, lines) = channel();
        thread::spawn(move || BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        Self { child, input, lines }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Reads on to a line with this in it.
    fn await_line(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line with {part:?} came"));
            if line.contains(part) {
                return line;
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.say("quit");
        self.child.wait().ok();
    }
}

#[test]
fn an_operator_cuts_and_heals_links_and_kills_and_starts_nodes() {
    let mut program = Program::start(&["--account", "zoe", "north=a:store", "south=b:gateway"]);
    let gateway = program.await_line("south    b        Gateway  Up");
    let imap = gateway.split("imap ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    Dialogue::imap(imap, "zoe").unwrap().imap_ok("SELECT INBOX").unwrap();
    program.say("latency north south 40 5");
    program.await_line("2 wires");
    program.say("status");
    program.await_line("b to a: open, 40 ms");
    program.say("cut north south");
    program.await_line("2 wires");
    program.say("wait 4");
    program.say("cli b status");
    program.await_line("!! store 127.0.0.1");
    program.say("bytes");
    let bytes = program.await_line("south to north");
    assert!(!bytes.contains(" 0 put in") && !bytes.ends_with(" 0 lost"), "{bytes}");
    program.say("heal");
    program.await_line("all links pass");
    program.say("pause a");
    program.await_line("a stands still");
    program.say("status");
    program.await_line("Paused");
    program.say("resume a");
    program.say("kill a");
    program.await_line("a is gone");
    program.say("start a");
    program.await_line("a listens");
    program.say("kill nobody");
    program.await_line("there is no node nobody; there are a, b");
    program.say("cut north moon");
    program.await_line("there is no link between north and moon");
    program.say("dance");
    program.await_line("\"dance\" is no command");
}

#[test]
fn it_explains_itself() {
    let output = Command::new(env!("CARGO_BIN_EXE_sites")).arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["latency", "cut SITE > SITE", "heal", "kill NODE", "--account"] {
        assert!(text.contains(word), "{word} is not explained:\n{text}");
    }
}
