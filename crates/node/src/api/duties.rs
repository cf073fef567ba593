//! Duties as they are shown, and as the operator's program is asked about them.

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{Height, RecordHash, RecordId, StationId};
use qfzz_ledger_core::record::Record;
use serde::Serialize;
use utoipa::ToSchema;

use super::block::Fields;
use super::dto::{Duty, ShownSubject, number, text};
use super::record::kinds;
use super::schema;

/// A record that this station was drawn to check.
#[derive(Serialize, ToSchema)]
#[schema(as = Duty)]
pub(super) struct ShownDuty<'a> {
    #[serde(flatten)]
    question: Question<'a>,
    /// Blocks from the head to the last one in which an answer counts.
    blocks_left: u64,
    /// Whether this station has answered.
    answered: bool,
    /// Whether its answer waits for a block.
    pending: bool,
    /// What answers it: `file`, `command` or `person`.
    by: &'static str,
    /// Why nothing has answered it without a person; null where that was not tried.
    silence: Option<&'a str>,
}

/// What is to be checked.
#[derive(Serialize, ToSchema)]
#[schema(as = Question)]
pub(super) struct Question<'a> {
    /// The record's place.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::RecordId)]
    record_id: RecordId,
    /// Its hash.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    hash: RecordHash,
    /// Who claims it.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// The record's kind.
    kind: &'static str,
    /// What it is about.
    subject: ShownSubject<'a>,
    /// Whether it speaks well of that: `positive` or `negative`.
    claim: &'static str,
    /// The record's fields.
    record: Option<Fields<'a>>,
    /// The height of the last block in which an answer counts.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Whole)]
    until: Height,
}

impl<'a> Question<'a> {
    fn new(duty: &'a Duty, rules: &Rules) -> Self {
        let record = duty.claim();
        Self {
            record_id: duty.record,
            hash: duty.hash,
            station_id: duty.record.station,
            kind: record.map_or("", kind_of),
            subject: ShownSubject::new(&duty.subject),
            claim: if duty.is_positive { "positive" } else { "negative" },
            record: record.map(|record| Fields::new(record, rules)),
            until: duty.until,
        }
    }
}

impl<'a> ShownDuty<'a> {
    pub(super) fn new(duty: &'a Duty, rules: &Rules) -> Self {
        Self {
            question: Question::new(duty, rules),
            blocks_left: duty.blocks_left,
            answered: duty.is_answered,
            pending: duty.is_pending,
            by: duty.by.as_str(),
            silence: duty.silence.as_deref(),
        }
    }
}

/// The kinds of records that a juror may be asked about.
const fn kind_of(record: &Record) -> &'static str {
    match record {
        Record::UserAction(_) => kinds::USER_ACTION.name,
        Record::ContentVerified(_) => kinds::CONTENT_VERIFIED.name,
        Record::ContentReported(_) => kinds::CONTENT_REPORTED.name,
        Record::DatasetVerified(_) => kinds::DATASET_VERIFIED.name,
        Record::DatasetRated(_) => kinds::DATASET_RATED.name,
        _ => "",
    }
}

/// What the operator's program is asked about a duty: one JSON object.
pub(crate) fn question(duty: &Duty, rules: &Rules) -> Vec<u8> {
    serde_json::to_vec(&Question::new(duty, rules)).expect("texts and numbers can be written as JSON")
}
