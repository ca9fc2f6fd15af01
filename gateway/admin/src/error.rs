//! How the API says no: a status, what is wrong, and what to do.
//!
//! | status | whose fault |
//! |---|---|
//! | 400, 404, 405, 413, 415, 422 | the request's: it will not do as it is |
//! | 401, 403 | the caller's: no token, or not from this machine |
//! | 409 | the state's: something exists, or still holds something |
//! | 503, 504, 507 | ours for now: no quorum, draining, no room |
//! | 500 | ours: it is logged as an error |

use axum::{
    Json,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use securanet_gateway::{
    login::PasswordError,
    model::{
        AddressError, StoreError, account::AccountRefusal, directory::DirectoryRefusal, mailbox::MailboxNameError,
    },
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The body of every refusal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What is wrong.
    pub error: String,
    /// What to do about it, where there is something to do.
    pub remedy: Option<String>,
}

/// A refusal.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    problem: Problem,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, error: impl ToString) -> Self {
        Self { status, problem: Problem { error: error.to_string(), remedy: None } }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.problem.remedy = Some(remedy.into());
        self
    }

    pub(crate) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    /// The request is well formed, and what it says cannot be.
    pub(crate) fn unprocessable(error: impl ToString) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error)
    }

    /// A fault of ours.
    pub(crate) fn internal(error: impl ToString) -> Self {
        let error = error.to_string();
        tracing::error!(error, "an admin request has failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }

    /// The store answered something else than was asked.
    pub(crate) fn out_of_turn(what: impl std::fmt::Debug) -> Self {
        Self::internal(format!("the store answered out of turn: {what:?}"))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::NotFound => Self::new(StatusCode::NOT_FOUND, &error),
            StoreError::TooLarge { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, &error)
                .remedy("raise `message_size_bytes_max` in the node file, or leave the message out"),
            StoreError::DiskFull { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, &error),
            StoreError::Unavailable(_) | StoreError::Draining | StoreError::Busy | StoreError::NotLeader { .. } => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &error).remedy("try again in some seconds")
            }
            StoreError::NoGroup(_) | StoreError::Damaged(_) | StoreError::Internal(_) => Self::internal(&error),
        }
    }
}

impl From<DirectoryRefusal> for ApiError {
    fn from(refusal: DirectoryRefusal) -> Self {
        use DirectoryRefusal as R;
        match &refusal {
            R::NotFound(_) => Self::new(StatusCode::NOT_FOUND, &refusal),
            R::Exists(_) | R::AlreadyInitialised | R::NodeExists(_) | R::Node { .. } => {
                Self::new(StatusCode::CONFLICT, &refusal)
            }
            R::NotInitialised => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, &refusal).remedy("wait until the node is ready")
            }
            R::ForeignDomain(name) => Self::unprocessable(format!("{name} is not a domain of ours"))
                .remedy(format!("add it first: `securanet domain add {name}`")),
            R::NotEmpty { name, addresses } => {
                Self::new(StatusCode::CONFLICT, format!("domain {name} still has {addresses} addresses"))
                    .remedy("remove its accounts, aliases and groups first")
            }
            R::Outside(_) | R::Loop(_) | R::TooMany { .. } | R::Policy(_) | R::Invalid(_) | R::Token => {
                Self::unprocessable(&refusal)
            }
        }
    }
}

impl From<AccountRefusal> for ApiError {
    fn from(refusal: AccountRefusal) -> Self {
        use AccountRefusal as R;
        match &refusal {
            R::NoAccount => Self::new(StatusCode::CONFLICT, "the account has no mailboxes yet")
                .remedy("add the account again with the same address: that finishes what was cut off"),
            R::WrongEpoch(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the account is moving").remedy("try again in some seconds")
            }
            R::NoMailbox => Self::new(StatusCode::NOT_FOUND, &refusal),
            R::OverQuota => Self::new(StatusCode::INSUFFICIENT_STORAGE, &refusal)
                .remedy("raise the account's quota: `securanet account quota`"),
            R::HasChildren => Self::new(StatusCode::CONFLICT, "the mailbox has children")
                .remedy("delete or rename the mailboxes below it first"),
            R::MailboxExists
            | R::SpecialUseTaken
            | R::Inbox
            | R::BelowItself
            | R::TooMany(_)
            | R::Locked
            | R::NoUidsLeft
            | R::NotSent => Self::new(StatusCode::CONFLICT, &refusal),
        }
    }
}

impl From<AddressError> for ApiError {
    fn from(error: AddressError) -> Self {
        Self::unprocessable(error)
    }
}

impl From<MailboxNameError> for ApiError {
    fn from(error: MailboxNameError) -> Self {
        Self::unprocessable(error)
    }
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Computation(_) => Self::internal(error),
            PasswordError::Empty | PasswordError::TooLong | PasswordError::Character => Self::unprocessable(error),
        }
    }
}

/// There is nothing at this path.
pub(crate) async fn no_route(uri: Uri) -> ApiError {
    ApiError::not_found(format!("{} in this API", uri.path())).remedy("/openapi.json lists what there is")
}

/// There is something at this path, but not this to do with it.
pub(crate) async fn no_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible with {}", uri.path()))
        .remedy("/openapi.json lists what there is")
}
