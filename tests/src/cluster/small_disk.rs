//! A disk that is soon full: a file system in memory (tmpfs), which wants root.

use std::{fs, path::PathBuf, process::Command};

use anyhow::ensure;

/// A disk in memory that is soon full.
pub struct SmallDisk {
    at: PathBuf,
    bytes: u64,
}

impl SmallDisk {
    /// Mounts an empty one of this size.
    ///
    /// # Errors
    /// When this machine does not let us.
    pub fn mount(at: PathBuf, bytes: u64) -> anyhow::Result<Self> {
        fs::create_dir_all(&at)?;
        let options = format!("size={bytes},mode=0700");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(&at).status()?;
        ensure!(status.success(), "a small disk cannot be mounted: {status}");
        Ok(Self { at, bytes })
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.at).status().ok();
    }
}
