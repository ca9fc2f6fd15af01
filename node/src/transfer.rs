//! `securanet import` and `securanet export`: whole mailboxes through the admin API, a message at a time.
//!
//! Both can be broken off and repeated. An import gives each message a key: the shard takes a key once within 72
//! hours, and a journal in the user's state folder remembers what was done for longer. An export skips what its
//! Maildir holds already.

use std::{
    collections::HashSet,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};

use anyhow::Context;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    api::{AdminApi, escape},
    cli::{Export, Import},
    maildir::{self, Source, Substitutions},
};

fn progress(total: u64, what: &str) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} {per_sec} {eta} left")?;
    Ok(ProgressBar::new(total).with_style(style).with_message(what.to_owned()))
}

/// What an import did.
#[derive(Default)]
struct Sums {
    imported: u64,
    known: u64,
    substitutions: Substitutions,
    refused: Vec<String>,
}

/// What became of one message.
enum Outcome {
    Imported(Substitutions),
    Known,
    Refused(String),
}

/// The keys that earlier runs have brought over.
struct Journal {
    file: fs::File,
    done: HashSet<String>,
}

impl Journal {
    fn open(import: &Import) -> anyhow::Result<Self> {
        let source = fs::canonicalize(&import.source)?;
        let name = blake3::hash(format!("{}\0{}", import.address, source.display()).as_bytes()).to_hex();
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let state = std::env::var_os("XDG_STATE_HOME").map_or(home.join(".local/state"), PathBuf::from);
        let folder = state.join("securanet");
        fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
        let path = folder.join(format!("import-{}", &name[..16]));
        let done = fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        let file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Self { file, done })
    }

    fn record(&mut self, key: &str) -> std::io::Result<()> {
        self.file.write_all(format!("{key}\n").as_bytes())
    }
}

/// `securanet import`
pub(crate) async fn import(import: Import) -> anyhow::Result<()> {
    let api = AdminApi::of_node(&import.target.config)?;
    let sources = maildir::list(&import.source, &import.mailbox)?;
    make_mailboxes(&api, &import.address, &sources).await?;
    let mut journal = Journal::open(&import)?;
    let bar = progress(sources.len() as u64, "importing")?;
    let mut sums = Sums::default();
    // One after the other, so that UIDs follow the order of the source.
    for source in sources {
        let (key, outcome) = import_one(&api, &import.address, source, &journal.done).await?;
        match outcome {
            Outcome::Imported(counted) => {
                sums.imported += 1;
                sums.substitutions.bare_cr += counted.bare_cr;
                sums.substitutions.nul += counted.nul;
                journal.record(&key)?;
            }
            Outcome::Known => sums.known += 1,
            Outcome::Refused(why) => sums.refused.push(why),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    report(&sums)
}

fn report(sums: &Sums) -> anyhow::Result<()> {
    println!("{} imported, {} known already, {} refused", sums.imported, sums.known, sums.refused.len());
    let Substitutions { bare_cr, nul } = sums.substitutions;
    if bare_cr + nul > 0 {
        println!("{bare_cr} bare CRs became CRLF, {nul} NULs became `?`");
    }
    for why in sums.refused.iter().take(20) {
        println!("!! {why}");
    }
    anyhow::ensure!(sums.refused.is_empty(), "not everything was imported; mend what is listed and repeat the command");
    Ok(())
}

async fn make_mailboxes(api: &AdminApi, address: &str, sources: &[Source]) -> anyhow::Result<()> {
    let path = format!("/v1/accounts/{}/mailboxes", escape(address));
    let rows = api.rows(&path).await?;
    let mut there: HashSet<String> = rows.iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect();
    for source in sources {
        if there.insert(source.mailbox.clone()) {
            api.json(Method::POST, &path, Some(json!({ "name": source.mailbox }))).await?;
        }
    }
    Ok(())
}

async fn import_one(
    api: &AdminApi,
    address: &str,
    source: Source,
    done: &HashSet<String>,
) -> anyhow::Result<(String, Outcome)> {
    let raw = source.bytes.read().with_context(|| format!("message {}", source.name))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(source.mailbox.as_bytes()).update(&[0]).update(source.name.as_bytes()).update(&[0]).update(&raw);
    let key = hasher.finalize().to_hex()[..32].to_owned();
    if done.contains(&key) {
        return Ok((key, Outcome::Known));
    }
    let (message, counted) = maildir::to_crlf(&raw);
    let received = source.received_unix_millis.map(|at| format!("&internal_date_unix_millis={at}")).unwrap_or_default();
    let path = format!(
        "/v1/accounts/{}/messages?mailbox={}&key={key}&flags={}{received}",
        escape(address),
        escape(&source.mailbox),
        escape(&source.flags),
    );
    let outcome = match api.send(Method::POST, &path, "message/rfc822", message).await {
        Err(error) => Outcome::Refused(format!("{}/{}: {error:#}", source.mailbox, source.name)),
        Ok(body) => match serde_json::from_slice::<Value>(&body)?["uid"] {
            Value::Null => Outcome::Known,
            _ => Outcome::Imported(counted),
        },
    };
    Ok((key, outcome))
}

/// `securanet export`
pub(crate) async fn export(export: Export) -> anyhow::Result<()> {
    let api = AdminApi::of_node(&export.target.config)?;
    let account = format!("/v1/accounts/{}", escape(&export.address));
    let mailboxes = api.rows(&format!("{account}/mailboxes")).await?;
    let total = mailboxes.iter().filter_map(|row| row["messages"].as_u64()).sum();
    let bar = progress(total, "exporting")?;
    let mut exported = 0;
    for mailbox in &mailboxes {
        let folder = folder_of(&export.destination, mailbox["name"].as_str().unwrap_or_default())?;
        exported += export_mailbox(&api, &account, mailbox, &folder, &bar).await?;
    }
    bar.finish_and_clear();
    println!("{exported} exported, {} there already", bar.position().saturating_sub(exported));
    Ok(())
}

fn folder_of(root: &Path, mailbox: &str) -> anyhow::Result<PathBuf> {
    let folder =
        if mailbox == "INBOX" { root.to_owned() } else { root.join(format!(".{}", mailbox.replace('/', "."))) };
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).with_context(|| format!("{}", folder.display()))?;
    }
    Ok(folder)
}

fn names_without_flags(folder: &Path) -> anyhow::Result<HashSet<String>> {
    let mut names = HashSet::new();
    for entry in fs::read_dir(folder.join("cur"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.insert(name.split(':').next().unwrap_or_default().to_owned());
    }
    Ok(names)
}

async fn export_mailbox(
    api: &AdminApi,
    account: &str,
    mailbox: &Value,
    folder: &Path,
    bar: &ProgressBar,
) -> anyhow::Result<u64> {
    let there = names_without_flags(folder)?;
    let named = escape(mailbox["name"].as_str().unwrap_or_default());
    let (mut after, mut exported) = (0, 0);
    loop {
        let rows = api.rows(&format!("{account}/messages?mailbox={named}&after_uid={after}")).await?;
        let Some(last) = rows.last() else { return Ok(exported) };
        after = last["uid"].as_u64().unwrap_or(u64::from(u32::MAX));
        for row in &rows {
            let name = format!("{}.{}.securanet", mailbox["uid_validity"], row["uid"]);
            if !there.contains(&name) {
                let path = format!("{account}/messages/{}?mailbox={named}", row["uid"]);
                let bytes = api.send(Method::GET, &path, "application/json", Vec::new()).await?;
                write_message(folder, &name, row, &bytes)?;
                exported += 1;
            }
            bar.inc(1);
        }
    }
}

fn write_message(folder: &Path, name: &str, row: &Value, bytes: &[u8]) -> anyhow::Result<()> {
    let flags = row["flags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let new = folder.join("tmp").join(name);
    let mut file = fs::File::create(&new)?;
    file.write_all(bytes)?;
    let received = Duration::from_millis(row["internal_date_unix_millis"].as_u64().unwrap_or(0));
    file.set_modified(UNIX_EPOCH + received)?;
    file.sync_all()?;
    fs::rename(new, folder.join("cur").join(format!("{name}:2,{}", maildir::letters(flags))))?;
    Ok(())
}
