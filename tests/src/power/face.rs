//! What the kernel sees: requests of FUSE, answered by the tree.
//!
//! Reads come from the kernel's page cache where it has them; each write comes here at once. `sync_file_range` never comes
//! here and makes nothing durable, as its manual page says.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{
    CAPACITY_BYTES, Shared,
    names::Number,
    tree::{BELIEVED, Node, Tree},
};

const BLOCK_BYTES: u64 = 4096;
/// Of fallocate(2).
const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;

type Listing = Vec<(Number, FileType, OsString)>;

/// A mounted tree.
pub(super) struct Face {
    tree: Shared<Tree>,
    sync_takes: Duration,
    listings: Shared<BTreeMap<u64, Listing>>,
    last_listing: AtomicU64,
}

impl Face {
    pub(super) fn new(tree: Shared<Tree>, sync_takes: Duration) -> Self {
        Self { tree, sync_takes, listings: Arc::default(), last_listing: AtomicU64::new(0) }
    }

    fn sync(&self, number: Number) -> Result<(), Errno> {
        let mark = self.tree.lock().unwrap().begin_sync(number)?;
        std::thread::sleep(self.sync_takes);
        self.tree.lock().unwrap().end_sync(number, mark)
    }

    fn make(&self, parent: INodeNo, name: &OsStr, node: Node) -> Result<FileAttr, Errno> {
        let mut tree = self.tree.lock().unwrap();
        let is_file = node.file.is_some();
        let number = tree.create(parent.0, name, node)?;
        if is_file {
            tree.open(number)?;
        }
        attributes(&tree, number)
    }
}

fn kind(tree: &Tree, number: Number) -> Result<FileType, Errno> {
    Ok(if tree.node(number)?.file.is_some() { FileType::RegularFile } else { FileType::Directory })
}

fn attributes(tree: &Tree, number: Number) -> Result<FileAttr, Errno> {
    let node = tree.node(number)?;
    let size = node.file.as_ref().map_or(0, |file| file.len() as u64);
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: size.div_ceil(512),
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind: kind(tree, number)?,
        perm: node.mode,
        nlink: u32::try_from(tree.links(number)).unwrap_or(u32::MAX),
        uid: node.owner.0,
        gid: node.owner.1,
        rdev: 0,
        blksize: BLOCK_BYTES as u32,
        flags: 0,
    })
}

fn node(is_file: bool, mode: u32, umask: u32, request: &Request) -> Node {
    Node::new(is_file, (mode & !umask & 0o7777) as u16, (request.uid(), request.gid()))
}

fn say(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn say_entry(reply: ReplyEntry, outcome: Result<FileAttr, Errno>) {
    match outcome {
        Ok(attributes) => reply.entry(&BELIEVED, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Face {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let tree = self.tree.lock().unwrap();
        say_entry(reply, tree.find(parent.0, name).and_then(|number| attributes(&tree, number)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match attributes(&self.tree.lock().unwrap(), ino.0) {
            Ok(attributes) => reply.attr(&BELIEVED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut tree = self.tree.lock().unwrap();
        let resized = size.map_or(Ok(()), |size| tree.resize(ino.0, size));
        let changed = resized.and_then(|()| tree.set_mode(ino.0, mode, (uid, gid)));
        match changed.and_then(|()| attributes(&tree, ino.0)) {
            Ok(attributes) => reply.attr(&BELIEVED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        say_entry(reply, self.make(parent, name, node(false, mode, umask, request)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, node(true, mode, umask, request)) {
            Ok(made) => reply.created(&BELIEVED, &made, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        say(reply, self.tree.lock().unwrap().remove(parent.0, name, true));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        say(reply, self.tree.lock().unwrap().remove(parent.0, name, false));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let mut tree = self.tree.lock().unwrap();
        say(reply, tree.rename((parent.0, name), (newparent.0, newname), flags.is_empty()));
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        let mut tree = self.tree.lock().unwrap();
        let linked = tree.link(ino.0, newparent.0, newname);
        say_entry(reply, linked.and_then(|()| attributes(&tree, ino.0)));
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.tree.lock().unwrap().open(ino.0) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.tree.lock().unwrap().release(ino.0);
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.tree.lock().unwrap().read(ino.0, offset, size) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.tree.lock().unwrap().write(ino.0, offset, data) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(0)),
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let mut tree = self.tree.lock().unwrap();
        let length_now = tree.node(ino.0).map_or(0, |node| node.file.as_ref().map_or(0, |file| file.len() as u64));
        let grows = mode & KEEP_SIZE == 0 && offset + length > length_now;
        let outcome = match mode & !KEEP_SIZE {
            0 => Ok(()),
            PUNCH_HOLE | ZERO_RANGE => tree.zero(ino.0, offset, length),
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        say(reply, outcome.and_then(|()| if grows { tree.resize(ino.0, offset + length) } else { Ok(()) }));
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        say(reply, self.sync(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        say(reply, self.sync(ino.0));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let tree = self.tree.lock().unwrap();
        let listed = tree.list(ino.0).and_then(|names| {
            let named = names.into_iter().map(|(number, name)| Ok((number, kind(&tree, number)?, name)));
            let own = [".", ".."].map(|name| Ok((ino.0, FileType::Directory, name.into())));
            own.into_iter().chain(named).collect::<Result<Listing, Errno>>()
        });
        match listed {
            Ok(listing) => {
                let handle = self.last_listing.fetch_add(1, Ordering::Relaxed);
                self.listings.lock().unwrap().insert(handle, listing);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listings = self.listings.lock().unwrap();
        let rows = listings.get(&fh.0).into_iter().flatten();
        for (position, (number, kind, name)) in rows.enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*number), position as u64 + 1, *kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, fh: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings.lock().unwrap().remove(&fh.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let free = self.tree.lock().unwrap().free_bytes() / BLOCK_BYTES;
        let block = BLOCK_BYTES as u32;
        reply.statfs(CAPACITY_BYTES / BLOCK_BYTES, free, free, 1 << 20, 1 << 20, block, 255, block);
    }
}
