//! The copy in Sent of what an account submits (policy `submission.copy_to_sent`).
//!
//! It stands behind the message in the same request where one group keeps both, and the store passes it over unless
//! all before it was done; otherwise it is a request of its own, sent once all others were kept. Whether there is a
//! copy never decides what the client is told: the message has been taken in by then.

use securanet_gateway::{
    model::{
        AccountId, Command, KeyedHash, Reply as StoreReply, StoreError, TenantId,
        account::{AccountCommand, AccountRefusal, AccountReply},
        content::Ingested,
    },
    store::Executed,
};

use super::{Plan, Request};
use crate::{envelope::Envelope, metric};

/// Names the hash of [`key`]; frozen, since stores remember its results for three days.
const KEY_CONTEXT: &str = "securanet-mail 1 copy in Sent of a message that an account submitted";

/// Where in the plan the copy is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    request: usize,
    command: usize,
}

impl Plan {
    /// Adds the copy, where one is wanted.
    pub(super) fn keep_sent(mut self, envelope: &Envelope, messages: &[(TenantId, Ingested)]) -> Self {
        if self.requests.is_empty() {
            return self;
        }
        let Some((place, tenant)) = envelope.submitter.as_ref().and_then(|submitter| submitter.sent_to()) else {
            return self;
        };
        let Some((_, ingested)) = messages.iter().find(|(of, _)| *of == tenant) else { return self };
        let message = Box::new(ingested.message.clone());
        let keep = AccountCommand::KeepSent { message, key: key(ingested, place.account.id) };
        let command = Command::Account(place.account, keep);
        match self.requests.last_mut() {
            Some(last) if last.group == place.group => {
                last.commands.push(command);
                last.copies.push(Vec::new());
            }
            _ => {
                self.requests.push(Request { group: place.group, commands: vec![command], copies: vec![Vec::new()] });
                self.in_order = true;
            }
        }
        let request = self.requests.len() - 1;
        self.sent = Some(Place { request, command: self.requests[request].copies.len() - 1 });
        self
    }

    /// Counts what became of the copy, and logs why there is none.
    pub(crate) fn tell_of_sent(&self, mail: &str, results: &[Result<Executed, StoreError>]) {
        let Some(place) = self.sent else { return };
        let reply = results.get(place.request).map(|result| match result {
            Ok(executed) => executed.replies.get(place.command).ok_or_else(|| "a reply is missing".to_owned()),
            Err(error) => Err(error.to_string()),
        });
        let outcome = match reply {
            Some(Ok(StoreReply::Account(AccountReply::Uids(map)))) if map.to.is_empty() => "repeat",
            Some(Ok(StoreReply::Account(AccountReply::Uids(_)))) => "kept",
            Some(Ok(StoreReply::Account(AccountReply::Refused(AccountRefusal::NotSent)))) => "not_sent",
            Some(Ok(StoreReply::Account(AccountReply::Refused(AccountRefusal::OverQuota)))) => {
                tracing::info!(mail, "no copy in Sent: the account is full");
                "over_quota"
            }
            Some(Ok(other)) => {
                tracing::warn!(mail, ?other, "no copy in Sent");
                "failed"
            }
            Some(Err(error)) => {
                tracing::warn!(mail, error, "no copy in Sent");
                "failed"
            }
            None => "not_sent",
        };
        metric::sent_copy(outcome);
    }
}

/// Recognises a repeat of what the account submitted. What comes without a Message-ID gets a new one each time, so a
/// client's repeat of it is another message, in its recipients' mailboxes as in Sent.
fn key(message: &Ingested, account: AccountId) -> KeyedHash {
    let mut hasher = blake3::Hasher::new_derive_key(KEY_CONTEXT);
    hasher.update(&message.repeat_key.0).update(&account.get().to_be_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    KeyedHash(key)
}
