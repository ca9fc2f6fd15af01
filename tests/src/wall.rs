//! A wall clock that a test sets: libfaketime under a server. Clocks that only count are left alone.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

/// Of Debian's package libfaketime; the dynamic linker fills in where libraries are.
const LIBRARY: &str = "/usr/$LIB/faketime/libfaketimeMT.so.1";

/// A clock; the process reads it anew at each look.
pub struct WallClock {
    folder: TempDir,
}

impl WallClock {
    /// One that differs from the machine's by this many seconds.
    ///
    /// # Errors
    /// Of the disk.
    pub fn new(offset_seconds: i64) -> anyhow::Result<Self> {
        let clock = Self { folder: tempfile::Builder::new().prefix("securanet-clock-").tempdir()? };
        clock.set(offset_seconds)?;
        Ok(clock)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// It jumps.
    ///
    /// # Errors
    /// Of the disk.
    pub fn set(&self, offset_seconds: i64) -> anyhow::Result<()> {
        // By a rename: whoever reads it sees the old one or the new one.
        let beside = self.folder.path().join("offset.new");
        fs::write(&beside, format!("{offset_seconds:+}\n"))?;
        Ok(fs::rename(beside, self.file())?)
    }

    /// A command that runs a server under this clock.
    pub fn wrapper(&self) -> Vec<String> {
        let file = self.file().display().to_string();
        let words = [("LD_PRELOAD", LIBRARY), ("FAKETIME_TIMESTAMP_FILE", &file), ("FAKETIME_NO_CACHE", "1")];
        let words = words.into_iter().chain([("FAKETIME_DONT_FAKE_MONOTONIC", "1")]);
        std::iter::once("env".to_owned()).chain(words.map(|(name, value)| format!("{name}={value}"))).collect()
    }
}
