//! Names: which directory holds which file, as processes see it and as it would be after a power cut.
//!
//! A change of names (create, link, unlink, rename) is whole or not at all, as any journal has it. When it becomes durable
//! is the [`NameRule`]'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
};

use super::{Loss, Lost, NameRule};
use crate::random::Random;

/// A file's or directory's number; never used again.
pub(super) type Number = u64;
/// The directory above all.
pub(super) const ROOT: Number = 1;

type Directories = BTreeMap<Number, BTreeMap<OsString, Number>>;

/// All directories.
pub(super) struct Names {
    rule: NameRule,
    now: Directories,
    durable: Directories,
    pending: Vec<Change>,
    made: u64,
}

struct Change {
    made: u64,
    entries: Vec<Entry>,
    /// The files and directories it is about, those that it replaces or removes too.
    about: BTreeSet<Number>,
}

/// From now on the name is this file's, or nobody's.
pub(super) struct Entry {
    pub(super) directory: Number,
    pub(super) name: OsString,
    pub(super) to: Option<Number>,
}

impl Change {
    fn touches(&self, directories: &BTreeSet<Number>) -> bool {
        self.entries.iter().any(|entry| directories.contains(&entry.directory))
    }

    fn apply(&self, to: &mut Directories) {
        for entry in &self.entries {
            let directory = to.entry(entry.directory).or_default();
            match entry.to {
                Some(number) => directory.insert(entry.name.clone(), number),
                None => directory.remove(&entry.name),
            };
        }
    }
}

impl Names {
    pub(super) fn new(rule: NameRule) -> Self {
        let (now, durable) = (Directories::new(), Directories::new());
        Self { rule, now, durable, pending: Vec::new(), made: 0 }
    }

    pub(super) fn get(&self, directory: Number, name: &OsStr) -> Option<Number> {
        self.now.get(&directory)?.get(name).copied()
    }

    pub(super) fn list(&self, directory: Number) -> impl Iterator<Item = (&OsString, Number)> {
        self.now.get(&directory).into_iter().flatten().map(|(name, number)| (name, *number))
    }

    /// How many names a file has.
    pub(super) fn count(&self, number: Number) -> usize {
        self.now.values().flat_map(BTreeMap::values).filter(|&&named| named == number).count()
    }

    /// All that a name leads to, now or after some power cut.
    pub(super) fn named(&self) -> BTreeSet<Number> {
        let lists = self.now.values().chain(self.durable.values());
        let pending = self.pending.iter().flat_map(|change| &change.about);
        lists.flat_map(BTreeMap::values).chain(pending).copied().collect()
    }

    /// Changes names, at once and as one.
    pub(super) fn change(&mut self, entries: Vec<Entry>) {
        self.made += 1;
        let replaced = entries.iter().filter_map(|entry| self.get(entry.directory, &entry.name));
        let mut about: BTreeSet<Number> = replaced.collect();
        about.extend(entries.iter().flat_map(|entry| [Some(entry.directory), entry.to]).flatten());
        let change = Change { made: self.made, entries, about };
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// Where a sync begins.
    pub(super) fn mark(&self) -> u64 {
        self.made
    }

    /// A sync of this file or directory has ended, which began at this mark.
    pub(super) fn settle(&mut self, number: Number, mark: u64) {
        let chosen = match self.rule {
            NameRule::Journal => self.up_to_the_last_about(number, mark),
            NameRule::Strict => self.of_directory(number, mark),
        };
        let mut position = 0;
        self.pending.retain(|change| {
            let durable = chosen.contains(&position);
            position += 1;
            if durable {
                change.apply(&mut self.durable);
            }
            !durable
        });
    }

    fn up_to_the_last_about(&self, number: Number, mark: u64) -> BTreeSet<usize> {
        let last = self.pending.iter().rposition(|change| change.made <= mark && change.about.contains(&number));
        last.map_or_else(BTreeSet::new, |last| (0..=last).collect())
    }

    /// A directory's changes, and those of other directories that went before them in a rename between the two.
    fn of_directory(&self, number: Number, mark: u64) -> BTreeSet<usize> {
        let mut directories = BTreeSet::from([number]);
        let mut chosen = BTreeSet::new();
        for (position, change) in self.pending.iter().enumerate().rev() {
            if change.made <= mark && change.touches(&directories) {
                directories.extend(change.entries.iter().map(|entry| entry.directory));
                chosen.insert(position);
            }
        }
        chosen
    }

    /// The power is gone: what is durable stays, and of the rest what luck has written back. A journal keeps the order.
    pub(super) fn cut(&mut self, loss: Loss, random: &mut Random, lost: &mut Lost) {
        let pending = std::mem::take(&mut self.pending);
        let prefix = if loss.kept_percent == 0 { 0 } else { random.below(pending.len() + 1) };
        for (position, change) in pending.iter().enumerate() {
            let stays = match self.rule {
                NameRule::Journal => position < prefix,
                NameRule::Strict => loss.keeps(random),
            };
            *(if stays { &mut lost.names_kept } else { &mut lost.names_dropped }) += 1;
            if stays {
                change.apply(&mut self.durable);
            }
        }
        // What lies in a directory that has no name is gone with it.
        let mut reached = BTreeSet::from([ROOT]);
        let mut ahead = vec![ROOT];
        while let Some(directory) = ahead.pop() {
            let inside = self.durable.get(&directory).into_iter().flat_map(BTreeMap::values);
            ahead.extend(inside.filter(|number| reached.insert(**number)));
        }
        self.durable.retain(|directory, _| reached.contains(directory));
        self.now.clone_from(&self.durable);
    }
}
