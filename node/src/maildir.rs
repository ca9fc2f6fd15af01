//! Maildir and mbox as sources of messages, and what a message needs before the store takes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

/// One message to import.
pub(crate) struct Source {
    /// The mailbox that it goes to.
    pub(crate) mailbox: String,
    /// What is the same each time this message is imported from this source.
    pub(crate) name: String,
    /// System flags as IMAP writes them, separated by spaces.
    pub(crate) flags: String,
    /// When it was received, in milliseconds since 1970, if the source says so.
    pub(crate) received_unix_millis: Option<u64>,
    /// Where its bytes are.
    pub(crate) bytes: Bytes,
}

/// Where the bytes of a message are.
pub(crate) enum Bytes {
    /// A file of their own.
    File(PathBuf),
    /// A part of a file, mbox quoting still in.
    Range(PathBuf, std::ops::Range<usize>),
}

/// What was changed so that the store takes a message: it holds CRLF lines without NUL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Substitutions {
    /// Bare CRs that became CRLF.
    pub(crate) bare_cr: u64,
    /// NULs that became `?`.
    pub(crate) nul: u64,
}

/// Brings a message to CRLF; a bare CR becomes CRLF and a NUL becomes `?`, both counted.
#[must_use]
pub(crate) fn to_crlf(message: &[u8]) -> (Vec<u8>, Substitutions) {
    let mut out = Vec::with_capacity(message.len() + message.len() / 32);
    let mut counted = Substitutions::default();
    let mut bytes = message.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => out.extend(b"\r\n"),
            b'\r' => {
                if bytes.next_if_eq(&b'\n').is_none() {
                    counted.bare_cr += 1;
                }
                out.extend(b"\r\n");
            }
            0 => {
                counted.nul += 1;
                out.push(b'?');
            }
            other => out.push(other),
        }
    }
    (out, counted)
}

/// Lists the messages of a Maildir (with Maildir++ subfolders) or of an mbox file.
pub(crate) fn list(source: &Path, mailbox: &str) -> io::Result<Vec<Source>> {
    if !source.is_dir() {
        return list_mbox(source, mailbox);
    }
    if !source.join("cur").is_dir() {
        let problem = format!("{}: neither an mbox file nor a Maildir (there is no cur/ in it)", source.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let mut found = list_folder(source, mailbox)?;
    let mut folders: Vec<_> = fs::read_dir(source)?.collect::<Result<_, _>>()?;
    folders.sort_by_key(fs::DirEntry::file_name);
    for folder in folders {
        let name = folder.file_name().to_string_lossy().into_owned();
        if let Some(name) = name.strip_prefix('.').filter(|_| folder.path().join("cur").is_dir()) {
            found.extend(list_folder(&folder.path(), &name.replace('.', "/"))?);
        }
    }
    Ok(found)
}

fn list_folder(folder: &Path, mailbox: &str) -> io::Result<Vec<Source>> {
    let mut found = Vec::new();
    for part in ["cur", "new"] {
        let Ok(entries) = fs::read_dir(folder.join(part)) else { continue };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                found.push(maildir_message(&entry, mailbox)?);
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn maildir_message(entry: &fs::DirEntry, mailbox: &str) -> io::Result<Source> {
    let file = entry.file_name().to_string_lossy().into_owned();
    let (name, flags) = file.split_once(":2,").unwrap_or((&file, ""));
    let received = entry.metadata()?.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Source {
        mailbox: mailbox.to_owned(),
        name: name.to_owned(),
        flags: flags.chars().filter_map(flag_of_letter).collect::<Vec<_>>().join(" "),
        received_unix_millis: u64::try_from(received.as_millis()).ok(),
        bytes: Bytes::File(entry.path()),
    })
}

/// Maildir's letters and IMAP's names.
const LETTERS: [(char, &str); 5] =
    [('D', "\\Draft"), ('F', "\\Flagged"), ('R', "\\Answered"), ('S', "\\Seen"), ('T', "\\Deleted")];

fn flag_of_letter(letter: char) -> Option<&'static str> {
    LETTERS.iter().find(|(own, _)| *own == letter).map(|(_, name)| *name)
}

/// Maildir's letters for IMAP flags, sorted as Maildir wants them.
pub(crate) fn letters<'a>(flags: impl Iterator<Item = &'a str>) -> String {
    let given: Vec<&str> = flags.collect();
    LETTERS.iter().filter(|(_, name)| given.contains(name)).map(|(letter, _)| *letter).collect()
}

/// Offsets at which messages of an mbox begin: `From ` at the start or after an empty line.
fn mbox_starts(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut after_empty = true;
    let mut at = 0;
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        if after_empty && line.starts_with(b"From ") {
            starts.push(at);
        }
        after_empty = line == b"\n" || line == b"\r\n";
        at += line.len();
    }
    starts
}

fn list_mbox(file: &Path, mailbox: &str) -> io::Result<Vec<Source>> {
    let bytes = fs::read(file)?;
    let starts = mbox_starts(&bytes);
    if starts.is_empty() && !bytes.is_empty() {
        let problem = format!("{}: not an mbox: it does not begin with a From line", file.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let message = |(ordinal, (&start, end)): (usize, (&usize, usize))| {
        let line = bytes[start..end].iter().position(|&byte| byte == b'\n').map_or(end, |at| start + at + 1);
        Source {
            mailbox: mailbox.to_owned(),
            name: format!("{ordinal}"),
            flags: mbox_flags(&bytes[line..end]),
            received_unix_millis: mbox_date(&bytes[start..line]),
            bytes: Bytes::Range(file.to_owned(), line..end),
        }
    };
    Ok(starts.iter().zip(ends).enumerate().map(message).collect())
}

/// The date of `From sender Tue Jan  2 03:04:05 2024`, taken as UTC.
fn mbox_date(line: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(line).ok()?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let date = words.get(words.len().checked_sub(5)?..)?.join(" ");
    let civil = jiff::civil::DateTime::strptime("%a %b %d %H:%M:%S %Y", date).ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(zoned.timestamp().as_millisecond()).ok()
}

/// Flags from the Status and X-Status fields that mbox readers write.
fn mbox_flags(message: &[u8]) -> String {
    let mut flags = Vec::new();
    for line in message.split(|&byte| byte == b'\n').take_while(|line| !matches!(line, [] | [b'\r'])) {
        let line = String::from_utf8_lossy(line);
        let Some((name, value)) = line.split_once(':') else { continue };
        let letters: &[(char, &'static str)] = match name {
            "Status" => &[('R', "\\Seen")],
            "X-Status" => &[('A', "\\Answered"), ('F', "\\Flagged"), ('T', "\\Draft"), ('D', "\\Deleted")],
            _ => continue,
        };
        flags.extend(letters.iter().filter(|(letter, _)| value.contains(*letter)).map(|(_, flag)| *flag));
    }
    flags.join(" ")
}

impl Bytes {
    /// Reads them; mbox quoting (`>From `) is taken out.
    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::File(path) => fs::read(path),
            Self::Range(path, range) => {
                use std::os::unix::fs::FileExt;
                let mut bytes = vec![0; range.len()];
                fs::File::open(path)?.read_exact_at(&mut bytes, range.start as u64)?;
                Ok(unquote(&bytes))
            }
        }
    }
}

fn unquote(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len());
    for line in message.split_inclusive(|&byte| byte == b'\n') {
        let quotes = line.iter().take_while(|&&byte| byte == b'>').count();
        let quoted = quotes > 0 && line[quotes..].starts_with(b"From ");
        out.extend(&line[usize::from(quoted)..]);
    }
    // The empty line before the next message belongs to the mbox, not to the message.
    for ending in [&b"\r\n\r\n"[..], b"\n\n"] {
        if out.ends_with(ending) {
            out.truncate(out.len() - ending.len() / 2);
            break;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_crlf_and_substitutions_are_counted() {
        let (out, counted) = to_crlf(b"a\nb\r\nc\rd\0e\r");
        assert_eq!(out, b"a\r\nb\r\nc\r\nd?e\r\n");
        assert_eq!(counted, Substitutions { bare_cr: 2, nul: 1 });
    }

    #[test]
    fn an_mbox_is_split_unquoted_and_dated() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("box");
        let mbox = "From a@b Tue Jan  2 03:04:05 2024\nSubject: one\nStatus: RO\n\n>From here\n>>From there\n\nFrom c Wed Jan  3 03:04:05 2024\n\nbody From \n";
        fs::write(&file, mbox).expect("write");
        let found = list(&file, "INBOX").expect("list");
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].bytes.read().expect("read"), b"Subject: one\nStatus: RO\n\nFrom here\n>From there\n");
        assert_eq!(found[0].flags, "\\Seen");
        assert_eq!(found[0].received_unix_millis, Some(1_704_164_645_000));
        assert_eq!(found[1].bytes.read().expect("read"), b"\nbody From \n");
    }

    #[test]
    fn a_maildir_gives_folders_flags_and_dates() {
        let folder = tempfile::tempdir().expect("folder");
        for part in ["cur", "new", ".Work.Old/cur"] {
            fs::create_dir_all(folder.path().join(part)).expect("folder");
        }
        fs::write(folder.path().join("cur/1.a:2,FS"), "x").expect("write");
        fs::write(folder.path().join("new/2.b"), "x").expect("write");
        fs::write(folder.path().join(".Work.Old/cur/3.c:2,R"), "x").expect("write");
        let found = list(folder.path(), "INBOX").expect("list");
        let seen: Vec<_> = found.iter().map(|s| (s.mailbox.as_str(), s.name.as_str(), s.flags.as_str())).collect();
        let expected = [("INBOX", "1.a", "\\Flagged \\Seen"), ("INBOX", "2.b", ""), ("Work/Old", "3.c", "\\Answered")];
        assert_eq!(seen, expected);
        assert_eq!(letters("\\Seen \\Flagged".split(' ')), "FS");
    }

    #[test]
    fn what_is_neither_is_refused() {
        let folder = tempfile::tempdir().expect("folder");
        assert!(list(folder.path(), "INBOX").is_err());
        let file = folder.path().join("text");
        fs::write(&file, "hello\n").expect("write");
        assert!(list(&file, "INBOX").is_err());
    }
}
