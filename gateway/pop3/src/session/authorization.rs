//! AUTHORIZATION (RFC 1939 4): who the client is, and whether its maildrop is free.

use std::sync::Arc;

use securanet_gateway::{
    line::{Line, StartTlsError},
    login::{Login, LoginError, Mechanism, SaslStep, encoding},
};

use super::{AUTOLOGOUT, End, Input, Link, Pop3, transaction::Transaction};
use crate::{
    command::{Command, RESPONSE_OCTETS_MAX, Secret},
    reply::{Reply, capabilities},
};

/// After this many failed logins the client is sent away; each was slow already.
const FAILURES_MAX: u32 = 5;

/// Nobody is logged in yet.
pub(super) struct Authorization {
    pop3: Arc<Pop3>,
    link: Link,
    user: Option<String>,
    failures: u32,
}

/// What a command leads to.
enum Next {
    Stay(Authorization),
    Go(Transaction),
}

impl Authorization {
    pub(super) const fn new(pop3: Arc<Pop3>, link: Link) -> Self {
        Self { pop3, link, user: None, failures: 0 }
    }

    /// Until somebody is logged in and has its maildrop.
    pub(super) async fn run(mut self) -> Result<Transaction, End> {
        if let Err(end) = self.link.reply(&Reply::ok("SecuraNET Mail POP3 ready")).await {
            return Err(self.link.close(end).await);
        }
        loop {
            let line = match self.link.next().await {
                Ok(Input::Line(line)) => line,
                Ok(Input::TooLong) => {
                    self = self.answer_error(&Reply::err(None, "line too long")).await?;
                    continue;
                }
                Ok(Input::Draining) => return Err(self.link.close(End::Drained).await),
                Err(error) => return Err(self.link.close(End::of(&error)).await),
            };
            self = match self.line(&line).await? {
                Next::Stay(state) => state,
                Next::Go(transaction) => return Ok(transaction),
            };
        }
    }

    async fn line(self, line: &[u8]) -> Result<Next, End> {
        let command = match Command::parse(line) {
            Ok(command) => command,
            Err(error) => return self.answer_error(&error.into()).await.map(Next::Stay),
        };
        if self.link.shutdown.is_draining() && command != Command::Quit {
            return Err(self.link.close(End::Drained).await);
        }
        match command {
            Command::Quit => {
                let state = self.answer(&Reply::ok("goodbye")).await?;
                Err(state.link.close(End::Quit).await)
            }
            Command::Capa => self.capa().await.map(Next::Stay),
            Command::Utf8 => self.answer(&Reply::ok("UTF-8 it is")).await.map(Next::Stay),
            Command::AuthList => self.auth_list().await.map(Next::Stay),
            Command::Stls => self.stls().await.map(Next::Stay),
            Command::User(name) => self.user(name).await.map(Next::Stay),
            Command::Pass(password) => self.pass(password).await,
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial).await,
            _ => self.answer_error(&Reply::err(None, "log in first")).await.map(Next::Stay),
        }
    }

    async fn answer(mut self, reply: &Reply) -> Result<Self, End> {
        match self.link.reply(reply).await {
            Ok(()) => Ok(self),
            Err(end) => Err(self.link.close(end).await),
        }
    }

    async fn answer_error(mut self, reply: &Reply) -> Result<Self, End> {
        match self.link.error(reply).await {
            Ok(()) => Ok(self),
            Err(end) => Err(self.link.close(end).await),
        }
    }

    async fn capa(self) -> Result<Self, End> {
        let context = self.link.sasl();
        let mechanisms = self.pop3.authenticator.mechanisms(&context);
        let starttls = self.link.tls.is_some() && context.tls.is_none();
        let lines = capabilities(&mechanisms, context.is_private(), starttls);
        self.answer(&Reply::list("capabilities", lines)).await
    }

    async fn auth_list(self) -> Result<Self, End> {
        let mechanisms = self.pop3.authenticator.mechanisms(&self.link.sasl());
        let names = mechanisms.iter().map(|mechanism| mechanism.name().to_owned());
        self.answer(&Reply::list("mechanisms", names)).await
    }

    /// RFC 2595 4: everything known of the client before TLS is forgotten.
    async fn stls(self) -> Result<Self, End> {
        let Some(tls) = self.link.tls.clone().filter(|_| self.link.stream.tls().is_none()) else {
            return self.answer_error(&Reply::err(None, "TLS cannot be begun here")).await;
        };
        let Self { pop3, link, .. } = self.answer(&Reply::ok("begin TLS")).await?;
        let Link { stream, peer, trusted, tls: settings, shutdown, errors } = link;
        match stream.start_tls(&tls).await {
            Ok(stream) => {
                let link = Link { stream, peer, trusted, tls: settings, shutdown, errors };
                Ok(Self::new(pop3, link))
            }
            Err(error @ StartTlsError::PipelinedPlaintext { .. }) => {
                tracing::warn!(%error, "connection closed: somebody may have put commands into it");
                Err(End::Tls)
            }
            Err(error) => {
                tracing::debug!(%error, "no TLS");
                Err(End::Tls)
            }
        }
    }

    async fn user(mut self, name: String) -> Result<Self, End> {
        if !self.link.sasl().is_private() {
            return self.answer_error(&Reply::from(&LoginError::PrivacyRequired)).await;
        }
        self.user = Some(name);
        // Says nothing about whether there is such a user.
        self.answer(&Reply::ok("password?")).await
    }

    async fn pass(mut self, password: Secret) -> Result<Next, End> {
        if !self.link.sasl().is_private() {
            return self.answer_error(&Reply::from(&LoginError::PrivacyRequired)).await.map(Next::Stay);
        }
        let Some(user) = self.user.take() else {
            return self.answer_error(&Reply::err(None, "USER first")).await.map(Next::Stay);
        };
        let outcome = self.pop3.authenticator.password(&user, &password.0, self.link.peer).await;
        self.finish(outcome).await
    }

    async fn auth(mut self, name: &str, initial: Option<Secret>) -> Result<Next, End> {
        let Some(mechanism) = Mechanism::parse(name) else {
            return self.answer_error(&Reply::err(None, "no such mechanism")).await.map(Next::Stay);
        };
        match self.exchange(mechanism, initial).await {
            Ok(outcome) => self.finish(outcome).await,
            Err(end) => Err(self.link.close(end).await),
        }
    }

    /// RFC 5034 4: challenges and responses until it is clear who the client is.
    async fn exchange(
        &mut self,
        mechanism: Mechanism,
        initial: Option<Secret>,
    ) -> Result<Result<Login, LoginError>, End> {
        let mut exchange = self.pop3.authenticator.start(mechanism, self.link.sasl());
        let mut response = match initial.map(|initial| encoding::decode_initial_response(&initial.0)) {
            None => Vec::new(),
            Some(Ok(response)) => response,
            Some(Err(error)) => return Ok(Err(error)),
        };
        loop {
            let challenge = match exchange.step(&response).await {
                Ok(SaslStep::Done(login)) => return Ok(Ok(login)),
                Ok(SaslStep::Challenge(challenge)) => challenge,
                Err(error) => return Ok(Err(error)),
            };
            self.link.reply(&Reply::challenge(&challenge)).await?;
            let line = self.link.stream.line(RESPONSE_OCTETS_MAX, AUTOLOGOUT).await.map_err(|error| End::of(&error))?;
            let decoded = match line {
                Line::Complete { bytes, .. } => encoding::decode_response(&bytes),
                Line::TooLong { .. } => Err(LoginError::Malformed("response too long")),
            };
            match decoded {
                Ok(decoded) => response = decoded,
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    async fn finish(mut self, outcome: Result<Login, LoginError>) -> Result<Next, End> {
        let error = match outcome {
            Ok(login) => return self.open(login).await,
            Err(error) => error,
        };
        if error == LoginError::Refused {
            self.failures += 1;
        }
        let last = self.failures >= FAILURES_MAX;
        let state = self.answer_error(&Reply::from(&error)).await?;
        if last { Err(state.link.close(End::Errors).await) } else { Ok(Next::Stay(state)) }
    }

    async fn open(self, login: Login) -> Result<Next, End> {
        let Self { pop3, link, failures, .. } = self;
        match Transaction::open(pop3.clone(), link, login).await {
            Ok(transaction) => Ok(Next::Go(transaction)),
            // RFC 1939 4: the client may try again, in this connection too.
            Err((link, reply)) => {
                let state = Self { pop3, link, user: None, failures };
                state.answer_error(&reply).await.map(Next::Stay)
            }
        }
    }
}
