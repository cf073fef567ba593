//! Who is drawn to check which records, when a block is connected (global trust, section 5).

use std::collections::HashSet;

use super::answers::{Duty, Juror};
#[cfg(feature = "testing")]
use super::audit::{Candidate, rank};
use super::audit::{DRAW_COST, Drawing, claim, count_auditable, credit_with, may_judge, order};
use super::index::{block_of_batch, height_of};
use super::past::BlockRead;
use super::scratch::{DAMAGED, expect_value};
use super::weights::{Weights, weights};
use super::{Key, ReadError, RecordPlace, Scratch, StateRead, Value, station_id};
use crate::block::VerifiedBlock;
use crate::codec::{Decode, Encode};
use crate::federation::Rules;
use crate::ids::{Height, RecordHash, StationId};
use crate::record::Subject;

/// Blocks in which a juror's answer counts, and in which a record may be disputed.
pub const DUTY_BLOCKS: u64 = 1_024;

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
        let auditable = count_auditable(self, parent.as_ref())?;
        let (mut left, mut audits) = (credit_with(self.jury()?.credit, auditable), Vec::new());
        if left >= DRAW_COST && (auditable > 0 || !disputed_before.is_empty()) {
            let weights = match known {
                Some(weights) => weights,
                None => weights(rules, self)?,
            };
            let mut drawing = Drawing::new(self.chain().draw, &weights, left);
            if drawing.is_open() {
                let order = order(rules, self, &self.chain().draw, parent.as_ref(), disputed_before)?;
                audits = drawing.run(self, order)?;
            }
            left = drawing.credit();
        }
        if left != self.jury()?.credit {
            self.jury_mut()?.credit = left;
        }
        for (record, jurors) in &audits {
            self.open_duty(record, jurors, height)?;
        }
        Ok(audits.into_iter().map(|(record, jurors)| Audit { place: record.place, jurors }).collect())
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
    credit = credit_with(credit, records.len() as u32);
    let candidates = |of: Vec<(StationId, Disputed)>| {
        let ranked =
            of.into_iter().map(|(station, record)| Candidate { rank: rank(draw, &record.hash), station, record });
        let mut ranked: Vec<Candidate> = ranked.collect();
        ranked.sort_unstable_by_key(|it| it.rank);
        ranked
    };
    let order = candidates(disputed).into_iter().take(1).chain(candidates(records)).collect();
    let mut drawing = Drawing::new(*draw, &weights, credit);
    let audits = drawing.run(read, order)?;
    let audits = audits.into_iter().map(|(record, jurors)| Audit { place: record.place, jurors }).collect();
    Ok((audits, drawing.credit()))
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

/// 1,024 blocks after a height.
fn after(height: Height) -> Height {
    Height::new(height.get().saturating_add(DUTY_BLOCKS))
}
