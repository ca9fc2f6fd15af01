//! What stands in `deploy/` speaks of what there is: each metric that an alert or a panel asks for is one that we record,
//! and the sample node file opens submission's ports.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, ensure};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const PREFIX: &str = "securanet_";

/// The words with our prefix in a text.
fn metrics(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    let word = |(at, _)| -> String { text[at..].chars().take_while(|letter| is_part(*letter)).collect() };
    // A histogram is scraped as its buckets.
    let word = |at| word(at).trim_end_matches("_bucket").to_owned();
    text.match_indices(PREFIX).map(word).collect()
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(Path::new(ROOT).join(path)).with_context(|| path.to_owned())
}

#[test]
fn alerts_and_panels_ask_for_metrics_that_there_are() -> anyhow::Result<()> {
    let of_clusters = ["raft/src/metric.rs", "node/src/report.rs", "node/src/run.rs"];
    for (subject, sources) in [("outbound", &["gateway/delivery/src/metric.rs"][..]), ("cluster", &of_clusters)] {
        let sources = sources.iter().map(|path| read(path)).collect::<anyhow::Result<String>>()?;
        let recorded = metrics(&sources);
        for path in [format!("deploy/prometheus/{subject}.rules.yaml"), format!("deploy/grafana/{subject}.json")] {
            let asked = metrics(&read(&path)?);
            ensure!(asked.len() >= 7, "{path} asks for {asked:?} only");
            let unknown: Vec<_> = asked.difference(&recorded).collect();
            ensure!(unknown.is_empty(), "{path}: nothing records {unknown:?}");
        }
    }
    Ok(())
}

#[test]
fn each_dashboard_is_json_whose_panels_have_their_own_places() -> anyhow::Result<()> {
    for subject in ["outbound", "cluster"] {
        let dashboard: serde_json::Value = serde_json::from_str(&read(&format!("deploy/grafana/{subject}.json"))?)?;
        let panels = dashboard["panels"].as_array().context("panels")?;
        let places: BTreeSet<_> = panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
        ensure!(!panels.is_empty() && places.len() == panels.len(), "{subject}: panels lie on each other");
    }
    Ok(())
}

#[test]
fn the_sample_opens_submission_where_clients_look_for_it() -> anyhow::Result<()> {
    let sample: toml::Value = toml::from_str(&read("deploy/node.toml")?)?;
    let listeners = sample["listener"].as_array().context("listeners")?;
    for (port, tls) in [(":587", None), (":465", Some("implicit"))] {
        let opens = |listener: &&toml::Value| {
            let address = listener["address"].as_str().is_some_and(|address| address.ends_with(port));
            address && listener["protocol"].as_str() == Some("submission")
        };
        let listener = listeners.iter().find(opens).with_context(|| format!("no submission on {port}"))?;
        ensure!(listener.get("tls").and_then(toml::Value::as_str) == tls, "{port}: {listener}");
    }
    Ok(())
}
