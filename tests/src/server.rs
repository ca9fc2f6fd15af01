//! A real server in a process of its own, on free loopback ports, with a folder of its own; gone when dropped.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

/// Starting takes longest when a machine with two cores compiles beside the tests.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// The domain of all test accounts.
pub const DOMAIN: &str = "test.example";
/// The password of all test accounts.
pub const PASSWORD: &str = "correct horse battery";

/// A server.
pub struct Server {
    folder: TempDir,
    child: Option<Child>,
    extra: String,
    wrapper: Vec<String>,
    data: Option<PathBuf>,
    kind: Kind,
}

/// What a server is.
enum Kind {
    /// Store and gateway.
    Alone,
    /// A store; other nodes reach it at this port.
    Store(u16),
    /// A gateway with this name.
    Gateway(String),
    /// Store and gateway, a node of this name at a site of the same; other nodes reach it at this port.
    Member(String, u16),
}

/// How to start one.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Lines for the node file, before the listeners.
    pub config: String,
    /// A command that runs the server: strace for instance.
    pub wrapper: Vec<String>,
    /// Where its data directory is, if not in its folder.
    pub data: Option<PathBuf>,
}

/// The binary that the build put beside the tests, or the one that `SECURANET_BINARY` names.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("SECURANET_BINARY") {
        return named.into();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().find(|folder| folder.join("securanet").is_file());
    folder.expect("build the workspace first: cargo build --workspace").join("securanet")
}

const LISTENERS: [(&str, &str, &str); 9] = [
    ("smtp", "smtp", "starttls"),
    ("strict", "smtp", "none"),
    ("lmtp", "lmtp", "none"),
    ("submission", "submission", "starttls"),
    ("submissions", "submission", "implicit"),
    ("imap", "imap", "starttls"),
    ("imaps", "imap", "implicit"),
    ("pop3", "pop3", "starttls"),
    ("pop3s", "pop3", "implicit"),
];

impl Server {
    /// Starts a server with a domain and these accounts (local parts).
    pub fn start(accounts: &[&str]) -> anyhow::Result<Self> {
        Self::start_with(Options::default(), accounts)
    }

    /// Starts a server with options.
    pub fn start_with(options: Options, accounts: &[&str]) -> anyhow::Result<Self> {
        let mut server = Self::prepare(options)?;
        server.restart()?;
        server.add_accounts(accounts)?;
        Ok(server)
    }

    /// One that is not started yet.
    pub fn prepare(options: Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("securanet-").tempdir()?;
        make_certificate(folder.path())?;
        Ok(Self::of(folder, Kind::Alone, options))
    }

    fn of(folder: TempDir, kind: Kind, options: Options) -> Self {
        let Options { config: extra, wrapper, data } = options;
        Self { folder, child: None, extra, wrapper, data, kind }
    }

    /// Adds the domain and these accounts.
    pub fn add_accounts(&self, accounts: &[&str]) -> anyhow::Result<()> {
        self.cli(&["domain", "add", DOMAIN], "")?;
        accounts.iter().try_for_each(|account| self.add_account(account))
    }

    /// Starts a store for gateways in other processes, with a domain and these accounts.
    pub fn start_store(accounts: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("securanet-store-").tempdir()?;
        let mut server = Self::of(folder, Kind::Store(free_port()), Options::default());
        server.write_config()?;
        server.cli(&["found"], "")?;
        server.restart()?;
        server.add_accounts(accounts)?;
        Ok(server)
    }

    /// Founds a cluster with a node that is store and gateway, with a domain and these accounts.
    pub fn found(name: &str, accounts: &[&str]) -> anyhow::Result<Self> {
        let mut server = Self::member(name, Options::default())?;
        server.cli(&["found"], "")?;
        server.restart()?;
        server.cli(&["domain", "add", DOMAIN], "")?;
        accounts.iter().try_for_each(|account| server.add_account(account))?;
        Ok(server)
    }

    /// Makes this server, which was alone, the first node of a cluster.
    pub fn found_on(&mut self, name: &str) -> anyhow::Result<()> {
        self.terminate()?;
        self.kind = Kind::Member(name.to_owned(), free_port());
        self.write_config()?;
        self.cli(&["found"], "")?;
        self.restart()
    }

    /// A node that is store and gateway, with a file and nothing else yet.
    pub fn member(name: &str, options: Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("securanet-member-").tempdir()?;
        make_certificate(folder.path())?;
        let kind = Kind::Member(name.to_owned(), free_port());
        let server = Self::of(folder, kind, options);
        server.write_config()?;
        Ok(server)
    }

    /// Lets a node into this server's cluster and starts it.
    pub fn let_in(&self, node: &mut Self) -> anyhow::Result<()> {
        let token = self.cli(&["node", "token"], "")?;
        node.cli(&["join", "--token", token.trim()], "")?;
        node.restart()
    }

    /// Starts a gateway of this store.
    pub fn start_gateway(&self, name: &str, options: Options) -> anyhow::Result<Self> {
        ensure!(matches!(self.kind, Kind::Store(_) | Kind::Member(..)), "only a store has gateways");
        let folder = tempfile::Builder::new().prefix("securanet-gateway-").tempdir()?;
        make_certificate(folder.path())?;
        let mut server = Self::of(folder, Kind::Gateway(name.to_owned()), options);
        server.write_config()?;
        let token = self.cli(&["node", "token"], "")?;
        server.cli(&["join", "--token", token.trim()], "")?;
        server.restart()?;
        Ok(server)
    }

    /// Starts a server on a data directory as an archive (gzipped tar of `data/`) holds it.
    pub fn start_on(archive: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("securanet-").tempdir()?;
        make_certificate(folder.path())?;
        let mut unpack = Command::new("tar");
        unpack.arg("-xzf").arg(archive).arg("-C").arg(folder.path());
        must(unpack, "")?;
        let mut server = Self::of(folder, Kind::Alone, Options::default());
        server.restart()?;
        Ok(server)
    }

    /// Adds an account of the test domain.
    pub fn add_account(&self, local: &str) -> anyhow::Result<()> {
        self.cli(&["account", "add", &address(local)], &format!("{PASSWORD}\n")).map(drop)
    }

    fn write_config(&self) -> anyhow::Result<()> {
        let (head, tail) = match &self.kind {
            Kind::Alone => ("data_directory = \"DATA\"\n", String::new()),
            Kind::Store(port) => (
                "data_directory = \"data\"\nroles = [\"store\"]\n",
                format!("[cluster]\nnode = \"store-1\"\naddress = \"127.0.0.1:{port}\"\n"),
            ),
            Kind::Member(name, port) => (
                "data_directory = \"data\"\n",
                format!("[cluster]\nnode = \"{name}\"\nsite = \"{name}\"\naddress = \"127.0.0.1:{port}\"\n"),
            ),
            Kind::Gateway(name) => {
                ("roles = [\"gateway\"]\n", format!("[cluster]\nnode = \"{name}\"\ndirectory = \"cluster\"\n"))
            }
        };
        let data = self.data.as_deref().unwrap_or(Path::new("data")).display().to_string();
        let head = head.replace("DATA", &data);
        let token = if matches!(self.kind, Kind::Gateway(..)) { "token_file = \"admin-token\"\n" } else { "" };
        let mut text = format!(
            "hostname = \"mail.{DOMAIN}\"\n{head}{}\n{tail}[admin]\naddress = \"127.0.0.1:0\"\n{token}\n",
            self.extra
        );
        if matches!(self.kind, Kind::Store(_)) {
            return Ok(fs::write(self.config(), text)?);
        }
        text += "[[certificate]]\nname = \"test\"\ncertificate_file = \"certificate.pem\"\nkey_file = \"key.pem\"\n";
        for (name, protocol, tls) in LISTENERS {
            let more = match name {
                "strict" => "bare_newline = \"reject\"\n",
                "submissions" => "client_certificates = true\n",
                _ => "",
            };
            text += &format!(
                "\n[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:0\"\ntls = \"{tls}\"\n\
                 connections_per_address_max = 5000\ntrusted_networks = [\"127.0.0.1/32\"]\n{more}"
            );
        }
        Ok(fs::write(self.config(), text)?)
    }

    /// Starts it (again) on what its folder holds, and waits until it is ready.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.begin()?;
        self.wait_ready()
    }

    /// The same without waiting.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.write_config()?;
        fs::remove_file(self.addresses_file()).ok();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_file())?;
        let mut words = self.wrapper.clone();
        words.extend([binary().display().to_string(), "run".to_owned(), "--config".to_owned()]);
        words.push(self.config().display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn().with_context(|| format!("{words:?}"))?);
        Ok(())
    }

    /// Whether it has said where it listens.
    pub fn is_ready(&self) -> bool {
        self.addresses_file().exists()
    }

    /// Whether its process lives.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn wait_ready(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        while !self.is_ready() {
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().transpose()).transpose()? {
                bail!("the server ended with {status}:\n{}", self.log());
            }
            ensure!(start.elapsed() < START_PATIENCE, "the server did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn addresses_file(&self) -> PathBuf {
        let folder = if matches!(self.kind, Kind::Gateway(..)) { Path::new("") } else { Path::new("data") };
        self.folder.path().join(self.data.as_deref().unwrap_or(folder)).join("addresses.json")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// Its node file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("node.toml")
    }

    /// Its folder, for whatever a test keeps beside it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces the lines of the node file before the listeners; a restart reads them.
    pub fn set_config(&mut self, lines: &str) {
        lines.clone_into(&mut self.extra);
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The id of its process; under a wrapper, of the wrapper's child.
    pub fn process_id(&self) -> u32 {
        let id = self.child.as_ref().map_or(0, Child::id);
        if self.wrapper.is_empty() {
            return id;
        }
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        children.split_whitespace().next().and_then(|child| child.parse().ok()).unwrap_or(id)
    }

    /// Where a listener listens (`smtp`, `imaps`, ..., or `admin`).
    pub fn address(&self, listener: &str) -> SocketAddr {
        let text = fs::read_to_string(self.addresses_file()).expect("the server has started");
        let all: BTreeMap<String, String> = serde_json::from_str(&text).expect("addresses");
        all[listener].parse().expect("an address")
    }

    /// A listener's port.
    pub fn port(&self, listener: &str) -> u16 {
        self.address(listener).port()
    }

    /// The certificate that its clients trust.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("certificate.pem")
    }

    /// Runs a command of the CLI against it.
    pub fn cli(&self, words: &[&str], input: &str) -> anyhow::Result<String> {
        let output = self.try_cli(words, input)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "securanet {words:?}: {}{text}\n{}",
            String::from_utf8_lossy(&output.stderr),
            self.log()
        );
        Ok(text)
    }

    /// Runs a command of the CLI that may fail.
    pub fn try_cli(&self, words: &[&str], input: &str) -> anyhow::Result<Output> {
        let mut command = Command::new(binary());
        command.args(words).arg("--config").arg(self.config()).env("XDG_STATE_HOME", self.folder.path());
        run(command, input)
    }

    /// SIGKILL: nothing is flushed.
    pub fn kill(&mut self) {
        let process = self.process_id();
        if let Some(mut child) = self.child.take() {
            if process != child.id() {
                Command::new("kill").args(["-KILL", &process.to_string()]).status().ok();
            }
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// SIGTERM: it drains.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        let process = self.process_id();
        let Some(mut child) = self.child.take() else { return Ok(()) };
        Command::new("kill").args(["-TERM", &process.to_string()]).status()?;
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > START_PATIENCE {
                child.kill().ok();
                bail!("the server did not stop:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log());
        }
    }
}

/// A port that nobody has, out of the range that connections going out get: who tries to reach a server that is gone must
/// not be given its port.
fn free_port() -> u16 {
    // Not the same for two that are not bound yet.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Nor for two tests, each a process, that begin together.
    let from = 20_000 + 16 * u16::try_from(std::process::id() % 750).expect("below 750");
    let mut ports = std::iter::repeat_with(|| from + NEXT.fetch_add(1, Ordering::Relaxed) % 16).take(16);
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}

/// An address of the test domain.
pub fn address(local: &str) -> String {
    format!("{local}@{DOMAIN}")
}

/// Runs a program to its end with this input.
pub fn run(mut command: Command, input: &str) -> anyhow::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    child.stdin.take().context("stdin")?.write_all(input.as_bytes()).ok();
    Ok(child.wait_with_output()?)
}

/// Runs a program that must succeed; gives what it printed.
pub fn must(command: Command, input: &str) -> anyhow::Result<String> {
    let shown = format!("{command:?}");
    let output = run(command, input)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{shown}: {}\n{text}{}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(text)
}

/// A certificate for localhost, signed by itself: clients of the tests trust it by name.
pub fn make_certificate(folder: &Path) -> anyhow::Result<()> {
    let mut names = rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    names.distinguished_name.push(rcgen::DnType::CommonName, "localhost");
    names.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate()?;
    fs::write(folder.join("certificate.pem"), names.self_signed(&key)?.pem())?;
    fs::write(folder.join("key.pem"), key.serialize_pem())?;
    Ok(())
}
