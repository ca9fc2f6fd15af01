//! Content that both ends know: what a node passed on to a leader comes back to it in an entry.
//!
//! The node that passes a request on keeps its sealed content for a while, and the leader remembers the digests of what
//! came from there: in entries for that node, a digest stands for the content. The leader forgets them all when a stream to
//! that node begins: whoever was started again keeps nothing.
//!
//! Bounds: what is kept and what is remembered, in octets of content. Less is remembered than kept, by far, so that what is
//! still on its way is kept too; should it not be, the stream ends, and the next one names nothing.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use securanet_model::{Execute, content::Codec};

use crate::types::messages_of;

/// Octets of content that are kept of what was passed on to others, all together.
const KEPT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Octets of content that are remembered of each other node.
const REMEMBERED_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Nodes of which content is remembered; of the others nothing is.
const NODES_MAX: usize = 64;

/// The first half of the BLAKE3 hash of sealed content.
pub(super) type Digest = [u8; 16];

pub(super) fn digest(sealed: &[u8]) -> Digest {
    let mut digest = [0; 16];
    digest.copy_from_slice(&blake3::hash(sealed).as_bytes()[..16]);
    digest
}

/// What was passed on from here, and what others have passed on to here.
#[derive(Default)]
pub(super) struct Passed {
    kept: Mutex<Recent>,
    remembered: Mutex<HashMap<String, Recent>>,
}

impl Passed {
    /// Keeps the content of a request that is about to be passed on.
    pub(super) fn keep(&self, request: &Execute) {
        for sealed in sealed_in(request) {
            self.kept.lock().add(digest(sealed), sealed.len(), Bytes::copy_from_slice(sealed), KEPT_BYTES_MAX);
        }
    }

    /// Content that was passed on from here.
    pub(super) fn kept(&self, digest: &Digest) -> Option<Bytes> {
        self.kept.lock().content.get(digest).cloned()
    }

    /// Remembers what a node has passed on.
    pub(super) fn remember(&self, node: &str, request: &Execute) {
        let mut remembered = self.remembered.lock();
        if remembered.len() >= NODES_MAX && !remembered.contains_key(node) {
            return;
        }
        let recent = remembered.entry(node.to_owned()).or_default();
        for sealed in sealed_in(request) {
            recent.add(digest(sealed), sealed.len(), Bytes::new(), REMEMBERED_BYTES_MAX);
        }
    }

    /// Whether a node has passed on anything of late.
    pub(super) fn remembers_any(&self, node: &str) -> bool {
        self.remembered.lock().get(node).is_some_and(|recent| !recent.order.is_empty())
    }

    /// Whether a node has passed on some content.
    pub(super) fn remembers(&self, node: &str, digest: &Digest) -> bool {
        self.remembered.lock().get(node).is_some_and(|recent| recent.content.contains_key(digest))
    }

    /// A stream to a node begins.
    pub(super) fn forget(&self, node: &str) {
        self.remembered.lock().remove(node);
    }
}

/// The latest content, up to a bound.
#[derive(Default)]
struct Recent {
    order: VecDeque<(Digest, usize)>,
    content: HashMap<Digest, Bytes>,
    bytes: usize,
}

impl Recent {
    fn add(&mut self, digest: Digest, size: usize, content: Bytes, bytes_max: usize) {
        if self.content.insert(digest, content).is_some() {
            return;
        }
        self.order.push_back((digest, size));
        self.bytes += size;
        while self.bytes > bytes_max
            && let Some((oldest, size)) = self.order.pop_front()
        {
            self.content.remove(&oldest);
            self.bytes -= size;
        }
    }
}

fn sealed_in(request: &Execute) -> impl Iterator<Item = &[u8]> {
    let sealed = request.commands.iter().flat_map(messages_of).flat_map(|message| [&message.recipe, &message.summary]);
    sealed.filter(|sealed| sealed.codec == Codec::Zstd).map(|sealed| sealed.bytes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_is_there_and_as_much_as_its_bound_says() {
        let mut recent = Recent::default();
        for number in 0..100_u8 {
            for _ in 0..2 {
                recent.add([number; 16], 10, Bytes::from(vec![number; 10]), 55);
            }
        }
        let there: Vec<u8> = recent.order.iter().map(|(digest, _)| digest[0]).collect();
        assert_eq!((there, recent.bytes, recent.content.len()), (vec![95, 96, 97, 98, 99], 50, 5));
        recent.add([1; 16], 100, Bytes::new(), 55);
        assert_eq!((recent.order.len(), recent.bytes, recent.content.len()), (0, 0, 0));
    }
}
