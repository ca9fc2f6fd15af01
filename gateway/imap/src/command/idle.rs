//! IDLE (RFC 2177, RFC 9051 6.3.13): the client waits, we tell.
//!
//! It wakes by a watch on the store and never polls; it lasts as long as a session may be inactive, which is at
//! least the 29 minutes after which clients begin it anew.

use std::time::Duration;

use securanet_gateway::login::Login;
use tokio::time::Instant;

use crate::{
    error::ImapError,
    response::{Stop, Tagged},
    session::{
        Session,
        state::{Authenticated, Selected},
    },
};

/// A store that could not answer is asked again after this.
const STORE_PAUSE: Duration = Duration::from_secs(2);
/// `DONE`
const DONE_LINE_OCTETS_MAX: usize = 64;

/// Waits with a mailbox open.
pub(crate) async fn with_mailbox(session: &mut Session, selected: &mut Selected) -> Result<Tagged, Stop> {
    session.out.continuation("idling");
    let login = selected.authenticated.account.login.clone();
    let until = Instant::now() + session.service.settings.inactivity;
    selected.view.expect_changes();
    loop {
        selected.synchronise(session, true).await?;
        let stale = selected.view.is_stale();
        let mut changes = selected.authenticated.changes.clone();
        let changed = async move {
            if stale {
                tokio::time::sleep(STORE_PAUSE).await;
            } else if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        if wait(session, &login, until, changed).await? {
            return done(session).await;
        }
    }
}

/// Waits without a mailbox: there is nothing to tell.
pub(crate) async fn without_mailbox(session: &mut Session, state: &mut Authenticated) -> Result<Tagged, Stop> {
    session.out.continuation("idling");
    let login = state.account.login.clone();
    let until = Instant::now() + session.service.settings.inactivity;
    while !wait(session, &login, until, std::future::pending()).await? {}
    done(session).await
}

/// Waits for the client or for a change; `true`: the client sent something.
async fn wait(
    session: &mut Session,
    login: &Login,
    until: Instant,
    changed: impl Future<Output = ()>,
) -> Result<bool, ImapError> {
    if !session.wire.buffered().is_empty() {
        return Ok(true);
    }
    let left = until.saturating_duration_since(Instant::now());
    let sign_of_life = session.service.settings.idle_sign_of_life;
    let silent = tokio::time::sleep(sign_of_life);
    tokio::pin!(changed);
    let mut told = false;
    let other = async {
        tokio::select! {
            () = &mut changed => {}
            () = silent => told = true,
        }
    };
    let input = session.wait_or(login, left, other).await?;
    if told {
        session.out.untagged("OK Still here");
    }
    Ok(input)
}

async fn done(session: &mut Session) -> Result<Tagged, Stop> {
    let deadline = session.service.settings.literal_pause;
    match session.wire.line(DONE_LINE_OCTETS_MAX, deadline).await? {
        Some(line) if line.eq_ignore_ascii_case(b"DONE") => Ok(Tagged::ok("Idle is over")),
        _ => Err(Tagged::bad("DONE expected").into()),
    }
}
