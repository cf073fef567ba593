//! `qfzz chain`: figures about the chain, its blocks, and all of it as a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Subcommand;
use reqwest::Response;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::import::{self, ImportArgs};
use super::output::{Output, clean, items, notice, show};
use super::progress::{Progress, show_elapsed};
use super::proof::{self, ProofArgs, VerifyProofArgs};

#[derive(Debug, Subcommand)]
pub(super) enum ChainCommand {
    /// Figures about the chain
    Stats,
    /// Verify the chain; exits with code 5 if it is not valid
    Verify,
    /// Show the newest block
    Latest,
    /// Show one block
    Block {
        /// Its index, its hash or the first 6 digits of that or more, or `latest`
        #[arg(value_name = "INDEX_OR_HASH", value_parser = parse_place)]
        place: String,
    },
    /// Write the chain as JSON, with all that is needed to verify it again
    Export {
        /// Where to; standard output without it, or with `-`
        file: Option<PathBuf>,
    },
    /// Take in a file: an export into a station without a chain, or what the original program wrote. Exits with code 5 if
    /// it does not hold
    Import(ImportArgs),
    /// Write the proof that a record was signed and is in its block, for anybody to verify
    Proof(ProofArgs),
    /// Verify such a proof; needs no daemon. Exits with code 5 if it does not hold
    VerifyProof(VerifyProofArgs),
}

/// Only what no daemon can understand is refused here; the daemon tells an index from the beginning of a hash.
fn parse_place(text: &str) -> Result<String, &'static str> {
    // The largest index has 20 digits.
    let is_index = (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_hash = (6..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if text == "latest" || is_hash {
        return Ok(text.to_ascii_lowercase());
    }
    match text.parse::<u64>() {
        Ok(index) if is_index => Ok(index.to_string()),
        _ => Err("give `latest`, an index such as 17, or the first 6 to 64 hex digits of a hash"),
    }
}

pub(super) async fn chain(client: &Client, command: &ChainCommand, out: &mut Output) -> Result<(), Failure> {
    match command {
        ChainCommand::Stats => stats(client, out).await,
        ChainCommand::Verify => verify(client, out).await,
        ChainCommand::Latest => block(client, "latest", out).await,
        ChainCommand::Block { place } => block(client, place, out).await,
        ChainCommand::Export { file } => export(client, file.as_deref(), out).await,
        ChainCommand::Import(args) => import::import(client, args, out).await,
        ChainCommand::Proof(args) => proof::proof(client, args, out).await,
        // Answered before anybody is asked.
        ChainCommand::VerifyProof(_) => Ok(()),
    }
}

async fn stats(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let stats = client.get(&["v1", "chain"], &[]).await?;
    out.result(&stats, |out| {
        out.facts(&[
            ("blocks", show(&stats, "chain_length")),
            ("records", show(&stats, "total_records")),
            ("pending", show(&stats, "pending_records")),
            ("contents", show(&stats, "indexed_records")),
            ("users", show(&stats, "total_users")),
            ("difficulty", show(&stats, "difficulty")),
            ("work", show(&stats, "work")),
            ("head", show_place(&stats["head"])),
            ("valid", show(&stats, "is_valid")),
        ])
    })
}

async fn verify(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let path = ["v1", "chain", "verify"];
    let (mut progress, start) = (Progress::start("verifying", "blocks", out), Instant::now());
    let how_far = |status: &Value| Some((status["verifying"]["done"].as_u64()?, status["verifying"]["of"].as_u64()));
    let mut verification = progress.watch(client, client.get_slow(&path), how_far).await?;
    progress.end(format_args!("checked in {}", show_elapsed(start.elapsed())));
    let is_valid = verification["valid"] == Value::Bool(true);
    if let Value::Object(members) = &mut verification {
        // As the figures call it.
        members.insert("is_valid".to_owned(), is_valid.into());
    }
    out.result(&verification, |out| match is_valid {
        true => out.line(format_args!("valid: {} blocks", show(&verification, "blocks"))),
        false => Ok(()),
    })?;
    let problem = verification["problem"].as_str().map(clean);
    if is_valid { Ok(()) } else { Err(Failure::ChainInvalid { problem }) }
}

/// A head, in full.
fn show_place(head: &Value) -> String {
    match head {
        Value::String(_) => show(head, ""),
        _ => format!("{} {}", show(head, "index"), show(head, "hash")),
    }
}

async fn block(client: &Client, place: &str, out: &mut Output) -> Result<(), Failure> {
    let block = client.get(&["v1", "chain", "blocks", place], &[]).await?;
    out.result(&block, |out| {
        let records = items(&block["records"]);
        out.facts(&[
            ("block", show(&block, "index")),
            ("hash", show(&block, "hash")),
            ("previous", show(&block, "previous_hash")),
            ("time", show(&block, "timestamp")),
            ("producer", show(&block, "producer")),
            ("difficulty", show(&block, "difficulty")),
            ("nonce", show(&block, "nonce")),
            ("batches", show(&block, "batch_count")),
            ("records", records.len().to_string()),
        ])?;
        /// Records that fit one screen; `--json` has them all.
        const SHOWN: usize = 20;
        if records.is_empty() {
            return Ok(());
        }
        let row = |record: &Value| [show(record, "kind"), subject(record), show(record, "record_id")];
        out.line("")?;
        out.table(["KIND", "ABOUT", "RECORD"], records.iter().take(SHOWN).map(row))?;
        match records.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => out.line(format_args!("and {more} more: --json shows all")),
        }
    })
}

fn subject(record: &Value) -> String {
    let about = ["user_id", "action", "target", "content_id", "creator_id"].map(|field| show(record, field));
    about.into_iter().filter(|text| text != "-").collect::<Vec<_>>().join(" ")
}

async fn export(client: &Client, file: Option<&Path>, out: &mut Output) -> Result<(), Failure> {
    let response = client.get_stream(&["v1", "chain", "export"]).await?;
    match file.filter(|file| *file != Path::new("-")) {
        Some(file) => {
            let bytes = export_to(client, response, file).await?;
            let value = json!({ "file": file, "bytes": bytes });
            out.result(&value, |_| {
                notice(format_args!("wrote {bytes} bytes to {}", file.display()));
                Ok(())
            })
        }
        None => {
            let mut response = response;
            while let Some(piece) = client.piece(&mut response).await? {
                out.bytes(piece.as_ref())?;
            }
            out.line("")
        }
    }
}

/// Writes beside `file` and renames, so that a chain that broke off never looks whole.
async fn export_to(client: &Client, mut response: Response, file: &Path) -> Result<u64, Failure> {
    let failed = |source| Failure::File { doing: "write", path: file.to_owned(), source };
    let mut name = file.file_name().ok_or_else(|| failed(io::ErrorKind::InvalidFilename.into()))?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = Part(file.with_file_name(name));
    let mut writer = File::create_new(&part.0).map_err(failed)?;
    let mut bytes = 0;
    while let Some(piece) = client.piece(&mut response).await? {
        let piece = piece.as_ref();
        writer.write_all(piece).map_err(failed)?;
        bytes += piece.len() as u64;
    }
    writer.sync_all().and_then(|()| fs::rename(&part.0, file)).map_err(failed)?;
    Ok(bytes)
}

/// A file that is written; what is left of it when this is dropped goes away.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // After the rename there is nothing to remove.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_named_by_index_or_hash() {
        let hash = "0A".repeat(32);
        assert_eq!(parse_place(&hash), Ok("0a".repeat(32)));
        for (text, sent) in [("017", "17"), ("latest", "latest"), ("00FF85", "00ff85"), ("000000", "000000")] {
            assert_eq!(parse_place(text).as_deref(), Ok(sent));
        }
        for wrong in ["", "first", "-1", "+1", "0x1", "00ff8", "00ff8g", &"0".repeat(65), "../status"] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
    }
}
