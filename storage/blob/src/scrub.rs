//! Scrub: looks whether every blob is whole and every blob that a group names is here.
//!
//! It reads everything, so it takes as long as the disk needs for that; whoever runs it says after each blob
//! whether to go on, and may sleep there. It changes nothing: what is to be done about a finding (put again from
//! another replica, restore, give up) is decided elsewhere.
//!
//! Mail comes and goes meanwhile. A blob that is gone when its turn comes is no finding, and a reference to a
//! missing blob is one only if its group still names the blob when asked again.

use std::ops::ControlFlow;

use securanet_model::{BlobId, GroupId, TenantId};

use crate::{BlobError, BlobStore, Verified};

/// Findings that a report names; more are only counted. A disk that loses more needs no longer list.
const FINDINGS_MAX: usize = 1000;
/// Blobs that are listed at once.
const PAGE_ROWS: usize = 1000;
/// Unfinished puts that are counted.
const UNFINISHED_MAX: usize = 100_000;

/// Which blobs the groups of this node name. Implemented where groups live.
pub trait References {
    /// The groups with a replica here.
    fn groups(&self) -> Vec<GroupId>;

    /// Blobs that the group names, ascending, distinct, behind `after`, at most `rows_max`; fewer mean the end.
    ///
    /// # Errors
    /// Why it cannot be told, as [`BlobError::Groups`] or [`BlobError::Kv`].
    fn named(&self, group: GroupId, after: Option<BlobId>, rows_max: usize) -> Result<Vec<BlobId>, BlobError>;

    /// Whether the group names the blob now.
    ///
    /// # Errors
    /// As above.
    fn is_named(&self, group: GroupId, blob: BlobId) -> Result<bool, BlobError>;
}

/// What is wrong with a blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Stored bytes are not what was written.
    Damaged {
        /// What does not fit.
        what: String,
    },
    /// A group names it and it is not here.
    Missing {
        /// Which group.
        group: GroupId,
    },
}

/// One thing that an operator must look at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which blob.
    pub blob: BlobId,
    /// What is wrong.
    pub fault: Fault,
}

/// What a scrub has seen so far.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ScrubReport {
    /// Blobs read to their end and checked, damaged ones included.
    pub blobs: u64,
    /// Of those, blobs whose keyed hash was checked too.
    pub hashed: u64,
    /// Octets of content read.
    pub content_bytes: u64,
    /// References looked up, counted once per group and blob.
    pub references: u64,
    /// Blobs with stored bytes that are not what was written.
    pub damaged: u64,
    /// References to blobs that are not here.
    pub missing: u64,
    /// Puts that are under way or were cut off; collection removes the latter.
    pub unfinished: u64,
    /// The first thousand findings.
    pub findings: Vec<Finding>,
    /// Whether it went through to its end.
    pub complete: bool,
}

impl ScrubReport {
    /// Whether all is well; says nothing about what was not looked at.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.damaged == 0 && self.missing == 0
    }

    fn find(&mut self, blob: BlobId, fault: Fault) {
        match fault {
            Fault::Damaged { .. } => self.damaged += 1,
            Fault::Missing { .. } => self.missing += 1,
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { blob, fault });
        }
    }
}

/// Is shown the report as it grows, and says whether to go on.
pub type Watch<'a> = &'a mut (dyn FnMut(&ScrubReport) -> ControlFlow<()> + 'a);

/// Checks all blobs, then all references. `hasher` gives the hasher of a tenant's blob names if its key is known;
/// without it checksums alone are checked.
///
/// # Errors
/// Those of the disk and of the groups. Damage and absence are findings, not errors.
pub fn scrub(
    store: &BlobStore,
    references: &dyn References,
    hasher: &dyn Fn(TenantId) -> Option<blake3::Hasher>,
    watch: Watch<'_>,
) -> Result<ScrubReport, BlobError> {
    let mut report = ScrubReport { unfinished: store.unfinished(UNFINISHED_MAX)? as u64, ..ScrubReport::default() };
    if check_blobs(store, hasher, &mut report, watch)?.is_break() {
        return Ok(report);
    }
    for group in references.groups() {
        if check_group(store, references, group, &mut report, watch)?.is_break() {
            return Ok(report);
        }
    }
    report.complete = true;
    Ok(report)
}

fn check_blobs(
    store: &BlobStore,
    hasher: &dyn Fn(TenantId) -> Option<blake3::Hasher>,
    report: &mut ScrubReport,
    watch: Watch<'_>,
) -> Result<ControlFlow<()>, BlobError> {
    let mut after = None;
    loop {
        let page = store.list(after, PAGE_ROWS)?;
        for &id in &page {
            match store.verify(id, hasher)? {
                Verified::Whole { size_bytes, hashed } => {
                    report.blobs += 1;
                    report.hashed += u64::from(hashed);
                    report.content_bytes += size_bytes;
                }
                Verified::Damaged { what } => {
                    report.blobs += 1;
                    report.find(id, Fault::Damaged { what });
                }
                // Collected since it was listed.
                Verified::Missing => {}
            }
            if watch(report).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        after = page.last().copied();
        if page.len() < PAGE_ROWS {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

fn check_group(
    store: &BlobStore,
    references: &dyn References,
    group: GroupId,
    report: &mut ScrubReport,
    watch: Watch<'_>,
) -> Result<ControlFlow<()>, BlobError> {
    let mut after = None;
    loop {
        let page = references.named(group, after, PAGE_ROWS)?;
        for &id in &page {
            report.references += 1;
            if is_missing(store, id)? && references.is_named(group, id)? && is_missing(store, id)? {
                report.find(id, Fault::Missing { group });
            }
        }
        if watch(report).is_break() {
            return Ok(ControlFlow::Break(()));
        }
        after = page.last().copied();
        if page.len() < PAGE_ROWS {
            return Ok(ControlFlow::Continue(()));
        }
    }
}

/// Whether the blob is not here; a damaged header was found before and is not absence.
fn is_missing(store: &BlobStore, id: BlobId) -> Result<bool, BlobError> {
    match store.contains(id) {
        Ok(here) => Ok(!here),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(error),
    }
}
