//! Sites from a command line: one line, one command.

use std::{fmt::Write as _, sync::Arc, thread::sleep, time::Duration};

use anyhow::{Context, bail};

use super::{
    node::{Role, State},
    sites::{Place, Plan, Sites},
};
use crate::{
    link::Wire,
    server::{PASSWORD, address},
};

/// What `sites --help` says.
pub const HELP: &str = "\
sites: a cluster of real processes in sites on this machine, with links between the sites that can be made slow, stalled
and cut. Reads commands from its input, one a line; ends, with all its processes, when its input ends.

    sites [--account NAME]... [--config FILE] [SITE=NODE:ROLE]...

ROLE is store, gateway or both; the first node must keep mail. Without nodes: north=a:both south=b:both west=c:both
south=x:gateway, so that any site may be lost.
FILE has lines for all node files. Accounts are ann, bob and cid unless told otherwise.

SITE below is a site or one node of it:

    status                        nodes, where they listen, and the links
    bytes                         octets between the sites: put in, arrived, lost
    latency SITE SITE MS [MS]     one way, in both directions; the second number is jitter
    rate SITE SITE KIB            KiB a second in each direction; 0: without bound. Sites only
    stall SITE SITE               nothing passes and nothing is lost, until heal
    cut SITE SITE                 nothing passes, what is on the way is lost, nobody is told
    cut SITE > SITE               in this direction only
    heal [SITE SITE]              ends cuts and stalls there, or everywhere; broken connections end with RST
    kill NODE                     SIGKILL
    stop NODE                     SIGTERM
    start NODE                    starts it again and waits until it listens
    pause NODE | resume NODE      SIGSTOP, SIGCONT
    log NODE                      the last lines of its log
    cli NODE WORD...              securanet WORD... at this node, for instance: cli a status
    wait SECONDS                  for scripts
    help, quit
";

/// The last lines that `log` shows.
const LOG_LINES: usize = 30;

/// Sites under somebody's hands.
pub struct Console {
    sites: Sites,
    accounts: Vec<String>,
}

/// What the words of a command line ask for.
///
/// # Errors
/// With what is wrong about them.
pub fn plan(words: &[String]) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--account" => plan.accounts.push(words.next().context("--account NAME")?.clone()),
            "--config" => {
                let file = words.next().context("--config FILE")?;
                plan.config = std::fs::read_to_string(file).with_context(|| file.clone())?;
            }
            place => plan.places.push(parse_place(place)?),
        }
    }
    if plan.places.is_empty() {
        let places = ["north=a:both", "south=b:both", "west=c:both", "south=x:gateway"];
        plan.places = places.map(parse_place).into_iter().collect::<Result<_, _>>()?;
    }
    if plan.accounts.is_empty() {
        plan.accounts = ["ann", "bob", "cid"].map(str::to_owned).into();
    }
    Ok(plan)
}

fn parse_place(text: &str) -> anyhow::Result<Place> {
    let parts = text.split_once('=').and_then(|(site, rest)| Some((site, rest.split_once(':')?)));
    let Some((site, (node, role))) = parts else { bail!("{text:?} is not SITE=NODE:ROLE") };
    let role = match role {
        "store" => Role::Store,
        "gateway" => Role::Gateway,
        "both" => Role::Both,
        other => bail!("{other:?} is no role: store, gateway or both"),
    };
    Ok(Place::new(node, site, role))
}

impl Console {
    /// Starts the sites.
    ///
    /// # Errors
    /// When a node does not start.
    pub fn start(plan: &Plan) -> anyhow::Result<Self> {
        Ok(Self { sites: Sites::start(plan)?, accounts: plan.accounts.clone() })
    }

    /// Does what a line says; gives what is to be shown, or nothing when it says to quit.
    ///
    /// # Errors
    /// When it cannot be done, with what to do.
    pub fn obey(&self, line: &str) -> anyhow::Result<Option<String>> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let done = match words.as_slice() {
            [] => String::new(),
            ["quit"] => return Ok(None),
            ["help"] => HELP.to_owned(),
            ["status"] => self.status()?,
            ["bytes"] => self.bytes(),
            ["latency", one, other, latency] => self.latency(one, other, latency, "0")?,
            ["latency", one, other, latency, jitter] => self.latency(one, other, latency, jitter)?,
            ["rate", one, other, rate] => self.rate(one, other, rate)?,
            ["stall", one, other] => each(&self.sites.between(one, other)?, |wire| wire.set_stalled(true)),
            ["cut", one, ">", other] => {
                self.sites.between(one, other)?;
                each(&self.sites.wires(one, other), |wire| wire.cut())
            }
            ["cut", one, other] => each(&self.sites.between(one, other)?, |wire| wire.cut()),
            ["heal"] => {
                self.sites.heal();
                "all links pass\n".to_owned()
            }
            ["heal", one, other] => each(&self.sites.between(one, other)?, |wire| {
                wire.set_stalled(false);
                wire.heal();
            }),
            ["kill", node] => self.sites.node(node)?.kill().map(|()| format!("{node} is gone\n"))?,
            ["stop", node] => self.sites.node(node)?.terminate().map(|()| format!("{node} has ended\n"))?,
            ["start", node] => self.sites.node(node)?.start().map(|()| format!("{node} listens\n"))?,
            ["pause", node] => self.sites.node(node)?.pause().map(|()| format!("{node} stands still\n"))?,
            ["resume", node] => self.sites.node(node)?.resume().map(|()| format!("{node} goes on\n"))?,
            ["log", node] => {
                let log = self.sites.node(node)?.log();
                let lines: Vec<&str> = log.lines().collect();
                lines[lines.len().saturating_sub(LOG_LINES)..].join("\n") + "\n"
            }
            ["cli", node, words @ ..] => {
                let output = self.sites.node(node)?.try_cli(words, "")?;
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
            }
            ["wait", seconds] => {
                sleep(Duration::from_secs_f64(seconds.parse().context("wait SECONDS")?));
                String::new()
            }
            _ => bail!("{line:?} is no command; `help` lists them"),
        };
        Ok(Some(done))
    }

    fn latency(&self, one: &str, other: &str, latency: &str, jitter: &str) -> anyhow::Result<String> {
        let [latency, jitter] = [latency, jitter].map(|text| text.parse().map(Duration::from_millis));
        let (latency, jitter) = (latency.context("milliseconds")?, jitter.context("milliseconds")?);
        Ok(each(&self.sites.between(one, other)?, |wire| wire.set_latency(latency, jitter)))
    }

    fn rate(&self, one: &str, other: &str, rate: &str) -> anyhow::Result<String> {
        let rate: u64 = rate.parse().context("KiB a second")?;
        let pipes = self.sites.pipes(one, other);
        if pipes.is_empty() {
            bail!("there is nothing between {one} and {other}: sites are {}", self.sites.sites().join(", "));
        }
        pipes.iter().for_each(|pipe| pipe.set_rate((rate > 0).then_some(rate << 10)));
        Ok(format!("{} pipes\n", pipes.len()))
    }

    fn status(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        for node in self.sites.nodes() {
            let state = node.state().unwrap_or(State::Down);
            write!(
                text,
                "{:8} {:8} {:8} {:9}",
                node.site,
                node.name,
                format!("{:?}", node.role),
                format!("{state:?}")
            )?;
            for listener in ["smtp", "submission", "imap", "admin"] {
                if let Some(at) = node.address(listener) {
                    write!(text, " {listener} {at}")?;
                }
            }
            text.push('\n');
        }
        let used = self.sites.all_wires().filter(|(_, wire)| wire.octets().sent > 0);
        for ((from, to), wire) in used {
            let state = if wire.is_cut() {
                "cut"
            } else if wire.is_stalled() {
                "stalled"
            } else {
                "open"
            };
            let rate = wire.pipe().rate().map(|rate| format!(", {} KiB/s", rate >> 10)).unwrap_or_default();
            writeln!(text, "{from} to {to}: {state}, {} ms{rate}", wire.latency().as_millis())?;
        }
        let names: Vec<String> = self.accounts.iter().map(|local| address(local)).collect();
        writeln!(
            text,
            "accounts {} with the password {PASSWORD:?}; login without TLS is allowed here",
            names.join(", ")
        )?;
        Ok(text)
    }

    fn bytes(&self) -> String {
        let line = |((from, to), octets): (_, crate::link::Octets)| {
            format!("{from} to {to}: {} put in, {} arrived, {} lost\n", octets.sent, octets.delivered, octets.lost)
        };
        self.sites.octets().into_iter().map(|((from, to), octets)| line(((from, to), octets))).collect()
    }
}

fn each(wires: &[Arc<Wire>], change: impl Fn(&Wire)) -> String {
    wires.iter().for_each(|wire| change(wire));
    format!("{} wires\n", wires.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_understood() {
        let words = ["--account", "zoe", "x=a:store", "y=g:gateway"].map(str::to_owned);
        let read = plan(&words).unwrap();
        assert_eq!(read.places, [Place::new("a", "x", Role::Store), Place::new("g", "y", Role::Gateway)]);
        assert_eq!(read.accounts, ["zoe"]);
        assert_eq!(plan(&[]).unwrap().places.len(), 4);
        for wrong in ["x=a", "a:store", "x=a:king"] {
            assert!(plan(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }
}
