//! `securanet node`: the cluster's nodes.

use hyper::Method;
use serde_json::json;

use crate::{
    api::{AdminApi, escape},
    cli::Node,
    commands::{print_table, text},
};

const COLUMNS: [(&str, &str); 7] = [
    ("node", "name"),
    ("site", "site"),
    ("store", "store"),
    ("gateway", "gateway"),
    ("address", "address"),
    ("state", "state"),
    ("replica", "replica"),
];

/// `securanet node`
pub(crate) async fn node(api: &AdminApi, action: Node) -> anyhow::Result<()> {
    let set = async |name: &str, state: &str, force: bool| {
        let new = json!({ "state": state, "force": force });
        api.json(Method::PATCH, &format!("/v1/nodes/{}", escape(name)), Some(new)).await
    };
    match action {
        Node::List => print_table(&COLUMNS, &api.rows("/v1/nodes").await?),
        Node::Token { hours } => token(api, hours, None).await?,
        Node::Replace { name, hours } => token(api, hours, Some(&name)).await?,
        Node::Drain { name } => {
            set(&name, "draining", false).await?;
            println!("{name} gives its work away; `securanet status` shows what it still has");
        }
        Node::Resume { name } => {
            set(&name, "active", false).await?;
            println!("{name} does its work again");
        }
        Node::Lead { name, group } => {
            api.json(Method::PUT, &format!("/v1/nodes/{}/leads/{group}", escape(&name)), None).await?;
            println!("{name} leads group {group}");
        }
        Node::Remove { name, force } => {
            set(&name, "removed", force).await?;
            println!("{name} is out of the cluster: stop it, and remove its data");
        }
    }
    Ok(())
}

async fn token(api: &AdminApi, hours: u64, replaces: Option<&str>) -> anyhow::Result<()> {
    let new = json!({ "hours": hours, "replaces": replaces });
    let made = api.json(Method::POST, "/v1/node-tokens", Some(new)).await?;
    // Alone on its line, so that a script may take it.
    println!("{}", text(&made["token"]));
    let whom = replaces.map_or("one node".to_owned(), |name| format!("node {name}"));
    eprintln!("It lets {whom} in within {hours} hours: securanet join --token TOKEN --config NODE_FILE");
    Ok(())
}
