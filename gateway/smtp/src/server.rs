//! SMTP, LMTP and submission as listeners see them.

use std::sync::Arc;

use securanet_gateway::{
    client::StoreClient,
    connection::{Connection, Protocol, Refusal},
    login::Authenticator,
    store::BoxFuture,
};

use crate::{
    recipients::Recipients,
    session::conversation::Conversation,
    settings::{Service, SmtpSettings},
    submission::Submission,
};

/// One server: what all sessions of a listener share.
pub struct Smtp {
    pub(crate) settings: SmtpSettings,
    pub(crate) store: StoreClient,
    pub(crate) recipients: Recipients,
    /// Only there may anybody send to the world.
    pub(crate) submission: Option<Submission>,
}

impl Smtp {
    /// A server that puts mail into this store: SMTP or LMTP.
    #[must_use]
    pub fn new(store: StoreClient, settings: SmtpSettings) -> Self {
        Self { recipients: Recipients::new(store.clone()), store, settings, submission: None }
    }

    /// A server that those who log in submit mail to.
    #[must_use]
    pub fn submission(store: StoreClient, authenticator: Arc<Authenticator>, settings: SmtpSettings) -> Self {
        let settings = SmtpSettings { service: Service::Submission, ..settings };
        let submission = Some(Submission::new(store.clone(), authenticator));
        Self { submission, ..Self::new(store, settings) }
    }

    pub(crate) const fn protocol(&self) -> &'static str {
        match self.settings.service {
            Service::Exchange => "smtp",
            Service::Lmtp => "lmtp",
            Service::Submission => "submission",
        }
    }
}

impl Protocol for Smtp {
    fn name(&self) -> &'static str {
        self.protocol()
    }

    fn serve(self: Arc<Self>, connection: Connection) -> BoxFuture<'static, ()> {
        self.recipients.start();
        Box::pin(Conversation::new(self, connection).run())
    }

    /// RFC 5321 3.1: 421 instead of 220.
    fn refusal(&self, why: Refusal) -> &'static str {
        match why {
            Refusal::TooManyConnections => "421 4.3.2 too many connections: try again later\r\n",
            Refusal::TooManyFromAddress => "421 4.7.0 too many connections from your address\r\n",
            Refusal::Draining => "421 4.3.2 shutting down: try again later\r\n",
        }
    }
}
