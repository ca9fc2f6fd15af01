//! `securanet forward`: where accounts' mail is sent on to.

use hyper::Method;
use serde_json::json;

use crate::{
    api::{AdminApi, escape},
    cli::Forward,
    commands::print_table,
};

const COLUMNS: [(&str, &str); 3] = [("account", "address"), ("sent on to", "to"), ("keeps a copy", "keep")];

/// `securanet forward`
pub(crate) async fn forward(api: &AdminApi, action: Forward) -> anyhow::Result<()> {
    let path = |address: &str| format!("/v1/accounts/{}/forwarding", escape(address));
    match action {
        Forward::Set { address, to, no_copy } => {
            let new = json!({ "to": to, "keep": !no_copy });
            api.json(Method::PUT, &path(&address), Some(new)).await?;
            let copy = if no_copy { "no copy is kept" } else { "a copy is kept" };
            println!("mail for {address} is sent on to {}; {copy}", to.join(", "));
            say_what_leaves(api, &to).await?;
        }
        Forward::Show { address } => {
            let shown = api.json(Method::GET, &path(&address), None).await?;
            print_table(&COLUMNS, &[shown]);
        }
        Forward::List => print_table(&COLUMNS, &api.rows("/v1/forwardings").await?),
        Forward::Remove { address } => {
            api.json(Method::DELETE, &path(&address), None).await?;
            println!("mail for {address} is not sent on any more");
        }
    }
    Ok(())
}

/// Says which of these addresses are outside: their mail leaves these servers.
pub(crate) async fn say_what_leaves(api: &AdminApi, addresses: &[String]) -> anyhow::Result<()> {
    let domains = api.rows("/v1/domains").await?;
    let ours = |address: &str| {
        let domain = address.rsplit('@').next().unwrap_or_default();
        domains.iter().any(|row| row["name"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(domain)))
    };
    let outside: Vec<&str> = addresses.iter().map(String::as_str).filter(|address| !ours(address)).collect();
    if !outside.is_empty() {
        println!("note: mail leaves for {}, outside our domains", outside.join(", "));
    }
    Ok(())
}
