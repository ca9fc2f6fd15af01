//! The border between the worker and the world: which hosts a destination has, and a conversation with one of them.
//!
//! Behind it are the router and the SMTP client; tests of the worker put a world of their own there.

use securanet_gateway::{
    model::{RecipientAddress, ReversePath},
    store::BoxFuture,
};

use super::gate::Gate;
use crate::{
    client::{Client, Envelope, Octets, OpenFailure, Sent, Session},
    outgoing::Path,
    route::{Hop, RouteFailure, Router, Times},
};

/// The world.
pub(crate) trait Wire: Send + Sync + 'static {
    /// What mail for a recipient waits with.
    fn destination_of(&self, sender: &ReversePath, recipient: &RecipientAddress) -> String;

    /// When mail for a destination is tried again, where its route says something about that.
    fn times(&self, destination: &str) -> Option<Times>;

    /// The hosts of a destination, in the order in which they are tried. `fresh`: no remembered absence is good enough.
    fn route<'a>(&'a self, destination: &'a str, fresh: bool) -> BoxFuture<'a, Result<Vec<Hop>, RouteFailure>>;

    /// The same for a TLS report: what the destination demands of TLS is not asked (RFC 8460 3).
    fn route_for_tls_report<'a>(
        &'a self,
        domain: &'a str,
        fresh: bool,
    ) -> BoxFuture<'a, Result<Vec<Hop>, RouteFailure>>;

    /// Begins a conversation with a host.
    fn open<'a>(&'a self, hop: &'a Hop) -> BoxFuture<'a, Result<Box<dyn Talk>, OpenFailure>>;

    /// Sees whether a host speaks SMTP.
    fn probe<'a>(&'a self, hop: &'a Hop) -> BoxFuture<'a, Result<(), OpenFailure>>;
}

/// A conversation, ready for a message.
pub(crate) trait Talk: Send {
    /// What content it can carry.
    fn path(&self) -> Path;

    /// Host and TLS, as an attempt names them.
    fn whom(&self) -> (String, String);

    /// Sends a message; `gate` is asked before the final dot.
    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope<'a>,
        content: &'a mut dyn Octets,
        gate: Gate,
    ) -> BoxFuture<'a, Sent>;

    /// Whether another message may follow.
    fn is_reusable(&self) -> bool;

    /// Says goodbye.
    fn close(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// The real world.
pub(crate) struct Internet {
    router: Router,
    client: Client,
}

impl Internet {
    pub(crate) const fn new(router: Router, client: Client) -> Self {
        Self { router, client }
    }
}

impl Wire for Internet {
    fn destination_of(&self, sender: &ReversePath, recipient: &RecipientAddress) -> String {
        self.router.destination_of(sender, recipient)
    }

    fn times(&self, destination: &str) -> Option<Times> {
        self.router.times(destination)
    }

    fn route<'a>(&'a self, destination: &'a str, fresh: bool) -> BoxFuture<'a, Result<Vec<Hop>, RouteFailure>> {
        Box::pin(self.router.route(destination, fresh))
    }

    fn route_for_tls_report<'a>(
        &'a self,
        domain: &'a str,
        fresh: bool,
    ) -> BoxFuture<'a, Result<Vec<Hop>, RouteFailure>> {
        Box::pin(self.router.route_for_tls_report(domain, fresh))
    }

    fn open<'a>(&'a self, hop: &'a Hop) -> BoxFuture<'a, Result<Box<dyn Talk>, OpenFailure>> {
        Box::pin(async move {
            let session = Session::open(hop, &self.client).await?;
            Ok(Box::new(session) as Box<dyn Talk>)
        })
    }

    fn probe<'a>(&'a self, hop: &'a Hop) -> BoxFuture<'a, Result<(), OpenFailure>> {
        Box::pin(Session::probe(hop, &self.client))
    }
}

impl Talk for Session {
    fn path(&self) -> Path {
        let offered = self.capabilities();
        Path { eight_bit_mime: offered.eight_bit_mime, smtp_utf8: offered.smtp_utf8 }
    }

    fn whom(&self) -> (String, String) {
        (self.host().to_owned(), self.tls().to_owned())
    }

    fn send<'a>(
        &'a mut self,
        envelope: &'a Envelope<'a>,
        content: &'a mut dyn Octets,
        gate: Gate,
    ) -> BoxFuture<'a, Sent> {
        Box::pin(Self::send(self, envelope, content, move |accepted| gate.pass(accepted)))
    }

    fn is_reusable(&self) -> bool {
        self.reusable()
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(self.quit())
    }
}
