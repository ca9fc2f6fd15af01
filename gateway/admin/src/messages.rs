//! Messages one by one: what import and export are made of.
//!
//! **An import may be repeated.** The importer gives each message a key of its own choice, the same each time (the
//! hash of its source and content, for instance). The shard takes a key once within 72 hours, in the same commit as
//! the message, so a run that was cut off anywhere is repeated without duplicates. Beyond that window the importer
//! remembers what it has done: `securanet import` keeps a journal.

use std::time::Duration;

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use securanet_gateway::{
    model::{
        EmailId, Flags, KeyedHash, Keyword, SystemFlags, Uid, UnixMillis,
        account::{AccountAnswer, AccountCommand, AccountQuery, AccountReply, AppendMessage, Message, UidSet},
        content::Ingested,
        directory::Account,
    },
    store::Content,
};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use crate::{
    Api, ApiError, Problem,
    accounts::{ask, command, find, place},
    input::{Asked, Named},
    line_endings::{Fault, LineEndings},
    mailboxes::by_name,
};

/// Rows of one listing.
const ROWS_MAX: u32 = 1000;
/// Octets read from the store at a time.
const READ_OCTETS: u64 = 256 * 1024;
/// Octets of an import's key.
const KEY_OCTETS_MAX: usize = 256;
/// The importer sends the next octets within this time.
const FRAME_PATIENCE: Duration = Duration::from_secs(60);
/// The store takes the message in, or gives some of it, within this time.
const STORE_PATIENCE: Duration = Duration::from_secs(60);

/// Which messages to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listing {
    mailbox: String,
    #[serde(default)]
    after_uid: u32,
}

/// Where a message is.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Within {
    mailbox: String,
}

/// A message in a mailbox.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MessageView {
    /// Its UID.
    uid: u32,
    /// Octets.
    size_bytes: u64,
    /// IMAP INTERNALDATE in milliseconds since 1970.
    internal_date_unix_millis: u64,
    /// System flags and keywords as IMAP writes them.
    flags: Vec<String>,
}

impl From<Message> for MessageView {
    fn from(message: Message) -> Self {
        let flags = message.state.flags;
        let system = SystemFlags::NAMED.iter().filter(|(flag, _)| flags.system.contains(*flag));
        let names = system.map(|(_, name)| (*name).to_owned());
        Self {
            uid: message.state.uid.get(),
            size_bytes: message.size_bytes,
            internal_date_unix_millis: message.internal_date.get(),
            flags: names.chain(flags.keywords().iter().map(|keyword| keyword.as_str().to_owned())).collect(),
        }
    }
}

/// How to import a message.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Import {
    mailbox: String,
    key: String,
    #[serde(default)]
    flags: String,
    internal_date_unix_millis: Option<u64>,
}

/// What became of an import.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Imported {
    /// The new UID; null when the key was taken before.
    uid: Option<u32>,
}

/// Lists up to 1,000 messages of a mailbox, ascending behind `after_uid`; the empty list is the end.
#[utoipa::path(get, path = "/v1/accounts/{address}/messages",
    params(("address" = String, Path), ("mailbox" = String, Query), ("after_uid" = Option<u32>, Query)),
    responses((status = 200, body = [MessageView]), (status = 404, body = Problem)))]
pub(crate) async fn list(
    State(api): State<Api>,
    Named(address): Named<String>,
    Asked(listing): Asked<Listing>,
) -> Result<Json<Vec<MessageView>>, ApiError> {
    let account = find(&api, &address).await?;
    let mailbox = by_name(&api, &account, &listing.mailbox).await?.id;
    let Some(first) = listing.after_uid.checked_add(1) else { return Ok(Json(Vec::new())) };
    let uids = UidSet::from_ranges([(Uid::new(first), Uid::new(u32::MAX))]);
    let query = AccountQuery::Messages { mailbox, uids, with_summary: false, rows_max: ROWS_MAX };
    match ask(&api, &account, query).await? {
        AccountAnswer::Messages(rows) => Ok(Json(rows.into_iter().map(MessageView::from).collect())),
        _ => Err(ApiError::out_of_turn("messages")),
    }
}

/// Imports one message: the body is the message as it is, in CRLF lines. 200 when the key was taken before.
#[utoipa::path(post, path = "/v1/accounts/{address}/messages",
    params(("address" = String, Path), ("mailbox" = String, Query),
        ("key" = String, Query, description = "what the importer calls the message: taken once within 72 hours"),
        ("flags" = Option<String>, Query, description = "system flags and keywords, separated by spaces"),
        ("internal_date_unix_millis" = Option<u64>, Query)),
    request_body(content = Vec<u8>, content_type = "message/rfc822"),
    responses((status = 201, body = Imported), (status = 200, body = Imported), (status = 404, body = Problem),
        (status = 413, body = Problem), (status = 422, body = Problem), (status = 507, body = Problem)))]
pub(crate) async fn import(
    State(api): State<Api>,
    Named(address): Named<String>,
    Asked(import): Asked<Import>,
    body: Body,
) -> Result<(StatusCode, Json<Imported>), ApiError> {
    if !(1..=KEY_OCTETS_MAX).contains(&import.key.len()) {
        return Err(ApiError::unprocessable(format!("an import's key has 1 to {KEY_OCTETS_MAX} octets")));
    }
    let flags = flags(&import.flags)?;
    let account = find(&api, &address).await?;
    let mailbox = by_name(&api, &account, &import.mailbox).await?.id;
    let mut message = take_in(&api, &account, body).await?.message;
    message.internal_date = import.internal_date_unix_millis.map(UnixMillis::new);
    let message = Box::new(AppendMessage { message, flags });
    let key = key(&account, &import);
    match command(&api, &account, AccountCommand::Import { mailbox, message, key }).await? {
        AccountReply::Uids(uids) => {
            let uid = uids.to.first().map(|uid| uid.get());
            let status = if uid.is_some() { StatusCode::CREATED } else { StatusCode::OK };
            Ok((status, Json(Imported { uid })))
        }
        other => Err(ApiError::out_of_turn(other)),
    }
}

fn flags(text: &str) -> Result<Flags, ApiError> {
    let mut system = SystemFlags::NONE;
    let mut keywords = Vec::new();
    for word in text.split_whitespace() {
        match SystemFlags::NAMED.iter().find(|(_, name)| name.eq_ignore_ascii_case(word)) {
            Some((flag, _)) => system = system.union(*flag),
            None => keywords.push(Keyword::parse(word).map_err(ApiError::unprocessable)?),
        }
    }
    Ok(Flags::new(system, keywords))
}

/// Streams the body into the store; what breaks off on the way is forgotten there.
async fn take_in(api: &Api, account: &Account, body: Body) -> Result<Ingested, ApiError> {
    let store = api.client.store();
    let mut sink = within(store.put(account.tenant, Vec::new(), None)).await??;
    let mut endings = LineEndings::default();
    let mut frames = body.into_data_stream();
    while let Some(frame) = timeout(FRAME_PATIENCE, frames.next()).await.map_err(|_| too_slow())? {
        let frame = frame.map_err(|error| ApiError::new(StatusCode::BAD_REQUEST, error))?;
        endings.look(&frame).map_err(no_message)?;
        within(sink.write(&frame)).await??;
    }
    endings.end().map_err(no_message)?;
    Ok(within(sink.finish()).await??)
}

async fn within<T>(work: impl Future<Output = T>) -> Result<T, ApiError> {
    let late = |_| ApiError::new(StatusCode::GATEWAY_TIMEOUT, "the store did not answer in time");
    timeout(STORE_PATIENCE, work).await.map_err(late)
}

fn too_slow() -> ApiError {
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "the message stopped coming")
}

fn no_message(fault: Fault) -> ApiError {
    ApiError::unprocessable(fault).remedy("bring it to CRLF lines first, as `securanet import` does")
}

/// The key as the shard knows it: the importer's, bound to the account and the mailbox.
fn key(account: &Account, import: &Import) -> KeyedHash {
    let text = format!("import\0{}\0{}\0{}", account.id, import.mailbox, import.key);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let mut short = [0; 16];
    short.copy_from_slice(&digest.as_ref()[..16]);
    KeyedHash(short)
}

/// A message as it is.
#[utoipa::path(get, path = "/v1/accounts/{address}/messages/{uid}",
    params(("address" = String, Path), ("uid" = u32, Path), ("mailbox" = String, Query)),
    responses((status = 200, content_type = "message/rfc822", body = Vec<u8>), (status = 404, body = Problem)))]
pub(crate) async fn export(
    State(api): State<Api>,
    Named((address, uid)): Named<(String, u32)>,
    Asked(within_mailbox): Asked<Within>,
) -> Result<Response, ApiError> {
    let account = find(&api, &address).await?;
    let email = email(&api, &account, &within_mailbox.mailbox, Uid::new(uid)).await?;
    let place = place(&account);
    let content = within(api.client.store().open(place.group, place.account, email)).await??;
    let size = content.size_bytes();
    let headers = [(header::CONTENT_TYPE, "message/rfc822".to_owned()), (header::CONTENT_LENGTH, size.to_string())];
    Ok((headers, Body::from_stream(stream_of(content))).into_response())
}

async fn email(api: &Api, account: &Account, mailbox: &str, uid: Uid) -> Result<EmailId, ApiError> {
    let mailbox = by_name(api, account, mailbox).await?.id;
    let query = AccountQuery::States { mailbox, uids: UidSet::from_uids([uid]), rows_max: 1 };
    match ask(api, account, query).await? {
        AccountAnswer::States(rows) => {
            rows.first().map(|row| row.email).ok_or_else(|| ApiError::not_found(format!("message with UID {uid}")))
        }
        _ => Err(ApiError::out_of_turn("states")),
    }
}

fn stream_of(content: Box<dyn Content>) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> {
    stream::try_unfold((content, 0), |(content, at)| async move {
        let size = content.size_bytes();
        if at >= size {
            return Ok(None);
        }
        let read = timeout(STORE_PATIENCE, content.read(at..size.min(at + READ_OCTETS))).await;
        let bytes = read?.map_err(std::io::Error::other)?;
        if bytes.is_empty() {
            return Err(std::io::Error::other("the store gave less than the message's size"));
        }
        let next = at + bytes.len() as u64;
        Ok(Some((bytes, (content, next))))
    })
}
