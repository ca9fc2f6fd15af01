//! What happened in a run: a hash over all of it, and counts of what happens rarely.
//!
//! Events are those that the code itself tells ([`tracing`]): what was sent and delivered on each simulated connection
//! (turmoil's, octet by octet), what our crates log from debug upwards, and what the simulation does. Each is hashed
//! with the time at which it happened.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{Arc, Mutex},
    time::Instant,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// How much is heard.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Hearing {
    /// What our crates tell: counts.
    Ours,
    /// All of it, hashed.
    All,
    /// All of it, kept in words.
    Kept,
    /// What our crates tell, printed.
    Printed,
}

/// Collects what happens on a thread. Clones are the same.
#[derive(Clone)]
pub(crate) struct Trace(Arc<Inner>);

struct Inner {
    hearing: Hearing,
    begun: Instant,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    hasher: blake3::Hasher,
    events: u64,
    counts: BTreeMap<&'static str, u64>,
    text: String,
    kept: Vec<String>,
}

/// What our crates log when something rare happens, and what we call it.
const TOLD: [(&str, &str); 3] = [
    ("a snapshot has arrived", "snapshot installed"),
    ("an append waits for blobs", "blob fetched at the gate"),
    ("a snapshot begins to arrive", "snapshot begun"),
];

impl Trace {
    pub(crate) fn new(hearing: Hearing) -> Self {
        Self(Arc::new(Inner { hearing, begun: Instant::now(), heard: Mutex::default() }))
    }

    pub(crate) fn count(&self, what: &'static str, times: u64) {
        *self.0.heard.lock().unwrap().counts.entry(what).or_default() += times;
    }

    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.0.heard.lock().unwrap().counts.iter().map(|(what, times)| ((*what).to_owned(), *times)).collect()
    }

    /// What happened, in words.
    pub(crate) fn kept(&self) -> Vec<String> {
        std::mem::take(&mut self.0.heard.lock().unwrap().kept)
    }

    /// The hash, and over how many events.
    pub(crate) fn hash(&self) -> (String, u64) {
        let heard = self.0.heard.lock().unwrap();
        (heard.hasher.finalize().to_hex().to_string(), heard.events)
    }
}

impl Subscriber for Trace {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let ours = target.starts_with("securanet") || target == "simulation";
        let wires = matches!(self.0.hearing, Hearing::All | Hearing::Kept) && target.starts_with("turmoil");
        let openraft = self.0.hearing == Hearing::Printed && target.starts_with("openraft");
        metadata.is_event()
            && (wires || (ours && *metadata.level() <= Level::DEBUG) || (openraft && *metadata.level() <= Level::INFO))
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut heard = self.0.heard.lock().unwrap();
        let mut text = std::mem::take(&mut heard.text);
        text.clear();
        let at = self.0.begun.elapsed().as_millis();
        let _ = write!(text, "{at} {}", event.metadata().target());
        let from = text.len();
        event.record(&mut Fields(&mut text));
        if let Some((_, name)) = TOLD.iter().find(|(told, _)| text[from..].contains(told)) {
            *heard.counts.entry(name).or_default() += 1;
        }
        heard.events += 1;
        match self.0.hearing {
            Hearing::Ours => {}
            Hearing::All => {
                heard.hasher.update(text.as_bytes());
            }
            Hearing::Kept => heard.kept.push(text.clone()),
            Hearing::Printed => println!("event: {text}"),
        }
        heard.text = text;
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}
