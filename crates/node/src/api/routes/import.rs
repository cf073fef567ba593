//! Files that are taken in: streamed to the station, which judges all of a file before it keeps anything of it.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::response::Response;
use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::{App, ok};
use crate::api::port::Station;
use crate::api::problem::Problem;
use crate::api::{body, dto, schema};

/// What a file may call itself.
const FILE: &[&str] = &["application/json", "application/octet-stream"];

/// Chunks of a file that may wait for the disk.
const CHUNKS: usize = 4;

/// Imports a file: an export, or a chain or station ledger of the original program
///
/// An export becomes the chain of a station that has none, and gives its federation to one that has none. What a file
/// of the original holds becomes records of this station. All of a file is verified first: one that does not hold
/// changes nothing, and what was imported before adds nothing. It may be as large as the disk has room for.
#[utoipa::path(post, path = "/v1/chain/import", operation_id = "import_chain", tag = "chain",
    request_body(content = Vec<schema::ImportedBlock>, content_type = "application/json"), responses(
    (status = OK, description = "What the file came to", body = dto::Imported),
))]
pub(super) async fn import<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let request = body::check_kind(request, FILE).await?;
    let mut chunks = request.into_body().into_data_stream();
    let (sender, arrived) = mpsc::channel(CHUNKS);
    let imported = app.station.import(ReceiverStream::new(arrived).boxed());
    let (imported, ()) = tokio::join!(imported, feed(&mut chunks, sender, app.limits.body_time));
    if imported.is_err() {
        // Who is refused early may still be writing, and would not read why.
        body::discard_stream(chunks).await;
    }
    Ok(ok(&imported?))
}

/// Hands on what comes, as long as it comes and is wanted: `time` is for each chunk, for a file has no size of its own.
async fn feed(
    chunks: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin),
    wanted: mpsc::Sender<io::Result<Bytes>>,
    time: Duration,
) {
    loop {
        let chunk = match timeout(time, chunks.next()).await {
            Ok(None) => return,
            Ok(Some(chunk)) => chunk.map_err(io::Error::other),
            Err(_) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came for {} s", time.as_secs_f32())))
            }
        };
        let is_over = chunk.is_err();
        if wanted.send(chunk).await.is_err() || is_over {
            return;
        }
    }
}
