//! The file system without the kernel: files, directories, what each call does to them, and the power cut.
//!
//! Once the power is gone every call is answered with EIO until it is back.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    time::{Duration, SystemTime},
};

use fuser::Errno;

use super::{
    CAPACITY_BYTES, DIRTY_BYTES_MAX, Loss, Lost, NameRule,
    contents::Contents,
    names::{Entry, Names, Number, ROOT},
};
use crate::random::Random;

type Outcome<T> = Result<T, Errno>;

/// A file or a directory.
pub(super) struct Node {
    /// None: a directory.
    pub(super) file: Option<Contents>,
    pub(super) mode: u16,
    pub(super) owner: (u32, u32),
    pub(super) modified: SystemTime,
    open: u32,
}

impl Node {
    /// A directory, or an empty file.
    pub(super) fn new(is_file: bool, mode: u16, owner: (u32, u32)) -> Self {
        Self { file: is_file.then(Contents::default), mode, owner, modified: SystemTime::now(), open: 0 }
    }
}

/// Where a sync begins.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    contents: u64,
    names: u64,
}

/// A power cut to come.
struct Armed {
    changes: u64,
    loss: Loss,
    random: Random,
}

/// All of it.
pub(super) struct Tree {
    nodes: BTreeMap<Number, Node>,
    names: Names,
    last: Number,
    used_bytes: u64,
    armed: Option<Armed>,
    changes: u64,
    syncs: u64,
    lost: Option<Lost>,
}

impl Tree {
    pub(super) fn new(rule: NameRule) -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::new(false, 0o755, (0, 0)))]);
        let names = Names::new(rule);
        Self { nodes, names, last: ROOT, used_bytes: 0, armed: None, changes: 0, syncs: 0, lost: None }
    }

    fn powered(&self) -> Outcome<()> {
        if self.lost.is_some() { Err(Errno::EIO) } else { Ok(()) }
    }

    /// Before each change: this may be the one at which the power goes.
    fn begin_change(&mut self) -> Outcome<()> {
        self.powered()?;
        self.changes += 1;
        if let Some(mut armed) = self.armed.take() {
            armed.changes = armed.changes.saturating_sub(1);
            if armed.changes == 0 {
                self.cut(armed.loss, &mut armed.random);
                return Err(Errno::EIO);
            }
            self.armed = Some(armed);
        }
        Ok(())
    }

    pub(super) fn node(&self, number: Number) -> Outcome<&Node> {
        self.powered()?;
        self.nodes.get(&number).ok_or(Errno::ENOENT)
    }

    fn file(&mut self, number: Number) -> Outcome<&mut Contents> {
        let node = self.nodes.get_mut(&number).ok_or(Errno::ENOENT)?;
        node.modified = SystemTime::now();
        node.file.as_mut().ok_or(Errno::EISDIR)
    }

    pub(super) fn links(&self, number: Number) -> usize {
        self.names.count(number)
    }

    pub(super) fn free_bytes(&self) -> u64 {
        CAPACITY_BYTES.saturating_sub(self.used_bytes)
    }

    pub(super) fn find(&self, directory: Number, name: &OsStr) -> Outcome<Number> {
        self.powered()?;
        self.names.get(directory, name).ok_or(Errno::ENOENT)
    }

    pub(super) fn list(&self, directory: Number) -> Outcome<Vec<(Number, std::ffi::OsString)>> {
        self.powered()?;
        Ok(self.names.list(directory).map(|(name, number)| (number, name.clone())).collect())
    }

    fn rename_entries(&mut self, entries: Vec<(Number, &OsStr, Option<Number>)>) {
        let entries = entries.into_iter().map(|(directory, name, to)| Entry { directory, name: name.to_owned(), to });
        self.names.change(entries.collect());
        self.sweep();
    }

    pub(super) fn create(&mut self, directory: Number, name: &OsStr, node: Node) -> Outcome<Number> {
        self.begin_change()?;
        if self.names.get(directory, name).is_some() {
            return Err(Errno::EEXIST);
        }
        self.last += 1;
        let number = self.last;
        self.nodes.insert(number, node);
        self.rename_entries(vec![(directory, name, Some(number))]);
        Ok(number)
    }

    pub(super) fn link(&mut self, number: Number, directory: Number, name: &OsStr) -> Outcome<()> {
        self.begin_change()?;
        if self.names.get(directory, name).is_some() {
            return Err(Errno::EEXIST);
        }
        self.rename_entries(vec![(directory, name, Some(number))]);
        Ok(())
    }

    pub(super) fn remove(&mut self, directory: Number, name: &OsStr, is_file: bool) -> Outcome<()> {
        self.begin_change()?;
        let number = self.find(directory, name)?;
        match (is_file, self.node(number)?.file.is_some()) {
            (true, false) => return Err(Errno::EISDIR),
            (false, true) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        if self.names.list(number).next().is_some() {
            return Err(Errno::ENOTEMPTY);
        }
        self.rename_entries(vec![(directory, name, None)]);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: (Number, &OsStr), to: (Number, &OsStr), replace: bool) -> Outcome<()> {
        self.begin_change()?;
        let number = self.find(from.0, from.1)?;
        if let Some(there) = self.names.get(to.0, to.1) {
            if !replace {
                return Err(Errno::EEXIST);
            }
            if there == number {
                return Ok(());
            }
            if self.names.list(there).next().is_some() {
                return Err(Errno::ENOTEMPTY);
            }
        }
        self.rename_entries(vec![(from.0, from.1, None), (to.0, to.1, Some(number))]);
        Ok(())
    }

    pub(super) fn open(&mut self, number: Number) -> Outcome<()> {
        self.powered()?;
        self.nodes.get_mut(&number).ok_or(Errno::ENOENT)?.open += 1;
        Ok(())
    }

    pub(super) fn release(&mut self, number: Number) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.open = node.open.saturating_sub(1);
            self.sweep();
        }
    }

    /// Forgets what nobody can reach any more, now or after a power cut.
    fn sweep(&mut self) {
        let named = self.names.named();
        let mut freed = 0;
        self.nodes.retain(|number, node| {
            let stays = *number == ROOT || node.open > 0 || named.contains(number);
            if !stays {
                freed += node.file.as_ref().map_or(0, Contents::len) as u64;
            }
            stays
        });
        self.used_bytes -= freed;
    }

    pub(super) fn read(&self, number: Number, offset: u64, length: u32) -> Outcome<&[u8]> {
        let file = self.node(number)?.file.as_ref().ok_or(Errno::EISDIR)?;
        Ok(file.read(offset as usize, length as usize))
    }

    /// Changes a file that will be this long at least, or exactly (`resize`).
    fn change_file(
        &mut self,
        number: Number,
        length: u64,
        resize: bool,
        change: impl FnOnce(&mut Contents),
    ) -> Outcome<()> {
        self.begin_change()?;
        let free = self.free_bytes();
        let file = self.file(number)?;
        let before = file.len() as u64;
        if length.saturating_sub(before) > free {
            return Err(Errno::ENOSPC);
        }
        change(file);
        // As a kernel does whose memory is full of unwritten pages.
        if file.pending_bytes() > DIRTY_BYTES_MAX {
            let mark = file.mark();
            file.settle(mark);
        }
        let after = file.len() as u64;
        debug_assert!(!resize || after == length);
        self.used_bytes = self.used_bytes + after - before;
        Ok(())
    }

    pub(super) fn write(&mut self, number: Number, offset: u64, bytes: &[u8]) -> Outcome<()> {
        let end = offset + bytes.len() as u64;
        self.change_file(number, end, false, |file| file.write(offset as usize, bytes))
    }

    pub(super) fn resize(&mut self, number: Number, length: u64) -> Outcome<()> {
        self.change_file(number, length, true, |file| file.resize(length as usize))
    }

    pub(super) fn zero(&mut self, number: Number, offset: u64, length: u64) -> Outcome<()> {
        self.change_file(number, 0, false, |file| file.zero(offset as usize, length as usize))
    }

    pub(super) fn set_mode(
        &mut self,
        number: Number,
        mode: Option<u32>,
        owner: (Option<u32>, Option<u32>),
    ) -> Outcome<()> {
        self.powered()?;
        let node = self.nodes.get_mut(&number).ok_or(Errno::ENOENT)?;
        node.mode = mode.map_or(node.mode, |mode| (mode & 0o7777) as u16);
        node.owner = (owner.0.unwrap_or(node.owner.0), owner.1.unwrap_or(node.owner.1));
        Ok(())
    }

    /// A sync begins. It takes a while, in which more is written, or the power goes.
    pub(super) fn begin_sync(&mut self, number: Number) -> Outcome<Mark> {
        self.begin_change()?;
        let contents = self.node(number)?.file.as_ref().map_or(0, Contents::mark);
        Ok(Mark { contents, names: self.names.mark() })
    }

    /// A sync ends.
    pub(super) fn end_sync(&mut self, number: Number, mark: Mark) -> Outcome<()> {
        self.begin_change()?;
        if let Some(file) = self.nodes.get_mut(&number).and_then(|node| node.file.as_mut()) {
            file.settle(mark.contents);
        }
        self.names.settle(number, mark.names);
        self.syncs += 1;
        self.sweep();
        Ok(())
    }

    /// The power goes at the change with this number, counted from here.
    pub(super) fn arm(&mut self, changes: u64, loss: Loss, random: Random) {
        self.armed = Some(Armed { changes, loss, random });
    }

    /// The power goes; gives what went with it.
    pub(super) fn cut(&mut self, loss: Loss, random: &mut Random) -> Lost {
        if let Some(lost) = self.lost {
            return lost;
        }
        self.armed = None;
        let mut lost = Lost::default();
        self.names.cut(loss, random, &mut lost);
        let named = self.names.named();
        self.nodes.retain(|number, _| *number == ROOT || named.contains(number));
        self.used_bytes = 0;
        for node in self.nodes.values_mut() {
            node.open = 0;
            if let Some(file) = &mut node.file {
                file.cut(loss, random, &mut lost);
                self.used_bytes += file.len() as u64;
            }
        }
        self.lost = Some(lost);
        lost
    }

    /// What the last cut took, while the power is gone.
    pub(super) fn lost(&self) -> Option<Lost> {
        self.lost
    }

    /// The power is back.
    pub(super) fn power_on(&mut self) {
        self.lost = None;
        self.armed = None;
    }

    /// Changes and syncs so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.changes, self.syncs)
    }
}

/// How long the kernel may believe what it was told about names and files: all changes go through it.
pub(super) const BELIEVED: Duration = Duration::from_secs(3600);
