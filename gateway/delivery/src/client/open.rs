//! From nothing to a connection that is ready for mail: connect, greeting, EHLO, STARTTLS, AUTH.
//!
//! Nothing here says anything about a message: whatever a server answers is temporary, and the next address or
//! host may do better. A greeting of 5xx too (RFC 5321 3.1 lets a host refuse all mail so, but it may be one of
//! several).

use std::net::{IpAddr, SocketAddr};

use securanet_gateway::model::{outbound::Outcome, tls_report::TlsResult};
use tokio::{net::TcpStream, time::timeout};

use super::{
    Client, OpenFailure, Stage, auth,
    capability::Capabilities,
    connect::{Dialer, NotConnected},
    failure::{ANSWER_OCTETS_MAX, Ending, OUR_FAULT_PAUSE_SECONDS},
    reply::Reply,
    session::{Session, State},
    settings::Timeouts,
    wire::{Stream, Wire, WireError},
};
use crate::{
    route::{Hop, TlsDemand},
    tls::{Secured, reason, tls_error},
    tls_report::{self, result_of},
};

/// A host with many addresses is given up after so many that were connected to and did not serve.
const ADDRESSES_SPOKEN_MAX: usize = 4;

pub(super) async fn open(hop: &Hop, client: &Client) -> Result<Session, OpenFailure> {
    let mut addresses = hop.addresses.clone();
    let mut failure: Option<OpenFailure> = None;
    for _ in 0..ADDRESSES_SPOKEN_MAX {
        if addresses.is_empty() {
            break;
        }
        let (tcp, address) = match dialer(hop, client).connect(&mut addresses).await {
            Ok(connected) => connected,
            Err(not_connected) => return Err(failure.unwrap_or_else(|| unreachable_host(hop, &not_connected))),
        };
        match converse(hop, client, tcp, address).await {
            Ok(session) => return Ok(session),
            // What is refused at one address is refused at the others; and waiting long once is enough.
            Err(failed) if failed.is_ours() || failed.silent || failed.stage == Stage::Auth => return Err(failed),
            Err(failed) => failure = Some(failed),
        }
    }
    Err(failure.unwrap_or_else(|| unreachable_host(hop, &NotConnected { errors: Vec::new() })))
}

pub(super) async fn probe(hop: &Hop, client: &Client) -> Result<(), OpenFailure> {
    let mut addresses = hop.addresses.clone();
    let connected = dialer(hop, client).connect(&mut addresses).await;
    let (tcp, address) = connected.map_err(|failed| unreachable_host(hop, &failed))?;
    let mut opening = Opening::new(hop, client, tcp, address);
    if hop.implicit_tls {
        opening = opening.handshake(Stage::Handshake).await?;
    }
    opening.greeting().await?;
    opening.hello().await?;
    opening.into_session("not tried".to_owned()).quit().await;
    Ok(())
}

fn dialer<'a>(hop: &'a Hop, client: &'a Client) -> Dialer<'a> {
    let ours = &client.settings.source_addresses;
    Dialer {
        source_addresses: if hop.source_addresses.is_empty() { ours } else { &hop.source_addresses },
        timeout: client.settings.timeouts.connect,
        next_address: client.settings.timeouts.next_address,
    }
}

fn unreachable_host(hop: &Hop, failed: &NotConnected) -> OpenFailure {
    let mut answer = failed.text();
    answer.truncate(answer.floor_char_boundary(ANSWER_OCTETS_MAX));
    let ours = failed.is_ours();
    let outcome =
        if ours { Outcome::NotTried { again_after: OUR_FAULT_PAUSE_SECONDS } } else { Outcome::TemporaryConnection };
    OpenFailure {
        host: hop.name.clone(),
        stage: Stage::Connect,
        outcome,
        status: (4, 4, 1),
        answer,
        answer_is_remote: false,
        tls: None,
        silent: false,
    }
}

/// Holds the conversation at one address; where TLS is opportunistic and fails, a second one without it.
async fn converse(hop: &Hop, client: &Client, tcp: TcpStream, address: SocketAddr) -> Result<Session, OpenFailure> {
    let opening = Opening::new(hop, client, tcp, address);
    let wanted = hop.tls != TlsDemand::Never;
    let failed = match opening.run(wanted, "not wanted").await {
        Err(failed) if matches!(failed.stage, Stage::StartTls | Stage::Handshake) => failed,
        ended => return ended,
    };
    if hop.tls.is_demanded() || hop.implicit_tls {
        return Err(failed);
    }
    tracing::info!(host = failed.host, why = failed.answer, "TLS failed, going on in plaintext");
    let why = format!("failed: {}", failed.answer);
    let (_, connected) = dialer(hop, client).connect_to(address).await;
    let tcp = connected.map_err(|error| unreachable_host(hop, &NotConnected { errors: vec![(address, error)] }))?;
    Opening::new(hop, client, tcp, address).run(false, &why).await
}

/// A conversation that is being opened.
struct Opening<'a> {
    hop: &'a Hop,
    client: &'a Client,
    host: String,
    wire: Wire,
    capabilities: Capabilities,
    /// Version, cipher and what was checked, under TLS.
    tls: Option<String>,
    /// Our end and the server's.
    ends: (Option<IpAddr>, Option<IpAddr>),
}

impl<'a> Opening<'a> {
    fn new(hop: &'a Hop, client: &'a Client, tcp: TcpStream, address: SocketAddr) -> Self {
        let at = format!("[{}]:{}", address.ip(), address.port());
        // A host that is given by its address has no other name.
        let host = if hop.name.starts_with('[') { at } else { format!("{} {at}", hop.name) };
        let ends = (tcp.local_addr().ok().map(|local| local.ip()), Some(address.ip()));
        let wire = Wire::new(Stream::Clear(tcp));
        Self { hop, client, host, wire, capabilities: Capabilities::default(), tls: None, ends }
    }

    fn timeouts(&self) -> &'a Timeouts {
        &self.client.settings.timeouts
    }

    async fn run(mut self, tls_wanted: bool, why_no_tls: &str) -> Result<Session, OpenFailure> {
        let mut why_no_tls = why_no_tls;
        if self.hop.implicit_tls {
            self = self.handshake(Stage::Handshake).await?;
        }
        self.greeting().await?;
        self.hello().await?;
        if self.tls.is_none() && tls_wanted {
            if self.capabilities.start_tls {
                self = self.start_tls().await?;
            } else {
                why_no_tls = "not offered";
                self.count(TlsResult::StartTlsNotSupported, why_no_tls);
            }
        }
        if self.tls.is_none() && self.hop.tls.is_demanded() {
            let answer = format!("TLS is demanded{}, and the server does not offer it", self.demanded_by());
            return Err(self.failure(Stage::StartTls, tls_ending((4, 7, 4), answer)));
        }
        if let Some(login) = self.hop.auth.clone() {
            let (under_tls, timeouts) = (self.tls.is_some(), self.timeouts());
            let logged_in = auth::log_in(&mut self.wire, &self.capabilities, &login, under_tls, timeouts).await;
            logged_in.map_err(|ending| self.failure(Stage::Auth, ending))?;
        }
        Ok(self.into_session(why_no_tls.to_owned()))
    }

    fn demanded_by(&self) -> String {
        self.hop.tls_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default()
    }

    async fn greeting(&mut self) -> Result<(), OpenFailure> {
        let reply = self.reply(Stage::Greeting, self.timeouts().greeting).await?;
        if reply.is_positive() { Ok(()) } else { Err(self.refused(Stage::Greeting, &reply)) }
    }

    /// EHLO, and HELO for a server that does not know it (RFC 5321 4.1.4). Under TLS it is said again, and what was
    /// offered before is forgotten (RFC 3207 4.2).
    async fn hello(&mut self) -> Result<(), OpenFailure> {
        let name = self.hop.helo_name.as_ref().unwrap_or(&self.client.settings.helo_name).clone();
        let reply = self.say(&format!("EHLO {name}\r\n"), Stage::Hello).await?;
        if reply.is_positive() {
            self.capabilities = Capabilities::read(&reply);
            return Ok(());
        }
        if !reply.is_permanent() {
            return Err(self.refused(Stage::Hello, &reply));
        }
        self.capabilities = Capabilities::default();
        let reply = self.say(&format!("HELO {name}\r\n"), Stage::Hello).await?;
        if reply.is_positive() { Ok(()) } else { Err(self.refused(Stage::Hello, &reply)) }
    }

    async fn start_tls(mut self) -> Result<Self, OpenFailure> {
        let said = self.say("STARTTLS\r\n", Stage::StartTls).await;
        let reply = said.inspect_err(|failed| self.count(TlsResult::ValidationFailure, &failed.answer))?;
        if reply.code() != 220 {
            let answer = reply.text(ANSWER_OCTETS_MAX);
            self.count(TlsResult::StartTlsNotSupported, &answer);
            let ending = Ending::temporary(&reply, Outcome::TemporaryTls, (7, 4));
            return Err(self.failure(Stage::StartTls, ending));
        }
        let mut secured = self.handshake(Stage::Handshake).await?;
        // A server that loses its voice under TLS has failed to do TLS.
        secured.hello().await.map_err(|failed| OpenFailure { stage: Stage::Handshake, ..failed })?;
        Ok(secured)
    }

    async fn handshake(self, stage: Stage) -> Result<Self, OpenFailure> {
        let failure = |host: &str, status, answer: String| {
            let ending = tls_ending(status, answer);
            OpenFailure::new(host, stage, ending, None)
        };
        let timeouts = self.timeouts();
        let Some(tcp) = self.wire.into_clear() else {
            let answer = "the server sent plaintext behind its answer to STARTTLS".to_owned();
            count(self.hop, self.ends, Err((TlsResult::ValidationFailure, &answer)));
            return Err(failure(&self.host, (4, 7, 5), answer));
        };
        let name = self.hop.name.trim_matches(['[', ']']);
        let handshake = self.client.tls.connect(&self.hop.tls, name, tcp);
        let connected = timeout(timeouts.tls, handshake).await;
        let took_too_long = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "it took too long");
        match connected.map_err(took_too_long).and_then(|connected| connected) {
            Ok(Secured { stream, info, fault }) => {
                let fault = fault.map(|error| (result_of(&error), error.to_string()));
                count(self.hop, self.ends, fault.as_ref().map_or(Ok(()), |(result, why)| Err((*result, why))));
                Ok(Self {
                    wire: Wire::new(Stream::Tls(Box::new(stream))),
                    tls: Some(info),
                    capabilities: Capabilities::default(),
                    hop: self.hop,
                    client: self.client,
                    host: self.host,
                    ends: self.ends,
                })
            }
            Err(error) => {
                let result = tls_error(&error).map_or(TlsResult::ValidationFailure, result_of);
                let why = reason(&error);
                count(self.hop, self.ends, Err((result, &why)));
                Err(failure(&self.host, (4, 7, 5), format!("the TLS handshake failed: {why}")))
            }
        }
    }

    /// Counts a session without TLS.
    fn count(&self, result: TlsResult, why: &str) {
        count(self.hop, self.ends, Err((result, why)));
    }

    async fn say(&mut self, command: &str, stage: Stage) -> Result<Reply, OpenFailure> {
        let sent = self.wire.write(command.as_bytes(), self.timeouts().block).await;
        match sent {
            // It may have said why it went.
            Err(error) if self.wire.has_spoken() => {
                let last = self.wire.reply(std::time::Duration::from_secs(1)).await;
                last.map_err(|_| self.lost(stage, &error))
            }
            Err(error) => Err(self.lost(stage, &error)),
            Ok(()) => self.reply(stage, self.timeouts().hello).await,
        }
    }

    async fn reply(&mut self, stage: Stage, within: std::time::Duration) -> Result<Reply, OpenFailure> {
        self.wire.reply(within).await.map_err(|error| self.lost(stage, &error))
    }

    fn lost(&self, stage: Stage, error: &WireError) -> OpenFailure {
        let silent = matches!(error, WireError::Silent(_) | WireError::Stuck(_));
        let ending = Ending { outcome: Outcome::TemporaryConnection, ..Ending::lost(stage.text(), error) };
        OpenFailure { silent, ..self.failure(stage, ending) }
    }

    fn refused(&self, stage: Stage, reply: &Reply) -> OpenFailure {
        self.failure(stage, Ending::temporary(reply, Outcome::TemporaryConnection, (3, 2)))
    }

    fn failure(&self, stage: Stage, ending: Ending) -> OpenFailure {
        OpenFailure::new(&self.host, stage, ending, self.tls.clone())
    }

    fn into_session(self, why_no_tls: String) -> Session {
        let authenticated = self.tls.is_some() && self.hop.tls.is_authenticated() && self.hop.name_is_sure;
        let mut tls = self.tls.unwrap_or_else(|| format!("none ({why_no_tls})"));
        tls.truncate(tls.floor_char_boundary(super::TLS_OCTETS_MAX));
        let settings = &self.client.settings;
        Session {
            wire: self.wire,
            capabilities: self.capabilities,
            authenticated,
            host: self.host,
            tls,
            timeouts: settings.timeouts.clone(),
            chunking: settings.chunking,
            used: 0,
            used_max: settings.messages_per_connection_max.max(1),
            state: State::Ready,
        }
    }
}

/// Counts a session for TLS reports, where its host has a policy's word or nobody's.
fn count(hop: &Hop, ends: (Option<IpAddr>, Option<IpAddr>), session: Result<(), (TlsResult, &str)>) {
    let Some(subject) = &hop.tls_subject else { return };
    match session {
        Ok(()) => subject.succeeded(&hop.name, ends),
        Err((result, why)) => subject.failed(tls_report::failure(result, &hop.name, ends, why)),
    }
}

const fn tls_ending(status: (u8, u16, u16), answer: String) -> Ending {
    Ending { outcome: Outcome::TemporaryTls, status, answer, is_remote: false }
}
