//! `securanet dkim`: the keys that sign a domain's mail, and the DNS records to publish for them.

use anyhow::bail;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    api::{AdminApi, escape},
    cli::{Dkim, DkimAlgorithm},
    commands::print_table,
};

fn path(domain: &str) -> String {
    format!("/v1/domains/{}/dkim", escape(domain))
}

/// `securanet dkim`
pub(crate) async fn dkim(api: &AdminApi, action: Dkim) -> anyhow::Result<()> {
    match action {
        Dkim::Add { domain, algorithm, selector } => add(api, &domain, algorithm, selector).await,
        Dkim::List { domain } => {
            let rows = api.rows(&path(&domain)).await?;
            let columns = [("selector", "selector"), ("algorithm", "algorithm"), ("state", "state")];
            print_table(&columns, &rows);
            rows.iter().for_each(print_record);
            Ok(())
        }
        Dkim::Activate { domain, selector } => activate(api, &domain, selector).await,
        Dkim::Retire { domain, selector } => {
            set(api, &domain, &selector, "retired").await?;
            println!("key {selector} of {domain} signs no more; leave its record in the DNS for a week");
            Ok(())
        }
        Dkim::Remove { domain, selector } => {
            api.json(Method::DELETE, &format!("{}/{}", path(&domain), escape(&selector)), None).await?;
            println!("key {selector} of {domain} removed; its DNS record is not needed any more");
            Ok(())
        }
    }
}

/// Makes a key, or one of each algorithm.
async fn add(
    api: &AdminApi,
    domain: &str,
    algorithm: Option<DkimAlgorithm>,
    selector: Option<String>,
) -> anyhow::Result<()> {
    let wanted: &[DkimAlgorithm] = match &algorithm {
        Some(one) => std::slice::from_ref(one),
        None => &[DkimAlgorithm::Rsa, DkimAlgorithm::Ed25519],
    };
    let today = jiff::Zoned::now().strftime("%Y%m%d").to_string();
    let mut made = Vec::new();
    for algorithm in wanted {
        let (letter, name) = match algorithm {
            DkimAlgorithm::Rsa => ('r', "rsa-sha256"),
            DkimAlgorithm::Ed25519 => ('e', "ed25519-sha256"),
        };
        let selector = selector.clone().unwrap_or_else(|| format!("{letter}{today}"));
        let new = json!({ "selector": selector, "algorithm": name });
        made.push(api.json(Method::POST, &path(domain), Some(new)).await?);
    }
    println!("Publish in the DNS:");
    made.iter().for_each(print_record);
    println!("\nOnce that can be looked up everywhere: securanet dkim activate {domain}");
    Ok(())
}

fn print_record(key: &Value) {
    println!("\n{}", key["zone_line"].as_str().unwrap_or_default());
}

/// Lets one key sign, or each that was not used yet.
async fn activate(api: &AdminApi, domain: &str, selector: Option<String>) -> anyhow::Result<()> {
    let selectors = match selector {
        Some(selector) => vec![selector],
        None => {
            let rows = api.rows(&path(domain)).await?;
            let waiting = rows.iter().filter(|row| row["state"] == "published");
            waiting.filter_map(|row| row["selector"].as_str().map(str::to_owned)).collect()
        }
    };
    if selectors.is_empty() {
        bail!("{domain} has no key that waits to be used: make some with `securanet dkim add {domain}`");
    }
    for selector in selectors {
        set(api, domain, &selector, "active").await?;
        println!("key {selector} signs the mail of {domain}");
    }
    Ok(())
}

async fn set(api: &AdminApi, domain: &str, selector: &str, state: &str) -> anyhow::Result<()> {
    let change = json!({ "state": state });
    api.json(Method::PATCH, &format!("{}/{}", path(domain), escape(selector)), Some(change)).await?;
    Ok(())
}
