//! `qfzz chain proof` and `verify-proof`: that a record is in a block, for anybody to check without a daemon.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use qfzz_ledger_core::federation::{Genesis, GenesisError};
use qfzz_ledger_core::ids::{FederationId, RecordId};
use qfzz_ledger_core::proof::Proven;
use serde_json::{Value, json};

use super::Global;
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, notice, show};
use crate::api::proof::{MAX_PROOF_BYTES, check_proof};
use crate::data_dir;

#[derive(Debug, Args)]
pub(super) struct ProofArgs {
    /// The record's place, such as 12D3KooW....17.3
    #[arg(value_name = "RECORD_ID")]
    record: RecordId,
    /// Where to; standard output without it, or with `-`
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct VerifyProofArgs {
    /// What `qfzz chain proof` wrote; standard input with `-`
    file: PathBuf,
    /// The federation that it must be of [default: that of the data directory, if it holds one]
    #[arg(long, value_name = "ID")]
    federation: Option<FederationId>,
}

pub(super) async fn proof(client: &Client, args: &ProofArgs, out: &mut Output) -> Result<(), Failure> {
    let proof = client.get(&["v1", "records", &args.record.to_string(), "proof"], &[]).await?;
    let pretty = format!("{proof:#}");
    // Whoever asks for a proof should not have to find out later that it is none.
    check_proof(pretty.as_bytes(), None).map_err(|fault| Failure::ProofInvalid { fault })?;
    match args.file.as_deref().filter(|file| *file != Path::new("-")) {
        None => out.result(&proof, |out| out.line(&pretty)),
        Some(file) => {
            data_dir::write_public(file, format!("{pretty}\n").as_bytes())?;
            out.result(&json!({ "file": file, "bytes": pretty.len() + 1, "status": proof["status"] }), |_| {
                notice(format_args!("wrote {} bytes to {}", pretty.len() + 1, file.display()));
                notice(show(&proof, "note"));
                Ok(())
            })
        }
    }
}

/// Where the federation comes from that a proof is compared with.
enum Expected {
    Flag(FederationId),
    Directory(FederationId, PathBuf),
    Nothing,
}

impl Expected {
    fn of(global: &Global, args: &VerifyProofArgs) -> Result<Self, Failure> {
        if let Some(federation) = args.federation {
            return Ok(Self::Flag(federation));
        }
        // Without a directory there is nothing to compare with, which is no trouble.
        let Ok(dir) = global.data_dir() else { return Ok(Self::Nothing) };
        Ok(match dir.read_genesis()? {
            Some(genesis) => {
                let genesis = Genesis::decode(&genesis).map_err(GenesisError::from)?;
                Self::Directory(genesis.id(), dir.path().to_owned())
            }
            None => Self::Nothing,
        })
    }

    const fn federation(&self) -> Option<FederationId> {
        match self {
            Self::Flag(federation) | Self::Directory(federation, _) => Some(*federation),
            Self::Nothing => None,
        }
    }

    fn in_words(&self) -> String {
        match self {
            Self::Flag(_) => "the one that --federation names".to_owned(),
            Self::Directory(_, path) => format!("the one of {}", path.display()),
            Self::Nothing => {
                "not compared with any: give --federation to be sure that it is the one you mean".to_owned()
            }
        }
    }
}

/// Verifies a proof; asks no daemon.
pub(super) fn verify_proof(global: &Global, args: &VerifyProofArgs, out: &mut Output) -> Result<(), Failure> {
    let text = read(&args.file)?;
    let expected = Expected::of(global, args)?;
    let (proven, proof) = match check_proof(&text, expected.federation()) {
        Ok((proven, text)) => (proven, json!(text)),
        Err(fault) => {
            if out.is_json() {
                out.line(json!({ "valid": false, "reason": fault.to_string() }))?;
            }
            return Err(Failure::ProofInvalid { fault });
        }
    };
    let Proven { federation, record, hash, batch, block } = proven;
    let block = block.map(|(index, hash, producer)| {
        json!({ "index": index.get(), "hash": hash.to_string(), "producer": producer.to_string() })
    });
    let value = json!({
        "valid": true,
        "record_id": record.to_string(),
        "record": proof["record"],
        "hash": hash.to_string(),
        "batch_id": batch.to_string(),
        "station_id": record.station.to_string(),
        "signed_at": proof["batch"]["created_at"],
        "federation_id": federation.to_string(),
        "federation": proof["federation"],
        "compared": expected.federation().is_some(),
        "status": proof["status"],
        "block": block,
        "note": proof["note"],
    });
    out.result(&value, |out| {
        out.facts(&[
            ("valid", "yes".to_owned()),
            ("record", show(&value, "record_id")),
            ("says", value["record"].to_string().chars().map(plain).collect()),
            ("signed by", show(&value, "station_id")),
            ("signed at", format!("{} (as it says)", show(&value, "signed_at"))),
            ("federation", format!("{} ({})", show(&value, "federation"), show(&value, "federation_id"))),
            ("that is", expected.in_words()),
            ("block", show_block(&value)),
        ])?;
        out.line(show(&value, "note"))
    })
}

fn plain(character: char) -> char {
    if character.is_control() { char::REPLACEMENT_CHARACTER } else { character }
}

fn show_block(value: &Value) -> String {
    match value["block"] {
        Value::Null => "none yet".to_owned(),
        _ => format!(
            "{} {}, made by {}",
            show(value, "block.index"),
            show(value, "block.hash"),
            show(value, "block.producer")
        ),
    }
}

/// Reads a file or standard input, no more of it than a proof can have.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let limit = MAX_PROOF_BYTES as u64 + 1;
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().take(limit).read_to_end(&mut text)
    } else {
        File::open(file).and_then(|file| file.take(limit).read_to_end(&mut text))
    };
    read.map_err(|source| Failure::Input { path: file.to_owned(), source })?;
    Ok(text)
}
