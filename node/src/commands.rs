//! What the operators' commands do: one call of the admin API each, and a table.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context, bail};
use comfy_table::{Table, presets::NOTHING};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    api::{AdminApi, escape},
    cli::{Account, Alias, Domain, Held, Lists, Mailbox, Password, Policy, QuotaArgs},
    forward,
};

type Done = anyhow::Result<()>;

pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// A time of this machine's zone.
pub(crate) fn time(unix_millis: Option<u64>) -> String {
    let millis = unix_millis.and_then(|millis| i64::try_from(millis).ok());
    let stamp = millis.and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    stamp.map_or_else(
        || "-".to_owned(),
        |stamp| stamp.to_zoned(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Writes times for people.
fn tell_times(rows: &mut [Value], fields: &[&str]) {
    for row in rows {
        for field in fields {
            row[*field] = json!(time(row[*field].as_u64()));
        }
    }
}

/// Prints rows as a table: a title and the path of a field (`quota.bytes_max`) for each column.
pub(crate) fn print_table(columns: &[(&str, &str)], rows: &[Value]) {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(columns.iter().map(|(title, _)| *title));
    for row in rows {
        let cell = |path: &str| text(path.split('.').fold(row, |value, key| &value[key]));
        table.add_row(columns.iter().map(|(_, path)| cell(path)));
    }
    println!("{table}");
}

fn quota(quota: &QuotaArgs) -> Value {
    json!({ "bytes_max": quota.quota_bytes, "messages_max": quota.quota_messages })
}

/// Reads a password: from the terminal twice, or one line from standard input.
fn read_password() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        let mut line = String::new();
        stdin.lock().read_line(&mut line).context("no password on standard input")?;
        return Ok(line.trim_end_matches(['\r', '\n']).to_owned());
    }
    let password = rpassword::prompt_password("password: ")?;
    if rpassword::prompt_password("again:    ")? != password {
        bail!("the two differ; nothing was changed");
    }
    Ok(password)
}

/// `securanet domain`
pub(crate) async fn domain(api: &AdminApi, action: Domain) -> Done {
    match action {
        Domain::Add { name } => {
            api.json(Method::POST, "/v1/domains", Some(json!({ "name": name }))).await?;
            println!("domain {name} added");
        }
        Domain::List => {
            let columns = [
                ("domain", "name"),
                ("shown as", "display_name"),
                ("catch-all", "catch_all"),
                ("bytes max", "quota.bytes_max"),
                ("messages max", "quota.messages_max"),
            ];
            print_table(&columns, &api.rows("/v1/domains").await?);
        }
        Domain::Set { name, catch_all, quota: limits } => {
            let given = limits.quota_bytes.is_some() || limits.quota_messages.is_some();
            let change = json!({ "catch_all": catch_all, "quota": given.then(|| quota(&limits)) });
            api.json(Method::PATCH, &format!("/v1/domains/{}", escape(&name)), Some(change)).await?;
            println!("domain {name} changed");
        }
        Domain::Remove { name } => {
            api.json(Method::DELETE, &format!("/v1/domains/{}", escape(&name)), None).await?;
            println!("domain {name} removed");
        }
    }
    Ok(())
}

fn account_path(address: &str) -> String {
    format!("/v1/accounts/{}", escape(address))
}

/// `securanet account`
pub(crate) async fn account(api: &AdminApi, action: Account) -> Done {
    match action {
        Account::Add { address, name, no_password, site, quota: limits } => {
            let password = if no_password { None } else { Some(read_password()?) };
            let new = json!({
                "address": address, "display_name": name, "password": password, "site": site, "quota": quota(&limits)
            });
            api.json(Method::POST, "/v1/accounts", Some(new)).await?;
            println!("account {address} added");
        }
        Account::List { domain } => {
            let filter = domain.map(|domain| format!("?domain={}", escape(&domain))).unwrap_or_default();
            let columns = [
                ("address", "address"),
                ("name", "display_name"),
                ("status", "status"),
                ("bytes max", "quota.bytes_max"),
                ("messages max", "quota.messages_max"),
                ("shard", "group"),
            ];
            print_table(&columns, &api.rows(&format!("/v1/accounts{filter}")).await?);
        }
        Account::Show { address } => {
            let columns = [
                ("address", "address"),
                ("name", "display_name"),
                ("status", "status"),
                ("bytes", "used_bytes"),
                ("of", "quota.bytes_max"),
                ("messages", "used_messages"),
                ("of", "quota.messages_max"),
                ("shard", "group"),
            ];
            print_table(&columns, &[api.get(&account_path(&address)).await?]);
        }
        Account::Suspend { address } => suspend(api, &address, true).await?,
        Account::Resume { address } => suspend(api, &address, false).await?,
        Account::Quota { address, quota: limits } => {
            let change = json!({ "quota": quota(&limits) });
            api.json(Method::PATCH, &account_path(&address), Some(change)).await?;
            println!("quota of {address} set");
        }
        Account::Remove { address, yes } => remove_account(api, &address, yes).await?,
    }
    Ok(())
}

async fn suspend(api: &AdminApi, address: &str, suspended: bool) -> Done {
    api.json(Method::PATCH, &account_path(address), Some(json!({ "suspended": suspended }))).await?;
    println!("account {address} {}", if suspended { "suspended" } else { "resumed" });
    Ok(())
}

async fn remove_account(api: &AdminApi, address: &str, yes: bool) -> Done {
    if !yes {
        print!("remove {address} with all its mail? type its address: ");
        std::io::stdout().flush()?;
        let mut typed = String::new();
        std::io::stdin().lock().read_line(&mut typed)?;
        if typed.trim() != address {
            bail!("that is not {address}; nothing was changed");
        }
    }
    api.json(Method::DELETE, &account_path(address), None).await?;
    println!("account {address} removed");
    Ok(())
}

/// `securanet alias`
pub(crate) async fn alias(api: &AdminApi, action: Alias) -> Done {
    match action {
        Alias::Add { address, target } => {
            let new = json!({ "address": address, "target": target });
            api.json(Method::POST, "/v1/aliases", Some(new)).await?;
            println!("{address} leads to {target}");
            forward::say_what_leaves(api, std::slice::from_ref(&target)).await?;
        }
        Alias::List => {
            print_table(&[("alias", "address"), ("leads to", "target")], &api.rows("/v1/aliases").await?);
        }
        Alias::Remove { address } => {
            api.json(Method::DELETE, &format!("/v1/aliases/{}", escape(&address)), None).await?;
            println!("alias {address} removed");
        }
    }
    Ok(())
}

/// `securanet group`
pub(crate) async fn group(api: &AdminApi, action: Lists) -> Done {
    match action {
        Lists::Set { address, members, owner } => {
            let new = json!({ "members": members, "owner": owner });
            api.json(Method::PUT, &format!("/v1/lists/{}", escape(&address)), Some(new)).await?;
            println!("group {address} has {} members", members.len());
            forward::say_what_leaves(api, &members).await?;
        }
        Lists::List => {
            let columns = [("group", "address"), ("owner", "owner"), ("members", "members")];
            print_table(&columns, &api.rows("/v1/lists").await?);
        }
        Lists::Remove { address } => {
            api.json(Method::DELETE, &format!("/v1/lists/{}", escape(&address)), None).await?;
            println!("group {address} removed");
        }
    }
    Ok(())
}

/// `securanet password`
pub(crate) async fn password(api: &AdminApi, action: Password) -> Done {
    match action {
        Password::Set { address } => {
            let new = json!({ "password": read_password()? });
            api.json(Method::PUT, &format!("{}/password", account_path(&address)), Some(new)).await?;
            println!("password of {address} set");
        }
        Password::Remove { address } => {
            let new = json!({ "password": null });
            api.json(Method::PUT, &format!("{}/password", account_path(&address)), Some(new)).await?;
            println!("password of {address} removed");
        }
        Password::AppAdd { address, label } => {
            let path = format!("{}/app-passwords", account_path(&address));
            let made = api.json(Method::POST, &path, Some(json!({ "label": label }))).await?;
            println!("device password {} of {address}, shown only now: {}", text(&made["id"]), text(&made["password"]));
        }
        Password::AppList { address } => {
            let mut rows = api.rows(&format!("{}/app-passwords", account_path(&address))).await?;
            tell_times(&mut rows, &["created_unix_millis"]);
            print_table(&[("number", "id"), ("label", "label"), ("made", "created_unix_millis")], &rows);
        }
        Password::AppRemove { address, id } => {
            api.json(Method::DELETE, &format!("{}/app-passwords/{id}", account_path(&address)), None).await?;
            println!("device password {id} of {address} removed");
        }
    }
    Ok(())
}

/// `securanet mailbox`
pub(crate) async fn mailbox(api: &AdminApi, action: Mailbox) -> Done {
    match action {
        Mailbox::List { address } => {
            let columns = [
                ("mailbox", "name"),
                ("use", "special_use"),
                ("messages", "messages"),
                ("unseen", "unseen"),
                ("bytes", "size_bytes"),
            ];
            print_table(&columns, &api.rows(&format!("{}/mailboxes", account_path(&address))).await?);
        }
        Mailbox::Create { address, name } => {
            let path = format!("{}/mailboxes", account_path(&address));
            api.json(Method::POST, &path, Some(json!({ "name": name }))).await?;
            println!("mailbox {name} made");
        }
        Mailbox::Rename { address, from, to } => {
            let path = format!("{}/mailboxes/{}", account_path(&address), escape(&from));
            api.json(Method::PATCH, &path, Some(json!({ "name": to }))).await?;
            println!("mailbox {from} is {to} now");
        }
        Mailbox::Delete { address, name } => {
            let path = format!("{}/mailboxes/{}", account_path(&address), escape(&name));
            api.json(Method::DELETE, &path, None).await?;
            println!("mailbox {name} deleted");
        }
    }
    Ok(())
}

/// `securanet policy`
pub(crate) async fn policy(api: &AdminApi, action: Policy) -> Done {
    match action {
        Policy::List => {
            let mut rows = api.rows("/v1/policies").await?;
            for row in &mut rows {
                let set = row["values"].as_array().into_iter().flatten();
                let shown: Vec<_> =
                    set.map(|each| format!("{}={}", text(&each["scope"]), text(&each["value"]))).collect();
                row["set"] = json!(shown.join("\n"));
                let scopes = row["scopes"].as_array().into_iter().flatten().map(text).collect::<Vec<_>>();
                row["scopes"] = json!(scopes.join(", "));
            }
            let columns = [
                ("policy", "key"),
                ("value", "kind"),
                ("unit", "unit"),
                ("default", "default"),
                ("for", "scopes"),
                ("set", "set"),
                ("what it does", "about"),
            ];
            print_table(&columns, &rows);
        }
        Policy::Explain { sender, recipient } => {
            let path = format!("/v1/policies/explain?sender={}&recipient={}", escape(&sender), escape(&recipient));
            let columns = [
                ("policy", "key"),
                ("value", "value"),
                ("unit", "unit"),
                ("set by", "scope"),
                ("default", "default"),
                ("goes by", "of"),
            ];
            print_table(&columns, &api.rows(&path).await?);
        }
        Policy::Set { key, value, domain, account } => {
            let new = json!({ "value": value, "domain": domain, "account": account });
            api.json(Method::PUT, &format!("/v1/policies/{}", escape(&key)), Some(new)).await?;
            println!("policy {key} set");
        }
    }
    Ok(())
}

/// `securanet held`
pub(crate) async fn held(api: &AdminApi, action: Held) -> Done {
    match action {
        Held::List => {
            let mut rows = all_held(api).await?;
            tell_times(&mut rows, &["since_unix_millis", "queued_unix_millis"]);
            let columns = [
                ("id", "id"),
                ("account", "account"),
                ("address", "address"),
                ("why", "refusal"),
                ("since", "since_unix_millis"),
                ("acknowledged", "queued_unix_millis"),
                ("from", "sender"),
                ("bytes", "size_bytes"),
            ];
            print_table(&columns, &rows);
        }
        Held::Release { id, to } => {
            let path = format!("/v1/held/{}/release", escape(&id));
            api.json(Method::POST, &path, Some(json!({ "to": to }))).await?;
            println!("{id} is tried again; if it is refused again, `held list` shows it under another id");
        }
        Held::Discard { id } => {
            api.json(Method::DELETE, &format!("/v1/held/{}", escape(&id)), None).await?;
            println!("{id} discarded");
        }
    }
    Ok(())
}

async fn all_held(api: &AdminApi) -> anyhow::Result<Vec<Value>> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map(|row| format!("?after={}", escape(&text(&row["id"])))).unwrap_or_default();
        let rows = api.rows(&format!("/v1/held{after}")).await?;
        if rows.is_empty() {
            return Ok(all);
        }
        all.extend(rows);
    }
}

/// `securanet status`
pub(crate) async fn status(api: &AdminApi, as_json: bool) -> Done {
    let status = api.get("/v1/status").await?;
    if as_json {
        println!("{}", serde_json::to_string_pretty(&status)?);
        return Ok(());
    }
    for problem in status["problems"].as_array().into_iter().flatten() {
        println!("!! {}", text(problem));
    }
    println!(
        "{} {} (cluster {}): {} bytes of data, {} bytes free, reserve {}",
        text(&status["hostname"]),
        text(&status["version"]),
        text(&status["cluster"]),
        text(&status["data_bytes"]),
        text(&status["disk_free_bytes"]),
        text(&status["disk_reserve_bytes"]),
    );
    let nodes = status["nodes"].as_array().map_or(&[][..], Vec::as_slice);
    if !nodes.is_empty() {
        let survives = &status["survives"];
        let may = |what: &str| if survives[what] == json!(true) { "yes" } else { "NO" };
        println!("survives the loss of any node: {}, of any site: {}", may("any_node"), may("any_site"));
        for not in survives["not"].as_array().into_iter().flatten() {
            println!("   not of {}", text(not));
        }
        let columns = [
            ("node", "name"),
            ("site", "site"),
            ("roles", "roles"),
            ("state", "state"),
            ("answers", "answers"),
            ("leads groups", "leads"),
            ("votes", "votes"),
            ("disk free", "disk_free_bytes"),
            ("reserve", "disk_reserve_bytes"),
            ("parts awaited", "blobs_awaited"),
            ("bytes to come", "blobs_awaited_bytes"),
        ];
        print_table(&columns, nodes);
    }
    let columns = [
        ("group", "group"),
        ("leader", "leader"),
        ("voters", "voters"),
        ("learners", "learners"),
        ("lag", "lag_entries"),
        ("hollow", "hollow"),
        ("term", "term"),
        ("log", "last_log_index"),
        ("applied", "applied_index"),
        ("accounts", "accounts"),
        ("messages", "messages"),
        ("bytes", "bytes"),
        ("pending", "pending"),
        ("held", "held"),
        ("repeats", "repeats_suppressed"),
        ("out waiting", "outbound.waiting"),
        ("trying", "outbound.taken"),
        ("on hold", "outbound.held"),
        ("sent", "outbound.delivered"),
        ("failed", "outbound.failed"),
        ("uncertain", "outbound.uncertain"),
        ("due for s", "outbound.oldest_due_seconds"),
    ];
    // A gateway alone that reaches no store has none.
    let groups = status["groups"].as_array().map_or(&[][..], Vec::as_slice);
    if !groups.is_empty() {
        print_table(&columns, groups);
    }
    Ok(())
}

/// `securanet scrub`
pub(crate) async fn scrub(api: &AdminApi) -> Done {
    let report = api.json(Method::POST, "/v1/scrub", None).await?;
    println!(
        "{} blobs and {} references verified, {} findings",
        text(&report["blobs_verified"]),
        text(&report["references_verified"]),
        text(&report["findings"]),
    );
    for finding in report["first_findings"].as_array().into_iter().flatten() {
        println!("!! {}: {}", text(&finding["blob"]), text(&finding["problem"]));
    }
    if report["findings"] != json!(0) {
        bail!("the store is damaged: restore what is listed from a backup, and check the disk");
    }
    Ok(())
}
