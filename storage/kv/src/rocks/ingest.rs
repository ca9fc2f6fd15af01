//! Ingestion: many rows become table files first, then part of the store all at once.
//!
//! The files are made in a directory inside the store's, so that RocksDB takes them over by a link. RocksDB
//! syncs them, the directory and its manifest before it answers. A crash before that leaves files that nobody
//! names; opening the store removes them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use rocksdb::{IngestExternalFileOptions, SstFileWriter};

use super::{Place, RocksStore, inside};
use crate::port::{KvError, Row};

/// A table file is closed at this size: large enough that there are few, small enough to be compacted alone.
const FILE_SIZE_BYTES_MAX: u64 = 64 * 1024 * 1024;

fn staging(place: &Place) -> PathBuf {
    inside(place, "ingest")
}

/// Removes what a crash left of an ingestion.
pub(super) fn remove_leftovers(place: &Place) -> Result<(), KvError> {
    remove(&staging(place), place)
}

fn remove(directory: &Path, place: &Place) -> Result<(), KvError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(place.io(directory, &error)),
        _ => Ok(()),
    }
}

pub(super) fn ingest(store: &RocksStore, rows: &mut dyn Iterator<Item = Row>) -> Result<(), KvError> {
    let number = store.ingested.fetch_add(1, Ordering::Relaxed);
    let directory = staging(&store.place).join(number.to_string());
    fs::create_dir_all(&directory).map_err(|error| store.place.io(&directory, &error))?;
    let done = write_files(store, &directory, rows).and_then(|files| take_over(store, files));
    let removed = remove(&directory, &store.place);
    done.and(removed)
}

fn take_over(store: &RocksStore, files: Vec<PathBuf>) -> Result<(), KvError> {
    if files.is_empty() {
        return Ok(());
    }
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    store.db.ingest_external_file_opts(&options, files).map_err(|error| store.place.error(&error))
}

fn write_files(
    store: &RocksStore,
    directory: &Path,
    rows: &mut dyn Iterator<Item = Row>,
) -> Result<Vec<PathBuf>, KvError> {
    let mut files = Vec::new();
    let mut rows = Ascending { rows, last: None, place: &store.place };
    while let Some(first) = rows.next()? {
        let file = directory.join(format!("{}.sst", files.len()));
        write_file(store, &file, first, &mut rows)?;
        files.push(file);
    }
    Ok(files)
}

/// Writes one table file: `first` and then rows until it is full or they end.
fn write_file(store: &RocksStore, file: &Path, first: Row, rows: &mut Ascending<'_>) -> Result<(), KvError> {
    let error = |error: rocksdb::Error| store.place.error(&error);
    let options = store.profile.options();
    let mut writer = SstFileWriter::create(&options);
    writer.open(file).map_err(error)?;
    let mut row = Some(first);
    while let Some((key, value)) = row {
        writer.put(key, value).map_err(error)?;
        row = if writer.file_size() < FILE_SIZE_BYTES_MAX { rows.next()? } else { None };
    }
    writer.finish().map_err(error)
}

/// Rows that are checked to ascend strictly.
struct Ascending<'a> {
    rows: &'a mut dyn Iterator<Item = Row>,
    last: Option<Vec<u8>>,
    place: &'a Place,
}

impl Ascending<'_> {
    fn next(&mut self) -> Result<Option<Row>, KvError> {
        let Some((key, value)) = self.rows.next() else { return Ok(None) };
        if self.last.as_ref().is_some_and(|last| *last >= key) {
            return Err(KvError::Unordered { path: self.place.0.display().to_string() });
        }
        self.last = Some(key.clone());
        Ok(Some((key, value)))
    }
}
