//! The scrub: started once, it goes on whoever listens, and its report is kept until the next one.
//!
//! Whoever starts one may wait for its report or come back for it; a start while one is running joins it. When the
//! node stops, a running scrub is broken off: it changes nothing, so nothing is left half done.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Json, extract::State, http::StatusCode};
use securanet_gateway::{clock, model::UnixMillis};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::AbortHandle};
use utoipa::ToSchema;

use crate::{Api, ApiError, Node, Problem, ScrubReport, input::Asked};

/// A scrub, running or done.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ScrubState {
    /// When it was started, in milliseconds since 1970.
    started_unix_millis: u64,
    /// When it ended; null while it is running.
    ended_unix_millis: Option<u64>,
    /// What it found, once it has ended.
    report: Option<ScrubReport>,
    /// Why it did not come to its end.
    failure: Option<String>,
}

impl ScrubState {
    const fn started(at: UnixMillis) -> Self {
        Self { started_unix_millis: at.get(), ended_unix_millis: None, report: None, failure: None }
    }

    fn ended(mut self, at: UnixMillis, outcome: Result<ScrubReport, String>) -> Self {
        self.ended_unix_millis = Some(at.get());
        match outcome {
            Ok(report) => self.report = Some(report),
            Err(failure) => self.failure = Some(failure),
        }
        self
    }

    const fn is_running(&self) -> bool {
        self.ended_unix_millis.is_none()
    }
}

/// The scrub that is running or was the last.
#[derive(Default)]
pub(crate) struct Scrubs(Mutex<Option<Last>>);

struct Last {
    state: watch::Receiver<ScrubState>,
    task: AbortHandle,
}

impl Drop for Last {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Scrubs {
    /// Joins the running scrub, or starts one.
    fn start(&self, node: Arc<dyn Node>) -> watch::Receiver<ScrubState> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| is_running(last)) {
            return last.state.clone();
        }
        let (sender, state) = watch::channel(ScrubState::started(clock::now()));
        let task = tokio::spawn(async move {
            let outcome = node.scrub().await;
            sender.send_modify(|state| *state = state.clone().ended(clock::now(), outcome));
        });
        *last = Some(Last { state: state.clone(), task: task.abort_handle() });
        state
    }

    fn last(&self) -> Option<ScrubState> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().map(|last| last.state.borrow().clone())
    }
}

/// Whether the scrub goes on; one whose task is gone without an end (it panicked) does not.
fn is_running(last: &Last) -> bool {
    last.state.borrow().is_running() && !last.task.is_finished()
}

/// Whether to wait.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    #[serde(default = "yes")]
    wait: bool,
}

const fn yes() -> bool {
    true
}

/// What a start answers.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Started {
    Report(ScrubReport),
    State(ScrubState),
}

/// Verifies every blob and every reference; changes nothing. Waits for the report, however long that takes, or
/// with `wait=false` answers 202 at once.
#[utoipa::path(post, path = "/v1/scrub", params(("wait" = Option<bool>, Query)),
    responses((status = 200, body = ScrubReport), (status = 202, body = ScrubState), (status = 500, body = Problem)))]
pub(crate) async fn start(
    State(api): State<Api>,
    Asked(how): Asked<Start>,
) -> Result<(StatusCode, Json<Started>), ApiError> {
    let mut state = api.scrubs.start(api.node.clone());
    if !how.wait {
        let now = state.borrow().clone();
        return Ok((StatusCode::ACCEPTED, Json(Started::State(now))));
    }
    let ended = state.wait_for(|state| !state.is_running()).await.map(|state| state.clone());
    match ended {
        Ok(ScrubState { report: Some(report), .. }) => Ok((StatusCode::OK, Json(Started::Report(report)))),
        Ok(ScrubState { failure, .. }) => Err(ApiError::internal(failure.unwrap_or_default())),
        Err(_) => Err(ApiError::internal("the scrub was broken off")),
    }
}

/// Shows the scrub that is running or was the last.
#[utoipa::path(get, path = "/v1/scrub",
    responses((status = 200, body = ScrubState), (status = 404, body = Problem)))]
pub(crate) async fn show(State(api): State<Api>) -> Result<Json<ScrubState>, ApiError> {
    let none = || ApiError::not_found("scrub yet").remedy("start one: `securanet scrub`");
    api.scrubs.last().map(Json).ok_or_else(none)
}
