//! The chain: figures, blocks, mining, verification, export.

use std::io;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::{StreamExt, stream};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height};

use super::{App, BODY_BYTES, JSON, ok};
use crate::api::block::{Block, ExportedBlock, ShownBlock};
use crate::api::body;
use crate::api::port::{BlockAt, BlockStream, Station};
use crate::api::problem::{Code, Problem, quoted};
use crate::api::query::{Query, Segment};
use crate::api::{dto, schema};

/// Blocks of one answer when the caller names no limit.
const DEFAULT_BLOCKS: u64 = 100;

/// Blocks of one answer, at most. They are read and sent one by one, so this bounds time, not memory.
const MAX_BLOCKS: u64 = 10_000;

/// Figures about the chain
#[utoipa::path(get, path = "/v1/chain", operation_id = "chain", tag = "chain", responses(
    (status = OK, description = "The figures", body = dto::Statistics),
))]
pub(super) async fn statistics<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    Ok(ok(&app.station.statistics().await?))
}

/// Mines one block of what is pending
#[utoipa::path(post, path = "/v1/mine", operation_id = "mine", tag = "chain", responses(
    (status = OK, description = "The block", body = ShownBlock),
    (status = NO_CONTENT, description = "Nothing is pending"),
))]
pub(super) async fn mine<S: Station>(State(app): State<App<S>>, request: Request) -> Result<Response, Problem> {
    let body = body::read(request, JSON, BODY_BYTES, app.limits.body_time).await?;
    if !matches!(body.trim_ascii(), b"" | b"{}") {
        return Err(Problem::new(Code::UnknownField, "mining takes no fields: send an empty body"));
    }
    let rules = app.station.rules().await?;
    Ok(match app.station.mine().await? {
        Some(block) => ok(&ShownBlock::new(&block, &rules)),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Verifies the stored chain again, from genesis
#[utoipa::path(get, path = "/v1/chain/verify", operation_id = "verify_chain", tag = "chain", responses(
    (status = OK, description = "Whether it is valid, and if not, where", body = dto::Verification),
))]
pub(super) async fn verify<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    let Ok(_permit) = app.verify.try_acquire() else {
        return Err(Problem::new(Code::Busy, "the chain is being verified already: try again when that is done"));
    };
    Ok(ok(&app.station.verify().await?))
}

/// One block
#[utoipa::path(get, path = "/v1/chain/blocks/{at}", operation_id = "block", tag = "chain", params(
    ("at" = schema::BlockPlace, Path, description = "`latest`, its index, or its hash"),
), responses((status = OK, description = "The block", body = ShownBlock)))]
pub(super) async fn block<S: Station>(State(app): State<App<S>>, Segment(at): Segment) -> Result<Response, Problem> {
    let at_block = read_at(&at)?;
    let rules = app.station.rules().await?;
    let block = app.station.block(at_block).await?.ok_or_else(|| {
        let detail =
            format!("this station has no block {}: see /v1/chain for the head, or run `qfzz sync`", quoted(&at));
        Problem::new(Code::UnknownBlock, detail)
    })?;
    Ok(ok(&ShownBlock::new(&block, &rules)))
}

/// Reads `latest`, an index, or a hash.
fn read_at(text: &str) -> Result<BlockAt, Problem> {
    let refused = || {
        let detail = format!("{} is no block: give `latest`, an index, or a hash of 64 hex digits", quoted(text));
        Problem::of_field("block", Code::BadParameter, detail)
    };
    if text == "latest" {
        return Ok(BlockAt::Latest);
    }
    if let Ok(hash) = text.parse::<BlockHash>() {
        return Ok(BlockAt::Hash(hash));
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    text.parse().map(|index| BlockAt::Index(Height::new(index))).map_err(|_| refused())
}

/// Blocks of the best chain
#[utoipa::path(get, path = "/v1/chain/blocks", operation_id = "blocks", tag = "chain", params(
    ("from" = Option<schema::Whole>, Query, description = "The index of the first; 0 by default"),
    ("limit" = Option<schema::Limit>, Query, description = "How many at most; 100 by default"),
), responses((status = OK, description = "The blocks, by index", body = Vec<ShownBlock>)))]
pub(super) async fn blocks<S: Station>(State(app): State<App<S>>, uri: Uri) -> Result<Response, Problem> {
    let query = Query::of(&uri, &["from", "limit"])?;
    let from = Height::new(query.number("from", 0, u64::MAX)?.unwrap_or(0));
    let limit = query.number("limit", 1, MAX_BLOCKS)?.unwrap_or(DEFAULT_BLOCKS);
    let rules = app.station.rules().await?;
    let blocks = app.station.blocks(from, Some(limit)).await?;
    array(blocks, rules, |block, rules| serde_json::to_vec(&ShownBlock::new(block, rules))).await
}

/// The whole chain, with all that is needed to verify it again
///
/// Streamed: an answer that breaks off is not the whole chain.
#[utoipa::path(get, path = "/v1/chain/export", operation_id = "export_chain", tag = "chain", responses(
    (status = OK, description = "The blocks, by index", body = Vec<ExportedBlock>),
))]
pub(super) async fn export<S: Station>(State(app): State<App<S>>) -> Result<Response, Problem> {
    let rules = app.station.rules().await?;
    let blocks = app.station.blocks(Height::ZERO, None).await?;
    array(blocks, rules, |block, rules| serde_json::to_vec(&ExportedBlock::new(block, rules))).await
}

/// How one block is written.
type Write = fn(&Block, &Rules) -> serde_json::Result<Vec<u8>>;

/// A JSON array of blocks, sent while they are read.
///
/// # Errors
/// A [`Problem`] where the first block cannot be read; a later failure cuts the answer off.
async fn array(mut blocks: BlockStream, rules: Arc<Rules>, write: Write) -> Result<Response, Problem> {
    let first = blocks.next().await.transpose()?;
    let end: &[u8] = if first.is_some() { b"\n]\n" } else { b"[]\n" };
    let blocks = stream::iter(first.map(Ok)).chain(blocks);
    let elements = blocks.enumerate().map(move |(position, block)| {
        let block = block.map_err(|error| {
            tracing::error!(%error, "an answer of blocks was cut off");
            io::Error::other(error)
        })?;
        let mut chunk = vec![if position == 0 { b'[' } else { b',' }, b'\n'];
        chunk.append(&mut write(&block, &rules)?);
        Ok(chunk)
    });
    // After an error the connection is cut, so the end is not sent.
    Ok(body::stream("application/json", elements.chain(stream::once(async { Ok(end.to_vec()) }))))
}
