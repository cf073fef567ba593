//! `qfzz chain`: figures about the chain, its blocks, and all of it as a file.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use qfzz_ledger_core::ids::{BlockHash, Height};
use reqwest::Response;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, clean, items, notice, short, show};
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
        /// Its index, or its hash
        #[arg(value_name = "INDEX_OR_HASH", value_parser = parse_place)]
        place: String,
    },
    /// Write the chain as JSON, with all that is needed to verify it again
    Export {
        /// Where to; standard output without it, or with `-`
        file: Option<PathBuf>,
    },
    /// Write the proof that a record was signed and is in its block, for anybody to verify
    Proof(ProofArgs),
    /// Verify such a proof; needs no daemon. Exits with code 5 if it does not hold
    VerifyProof(VerifyProofArgs),
}

fn parse_place(text: &str) -> Result<String, &'static str> {
    if let Ok(hash) = text.parse::<BlockHash>() {
        return Ok(hash.to_string());
    }
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    // The largest index has 20 digits: what is longer is a hash that lacks some.
    match text.parse().map(Height::new) {
        Ok(index) if is_number && text.len() <= 20 => Ok(index.to_string()),
        _ => Err("give an index, such as 17, or a hash of 64 hex digits"),
    }
}

pub(super) async fn chain(client: &Client, command: &ChainCommand, out: &mut Output) -> Result<(), Failure> {
    match command {
        ChainCommand::Stats => stats(client, out).await,
        ChainCommand::Verify => verify(client, out).await,
        ChainCommand::Latest => block(client, "latest", out).await,
        ChainCommand::Block { place } => block(client, place, out).await,
        ChainCommand::Export { file } => export(client, file.as_deref(), out).await,
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
    let mut verification = client.get_slow(&["v1", "chain", "verify"]).await?;
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
        let row = |record: &Value| [short_id(&show(record, "record_id")), show(record, "kind"), subject(record)];
        out.line("")?;
        out.table(["RECORD", "KIND", "ABOUT"], records.iter().take(SHOWN).map(row))?;
        match records.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => out.line(format_args!("and {more} more: --json shows all")),
        }
    })
}

/// A record's id with its station cut to the last 8 characters, which differ.
fn short_id(id: &str) -> String {
    match id.split_once('.') {
        Some((station, place)) => {
            let tail: String = station.chars().skip(station.chars().count().saturating_sub(8)).collect();
            format!("..{tail}.{place}")
        }
        None => short(id),
    }
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
        assert_eq!(parse_place("017"), Ok("17".to_owned()));
        for wrong in ["", "latest", "-1", "+1", "0x1", "18446744073709551616", &"0".repeat(63), "../status"] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_record_is_named_by_the_part_of_its_station_that_differs() {
        assert_eq!(short_id("12D3KooWAbcdefghijk.17.3"), "..defghijk.17.3");
    }
}
