//! A small world for a test: a network namespace of its own with addresses that look public, real DNS and real mail servers
//! on their real ports, and addresses where nobody answers. All of it ends with the test.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Says to a test that it runs inside already.
const INSIDE: &str = "SECURANET_TEST_INSIDE";
/// Downloading a server the first time, and starting it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Where the world's DNS server answers.
pub const DNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
/// Whatever is sent into this network vanishes.
pub const VOID: &str = "198.51.100.0/24";
/// Debian's `news`, which owns the remote servers' mail.
const NEWS: (u32, u32) = (9, 13);

/// Runs a test's body in a network and process namespace of its own: the test calls itself there. `name` is the test's
/// own name. Wants root, as `make test` has in CI; says so where it is not.
pub fn apart(name: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        ip("link set lo up");
        // A cable whose other end nobody listens at; without ARP nobody notices.
        ip("link add void type veth peer name nobody");
        ip("link set void arp off up");
        ip("link set nobody up");
        ip("addr add 203.0.113.1/32 dev lo");
        ip(&format!("route add {VOID} dev void src 203.0.113.1"));
        return body();
    }
    let test = std::env::current_exe().expect("a test has a path");
    let status = Command::new("unshare")
        .args(["--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"])
        .arg(test)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare");
    assert!(status.success(), "{name} ended with {status} in its namespace (it wants root)");
}

/// Whether this machine lets a test run [`apart`].
pub fn can_be_apart() -> bool {
    if is_apart() {
        return true;
    }
    let tried = Command::new("unshare").args(["--net", "--pid", "--fork", "--mount-proc", "--", "true"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// Whether this process is [`apart`].
pub fn is_apart() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().expect("ip");
    assert!(status.success(), "ip {words}: {status}");
}

/// Gives the world an address.
pub fn add_address(address: Ipv4Addr) {
    ip(&format!("addr add {address}/32 dev lo"));
}

/// A zone of the world's DNS.
#[derive(Clone, Copy, Debug)]
pub struct Zone<'a> {
    /// Its name, a top-level one: `example`.
    pub name: &'a str,
    /// Its records in master file format, without SOA and NS. Something that does not parse is answered with SERVFAIL.
    pub records: &'a str,
    /// Whether it is signed, with its DS in the root.
    pub signed: Signed,
}

/// How a zone is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signed {
    /// It is not, and the root says so.
    No,
    /// It is.
    Yes,
    /// The root says that it is, and it is not: bogus.
    Broken,
}

/// A program that ends with the test, and its folder.
struct Running {
    child: Child,
    folder: TempDir,
}

impl Running {
    fn start(script: &str, folder: TempDir, words: &[&str]) -> Self {
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("permissions");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("rivals").join(script);
        let log = fs::File::create(folder.path().join("output")).expect("log");
        let child = Command::new(path)
            .arg(folder.path())
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect(script);
        Self { child, folder }
    }

    fn output(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("output") + &read("log/mail") + &read("log/mainlog")
    }

    fn await_port(&mut self, address: Ipv4Addr, port: u16) {
        let start = Instant::now();
        while TcpStream::connect(SocketAddr::V4(SocketAddrV4::new(address, port))).is_err() {
            assert!(start.elapsed() < PATIENCE, "nobody at {address}:{port}:\n{}", self.output());
            assert!(self.child.try_wait().expect("child").is_none(), "{address}:{port} ended:\n{}", self.output());
            sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.folder.path().display(), self.output());
        }
    }
}

/// The world's DNS: a root of our own and the zones below it, on port 53 of [`DNS`].
pub struct Dns(Running);

impl Dns {
    /// Starts it with these zones.
    #[must_use]
    pub fn start(zones: &[Zone<'_>]) -> Self {
        add_address(DNS);
        let folder = tempfile::Builder::new().prefix("securanet-knot-").tempdir().expect("folder");
        let soa = "$TTL 60\n@ SOA ns.world. root.world. 1 60 60 600 5\n@ NS ns.world.\n";
        let zone_file = |name: &str| folder.path().join(format!("zones/{name}.zone"));
        fs::create_dir(folder.path().join("zones")).expect("zones");
        let (mut root, mut signed) = (format!("{soa}world NS ns.world.\nns.world A {DNS}\n"), ".\nworld\n".to_owned());
        for zone in zones {
            root += &format!("{} NS ns.world.\n", zone.name);
            match zone.signed {
                Signed::No => {}
                Signed::Yes => signed += &format!("{}\n", zone.name),
                Signed::Broken => root += &format!("{} DS 1 13 2 {}\n", zone.name, "5a".repeat(32)),
            }
            fs::write(zone_file(zone.name), format!("{soa}{}", zone.records)).expect("zone");
        }
        fs::write(zone_file("world"), format!("{soa}ns A {DNS}\n")).expect("zone");
        fs::write(zone_file("root"), root).expect("root zone");
        fs::write(folder.path().join("signed"), signed).expect("signed");
        let mut running = Running::start("knot", folder, &[&DNS.to_string()]);
        running.await_port(DNS, 53);
        Self(running)
    }

    /// The file with the root's key: what a validating resolver trusts.
    #[must_use]
    pub fn anchor(&self) -> PathBuf {
        self.0.folder.path().join("anchor")
    }

    /// Stops answering, as a dead uplink would look; [`Self::resume`] ends that.
    pub fn pause(&self) {
        signal(&self.0.child, "-STOP");
    }

    /// Answers again.
    pub fn resume(&self) {
        signal(&self.0.child, "-CONT");
    }
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "kill {signal}");
}

/// Which server a remote one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Debian's Postfix.
    Postfix,
    /// Debian's Exim.
    Exim,
    /// Debian's OpenSMTPD.
    OpenSmtpd,
}

/// A remote mail server on port 25 of an address of its own. It takes mail for one domain; `later` there is always deferred,
/// `nobody` refused, and Exim's `grey` deferred once.
pub struct Remote(Running);

impl Remote {
    /// Starts one; with a certificate (PEM files of certificate and key) it offers STARTTLS.
    #[must_use]
    pub fn start(kind: Kind, address: Ipv4Addr, domain: &str, certificate: Option<(&Path, &Path)>) -> Self {
        add_address(address);
        let folder = tempfile::Builder::new().prefix("securanet-remote-").tempdir().expect("folder");
        let mail = folder.path().join("mail");
        fs::create_dir(&mail).expect("mail");
        chown(&mail, Some(NEWS.0), Some(NEWS.1)).expect("chown");
        if let Some((certificate, key)) = certificate {
            fs::copy(certificate, folder.path().join("certificate.pem")).expect("certificate");
            fs::copy(key, folder.path().join("key.pem")).expect("key");
        }
        let at = address.to_string();
        let mut running = match kind {
            Kind::Exim => Running::start("exim", folder, &[&at, domain]),
            Kind::OpenSmtpd => Running::start("opensmtpd", folder, &[&at, domain]),
            Kind::Postfix => {
                let lines = postfix_lines(folder.path(), domain, certificate.is_some());
                Running::start("postfix", folder, &[&format!("{at}:25"), &lines])
            }
        };
        running.await_port(address, 25);
        Self(running)
    }

    /// The messages that it has delivered, as files of its maildirs.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut folders = vec![self.0.folder.path().join("mail")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    // What is in tmp is not delivered yet.
                    folders.extend((!path.ends_with("tmp")).then_some(path));
                } else if let Ok(message) = fs::read(&path) {
                    messages.push(String::from_utf8_lossy(&message).into_owned());
                }
            }
        }
        messages
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.0.output()
    }

    /// Stops answering without closing anything; [`Self::resume`] ends that.
    pub fn pause(&self) {
        signal(&self.0.child, "-STOP");
    }

    /// Answers again.
    pub fn resume(&self) {
        signal(&self.0.child, "-CONT");
    }
}

/// A web server on port 443 of an address of its own, for MTA-STS policies (RFC 8461 3.3).
pub struct Web(Running);

impl Web {
    /// Starts one with a certificate (PEM files of certificate and key).
    #[must_use]
    pub fn start(address: Ipv4Addr, certificate: &Path, key: &Path) -> Self {
        add_address(address);
        let folder = tempfile::Builder::new().prefix("securanet-web-").tempdir().expect("folder");
        fs::create_dir(folder.path().join("policies")).expect("policies");
        fs::create_dir(folder.path().join("posted")).expect("posted");
        fs::copy(certificate, folder.path().join("certificate.pem")).expect("certificate");
        fs::copy(key, folder.path().join("key.pem")).expect("key");
        let mut running = Running::start("web", folder, &[&address.to_string()]);
        running.await_port(address, 443);
        Self(running)
    }

    /// The TLS reports that were posted to it (RFC 8460 5.4), as JSON.
    #[must_use]
    pub fn posted(&self) -> Vec<serde_json::Value> {
        let files = fs::read_dir(self.0.folder.path().join("posted")).expect("posted");
        let read = |path: &Path| gunzip(&fs::read(path).expect("a report"));
        files.flatten().filter_map(|file| serde_json::from_slice(&read(&file.path())).ok()).collect()
    }

    /// Publishes the policy of a domain.
    pub fn publish(&self, domain: &str, policy: &str) {
        fs::write(self.0.folder.path().join(format!("policies/mta-sts.{domain}")), policy).expect("policy");
    }
}

/// What gzip has packed, by gzip itself.
#[must_use]
pub fn gunzip(packed: &[u8]) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("file");
    fs::write(file.path(), packed).expect("file");
    let input = fs::File::open(file.path()).expect("file");
    Command::new("gzip").arg("-dc").stdin(input).output().expect("gzip").stdout
}

/// An authority of the world: whoever trusts it trusts whom it vouches for.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    folder: TempDir,
}

impl Authority {
    /// A new one.
    #[must_use]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("securanet-authority-").tempdir().expect("folder");
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, "the world's authority");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("key");
        let root = params.self_signed(&key).expect("root");
        fs::write(folder.path().join("root.pem"), root.pem()).expect("root");
        Self { issuer: rcgen::Issuer::new(params, key), folder }
    }

    /// The file with its own certificate.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root.pem")
    }

    /// Certificate and key for these names, as files named by the first one.
    #[must_use]
    pub fn vouch_for(&self, names: &[&str]) -> (PathBuf, PathBuf) {
        let of_names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = rcgen::CertificateParams::new(of_names).expect("parameters");
        let key = rcgen::KeyPair::generate().expect("key");
        let certificate = params.signed_by(&key, &self.issuer).expect("certificate");
        let file = |end: &str| self.folder.path().join(format!("{}.{end}.pem", names[0]));
        fs::write(file("certificate"), certificate.pem()).expect("certificate");
        fs::write(file("key"), key.serialize_pem()).expect("key");
        (file("certificate"), file("key"))
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn postfix_lines(folder: &Path, domain: &str, tls: bool) -> String {
    let folder = folder.display();
    let tls = if tls {
        format!(
            "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {folder}/key.pem, {folder}/certificate.pem\n\
             smtpd_tls_loglevel = 1\n"
        )
    } else {
        String::new()
    };
    format!(
        "virtual_mailbox_domains = {domain}\nvirtual_mailbox_base = {folder}/mail\nvirtual_mailbox_maps = static:all/\n\
         virtual_uid_maps = static:9\nvirtual_gid_maps = static:13\nvirtual_minimum_uid = 1\nmaillog_file_prefixes = {folder}\n\
         maillog_file = {folder}/log/mail\nmynetworks = 127.0.0.0/8\nsmtpd_recipient_restrictions = reject_unauth_destination, \
         check_recipient_access inline:{{ {{ later@{domain} = 450 4.2.1 mailbox is busy, come again }}, \
         {{ nobody@{domain} = 550 5.1.1 no such person here }} }}\n{tls}"
    )
}
