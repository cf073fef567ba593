//! `qfzz dataset`: files of music that anybody can check, registered with licence and quality.

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use qfzz_ledger_core::ids::{Id, Label, StationId, Text};
use qfzz_ledger_core::limits::MAX_DATASET_TAGS;
use qfzz_ledger_core::score::Score;
use serde_json::{Value, json};

use super::client::Client;
use super::failure::Failure;
use super::output::{Output, clean, items, show};
use super::progress::{Progress, explain_wait};
use super::record::decimal;
use super::trust::show_score;
use crate::content_hash::{PIECE, sha256_of};

/// Datasets of one page.
const PAGE: usize = 100;

#[derive(Debug, Subcommand)]
pub(super) enum DatasetCommand {
    /// Register a file under an id; the first registration of an id stands
    Register(Box<RegisterArgs>),
    /// Check that a file is the registered one, and record that it is; exit code 5 if it is not
    Verify {
        /// Which dataset
        id: Id,
        /// The file to check
        file: PathBuf,
        /// Record what was found also if it is another file
        #[arg(long)]
        publish: bool,
        /// Who checked it; raises their score
        #[arg(long)]
        user: Option<Id>,
    },
    /// Rate a dataset
    Rate {
        /// Which dataset
        id: Id,
        /// How good it is, 0 to 1
        rating: Score,
        /// Who rates it; raises their score
        #[arg(long)]
        user: Id,
    },
    /// Show a dataset, and what was found about it
    Show {
        /// Which dataset
        id: Id,
    },
    /// List the datasets of the federation
    List(ListArgs),
}

#[derive(Debug, Args)]
pub(super) struct RegisterArgs {
    /// The file; its SHA-256 and its length are computed here, and it stays where it is
    file: PathBuf,
    /// What to call it in the federation
    #[arg(long)]
    id: Id,
    /// What people call it
    #[arg(long)]
    name: Id,
    /// Its licence, an SPDX expression such as CC-BY-4.0, or a short name such as CC-BY
    #[arg(long)]
    license: Id,
    /// How good it is, 0 to 1
    #[arg(long)]
    quality: Score,
    /// What is in it
    #[arg(long, value_name = "TEXT")]
    description: Option<Text>,
    /// Where it comes from, such as a URL
    #[arg(long, value_name = "TEXT")]
    source: Option<Text>,
    /// Who made it
    #[arg(long)]
    creator: Option<Label>,
    /// What kind of music it holds
    #[arg(long)]
    genre: Option<Label>,
    /// A word about it; may be given several times, or separated by commas
    #[arg(long = "tag", visible_alias = "tags", value_name = "TAG", value_delimiter = ',')]
    tags: Vec<Id>,
    /// In whose name; their score must reach trust.submit_threshold of the daemon's settings
    #[arg(long)]
    user: Option<Id>,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only of at least this quality, 0 to 1
    #[arg(long, value_name = "SCORE")]
    min_quality: Option<Score>,
    /// Only with this licence
    #[arg(long)]
    license: Option<Id>,
    /// Only of this genre
    #[arg(long)]
    genre: Option<Label>,
    /// Only with this tag
    #[arg(long)]
    tag: Option<Id>,
    /// Only by this creator
    #[arg(long)]
    creator: Option<Label>,
    /// Only those that this station registered
    #[arg(long, value_name = "PEER_ID")]
    station: Option<StationId>,
    /// Only those that somebody verified
    #[arg(long)]
    verified: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::new(1_000).unwrap())]
    limit: NonZeroUsize,
}

pub(super) async fn dataset(client: &Client, command: &DatasetCommand, out: &mut Output) -> Result<(), Failure> {
    match command {
        DatasetCommand::Register(args) => register(client, args, out).await,
        DatasetCommand::Verify { id, file, publish, user } => {
            verify(client, id, file, *publish, user.as_ref(), out).await
        }
        DatasetCommand::Rate { id, rating, user } => {
            let body = json!({ "rating": decimal(rating.millionths().cast_signed()), "user_id": user.as_str() });
            let dataset = post(client, &["v1", "datasets", id.as_str(), "rate"], &body, out).await?;
            out.result(&dataset, |out| show_dataset(&dataset, out))
        }
        DatasetCommand::Show { id } => {
            let dataset = client.get(&["v1", "datasets", id.as_str()], &[]).await?;
            out.result(&dataset, |out| show_dataset(&dataset, out))
        }
        DatasetCommand::List(args) => list(client, args, out).await,
    }
}

async fn register(client: &Client, args: &RegisterArgs, out: &mut Output) -> Result<(), Failure> {
    if args.tags.len() > MAX_DATASET_TAGS {
        let why = format!("is there {} times: give at most {MAX_DATASET_TAGS}", args.tags.len());
        return Err(Failure::Usage { what: "--tag", why });
    }
    let (sha256, size) = hash(&args.file, out)?;
    let text = |text: &Option<Text>| text.as_ref().map_or_else(String::new, ToString::to_string);
    let label = |label: &Option<Label>| label.as_ref().map_or_else(String::new, ToString::to_string);
    let mut body = json!({
        "dataset_id": args.id.as_str(),
        "name": args.name.as_str(),
        "license": args.license.as_str(),
        "quality": decimal(args.quality.millionths().cast_signed()),
        "sha256": sha256,
        "size": size,
        "description": text(&args.description),
        "source": text(&args.source),
        "creator": label(&args.creator),
        "genre": label(&args.genre),
        "tags": args.tags.iter().map(Id::as_str).collect::<Vec<_>>(),
    });
    if let Some(user) = &args.user {
        body["user_id"] = user.as_str().into();
    }
    let dataset = post(client, &["v1", "datasets"], &body, out).await?;
    out.result(&dataset, |out| show_dataset(&dataset, out))
}

async fn verify(
    client: &Client,
    id: &Id,
    file: &Path,
    publish: bool,
    user: Option<&Id>,
    out: &mut Output,
) -> Result<(), Failure> {
    let path = ["v1", "datasets", id.as_str()];
    let mut known = client.get(&path, &[]).await?;
    let (found, _) = hash(file, out)?;
    let is_match = known["sha256"] == found.as_str();
    let mut body = json!({ "sha256": found, "publish": publish });
    if let Some(user) = user {
        body["user_id"] = user.as_str().into();
    }
    if is_match || publish {
        known = post(client, &[&path[..], &["verify"]].concat(), &body, out).await?;
    }
    if !is_match {
        if let Value::Object(members) = &mut known {
            members.insert("verified".to_owned(), Value::Bool(false));
            members.insert("found".to_owned(), found.clone().into());
        }
        out.result(&known, |_| Ok(()))?;
        return Err(Failure::OtherDataset {
            file: file.to_owned(),
            dataset: clean(id.as_str()),
            found,
            registered: show(&known, "sha256"),
            published: publish,
        });
    }
    out.result(&known, |out| {
        out.line(format_args!("{} is the dataset {}", file.display(), clean(id.as_str())))?;
        show_dataset(&known, out)
    })
}

async fn list(client: &Client, args: &ListArgs, out: &mut Output) -> Result<(), Failure> {
    let asked = [
        ("min_quality", args.min_quality.map(|quality| quality.to_string())),
        ("license", args.license.as_ref().map(ToString::to_string)),
        ("genre", args.genre.as_ref().map(ToString::to_string)),
        ("tag", args.tag.as_ref().map(ToString::to_string)),
        ("creator", args.creator.as_ref().map(ToString::to_string)),
        ("station", args.station.map(|station| station.to_string())),
        ("verified", args.verified.then(|| "true".to_owned())),
    ];
    let query: Vec<(&str, &str)> = asked.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    let found = client.get_list(&["v1", "datasets"], &query, (args.limit.get(), PAGE), out.is_quiet()).await?;
    out.result(&Value::Array(found.clone()), |out| {
        if found.is_empty() {
            return out.line("no dataset is registered that was asked for");
        }
        let row = |dataset: &Value| {
            let fields = ["dataset_id", "name", "license", "quality_band", "verifications", "status"];
            let [id, name, license, band, verifications, status] = fields.map(|field| show(dataset, field));
            let quality = format!("{} {band}", show_score(dataset, "quality"));
            [
                id,
                name,
                license,
                quality,
                verifications,
                show_score(dataset, "rating"),
                show_score(dataset, "score"),
                status,
            ]
        };
        let head = ["ID", "NAME", "LICENCE", "QUALITY", "VERIFIED", "RATING", "SCORE", "STATUS"];
        out.table(head, found.iter().map(row))
    })
}

async fn post(client: &Client, path: &[&str], body: &Value, out: &Output) -> Result<Value, Failure> {
    Ok(explain_wait(client, out, None, client.post(path, Some(body))).await?.unwrap_or_default())
}

fn show_dataset(dataset: &Value, out: &mut Output) -> Result<(), Failure> {
    let tags: Vec<String> = items(&dataset["tags"]).iter().map(|tag| show(tag, "")).collect();
    let count = |name: &str, one: &str, many: &str| match show(dataset, name).as_str() {
        "1" => format!("1 {one}"),
        number => format!("{number} {many}"),
    };
    out.facts(&[
        ("dataset", show(dataset, "dataset_id")),
        ("name", show(dataset, "name")),
        ("license", show(dataset, "license")),
        ("quality", format!("{} ({})", show_score(dataset, "quality"), show(dataset, "quality_band"))),
        ("sha256", show(dataset, "sha256")),
        ("size", count("size", "byte", "bytes")),
        ("description", show(dataset, "description")),
        ("source", show(dataset, "source")),
        ("creator", show(dataset, "creator")),
        ("genre", show(dataset, "genre")),
        ("tags", tags.join(", ")),
        (
            "verified",
            format!(
                "{}, {} times; another file {} times",
                show(dataset, "verified"),
                show(dataset, "verifications"),
                show(dataset, "mismatches")
            ),
        ),
        ("rating", format!("{} of {}", show_score(dataset, "rating"), count("ratings", "rating", "ratings"))),
        ("trust", format!("{} ({})", show_score(dataset, "score"), show(dataset, "band"))),
        ("registered", format!("{} by {}", show(dataset, "created_at"), show(dataset, "station_id"))),
        ("record", format!("{} ({})", show(dataset, "record_id"), show(dataset, "status"))),
    ])
}

/// The SHA-256 of a file in hex, and its length.
fn hash(path: &Path, out: &Output) -> Result<(String, u64), Failure> {
    let unusable = |source| Failure::Input { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unusable)?;
    let length = file.metadata().map_err(unusable)?.len();
    let mut progress = Progress::start("hashing", " MiB", out);
    let show = |read: u64| {
        progress.set(read / PIECE as u64, Some(length.max(read) / PIECE as u64));
        true
    };
    let (sha256, size) = sha256_of(&mut file, show).map_err(unusable)?.expect("nobody ends it");
    Ok((hex::encode(sha256), size))
}
