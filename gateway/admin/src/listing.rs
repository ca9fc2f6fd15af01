//! Listings of the directory as JSON arrays, written a page at a time: however long, one page is in memory.
//!
//! The first page is read before the answer begins, so that a refusal still has a status; a failure behind it
//! breaks the connection off, and the array is never closed.

use std::io;

use axum::{
    body::Body,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::stream;
use securanet_gateway::model::directory::{DirectoryAnswer, DirectoryQuery, Page};
use serde::Serialize;

use crate::{Api, ApiError};

/// Rows of one page.
const PAGE_ROWS: u32 = 500;

/// A kind of listing: how it is asked for, and what a row is.
pub(crate) struct Kind<T, V> {
    /// The rows of an answer; none when it answers something else.
    pub(crate) rows: fn(DirectoryAnswer) -> Option<Vec<T>>,
    /// What the next page begins behind.
    pub(crate) name: fn(&T) -> String,
    /// What is shown of a row.
    pub(crate) view: fn(T) -> V,
}

/// Answers with all rows.
pub(crate) async fn answer<T: Send + 'static, V: Serialize + 'static>(
    api: &Api,
    query: impl Fn(Page) -> DirectoryQuery + Send + Sync + 'static,
    kind: Kind<T, V>,
) -> Result<Response, ApiError> {
    let first = page(api, &query, &kind, None).await?;
    let begun = (api.clone(), query, kind, Some(first), true);
    let body = stream::try_unfold(begun, |(api, query, kind, rows, is_first)| async move {
        let Some(rows) = rows else { return Ok(None) };
        let Some(last) = rows.last().map(kind.name) else {
            let end = if is_first { "[]" } else { "]" };
            return Ok(Some((Bytes::from_static(end.as_bytes()), (api, query, kind, None, false))));
        };
        let text = text(rows, kind.view, is_first)?;
        let next = page(&api, &query, &kind, Some(last)).await;
        let next = next.map_err(|error| io::Error::other(format!("{error:?}")))?;
        Ok::<_, io::Error>(Some((text, (api, query, kind, Some(next), false))))
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(body)).into_response())
}

async fn page<T, V>(
    api: &Api,
    query: &impl Fn(Page) -> DirectoryQuery,
    kind: &Kind<T, V>,
    after: Option<String>,
) -> Result<Vec<T>, ApiError> {
    let answer = api.client.ask_directory(query(Page { after, rows_max: PAGE_ROWS })).await?;
    (kind.rows)(answer).ok_or_else(|| ApiError::out_of_turn("a listing"))
}

/// The rows with the commas before them, and the bracket before the first.
fn text<T, V: Serialize>(rows: Vec<T>, view: fn(T) -> V, is_first: bool) -> io::Result<Bytes> {
    let mut text = Vec::with_capacity(rows.len() * 128);
    let mut before = if is_first { b'[' } else { b',' };
    for row in rows {
        text.push(before);
        serde_json::to_writer(&mut text, &view(row))?;
        before = b',';
    }
    Ok(text.into())
}
