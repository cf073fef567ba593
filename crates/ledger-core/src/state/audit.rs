//! Which records a draw takes, and who is to check them: steps 1 to 4 of global trust, section 5, from a draw and the
//! state after its block. The ledger draws with it, and anybody can do the same again.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::answers::{QUORUM, jury_answers};
use super::draw::Disputed;
use super::query::recorders;
use super::weights::{StationWeight, Weights};
use super::{Key, ReadError, RecordPlace, StateRead, Value, equivocation, station_id, station_state};
use crate::block::VerifiedBlock;
use crate::federation::Rules;
use crate::ids::{RecordHash, StationId};
use crate::record::{Record, Subject};
use crate::score::Score;

/// Auditable records that pay for one duty.
const DUTY_COST: u32 = 10;

/// Stations drawn for one record.
const JURORS: usize = 3;

/// Credit from which on a record may be drawn.
pub const DRAW_COST: u32 = DUTY_COST * JURORS as u32;

/// Credit that is kept, at most.
const MAX_CREDIT: u32 = 3_000;

/// Who weighs less than this, in millionths, is not drawn and disputes nothing, or sybils would seat themselves.
pub const JUROR_WEIGHT: u32 = 250_000;

/// Answers from which on a subject or claim is not audited again.
pub const MAX_ANSWERS: u32 = 8;

/// A record that may be drawn.
pub(super) struct Candidate {
    pub(super) rank: [u8; 32],
    pub(super) station: StationId,
    pub(super) record: Disputed,
}

/// One juror's draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// SHA-256(`qfzz/juror/1` | draw | record hash | number of the pick).
    pub digest: [u8; 32],
    /// The sum of the weights of those still able, in millionths.
    pub total: u64,
    /// The digest's first 16 bytes, big-endian, modulo that sum: whose interval it falls into is drawn.
    pub at: u64,
    /// Who is drawn, and no longer able.
    pub station: StationId,
}

/// What comes of a record in a draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is to be checked, by these in this order.
    Drawn(Vec<Pick>),
    /// The credit did not reach so far.
    CreditUsed,
    /// Its author weighs nothing, and one record of such a station was drawn by this block.
    Unproven,
    /// Its subject was drawn by this block already; for a user: this station's claim.
    SubjectDrawn,
    /// Its subject, or claim, has eight answers or more.
    Answered,
    /// Fewer than two stations are able to check it.
    TooFewJurors,
}

/// What comes of one candidate, and who was able to check it: empty where it did not come to that.
pub(super) struct Considered<'a> {
    pub(super) able: Vec<&'a StationWeight>,
    pub(super) fate: Fate,
}

/// What a record claims that a juror could check: its subject, and whether it speaks well of it.
pub(super) fn claim(read: &impl StateRead, record: &Record) -> Result<Option<(Subject, bool)>, ReadError> {
    let is_positive = match record {
        Record::UserAction(action) => match action.trust_delta.millionths() {
            0 => return Ok(None),
            delta => delta > 0,
        },
        Record::ContentVerified(_) => true,
        Record::ContentReported(_) => false,
        Record::DatasetVerified(verified) => {
            let key = Key::Subject(Subject::Dataset(verified.dataset_id.clone()), 0);
            match read.get(&key)? {
                Some(Value::Dataset(dataset)) => dataset.sha256 == verified.sha256,
                Some(_) => return Err(ReadError::Damaged { what: "a dataset's entry" }),
                None => false,
            }
        }
        Record::DatasetRated(rated) => rated.rating >= Score::HALF,
        Record::ContentAdded(_)
        | Record::DatasetRegistered(_)
        | Record::Testimony(_)
        | Record::BatchEquivocation(_)
        | Record::StationAdmitted(_)
        | Record::StationExpelled(_) => return Ok(None),
    };
    Ok(record.subject().map(|subject| (subject, is_positive)))
}

/// Whether a record is of a kind that a juror could check.
fn is_claim(record: &Record) -> bool {
    match record {
        Record::UserAction(action) => action.trust_delta.millionths() != 0,
        Record::ContentVerified(_)
        | Record::ContentReported(_)
        | Record::DatasetVerified(_)
        | Record::DatasetRated(_) => true,
        _ => false,
    }
}

/// The subjects of a block's auditable records.
pub(super) fn subjects_of(block: &VerifiedBlock) -> impl Iterator<Item = Subject> {
    let records = block.batches().iter().flat_map(|batch| batch.records());
    records.filter(|record| is_claim(record)).filter_map(Record::subject)
}

pub(super) fn may_judge(station: &StationWeight) -> bool {
    station.weight.millionths() >= JUROR_WEIGHT
}

fn digest(tag: &[u8], draw: &[u8; 32], record: &RecordHash, more: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [tag, draw, record.as_bytes(), more] {
        hasher.update(part);
    }
    hasher.finalize().into()
}

pub(super) fn rank(draw: &[u8; 32], record: &RecordHash) -> [u8; 32] {
    digest(b"qfzz/audit/1", draw, record, &[])
}

/// Draws up to three of `able`, each as likely as its weight says.
fn pick_jurors(draw: &[u8; 32], record: &RecordHash, mut able: Vec<&StationWeight>) -> Vec<Pick> {
    let mut picks = Vec::new();
    for k in 0..JURORS.min(able.len()) {
        let digest = digest(b"qfzz/juror/1", draw, record, &[k as u8]);
        let (first, _) = digest.split_first_chunk().expect("a hash has 32 bytes");
        let weight = |it: &&StationWeight| u64::from(it.weight.millionths());
        let total: u64 = able.iter().map(weight).sum();
        let at = (u128::from_be_bytes(*first) % u128::from(total)) as u64;
        let mut left = at;
        let found = able.iter().position(|it| match left.checked_sub(weight(it)) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        let station = able.remove(found.expect("it is below the sum")).station;
        picks.push(Pick { digest, total, at, station });
    }
    picks
}

/// How many auditable records the parent holds: those that claim something, by stations that have not equivocated.
pub(super) fn count_auditable(read: &impl StateRead, parent: Option<&VerifiedBlock>) -> Result<u32, ReadError> {
    let mut count = 0;
    for batch in parent.iter().flat_map(|parent| parent.batches()) {
        let claims = batch.records().iter().filter(|record| is_claim(record)).count() as u32;
        if claims > 0 && equivocation(read, &batch.station())?.is_none() {
            count += claims;
        }
    }
    Ok(count)
}

/// The credit that a draw begins with.
pub(super) fn credit_with(before: u32, auditable: u32) -> u32 {
    (before + auditable).min(MAX_CREDIT)
}

/// The records that may be drawn, in order: the lowest of those disputed, then the parent's by rank.
pub(super) fn order(
    rules: &Rules,
    read: &impl StateRead,
    draw: &[u8; 32],
    parent: Option<&VerifiedBlock>,
    disputed: Vec<Disputed>,
) -> Result<Vec<Candidate>, ReadError> {
    let mut order = Vec::new();
    for record in disputed {
        let station = station_id(read, record.place.station)?;
        if equivocation(read, &station)?.is_none() {
            order.push(Candidate { rank: rank(draw, &record.hash), station, record });
        }
    }
    order.sort_unstable_by_key(|it| it.rank);
    order.truncate(1);
    let first = order.len();
    for batch in parent.iter().flat_map(|parent| parent.batches()) {
        let station = batch.station();
        if !batch.records().iter().any(is_claim) || equivocation(read, &station)?.is_some() {
            continue;
        }
        let number = station_state(read, &station)?.ok_or(ReadError::Damaged { what: "a station's entry" })?;
        for ((index, record), hash) in (0..).zip(batch.records()).zip(batch.record_hashes(rules)) {
            let Some((subject, is_positive)) = claim(read, record)? else { continue };
            let place = RecordPlace { station: number.number, sequence: batch.sequence(), index };
            let record = Disputed { place, hash, subject, is_positive };
            order.push(Candidate { rank: rank(draw, &hash), station, record });
        }
    }
    order[first..].sort_unstable_by_key(|it| it.rank);
    Ok(order)
}

/// A draw under way.
pub(super) struct Drawing<'a> {
    draw: [u8; 32],
    weights: &'a Weights,
    jurors: Vec<&'a StationWeight>,
    credit: u32,
    taken: HashSet<(Option<u32>, Subject)>,
    has_unproven: bool,
}

impl<'a> Drawing<'a> {
    pub(super) fn new(draw: [u8; 32], weights: &'a Weights, credit: u32) -> Self {
        let jurors = weights.stations().iter().filter(|it| may_judge(it)).collect();
        Self { draw, weights, jurors, credit, taken: HashSet::new(), has_unproven: false }
    }

    /// The credit that is left.
    pub(super) const fn credit(&self) -> u32 {
        self.credit
    }

    /// Stations that weigh enough to be drawn.
    pub(super) const fn jurors(&self) -> usize {
        self.jurors.len()
    }

    /// Whether another record may be drawn.
    pub(super) const fn is_open(&self) -> bool {
        self.credit >= DRAW_COST && self.jurors.len() >= QUORUM as usize
    }

    /// Draws for the next record of the order, or passes it over.
    pub(super) fn consider(
        &mut self,
        read: &impl StateRead,
        candidate: &Candidate,
    ) -> Result<Considered<'a>, ReadError> {
        let Candidate { station, record, .. } = candidate;
        let passed = |able, fate| Ok(Considered { able, fate });
        if self.credit < DRAW_COST {
            return passed(Vec::new(), Fate::CreditUsed);
        }
        let is_unproven = self.weights.of(station) == Score::ZERO;
        if is_unproven && self.has_unproven {
            return passed(Vec::new(), Fate::Unproven);
        }
        let claimant = matches!(record.subject, Subject::User(_)).then_some(record.place.station);
        let taken = (claimant, record.subject.clone());
        if self.taken.contains(&taken) {
            return passed(Vec::new(), Fate::SubjectDrawn);
        }
        let answers = jury_answers(read, &record.subject, claimant)?;
        if answers.count >= MAX_ANSWERS {
            return passed(Vec::new(), Fate::Answered);
        }
        let recorders = recorders(read, &record.subject, self.jurors.iter().filter_map(|it| it.number))?;
        let is_able = |juror: &&StationWeight| {
            let has_answered = |number| answers.given.iter().any(|given| given.juror == number);
            let is_free = |number| !has_answered(number) && !recorders.contains(&number);
            juror.station != *station && juror.number.is_none_or(is_free)
        };
        let able: Vec<&StationWeight> = self.jurors.iter().copied().filter(is_able).collect();
        if able.len() < QUORUM as usize {
            return passed(able, Fate::TooFewJurors);
        }
        let picks = pick_jurors(&self.draw, &record.hash, able.clone());
        self.credit -= DUTY_COST * picks.len() as u32;
        self.has_unproven |= is_unproven;
        self.taken.insert(taken);
        passed(able, Fate::Drawn(picks))
    }

    /// The records of `order` that are drawn, each with its jurors.
    pub(super) fn run(
        &mut self,
        read: &impl StateRead,
        order: Vec<Candidate>,
    ) -> Result<Vec<(Disputed, Vec<StationId>)>, ReadError> {
        let mut drawn = Vec::new();
        for candidate in order {
            if !self.is_open() {
                break;
            }
            if let Fate::Drawn(picks) = self.consider(read, &candidate)?.fate {
                drawn.push((candidate.record, picks.into_iter().map(|pick| pick.station).collect()));
            }
        }
        Ok(drawn)
    }
}
