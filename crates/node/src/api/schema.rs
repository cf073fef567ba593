//! How the ledger's values look in JSON, for the OpenAPI document: patterns, lengths and ranges.

use std::borrow::Cow;

use qfzz_ledger_core::limits::{MAX_DATASET_TAGS, MAX_ID_BYTES, MAX_TEXT_BYTES};
use qfzz_ledger_core::testimony::Answer;
use qfzz_sync::global_trust::Policy;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::record::kinds;

/// Names a schema that stands in the document's components.
macro_rules! schemas {
    ($($(#[$doc:meta])* $name:ident => $schema:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    $schema.into()
                }
            }

            impl ToSchema for $name {
                fn name() -> Cow<'static, str> {
                    Cow::Borrowed(stringify!($name))
                }
            }
        )*

        /// All of them: what names one is collected with the routes, but not always the schema itself.
        pub(super) fn all() -> Vec<(String, RefOr<Schema>)> {
            vec![$((stringify!($name).to_owned(), $name::schema())),*]
        }
    };
}

const NO_CONTROLS: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

fn text(description: &str, pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).description(Some(description)).pattern(Some(pattern))
}

fn number(description: &str, low: f64, high: f64) -> ObjectBuilder {
    let number = ObjectBuilder::new().schema_type(Type::Number).description(Some(description));
    number.minimum(Some(low)).maximum(Some(high))
}

fn whole(description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).description(Some(description)).minimum(Some(0))
}

schemas! {
    /// A station's id.
    PeerId => text("A station's id: the peer id of its Ed25519 key", "^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$");
    /// A SHA-256 hash.
    Hash => text("A SHA-256 hash: 64 hex digits", "^[0-9a-f]{64}$");
    /// Bytes.
    Hex => text("Bytes as hex digits", "^([0-9a-f]{2})*$");
    /// A record's place.
    RecordId => text(
        "A record's place: station, batch and index in the batch",
        "^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}\\.[0-9]+\\.[0-9]+$",
    );
    /// A time.
    Time => text("A time of RFC 3339 in UTC, with milliseconds", "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}")
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    /// An id that a client gives.
    Id => text("1 to 128 bytes of UTF-8 without control characters", NO_CONTROLS)
        .min_length(Some(1)).max_length(Some(MAX_ID_BYTES));
    /// As an id, but may be empty.
    Target => text("At most 128 bytes of UTF-8 without control characters", NO_CONTROLS)
        .max_length(Some(MAX_ID_BYTES));
    /// Yes or no.
    Truth => ObjectBuilder::new().schema_type(Type::Boolean).description(Some("true or false"));
    /// Some words.
    Text => text("At most 1,024 bytes of UTF-8 without control characters", NO_CONTROLS)
        .max_length(Some(MAX_TEXT_BYTES));
    /// Words that tell what is in a dataset.
    Tags => ArrayBuilder::new().items(Ref::from_schema_name("Id")).max_items(Some(MAX_DATASET_TAGS))
        .description(Some("At most 16 words"));
    /// A licence.
    License => text("An SPDX expression of licences that the federation accepts; when sent also a short name such as CC-BY", NO_CONTROLS)
        .min_length(Some(1)).max_length(Some(MAX_ID_BYTES));
    /// How good a dataset is.
    QualityBand => ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["low", "medium", "high"]))
        .description(Some("low below 0.6, medium below 0.8, high from there"));
    /// How many datasets.
    DatasetLimit => whole("How many datasets").minimum(Some(1)).maximum(Some(100));
    /// How many duties.
    DutyLimit => whole("How many duties").minimum(Some(1)).maximum(Some(1_000));
    /// A place in the order in which duties end.
    DutyPlace => text("A place in the order in which duties end, as the header `Link` names it", "^[0-9]{1,19}\\.[0-9]{1,9}$");
    /// A name.
    Name => ObjectBuilder::new().schema_type(Type::String).max_length(Some(64))
        .description(Some("At most 64 bytes of UTF-8 without control characters"));
    /// A score.
    Score => number("0 to 1, with at most six decimals", 0.0, 1.0);
    /// An amount.
    Amount => ObjectBuilder::new().schema_type(Type::Number).description(Some("0 or more, with at most six decimals"))
        .minimum(Some(0));
    /// A change of a score.
    Delta => number("-1 to 1, with at most six decimals", -1.0, 1.0);
    /// A range of scores.
    Band => ObjectBuilder::new().schema_type(Type::String)
        .enum_values(Some(["untrusted", "low", "neutral", "high", "very_high"]))
        .description(Some("untrusted below 0.2, low below 0.4, neutral below 0.6, high below 0.8, very_high from there"));
    /// A height, a number in a log, or work.
    Whole => whole("A whole number");
    /// A difficulty.
    Difficulty => whole("Zero hex digits that every block's hash starts with").maximum(Some(8));
    /// Metadata.
    Metadata => ObjectBuilder::new().schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some("A JSON object of at most 8 levels, without duplicate keys, and 4 KiB"));
    /// What a question of global trust is about.
    SubjectKind => ObjectBuilder::new().schema_type(Type::String)
        .enum_values(Some(["user", "content", "creator", "dataset"]));
    /// A list of stations.
    Nodes => text(
        "Stations' ids, separated by commas",
        "^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}(,12D3KooW[1-9A-HJ-NP-Za-km-z]{44})*$",
    );
    /// What a check found.
    AnswerName => ObjectBuilder::new().schema_type(Type::String)
        .enum_values(Some([Answer::Agree, Answer::Contest].map(Answer::as_str)));
    /// How opinions are combined.
    PolicyName => ObjectBuilder::new().schema_type(Type::String).enum_values(Some(Policy::ALL.map(Policy::as_str)));
    /// Which block.
    BlockPlace => text("`latest`, an index, or the first digits of a hash", "^(latest|[0-9]{1,20}|[0-9a-f]{6,64})$");
    /// How many blocks.
    Limit => whole("How many blocks").minimum(Some(1)).maximum(Some(10_000));
    /// A block of a file that is imported.
    ImportedBlock => ObjectBuilder::new().schema_type(Type::Object)
        .additional_properties(Some(AdditionalProperties::FreeForm(true)))
        .description(Some("A block as `/v1/chain/export` shows it, or as the original program wrote it"));
    /// A batch of lines.
    Lines => ObjectBuilder::new().schema_type(Type::String).description(Some("JSON lines: one value a line"));
}

/// A dataset as it is registered: the fields of its record, and in whose name.
pub(super) struct SentDataset;

/// What somebody found of a dataset.
pub(super) struct SentFinding;

/// How somebody rates a dataset.
pub(super) struct SentRating;

/// The object that `POST` takes at a route of datasets.
macro_rules! sent {
    ($name:ident, $required:expr, $optional:expr) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                object_of(ObjectBuilder::new(), $required, $optional).into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed(stringify!($name))
            }
        }
    };
}

sent!(SentDataset, kinds::DATASET_REGISTERED.required, &[kinds::DATASET_REGISTERED.optional, &["user_id"]].concat());
sent!(SentFinding, &["sha256"], &["user_id", "publish"]);
sent!(SentRating, &["rating", "user_id"], &[]);

/// Adds fields to an object that has no others.
fn object_of(mut object: ObjectBuilder, required: &[&str], optional: &[&str]) -> ObjectBuilder {
    for field in required.iter().chain(optional) {
        object = object.property(*field, Ref::from_schema_name(schema_of(field)));
    }
    for field in required {
        object = object.required(*field);
    }
    object.additional_properties(Some(AdditionalProperties::FreeForm(false)))
}

/// A record as it is sent: one schema for each kind, with the fields that the reader of records takes.
pub(super) struct SentRecord;

impl PartialSchema for SentRecord {
    fn schema() -> RefOr<Schema> {
        let of = |kind: &kinds::Kind| {
            let name = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([kind.name]));
            object_of(ObjectBuilder::new().property("kind", name).required("kind"), kind.required, kind.optional)
        };
        let one_of = kinds::ALL.iter().fold(utoipa::openapi::OneOfBuilder::new(), |all, kind| all.item(of(kind)));
        one_of
            .description(Some("A record; `kind` tells them apart, and what may be left out is set by the node"))
            .into()
    }
}

impl ToSchema for SentRecord {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("SentRecord")
    }
}

/// The schema of a record's field.
fn schema_of(field: &str) -> &'static str {
    match field {
        "target" => "Target",
        "trust_delta" => "Delta",
        "timestamp" => "Time",
        "initial_score" => "Score",
        "metadata" => "Metadata",
        "quality" | "rating" => "Score",
        "sha256" => "Hash",
        "license" => "License",
        "size" => "Whole",
        "description" | "source" => "Text",
        "creator" | "genre" => "Target",
        "tags" => "Tags",
        "publish" => "Truth",
        "record_id" => "RecordId",
        "answer" => "AnswerName",
        _ => "Id",
    }
}
