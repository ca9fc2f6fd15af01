//! Which message this is, and to which conversation it belongs: as keyed hashes, for the engine.

use securanet_model::{Address, KeyedHash, TenantId};

use crate::{
    keys::{ContentKeys, keyed_hash},
    mime::{
        header::{Header, Name},
        message_id::message_ids,
    },
};

/// Ids that join a message to threads. Most messages name fewer than ten; each costs 16 octets in the log.
const THREAD_KEYS_MAX: usize = 32;
/// Ids of In-Reply-To that count; the RFC knows several only for a reply to several messages.
const IN_REPLY_TO_MAX: usize = 4;
/// Octets of the Message-ID that traces and logs show.
const MESSAGE_ID_SIZE_BYTES_MAX: usize = 255;

/// Delivered-To fields that count, from the newest: more means a loop that the Received fields end.
const DELIVERED_TO_MAX: usize = 100;
/// Octets of one of them: a path (RFC 5321 4.5.3.1.3), and some.
const DELIVERED_TO_SIZE_BYTES_MAX: usize = 400;

/// What recognises a message.
pub(crate) struct Identity {
    /// Recognises a sender's repeat.
    pub(crate) repeat_key: KeyedHash,
    /// Its own id, then those that it refers to; distinct.
    pub(crate) thread_keys: Vec<KeyedHash>,
    /// The Message-ID as written.
    pub(crate) message_id: Option<String>,
    /// Addresses that it was delivered to before, in canonical form.
    pub(crate) delivered_to: Vec<String>,
}

/// Reads the identity of a message; `received` are its bytes without our own trace.
pub(crate) fn identify(keys: &ContentKeys, tenant: TenantId, header: &Header<'_>, received: &[u8]) -> Identity {
    let written = header.first(Name::MessageId);
    let mut repeat = keys.repeat_hasher(tenant);
    let message_id = written.unwrap_or_default();
    repeat.update(&(message_id.len() as u64).to_be_bytes()).update(message_id).update(received);
    let repeat_key = keyed_hash(&repeat);
    Identity {
        repeat_key,
        thread_keys: thread_keys(keys, tenant, header, repeat_key),
        message_id: written.map(displayed).filter(|id| !id.is_empty()),
        delivered_to: delivered_to(header),
    }
}

/// Each server writes its field above those of the ones before.
fn delivered_to(header: &Header<'_>) -> Vec<String> {
    let fields = header.all(Name::DeliveredTo).take(DELIVERED_TO_MAX);
    let fields = fields.filter(|value| value.len() <= DELIVERED_TO_SIZE_BYTES_MAX);
    let texts = fields.filter_map(|value| String::from_utf8(crate::mime::cursor::unfold(value)).ok());
    texts.filter_map(|text| Address::parse(text.trim()).ok()).map(|address| address.canonical()).collect()
}

/// A message without a Message-ID still has an own key, which nobody can refer to: that of its content.
fn thread_keys(keys: &ContentKeys, tenant: TenantId, header: &Header<'_>, content: KeyedHash) -> Vec<KeyedHash> {
    let ids = |name| header.first(name).into_iter().flat_map(message_ids);
    let hasher = keys.thread_hasher(tenant);
    let key = |id: Vec<u8>| keyed_hash(hasher.clone().update(&id));
    let own = ids(Name::MessageId).next().map_or(content, key);
    let mut distinct = vec![own];
    let mut add = |id| {
        let key = key(id);
        if !distinct.contains(&key) {
            distinct.push(key);
        }
    };
    ids(Name::InReplyTo).take(IN_REPLY_TO_MAX).for_each(&mut add);
    // The root of the thread and the closest ancestors, when there are too many.
    let mut references = ids(Name::References);
    references.next().into_iter().for_each(&mut add);
    let mut rest: std::collections::VecDeque<Vec<u8>> = std::collections::VecDeque::new();
    for id in references {
        if rest.len() == THREAD_KEYS_MAX - IN_REPLY_TO_MAX - 2 {
            rest.pop_front();
        }
        rest.push_back(id);
    }
    rest.into_iter().for_each(&mut add);
    distinct
}

fn displayed(value: &[u8]) -> String {
    let raw = crate::mime::cursor::unfold(&value[..value.len().min(4 * MESSAGE_ID_SIZE_BYTES_MAX)]);
    let mut text: String = String::from_utf8_lossy(&raw).chars().filter(|character| !character.is_control()).collect();
    text.truncate(text.floor_char_boundary(MESSAGE_ID_SIZE_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mime::boundary::Boundaries;

    fn identity(header: &str) -> Identity {
        let header = Header::read(header.as_bytes(), 0, &Boundaries::new());
        identify(&ContentKeys::new([1; 32]), TenantId::new(1), &header, b"body")
    }

    #[test]
    fn a_reply_shares_a_key_with_what_it_answers_however_it_is_written() {
        let first = identity("Message-ID: <A@Host.example>\r\n");
        let reply = identity("In-Reply-To: Your message\r\n <A@host.EXAMPLE>\r\nMessage-Id: <b@c>\r\n");
        assert_eq!(first.thread_keys, reply.thread_keys[1..]);
        assert_ne!(first.thread_keys[0], reply.thread_keys[0]);
        assert_eq!(first.message_id.as_deref(), Some("<A@Host.example>"));
    }

    #[test]
    fn keys_never_change() {
        let Identity { repeat_key, thread_keys, .. } = identity("Message-ID: <a@b>\r\n");
        let hex = |key: KeyedHash| key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(thread_keys[0]), "9640438f99e1346950234cf9bec9a0fa");
        assert_eq!(hex(repeat_key), "5ffa89da553d48d8057975f740fe6968");
    }

    #[test]
    fn ids_are_distinct_and_bounded_and_keep_the_root() {
        let many: String = (0..500).map(|n| format!(" <{n}@x>")).collect();
        let reply = identity(&format!("Message-ID: <n@x>\r\nIn-Reply-To: <499@x>\r\nReferences:{many}\r\n"));
        let root = identity("Message-ID: <0@x>\r\n").thread_keys[0];
        let parent = identity("Message-ID: <499@x>\r\n").thread_keys[0];
        assert!(reply.thread_keys.len() <= THREAD_KEYS_MAX);
        assert!(reply.thread_keys.contains(&root) && reply.thread_keys.contains(&parent));
        let distinct: std::collections::BTreeSet<_> = reply.thread_keys.iter().collect();
        assert_eq!(distinct.len(), reply.thread_keys.len());
    }

    #[test]
    fn where_it_was_delivered_is_told_of_the_newest_hundred() {
        let here = identity("Delivered-To: Ann@Example.ORG\r\nTo: x@y\r\ndelivered-to:\r\n bob@b.example \r\n");
        assert_eq!(here.delivered_to, ["ann@example.org", "bob@b.example"]);
        assert_eq!(identity("Delivered-To: nobody\r\nDelivered-To: \u{7f}@x\r\n").delivered_to, [""; 0]);
        let many: String = (0..200).map(|n| format!("Delivered-To: {n}@x\r\n")).collect();
        let many = identity(&many).delivered_to;
        assert_eq!((many.len(), many[99].as_str()), (100, "99@x"));
        assert_eq!(identity(&format!("Delivered-To: {}@x\r\n", "a".repeat(500))).delivered_to, [""; 0]);
    }

    #[test]
    fn without_an_id_the_content_is_the_own_key() {
        let nameless = identity("In-Reply-To: <a@b>\r\n");
        assert_eq!(nameless.thread_keys[0], nameless.repeat_key);
        assert_eq!((nameless.thread_keys.len(), nameless.message_id), (2, None));
        assert_eq!(identity(&format!("Message-ID: {}\r\n", "é".repeat(300))).message_id.unwrap().len(), 254);
    }
}
