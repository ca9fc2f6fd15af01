//! `securanet grant` and `securanet relay`: who may send as whom, and which devices need not log in.

use hyper::Method;
use serde_json::json;

use crate::{
    api::{AdminApi, escape},
    cli::{Grant, Relay},
    commands::{print_table, text},
};

/// `securanet grant`
pub(crate) async fn grant(api: &AdminApi, action: Grant) -> anyhow::Result<()> {
    let grants = |account: &str| format!("/v1/accounts/{}/grants", escape(account));
    let kind = |on_behalf: bool| if on_behalf { "on-behalf" } else { "send-as" };
    match action {
        Grant::Add { account, address, on_behalf } => {
            let new = json!({ "address": address, "kind": kind(on_behalf) });
            api.json(Method::POST, &grants(&account), Some(new)).await?;
            println!("{account} may send {}{address}", if on_behalf { "on behalf of " } else { "as " });
        }
        Grant::List { account } => {
            print_table(&[("address", "address"), ("how", "kind")], &api.rows(&grants(&account)).await?);
        }
        Grant::Remove { account, address, on_behalf } => {
            let path = format!("{}/{}/{}", grants(&account), kind(on_behalf), escape(&address));
            api.json(Method::DELETE, &path, None).await?;
            println!("{account} may no longer send {}{address}", if on_behalf { "on behalf of " } else { "as " });
        }
    }
    Ok(())
}

/// `securanet relay`
pub(crate) async fn relay(api: &AdminApi, action: Relay) -> anyhow::Result<()> {
    match action {
        Relay::Set { name, network, certificate, sender, to, to_anybody, recipients_per_hour } => {
            let new = json!({
                "networks": network,
                "certificates": certificate,
                "senders": sender,
                "recipient_domains": (!to_anybody).then_some(to),
                "recipients_per_hour": recipients_per_hour,
            });
            let set = api.json(Method::PUT, &format!("/v1/relays/{}", escape(&name)), Some(new)).await?;
            println!("relay {name} set: its devices submit mail without logging in");
            for warning in set["warnings"].as_array().into_iter().flatten() {
                eprintln!("warning: {}", text(warning));
            }
        }
        Relay::List => {
            let columns = [
                ("relay", "name"),
                ("from", "networks"),
                ("certificates", "certificates"),
                ("as", "senders"),
                ("to (- is anybody)", "recipient_domains"),
                ("recipients an hour", "recipients_per_hour"),
            ];
            print_table(&columns, &api.rows("/v1/relays").await?);
        }
        Relay::Remove { name } => {
            api.json(Method::DELETE, &format!("/v1/relays/{}", escape(&name)), None).await?;
            println!("relay {name} removed");
        }
    }
    Ok(())
}
