//! Replacing a small file as a whole, so that a crash leaves the old one or the new one and never a part.
//!
//! The text goes to a file of another name beside it, which is synced, renamed over the old one, and its folder synced.
//! What an earlier crash left under that other name is removed first: whoever finds it need not know what it was.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Who may read a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Readers {
    /// Its owner alone, from its first octet on.
    Owner,
    /// Whom the process's umask allows.
    Everybody,
}

/// Writes the file, durably; a file that is there is replaced. Two processes must not do it at the same time.
///
/// # Errors
/// Of the disk; then the file is as it was.
pub(crate) fn replace(path: &Path, text: &str, readers: Readers) -> io::Result<()> {
    let beside = beside(path)?;
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    // New, so that nobody has it open already and its mode is ours.
    options.write(true).create_new(true);
    if readers == Readers::Owner {
        options.mode(0o600);
    }
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name is durable with its folder only.
    File::open(folder(path))?.sync_all()
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a folder, not a file"))?;
    let mut name = name.to_owned();
    name.push(".new");
    Ok(path.with_file_name(name))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.json");
        replace(&path, "a long first text", Readers::Everybody).expect("first");
        let first = fs::metadata(&path).expect("there").ino();
        replace(&path, "second", Readers::Everybody).expect("second");
        assert_eq!(fs::read_to_string(&path).expect("text"), "second");
        assert_ne!(fs::metadata(&path).expect("there").ino(), first, "another file, not the old one overwritten");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    }

    #[test]
    fn a_secret_is_its_owners_alone_whatever_lay_there_before() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("admin-token");
        // A crash long ago, and a file that everybody may read.
        for old in [path.clone(), folder.path().join("admin-token.new")] {
            fs::write(&old, "old").expect("written");
            fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).expect("mode");
        }
        replace(&path, "secret", Readers::Owner).expect("replaced");
        assert_eq!((fs::read_to_string(&path).expect("text").as_str(), mode(&path)), ("secret", 0o600));
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    }

    #[test]
    fn what_cannot_be_written_leaves_the_old_file() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("node.json");
        replace(&path, "old", Readers::Everybody).expect("written");
        // Something stands where the new file would be written first.
        fs::create_dir(folder.path().join("node.json.new")).expect("folder");
        assert!(replace(&path, "new", Readers::Everybody).is_err());
        assert_eq!(fs::read_to_string(&path).expect("text"), "old");
        assert!(replace(Path::new("/"), "x", Readers::Owner).is_err());
    }
}
