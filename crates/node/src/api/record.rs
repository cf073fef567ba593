//! Records as they are sent: one strict reading for single records, bulk bodies and files.

mod dataset;

pub(super) use dataset::{parse_finding, parse_rating, parse_registration};

use std::collections::BTreeMap;
use std::str::FromStr;

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{Id, IdError, RecordId, Target};
use qfzz_ledger_core::record::{ContentAdded, ContentRef, Metadata, Record, UserAction};
use qfzz_ledger_core::score::{Delta, Score, ScoreError};
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::time::Timestamp;
use serde_json::value::RawValue;

use super::json::{MetadataError, ObjectError, canonical_object, members, plain_decimal};
use super::problem::{Code, Problem, quoted};

/// The action table of a federation: each action and its delta.
pub type Actions = BTreeMap<Id, Delta>;

/// The kinds of records that are taken, and their fields beside `kind`.
pub(super) mod kinds {
    /// A kind of record.
    pub(in crate::api) struct Kind {
        /// What `kind` says.
        pub(in crate::api) name: &'static str,
        /// Fields that must be there.
        pub(in crate::api) required: &'static [&'static str],
        /// Fields that are filled in where they are left out.
        pub(in crate::api) optional: &'static [&'static str],
    }

    pub(in crate::api) const USER_ACTION: Kind = Kind {
        name: "user_action",
        required: &["user_id", "action"],
        optional: &["target", "trust_delta", "timestamp"],
    };
    pub(in crate::api) const CONTENT_ADDED: Kind = Kind {
        name: "content_added",
        required: &["content_id", "creator_id"],
        optional: &["initial_score", "metadata"],
    };
    pub(in crate::api) const CONTENT_VERIFIED: Kind =
        Kind { name: "content_verified", required: &["content_id", "creator_id"], optional: &[] };
    pub(in crate::api) const CONTENT_REPORTED: Kind =
        Kind { name: "content_reported", required: &["content_id", "creator_id"], optional: &[] };

    pub(in crate::api) const DATASET_REGISTERED: Kind = Kind {
        name: "dataset_registered",
        required: &["dataset_id", "name", "license", "quality", "sha256"],
        optional: &["size", "description", "source", "creator", "genre", "tags"],
    };
    pub(in crate::api) const DATASET_VERIFIED: Kind =
        Kind { name: "dataset_verified", required: &["dataset_id", "sha256"], optional: &[] };
    pub(in crate::api) const DATASET_RATED: Kind =
        Kind { name: "dataset_rated", required: &["dataset_id", "rating"], optional: &[] };

    pub(in crate::api) const TESTIMONY: Kind =
        Kind { name: "testimony", required: &["record_id", "answer"], optional: &[] };

    /// All of them.
    pub(in crate::api) const ALL: [Kind; 8] = [
        USER_ACTION,
        CONTENT_ADDED,
        CONTENT_VERIFIED,
        CONTENT_REPORTED,
        DATASET_REGISTERED,
        DATASET_VERIFIED,
        DATASET_RATED,
        TESTIMONY,
    ];

    /// Their names, for a refusal.
    pub(in crate::api) fn names() -> String {
        ALL.map(|kind| kind.name).join(", ")
    }
}

use kinds::Kind;

/// Actions that a refusal lists, at most.
const LISTED_ACTIONS: usize = 20;

/// What is wrong with a record that was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct FieldError {
    /// The field, where the trouble is in one.
    pub field: Option<String>,
    /// The stable code.
    pub code: Code,
    /// A sentence that names the field and the remedy.
    pub detail: String,
}

impl FieldError {
    fn new(field: &str, code: Code, detail: impl Into<String>) -> Self {
        Self { field: Some(field.to_owned()), code, detail: detail.into() }
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self { field: error.field, ..Self::new(error.code, error.detail) }
    }
}

impl From<ObjectError> for FieldError {
    fn from(error: ObjectError) -> Self {
        Self::of_object(error, "{\"kind\":\"content_verified\",...}")
    }
}

impl FieldError {
    /// What is wrong with what was sent instead of an object such as `example`.
    pub(super) fn of_object(error: ObjectError, example: &str) -> Self {
        match error {
            ObjectError::NotJson { field: Some(field), reason } => {
                let name = quoted(&field);
                let remedy = match field.as_str() {
                    "initial_score" | "trust_delta" | "quality" | "rating" => "send a number such as 0.5",
                    "size" => "send a whole number",
                    "tags" => "send a list such as [\"live\"]",
                    "metadata" => "send an object such as {\"tags\":[]}",
                    _ => "send a text in double quotes",
                };
                let detail = format!("the value of {name} is not JSON ({reason}): {remedy}");
                Self { field: Some(field), code: Code::NotJson, detail }
            }
            ObjectError::NotJson { field: None, reason } => {
                let detail = format!("this is not JSON ({reason}): send one object such as {example}");
                Self { field: None, code: Code::NotJson, detail }
            }
            ObjectError::NotAnObject => {
                let detail = format!("this is JSON, but not an object: send one in braces, such as {example}");
                Self { field: None, code: Code::NotAnObject, detail }
            }
            ObjectError::Duplicate { field } => {
                let detail = format!("the field {} is there twice: send it once", quoted(&field));
                Self { field: Some(field), code: Code::DuplicateField, detail }
            }
        }
    }
}

/// A record as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    Whole(Record),
    /// A testimony, which lacks the hash of the record that it is about.
    Testimony {
        /// The record's place.
        record: RecordId,
        /// What the check found.
        answer: Answer,
    },
}

/// Reads one record from JSON; what may be left out is filled in.
///
/// `trust_delta` defaults to the action's, `timestamp` to `now`, `target` to the empty text, `initial_score` to 0.5,
/// `metadata` to the empty object, a dataset's texts to the empty text, its `size` to 0, its `tags` to none. A licence may
/// be a short name; it is written as SPDX does.
///
/// # Errors
/// [`FieldError`], the first that applies: JSON, kind, fields that don't exist, then the fields in the order of
/// the contract. What the node itself sets (`record_id`, `hash`, `station_id`, ...) does not exist here.
pub fn parse_record(text: &str, rules: &Rules, now: Timestamp) -> Result<Sent, FieldError> {
    let fields = Fields::read(text)?;
    let kind = fields.text("kind")?;
    let record = match kind.as_str() {
        "user_action" => {
            fields.only(&kinds::USER_ACTION)?;
            let (user_id, action) = (fields.id("user_id")?, fields.id("action")?);
            let target = fields.optional_text("target")?.unwrap_or_default();
            let target = Target::new(target).map_err(|error| bad_id("target", &error))?;
            let given = fields.decimal::<Delta>("trust_delta")?;
            let timestamp = fields.timestamp("timestamp")?.unwrap_or(now);
            let trust_delta = delta_of(&action, given, rules.actions())?;
            Record::UserAction(UserAction { user_id, action, target, trust_delta, timestamp })
        }
        "content_added" => {
            fields.only(&kinds::CONTENT_ADDED)?;
            let (content_id, creator_id) = (fields.id("content_id")?, fields.id("creator_id")?);
            let initial_score = fields.decimal::<Score>("initial_score")?.unwrap_or(Score::HALF);
            let metadata = fields.metadata("metadata")?;
            Record::ContentAdded(ContentAdded { content_id, creator_id, initial_score, metadata })
        }
        "content_verified" => Record::ContentVerified(fields.content(&kinds::CONTENT_VERIFIED)?),
        "content_reported" => Record::ContentReported(fields.content(&kinds::CONTENT_REPORTED)?),
        "dataset_registered" => {
            fields.only(&kinds::DATASET_REGISTERED)?;
            Record::DatasetRegistered(Box::new(fields.registration(rules)?))
        }
        "dataset_verified" => {
            fields.only(&kinds::DATASET_VERIFIED)?;
            Record::DatasetVerified(fields.verification()?)
        }
        "dataset_rated" => {
            fields.only(&kinds::DATASET_RATED)?;
            Record::DatasetRated(fields.rating()?)
        }
        "testimony" => {
            fields.only(&kinds::TESTIMONY)?;
            return Ok(Sent::Testimony { record: fields.record_id()?, answer: fields.answer()? });
        }
        "batch_equivocation" => {
            let detail = "the kind `batch_equivocation` is written by the node itself when it meets two signed batches of one place: there is nothing to send";
            return Err(FieldError::new("kind", Code::KindOfTheNode, detail));
        }
        "station_admitted" | "station_expelled" => {
            let detail = format!(
                "the kind `{kind}` is a founder's word: use `qfzz station admit` or `qfzz station expel`, or POST to /v1/stations/{{id}}/admit or /expel"
            );
            return Err(FieldError::new("kind", Code::KindOfTheNode, detail));
        }
        other => {
            let detail = format!("the kind {} is unknown: send one of {}", quoted(other), kinds::names());
            return Err(FieldError::new("kind", Code::UnknownKind, detail));
        }
    };
    Ok(Sent::Whole(record))
}

/// Reads a testimony from JSON: the record's place, and what the check found.
///
/// # Errors
/// [`FieldError`].
pub(in crate::api) fn parse_testimony(text: &str) -> Result<(RecordId, Answer), FieldError> {
    let fields = Fields::read(text)?;
    fields.among(&[kinds::TESTIMONY.required, kinds::TESTIMONY.optional].concat())?;
    Ok((fields.record_id()?, fields.answer()?))
}

/// The delta of `action`, which `given` must be if it was given.
fn delta_of(action: &Id, given: Option<Delta>, actions: &Actions) -> Result<Delta, FieldError> {
    let Some(&expected) = actions.get(action) else {
        let known: Vec<_> = actions.keys().take(LISTED_ACTIONS).map(Id::as_str).collect();
        let more = if actions.len() > LISTED_ACTIONS { ", ..." } else { "" };
        let remedy = match nearest_action(action, actions) {
            Some(meant) => format!("did you mean `{meant}`? There are"),
            None => "use one of".to_owned(),
        };
        let detail = format!(
            "`action` {} is not in the federation's table: {remedy} {}{more}",
            quoted(action.as_str()),
            known.join(", ")
        );
        return Err(FieldError::new("action", Code::UnknownAction, detail));
    };
    match given {
        Some(given) if given != expected => {
            let detail = format!(
                "`trust_delta` is {given}, but the federation's delta of {} is {expected}: send that, or leave it out",
                quoted(action.as_str())
            );
            Err(FieldError::new("trust_delta", Code::WrongDelta, detail))
        }
        _ => Ok(expected),
    }
}

/// The action that was probably meant: at most one typing error in three characters.
fn nearest_action<'a>(action: &Id, actions: &'a Actions) -> Option<&'a Id> {
    /// Bytes of an action that is compared, at most: the cost grows with the square, and may come with every line.
    const MAX_COMPARED: usize = 32;
    let is_short = |action: &Id| action.as_str().len() <= MAX_COMPARED;
    if !is_short(action) {
        return None;
    }
    let errors = |known: &&Id| strsim::damerau_levenshtein(action.as_str(), known.as_str());
    let nearest = actions.keys().take(LISTED_ACTIONS).filter(|known| is_short(known)).min_by_key(errors)?;
    (errors(&nearest) * 3 <= nearest.as_str().len()).then_some(nearest)
}

fn bad_id(field: &str, error: &IdError) -> FieldError {
    FieldError::new(field, Code::BadId, format!("`{field}` {error}"))
}

/// The fields of one JSON object.
struct Fields<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    fn read(text: &'a str) -> Result<Self, FieldError> {
        Ok(Self(members(text)?))
    }

    /// Refuses every field that is not one of the kind's.
    fn only(&self, kind: &Kind) -> Result<(), FieldError> {
        self.among(&[&["kind"], kind.required, kind.optional].concat())
    }

    /// Refuses every field that is not among those `known`.
    fn among(&self, known: &[&str]) -> Result<(), FieldError> {
        match self.0.keys().find(|field| !known.contains(&field.as_str())) {
            None => Ok(()),
            Some(field) => {
                let detail = format!(
                    "the field {} does not exist here: remove it; those that do are {}",
                    quoted(field),
                    known.join(", ")
                );
                Err(FieldError::new(field, Code::UnknownField, detail))
            }
        }
    }

    fn optional_text(&self, field: &str) -> Result<Option<String>, FieldError> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        if !value.get().starts_with('"') {
            return Err(FieldError::new(field, Code::WrongType, format!("`{field}` must be a text in double quotes")));
        }
        serde_json::from_str(value.get()).map(Some).map_err(|error| {
            FieldError::new(
                field,
                Code::NotJson,
                format!("`{field}` is not Unicode text ({error}): correct its escapes"),
            )
        })
    }

    fn text(&self, field: &str) -> Result<String, FieldError> {
        self.optional_text(field)?
            .ok_or_else(|| FieldError::new(field, Code::MissingField, format!("`{field}` is missing: add it")))
    }

    fn id(&self, field: &str) -> Result<Id, FieldError> {
        Id::new(self.text(field)?).map_err(|error| bad_id(field, &error))
    }

    fn record_id(&self) -> Result<RecordId, FieldError> {
        self.text("record_id")?.parse().map_err(|error| bad_id("record_id", &error))
    }

    fn answer(&self) -> Result<Answer, FieldError> {
        let wrong = |error| FieldError::new("answer", Code::UnknownAnswer, format!("`answer` {error}"));
        self.text("answer")?.parse().map_err(wrong)
    }

    fn content(&self, kind: &Kind) -> Result<ContentRef, FieldError> {
        self.only(kind)?;
        Ok(ContentRef { content_id: self.id("content_id")?, creator_id: self.id("creator_id")? })
    }

    /// A score or delta, read from its digits.
    fn decimal<T: FromStr<Err = ScoreError>>(&self, field: &str) -> Result<Option<T>, FieldError> {
        let Some(value) = self.0.get(field) else { return Ok(None) };
        let text = value.get();
        if !text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
            let detail = format!("`{field}` must be a number such as 0.5, without quotes");
            return Err(FieldError::new(field, Code::NotANumber, detail));
        }
        let Some(plain) = plain_decimal(text) else {
            let detail =
                format!("`{field}` has an exponent that no such number needs: write it as a decimal such as 0.5");
            return Err(FieldError::new(field, Code::OutOfRange, detail));
        };
        plain.parse().map(Some).map_err(|error| {
            let code = match error {
                ScoreError::OutOfRange { .. } => Code::OutOfRange,
                ScoreError::TooPrecise => Code::TooPrecise,
                ScoreError::NotANumber => Code::NotANumber,
            };
            FieldError::new(field, code, format!("`{field}` {error}"))
        })
    }

    fn timestamp(&self, field: &str) -> Result<Option<Timestamp>, FieldError> {
        self.optional_text(field)?
            .map(|text| text.parse())
            .transpose()
            .map_err(|error| FieldError::new(field, Code::BadTimestamp, format!("`{field}` {error}")))
    }

    fn metadata(&self, field: &str) -> Result<Metadata, FieldError> {
        let Some(value) = self.0.get(field) else { return Ok(Metadata::empty()) };
        let refused = |reason: String| FieldError::new(field, Code::BadMetadata, format!("`{field}` {reason}"));
        let canonical = canonical_object(value.get()).map_err(|error| {
            refused(match error {
                MetadataError::Object(ObjectError::NotAnObject) => {
                    "must be a JSON object, such as {\"tags\":[]}".to_owned()
                }
                MetadataError::Object(ObjectError::Duplicate { field }) => {
                    format!("has the key {} twice in one object: send it once", quoted(&field))
                }
                MetadataError::Object(ObjectError::NotJson { reason, .. }) => {
                    format!("is not JSON ({reason}): correct it")
                }
                MetadataError::TooDeep => "has more than 8 levels of objects and arrays: make it flatter".to_owned(),
                MetadataError::NotUnicode => "holds a text that is not Unicode: correct its escapes".to_owned(),
            })
        })?;
        Metadata::new(canonical).map_err(|error| refused(format!("{error} once white space is removed: shorten it")))
    }
}
