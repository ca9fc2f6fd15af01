//! The disk that loses power, against plain files: what each of its rules says.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    process::Command,
};

use securanet_tests::{
    power::{Disk, Loss, Lost, NameRule, where_possible},
    random::Random,
    server::must,
};

fn sync(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// What is left of what was done, when the power takes all that it may.
fn after(rule: NameRule, work: impl FnOnce(&Path)) -> (Disk, Lost) {
    let mut disk = Disk::new(rule).unwrap();
    work(disk.path());
    let lost = disk.cut(Loss::ALL, &mut Random::new(1));
    disk.restore().unwrap();
    (disk, lost)
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_file_is_what_its_last_sync_made_it() {
    where_possible("a_file_is_what_its_last_sync_made_it", || {
        let (disk, lost) = after(NameRule::Strict, |at| {
            for name in ["synced", "unsynced", "longer", "shorter", "data"] {
                fs::write(at.join(name), "first").unwrap();
                if name != "unsynced" {
                    sync(&at.join(name));
                }
            }
            sync(at);
            let open = |name| OpenOptions::new().read(true).write(true).open(at.join(name)).unwrap();
            open("synced").write_all(b"other").unwrap();
            open("longer").write_all(b"longer than before").unwrap();
            open("shorter").set_len(2).unwrap();
            let data = open("data");
            data.write_all_at(b"D", 0).unwrap();
            data.sync_data().unwrap();
            data.write_all_at(b"E", 1).unwrap();
        });
        let read = |name| fs::read_to_string(disk.path().join(name)).unwrap();
        assert_eq!(read("synced"), "first");
        assert_eq!(read("unsynced"), "");
        assert_eq!(read("longer"), "first");
        assert_eq!(read("shorter"), "first");
        assert_eq!(read("data"), "Dirst");
        assert_eq!((lost.bytes_dropped, lost.bytes_kept), (5 + 5 + 18 + 1, 0));
        assert_eq!(lost.names_dropped, 0);
    });
}

#[test]
fn strictly_a_name_is_durable_once_its_directory_was_synced() {
    where_possible("strictly_a_name_is_durable_once_its_directory_was_synced", || {
        let (disk, _) = after(NameRule::Strict, |at| {
            for name in ["kept", "renamed", "removed", "replaced", "replacing"] {
                fs::write(at.join(name), name).unwrap();
                sync(&at.join(name));
            }
            fs::create_dir(at.join("folder")).unwrap();
            sync(at);
            fs::write(at.join("new"), "new").unwrap();
            sync(&at.join("new"));
            fs::rename(at.join("renamed"), at.join("other")).unwrap();
            fs::rename(at.join("replacing"), at.join("replaced")).unwrap();
            fs::remove_file(at.join("removed")).unwrap();
            fs::hard_link(at.join("kept"), at.join("linked")).unwrap();
            fs::create_dir_all(at.join("folder/inner/most")).unwrap();
            sync(&at.join("folder/inner/most"));
            sync(&at.join("folder"));
        });
        let at = disk.path();
        assert_eq!(names(at), ["folder", "kept", "removed", "renamed", "replaced", "replacing"]);
        for name in ["kept", "removed", "renamed", "replaced"] {
            assert_eq!(fs::read_to_string(at.join(name)).unwrap(), name);
        }
        assert_eq!(names(&at.join("folder")), ["inner"]);
        assert_eq!(names(&at.join("folder/inner")), Vec::<String>::new());
    });
}

#[test]
fn in_a_journal_a_sync_takes_all_earlier_names_with_it_and_no_later_ones() {
    where_possible("in_a_journal_a_sync_takes_all_earlier_names_with_it_and_no_later_ones", || {
        let (disk, lost) = after(NameRule::Journal, |at| {
            fs::create_dir(at.join("folder")).unwrap();
            fs::write(at.join("earlier"), "unsynced").unwrap();
            fs::write(at.join("folder/file"), "synced").unwrap();
            fs::write(at.join("later"), "later").unwrap();
            sync(&at.join("folder/file"));
            sync(&at.join("earlier"));
        });
        let at = disk.path();
        assert_eq!(names(at), ["earlier", "folder"]);
        assert_eq!(fs::read_to_string(at.join("folder/file")).unwrap(), "synced");
        assert_eq!(lost.names_dropped, 1);
        // The classic: a new name for contents that nobody synced.
        let (disk, _) = after(NameRule::Journal, |at| {
            fs::write(at.join("file"), "old").unwrap();
            sync(&at.join("file"));
            fs::write(at.join("file.new"), "new").unwrap();
            fs::rename(at.join("file.new"), at.join("file")).unwrap();
            sync(at);
        });
        assert_eq!(names(disk.path()), ["file"]);
        assert_eq!(fs::read(disk.path().join("file")).unwrap(), b"");
    });
}

#[test]
fn what_stays_by_luck_is_torn_between_sectors() {
    where_possible("what_stays_by_luck_is_torn_between_sectors", || {
        for tear_bytes in [512, 4096] {
            let mut disk = Disk::new(NameRule::Strict).unwrap();
            let path = disk.path().join("file");
            fs::write(&path, vec![b'o'; 1 << 20]).unwrap();
            sync(&path);
            for name in 0..100 {
                fs::write(disk.path().join(format!("name-{name}")), "").unwrap();
            }
            sync(disk.path());
            for name in 0..100 {
                fs::remove_file(disk.path().join(format!("name-{name}"))).unwrap();
            }
            // Not at a sector's beginning: its first and last piece are shorter.
            OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&vec![b'n'; 900_000], 100).unwrap();
            let lost = disk.cut(Loss { kept_percent: 50, tear_bytes }, &mut Random::new(7));
            disk.restore().unwrap();
            let left = fs::read(&path).unwrap();
            assert_eq!(left.len(), 1 << 20);
            let sectors = left[..900_096].chunks(tear_bytes).skip(1);
            let whole = sectors.filter(|sector| sector.len() == tear_bytes);
            let mut counts = [0, 0];
            for sector in whole {
                assert!(sector.iter().all(|&byte| byte == sector[0]), "torn inside a sector of {tear_bytes}");
                counts[usize::from(sector[0] == b'n')] += 1;
            }
            assert!(counts[0] > 50 && counts[1] > 50, "{counts:?}");
            assert_eq!(lost.bytes_dropped + lost.bytes_kept, 900_000);
            assert_eq!(left.iter().filter(|&&byte| byte == b'n').count() as u64, lost.bytes_kept);
            let removed = 101 - names(disk.path()).len() as u64;
            assert_eq!((removed, 100 - removed), (lost.names_kept, lost.names_dropped));
            assert!((20..80).contains(&removed), "{removed} of 100");
        }
        // A journal leaves the first ones.
        let mut disk = Disk::new(NameRule::Journal).unwrap();
        for name in 0..100 {
            fs::write(disk.path().join(format!("{name:02}")), "").unwrap();
        }
        let lost = disk.cut(Loss { kept_percent: 50, tear_bytes: 512 }, &mut Random::new(3));
        disk.restore().unwrap();
        let expected: Vec<String> = (0..lost.names_kept).map(|name| format!("{name:02}")).collect();
        assert_eq!(names(disk.path()), expected);
        assert!((1..100).contains(&lost.names_kept), "{lost:?}");
    });
}

#[test]
fn without_power_every_call_fails_until_it_is_back() {
    where_possible("without_power_every_call_fails_until_it_is_back", || {
        let mut disk = Disk::new(NameRule::Strict).unwrap();
        let path = disk.path().join("file");
        fs::write(&path, "before").unwrap();
        sync(&path);
        sync(disk.path());
        let mut open = OpenOptions::new().write(true).open(&path).unwrap();
        // The second change from now: the write goes through, its sync does not.
        disk.cut_at_change(2, Loss::ALL, Random::new(1));
        open.write_all(b"beyond").unwrap();
        assert!(disk.lost().is_none());
        assert_eq!(open.sync_data().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(disk.lost().unwrap().bytes_dropped, 6);
        assert_eq!(open.write_all(b"more").unwrap_err().raw_os_error(), Some(5));
        assert_eq!(open.sync_all().unwrap_err().raw_os_error(), Some(5));
        assert_eq!(fs::write(disk.path().join("new"), "").unwrap_err().raw_os_error(), Some(5));
        assert_eq!(fs::rename(&path, disk.path().join("new")).unwrap_err().raw_os_error(), Some(5));
        drop(open);
        disk.restore().unwrap();
        assert!(disk.lost().is_none());
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        fs::write(&path, "again").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "again");
    });
}

#[test]
fn it_is_a_file_system_as_rocksdb_needs_one() {
    where_possible("it_is_a_file_system_as_rocksdb_needs_one", || {
        let mut disk = Disk::new(NameRule::Strict).unwrap();
        let at = disk.path().to_owned();
        let run = |program: &str, words: &[&str]| {
            let mut command = Command::new(program);
            command.args(words).current_dir(&at);
            must(command, "").unwrap()
        };
        // Direct writes, and space that is taken ahead and given back.
        run(
            "dd",
            &["if=/dev/zero", "of=direct", "bs=4096", "count=4", "oflag=direct", "conv=fdatasync", "status=none"],
        );
        assert_eq!(fs::metadata(at.join("direct")).unwrap().len(), 16384);
        fs::write(at.join("ahead"), vec![b'x'; 10_000]).unwrap();
        run("fallocate", &["--keep-size", "--length", "1M", "ahead"]);
        assert_eq!(fs::metadata(at.join("ahead")).unwrap().len(), 10_000);
        run("fallocate", &["--punch-hole", "--offset", "4096", "--length", "4096", "ahead"]);
        let holed = fs::read(at.join("ahead")).unwrap();
        assert!(holed[4096..8192].iter().all(|&byte| byte == 0) && holed[8192] == b'x' && holed.len() == 10_000);
        run("fallocate", &["--length", "20000", "ahead"]);
        assert_eq!(fs::metadata(at.join("ahead")).unwrap().len(), 20_000);
        let full = Command::new("fallocate").args(["--length", "2G", "full"]).current_dir(&at).output().unwrap();
        assert!(String::from_utf8_lossy(&full.stderr).contains("No space left"), "{full:?}");
        // A mapped file; its msync is a sync.
        let script = "import mmap\nf=open('mapped','w+b');f.truncate(8192)\nm=mmap.mmap(f.fileno(),8192)\n\
                      m[4096:4100]=b'here';m.flush()\nm[0:4]=b'gone'\nimport os;os.fsync(os.open('.',0));os._exit(0)";
        run("python3", &["-c", script]);
        // Names: a file without one, one with two, and a lock.
        let mut nameless = File::create_new(at.join("nameless")).unwrap();
        nameless.write_all(b"still here").unwrap();
        fs::remove_file(at.join("nameless")).unwrap();
        let mut reader = OpenOptions::new().read(true).write(true).create_new(true).open(at.join("two")).unwrap();
        fs::hard_link(at.join("two"), at.join("names")).unwrap();
        reader.write_all(b"both").unwrap();
        assert_eq!(fs::metadata(at.join("names")).unwrap().nlink(), 2);
        assert_eq!(fs::read(at.join("names")).unwrap(), b"both");
        reader.seek(SeekFrom::Start(2)).unwrap();
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "th");
        reader.sync_all().unwrap();
        reader.lock().unwrap();
        assert!(File::open(at.join("two")).unwrap().try_lock().is_err());
        sync(&at);
        drop((nameless, reader));
        disk.cut(Loss::ALL, &mut Random::new(1));
        disk.restore().unwrap();
        assert_eq!(names(&at), ["ahead", "direct", "full", "mapped", "names", "two"]);
        assert_eq!(&fs::read(at.join("mapped")).unwrap()[4096..4100], b"here");
        assert_eq!(fs::read(at.join("names")).unwrap(), b"both");
        assert_eq!(fs::read(at.join("direct")).unwrap().len(), 16384);
        // What is removed gives its space back.
        for _ in 0..3 {
            run("dd", &["if=/dev/zero", "of=big", "bs=1M", "count=500", "status=none"]);
            fs::remove_file(at.join("big")).unwrap();
            sync(&at);
        }
    });
}
