//! A disk that loses power: a file system in memory, mounted by FUSE, that forgets what was not synced.
//!
//! SIGKILL proves nothing about syncs, because the kernel keeps what a process wrote. Here each file and each name has two
//! states: as processes see it, and as a power cut leaves it. What is durable:
//!
//! - a file's octets: up to the last fsync or fdatasync of that file that has ended (what was written while it ran is not);
//! - names (create, link, rename, unlink): by [`NameRule`];
//! - modes, owners and times are not watched: they are as last set.
//!
//! At a power cut everything else is dropped, or, by [`Loss`], some of it stays in no order and torn between sectors:
//! kernels write back when they like. From then on each call is answered with EIO, and the test kills the process;
//! [`Disk::restore`] shows what is left.
//!
//! Files lie in memory: 1 GiB of them at most (then ENOSPC), each octet at most twice, and 64 MiB of unsynced
//! writes a file (then they become durable, as under memory pressure).

mod contents;
mod face;
mod names;
mod tree;

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use fuser::{BackgroundSession, Config, MountOption};
use tempfile::TempDir;

use crate::random::Random;

type Shared<T> = Arc<Mutex<T>>;

const CAPACITY_BYTES: u64 = 1 << 30;
const DIRTY_BYTES_MAX: u64 = 64 << 20;
/// A quick SSD's; long enough that more is written meanwhile, and that a power cut falls into it.
const SYNC_TAKES: Duration = Duration::from_millis(1);
/// Requests answered at once; a sync holds one of them.
const THREADS: usize = 8;
/// Until the kernel has closed what a killed process had open.
const UNMOUNT_PATIENCE: Duration = Duration::from_secs(20);

/// When a name is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameRule {
    /// Only once its directory was synced, as POSIX has it. Of the other changes any may stay.
    Strict,
    /// Names change in order, as in ext4's journal: a sync of a file or directory takes with it the last change of names
    /// that concerns it and all before. Of the others the first ones may stay.
    Journal,
}

/// What luck leaves of what was not durable.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// How many of a hundred sectors and names stay.
    pub kept_percent: usize,
    /// A write is torn at multiples of this.
    pub tear_bytes: usize,
}

impl Loss {
    /// Nothing stays.
    pub const ALL: Self = Self { kept_percent: 0, tear_bytes: 512 };

    /// One of them.
    pub fn draw(random: &mut Random) -> Self {
        Self { kept_percent: [0, 10, 50, 90][random.below(4)], tear_bytes: [512, 4096][random.below(2)] }
    }

    fn keeps(self, random: &mut Random) -> bool {
        random.below(100) < self.kept_percent
    }
}

/// What a power cut took and left of what was not durable.
#[derive(Clone, Copy, Default, Debug)]
pub struct Lost {
    /// Octets of unsynced writes that are gone.
    pub bytes_dropped: u64,
    /// Octets of unsynced writes that stayed.
    pub bytes_kept: u64,
    /// Changes of names that are undone.
    pub names_dropped: u64,
    /// Changes of names that stayed, though nothing had made them durable.
    pub names_kept: u64,
}

/// A mounted disk.
pub struct Disk {
    tree: Shared<tree::Tree>,
    session: Option<BackgroundSession>,
    at: TempDir,
}

impl Disk {
    /// Mounts an empty one.
    ///
    /// # Errors
    /// When this machine does not let us mount.
    pub fn new(rule: NameRule) -> anyhow::Result<Self> {
        let at = tempfile::Builder::new().prefix("securanet-power-").tempdir()?;
        let mut disk = Self { tree: Arc::new(Mutex::new(tree::Tree::new(rule))), session: None, at };
        disk.mount()?;
        Ok(disk)
    }

    /// Why disks cannot be mounted here; none: they can.
    pub fn why_not() -> Option<String> {
        let error = Self::new(NameRule::Strict).err()?;
        Some(format!("{error:#} (it wants root and /dev/fuse)"))
    }

    fn mount(&mut self) -> anyhow::Result<()> {
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        config.clone_fd = true;
        config.mount_options = vec![MountOption::FSName("securanet-power".to_owned()), MountOption::DefaultPermissions];
        let face = face::Face::new(self.tree.clone(), SYNC_TAKES);
        self.session = Some(fuser::spawn_mount(face, self.path(), &config).context("FUSE cannot mount")?);
        Ok(())
    }

    fn unmount(&mut self) -> anyhow::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        let start = Instant::now();
        while !Command::new("umount").arg("-c").arg(self.path()).output()?.status.success() {
            ensure!(start.elapsed() < UNMOUNT_PATIENCE, "{} is still in use", self.path().display());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(session.join()?)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.at.path()
    }

    /// The power goes now.
    ///
    /// # Panics
    /// When a thread of the file system has panicked.
    pub fn cut(&self, loss: Loss, random: &mut Random) -> Lost {
        self.tree.lock().unwrap().cut(loss, random)
    }

    /// The power goes at this change (write, sync, create, ...), counted from now; [`Disk::lost`] tells when.
    ///
    /// # Panics
    /// When a thread of the file system has panicked.
    pub fn cut_at_change(&self, change: u64, loss: Loss, random: Random) {
        self.tree.lock().unwrap().arm(change, loss, random);
    }

    /// While the power is gone: what went with it.
    ///
    /// # Panics
    /// When a thread of the file system has panicked.
    pub fn lost(&self) -> Option<Lost> {
        self.tree.lock().unwrap().lost()
    }

    /// How many changes there were so far, and how many syncs among them.
    ///
    /// # Panics
    /// When a thread of the file system has panicked.
    pub fn counts(&self) -> (u64, u64) {
        self.tree.lock().unwrap().counts()
    }

    /// The power is back; who used the disk must be dead by now.
    ///
    /// # Errors
    /// When somebody still has a file open.
    ///
    /// # Panics
    /// When a thread of the file system has panicked.
    pub fn restore(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        self.tree.lock().unwrap().power_on();
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("{error:#}");
        }
    }
}

/// Runs a test's body where disks can be mounted, in namespaces of its own, so that no mount outlives it. Elsewhere it says
/// that it was skipped, and why. `name` is the test's own name.
pub fn where_possible(name: &str, body: impl FnOnce()) {
    match Disk::why_not() {
        None => crate::world::apart(name, body),
        Some(why) => println!(
            "SKIPPED: {name}: {why}; only raft/tests/crash.rs tells here what a power cut does, at the storage port"
        ),
    }
}
