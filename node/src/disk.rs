//! The data directory's file system: how much is free, and whether mail may still be taken in.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use securanet_gateway::{connection::Shutdown, model::StoreError};

/// How often the free space is read. A gigabyte of reserve outlasts a second of any disk.
const INTERVAL: Duration = Duration::from_secs(1);

/// Watches the free space.
pub(crate) struct DiskWatch {
    folder: PathBuf,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
}

impl DiskWatch {
    /// Reads the free space for the first time.
    pub(crate) fn new(folder: &Path, reserve_bytes: u64) -> std::io::Result<Arc<Self>> {
        let watch = Self { folder: folder.to_owned(), reserve_bytes, free_bytes: AtomicU64::new(0) };
        watch.read()?;
        Ok(Arc::new(watch))
    }

    fn read(&self) -> std::io::Result<()> {
        let stat = rustix::fs::statvfs(&self.folder)?;
        self.free_bytes.store(stat.f_bavail.saturating_mul(stat.f_frsize), Ordering::Relaxed);
        Ok(())
    }

    /// Free octets at the last reading.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// The configured reserve.
    pub(crate) fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// Whether mail may be taken in.
    pub(crate) fn accepting(&self) -> Result<(), StoreError> {
        if self.free_bytes() >= self.reserve_bytes {
            Ok(())
        } else {
            Err(StoreError::DiskFull { reserve_bytes: self.reserve_bytes })
        }
    }

    /// Reads the free space until the node drains, and says when it crosses the reserve.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut accepting = true;
        let draining = shutdown.draining();
        tokio::pin!(draining);
        loop {
            tokio::select! {
                () = &mut draining => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
            if let Err(error) = self.read() {
                tracing::error!(%error, folder = %self.folder.display(), "free space cannot be read");
            }
            metrics::gauge!("securanet_disk_free_bytes").set(self.free_bytes() as f64);
            let now = self.accepting().is_ok();
            if now != accepting {
                accepting = now;
                self.tell(now);
            }
        }
    }

    fn tell(&self, accepting: bool) {
        let (free, reserve) = (self.free_bytes(), self.reserve_bytes);
        if accepting {
            tracing::info!(free, reserve, "disk has its reserve again: mail is taken in");
        } else {
            tracing::error!(free, reserve, "disk below reserve: no mail is taken in; free some space");
        }
    }
}
