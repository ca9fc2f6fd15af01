//! Real messages: those that the mail-parser crate ships, found where cargo keeps its source.

use std::{
    fs,
    path::{Path, PathBuf},
};

use securanet_model::summary::{Inside, Part};

use crate::support::{Noise, Room, read_all, summary};

fn messages() -> Vec<(PathBuf, Vec<u8>)> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(manifest).exec().expect("cargo metadata");
    let package = metadata.packages.iter().find(|package| package.name.as_str() == "mail-parser").expect("mail-parser");
    let mut messages = Vec::new();
    collect(&package.manifest_path.parent().expect("a directory").join("resources").into_std_path_buf(), &mut messages);
    assert!(messages.len() > 105, "only {} messages: the crate ships more", messages.len());
    messages
}

fn collect(directory: &Path, messages: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(directory).expect("the crate's test messages") {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, messages);
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            let bytes = fs::read(&path).unwrap();
            messages.push((path, bytes));
        }
    }
}

fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut crlf = Vec::with_capacity(message.len() + message.len() / 30);
    for line in message.split_inclusive(|&octet| octet == b'\n') {
        let text = line.strip_suffix(b"\n").map_or(line, |text| text.strip_suffix(b"\r").unwrap_or(text));
        crlf.extend_from_slice(text);
        if line.ends_with(b"\n") {
            crlf.extend_from_slice(b"\r\n");
        }
    }
    crlf
}

#[test]
fn each_comes_back_octet_for_octet_with_any_line_ends() {
    let room = Room::new();
    for (path, message) in messages() {
        for message in [with_crlf(&message), message] {
            securanet_blob::fuzz::fuzz_message(&message);
            let ingested = room.take_in(b"Received: by us\r\n", &message);
            let whole = read_all(&room.open(b"Delivered-To: a@b\r\n", &ingested));
            let expected = [b"Delivered-To: a@b\r\nReceived: by us\r\n", message.as_slice()].concat();
            assert!(whole == expected, "{}", path.display());
        }
    }
}

#[test]
fn each_comes_back_when_it_was_mangled_on_its_way() {
    let (room, mut noise) = (Room::new(), Noise(0x3a1));
    for (path, message) in messages() {
        for _ in 0..6 {
            let mut mangled = message.clone();
            for _ in 0..=noise.below(4) {
                let at = noise.below(mangled.len());
                let length = noise.below(mangled.len() - at + 1).min(2000);
                match noise.below(3) {
                    0 => drop(mangled.drain(at..at + length)),
                    1 => drop(mangled.splice(at..at, message[..length.min(message.len())].to_vec())),
                    _ => drop(mangled.splice(at..at, noise.octets(length.min(40)))),
                }
            }
            securanet_blob::fuzz::fuzz_message(&mangled);
            let ingested = room.take_in(b"", &mangled);
            assert!(read_all(&room.open(b"", &ingested)) == mangled, "{}", path.display());
        }
    }
}

#[test]
fn structures_agree_with_another_parser() {
    let (mut compared, mut differing) = (0, Vec::new());
    for (path, message) in messages() {
        let message = with_crlf(&message);
        let Some(other) = mail_parser::MessageParser::default().parse(&message) else { continue };
        let structure = summary(&Room::new().take_in(b"", &message)).structure;
        let (ours, theirs) = (leaves(&structure), other.parts.iter().filter(|part| is_leaf(part)).count());
        compared += 1;
        if ours != theirs {
            let folder = path.parent().and_then(Path::file_name).unwrap();
            differing.push(format!("{}/{}", folder.display(), path.file_name().unwrap().display()));
        }
    }
    assert!(compared > 100, "{compared}");
    differing.retain(|name| !name.starts_with("malformed/"));
    // Messages inside whose headers have no empty line: the other parser reads on over the delimiters.
    assert_eq!(differing, ["thirdparty/015.eml"]);
}

fn leaves(part: &Part) -> usize {
    match &part.inside {
        Inside::Parts(parts) => parts.iter().map(leaves).sum(),
        Inside::Message(_) | Inside::Nothing => 1,
    }
}

fn is_leaf(part: &mail_parser::MessagePart<'_>) -> bool {
    !matches!(part.body, mail_parser::PartType::Multipart(_))
}
