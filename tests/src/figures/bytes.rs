//! What crosses the links between sites.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{Row, Text, await_home, await_quiet, deliver, five_stores, names, octets, since, smtp, three_sites};
use crate::{cluster::sites::Sites, random::Random};

/// Messages of text.
const LETTERS: usize = 500;
/// Who gets the attachment.
const RECIPIENTS: usize = 200;
/// The attachment, before base64.
const ATTACHMENT_BYTES: usize = 10 << 20;

fn worst(links: &BTreeMap<String, u64>) -> u64 {
    links.values().copied().max().unwrap_or(0)
}

/// All links, as multiples of something.
fn each(links: &BTreeMap<String, u64>, of: f64) -> String {
    let links = links.iter().map(|(link, octets)| format!("{link} {:.2}", *octets as f64 / of));
    links.collect::<Vec<_>>().join(", ")
}

/// What goes over each link in a second when nobody does anything.
///
/// # Errors
/// When the cluster does not do what it should.
pub fn idle(seconds: u64) -> anyhow::Result<Vec<Row>> {
    let sites = three_sites(1, Duration::from_millis(20))?;
    await_quiet(&sites)?;
    let before = octets(&sites);
    std::thread::sleep(Duration::from_secs(seconds));
    let went = worst(&since(&sites, &before)) as f64 / seconds as f64 / 1000.0;
    Ok(vec![Row::new("idle traffic, the busiest link", format!("{went:.2} KB/s"), "at most 2 KB/s")])
}

/// What each link carries for an octet of letters of 4 KiB that come in at one site, one after the other, for accounts that
/// all sites lead: what another one leads goes there, and comes back in an entry.
///
/// # Errors
/// When the cluster does not do what it should.
pub fn text(text: &mut Text) -> anyhow::Result<Vec<Row>> {
    let sites = three_sites(6, Duration::from_millis(20))?;
    await_home(&sites)?;
    await_quiet(&sites)?;
    let before = octets(&sites);
    let mut connection = smtp(sites.node("a")?)?;
    let mut mail = 0;
    for number in 0..LETTERS {
        let message = text.message(&format!("t{number}"), 4096);
        mail += message.len();
        deliver(&mut connection, &names(6)[number % 6..=number % 6], &message)?;
    }
    std::thread::sleep(Duration::from_secs(1));
    let went = since(&sites, &before);
    let figure = format!("{:.2} ({})", worst(&went) as f64 / mail as f64, each(&went, mail as f64));
    Ok(vec![Row::new("octets per octet of text mail, the busiest link", figure, "at most 0.5")])
}

/// How often each link carries one attachment for many recipients, who are spread over all groups, and the same once more:
/// with a store in each site, and with two in most.
///
/// # Errors
/// When the cluster does not do what it should.
pub fn attachment() -> anyhow::Result<Vec<Row>> {
    let mut rows = attachment_in("one store a site", &three_sites(RECIPIENTS, Duration::from_millis(20))?)?;
    rows.extend(attachment_in("five stores", &five_stores(RECIPIENTS, Duration::from_millis(20))?)?);
    Ok(rows)
}

fn attachment_in(stores: &str, sites: &Sites) -> anyhow::Result<Vec<Row>> {
    await_quiet(sites)?;
    let mut random = Random::new(11);
    let bytes: Vec<u8> = (0..ATTACHMENT_BYTES).map(|_| random.below(256) as u8).collect();
    let text = STANDARD.encode(bytes);
    let mut rows = Vec::new();
    for (time, wanted) in [("", "at most 1.05"), (", sent again", "at most 0.05")] {
        let before = octets(sites);
        let mut message = format!(
            "From: s@remote.example\r\nMessage-ID: <attachment{}@figures>\r\nMIME-Version: 1.0\r\n\
             Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n",
            rows.len()
        );
        for line in text.as_bytes().chunks(76) {
            let _ = write!(message, "{}\r\n", String::from_utf8_lossy(line));
        }
        let took = deliver(&mut smtp(sites.node("a")?)?, &names(RECIPIENTS), &message)?;
        await_quiet(sites)?;
        let went = since(sites, &before);
        let of = ATTACHMENT_BYTES as f64;
        let figure =
            format!("{:.2} ({}); 250 after {:.1} s", worst(&went) as f64 / of, each(&went, of), took.as_secs_f64());
        let what = format!("copies of 10 MiB for {RECIPIENTS} recipients, {stores}{time}, the busiest link");
        rows.push(Row::new(what, figure, wanted));
    }
    Ok(rows)
}
