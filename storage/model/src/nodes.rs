//! The nodes of a cluster, as group 0 keeps them: who there is, where, and how somebody new gets in.
//!
//! A node comes in with a one-time token. A store gets a replica id with it, which no other store of the cluster ever
//! had: one that lost its disk comes back under its old name and a new replica id, so that nothing takes its empty log for
//! the one that voted.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{GroupId, ReplicaId, UnixMillis, dkim::PrivateKey};

/// RFC 1035 2.3.4: octets of a label.
const LABEL_OCTETS_MAX: usize = 63;
/// Octets of `host:port`: a domain name (RFC 1035 2.3.4), a colon and a port.
pub const NODE_ADDRESS_OCTETS_MAX: usize = 253 + 6;
/// Nodes of one cluster, removed ones not counted.
pub const NODES_MAX: usize = 256;
/// Tokens that wait to be used.
pub const JOIN_TOKENS_MAX: usize = 100;
/// A token lives at most a week.
pub const JOIN_TOKEN_MILLIS_MAX: u64 = 7 * 24 * 3600 * 1000;

/// The home site of a group: sites with stores take turns. None when there are none.
#[must_use]
pub fn home_site<'s>(group: GroupId, sites: impl IntoIterator<Item = &'s str>) -> Option<&'s str> {
    let sites: BTreeSet<&str> = sites.into_iter().collect();
    let turn = usize::try_from(group.get()).unwrap_or_default() % sites.len().max(1);
    sites.into_iter().nth(turn)
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = LabelError;

            fn from_str(text: &str) -> Result<Self, LabelError> {
                let letters = text.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-'));
                let inside = !text.starts_with('-') && !text.ends_with('-');
                if letters && inside && (1..=LABEL_OCTETS_MAX).contains(&text.len()) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(LabelError { what: $what, text: text.to_owned() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = LabelError;

            fn try_from(text: String) -> Result<Self, LabelError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label! {
    /// A node's name: one label of lower-case letters, digits and hyphens (RFC 1123 2.1).
    NodeName, "a node"
}
label! {
    /// A site's name; the same form as a node's.
    SiteName, "a site"
}

/// Why a text is no label.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text:?} is no name of {what}: give 1 to 63 lower-case letters, digits and hyphens, no hyphen at an end")]
pub struct LabelError {
    what: &'static str,
    text: String,
}

/// Where a node is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NodeState {
    /// It does its work.
    Active,
    /// It gives its work away, to be removed.
    Draining,
    /// It is let in no more. Its name may be given again with a token that says so.
    Removed,
}

/// What a node says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its name, its own within the cluster.
    pub name: NodeName,
    /// Its site.
    pub site: SiteName,
    /// Whether it keeps mail.
    pub store: bool,
    /// Whether it serves clients.
    pub gateway: bool,
    /// Where other nodes reach it, as `host:port`; none of a gateway alone.
    pub address: Option<String>,
}

/// A node of the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// What it says of itself.
    pub facts: NodeFacts,
    /// Where it is in its life.
    pub state: NodeState,
    /// The replica id of a store in all its groups.
    pub replica: Option<ReplicaId>,
    /// When it came in, under this replica id.
    pub joined: UnixMillis,
}

/// A token that lets a node in, once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinToken {
    /// SHA-256 of its secret: who reads the directory cannot join with it.
    pub digest: [u8; 32],
    /// Until when it can be used.
    pub expires: UnixMillis,
    /// The node that may take up its name again with it; none: a new name.
    pub replaces: Option<NodeName>,
}

/// The cluster's own authority, which signs its nodes' certificates.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Authority {
    /// Its certificate in PEM.
    pub certificate: String,
    /// Its key.
    pub key: PrivateKey,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::record;

    #[test]
    fn a_label_is_what_a_host_may_be_called() {
        for good in ["a", "store-1", "0", &"a".repeat(63)] {
            assert_eq!(good.parse::<NodeName>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
            assert!(bad.parse::<SiteName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sites_take_turns_as_homes() {
        let sites = ["west", "east", "north", "east"];
        let homes: Vec<_> = (0..6).map(|group| home_site(GroupId::new(group), sites).unwrap()).collect();
        assert_eq!(homes, ["east", "north", "west", "east", "north", "west"]);
        assert_eq!(home_site(GroupId::new(3), []), None);
        for count in 1..9 {
            let sites: Vec<_> = (0..count).map(|site| format!("site-{site}")).collect();
            let reversed = || sites.iter().rev().map(String::as_str);
            let mut share: BTreeMap<&str, u32> = BTreeMap::new();
            for group in (0..64).map(GroupId::new) {
                let home = home_site(group, reversed()).unwrap();
                assert_eq!(Some(home), home_site(group, sites.iter().map(String::as_str)));
                *share.entry(home).or_default() += 1;
            }
            let (least, most) = (share.values().min().unwrap(), share.values().max().unwrap());
            assert!(share.len() == count && most - least <= 1, "{share:?}");
        }
    }

    #[test]
    fn what_comes_in_a_record_is_checked_too() {
        let wrong = record::encode(&"Not A Name".to_owned());
        assert!(record::decode::<NodeName>(&wrong).is_err());
        let right = record::encode(&"store-1".to_owned());
        assert_eq!(record::decode::<NodeName>(&right).unwrap().as_str(), "store-1");
    }

    #[test]
    fn the_authoritys_key_is_never_shown() {
        let authority = Authority { certificate: "PEM".to_owned(), key: PrivateKey::new(vec![1, 2, 3]) };
        assert_eq!(format!("{authority:?}"), "Authority { certificate: \"PEM\", key: PrivateKey(..) }");
    }
}
