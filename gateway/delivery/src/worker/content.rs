//! What of an item goes over the wire: its content as the next host can take it, signed.
//!
//! An item is read once to find what may have to change, and once more for each kind of host to be signed; both are
//! remembered with the item, so that a message for a thousand destinations is not read two thousand times more.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use securanet_gateway::{
    model::{GroupId, StoreError, outbound::Origin},
    store::Content,
};

use super::{Core, letter::Head};
use crate::{
    client::Octets,
    outgoing::{self, Outgoing, Path, Plan, Scan, Unsendable},
};

/// What was found in an item's content, and how it leaves for each kind of host.
pub(crate) struct Prepared {
    scan: Scan,
    forms: Mutex<Vec<(Path, Form)>>,
}

/// How content leaves for one kind of host.
#[derive(Clone)]
struct Form {
    plan: Arc<Plan>,
    /// What stands before the message: whole fields, with their CRLFs.
    front: Arc<[u8]>,
}

/// Why content does not leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentFault {
    /// The host cannot take it.
    #[error(transparent)]
    Unsendable(#[from] Unsendable),
    /// It cannot be read: a fault of ours.
    #[error("the message cannot be read: {0}")]
    Store(#[from] StoreError),
}

/// Content on its way, with what the envelope has to say of it.
pub(crate) struct Source {
    outgoing: Outgoing,
}

impl Source {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.outgoing.size_bytes()
    }

    pub(crate) fn is_eight_bit(&self) -> bool {
        self.outgoing.plan().is_eight_bit()
    }

    /// What leaves for this host has a UTF-8 header.
    pub(crate) fn has_utf8_header(&self) -> bool {
        self.outgoing.plan().needs_utf8()
    }
}

impl Octets for Source {
    fn next(&mut self) -> BoxFuture<'_, io::Result<Option<Bytes>>> {
        Box::pin(async { self.outgoing.next().await.map_err(io::Error::other) })
    }
}

/// Opens an item's content for a host.
///
/// # Errors
/// [`ContentFault`].
pub(crate) async fn open(core: &Core, group: GroupId, head: &Head, path: Path) -> Result<Source, ContentFault> {
    let content: Arc<dyn Content> = Arc::from(core.client.store().open_outbound(group, head.view.item).await?);
    let prepared = head.prepared.get_or_try_init(|| prepare(&content)).await?;
    let known = prepared.forms.lock().iter().find(|(of, _)| *of == path).map(|(_, form)| form.clone());
    let form = match known {
        Some(form) => form,
        None => {
            let plan = Arc::new(prepared.scan.plan(path)?);
            let mut front = delivered_to(&head.view.origin, path).into_bytes();
            front.extend(core.signer.sign(&head.view, &content, &plan).await?);
            let form = Form { plan, front: front.into() };
            prepared.forms.lock().push((path, form.clone()));
            form
        }
    };
    Ok(Source { outgoing: Outgoing::new(content, form.plan, form.front.to_vec()) })
}

/// Names the address of ours that sends the message on: by it we know the message when it comes back, and do not send it
/// on again. A host without SMTPUTF8 cannot be told one that is not ASCII; then only the Received fields end a loop.
fn delivered_to(origin: &Origin, path: Path) -> String {
    match origin {
        Origin::Forward(by) if path.smtp_utf8 || !by.needs_utf8() => format!("Delivered-To: {by}\r\n"),
        _ => String::new(),
    }
}

async fn prepare(content: &Arc<dyn Content>) -> Result<Prepared, StoreError> {
    Ok(Prepared { scan: outgoing::scan(&**content).await?, forms: Mutex::default() })
}

#[cfg(test)]
mod tests {
    use securanet_gateway::model::{AccountId, Address};

    use super::*;

    #[test]
    fn what_is_sent_on_says_by_whom() {
        let utf8 = |smtp_utf8| Path { eight_bit_mime: true, smtp_utf8 };
        let by = |text: &str| Origin::Forward(Address::parse(text).unwrap());
        assert_eq!(delivered_to(&by("Ann@example.org"), utf8(false)), "Delivered-To: Ann@example.org\r\n");
        assert_eq!(delivered_to(&by("jörg@example.org"), utf8(true)), "Delivered-To: jörg@example.org\r\n");
        assert_eq!(delivered_to(&by("jörg@example.org"), utf8(false)), "");
        for origin in [Origin::Account(AccountId::new(1)), Origin::Report, Origin::Relay("x".to_owned())] {
            assert_eq!(delivered_to(&origin, utf8(true)), "");
        }
    }
}
