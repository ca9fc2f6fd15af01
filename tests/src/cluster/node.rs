//! One node: a process that may be killed, paused and started again while others use it.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use super::{http::Api, small_disk::SmallDisk};
use crate::server::{binary, make_certificate, run};

/// Starting takes longest when a machine with two cores compiles beside the tests.
pub const START_PATIENCE: Duration = Duration::from_secs(60);
/// For a signal to have its effect.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);
/// For the CLI at a node that may be cut off.
const CLI_SECONDS: &str = "60";
/// For what a node has counted; it may be very busy.
const METRICS_PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);
const LOG_END_BYTES: u64 = 4096;
/// Of a failed run's logs.
const LOG_LINES: usize = 40;

/// What a node does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It keeps.
    Store,
    /// It serves clients.
    Gateway,
    /// Both in one process.
    Both,
}

impl Role {
    /// Whether it keeps.
    #[must_use]
    pub fn is_store(self) -> bool {
        self != Self::Gateway
    }

    /// Whether it serves clients.
    #[must_use]
    pub fn is_gateway(self) -> bool {
        self != Self::Store
    }
}

/// How a node's process is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// There is none.
    Down,
    /// It exists and takes nothing in yet.
    Starting,
    /// It serves.
    Up,
    /// SIGSTOP holds it.
    Paused,
}

/// A node.
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    /// Where it stands.
    pub site: String,
    /// What it does.
    pub role: Role,
    folder: TempDir,
    child: Mutex<Option<Child>>,
    /// Words before the command that runs it.
    wrapper: Mutex<Vec<String>>,
    /// Whether it is part of the cluster: others are spare.
    is_member: AtomicBool,
    /// Whether its machine is in trouble, so that it need not serve.
    is_unwell: AtomicBool,
    /// Its data directory is a disk of its own.
    disk: Mutex<Option<SmallDisk>>,
    /// What its processes counted that have ended.
    counted: Mutex<BTreeMap<String, f64>>,
}

impl Node {
    /// A node that does not run yet, with a folder and a certificate for its clients.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new(name: &str, site: &str, role: Role) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("securanet-{name}-")).tempdir()?;
        make_certificate(folder.path())?;
        Ok(Self {
            name: name.to_owned(),
            site: site.to_owned(),
            role,
            folder,
            child: Mutex::default(),
            wrapper: Mutex::default(),
            is_member: AtomicBool::new(true),
            is_unwell: AtomicBool::new(false),
            disk: Mutex::default(),
            counted: Mutex::default(),
        })
    }

    /// Its data directory becomes a disk of its own of this size.
    ///
    /// # Errors
    /// When this machine does not let us mount.
    pub fn give_disk(&self, bytes: u64) -> anyhow::Result<()> {
        *self.disk.lock().unwrap() = Some(SmallDisk::mount(self.data(), bytes)?);
        Ok(())
    }

    /// The size of its disk, when its data directory is one.
    pub fn disk(&self) -> Option<u64> {
        self.disk.lock().unwrap().as_ref().map(SmallDisk::bytes)
    }

    /// Whether its machine is in trouble: its disk is full, or its clock is wrong.
    pub fn is_unwell(&self) -> bool {
        self.is_unwell.load(Ordering::SeqCst)
    }

    /// From now on it is, or is not.
    pub fn set_unwell(&self, is_unwell: bool) {
        self.is_unwell.store(is_unwell, Ordering::SeqCst);
    }

    /// From the next start on it runs under this command.
    pub fn wrap(&self, words: Vec<String>) {
        *self.wrapper.lock().unwrap() = words;
    }

    /// Whether it is part of the cluster.
    pub fn is_member(&self) -> bool {
        self.is_member.load(Ordering::SeqCst)
    }

    /// From now on it is part of the cluster, or is not.
    pub fn set_member(&self, is_member: bool) {
        self.is_member.store(is_member, Ordering::SeqCst);
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its node file.
    pub fn config(&self) -> PathBuf {
        self.folder().join("node.toml")
    }

    /// Writes its node file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_config(&self, text: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.config(), text)?)
    }

    /// What it has logged in all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("log")).unwrap_or_default()
    }

    /// The last lines of it; the first of them may lack its beginning.
    pub fn log_end(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = fs::File::open(self.folder().join("log"))?;
            let octets = file.metadata()?.len();
            file.seek(SeekFrom::Start(octets.saturating_sub(LOG_END_BYTES)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok(end)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// Starts its process and does not wait for anything.
    ///
    /// # Errors
    /// When it runs already, or cannot.
    pub fn launch(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().unwrap();
        ensure!(child.is_none(), "{} runs already", self.name);
        fs::remove_file(self.addresses_file()).ok();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder().join("log"))?;
        let mut words = self.wrapper.lock().unwrap().clone();
        words.push(binary().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("run").arg("--config").arg(self.config());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        *child = Some(command.spawn().with_context(|| self.name.clone())?);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends, or is not ready in time.
    pub fn start(&self) -> anyhow::Result<()> {
        self.launch()?;
        self.await_ready(START_PATIENCE)
    }

    /// Waits until it listens.
    ///
    /// # Errors
    /// When it has ended, or does not in time.
    pub fn await_ready(&self, patience: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while !self.addresses_file().exists() {
            let mut child = self.child.lock().unwrap();
            let Some(running) = child.as_mut() else { bail!("{} does not run", self.name) };
            if let Some(status) = running.try_wait()? {
                *child = None;
                bail!("{} ended with {status}:\n{}", self.name, self.log());
            }
            drop(child);
            ensure!(start.elapsed() < patience, "{} is not ready after {patience:?}:\n{}", self.name, self.log());
            sleep(LOOK);
        }
        Ok(())
    }

    /// Where it keeps what it keeps, if it does.
    pub fn data(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// Where it writes its addresses and, unless it has one, the token of its API.
    pub fn facts_folder(&self) -> PathBuf {
        if self.role.is_store() { self.data() } else { self.folder().to_owned() }
    }

    fn addresses_file(&self) -> PathBuf {
        self.facts_folder().join("addresses.json")
    }

    /// What this process and those before it have counted, by metric with its labels; what was counted between the last look at
    /// one and its end is not known.
    ///
    /// # Panics
    /// When another thread has.
    pub fn counts(&self) -> BTreeMap<String, f64> {
        let mut counts = self.counted.lock().unwrap().clone();
        for (name, value) in self.counted_now().unwrap_or_default() {
            *counts.entry(name).or_default() += value;
        }
        counts
    }

    /// What its process has counted.
    fn counted_now(&self) -> Option<BTreeMap<String, f64>> {
        let (_, text) = Api::of(self, METRICS_PATIENCE).ok()?.ask("GET", "/metrics", None).ok()?;
        let counter = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            name.split('{').next()?.ends_with("_total").then_some((name.to_owned(), value.parse().ok()?))
        };
        Some(text.lines().filter_map(counter).collect())
    }

    /// Before its process ends: what it has counted.
    fn gather(&self) {
        // One that stands still would only be waited for.
        if self.process_id().and_then(process_state) != Some('T') {
            let counts = self.counts();
            *self.counted.lock().unwrap() = counts;
        }
    }

    /// Where a listener of it listens (`smtp`, `imap`, `submission`, `admin`); none while it is down.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        let text = fs::read_to_string(self.addresses_file()).ok()?;
        let all: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
        all.get(listener)?.parse().ok()
    }

    /// The id of its process.
    pub fn process_id(&self) -> Option<u32> {
        self.child.lock().unwrap().as_ref().map(Child::id)
    }

    /// How it is. An end that nobody asked for is an error.
    ///
    /// # Errors
    /// When its process ended by itself.
    pub fn state(&self) -> anyhow::Result<State> {
        let mut child = self.child.lock().unwrap();
        let Some(running) = child.as_mut() else { return Ok(State::Down) };
        if let Some(status) = running.try_wait()? {
            *child = None;
            bail!("{} ended by itself with {status}:\n{}", self.name, self.log());
        }
        Ok(match process_state(running.id()) {
            Some('T') => State::Paused,
            _ if self.addresses_file().exists() => State::Up,
            _ => State::Starting,
        })
    }

    /// SIGKILL: nothing is flushed. It is gone when this returns.
    ///
    /// # Errors
    /// When it does not run, or did not go.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.gather();
        let mut child = self.child.lock().unwrap().take().with_context(|| format!("{} does not run", self.name))?;
        child.kill()?;
        child.wait()?;
        fs::remove_file(self.addresses_file()).ok();
        ensure!(process_state(child.id()).is_none(), "{} was killed and is still there", self.name);
        Ok(())
    }

    /// SIGTERM: it drains. A process that was told to go and does not is an error.
    ///
    /// # Errors
    /// When it does not run, or did not go.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.gather();
        let mut child = self.child.lock().unwrap().take().with_context(|| format!("{} does not run", self.name))?;
        signal(child.id(), "TERM")?;
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > START_PATIENCE {
                child.kill().ok();
                child.wait().ok();
                bail!("{} did not stop:\n{}", self.name, self.log());
            }
            sleep(LOOK);
        }
        fs::remove_file(self.addresses_file()).ok();
        Ok(())
    }

    /// SIGSTOP: it does nothing, and its connections stay. It stands still when this returns.
    ///
    /// # Errors
    /// When it does not run, or did not stop.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal_until("STOP", |state| state == 'T')
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run, or did not go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal_until("CONT", |state| state != 'T')
    }

    fn signal_until(&self, name: &str, reached: impl Fn(char) -> bool) -> anyhow::Result<()> {
        let process = self.process_id().with_context(|| format!("{} does not run", self.name))?;
        signal(process, name)?;
        let start = Instant::now();
        while !process_state(process).is_some_and(&reached) {
            ensure!(start.elapsed() < SIGNAL_PATIENCE, "SIG{name} had no effect on {}", self.name);
            sleep(LOOK);
        }
        Ok(())
    }

    /// Runs a command of the CLI against it.
    ///
    /// # Errors
    /// When the command fails.
    pub fn cli(&self, words: &[&str], input: &str) -> anyhow::Result<String> {
        let output = self.try_cli(words, input)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}: securanet {words:?}: {errors}{text}", self.name);
        Ok(text)
    }

    /// Runs a command of the CLI that may fail; one that hangs is ended.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_cli(&self, words: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut command = Command::new("timeout");
        command.arg(CLI_SECONDS).arg(binary()).args(words).arg("--config").arg(self.config());
        command.env("XDG_STATE_HOME", self.folder());
        run(command, input)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            eprintln!("--- warnings and errors of {}, its log without INFO:\n{last}", self.name);
        }
        // Before the folder in which it is.
        *self.disk.lock().unwrap() = None;
    }
}

fn signal(process: u32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status()?;
    ensure!(status.success(), "kill -{name} {process}: {status}");
    Ok(())
}

/// The letter of proc(5) for a process; none when it is gone.
fn process_state(process: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
