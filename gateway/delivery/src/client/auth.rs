//! Logging in to a smarthost (RFC 4954) by the best mechanism that it offers: SCRAM-SHA-256, PLAIN, LOGIN.
//!
//! PLAIN and LOGIN show the password to whoever reads along, so they are used under TLS only. A refused login is a
//! fault of our settings, never of the mail.

use base64::{Engine, prelude::BASE64_STANDARD};
use securanet_gateway::model::outbound::Outcome;
use zeroize::Zeroizing;

use super::{
    capability::Capabilities,
    failure::Ending,
    reply::Reply,
    scram,
    settings::Timeouts,
    wire::{Wire, WireError},
};
use crate::route::Login;

/// A login that was refused is tried again after this long: a person must change something.
const REFUSED_PAUSE_SECONDS: u32 = 300;

/// The mechanisms, best first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mechanism {
    ScramSha256,
    Plain,
    Login,
}

fn choose(capabilities: &Capabilities, under_tls: bool) -> Option<Mechanism> {
    let offers = |name: &str| capabilities.auth.iter().any(|offered| offered == name);
    if offers("SCRAM-SHA-256") {
        return Some(Mechanism::ScramSha256);
    }
    let plain = offers("PLAIN").then_some(Mechanism::Plain);
    plain.or_else(|| offers("LOGIN").then_some(Mechanism::Login)).filter(|_| under_tls)
}

/// Logs in.
pub(super) async fn log_in(
    wire: &mut Wire,
    capabilities: &Capabilities,
    login: &Login,
    under_tls: bool,
    timeouts: &Timeouts,
) -> Result<(), Ending> {
    let mut exchange = Exchange { wire, timeouts };
    let Some(mechanism) = choose(capabilities, under_tls) else {
        let why = if capabilities.auth.is_empty() { "no AUTH" } else { "no AUTH mechanism that may be used here" };
        return Err(Ending::ours(format!("the smarthost offers {why}"), REFUSED_PAUSE_SECONDS));
    };
    let answered = match mechanism {
        Mechanism::Plain => exchange.plain(login).await,
        Mechanism::Login => exchange.login(login).await,
        Mechanism::ScramSha256 => exchange.scram(login).await,
    };
    let refused = |why: String| {
        tracing::error!(user = login.user, why, "smarthost refuses the login: its mail waits");
        Ending::ours(why, REFUSED_PAUSE_SECONDS)
    };
    match answered {
        Ok(reply) if reply.code() == 235 => Ok(()),
        Ok(reply) if reply.is_permanent() => Err(refused(reply.text(900))),
        Ok(reply) => Err(Ending::temporary(&reply, Outcome::TemporaryAnswer, (7, 0))),
        Err(AuthError::Wire(error)) => Err(Ending::lost("logging in", &error)),
        Err(AuthError::Scram(error)) => Err(refused(error.to_string())),
    }
}

enum AuthError {
    Wire(WireError),
    Scram(scram::ScramError),
}

impl From<WireError> for AuthError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<scram::ScramError> for AuthError {
    fn from(error: scram::ScramError) -> Self {
        Self::Scram(error)
    }
}

struct Exchange<'a> {
    wire: &'a mut Wire,
    timeouts: &'a Timeouts,
}

impl Exchange<'_> {
    async fn say(&mut self, before: &str, secret: &[u8]) -> Result<Reply, WireError> {
        let line = Zeroizing::new(format!("{before}{}\r\n", BASE64_STANDARD.encode(secret)));
        self.wire.write(line.as_bytes(), self.timeouts.block).await?;
        self.wire.reply(self.timeouts.hello).await
    }

    /// RFC 4616.
    async fn plain(&mut self, login: &Login) -> Result<Reply, AuthError> {
        let message = Zeroizing::new(format!("\0{}\0{}", login.user, *login.password));
        Ok(self.say("AUTH PLAIN ", message.as_bytes()).await?)
    }

    async fn login(&mut self, login: &Login) -> Result<Reply, AuthError> {
        self.wire.write(b"AUTH LOGIN\r\n", self.timeouts.block).await?;
        let reply = self.wire.reply(self.timeouts.hello).await?;
        if reply.code() != 334 {
            return Ok(reply);
        }
        let reply = self.say("", login.user.as_bytes()).await?;
        if reply.code() != 334 {
            return Ok(reply);
        }
        Ok(self.say("", login.password.as_bytes()).await?)
    }

    async fn scram(&mut self, login: &Login) -> Result<Reply, AuthError> {
        let mut nonce = [0; 18];
        let random = aws_lc_rs::rand::fill(&mut nonce);
        random.map_err(|_| scram::ScramError::Malformed("no randomness for a nonce of ours"))?;
        let (first, waiting) = scram::begin(&login.user, &login.password, &BASE64_STANDARD.encode(nonce));
        let reply = self.say("AUTH SCRAM-SHA-256 ", first.as_bytes()).await?;
        if reply.code() != 334 {
            return Ok(reply);
        }
        let server_first = challenge(&reply)?;
        let proving = tokio::task::spawn_blocking(move || waiting.answer(&server_first)).await;
        let (proof, waiting) = proving.map_err(|_| scram::ScramError::Malformed("our side gave up"))??;
        let reply = self.say("", proof.as_bytes()).await?;
        match reply.code() {
            334 => {
                waiting.finish(&challenge(&reply)?)?;
                Ok(self.say("", b"").await?)
            }
            // RFC 4954 4: the server's last message may come with the success only as a challenge; one that says
            // 235 without having proved itself is believed no more than one without SCRAM.
            235 => Err(scram::ScramError::Impostor.into()),
            _ => Ok(reply),
        }
    }
}

fn challenge(reply: &Reply) -> Result<String, scram::ScramError> {
    let text = reply.lines().first().map(String::as_str).unwrap_or_default();
    let octets = BASE64_STANDARD.decode(text.trim()).map_err(|_| scram::ScramError::Malformed("it is no base64"))?;
    String::from_utf8(octets).map_err(|_| scram::ScramError::Malformed("it is no text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_4954_4_no_password_is_shown_in_the_clear() {
        let offering = |auth: &[&str]| Capabilities {
            auth: auth.iter().map(|name| (*name).to_owned()).collect(),
            ..Capabilities::default()
        };
        let all = offering(&["LOGIN", "PLAIN", "SCRAM-SHA-256", "CRAM-MD5"]);
        assert_eq!(choose(&all, false), Some(Mechanism::ScramSha256));
        let old = offering(&["LOGIN", "PLAIN"]);
        assert_eq!((choose(&old, true), choose(&old, false)), (Some(Mechanism::Plain), None));
        assert_eq!(choose(&offering(&["LOGIN"]), true), Some(Mechanism::Login));
        assert_eq!(choose(&offering(&["GSSAPI"]), true), None);
    }
}
