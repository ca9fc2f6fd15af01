//! What one node may have under way here: a gateway that runs wild takes its own share and nobody else's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use securanet_wire::link::{NodeName, PeerInfo};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Status};

/// Commands and questions of one node under way. A gateway with ten thousand sessions has some hundreds.
const REQUESTS_MAX: usize = 4096;
/// Messages that one node has open or is putting. What they take of memory has its own bound, the intake's budget; an open
/// one takes some kilobytes.
const CONTENT_MAX: usize = 4096;
/// Streams of watches; a process has one, and one more for a moment after a break.
const WATCHES_MAX: usize = 16;

/// The shares of all nodes.
#[derive(Default)]
pub(crate) struct Admission {
    shares: Mutex<HashMap<NodeName, Weak<Share>>>,
}

/// What one node may have.
struct Share {
    requests: Arc<Semaphore>,
    content: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

/// A part of a share, until it is dropped.
pub(crate) struct Admitted {
    _permit: OwnedSemaphorePermit,
    /// Keeps what is counted.
    _share: Arc<Share>,
}

impl Admission {
    /// A command or a question.
    pub(crate) fn request<T>(&self, request: &Request<T>) -> Result<Admitted, Status> {
        self.admit(request, |share| &share.requests, "requests")
    }

    /// A message.
    pub(crate) fn content<T>(&self, request: &Request<T>) -> Result<Admitted, Status> {
        self.admit(request, |share| &share.content, "messages")
    }

    /// A stream of watches.
    pub(crate) fn watch<T>(&self, request: &Request<T>) -> Result<Admitted, Status> {
        self.admit(request, |share| &share.watches, "watches")
    }

    fn admit<T>(
        &self,
        request: &Request<T>,
        of: impl Fn(&Share) -> &Arc<Semaphore>,
        what: &str,
    ) -> Result<Admitted, Status> {
        let peer = request.extensions().get::<PeerInfo>();
        let peer = peer.ok_or_else(|| Status::unauthenticated("who asks is not known"))?;
        let share = self.share(&peer.identity.node);
        match of(&share).clone().try_acquire_owned() {
            Ok(permit) => Ok(Admitted { _permit: permit, _share: share }),
            Err(_) => {
                tracing::warn!(node = %peer.identity.node, what, "a node has too much under way here");
                Err(Status::resource_exhausted(format!("too many {what} of node {}", peer.identity.node)))
            }
        }
    }

    fn share(&self, node: &NodeName) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(node).and_then(Weak::upgrade) {
            return share;
        }
        // Names come from certificates that our authority signed; those that are gone are forgotten with the next new one.
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Share {
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            content: Arc::new(Semaphore::new(CONTENT_MAX)),
            watches: Arc::new(Semaphore::new(WATCHES_MAX)),
        });
        shares.insert(node.clone(), Arc::downgrade(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use securanet_wire::link::{ClusterId, Identity};
    use tonic::Code;

    use super::*;

    fn request(node: &str) -> Request<()> {
        let identity = Identity { node: node.parse().expect("a name"), cluster: ClusterId::new([1; 16]) };
        let mut request = Request::new(());
        let address = "127.0.0.1:1".parse().expect("an address");
        request.extensions_mut().insert(PeerInfo { identity: Arc::new(identity), address });
        request
    }

    #[test]
    fn a_node_has_its_share_and_leaves_the_others_theirs() {
        let admission = Admission::default();
        let held: Vec<_> = (0..WATCHES_MAX).map(|_| admission.watch(&request("a")).expect("its share")).collect();
        assert_eq!(admission.watch(&request("a")).err().map(|status| status.code()), Some(Code::ResourceExhausted));
        assert!(admission.watch(&request("b")).is_ok() && admission.request(&request("a")).is_ok());
        drop(held);
        assert!(admission.watch(&request("a")).is_ok());
    }

    #[test]
    fn nobody_without_a_name_is_admitted() {
        let outcome = Admission::default().request(&Request::new(()));
        assert_eq!(outcome.err().map(|status| status.code()), Some(Code::Unauthenticated));
    }

    #[test]
    fn nodes_that_are_gone_are_forgotten() {
        let admission = Admission::default();
        for number in 0..100 {
            drop(admission.request(&request(&format!("node-{number}"))));
        }
        assert!(admission.shares.lock().expect("shares").len() <= 2);
    }
}
