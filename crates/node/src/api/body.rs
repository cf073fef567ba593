//! Bodies of requests: of the right kind, bounded, in time. And of answers: JSON whole or as a stream.

use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::json::members;
use super::problem::{Code, Problem, quoted};
use super::record::FieldError;

/// Bytes of a body that was refused which are still read, at most.
///
/// A client that is cut off while it writes often never reads why; twice the largest body that is allowed.
const DISCARDED_BYTES: usize = 16 * 1024 * 1024;

/// How long a refused body is still read, at most.
const DISCARDED_FOR: Duration = Duration::from_secs(2);

/// Reads the body of `request`: at most `limit` bytes within `time`, of one of the media types `kinds`.
///
/// A body that names no type is taken as the right one.
///
/// # Errors
/// The [`Problem`] to answer with; the rest of the body was then read as far as is reasonable.
pub(super) async fn read(request: Request, kinds: &[&str], limit: usize, time: Duration) -> Result<Vec<u8>, Problem> {
    let deadline = Instant::now() + time;
    if let Err(problem) = check_head(request.headers(), kinds, limit) {
        discard(request).await;
        return Err(problem);
    }
    let mut body = Vec::new();
    let mut chunks = request.into_body().into_data_stream();
    loop {
        let chunk = timeout_at(deadline, chunks.next()).await.map_err(|_| {
            let detail = format!("the body was not complete after {} s: send it faster", time.as_secs_f32());
            Problem::new(Code::BodyTooSlow, detail)
        })?;
        match chunk {
            None => return Ok(body),
            Some(Ok(chunk)) if body.len() + chunk.len() <= limit => body.extend_from_slice(&chunk),
            Some(Ok(_)) => {
                discard_stream(chunks).await;
                return Err(too_large(limit));
            }
            Some(Err(_)) => return Err(Problem::new(Code::BodyTooSlow, "the body broke off: send it whole")),
        }
    }
}

/// That a request's body is of one of the media types `kinds`, for who reads it piece by piece.
///
/// # Errors
/// The [`Problem`] to answer with; the body was then read as far as is reasonable.
pub(super) async fn check_kind(request: Request, kinds: &[&str]) -> Result<Request, Problem> {
    match check_head(request.headers(), kinds, usize::MAX) {
        Ok(()) => Ok(request),
        Err(problem) => {
            discard(request).await;
            Err(problem)
        }
    }
}

fn check_head(headers: &HeaderMap, kinds: &[&str], limit: usize) -> Result<(), Problem> {
    if let Some(given) = headers.get(header::CONTENT_TYPE) {
        let given = String::from_utf8_lossy(given.as_bytes());
        let essence = given.split(';').next().unwrap_or_default().trim();
        if !kinds.iter().any(|kind| essence.eq_ignore_ascii_case(kind)) {
            let detail = format!("`Content-Type` is {}: send {}", quoted(&given), kinds.join(" or "));
            return Err(Problem::of_field("Content-Type", Code::UnsupportedMediaType, detail));
        }
    }
    if let Some(coding) = headers.get(header::CONTENT_ENCODING)
        && !coding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let detail = format!(
            "`Content-Encoding` is {}: send the body as it is, not compressed",
            quoted(&String::from_utf8_lossy(coding.as_bytes()))
        );
        return Err(Problem::of_field("Content-Encoding", Code::UnsupportedMediaType, detail));
    }
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|declared| declared > limit) { Err(too_large(limit)) } else { Ok(()) }
}

fn too_large(limit: usize) -> Problem {
    let detail = format!("the body is larger than {} KiB: send less at once", limit / 1024);
    Problem::new(Code::BodyTooLarge, detail)
}

/// Reads what is left of a request that is refused, so that its sender gets to read why; bounded in bytes and time.
pub(super) async fn discard(request: Request) {
    // Who asks first whether to send the body is told no by the answer itself.
    if !request.headers().contains_key(header::EXPECT) {
        discard_stream(request.into_body().into_data_stream()).await;
    }
}

/// Reads and forgets what is left of a body, as far as is reasonable.
pub(super) async fn discard_stream(mut chunks: impl Stream<Item = Result<Bytes, axum::Error>> + Unpin) {
    let deadline = Instant::now() + DISCARDED_FOR;
    let mut read = 0;
    while let Ok(Some(Ok(chunk))) = timeout_at(deadline, chunks.next()).await {
        read += chunk.len();
        if read > DISCARDED_BYTES {
            break;
        }
    }
}

/// A body as text.
///
/// # Errors
/// The [`Problem`] to answer with.
pub(super) fn text(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body).map_err(|_| Problem::new(Code::NotJson, "the body is not UTF-8: send JSON in UTF-8"))
}

/// Reads a body as one JSON object whose only member may be the text `field`; an empty body is the empty object.
///
/// # Errors
/// The [`Problem`] to answer with.
pub(super) fn one_text(body: &[u8], field: &str) -> Result<Option<String>, Problem> {
    let [text] = texts(body, [field])?;
    Ok(text)
}

/// As [`one_text`], for several.
pub(super) fn texts<const N: usize>(body: &[u8], fields: [&str; N]) -> Result<[Option<String>; N], Problem> {
    let mut found = [const { None }; N];
    if body.trim_ascii().is_empty() {
        return Ok(found);
    }
    let members = members(text(body)?).map_err(FieldError::from)?;
    if let Some(unknown) = members.keys().find(|name| !fields.contains(&name.as_str())) {
        let known = fields.map(|field| format!("`{field}`")).join(" and ");
        let known = if N == 1 { format!("the only one is {known}") } else { format!("there are {known}") };
        let detail = format!("the field {} does not exist here: remove it; {known}", quoted(unknown));
        return Err(Problem::of_field(unknown, Code::UnknownField, detail));
    }
    for (field, found) in fields.into_iter().zip(&mut found) {
        let wrong = |_| {
            let detail = format!("`{field}` must be a text in double quotes");
            Problem::of_field(field, Code::WrongType, detail)
        };
        *found =
            members.get(field).map(|value: &&RawValue| serde_json::from_str(value.get()).map_err(wrong)).transpose()?;
    }
    Ok(found)
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(header::CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => Problem::new(Code::Internal, format!("the answer cannot be written: {error}")).into_response(),
    }
}

/// An answer whose body is sent while it is made. An error cuts it off, so that nobody takes a part for the whole.
pub(super) fn stream<C: Into<Bytes> + 'static>(
    kind: &'static str,
    chunks: impl Stream<Item = Result<C, io::Error>> + Send + 'static,
) -> Response {
    let mut response = Body::from_stream(chunks).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
