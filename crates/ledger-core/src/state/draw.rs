//! Who is drawn to check which records, when a block is connected (global trust, section 5).

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use super::answers::{Duty, Juror, QUORUM, jury_answers};
use super::index::{block_of_batch, height_of};
use super::past::BlockRead;
use super::query::recorders;
use super::scratch::{DAMAGED, expect_value};
use super::weights::{StationWeight, Weights, weights};
use super::{Key, ReadError, RecordPlace, Scratch, StateRead, Value, equivocation, station_id};
use crate::block::VerifiedBlock;
use crate::codec::{Decode, Encode};
use crate::federation::Rules;
use crate::ids::{Height, RecordHash, StationId};
use crate::record::{Record, Subject};
use crate::score::Score;

/// Blocks in which a juror's answer counts, and in which a record may be disputed.
pub const DUTY_BLOCKS: u64 = 1_024;

/// Auditable records that pay for one duty.
const DUTY_COST: u32 = 10;

/// Stations drawn for one record.
const JURORS: usize = 3;

/// Credit that is kept, at most.
const MAX_CREDIT: u32 = 3_000;

/// Who weighs less than this, in millionths, is not drawn and disputes nothing, or sybils would seat themselves.
const JUROR_WEIGHT: u32 = 250_000;

/// Answers from which on a subject or claim is not audited again.
const MAX_ANSWERS: u32 = 8;

/// Disputes that one block can raise: each costs a look at a block of the last 1,024.
const MAX_DISPUTES: usize = 8;

/// What draws go on from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct JuryState {
    /// What auditable records have paid and draws have not used; at most 3,000.
    pub credit: u32,
    /// Counted answers on the branch.
    pub(super) answers: u64,
    /// Records that were disputed in the head, at most eight of up to 340 bytes: the next block may draw one of them.
    pub disputed: Vec<Disputed>,
}

/// A record that was disputed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Disputed {
    /// The record.
    pub place: RecordPlace,
    /// Its hash.
    pub hash: RecordHash,
    /// What it is about.
    pub subject: Subject,
    /// Whether it speaks well of it.
    pub is_positive: bool,
}

/// A record that was drawn, and who is to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The record.
    pub place: RecordPlace,
    /// Two or three stations, in the order in which they were drawn.
    pub jurors: Vec<StationId>,
}

/// What draws go on from, at the head that `read` stands for.
///
/// # Errors
/// [`ReadError`].
pub fn jury_state(read: &impl StateRead) -> Result<JuryState, ReadError> {
    match read.get(&Key::Jury)? {
        Some(Value::Jury(jury)) => Ok(*jury),
        Some(_) => Err(ReadError::Damaged { what: "the jury's state" }),
        None => Ok(JuryState::default()),
    }
}

/// A record that may be drawn.
struct Candidate {
    rank: [u8; 32],
    station: StationId,
    record: Disputed,
}

/// What a record claims that a juror could check: its subject, and whether it speaks well of it.
fn claim(read: &impl StateRead, record: &Record) -> Result<Option<(Subject, bool)>, ReadError> {
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

fn digest(tag: &[u8], draw: &[u8; 32], record: &RecordHash, more: &[u8]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in [tag, draw, record.as_bytes(), more] {
        hasher.update(part);
    }
    hasher.finalize().into()
}

fn rank(draw: &[u8; 32], record: &RecordHash) -> [u8; 32] {
    digest(b"qfzz/audit/1", draw, record, &[])
}

/// Draws up to three of `able`, each as likely as its weight says.
fn draw_jurors(draw: &[u8; 32], record: &RecordHash, mut able: Vec<&StationWeight>) -> Vec<StationId> {
    let mut drawn = Vec::new();
    for k in 0..JURORS.min(able.len()) {
        let seed = digest(b"qfzz/juror/1", draw, record, &[k as u8]);
        let (first, _) = seed.split_first_chunk().expect("a hash has 32 bytes");
        let total: u128 = able.iter().map(|it| u128::from(it.weight.millionths())).sum();
        let mut at = u128::from_be_bytes(*first) % total;
        let found = able.iter().position(|it| {
            let weight = u128::from(it.weight.millionths());
            let is_here = at < weight;
            if !is_here {
                at -= weight;
            }
            is_here
        });
        drawn.push(able.remove(found.expect("it is below the sum")).station);
    }
    drawn
}

impl<R: StateRead> Scratch<'_, R> {
    /// Raises the block's disputes, ends what is over, and draws among the parent's records. The block is applied, its
    /// sums are settled, and it is the head.
    pub(super) fn draw(
        &mut self,
        rules: &Rules,
        past: &impl BlockRead,
        block: &VerifiedBlock,
    ) -> Result<Vec<Audit>, ReadError> {
        let height = block.header().index;
        let disputed_before = self.jury()?.disputed;
        let undrawn = std::mem::take(&mut self.undrawn);
        let mut known = None;
        let disputes = match undrawn.is_empty() {
            true => Vec::new(),
            false => {
                let weights = known.insert(weights(rules, self)?);
                self.disputes(rules, past, block, weights, undrawn)?
            }
        };
        if disputes != disputed_before {
            self.jury_mut()?.disputed = disputes;
        }
        self.expire(height)?;
        let parent = match height.get() {
            0 | 1 => None,
            _ => Some(past.past_block(&block.header().previous)?),
        };
        let auditable = self.count_auditable(parent.as_ref())?;
        let credit = (self.jury()?.credit + auditable).min(MAX_CREDIT);
        let (mut left, mut audits) = (credit, Vec::new());
        if left >= DUTY_COST * JURORS as u32 && (auditable > 0 || !disputed_before.is_empty()) {
            let weights = match known {
                Some(weights) => weights,
                None => weights(rules, self)?,
            };
            let jurors: Vec<&StationWeight> = weights.stations().iter().filter(|it| may_judge(it)).collect();
            if jurors.len() >= QUORUM as usize {
                let draw = self.chain().draw;
                let order = self.order(rules, &draw, parent.as_ref(), disputed_before)?;
                audits = self.audits(&draw, order, &weights, &jurors, &mut left)?;
            }
        }
        if left != self.jury()?.credit {
            self.jury_mut()?.credit = left;
        }
        for (record, jurors) in &audits {
            self.open_duty(record, jurors, height)?;
        }
        Ok(audits.into_iter().map(|(record, jurors)| Audit { place: record.place, jurors }).collect())
    }

    /// How many auditable records the parent holds: those that claim something, by stations that have not equivocated.
    fn count_auditable(&mut self, parent: Option<&VerifiedBlock>) -> Result<u32, ReadError> {
        let mut count = 0;
        for batch in parent.iter().flat_map(|parent| parent.batches()) {
            let claims = batch.records().iter().filter(|record| is_claim(record)).count() as u32;
            if claims > 0 && self.slot(Key::Equivocation(batch.station()))?.is_none() {
                count += claims;
            }
        }
        Ok(count)
    }

    /// The records that may be drawn, in order: the lowest of those disputed, then the parent's by rank.
    fn order(
        &self,
        rules: &Rules,
        draw: &[u8; 32],
        parent: Option<&VerifiedBlock>,
        disputed: Vec<Disputed>,
    ) -> Result<Vec<Candidate>, ReadError> {
        let mut order = Vec::new();
        for record in disputed {
            let station = station_id(self, record.place.station)?;
            if equivocation(self, &station)?.is_none() {
                order.push(Candidate { rank: rank(draw, &record.hash), station, record });
            }
        }
        order.sort_unstable_by_key(|it| it.rank);
        order.truncate(1);
        let first = order.len();
        for batch in parent.iter().flat_map(|parent| parent.batches()) {
            let station = batch.station();
            if !batch.records().iter().any(is_claim) || equivocation(self, &station)?.is_some() {
                continue;
            }
            let number =
                super::station_state(self, &station)?.ok_or(ReadError::Damaged { what: "a station's entry" })?;
            for ((index, record), hash) in (0..).zip(batch.records()).zip(batch.record_hashes(rules)) {
                let Some((subject, is_positive)) = claim(self, record)? else { continue };
                let place = RecordPlace { station: number.number, sequence: batch.sequence(), index };
                let record = Disputed { place, hash, subject, is_positive };
                order.push(Candidate { rank: rank(draw, &hash), station, record });
            }
        }
        order[first..].sort_unstable_by_key(|it| it.rank);
        Ok(order)
    }

    fn audits(
        &self,
        draw: &[u8; 32],
        order: Vec<Candidate>,
        weights: &Weights,
        jurors: &[&StationWeight],
        credit: &mut u32,
    ) -> Result<Vec<(Disputed, Vec<StationId>)>, ReadError> {
        let (mut taken, mut audits, mut has_unproven) = (HashSet::new(), Vec::new(), false);
        for Candidate { station, record, .. } in order {
            if *credit < DUTY_COST * JURORS as u32 {
                break;
            }
            let is_unproven = weights.of(&station) == Score::ZERO;
            let claimant = matches!(record.subject, Subject::User(_)).then_some(record.place.station);
            if (is_unproven && has_unproven) || taken.contains(&(claimant, record.subject.clone())) {
                continue;
            }
            let answers = jury_answers(self, &record.subject, claimant)?;
            if answers.count >= MAX_ANSWERS {
                continue;
            }
            let recorders = recorders(self, &record.subject, jurors.iter().filter_map(|it| it.number))?;
            let is_able = |juror: &&StationWeight| {
                let has_answered = |number| answers.given.iter().any(|given| given.juror == number);
                let is_free = |number| !has_answered(number) && !recorders.contains(&number);
                juror.station != station && juror.number.is_none_or(is_free)
            };
            let able: Vec<&StationWeight> = jurors.iter().copied().filter(is_able).collect();
            if able.len() < QUORUM as usize {
                continue;
            }
            let drawn = draw_jurors(draw, &record.hash, able);
            *credit -= DUTY_COST * drawn.len() as u32;
            has_unproven |= is_unproven;
            taken.insert((claimant, record.subject.clone()));
            audits.push((record, drawn));
        }
        Ok(audits)
    }

    fn open_duty(&mut self, record: &Disputed, drawn: &[StationId], height: Height) -> Result<(), ReadError> {
        let until = after(height);
        let slot = self.slot(Key::Duty(record.place))?;
        let mut duty = expect_value!(slot.as_ref(), Value::Duty)?.unwrap_or_else(|| {
            let Disputed { hash, subject, is_positive, .. } = record.clone();
            Box::new(Duty { hash, subject, is_positive, jurors: Vec::new() })
        });
        for station in drawn {
            duty.jurors.retain(|juror| juror.station != *station);
            duty.jurors.push(Juror { station: *station, until, has_answered: false });
        }
        *slot = Some(Value::Duty(duty));
        self.expiring_mut(until)?.duties.push(record.place);
        Ok(())
    }

    /// The records that stations of weight dispute in this block: each once, and within 1,024 blocks. Eight are looked
    /// at.
    fn disputes(
        &mut self,
        rules: &Rules,
        past: &impl BlockRead,
        block: &VerifiedBlock,
        weights: &Weights,
        undrawn: Vec<(u32, RecordPlace, RecordHash)>,
    ) -> Result<Vec<Disputed>, ReadError> {
        let (mut disputes, mut looked_at) = (Vec::new(), HashSet::new());
        let until = after(block.header().index);
        for (author, place, hash) in undrawn {
            let (author, station) = (station_id(self, author)?, station_id(self, place.station)?);
            let is_heard = weights.get(&author).is_some_and(may_judge);
            if !is_heard || weights.get(&station).is_none() || looked_at.len() == MAX_DISPUTES {
                continue;
            }
            if looked_at.contains(&place) || self.slot(Key::Disputed(place))?.is_some() {
                continue;
            }
            let Some(state) = self.station(&station)?.filter(|state| place.sequence < state.next) else { continue };
            let Some(at) = block_of_batch(self, state.number, place.sequence)? else { continue };
            let height = height_of(rules, self, &at)?.ok_or(ReadError::Damaged { what: "the blocks of a log" })?;
            if after(height) < block.header().index {
                continue;
            }
            looked_at.insert(place);
            let body = if at == block.hash() { block.clone() } else { past.past_block(&at)? };
            let batch = body.batches().iter().find(|batch| batch.signed().place() == (station, place.sequence));
            let batch = batch.ok_or(ReadError::Damaged { what: "the blocks of a log" })?;
            let found = batch.record_hashes(rules).get(usize::from(place.index)).copied();
            let record = batch.records().get(usize::from(place.index)).filter(|_| found == Some(hash));
            let claim = record.map(|record| claim(self, record)).transpose()?.flatten();
            let Some((subject, is_positive)) = claim else { continue };
            *self.slot(Key::Disputed(place))? = Some(Value::Disputed(block.header().index));
            self.expiring_mut(until)?.disputes.push(place);
            disputes.push(Disputed { place, hash, subject, is_positive });
        }
        Ok(disputes)
    }
}

/// Whom a block with this draw would draw to check `records` (each with its author) in the state that `read` stands for,
/// after those that are `disputed`; and the credit that is left. A test's way to draw among records of no chain.
///
/// # Errors
/// [`ReadError`].
#[cfg(feature = "testing")]
pub fn draw_among(
    rules: &Rules,
    read: &impl StateRead,
    draw: &[u8; 32],
    mut credit: u32,
    disputed: Vec<(StationId, Disputed)>,
    records: Vec<(StationId, Disputed)>,
) -> Result<(Vec<Audit>, u32), ReadError> {
    let weights = weights(rules, read)?;
    let jurors: Vec<&StationWeight> = weights.stations().iter().filter(|it| may_judge(it)).collect();
    credit = (credit + records.len() as u32).min(MAX_CREDIT);
    let candidates = |of: Vec<(StationId, Disputed)>| {
        let ranked =
            of.into_iter().map(|(station, record)| Candidate { rank: rank(draw, &record.hash), station, record });
        let mut ranked: Vec<Candidate> = ranked.collect();
        ranked.sort_unstable_by_key(|it| it.rank);
        ranked
    };
    let order = candidates(disputed).into_iter().take(1).chain(candidates(records)).collect();
    let audits = Scratch::new(rules, read)?.audits(draw, order, &weights, &jurors, &mut credit)?;
    Ok((audits.into_iter().map(|(record, jurors)| Audit { place: record.place, jurors }).collect(), credit))
}

/// The entry that has a state ask `jurors` about a record until the end of time; and one that holds `credit`. A test's
/// way to what would take a long chain.
#[cfg(feature = "testing")]
pub fn asked(record: &Disputed, jurors: &[StationId]) -> (Key, Option<Value>) {
    let Disputed { place, hash, subject, is_positive } = record.clone();
    let until = Height::new(u64::MAX);
    let jurors = jurors.iter().map(|station| Juror { station: *station, until, has_answered: false }).collect();
    (Key::Duty(place), Some(Value::Duty(Box::new(Duty { hash, subject, is_positive, jurors }))))
}

/// See [`asked`].
#[cfg(feature = "testing")]
pub fn with_credit(credit: u32) -> (Key, Option<Value>) {
    (Key::Jury, Some(Value::Jury(Box::new(JuryState { credit, ..JuryState::default() }))))
}

fn may_judge(station: &StationWeight) -> bool {
    station.weight.millionths() >= JUROR_WEIGHT
}

/// 1,024 blocks after a height.
fn after(height: Height) -> Height {
    Height::new(height.get().saturating_add(DUTY_BLOCKS))
}
