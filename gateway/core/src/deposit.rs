//! Putting a message into accounts of ours: what whoever takes mail in and whoever delivers what has waited both do.

use std::fmt::Display;

use securanet_model::{
    AccountId, GroupId, KeyedHash, ReversePath,
    account::AccountRef,
    content::{Ingested, Sealed},
    delivery::DeliverTo,
    directory::LocalRecipient,
    outbound::Place,
};

/// Layout of a recipient's prefix inside its [`Sealed`]: the bytes as they are.
const PREFIX_FORMAT: u8 = 1;
/// Names the hash of [`repeat_key`]; frozen, since stores remember its results for three days.
const REPEAT_CONTEXT: &str = "securanet-mail 1 repeat of a message for one account";
/// Names the hash of [`onward_key`]; frozen for the same reason.
const ONWARD_CONTEXT: &str = "securanet-mail 1 mail of a recipient of the queue that is sent on";
/// Names the hash of [`waiting_key`]; frozen for the same reason.
const WAITING_CONTEXT: &str = "securanet-mail 1 delivery of a recipient of the queue to one account";

/// The recipient's own fields, which stand before Received (RFC 5321 4.4).
pub fn recipient_prefix(sender: &ReversePath, delivered_to: &impl Display) -> Vec<u8> {
    format!("Return-Path: {sender}\r\nDelivered-To: {delivered_to}\r\n").into_bytes()
}

/// One account that gets a message, with its own fields before it.
#[must_use]
pub fn deliver_to(account: &LocalRecipient, prefix: &[u8], repeat_key: Option<KeyedHash>) -> DeliverTo {
    DeliverTo {
        account: AccountRef { id: account.account, epoch: account.epoch },
        folder: account.folder.clone(),
        prefix: Sealed::plain(PREFIX_FORMAT, prefix.to_vec()),
        prefix_size_bytes: prefix.len() as u64,
        repeat_key,
    }
}

/// Recognises this sender's repeat of this message for this account: after a 250 that never arrived, the client
/// sends again. Two messages without a Message-ID are never taken for one, since nothing tells a repeat from a
/// second message with the same text.
#[must_use]
pub fn repeat_key(message: &Ingested, sender: &ReversePath, account: AccountId) -> Option<KeyedHash> {
    message.message_id.as_ref()?;
    // The first part is a keyed hash: who does not hold its key cannot make this one either.
    let mut hasher = blake3::Hasher::new_derive_key(REPEAT_CONTEXT);
    hasher.update(&message.repeat_key.0).update(&account.get().to_be_bytes()).update(sender.to_string().as_bytes());
    Some(first_half(&hasher))
}

/// Recognises a repeated delivery of a recipient that waited in the queue of this group, whatever its message.
#[must_use]
pub fn waiting_key(queue: GroupId, place: Place, account: AccountId) -> KeyedHash {
    let mut hasher = blake3::Hasher::new_derive_key(WAITING_CONTEXT);
    hasher.update(&queue.get().to_be_bytes()).update(&place.item.to_be_bytes());
    hasher.update(&place.position.to_be_bytes()).update(&account.get().to_be_bytes());
    first_half(&hasher)
}

/// The same of what such a recipient's address sends on, in the name of an address of ours, to these.
pub fn onward_key<'a>(queue: GroupId, place: Place, texts: impl Iterator<Item = &'a str>) -> KeyedHash {
    let mut hasher = blake3::Hasher::new_derive_key(ONWARD_CONTEXT);
    hasher.update(&queue.get().to_be_bytes()).update(&place.item.to_be_bytes()).update(&place.position.to_be_bytes());
    for text in texts {
        // No address has a zero octet.
        hasher.update(text.as_bytes()).update(&[0]);
    }
    first_half(&hasher)
}

fn first_half(hasher: &blake3::Hasher) -> KeyedHash {
    let mut key = [0; 16];
    key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    KeyedHash(key)
}

#[cfg(test)]
mod tests {
    use securanet_model::{Address, UnixMillis, content::NewMessage};

    use super::*;

    fn ingested(message_id: Option<&str>) -> Ingested {
        let sealed = Sealed::plain(1, Vec::new());
        Ingested {
            message: NewMessage {
                size_bytes: 10,
                recipe: sealed.clone(),
                blobs: Vec::new(),
                summary: sealed,
                thread_keys: Vec::new(),
                internal_date: None,
            },
            received_count: 0,
            repeat_key: KeyedHash([7; 16]),
            message_id: message_id.map(str::to_owned),
            delivered_to: Vec::new(),
            lease_until: UnixMillis::new(0),
        }
    }

    fn hex(key: KeyedHash) -> String {
        key.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_repeat_is_known_by_message_sender_and_account() {
        let sender = |text: &str| ReversePath::Address(Address::parse(text).unwrap());
        let key =
            |message: &Ingested, from: &str, account: u64| repeat_key(message, &sender(from), AccountId::new(account));
        let message = ingested(Some("<a@b>"));
        let first = key(&message, "s@example.net", 1);
        assert!(first.is_some());
        assert_eq!(first, key(&message, "s@example.net", 1));
        assert_ne!(first, key(&message, "s@example.net", 2));
        assert_ne!(first, key(&message, "t@example.net", 1));
        assert_eq!(key(&ingested(None), "s@example.net", 1), None);
    }

    #[test]
    fn the_keys_are_frozen() {
        // Stores remember them for three days: a release that changes one delivers a repeat a second time.
        let key = repeat_key(&ingested(Some("<a@b>")), &ReversePath::Null, AccountId::new(1)).unwrap();
        assert_eq!(hex(key), "087c17f1a4bfbbc33eb1bb197f221ae3");
        let place = Place { item: 2, position: 3 };
        assert_eq!(hex(waiting_key(GroupId::new(1), place, AccountId::new(4))), "e01b3c33b69d37b0af380b093182e920");
        let texts = ["by@a.example", "x@b.example"];
        assert_eq!(hex(onward_key(GroupId::new(1), place, texts.into_iter())), "f41e39663e526d4976be9fa670c6905a");
    }

    #[test]
    fn a_delivery_from_the_queue_is_known_by_all_of_its_place() {
        let key = |group, item, position, account| {
            waiting_key(GroupId::new(group), Place { item, position }, AccountId::new(account))
        };
        let first = key(1, 2, 3, 4);
        for other in [key(2, 2, 3, 4), key(1, 3, 3, 4), key(1, 2, 4, 4), key(1, 2, 3, 5)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn what_is_sent_on_from_the_queue_is_known_by_its_place_and_by_who_sends_it_to_whom() {
        let key = |group, item, position, texts: &[&str]| {
            onward_key(GroupId::new(group), Place { item, position }, texts.iter().copied())
        };
        let first = key(1, 2, 3, &["by@a.example", "x@b.example"]);
        assert_eq!(first, key(1, 2, 3, &["by@a.example", "x@b.example"]));
        for other in [
            key(2, 2, 3, &["by@a.example", "x@b.example"]),
            key(1, 3, 3, &["by@a.example", "x@b.example"]),
            key(1, 2, 4, &["by@a.example", "x@b.example"]),
            key(1, 2, 3, &["other@a.example", "x@b.example"]),
            key(1, 2, 3, &["by@a.example", "y@b.example"]),
            key(1, 2, 3, &["by@a.example", "x@b.example", "y@b.example"]),
            key(1, 2, 3, &["by@a.examplex@b.example"]),
            key(1, 2, 3, &["by@a.examplex", "@b.example"]),
        ] {
            assert_ne!(first, other);
        }
        // Of the same place, what goes into a mailbox is something else.
        assert_ne!(key(1, 2, 3, &[]), waiting_key(GroupId::new(1), Place { item: 2, position: 3 }, AccountId::new(0)));
    }

    #[test]
    fn a_recipients_fields_say_who_sent_and_to_whom() {
        let fields = recipient_prefix(&ReversePath::Null, &"postmaster");
        assert_eq!(fields, b"Return-Path: <>\r\nDelivered-To: postmaster\r\n");
    }
}
