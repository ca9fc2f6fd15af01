//! What a cluster of three sites does and costs, measured with real processes and links that are slowed down.
//!
//! Each part builds a cluster of its own (sites `north`, `south` and `west`, one node that is store and gateway in each, or
//! two where it says so) and gives the rows of a table: what was measured, the figure, and what it is to be at most.

mod back;
mod bytes;
mod outage;
mod speed;

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{
    cluster::{
        node::{Node, Role},
        sites::{Place, Plan, Sites},
    },
    dialogue::Dialogue,
    random::Random,
    server::address,
};

pub use self::{
    back::bring_back,
    bytes::{attachment, idle, text},
    outage::outages,
    speed::{latency, rate},
};

/// The nodes and their sites.
const NODES: [(&str, &str); 3] = [("a", "north"), ("b", "south"), ("c", "west")];
/// The second nodes of sites.
const SECOND_NODES: [(&str, &str); 2] = [("d", "north"), ("e", "south")];
/// A link is quiet when so little more than nothing goes over it in a second, both directions together.
const QUIET_OCTETS: u64 = 8 * 1024;
/// What a cluster has to do in the background is done within this.
const PATIENCE: Duration = Duration::from_secs(300);

/// One line of the table.
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure, with its unit.
    pub figure: String,
    /// What it is to be; empty where nothing was asked for.
    pub wanted: String,
}

impl Row {
    fn new(what: impl Into<String>, figure: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self { what: what.into(), figure: figure.into(), wanted: wanted.into() }
    }
}

/// The rows as a table in Markdown.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut text = "| measured | figure | wanted |\n|---|---|---|\n".to_owned();
    for Row { what, figure, wanted } in rows {
        let _ = writeln!(text, "| {what} | {figure} | {wanted} |");
    }
    text
}

/// Text to make bodies of, each from another place: what was sent before must not look as if it compressed well.
pub struct Text {
    text: String,
    taken: usize,
}

/// From one body's place to the next one's. A prime: all places are taken before the first comes again.
const STEP: usize = 1_000_003;

impl Text {
    /// Of this file; where there is none, of words that are drawn.
    ///
    /// # Errors
    /// When the file cannot be read, or is short.
    pub fn new(file: Option<&str>) -> anyhow::Result<Self> {
        let text = match file {
            Some(file) => fs::read_to_string(file).with_context(|| file.to_owned())?,
            None => drawn_words(&mut Random::new(7)),
        };
        ensure!(text.len() >= 1 << 20, "at least 1 MiB of text is needed, there are {} octets", text.len());
        Ok(Self { text, taken: 0 })
    }

    /// A message with about so many octets of text.
    fn message(&mut self, id: &str, octets: usize) -> String {
        let places = (self.text.len() / octets).saturating_sub(1).max(1);
        let place = self.taken.wrapping_mul(STEP) % places;
        self.taken += 1;
        let from = (place * octets..).find(|at| self.text.is_char_boundary(*at)).unwrap_or(0);
        let to = (from + octets..).find(|at| self.text.is_char_boundary(*at)).unwrap_or(from);
        let body = self.text[from..to].lines().map(|line| format!("{}\r\n", line.trim_start_matches('.')));
        format!(
            "From: s@remote.example\r\nSubject: {id}\r\nMessage-ID: <{id}@figures>\r\n\r\n{}",
            body.collect::<String>()
        )
    }
}

fn drawn_words(random: &mut Random) -> String {
    let words: Vec<String> = (0..3000)
        .map(|_| (0..3 + random.below(7)).map(|_| char::from(b'a' + random.below(26) as u8)).collect())
        .collect();
    let mut text = String::new();
    while text.len() < 4 << 20 {
        // Some are common, most are rare.
        let bound = random.below(words.len()) + 1;
        text += &words[random.below(bound)];
        text.push(if random.below(12) == 0 { '\n' } else { ' ' });
    }
    text
}

/// Three sites with this round trip between any two of them.
fn three_sites(accounts: usize, round_trip: Duration) -> anyhow::Result<Sites> {
    let places = NODES.iter().map(|(node, site)| Place::new(node, site, Role::Both)).collect();
    sites(places, accounts, round_trip)
}

/// The three nodes beside each other.
fn one_site(accounts: usize) -> anyhow::Result<Sites> {
    let places = NODES.iter().map(|(node, _)| Place::new(node, "north", Role::Both)).collect();
    sites(places, accounts, Duration::ZERO)
}

/// The same with a second node in two of them: five stores, of which no site has a majority.
fn five_stores(accounts: usize, round_trip: Duration) -> anyhow::Result<Sites> {
    let nodes = NODES.iter().chain(&SECOND_NODES);
    sites(nodes.map(|(node, site)| Place::new(node, site, Role::Both)).collect(), accounts, round_trip)
}

fn sites(places: Vec<Place>, accounts: usize, round_trip: Duration) -> anyhow::Result<Sites> {
    let sites = Sites::start(&Plan { places, accounts: names(accounts), seed: 1, ..Plan::default() })?;
    sites.all_wires().for_each(|(_, wire)| wire.set_latency(round_trip / 2, Duration::ZERO));
    Ok(sites)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("u{number}")).collect()
}

fn smtp(node: &Node) -> anyhow::Result<Dialogue> {
    Dialogue::smtp(node.address("smtp").context("it has no SMTP")?, "EHLO")
}

/// Delivers over an open connection; how long the answer to the final dot took.
fn deliver(smtp: &mut Dialogue, to: &[String], message: &str) -> anyhow::Result<Duration> {
    smtp.expect("MAIL FROM:<s@remote.example>", "250")?;
    for local in to {
        smtp.expect(&format!("RCPT TO:<{}>", address(local)), "250")?;
    }
    smtp.expect("DATA", "354")?;
    let start = Instant::now();
    let reply = smtp.send_data(message.as_bytes())?;
    ensure!(reply.starts_with("250"), "{reply}");
    Ok(start.elapsed())
}

/// What has gone over each link, both directions together.
fn octets(sites: &Sites) -> BTreeMap<String, u64> {
    let mut links = BTreeMap::new();
    for ((from, to), octets) in sites.octets() {
        let link = if from < to { format!("{from}-{to}") } else { format!("{to}-{from}") };
        *links.entry(link).or_default() += octets.sent;
    }
    links
}

/// What went over each link since then.
fn since(sites: &Sites, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    octets(sites).into_iter().map(|(link, now)| (link.clone(), now - before.get(&link).copied().unwrap_or(0))).collect()
}

/// Waits until hardly anything goes over any link for three seconds.
fn await_quiet(sites: &Sites) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut quiet = 0;
    while quiet < 3 {
        ensure!(start.elapsed() < PATIENCE, "the links do not become quiet");
        let before = octets(sites);
        std::thread::sleep(Duration::from_secs(1));
        let still = since(sites, &before).values().all(|octets| *octets < QUIET_OCTETS);
        quiet = if still { quiet + 1 } else { 0 };
    }
    Ok(())
}

/// Waits until groups are led in their home sites: by each of the three nodes as many as by the others.
fn await_home(sites: &Sites) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let status: Value = serde_json::from_str(&sites.node("a")?.cli(&["status", "--json"], "")?)?;
        let groups = status["groups"].as_array().context("groups")?;
        let led = |(node, _): &(&str, &str)| groups.iter().filter(|group| group["leader"] == **node).count();
        let led: Vec<usize> = NODES.iter().map(led).collect();
        if led.iter().all(|led| *led == groups.len() / NODES.len()) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "the leaders do not go home: {led:?} of {} groups", groups.len());
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn millis(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

/// The value below which this share of them lies.
fn share(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let at = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn shares_are_of_what_was_measured() {
        let mut values: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(share(&mut values, 0.5), Duration::from_millis(50));
        assert_eq!(share(&mut values, 0.99), Duration::from_millis(99));
        assert_eq!(share(&mut values, 1.0), Duration::from_millis(100));
        assert_eq!(share(&mut [Duration::from_millis(7)], 0.5), Duration::from_millis(7));
    }

    #[test]
    fn messages_have_their_size_and_differ() {
        let mut text = Text::new(None).unwrap();
        let (one, other) = (text.message("1", 4096), text.message("2", 4096));
        assert!((4096..4600).contains(&one.len()) && one != other, "{}", one.len());
        let body = |message: String| message.split_once("\r\n\r\n").unwrap().1.to_owned();
        let (mut text, places) = (Text::new(None).unwrap(), (4 << 20) / 4096 - 1);
        let bodies: BTreeSet<_> = (0..places).map(|_| body(text.message("1", 4096))).collect();
        assert_eq!(bodies.len(), places, "a body came twice");
        assert!(bodies.contains(&body(text.message("1", 4096))), "behind the last place it begins anew");
    }
}
