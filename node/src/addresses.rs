//! Where a running node listens, in a file of its data directory (a gateway alone: beside its admin token): with port 0 only the system knows beforehand.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use crate::replace::{Readers, replace};

/// The file's name.
const FILE: &str = "addresses.json";
/// What the admin API is called in it.
const ADMIN: &str = "admin";

/// Writes the addresses of a node that has just bound them.
pub(crate) fn write(folder: &Path, admin: SocketAddr, listeners: &[(String, SocketAddr)]) -> std::io::Result<()> {
    let mut all: BTreeMap<&str, String> = listeners.iter().map(|(name, at)| (name.as_str(), at.to_string())).collect();
    all.insert(ADMIN, admin.to_string());
    let text = serde_json::to_string_pretty(&all)?;
    replace(&folder.join(FILE), &(text + "\n"), Readers::Everybody)
}

/// The admin API's address of the node that runs, or ran last.
pub(crate) fn admin(folder: &Path) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(folder.join(FILE)).ok()?;
    let all: BTreeMap<String, String> = serde_json::from_str(&text).ok()?;
    all.get(ADMIN)?.parse().ok()
}
