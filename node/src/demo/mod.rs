//! `securanet demo`: a whole cluster on loopback, three sites of one store each and a separate gateway, with a domain and two
//! accounts.
//!
//! Four processes, as an operator would run them: each has its node file, its log and its ports. The certificate that
//! clients are shown is signed by a demo CA made beside it; both are the demo's alone. Accounts keep their data and passwords
//! between runs, in the folder that the demo names.

mod files;
mod processes;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use hyper::Method;
use securanet_gateway::login::password::Password;
use serde_json::json;

use self::{
    files::{DemoNode, GATEWAY, STORES, make_certificate},
    processes::Processes,
};
use crate::{
    api::AdminApi,
    cluster::join::{self, Files},
    config::Config,
    delivery::DEMO_SINK,
    replace::{Readers, replace},
};

/// The demo's domain: reserved for such use by RFC 2606.
const DOMAIN: &str = "demo.example";
/// The demo's accounts.
const ACCOUNTS: [(&str, &str); 2] = [("ann", "Ann Demo"), ("bob", "Bob Demo")];

/// Prepares the folder, starts the nodes, prints how to use them, and drains on Ctrl-C.
pub(crate) async fn demo(directory: &Path, send: bool) -> anyhow::Result<()> {
    fs::create_dir_all(directory.join("tls")).with_context(|| format!("{}", directory.display()))?;
    let directory = fs::canonicalize(directory)?;
    if !directory.join("tls/certificate.pem").exists() {
        make_certificate(&directory.join("tls"))?;
    }
    let [first, second, third] = STORES;
    let all = [first, second, third, GATEWAY];
    all.iter().try_for_each(|node| node.prepare(&directory))?;
    let mut new = Vec::new();
    let mut processes = Processes::new(&directory, (!send).then_some(DEMO_SINK));
    for node in all {
        let config = Config::load(&node.file(&directory))?;
        if has_come_in(&config)? {
            processes.spawn(node)?;
        } else if node == first {
            println!("{} makes the cluster", first.name);
            join::make_founder(&config)?;
            processes.spawn(node)?;
        } else {
            new.push((node, config));
        }
    }
    processes.await_ready(first).await?;
    let api = AdminApi::of_node(&first.file(&directory))?;
    for (node, config) in new {
        println!("{} comes in", node.name);
        let made = api.json(Method::POST, "/v1/node-tokens", Some(json!({ "hours": 1 }))).await?;
        join::come_in(&config, made["token"].as_str().context("the first node gave no token")?).await?;
        processes.spawn(node)?;
        processes.await_ready(node).await?;
    }
    for node in all {
        processes.await_ready(node).await?;
    }
    let passwords = accounts(&api, &directory).await?;
    tell(&directory, &passwords, send, &processes);
    processes.until_stopped().await
}

/// Whether a node is a member already.
fn has_come_in(config: &Config) -> anyhow::Result<bool> {
    let cluster = config.cluster.as_ref().context("a node file of the demo has no [cluster]")?;
    match &config.data_directory {
        Some(data) => Ok(data.join("node.json").exists()),
        None => Ok(Files::in_directory(&cluster.folder(config)?).has_certificate()),
    }
}

/// Makes the domain and the accounts that are missing; gives addresses and passwords.
async fn accounts(api: &AdminApi, directory: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let domains = api.rows("/v1/domains").await?;
    if !domains.iter().any(|row| row["name"] == DOMAIN) {
        api.json(Method::POST, "/v1/domains", Some(json!({ "name": DOMAIN }))).await?;
    }
    let mut passwords = Vec::new();
    for (local, name) in ACCOUNTS {
        let address = format!("{local}@{DOMAIN}");
        passwords.push((address.clone(), ensure_account(api, directory, &address, name).await?));
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

fn tell(directory: &Path, passwords: &[(String, String)], send: bool, processes: &Processes) {
    let (ann, ann_password) = &passwords[0];
    let (bob, _) = &passwords[1];
    let folder = directory.display();
    println!("\nSecuraNET Mail demo: a cluster of three sites and a gateway. Data, CA and node files: {folder}\n");
    for (address, password) in passwords {
        println!("  {address:<20} password {password}");
    }
    println!(
        "\n  {:<8} {:>8} {:>6} {:>12} {:>6} {:>6} {:>6}",
        "node", "process", "smtp", "submissions", "imaps", "pop3s", "admin"
    );
    for node in [GATEWAY].into_iter().chain(STORES) {
        println!(
            "  {:<8} {:>8} {:>6} {:>12} {:>6} {:>6} {:>6}",
            node.name,
            processes.id(node),
            node.smtp(),
            node.submissions(),
            node.imaps(),
            node.pop3s(),
            node.admin()
        );
    }
    let (smtp, imaps, pop3s) = (GATEWAY.smtp(), GATEWAY.imaps(), GATEWAY.pop3s());
    println!(
        "\nSend a message and read it:\n\
         \n  printf 'From: {bob}\\r\\nTo: {ann}\\r\\nSubject: hello\\r\\n\\r\\nIt works.\\r\\n' |\n    \
         curl -sS smtp://127.0.0.1:{smtp}/client.example --mail-from {bob} --mail-rcpt {ann} -T -\n\
         \n  curl -sS --cacert {folder}/tls/ca.pem -u {ann}:{ann_password} 'imaps://localhost:{imaps}/INBOX;MAILINDEX=1'\n\
         \n  curl -sS --cacert {folder}/tls/ca.pem -u {ann}:{ann_password} pop3s://localhost:{pop3s}/1\n\
         \nIn a mail program: account {ann}, incoming IMAP, server localhost, port {imaps}, SSL/TLS, normal password;\n\
         outgoing SMTP, server localhost, port {}, SSL/TLS, the same; trust {folder}/tls/ca.pem.",
        GATEWAY.submissions()
    );
    tell_what_to_break(directory, processes);
    let leaving = if send {
        "Mail to others leaves for the world, by the DNS.".to_owned()
    } else {
        format!(
            "Mail to others goes nowhere but to {DEMO_SINK}: listen there to see it, or watch it wait with `securanet queue\n\
             list --config {}`. It leaves for the world when the demo is started with --send.",
            STORES[0].file(directory).display()
        )
    };
    println!("\n{leaving}\n\nLogs are beside the node files. Ctrl-C drains and stops all.\n");
}

fn tell_what_to_break(directory: &Path, processes: &Processes) {
    let file = |node: DemoNode| node.file(directory).display().to_string();
    let [north, south, _] = STORES;
    println!(
        "\nBreak it. Watch from {}: what may be lost stands first, then who leads what:\n\
         \n  watch securanet status --config {}\n\
         \nTake a site away, send on, and bring it back: it catches up by itself.\n\
         \n  kill -9 {}\n  {}\n\
         \nTake the gateway away ({}): a store's own ports serve the same accounts.",
        south.name,
        file(south),
        processes.id(north),
        processes.command(north),
        processes.id(GATEWAY)
    );
}
