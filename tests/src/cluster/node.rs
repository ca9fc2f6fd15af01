//! One node: a process that may be killed, paused and started again while others use it.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::server::{binary, make_certificate, run};

/// Starting takes longest when a machine with two cores compiles beside the tests.
pub const START_PATIENCE: Duration = Duration::from_secs(60);
/// For a signal to have its effect.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);
/// For the CLI at a node that may be cut off.
const CLI_SECONDS: &str = "60";
const LOOK: Duration = Duration::from_millis(10);
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
}

impl Node {
    /// A node that does not run yet, with a folder and a certificate for its clients.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new(name: &str, site: &str, role: Role) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("securanet-{name}-")).tempdir()?;
        make_certificate(folder.path())?;
        Ok(Self { name: name.to_owned(), site: site.to_owned(), role, folder, child: Mutex::default() })
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

    /// Starts its process and does not wait for anything.
    ///
    /// # Errors
    /// When it runs already, or cannot.
    pub fn launch(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().unwrap();
        ensure!(child.is_none(), "{} runs already", self.name);
        fs::remove_file(self.addresses_file()).ok();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder().join("log"))?;
        let mut command = Command::new(binary());
        command.arg("run").arg("--config").arg(self.config());
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

    fn addresses_file(&self) -> PathBuf {
        let folder = if self.role.is_store() { "data" } else { "" };
        self.folder().join(folder).join("addresses.json")
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
        self.kill().ok();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().filter(|line| !line.contains(" INFO ")).collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            eprintln!("--- warnings and errors of {}, its log without INFO:\n{last}", self.name);
        }
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
