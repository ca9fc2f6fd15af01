//! The header stage of a message that is submitted: collects the header, asks whether its author may be its author,
//! and gives back the header as it leaves.

use std::{sync::Arc, time::Duration};

use securanet_gateway::model::{Address, DomainName, StoreError, UnixMillis, limits, sending::SenderRight};

use super::{
    header::{Additions, Collector, Facts, Header},
    not_yours,
    submitter::Submitter,
};
use crate::{grammar::Reply, refusal, trace};

/// All questions about one header together.
const TIMEOUT: Duration = Duration::from_millis(limits::COMMIT_TIMEOUT_MILLIS);

/// A message before its header is whole.
pub(crate) struct Completion {
    collector: Collector,
    submitter: Arc<Submitter>,
    /// Names the message; its Message-ID where it has none.
    id: String,
    at: UnixMillis,
}

/// A header as it leaves.
pub(crate) struct Completed {
    /// With what came of the body.
    pub(crate) octets: Vec<u8>,
    /// The header has octets above 127.
    pub(crate) has_eight_bit: bool,
}

impl Completion {
    pub(crate) fn new(submitter: Arc<Submitter>, id: String, at: UnixMillis) -> Self {
        Self { collector: Collector::default(), submitter, id, at }
    }

    /// Takes octets of the message; the header as it leaves, once it is whole.
    ///
    /// # Errors
    /// The reply that refuses the message.
    pub(crate) async fn push(&mut self, octets: &[u8]) -> Result<Option<Completed>, Reply> {
        match self.collector.push(octets)? {
            Some(header) => self.complete(&header).await.map(Some),
            None => Ok(None),
        }
    }

    /// The message is over before its header was.
    ///
    /// # Errors
    /// The reply that refuses the message.
    pub(crate) async fn finish(mut self) -> Result<Completed, Reply> {
        let header = std::mem::take(&mut self.collector).finish();
        self.complete(&header).await
    }

    async fn complete(&self, header: &Header) -> Result<Completed, Reply> {
        let facts = header.facts()?;
        let additions = match tokio::time::timeout(TIMEOUT, self.additions(&facts)).await {
            Ok(Ok(additions)) => additions?,
            Ok(Err(error)) => {
                tracing::warn!(mail = self.id, %error, "author could not be looked up");
                return Err(refusal::of_store(&error));
            }
            Err(_) => return Err(refusal::no_commit()),
        };
        Ok(Completed { octets: header.complete(&additions), has_eight_bit: facts.has_eight_bit })
    }

    async fn additions(&self, facts: &Facts) -> Result<Result<Additions, Reply>, StoreError> {
        let mut on_behalf = false;
        for author in &facts.from {
            match self.submitter.right(author).await? {
                SenderRight::Own | SenderRight::SendAs => {}
                SenderRight::OnBehalf => on_behalf = true,
                SenderRight::Refused => return Ok(Err(not_yours(format_args!("{author}, which From names")))),
            }
        }
        for sender in facts.sender.iter().filter(|_| !on_behalf) {
            if !matches!(self.submitter.right(sender).await?, SenderRight::Own | SenderRight::SendAs) {
                return Ok(Err(not_yours(format_args!("{sender}, which Sender names"))));
            }
        }
        let me = self.submitter.address();
        // RFC 5322 3.6.2: more than one author have one sender.
        let needs_sender = on_behalf || facts.from.len() > 1 && facts.sender.is_empty();
        let domain = self.submitter.sender().domain();
        Ok(Ok(Additions {
            from: facts.from.is_empty().then(|| self.author()),
            sender: needs_sender.then(|| format!("<{me}>")),
            date: (!facts.has_date).then(|| trace::date_time(self.at).to_string()),
            message_id: (!facts.has_message_id).then(|| message_id(&self.id, domain)),
        }))
    }

    /// A From for a message without one: whom the envelope names, with the owner's name where it is its own.
    fn author(&self) -> String {
        let address: &Address = self.submitter.sender();
        let name = self.submitter.display_name();
        let is_plain = !name.is_empty() && name.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic());
        if !is_plain || address != self.submitter.address() {
            return format!("<{address}>");
        }
        let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{escaped}\" <{address}>")
    }
}

fn message_id(id: &str, domain: &DomainName) -> String {
    format!("<{id}@{domain}>")
}
