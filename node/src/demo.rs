//! `securanet demo`: a complete server on loopback, with a certificate of its own, a domain and two accounts.
//!
//! The certificate is signed by a demo CA made beside it; both are the demo's alone. Accounts keep their data and
//! passwords between runs, in the folder that the demo names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use hyper::Method;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::json;

use securanet_gateway::login::password::Password;

use crate::{
    api::AdminApi,
    config::Config,
    delivery::DEMO_SINK,
    replace::{Readers, replace},
    run,
};

/// Some mail programs refuse certificates that are valid for longer than 398 days.
const CERTIFICATE_DAYS: i64 = 397;
/// The demo's domain: reserved for such use by RFC 2606.
const DOMAIN: &str = "demo.example";
/// The demo's accounts.
const ACCOUNTS: [(&str, &str); 2] = [("ann", "Ann Demo"), ("bob", "Bob Demo")];

fn node_file(ports: &Ports) -> String {
    let listener = |name: &str, protocol: &str, port: u16, tls: &str| {
        format!(
            "\n[[listener]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\naddress = \"127.0.0.1:{port}\"\ntls = \"{tls}\"\n"
        )
    };
    let head = format!(
        "# Written by `securanet demo`; it is yours to change.\nhostname = \"mail.{DOMAIN}\"\ndata_directory = \"data\"\n\n\
         [store]\ndisk_reserve_bytes = 268_435_456\n\n[admin]\naddress = \"127.0.0.1:{}\"\n\n\
         [[certificate]]\nname = \"demo\"\ncertificate_file = \"tls/certificate.pem\"\nkey_file = \"tls/key.pem\"\n",
        ports.admin
    );
    let listeners = [
        listener("mx", "smtp", ports.smtp, "starttls"),
        listener("lmtp", "lmtp", ports.lmtp, "none"),
        listener("submissions", "submission", ports.submissions, "implicit"),
        listener("submission", "submission", ports.submission, "starttls"),
        listener("imaps", "imap", ports.imaps, "implicit"),
        listener("imap", "imap", ports.imap, "starttls"),
        listener("pop3s", "pop3", ports.pop3s, "implicit"),
        listener("pop3", "pop3", ports.pop3, "starttls"),
    ];
    head + &listeners.concat()
}

/// The demo's ports; high, so that nobody needs to be root.
struct Ports {
    smtp: u16,
    lmtp: u16,
    submission: u16,
    submissions: u16,
    imap: u16,
    imaps: u16,
    pop3: u16,
    pop3s: u16,
    admin: u16,
}

const PORTS: Ports = Ports {
    smtp: 2525,
    lmtp: 2424,
    submission: 1587,
    submissions: 1465,
    imap: 1143,
    imaps: 1993,
    pop3: 1110,
    pop3s: 1995,
    admin: 8025,
};

/// Prepares the folder, starts the node, prints how to use it, and drains on Ctrl-C.
pub(crate) async fn demo(directory: &Path, send: bool) -> anyhow::Result<()> {
    fs::create_dir_all(directory.join("tls")).with_context(|| format!("{}", directory.display()))?;
    let directory = fs::canonicalize(directory)?;
    let file = directory.join("node.toml");
    if !file.exists() {
        fs::write(&file, node_file(&PORTS))?;
    }
    if !directory.join("tls/certificate.pem").exists() {
        make_certificate(&directory.join("tls"))?;
    }
    let mut config = Config::load(&file)?;
    if !send {
        config.delivery.stay_here(DEMO_SINK);
    }
    let node = run::start(config)
        .await
        .context("the demo could not start; if its ports are taken, change them in its node.toml")?;
    let passwords = accounts(&file, &directory).await?;
    tell(&directory, &passwords, send);
    node.until_stopped().await
}

fn make_certificate(folder: &Path) -> anyhow::Result<()> {
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

/// Makes the domain and the accounts that are missing; gives addresses and passwords.
async fn accounts(file: &Path, directory: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let api = AdminApi::of_node(file)?;
    let domains = api.rows("/v1/domains").await?;
    if !domains.iter().any(|row| row["name"] == DOMAIN) {
        api.json(Method::POST, "/v1/domains", Some(json!({ "name": DOMAIN }))).await?;
    }
    let mut passwords = Vec::new();
    for (local, name) in ACCOUNTS {
        let address = format!("{local}@{DOMAIN}");
        passwords.push((address.clone(), ensure_account(&api, directory, &address, name).await?));
    }
    Ok(passwords)
}

async fn ensure_account(api: &AdminApi, directory: &Path, address: &str, name: &str) -> anyhow::Result<String> {
    let kept: PathBuf = directory.join(format!("password-{address}"));
    let there = api.get(&format!("/v1/accounts/{address}")).await.is_ok();
    if let (true, Ok(password)) = (there, fs::read_to_string(&kept)) {
        return Ok(password.trim().to_owned());
    }
    let password = Password::generate()?.expose().to_owned();
    if there {
        let new = json!({ "password": password });
        api.json(Method::PUT, &format!("/v1/accounts/{address}/password"), Some(new)).await?;
    } else {
        let new = json!({ "address": address, "display_name": name, "password": password });
        api.json(Method::POST, "/v1/accounts", Some(new)).await?;
    }
    replace(&kept, &password, Readers::Owner)?;
    Ok(password)
}

fn tell(directory: &Path, passwords: &[(String, String)], send: bool) {
    let (ann, ann_password) = &passwords[0];
    let (bob, _) = &passwords[1];
    let folder = directory.display();
    println!("\nSecuraNET Mail demo. Data, CA and node file: {folder}\n");
    for (address, password) in passwords {
        println!("  {address:<20} password {password}");
    }
    let Ports { smtp, submissions, imaps, pop3s, .. } = PORTS;
    let leaving = if send {
        "Mail to others leaves for the world, by the DNS.".to_owned()
    } else {
        format!(
            "Mail to others goes nowhere but to {DEMO_SINK}: listen there to see it, or watch it wait with `securanet queue\n\
             list --config {folder}/node.toml`. It leaves for the world when the demo is started with --send."
        )
    };
    println!(
        "\nSend a message and read it:\n\
         \n  printf 'From: {bob}\\r\\nTo: {ann}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' |\n    \
         curl -sS smtp://127.0.0.1:{smtp}/client.example --mail-from {bob} --mail-rcpt {ann} -T -\n\
         \n  curl -sS --cacert {folder}/tls/ca.pem -u {ann}:{ann_password} 'imaps://localhost:{imaps}/INBOX;MAILINDEX=1'\n\
         \n  curl -sS --cacert {folder}/tls/ca.pem -u {ann}:{ann_password} pop3s://localhost:{pop3s}/1\n\
         \nIn a mail program: account {ann}, incoming IMAP, server localhost, port {imaps}, SSL/TLS, normal password;\n\
         outgoing SMTP, server localhost, port {submissions}, SSL/TLS, the same; trust {folder}/tls/ca.pem.\n\
         \n{leaving}\n\
         \nLook after it:\n\
         \n  securanet status --config {folder}/node.toml\n  curl -s http://127.0.0.1:{}/metrics\n\
         \nCtrl-C drains and stops.\n",
        PORTS.admin
    );
}
