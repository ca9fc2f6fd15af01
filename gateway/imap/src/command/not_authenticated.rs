//! STARTTLS, AUTHENTICATE, LOGIN (RFC 9051 6.2).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use securanet_gateway::{
    login::{Login, LoginError, Mechanism, SaslStep},
    model::request::Topic,
};

use super::capability;
use crate::{
    error::ImapError,
    grammar::command::{NotAuthenticatedCommand, Secret},
    mailbox::Account,
    response::{Code, Stop, Tagged},
    session::{
        Session,
        state::{Authenticated, Done, NotAuthenticated, State, Then},
    },
};

/// RFC 9051 does not bound a SASL response; RFC 4954 4 says 12,288 octets for SMTP, and mechanisms are the same.
const SASL_LINE_OCTETS_MAX: usize = 12_288;

/// Answers; the state that comes out is the next one.
pub(crate) async fn run(
    session: &mut Session,
    state: NotAuthenticated,
    command: NotAuthenticatedCommand,
) -> Result<Done, ImapError> {
    let login = match command {
        NotAuthenticatedCommand::StartTls => return Ok(start_tls(session, state)),
        NotAuthenticatedCommand::Login { user, password } => login(session, &user, &password).await,
        NotAuthenticatedCommand::Authenticate { mechanism, initial } => {
            authenticate(session, &mechanism, initial).await
        }
    };
    match login {
        Ok(login) => Ok(logged_in(session, login)),
        Err(Stop::Refused(tagged)) => {
            session.failed_logins += 1;
            Ok(State::NotAuthenticated(state).answer(tagged))
        }
        Err(Stop::Fatal(error)) => Err(error),
    }
}

fn start_tls(session: &Session, state: NotAuthenticated) -> Done {
    let state = State::NotAuthenticated(state);
    if session.wire.tls().is_some() {
        return state.answer(Tagged::bad("TLS is on already"));
    }
    if session.tls.is_none() {
        return state.answer(Tagged::no("No certificate here"));
    }
    Done { then: Then::StartTls, ..state.answer(Tagged::ok("Begin TLS negotiation now")) }
}

fn logged_in(session: &mut Session, login: Login) -> Done {
    tracing::info!(account = %login.account.address, "logged in");
    session.failed_logins = 0;
    let store = session.service.store.for_session();
    let changes = store.store().watch(Topic::Account(login.account.id));
    let state = State::Authenticated(Authenticated { account: Account { store, login }, changes });
    let capabilities = capability::after_login(session);
    state.answer(Tagged::ok("Logged in").code(Code::capability(&capabilities)))
}

async fn login(session: &mut Session, user: &[u8], password: &Secret) -> Result<Login, Stop> {
    if !session.sasl_context().is_private() {
        return Err(refused(&LoginError::PrivacyRequired));
    }
    // A name that is no UTF-8 is a user that does not exist, and takes as long to be refused.
    let user = String::from_utf8_lossy(user);
    let peer = session.peer.ip();
    session.service.authenticator.password(&user, password.expose(), peer).await.map_err(|error| refused(&error))
}

async fn authenticate(session: &mut Session, mechanism: &str, initial: Option<Secret>) -> Result<Login, Stop> {
    let context = session.sasl_context();
    let Some(mechanism) = Mechanism::parse(mechanism) else {
        return Err(Tagged::no("No such mechanism").code(Code::CANNOT).into());
    };
    if !context.is_private() {
        return Err(refused(&LoginError::PrivacyRequired));
    }
    if !session.service.authenticator.mechanisms(&context).contains(&mechanism) {
        return Err(Tagged::no("That mechanism is not available here").code(Code::CANNOT).into());
    }
    let mut exchange = session.service.authenticator.start(mechanism, context);
    let mut response = match initial {
        Some(initial) if initial.expose() == b"=" => Vec::new(),
        Some(initial) => decode(initial.expose())?,
        None => Vec::new(),
    };
    loop {
        match exchange.step(&response).await.map_err(|error| refused(&error))? {
            SaslStep::Done(login) => return Ok(login),
            SaslStep::Challenge(challenge) => {
                session.out.continuation(&STANDARD.encode(challenge));
                session.send().await?;
                let deadline = session.login_time_left();
                match session.wire.line(SASL_LINE_OCTETS_MAX, deadline).await? {
                    None => return Err(Tagged::bad("Response is too long").into()),
                    Some(line) if &line[..] == b"*" => return Err(refused(&LoginError::Cancelled)),
                    Some(line) => response = decode(&line)?,
                }
            }
        }
    }
}

fn decode(base64: &[u8]) -> Result<Vec<u8>, Stop> {
    STANDARD.decode(base64).map_err(|_| Tagged::bad("Response is not base64").into())
}

fn refused(error: &LoginError) -> Stop {
    let tagged = match error {
        LoginError::Refused => Tagged::no("Wrong user name or password").code(Code::AUTHENTICATION_FAILED),
        LoginError::Disabled => Tagged::no("Account is suspended").code(Code::CONTACT_ADMIN),
        LoginError::PrivacyRequired => Tagged::no("Use TLS to log in").code(Code::PRIVACY_REQUIRED),
        LoginError::TooManyAttempts { .. } => {
            Tagged::no("Too many failed logins, try again later").code(Code::UNAVAILABLE)
        }
        LoginError::Malformed(what) => Tagged::bad(*what),
        LoginError::Cancelled => Tagged::bad("Authentication cancelled"),
        LoginError::Store(error) => error.clone().into(),
    };
    tagged.into()
}
