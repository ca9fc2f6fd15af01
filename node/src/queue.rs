//! `securanet queue` and `securanet trace`: mail on its way out, as its operator sees it.

use comfy_table::{Table, presets::NOTHING};
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    api::{AdminApi, escape},
    cli::{About, Meant, Queue},
    commands::{print_table, text, time},
};

type Done = anyhow::Result<()>;

/// `securanet queue`
pub(crate) async fn queue(api: &AdminApi, action: Queue) -> Done {
    match action {
        Queue::List { meant, ended, limit, json } => list(api, &meant, ended, limit, json).await,
        Queue::Show { id, json } => show(&[api.get(&format!("/v1/queue/{}", escape(&id))).await?], json),
        Queue::Hold(about) => operate(api, "hold", &about, None).await,
        Queue::Release(about) => operate(api, "release", &about, None).await,
        Queue::Retry(about) => operate(api, "retry", &about, None).await,
        Queue::Cancel(about) => operate(api, "cancel", &about, None).await,
        Queue::Fail(about) => operate(api, "fail", &about, None).await,
        Queue::Reroute { to, about } => operate(api, "reroute", &about, Some(&to)).await,
    }
}

/// `securanet trace`
pub(crate) async fn trace(api: &AdminApi, message_id: &str, json: bool) -> Done {
    show(&api.rows(&format!("/v1/trace?message_id={}", escape(message_id))).await?, json)
}

/// `securanet trace --to`
pub(crate) async fn trace_to(api: &AdminApi, message_id: &str, to: &str, json: bool) -> Done {
    let answer = api.get(&format!("/v1/deliveries?message_id={}&to={}", escape(message_id), escape(to))).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
        return Ok(());
    }
    for found in answer["found"].as_array().into_iter().flatten() {
        println!(
            "in {} of {}, UID {}, since {}, {} bytes\n  from {} to {}\n  received {}",
            text(&found["mailbox"]),
            text(&found["account"]),
            text(&found["uid"]),
            time(found["saved_unix_millis"].as_u64()),
            text(&found["size_bytes"]),
            text(&found["return_path"]),
            text(&found["delivered_to"]),
            text(&found["received"]),
        );
    }
    if answer["complete"] != json!(true) {
        println!("not all messages were looked at: there may be more");
    }
    Ok(())
}

async fn list(api: &AdminApi, meant: &Meant, ended: bool, limit: usize, json: bool) -> Done {
    let mut items: Vec<Value> = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = api.get(&path(meant, ended, after.as_deref())).await?;
        items.extend(page["items"].as_array().into_iter().flatten().cloned());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() || items.len() >= limit {
            break;
        }
    }
    items.sort_by_key(|item| std::cmp::Reverse(item["queued_unix_millis"].as_u64()));
    items.truncate(limit);
    if json {
        println!("{}", serde_json::to_string_pretty(&items)?);
        return Ok(());
    }
    for item in &mut items {
        summarise(item);
    }
    let columns = [
        ("id", "id"),
        ("queued", "queued"),
        ("from", "sender"),
        ("to", "to"),
        ("state", "state"),
        ("next try", "next"),
        ("tries", "tries"),
        ("bytes", "size_bytes"),
        ("last answer", "last"),
    ];
    print_table(&columns, &items);
    if after.is_some() {
        println!("more than {limit}: restrict the list, or give a larger --limit");
    }
    Ok(())
}

fn path(meant: &Meant, ended: bool, after: Option<&str>) -> String {
    let mut path = format!("/v1/queue?ended={ended}");
    let parameters = [
        ("destination", meant.destination.as_deref()),
        ("sender", meant.sender.as_deref()),
        ("recipient", meant.recipient.as_deref()),
        ("after", after),
    ];
    for (name, value) in parameters {
        if let Some(value) = value {
            path += &format!("&{name}={}", escape(value));
        }
    }
    path
}

fn recipients(item: &Value) -> &[Value] {
    item["recipients"].as_array().map_or(&[], Vec::as_slice)
}

/// Adds to an item what one line of the list says of all its recipients.
fn summarise(item: &mut Value) {
    let all = recipients(item);
    let first = all.first().map_or_else(String::new, |recipient| text(&recipient["address"]));
    let to = if all.len() > 1 { format!("{first} and {} more", all.len() - 1) } else { first };
    let mut states: Vec<(String, usize)> = Vec::new();
    for state in all.iter().map(|recipient| text(&recipient["state"])) {
        match states.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += 1,
            None => states.push((state, 1)),
        }
    }
    let state = match states.as_slice() {
        [(state, _)] => state.clone(),
        several => several.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", "),
    };
    let next = all.iter().filter_map(|recipient| recipient["due_unix_millis"].as_u64()).min();
    let tries = all.iter().filter_map(|recipient| recipient["attempts"].as_u64()).max().unwrap_or(0);
    let attempts = all.iter().filter_map(|recipient| recipient["history"].as_array()?.last());
    let last = attempts.max_by_key(|attempt| attempt["at_unix_millis"].as_u64());
    let last = last.map_or(Value::Null, |attempt| json!(shortened(&text(&attempt["answer"]))));
    let added = [
        ("queued", json!(time(item["queued_unix_millis"].as_u64()))),
        ("to", json!(to)),
        ("state", json!(state)),
        ("next", json!(time(next))),
        ("tries", json!(tries)),
        ("last", last),
    ];
    for (key, value) in added {
        item[key] = value;
    }
}

/// As much of an answer as fits beside the rest of a line.
fn shortened(answer: &str) -> String {
    let one_line = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    match one_line.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &one_line[..end]),
        None => one_line,
    }
}

fn show(items: &[Value], json: bool) -> Done {
    if json {
        println!("{}", serde_json::to_string_pretty(items)?);
        return Ok(());
    }
    for item in items {
        println!(
            "message {}  {}\n  queued {} from {} ({}), {} bytes, log id {}",
            text(&item["id"]),
            text(&item["message_id"]),
            time(item["queued_unix_millis"].as_u64()),
            text(&item["sender"]),
            text(&item["origin"]),
            text(&item["size_bytes"]),
            text(&item["trace_id"]),
        );
        recipients(item).iter().for_each(show_recipient);
    }
    Ok(())
}

fn show_recipient(recipient: &Value) {
    let due = recipient["due_unix_millis"].as_u64();
    let when = due.map(|due| format!(", next try {}", time(Some(due)))).unwrap_or_default();
    let uncertain = recipient["uncertain"].as_u64().filter(|count| *count > 0);
    let uncertain = uncertain.map(|count| format!(", {count} uncertain (may have arrived twice)")).unwrap_or_default();
    let told =
        if recipient["end_told"] == json!(true) && recipient["state"] == "failed" { ", sender told" } else { "" };
    println!(
        "  to {} by way of {}: {}{when}{uncertain}{told}",
        text(&recipient["address"]),
        text(&recipient["destination"]),
        text(&recipient["state"]),
    );
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["    ended", "took", "outcome", "status", "server", "TLS", "answer"]);
    let attempts = recipient["history"].as_array().map_or(&[][..], Vec::as_slice);
    for attempt in attempts {
        let whose = if attempt["answer_is_remote"] == json!(true) { "" } else { "(ours) " };
        table.add_row([
            format!("    {}", time(attempt["at_unix_millis"].as_u64())),
            format!("{} ms", text(&attempt["took_millis"])),
            text(&attempt["outcome"]),
            text(&attempt["status"]),
            text(&attempt["host"]),
            text(&attempt["tls"]),
            format!("{whose}{}", text(&attempt["answer"])),
        ]);
    }
    if attempts.is_empty() {
        println!("    not tried yet");
    } else {
        println!("{table}");
    }
}

async fn operate(api: &AdminApi, action: &str, about: &About, to: Option<&str>) -> Done {
    let Meant { destination, sender, recipient } = &about.meant;
    let word = json!({
        "action": action,
        "to": to,
        "id": about.id,
        "destination": destination,
        "sender": sender,
        "recipient": recipient,
        "all": about.all,
    });
    let done = api.json(Method::POST, "/v1/queue", Some(word)).await?;
    let unchanged = done["unchanged"].as_u64().unwrap_or(0);
    let changed = done["changed"].as_u64().unwrap_or(0);
    println!("{action}: {changed} {}", if changed == 1 { "recipient" } else { "recipients" });
    if unchanged > 0 {
        println!("left alone, because their state did not allow it: {unchanged} (look with `queue list`)");
    }
    if let Some(warning) = done["warning"].as_str() {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_list_sums_the_recipients_up() {
        let recipient = |state: &str, due: Value, at: u64| {
            json!({ "address": "bob@remote.example", "state": state, "due_unix_millis": due, "attempts": at,
                "history": [{ "at_unix_millis": at, "answer": format!("450 4.7.1\ttry {at}") }] })
        };
        let mut item = json!({ "queued_unix_millis": 1, "recipients": [
            recipient("waiting", json!(7), 2), recipient("delivered", Value::Null, 3), recipient("waiting", json!(5), 1),
        ] });
        summarise(&mut item);
        let shown = [&item["to"], &item["state"], &item["tries"], &item["last"]].map(text);
        assert_eq!(shown, ["bob@remote.example and 2 more", "2 waiting, 1 delivered", "3", "450 4.7.1 try 3"]);
    }

    #[test]
    fn a_long_answer_is_cut_between_characters() {
        assert_eq!(shortened(&"ä".repeat(100)), format!("{}...", "ä".repeat(60)));
    }

    #[test]
    fn what_is_meant_becomes_a_query() {
        let meant = Meant { destination: Some("a.example".to_owned()), sender: Some("<>".to_owned()), recipient: None };
        assert_eq!(
            path(&meant, true, Some("1-7")),
            "/v1/queue?ended=true&destination=a.example&sender=%3C%3E&after=1-7"
        );
    }
}
