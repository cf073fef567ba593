//! What a station is asked to check, and the draws that asked it.

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::ids::{BlockHash, ContentHash, FederationId, Height, RecordHash, RecordId, StationId};
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::state::{DRAW_COST, EndingPlace, Explanation, Fate, JUROR_WEIGHT, Pick, StationWeight, Step};
use serde::Serialize;
use utoipa::ToSchema;

use super::{number, number_or_null, text};
use crate::api::schema;

/// What answers a duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnsweredBy {
    /// A file in `verify.folders` that holds the registered bytes.
    File,
    /// The program of `verify.command`.
    Command,
    /// Somebody at this station.
    Person,
}

impl AnsweredBy {
    /// Its name in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Command => "command",
            Self::Person => "person",
        }
    }
}

/// A record that this station was drawn to check.
#[derive(Clone, Debug)]
pub struct Duty {
    /// The batch that holds it.
    pub batch: VerifiedBatch,
    /// Its place, in that batch.
    pub record: RecordId,
    /// Its hash.
    pub hash: RecordHash,
    /// What it is about.
    pub subject: Subject,
    /// Whether it speaks well of it.
    pub is_positive: bool,
    /// The height of the last block in which an answer counts.
    pub until: Height,
    /// Blocks from the head to that one.
    pub blocks_left: u64,
    /// Whether this station has answered, be it in a record that waits for a block.
    pub is_answered: bool,
    /// Whether that answer waits for a block.
    pub is_pending: bool,
    /// The registered SHA-256, where a file with it can answer.
    pub registered: Option<ContentHash>,
    /// What answers it.
    pub by: AnsweredBy,
    /// Why nothing has answered it without a person, where that was tried.
    pub silence: Option<String>,
}

/// A part of the duties.
#[derive(Clone, Debug)]
pub struct DutyPage {
    /// Those that were asked for, the first to end first.
    pub duties: Vec<Duty>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<EndingPlace>,
}

impl Duty {
    /// The record.
    pub fn claim(&self) -> Option<&Record> {
        self.batch.records().get(usize::from(self.record.index))
    }
}

/// The draws that may have been about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draws {
    /// The record.
    pub record: RecordId,
    /// The height of its block; `None` while it waits for one.
    pub block: Option<Height>,
    /// The draws, by height.
    pub draws: Vec<Draw>,
    /// Heights of blocks whose draw cannot be made again here: what the blocks above them changed is not kept any more.
    pub out_of_reach: Vec<Height>,
    /// The height of the block that will draw about it.
    pub next: Option<Height>,
}

impl Draws {
    /// None yet.
    pub const fn none_of(record: RecordId) -> Self {
        Self { record, block: None, draws: Vec::new(), out_of_reach: Vec::new(), next: None }
    }
}

/// A block's draw, as far as it is about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The block that draws.
    pub block: BlockHash,
    /// The block below it, among whose records it draws.
    pub previous: BlockHash,
    /// What its producer revealed.
    pub reveal: [u8; 32],
    /// The draw, made again.
    pub explanation: Explanation,
}

/// A user, content, creator or dataset.
#[derive(Serialize, ToSchema)]
#[schema(as = Subject)]
pub(in crate::api) struct ShownSubject<'a> {
    /// `user`, `content`, `creator` or `dataset`.
    kind: &'static str,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    /// The content.
    #[serde(skip_serializing_if = "Option::is_none")]
    content_id: Option<&'a str>,
    /// The creator, or the content's.
    #[serde(skip_serializing_if = "Option::is_none")]
    creator_id: Option<&'a str>,
    /// The dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_id: Option<&'a str>,
}

impl<'a> ShownSubject<'a> {
    pub(in crate::api) fn new(subject: &'a Subject) -> Self {
        let none = Self { kind: "", user_id: None, content_id: None, creator_id: None, dataset_id: None };
        match subject {
            Subject::User(user) => Self { kind: "user", user_id: Some(user.as_str()), ..none },
            Subject::Content { creator_id, content_id } => Self {
                kind: "content",
                content_id: Some(content_id.as_str()),
                creator_id: Some(creator_id.as_str()),
                ..none
            },
            Subject::Creator(creator) => Self { kind: "creator", creator_id: Some(creator.as_str()), ..none },
            Subject::Dataset(dataset) => Self { kind: "dataset", dataset_id: Some(dataset.as_str()), ..none },
        }
    }
}

/// The draws that may have been about a record: all that is needed to make them again.
#[derive(Serialize, ToSchema)]
#[schema(as = Draws)]
pub(in crate::api) struct ShownDraws {
    /// The record.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::RecordId)]
    record_id: RecordId,
    /// The height of its block; null while it waits for one.
    #[serde(serialize_with = "number_or_null")]
    #[schema(value_type = Option<schema::Whole>)]
    block: Option<Height>,
    /// The federation, which is part of what a draw is made of.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    federation_id: FederationId,
    /// The draws, by height: of the block after its own, and of the one after a dispute.
    draws: Vec<ShownDraw>,
    /// Heights of blocks whose draw cannot be made again here: a station keeps what it needs for about 1,000 blocks.
    #[schema(value_type = Vec<schema::Whole>)]
    out_of_reach: Vec<u64>,
    /// The height of the block that will draw about it; null where none will by itself.
    #[serde(serialize_with = "number_or_null")]
    #[schema(value_type = Option<schema::Whole>)]
    next: Option<Height>,
}

/// A block's draw, as far as it is about one record. Weights and credit are whole numbers, weights in millionths.
#[derive(Serialize, ToSchema)]
#[schema(as = Draw)]
struct ShownDraw {
    /// The height of the block that draws.
    #[serde(serialize_with = "number")]
    #[schema(value_type = schema::Whole)]
    height: Height,
    /// Its hash.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    block: BlockHash,
    /// The block below, among whose records it draws.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    previous_block: BlockHash,
    /// The draw of that block.
    #[schema(value_type = schema::Hash)]
    previous_draw: String,
    /// What the block's producer revealed.
    #[schema(value_type = schema::Hash)]
    reveal: String,
    /// The tagged hash `qfzz/draw/1` of the two, in the federation: the seed of all that follows.
    #[schema(value_type = schema::Hash)]
    draw: String,
    /// The credit that the block below left.
    credit_before: u32,
    /// The records of the block below that can be checked, each worth 1.
    auditable: u32,
    /// The credit below which nothing more is drawn; each juror costs a third of it.
    credit_needed: u32,
    /// What a juror weighs at least.
    juror_weight: u32,
    /// Stations that weigh so much.
    jurors: u64,
    /// Records that may be drawn.
    candidates: u64,
    /// The record's turn among them, from 0; null where this block could not draw it.
    turn: Option<u64>,
    /// The record in its turn; null where it has none.
    record: Option<ShownStep>,
    /// Those whose turn came before, the first 256.
    earlier: Vec<ShownStep>,
}

/// A record in its turn.
#[derive(Serialize, ToSchema)]
#[schema(as = DrawnRecord)]
struct ShownStep {
    /// Its place.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::RecordId)]
    record_id: RecordId,
    /// Its hash.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::Hash)]
    hash: RecordHash,
    /// SHA-256 of `qfzz/audit/1`, the draw and that hash: lower ones come first.
    #[schema(value_type = schema::Hash)]
    rank: String,
    /// The credit in its turn.
    credit: u32,
    /// `drawn`, `credit_used`, `unproven`, `subject_drawn`, `answered` or `too_few_jurors`.
    outcome: &'static str,
    /// Who was able to check it, in order; only of the record that is asked about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    able: Vec<ShownAble>,
    /// Who was drawn, in order.
    picks: Vec<ShownPick>,
}

/// A station that is able to check a record.
#[derive(Serialize, ToSchema)]
#[schema(as = AbleJuror)]
struct ShownAble {
    /// The station.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
    /// Its weight in millionths: the length of its interval.
    weight: u32,
}

/// One juror's draw.
#[derive(Serialize, ToSchema)]
#[schema(as = JurorPick)]
struct ShownPick {
    /// SHA-256 of `qfzz/juror/1`, the draw, the record's hash and the number of this pick, from 0, in one byte.
    #[schema(value_type = schema::Hash)]
    digest: String,
    /// The weights of those still able, together.
    sum: u64,
    /// The first 16 bytes of the digest, big-endian, modulo that sum.
    at: u64,
    /// In whose interval that is.
    #[serde(serialize_with = "text")]
    #[schema(value_type = schema::PeerId)]
    station_id: StationId,
}

impl ShownDraws {
    pub(in crate::api) fn new(draws: &Draws, federation: FederationId) -> Self {
        Self {
            record_id: draws.record,
            block: draws.block,
            federation_id: federation,
            draws: draws.draws.iter().map(ShownDraw::new).collect(),
            out_of_reach: draws.out_of_reach.iter().map(|height| height.get()).collect(),
            next: draws.next,
        }
    }
}

impl ShownDraw {
    fn new(draw: &Draw) -> Self {
        let it = &draw.explanation;
        Self {
            height: it.height,
            block: draw.block,
            previous_block: draw.previous,
            previous_draw: hex::encode(it.previous_draw),
            reveal: hex::encode(draw.reveal),
            draw: hex::encode(it.draw),
            credit_before: it.credit_before,
            auditable: it.auditable,
            credit_needed: DRAW_COST,
            juror_weight: JUROR_WEIGHT,
            jurors: it.jurors,
            candidates: it.candidates,
            turn: it.turn,
            record: it.step.as_ref().map(ShownStep::new),
            earlier: it.earlier.iter().map(ShownStep::new).collect(),
        }
    }
}

impl ShownStep {
    fn new(step: &Step) -> Self {
        let (place, able) = (step.record.place, |it: &StationWeight| ShownAble {
            station_id: it.station,
            weight: it.weight.millionths(),
        });
        let pick =
            |it: &Pick| ShownPick { digest: hex::encode(it.digest), sum: it.total, at: it.at, station_id: it.station };
        let (outcome, picks) = match &step.fate {
            Fate::Drawn(picks) => ("drawn", picks.iter().map(pick).collect()),
            Fate::CreditUsed => ("credit_used", Vec::new()),
            Fate::Unproven => ("unproven", Vec::new()),
            Fate::SubjectDrawn => ("subject_drawn", Vec::new()),
            Fate::Answered => ("answered", Vec::new()),
            Fate::TooFewJurors => ("too_few_jurors", Vec::new()),
        };
        Self {
            record_id: RecordId { station: step.station, sequence: place.sequence, index: place.index },
            hash: step.record.hash,
            rank: hex::encode(step.rank),
            credit: step.credit,
            outcome,
            able: step.able.iter().map(able).collect(),
            picks,
        }
    }
}
