//! AUTH (RFC 4954): challenges and responses until it is clear who the client is.

use std::sync::Arc;

use securanet_gateway::{
    line::{Line, LineEnding},
    login::{Login, LoginError, Mechanism, SaslContext, SaslStep, encoding},
    model::StoreError,
};

use super::{
    conversation::{Conversation, End},
    state::{Named, State},
};
use crate::{
    grammar::{Reply, Secret, command::AUTH_LINE_OCTETS_MAX},
    refusal,
};

/// After this many failed logins the client is sent away; each was slow already.
const FAILURES_MAX: u32 = 5;

impl Conversation {
    /// What the login must know of the connection as it is now.
    pub(super) fn sasl(&self) -> SaslContext {
        SaslContext { peer: self.peer, tls: self.io.tls().cloned(), trusted: self.trusted }
    }

    /// The client wants to log in.
    pub(super) async fn authenticate(
        &mut self,
        state: Named,
        mechanism: &str,
        initial: Option<Secret>,
    ) -> Result<State, End> {
        let outcome = self.exchange(mechanism, initial).await?;
        let reply = match outcome {
            Ok(login) => {
                self.login = Some(login);
                Reply::new(235, (7, 0), "welcome")
            }
            Err(reply) => reply,
        };
        self.answer(&reply).await?;
        if reply.code() == refusal::draining().code() {
            return Err(End::Done);
        }
        if reply.code() == 535 {
            self.failed_logins += 1;
            if self.failed_logins >= FAILURES_MAX {
                return Err(self.say_farewell(&Reply::new(421, (7, 0), "too many failed logins")).await);
            }
        }
        self.count(&reply).await?;
        Ok(State::Named(state))
    }

    async fn exchange(&mut self, mechanism: &str, initial: Option<Secret>) -> Result<Result<Login, Reply>, End> {
        let smtp = Arc::clone(&self.smtp);
        let Some(submission) = &smtp.submission else { return Ok(Err(Reply::new(502, (5, 1), "no logging in here"))) };
        let context = self.sasl();
        let Some(mechanism) = Mechanism::parse(mechanism) else {
            return Ok(Err(Reply::new(504, (5, 4), "no such mechanism")));
        };
        let offered = submission.authenticator.mechanisms(&context).contains(&mechanism);
        if context.is_private() && !offered {
            return Ok(Err(Reply::new(504, (5, 4), "that mechanism needs TLS 1.3")));
        }
        let mut exchange = submission.authenticator.start(mechanism, context);
        let mut response = match initial.map(|initial| encoding::decode_initial_response(&initial.0)) {
            None => Vec::new(),
            Some(Ok(response)) => response,
            Some(Err(error)) => return Ok(Err(reply_to(&error))),
        };
        loop {
            let challenge = match exchange.step(&response).await {
                Ok(SaslStep::Done(login)) => return Ok(Ok(login)),
                Ok(SaslStep::Challenge(challenge)) => challenge,
                Err(error) => return Ok(Err(reply_to(&error))),
            };
            // Longer than a reply's line may be (RFC 4954 4), and base64 needs no care.
            self.io.write(format!("334 {}\r\n", encoding::encode_challenge(&challenge)).as_bytes()).await?;
            let line = self.io.line(AUTH_LINE_OCTETS_MAX, self.smtp.settings.command_timeout).await?;
            response = match line {
                Line::Complete { bytes, ending: LineEnding::CrLf } => match encoding::decode_response(&bytes) {
                    Ok(response) => response,
                    Err(error) => return Ok(Err(reply_to(&error))),
                },
                Line::Complete { .. } => return Ok(Err(Reply::new(500, (5, 2), "lines end with CRLF"))),
                Line::TooLong { .. } => return Ok(Err(Reply::new(500, (5, 6), "response too long"))),
            };
        }
    }
}

/// What the client is told when nobody is logged in (RFC 4954 4 and 6).
fn reply_to(error: &LoginError) -> Reply {
    match error {
        LoginError::Refused | LoginError::Disabled => Reply::new(535, (7, 8), error.to_string()),
        LoginError::PrivacyRequired => Reply::new(538, (7, 11), error.to_string()),
        LoginError::TooManyAttempts { .. } => Reply::new(454, (7, 0), error.to_string()),
        LoginError::Malformed(_) => Reply::new(501, (5, 2), error.to_string()),
        LoginError::Cancelled => Reply::new(501, (7, 0), "cancelled"),
        LoginError::Store(StoreError::Draining) => refusal::draining(),
        LoginError::Store(store) => {
            tracing::warn!(error = %store, "login could not be checked");
            Reply::new(454, (7, 0), "logging in is not possible now: try again later")
        }
    }
}
