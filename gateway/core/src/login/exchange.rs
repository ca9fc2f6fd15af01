//! One SASL exchange, whatever its mechanism: a state for each message that is waited for.

use std::sync::Arc;

use tokio::time::Instant;

use super::{
    Login, LoginError, Mechanism, SaslContext, SaslStep,
    authenticator::{Authenticator, Found, LoginName, may_act_as, nonce, report},
    open::Proof,
    plain::PlainMessage,
    scram::{ClientFirst, ExpectFinal, Offer, ScramError},
    slowdown::Attempt,
};

/// One SASL exchange (RFC 4422), with octets already decoded from base64.
pub struct Exchange {
    authenticator: Arc<Authenticator>,
    mechanism: Mechanism,
    context: SaslContext,
    state: State,
}

/// What the exchange waits for.
enum State {
    /// The initial response, or nothing.
    Begin,
    /// What the client says first, after an empty challenge.
    ClientSpeaks,
    /// LOGIN's first answer.
    LoginUser,
    /// LOGIN's second answer.
    LoginPassword { user: String },
    /// SCRAM's proof.
    ScramFinal(Box<ScramFinal>),
    /// SCRAM's acknowledgement of our own proof: an empty response.
    ScramDone(Login),
    /// Nothing: it has ended, well or badly.
    Over,
}

struct ScramFinal {
    user: String,
    authzid: Option<String>,
    found: Found,
    waiting: ExpectFinal,
    attempt: Attempt,
}

impl Exchange {
    pub(crate) fn new(authenticator: Arc<Authenticator>, mechanism: Mechanism, context: SaslContext) -> Self {
        Self { authenticator, mechanism, context, state: State::Begin }
    }

    /// The mechanism of this exchange.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Takes the client's next response. The first step gets the initial response, or nothing where the client
    /// sent none: it answers with the challenge that the mechanism begins with (empty where the client speaks
    /// first). After an error the exchange is over.
    ///
    /// # Errors
    /// [`LoginError`]
    pub async fn step(&mut self, response: &[u8]) -> Result<SaslStep, LoginError> {
        let offered = self.authenticator.mechanisms(&self.context).contains(&self.mechanism);
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begin if !self.context.is_private() => Err(LoginError::PrivacyRequired),
            State::Begin if !offered => Err(LoginError::Malformed("SCRAM-SHA-256-PLUS needs TLS 1.3")),
            State::Begin if response.is_empty() => Ok(self.ask_first()),
            State::Begin | State::ClientSpeaks => self.first(response).await,
            State::LoginUser => self.login_user(response),
            State::LoginPassword { user } => self.with_password(&user, None, response).await,
            State::ScramFinal(last) => self.scram_final(*last, response),
            State::ScramDone(login) if response.is_empty() => Ok(SaslStep::Done(login)),
            State::ScramDone(_) => Err(LoginError::Malformed("SCRAM ends with an empty response")),
            State::Over => Err(LoginError::Malformed("the exchange is over")),
        }
    }

    fn ask_first(&mut self) -> SaslStep {
        let (state, challenge) = match self.mechanism {
            Mechanism::Login => (State::LoginUser, &b"Username:"[..]),
            Mechanism::Plain | Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => (State::ClientSpeaks, &b""[..]),
        };
        self.state = state;
        SaslStep::Challenge(challenge.to_vec())
    }

    async fn first(&mut self, response: &[u8]) -> Result<SaslStep, LoginError> {
        match self.mechanism {
            Mechanism::Login => self.login_user(response),
            Mechanism::Plain => {
                let message = PlainMessage::parse(response).map_err(LoginError::Malformed)?;
                self.with_password(message.authcid, Some(message.authzid), message.password).await
            }
            Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => self.scram_first(response).await,
        }
    }

    fn login_user(&mut self, response: &[u8]) -> Result<SaslStep, LoginError> {
        // Some old clients end what they send with a NUL.
        let name = response.strip_suffix(b"\0").unwrap_or(response);
        let user = std::str::from_utf8(name).map_err(|_| LoginError::Malformed("user names are UTF-8"))?.to_owned();
        self.state = State::LoginPassword { user };
        Ok(SaslStep::Challenge(b"Password:".to_vec()))
    }

    async fn with_password(&self, user: &str, authzid: Option<&str>, password: &[u8]) -> Result<SaslStep, LoginError> {
        let outcome = self.authenticator.check_password(user, authzid, password, self.context.peer).await;
        report(self.mechanism.name(), user, &outcome);
        outcome.map(SaslStep::Done)
    }

    async fn scram_first(&mut self, response: &[u8]) -> Result<SaslStep, LoginError> {
        let context = self.context.clone();
        let exporter = context.tls.as_ref().and_then(|tls| tls.exporter.as_ref());
        let offer = Offer { plus: self.mechanism == Mechanism::ScramSha256Plus, exporter };
        let first = ClientFirst::parse(response, offer).map_err(scram_error)?;
        let user = first.user.clone();
        let outcome = self.scram_answer(first, offer).await;
        if let Err(error) = &outcome {
            report(self.mechanism.name(), &user, &Err(error.clone()));
        }
        outcome
    }

    async fn scram_answer(&mut self, first: ClientFirst, offer: Offer<'_>) -> Result<SaslStep, LoginError> {
        let (user, authzid) = (first.user.clone(), first.authzid.clone());
        let name = LoginName::parse(&user);
        // Waits as long as earlier failures cost; what this attempt comes to is booked with its proof.
        let attempt = self.authenticator.begin(name.as_ref(), &user, self.context.peer).await?;
        let found = self.authenticator.find(name.as_ref()).await?;
        let verifier = self.authenticator.scram_verifier(&found, name.as_ref()).await?;
        let (waiting, challenge) = first.answer(&nonce()?, &verifier, offer);
        self.state = State::ScramFinal(Box::new(ScramFinal { user, authzid, found, waiting, attempt }));
        Ok(SaslStep::Challenge(challenge))
    }

    fn scram_final(&mut self, last: ScramFinal, response: &[u8]) -> Result<SaslStep, LoginError> {
        let ScramFinal { user, authzid, found, waiting, attempt } = last;
        let outcome = match (waiting.finish(response), &found.credentials) {
            (Ok(proof), Some(credentials)) if may_act_as(credentials, &user, authzid.as_deref()) => {
                attempt.succeeded(Instant::now());
                self.authenticator.open(credentials, Proof::Password, found.seen()).map(|login| (login, proof))
            }
            // It carries no guess, so it counts none.
            (Err(ScramError::Malformed(what)), _) => Err(LoginError::Malformed(what)),
            _ => {
                attempt.failed(Instant::now());
                Err(LoginError::Refused)
            }
        };
        report(self.mechanism.name(), &user, &outcome.as_ref().map(|(login, _)| login.clone()).map_err(Clone::clone));
        let (login, proof) = outcome?;
        self.state = State::ScramDone(login);
        Ok(SaslStep::Challenge(proof))
    }
}

const fn scram_error(error: ScramError) -> LoginError {
    match error {
        ScramError::Malformed(what) => LoginError::Malformed(what),
        ScramError::Refused => LoginError::Refused,
    }
}
