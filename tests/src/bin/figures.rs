//! Figures of a cluster of three sites, as a table: `figures --help`.

use anyhow::{Context, bail};
use securanet_tests::figures::{self, Row, Text};

const HELP: &str = "\
figures [--text FILE] [--rounds N] [--seconds N] [--messages N] [PART ...]

Measures a cluster of three sites on this machine and prints a table. Run it on a quiet machine.

Parts (all of them when none is named):
  latency     the answer to the final dot at 0, 20 and 80 ms between sites
  outage      time without service after the loss of a node and of a site, at 20 and 80 ms
  rate        messages per second and CPU of three nodes against one
  text        octets between sites per octet of text mail
  attachment  copies of 10 MiB for 200 recipients between sites, once and again, of one and of two stores a site
  idle        traffic between sites when nobody does anything
  back        time and octets to bring a node back, after an absence and without its disk

--text FILE   text to make bodies of (at least 1 MiB; default: drawn words, which compress worse than language)
--rounds N    losses of each kind (default 20)
--seconds N   how long rate and idle traffic are measured (default 30)
--messages N  what a node that is brought back has missed (default 2000)
";

const PARTS: [&str; 7] = ["latency", "outage", "rate", "text", "attachment", "idle", "back"];

struct Wanted {
    text: Option<String>,
    rounds: usize,
    seconds: u64,
    messages: usize,
    parts: Vec<String>,
}

fn wanted(words: &[String]) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted { text: None, rounds: 20, seconds: 30, messages: 2000, parts: Vec::new() };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--text" => wanted.text = Some(value()?.clone()),
            "--rounds" => wanted.rounds = value()?.parse().context("--rounds")?,
            "--seconds" => wanted.seconds = value()?.parse().context("--seconds")?,
            "--messages" => wanted.messages = value()?.parse().context("--messages")?,
            part if PARTS.contains(&part) => wanted.parts.push(part.to_owned()),
            other => bail!("{other:?} is no part of the figures; --help names them"),
        }
    }
    if wanted.parts.is_empty() {
        wanted.parts = PARTS.map(str::to_owned).into();
    }
    Ok(wanted)
}

fn measure(part: &str, wanted: &Wanted, text: &mut Text) -> anyhow::Result<Vec<Row>> {
    match part {
        "latency" => figures::latency(text),
        "outage" => figures::outages(text, wanted.rounds),
        "rate" => figures::rate(text, wanted.seconds),
        "text" => figures::text(text),
        "attachment" => figures::attachment(),
        "idle" => figures::idle(wanted.seconds),
        "back" => figures::bring_back(text, wanted.messages),
        other => bail!("{other:?} is no part of the figures"),
    }
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{HELP}");
        return Ok(());
    }
    let wanted = wanted(&words)?;
    let mut text = Text::new(wanted.text.as_deref())?;
    let mut rows = Vec::new();
    for part in &wanted.parts {
        eprintln!("measuring: {part}");
        rows.extend(measure(part, &wanted, &mut text).with_context(|| part.clone())?);
    }
    print!("{}", figures::table(&rows));
    Ok(())
}
