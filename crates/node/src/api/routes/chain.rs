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
        let detail = format!(
            "this station has no block {}: `qfzz chain latest` shows the head, `qfzz sync` catches up",
            quoted(&at)
        );
        Problem::new(Code::UnknownBlock, detail)
    })?;
    Ok(ok(&ShownBlock::new(&block, &rules)))
}

/// Digits of a hash that name a block, at least: below that too many blocks begin alike.
const MIN_DIGITS: usize = 6;

/// Reads `latest`, an index, a hash, or what a hash begins with.
///
/// Decimal digits alone are an index, except with leading zeros: no index is written so, and nearly every hash is.
fn read_at(text: &str) -> Result<BlockAt, Problem> {
    let refused = || {
        let detail = format!(
            "{} is no block: give `latest`, an index, or the first {MIN_DIGITS} to 64 hex digits of a hash",
            quoted(text)
        );
        Problem::of_field("block", Code::BadParameter, detail)
    };
    if text == "latest" {
        return Ok(BlockAt::Latest);
    }
    if let Ok(hash) = text.parse::<BlockHash>() {
        return Ok(BlockAt::Hash(hash));
    }
    let is_index =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_index {
        return text.parse().map(|index| BlockAt::Index(Height::new(index))).map_err(|_| refused());
    }
    let is_beginning = text.len() >= MIN_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let filled = |digit: &str| format!("{text}{}", digit.repeat(64_usize.saturating_sub(text.len()))).parse();
    match (filled("0"), filled("f")) {
        (Ok(first), Ok(last)) if is_beginning => Ok(BlockAt::Within(first, last)),
        _ => Err(refused()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_named_by_index_or_by_the_first_digits_of_its_hash() {
        let hash = |text: &str| text.parse::<BlockHash>().expect("a hash");
        let whole = "0A".repeat(32);
        assert_eq!(read_at("latest"), Ok(BlockAt::Latest));
        assert_eq!(read_at(&whole), Ok(BlockAt::Hash(hash(&whole))));
        for (text, index) in [("0", 0), ("17", 17), ("123456", 123_456), ("18446744073709551615", u64::MAX)] {
            assert_eq!(read_at(text), Ok(BlockAt::Index(Height::new(index))));
        }
        for text in ["00ff85", "00FF85a", "000000", "012345"] {
            let first = format!("{text}{}", "0".repeat(64 - text.len()));
            let last = format!("{text}{}", "f".repeat(64 - text.len()));
            assert_eq!(read_at(text), Ok(BlockAt::Within(hash(&first), hash(&last))), "{text}");
        }
        for wrong in [
            "",
            "00ff8",
            "017",
            "18446744073709551616",
            "-1",
            "+1",
            "0x123456",
            "first",
            "../status",
            &"0".repeat(65),
            "00ff8g",
        ] {
            let problem = read_at(wrong).expect_err(wrong);
            assert_eq!((problem.code, problem.field.as_deref()), (Code::BadParameter, Some("block")), "{wrong}");
        }
    }
}
