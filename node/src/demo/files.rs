//! The demo's node files and its certificate.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::DOMAIN;
use crate::replace::{Readers, replace};

/// Some mail programs refuse certificates that are valid for longer than 398 days.
const CERTIFICATE_DAYS: i64 = 397;

/// One process of the demo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct DemoNode {
    /// Its name; a store stands at a site of the same.
    pub(super) name: &'static str,
    /// Its place in the row: ports go by it.
    number: u16,
}

/// A separate gateway, and a store at each of three sites, which serves clients too.
pub(super) const GATEWAY: DemoNode = DemoNode { name: "gateway", number: 0 };
pub(super) const STORES: [DemoNode; 3] = [
    DemoNode { name: "north", number: 1 },
    DemoNode { name: "south", number: 2 },
    DemoNode { name: "west", number: 3 },
];

/// High ones, so that nobody needs to be root; each process has its own.
impl DemoNode {
    pub(super) const fn smtp(self) -> u16 {
        2525 + 10 * self.number
    }

    pub(super) const fn submissions(self) -> u16 {
        1465 + 10 * self.number
    }

    pub(super) const fn imaps(self) -> u16 {
        1993 + 10 * self.number
    }

    pub(super) const fn pop3s(self) -> u16 {
        1995 + 10 * self.number
    }

    pub(super) const fn admin(self) -> u16 {
        8025 + 10 * self.number
    }

    const fn nodes(self) -> u16 {
        2600 + self.number
    }

    /// Its folder.
    pub(super) fn folder(self, directory: &Path) -> PathBuf {
        directory.join(self.name)
    }

    /// Its node file.
    pub(super) fn file(self, directory: &Path) -> PathBuf {
        self.folder(directory).join("node.toml")
    }

    /// What it logs.
    pub(super) fn log(self, directory: &Path) -> PathBuf {
        self.folder(directory).join("log")
    }

    fn text(self) -> String {
        let listener = |name: &str, protocol: &str, port: u16, tls: &str| {
            format!(
                "\n[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:{port}\"\n\
                 tls = \"{tls}\"\n"
            )
        };
        let (name, number) = (self.name, self.number);
        let place = if self == GATEWAY {
            format!(
                "roles = [\"gateway\"]\n\n[cluster]\nnode = \"{name}\"\nsite = \"{}\"\ndirectory = \"cluster\"\n",
                STORES[0].name
            )
        } else {
            format!(
                "data_directory = \"data\"\n\n[cluster]\nnode = \"{name}\"\nsite = \"{name}\"\naddress = \"127.0.0.1:{}\"\n",
                self.nodes()
            )
        };
        let token = if self == GATEWAY { "token_file = \"admin-token\"\n" } else { "" };
        let head = format!(
            "# Written by `securanet demo`; it is yours to change.\nhostname = \"{name}.{DOMAIN}\"\n{place}\n\
             [store]\ndisk_reserve_bytes = 268_435_456\n\n[admin]\naddress = \"127.0.0.1:{}\"\n{token}\n\
             [[certificate]]\nname = \"demo\"\ncertificate_file = \"../tls/certificate.pem\"\n\
             key_file = \"../tls/key.pem\"\n",
            self.admin()
        );
        let listeners = [
            listener("mx", "smtp", self.smtp(), "starttls"),
            listener("lmtp", "lmtp", 2424 + 10 * number, "none"),
            listener("submissions", "submission", self.submissions(), "implicit"),
            listener("submission", "submission", 1587 + 10 * number, "starttls"),
            listener("imaps", "imap", self.imaps(), "implicit"),
            listener("imap", "imap", 1143 + 10 * number, "starttls"),
            listener("pop3s", "pop3", self.pop3s(), "implicit"),
            listener("pop3", "pop3", 1110 + 10 * number, "starttls"),
        ];
        head + &listeners.concat()
    }

    /// Writes the node file, never over one that is there.
    pub(super) fn prepare(self, directory: &Path) -> anyhow::Result<()> {
        let folder = self.folder(directory);
        fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        let file = self.file(directory);
        if !file.exists() {
            fs::write(&file, self.text()).with_context(|| format!("{}", file.display()))?;
        }
        Ok(())
    }
}

/// Makes the certificate that clients are shown, and the demo's own authority that signs it.
pub(super) fn make_certificate(folder: &Path) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::new(Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    ca.distinguished_name.push(DnType::CommonName, "SecuraNET Mail demo CA");
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate()?;
    let mut names = CertificateParams::new(vec![
        "localhost".to_owned(),
        format!("mail.{DOMAIN}"),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ])?;
    names.distinguished_name.push(DnType::CommonName, "localhost");
    let day = |days: i64| {
        let day = jiff::Zoned::now().date().saturating_add(jiff::Span::new().days(days));
        rcgen::date_time_ymd(i32::from(day.year()), day.month().unsigned_abs(), day.day().unsigned_abs())
    };
    (names.not_before, names.not_after) = (day(-1), day(CERTIFICATE_DAYS));
    let certificate = names.signed_by(&key, &issuer)?;
    fs::write(folder.join("ca.pem"), ca_certificate.pem())?;
    replace(&folder.join("key.pem"), &key.serialize_pem(), Readers::Owner)?;
    fs::write(folder.join("certificate.pem"), certificate.pem())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn each_process_has_a_file_that_can_be_used_and_ports_of_its_own() {
        let directory = tempfile::tempdir().expect("folder");
        fs::create_dir(directory.path().join("tls")).expect("folder");
        make_certificate(&directory.path().join("tls")).expect("certificate");
        let mut ports = Vec::new();
        for node in [GATEWAY, STORES[0], STORES[1], STORES[2]] {
            node.prepare(directory.path()).expect("written");
            let config = Config::load(&node.file(directory.path())).expect("a node file");
            assert_eq!(config.is_store(), node != GATEWAY);
            ports.extend(config.listener.iter().map(|listener| listener.address.port()));
            ports.push(config.admin.address.port());
            ports.extend(config.cluster.and_then(|cluster| cluster.address).map(|address| address.port()));
        }
        let all = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!((ports.len(), all), (4 * 9 + 3, 4 * 9 + 3));
    }
}
