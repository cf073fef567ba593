//! `qfzz chain import`: a file that the daemon takes in.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use futures::StreamExt;
use reqwest::Body;
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, count, notice, show};
use super::progress::{Progress, show_elapsed};

/// Bytes of one piece that is sent.
const PIECE_BYTES: usize = 256 * 1024;

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// What `chain export` wrote, or a chain or station ledger of the original program
    file: PathBuf,
}

pub(super) async fn import(client: &Client, args: &ImportArgs, out: &mut Output) -> Result<(), Failure> {
    let path = &args.file;
    let unusable = |source| Failure::Input { path: path.clone(), source };
    let file = tokio::fs::File::open(path).await.map_err(unusable)?;
    let metadata = file.metadata().await.map_err(unusable)?;
    if metadata.is_dir() {
        return Err(unusable(std::io::ErrorKind::IsADirectory.into()));
    }
    // A pipe or device has no size.
    let size = Some(metadata.len()).filter(|_| metadata.is_file());
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let pieces = ReaderStream::with_capacity(file, PIECE_BYTES).inspect(move |piece| {
        if let Ok(piece) = piece {
            counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
    });
    let (mut progress, start) = (Progress::start("importing", "bytes", out), Instant::now());
    // First the file is sent, then the daemon goes through it, once or twice.
    let how_far = |status: &Value| match status["importing"]["done"].as_u64() {
        Some(done) => Some((done, status["importing"]["of"].as_u64())),
        None => Some((sent.load(Ordering::Relaxed), size)),
    };
    let request = client.post_file(&["v1", "chain", "import"], Body::wrap_stream(pieces));
    let imported = progress.watch(client, request, how_far).await?;
    progress.end(format_args!("imported in {}", show_elapsed(start.elapsed())));
    out.result(&imported, |out| {
        out.facts(&[
            ("format", show(&imported, "format")),
            ("blocks", show(&imported, "blocks")),
            ("records", show(&imported, "records")),
            ("source", show(&imported, "source")),
        ])
    })?;
    if let Some(left_out @ 1..) = imported["metadata_left_out"].as_u64() {
        let records = count(left_out, "record");
        notice(format_args!("note: the metadata of {records} does not fit into one: only its SHA-256 is kept"));
    }
    if imported["records"] == 0 {
        notice("note: nothing was added: all of it was here already, or it holds no record");
    }
    Ok(())
}
