//! `qfzz mine`: puts on the chain what is pending.

use qfzz_ledger_core::limits::{MAX_BATCH_BYTES, MAX_BLOCK_BATCHES, MAX_BODY_BYTES};
use serde_json::Value;

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, count, items, notice, short, show};

/// Mines until all that was pending at the call is on the chain, and prints each block.
///
/// Records may arrive all the while, so it also ends after a block that had room left: whatever was pending before
/// that one was mined is then in it or before it.
pub(super) async fn mine(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let before = client.get(&["v1", "chain"], &[]).await?;
    let pending = figure(&before, "pending_records")?;
    let wanted = figure(&before, "total_records")? + pending;
    let mut blocks = Vec::new();
    while let Some(block) = client.post(&["v1", "mine"], None).await? {
        if !out.is_json() {
            show_block(&block, out)?;
            // Each as it comes: the next may take long.
            out.flush()?;
        }
        let has_room = has_room(&block);
        blocks.push(block);
        if has_room && figure(&client.get(&["v1", "chain"], &[]).await?, "total_records")? >= wanted {
            break;
        }
    }
    if out.is_json() {
        return out.line(Value::Array(blocks));
    }
    if blocks.is_empty() {
        notice("nothing is pending: there is nothing to mine");
    }
    Ok(())
}

fn figure(statistics: &Value, name: &str) -> Result<u64, Failure> {
    statistics[name].as_u64().ok_or_else(|| Failure::BadAnswer { why: format!("it has no number `{name}`") })
}

/// Whether every batch would still have fitted in, whatever its size.
fn has_room(block: &Value) -> bool {
    let is_below = |name: &str, limit: u32| block[name].as_u64().is_some_and(|number| number < u64::from(limit));
    is_below("batch_count", MAX_BLOCK_BATCHES) && is_below("body_bytes", MAX_BODY_BYTES - MAX_BATCH_BYTES)
}

fn show_block(block: &Value, out: &mut Output) -> Result<(), Failure> {
    let records = items(&block["records"]).len();
    out.line(format_args!(
        "block {} {} ({})",
        show(block, "index"),
        short(&show(block, "hash")),
        count(records as u64, "record")
    ))
}
