//! The catalogue of policies: each with its key, type, unit, default and scopes.
//!
//! "By policy" in the manual means a row of [`CATALOGUE`]. A value is set in the directory for the cluster, a
//! domain or an account; the narrowest scope wins. What is not in the catalogue cannot be set.

use serde::{Deserialize, Serialize};

use crate::{AccountId, DomainId};

/// What a policy's value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number within these bounds, both included.
    Number {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// One of these words.
    Word(&'static [&'static str]),
    /// Times separated by commas, each a whole number with its unit: `15m,2h,1d,3d`. See [`seconds_of`].
    Durations {
        /// Fewest of them.
        count_min: usize,
        /// Most of them.
        count_max: usize,
        /// Longest of them, in seconds; the shortest is one second.
        seconds_max: u32,
    },
}

/// The seconds of a list of times such as `15m,2h,1d,3d`: whole numbers with one of the units `s`, `m`, `h`, `d`, separated
/// by commas. An empty text is an empty list; `None` when it is no such list or a time is longer than `u32` holds.
#[must_use]
pub fn seconds_of(list: &str) -> Option<Vec<u32>> {
    if list.trim().is_empty() {
        return Some(Vec::new());
    }
    list.split(',').map(|time| seconds_of_one(time.trim())).collect()
}

fn seconds_of_one(time: &str) -> Option<u32> {
    let unit_seconds = match time.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let digits = &time[..time.len() - 1];
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u32>().ok()?.checked_mul(unit_seconds)
}

/// Where a policy may be set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// Everywhere.
    Cluster,
    /// One domain.
    Domain(DomainId),
    /// One account.
    Account(AccountId),
}

/// One row of the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Its name, dotted: `smtp.over_quota_reply`.
    pub key: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Unit of a number; empty for others.
    pub unit: &'static str,
    /// The value where none is set.
    pub default: &'static str,
    /// Whether a domain or an account may have its own value.
    pub per_domain: bool,
    /// Whether an account may have its own value.
    pub per_account: bool,
    /// One sentence for the operator.
    pub about: &'static str,
}

/// No pause between two tries is longer: 30 days.
const RETRY_SECONDS_MAX: u32 = 30 * 86_400;

/// All policies, sorted by key.
pub const CATALOGUE: &[Policy] = &[
    Policy {
        key: "account.app_passwords",
        kind: Kind::Boolean,
        unit: "",
        default: "true",
        per_domain: true,
        per_account: true,
        about: "whether app passwords may be used to log in",
    },
    Policy {
        key: "login.scram",
        kind: Kind::Boolean,
        unit: "",
        default: "true",
        per_domain: true,
        per_account: false,
        about: "whether a SCRAM-SHA-256 verifier is kept beside the argon2id one when a password is set",
    },
    Policy {
        key: "queue.double_bounce",
        kind: Kind::Word(&["drop", "postmaster"]),
        unit: "",
        default: "drop",
        per_domain: false,
        per_account: false,
        about: "a report of ours that cannot be delivered is counted and dropped, or the postmaster is told of it",
    },
    Policy {
        key: "queue.no_such_domain_retry_after",
        kind: Kind::Durations { count_min: 0, count_max: 32, seconds_max: RETRY_SECONDS_MAX },
        unit: "",
        default: "5m,10m,15m,30m",
        per_domain: true,
        per_account: true,
        about: "the pauses before the retries of mail for a domain that does not exist; after the last one it is returned",
    },
    Policy {
        key: "queue.retry_after",
        kind: Kind::Durations { count_min: 0, count_max: 32, seconds_max: RETRY_SECONDS_MAX },
        unit: "",
        default: "15m,2h,1d,3d",
        per_domain: true,
        per_account: true,
        about: "the pauses before the retries of mail that a destination did not take; after the last one it is returned",
    },
    Policy {
        key: "queue.warn_after",
        kind: Kind::Durations { count_min: 0, count_max: 1, seconds_max: RETRY_SECONDS_MAX },
        unit: "",
        default: "4h",
        per_domain: true,
        per_account: true,
        about: "how long a message may wait until its sender is told of the delay; empty: never",
    },
    Policy {
        key: "smtp.over_quota_reply",
        kind: Kind::Word(&["452", "552"]),
        unit: "",
        default: "452",
        per_domain: true,
        per_account: true,
        about: "the reply to RCPT for an account over its quota: 452 lets the sender try again, 552 bounces at once",
    },
    Policy {
        key: "smtp.subaddress_folder",
        kind: Kind::Boolean,
        unit: "",
        default: "true",
        per_domain: true,
        per_account: true,
        about: "whether user+folder@domain is delivered into that folder when it exists",
    },
    Policy {
        key: "smtp.success_reports",
        kind: Kind::Boolean,
        unit: "",
        default: "true",
        per_domain: false,
        per_account: false,
        about: "whether who does not log in is told, when asking for it, that a message was delivered or sent on",
    },
    Policy {
        key: "submission.address_literals",
        kind: Kind::Word(&["refuse", "send"]),
        unit: "",
        default: "refuse",
        per_domain: true,
        per_account: true,
        about: "recipients at hosts without a name, such as user@[192.0.2.9], are refused or sent to",
    },
    Policy {
        key: "submission.copy_to_sent",
        kind: Kind::Boolean,
        unit: "",
        default: "false",
        per_domain: true,
        per_account: true,
        about: "whether what an account submits is kept in its Sent mailbox too, where its client's own upload then finds it",
    },
    Policy {
        key: "submission.hide_client",
        kind: Kind::Boolean,
        unit: "",
        default: "false",
        per_domain: true,
        per_account: true,
        about: "whether the Received field of submitted mail leaves out where the client is",
    },
    Policy {
        key: "submission.messages_per_hour",
        kind: Kind::Number { min: 0, max: 1_000_000 },
        unit: "messages",
        default: "1000",
        per_domain: true,
        per_account: true,
        about: "messages that an account may submit in an hour at each gateway; 0: as many as it likes",
    },
    Policy {
        key: "submission.recipients_per_hour",
        kind: Kind::Number { min: 0, max: 10_000_000 },
        unit: "recipients",
        default: "2000",
        per_domain: true,
        per_account: true,
        about: "recipients that an account may send to in an hour at each gateway; 0: as many as it likes",
    },
];

/// Why a policy cannot be set so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum PolicyError {
    /// No such key.
    #[error("there is no policy {0:?}; `securanet policy list` shows them all")]
    Unknown(String),
    /// The value does not fit.
    #[error("policy {key}: {value:?} is not {expected}")]
    Value {
        /// The policy.
        key: String,
        /// What was given.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// The scope is not allowed.
    #[error("policy {0} cannot be set for one domain or account")]
    Scope(String),
}

/// The row with this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Policy> {
    CATALOGUE.iter().find(|policy| policy.key == key)
}

impl Policy {
    /// Checks a value and a scope against this row.
    ///
    /// # Errors
    /// [`PolicyError`] says what would fit.
    pub fn check(&self, scope: Scope, value: &str) -> Result<(), PolicyError> {
        let allowed = match scope {
            Scope::Cluster => true,
            Scope::Domain(_) => self.per_domain,
            Scope::Account(_) => self.per_account,
        };
        if !allowed {
            return Err(PolicyError::Scope(self.key.to_owned()));
        }
        let (fits, expected) = match self.kind {
            Kind::Boolean => (matches!(value, "true" | "false"), "true or false".to_owned()),
            Kind::Number { min, max } => (
                value.parse::<u64>().is_ok_and(|number| (min..=max).contains(&number)),
                format!("a number from {min} to {max} {}", self.unit),
            ),
            Kind::Word(words) => (words.contains(&value), format!("one of {}", words.join(", "))),
            Kind::Durations { count_min, count_max, seconds_max } => (
                seconds_of(value).is_some_and(|times| {
                    (count_min..=count_max).contains(&times.len())
                        && times.iter().all(|seconds| (1..=seconds_max).contains(seconds))
                }),
                format!("{count_min} to {count_max} times of 1s to {}d, such as 15m,2h,1d", seconds_max / 86_400),
            ),
        };
        if fits {
            Ok(())
        } else {
            Err(PolicyError::Value { key: self.key.to_owned(), value: value.to_owned(), expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sorted_and_its_defaults_fit() {
        assert!(CATALOGUE.windows(2).all(|pair| pair[0].key < pair[1].key));
        for policy in CATALOGUE {
            assert_eq!(policy.check(Scope::Cluster, policy.default), Ok(()), "{}", policy.key);
        }
    }

    #[test]
    fn a_value_or_scope_that_does_not_fit_is_refused() {
        let scram = find("login.scram").map(|policy| policy.check(Scope::Account(AccountId::new(1)), "false"));
        assert_eq!(scram, Some(Err(PolicyError::Scope("login.scram".to_owned()))));
        let reply = find("smtp.over_quota_reply").map(|policy| policy.check(Scope::Cluster, "500"));
        assert!(matches!(reply, Some(Err(PolicyError::Value { .. }))));
    }

    #[test]
    fn a_list_of_times_is_numbers_with_units() {
        let cases: [(&str, Option<&[u32]>); 10] = [
            ("15m,2h,1d,3d", Some(&[900, 7200, 86_400, 259_200])),
            (" 1s , 10s", Some(&[1, 10])),
            ("", Some(&[])),
            ("4h", Some(&[14_400])),
            ("15", None),
            ("m", None),
            ("-1m", None),
            ("1m,", None),
            ("1w", None),
            ("99999999d", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(seconds_of(text).as_deref(), seconds, "{text:?}");
        }
    }

    #[test]
    fn a_schedule_is_bounded_in_number_and_length() {
        let check = |key: &str, value: &str| find(key).map(|policy| policy.check(Scope::Cluster, value).is_ok());
        assert_eq!(check("queue.retry_after", "1s,1s,1s,1s"), Some(true));
        assert_eq!(check("queue.retry_after", "0s"), Some(false));
        assert_eq!(check("queue.retry_after", "31d"), Some(false));
        assert_eq!(check("queue.retry_after", &["1s"; 33].join(",")), Some(false));
        assert_eq!(check("queue.warn_after", ""), Some(true));
        assert_eq!(check("queue.warn_after", "1h,2h"), Some(false));
    }
}
