//! Whether a history of timed reads and writes of one value is linearizable, when each write names its predecessor.
//!
//! A write takes effect only on the version that it names, so that the versions form one chain, and the order of all writes is
//! known from the last version alone. What is left to check is that the chain has all that was acknowledged and nothing that
//! was refused, that each read saw one of its versions, and that time goes forward: whatever began after something else had
//! ended comes later in the chain than that (a read may come at the same version), and no read saw what had not begun. These
//! together make the order of the chain, with each read behind the write that it saw, a linearization.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Instant,
};

/// A version of the value, named by the write that made it.
pub type Version = u64;

/// The version before all writes.
pub const ROOT: Version = 0;

/// What a writer was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// It was done.
    Done,
    /// It was not done, and never will be: the predecessor was not the last version.
    Refused,
    /// Nothing. It may be done at any time, or never.
    Nothing,
}

/// A write.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Write {
    before: Version,
    begun: Instant,
    /// None: nobody knows when.
    ended: Option<Instant>,
    told: Told,
    by: String,
}

/// A read.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Read {
    seen: Version,
    begun: Instant,
    ended: Instant,
    by: String,
}

/// All reads and writes of one value.
#[derive(Default)]
pub struct History {
    writes: Mutex<BTreeMap<Version, Write>>,
    reads: Mutex<Vec<Read>>,
}

/// What a history came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Length {
    /// Versions in the chain.
    pub versions: usize,
    /// Writes that were refused.
    pub refused: usize,
    /// Writes of which nobody was told.
    pub unknown: usize,
    /// Reads.
    pub reads: usize,
}

impl History {
    /// A write of `version` onto `before`, tried by somebody from `begun` until now. One that was tried again with the same
    /// version is the same write: it began with the first try.
    ///
    /// # Panics
    /// When two writes of different predecessors have the same version.
    pub fn wrote(&self, version: Version, before: Version, begun: Instant, told: Told, by: &str) {
        let ended = Instant::now();
        let mut writes = self.writes.lock().unwrap();
        let known = |told: Told| if told == Told::Done { Some(ended) } else { None };
        let new = Write { before, begun, ended: known(told), told, by: by.to_owned() };
        let write = writes.entry(version).or_insert_with(|| new.clone());
        assert_eq!(write.before, before, "version {version} is written twice");
        match (write.told, told) {
            // A refusal of a second try may mean the first one's success.
            (Told::Nothing, Told::Done) => (write.told, write.ended) = (told, known(told)),
            (Told::Refused, Told::Done | Told::Nothing) => *write = new,
            _ => {}
        }
    }

    /// Somebody asked from `begun` until now, and saw this version.
    pub fn read(&self, seen: Version, begun: Instant, by: &str) {
        self.reads.lock().unwrap().push(Read { seen, begun, ended: Instant::now(), by: by.to_owned() });
    }

    /// Checks it; `last` is the version in the end, when nothing is under way any more.
    ///
    /// # Errors
    /// With what is not linearizable.
    pub fn check(&self, last: Version) -> Result<Length, String> {
        let (writes, reads) = (self.writes.lock().unwrap(), self.reads.lock().unwrap());
        let places = chain(&writes, last)?;
        for (version, write) in writes.iter() {
            let is_there = places.contains_key(version);
            if write.told == Told::Done && !is_there {
                let Write { before, by, .. } = write;
                let other = writes.iter().find(|(other, write)| write.before == *before && places.contains_key(other));
                return Err(match other {
                    Some((other, rival)) => format!(
                        "split chain: {version} by {by} was acknowledged after {before}, and so is {other} by {}",
                        rival.by
                    ),
                    None => format!("lost write: {version} by {by}, acknowledged after {before}, is not in the chain"),
                });
            }
            if write.told == Told::Refused && is_there {
                return Err(format!("refused write: {version} by {} was refused and is in the chain", write.by));
            }
        }
        in_time(&writes, &reads, &places)?;
        let count = |told| writes.values().filter(|write| write.told == told).count();
        let (refused, unknown) = (count(Told::Refused), count(Told::Nothing));
        Ok(Length { versions: places.len() - 1, refused, unknown, reads: reads.len() })
    }
}

/// The place of each version in the chain, the root's is 0.
fn chain(writes: &BTreeMap<Version, Write>, last: Version) -> Result<BTreeMap<Version, usize>, String> {
    let (mut chain, mut seen) = (vec![last], BTreeSet::from([last]));
    let mut at = last;
    while at != ROOT {
        let Some(write) = writes.get(&at) else { return Err(format!("version {at} is there and nobody wrote it")) };
        at = write.before;
        if !seen.insert(at) {
            return Err(format!("version {at} is its own predecessor"));
        }
        chain.push(at);
    }
    Ok(chain.into_iter().rev().enumerate().map(|(place, version)| (version, place)).collect())
}

/// A write that took effect, or a read.
struct Step<'h> {
    begun: Instant,
    /// None: nobody knows when.
    ended: Option<Instant>,
    place: usize,
    version: Version,
    is_write: bool,
    by: &'h str,
}

fn in_time(writes: &BTreeMap<Version, Write>, reads: &[Read], places: &BTreeMap<Version, usize>) -> Result<(), String> {
    let mut steps = Vec::new();
    for read in reads {
        let Some(&place) = places.get(&read.seen) else {
            return Err(format!("{} saw version {}, which is not in the chain", read.by, read.seen));
        };
        if let Some(write) = writes.get(&read.seen)
            && write.begun > read.ended
        {
            return Err(format!("{} saw version {} before it was written", read.by, read.seen));
        }
        let (ended, version, by) = (Some(read.ended), read.seen, read.by.as_str());
        steps.push(Step { begun: read.begun, ended, place, version, is_write: false, by });
    }
    for (&version, write) in writes {
        if let Some(&place) = places.get(&version) {
            let (begun, ended, by) = (write.begun, write.ended, write.by.as_str());
            steps.push(Step { begun, ended, place, version, is_write: true, by });
        }
    }
    let mut ends: Vec<&Step<'_>> = steps.iter().filter(|step| step.ended.is_some()).collect();
    ends.sort_by_key(|step| step.ended);
    let mut order: Vec<&Step<'_>> = steps.iter().collect();
    order.sort_by_key(|step| step.begun);
    let (mut ends, mut floor) = (ends.into_iter().peekable(), None::<&Step<'_>>);
    for step in order {
        while let Some(ended) = ends.next_if(|ended| ended.ended.is_some_and(|at| at < step.begun)) {
            if floor.is_none_or(|floor| floor.place < ended.place) {
                floor = Some(ended);
            }
        }
        let Some(floor) = floor else { continue };
        let what = format!("version {} by {} had been there before it began", floor.version, floor.by);
        if step.place < floor.place || (step.is_write && step.place == floor.place) {
            let kind = if step.is_write { "write into the past" } else { "stale read" };
            return Err(format!("{kind}: version {} by {}: {what}", step.version, step.by));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Begins a history; times are milliseconds after this.
    struct Script {
        zero: Instant,
        history: History,
    }

    impl Script {
        fn new() -> Self {
            Self { zero: Instant::now(), history: History::default() }
        }

        fn at(&self, millis: u64) -> Instant {
            self.zero + Duration::from_millis(millis)
        }

        fn write(self, version: Version, before: Version, (begun, ended): (u64, u64), told: Told) -> Self {
            let ended = (told == Told::Done).then(|| self.at(ended));
            let write = Write { before, begun: self.at(begun), ended, told, by: "w".to_owned() };
            assert!(self.history.writes.lock().unwrap().insert(version, write).is_none());
            self
        }

        fn read(self, seen: Version, (begun, ended): (u64, u64)) -> Self {
            let read = Read { seen, begun: self.at(begun), ended: self.at(ended), by: "r".to_owned() };
            self.history.reads.lock().unwrap().push(read);
            self
        }

        #[track_caller]
        fn check(&self, last: Version, expect: &str) {
            match self.history.check(last) {
                Ok(length) if expect.is_empty() => assert!(length.versions > 0),
                Err(why) if !expect.is_empty() && why.contains(expect) => {}
                other => panic!("{other:?} instead of {expect:?}"),
            }
        }
    }

    #[test]
    fn what_is_linearizable_is_taken() {
        let history = Script::new()
            .write(1, ROOT, (0, 10), Told::Done)
            .write(2, 1, (5, 20), Told::Done)
            .write(3, 1, (6, 19), Told::Refused)
            .write(4, 2, (21, 0), Told::Nothing)
            .write(5, 2, (22, 0), Told::Nothing)
            .write(6, 4, (40, 50), Told::Done)
            .read(ROOT, (0, 9))
            .read(2, (7, 8))
            .read(1, (7, 9))
            .read(2, (21, 30))
            .read(4, (22, 31))
            .read(4, (40, 60))
            .read(6, (41, 42));
        // The read of 1 overlaps the one of 2, the one of 2 the one of 4.
        history.check(6, "");
        assert_eq!(history.history.check(6), Ok(Length { versions: 4, refused: 1, unknown: 2, reads: 7 }));
    }

    #[test]
    fn a_stale_read_is_found() {
        let two = || Script::new().write(1, ROOT, (0, 10), Told::Done).write(2, 1, (11, 20), Told::Done);
        two().read(1, (21, 22)).check(2, "stale read");
        two().read(1, (20, 22)).check(2, "");
        // After another read, although the write has not ended.
        let slow = || Script::new().write(1, ROOT, (0, 100), Told::Done).read(1, (10, 20));
        slow().read(ROOT, (21, 30)).check(1, "stale read");
        slow().read(ROOT, (15, 30)).check(1, "");
        // Nobody was told of the write, and somebody has seen it.
        let unknown = Script::new().write(1, ROOT, (0, 0), Told::Nothing).read(1, (10, 20)).read(ROOT, (21, 30));
        unknown.check(1, "stale read");
    }

    #[test]
    fn a_lost_write_is_found() {
        let two = || Script::new().write(1, ROOT, (0, 10), Told::Done).write(2, 1, (11, 20), Told::Done);
        two().check(1, "lost write: 2");
        two().check(ROOT, "lost write: 1");
        two().write(3, 2, (30, 0), Told::Nothing).check(2, "");
        two().write(3, 2, (30, 0), Told::Refused).check(3, "refused write: 3");
        Script::new().write(1, ROOT, (0, 0), Told::Nothing).read(1, (5, 6)).check(ROOT, "not in the chain");
        two().check(7, "nobody wrote it");
    }

    #[test]
    fn a_split_chain_is_found() {
        let split = Script::new().write(1, ROOT, (0, 10), Told::Done).write(2, 1, (11, 20), Told::Done).write(
            3,
            1,
            (11, 20),
            Told::Done,
        );
        split.check(2, "split chain: 3 by w was acknowledged after 1, and so is 2");
        split.check(3, "split chain: 2");
    }

    #[test]
    fn time_goes_forward() {
        let late = Script::new().write(1, ROOT, (10, 20), Told::Done).read(1, (0, 5));
        late.check(1, "before it was written");
        // 2 began when 3, which comes after it, had ended.
        let past = Script::new().write(1, ROOT, (0, 1), Told::Done).write(2, 1, (30, 0), Told::Nothing).write(
            3,
            2,
            (10, 20),
            Told::Done,
        );
        past.check(3, "write into the past: version 2");
        let ring = Script::new().write(1, 2, (0, 1), Told::Done).write(2, 1, (0, 1), Told::Done);
        ring.check(2, "its own predecessor");
    }

    #[test]
    fn a_write_that_is_tried_again_is_one_write() {
        let history = History::default();
        let begun = Instant::now();
        history.wrote(1, ROOT, begun, Told::Nothing, "w");
        history.wrote(1, ROOT, Instant::now(), Told::Refused, "w");
        assert_eq!(history.check(1).unwrap().versions, 1, "the first try may have been it");
        history.wrote(1, ROOT, Instant::now(), Told::Done, "w");
        assert!(history.check(ROOT).is_err());
        assert_eq!(history.writes.lock().unwrap()[&1].begun, begun);
    }
}
