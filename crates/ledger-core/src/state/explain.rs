//! A draw made again: the state after its block, which later blocks changed, and what the draw does there.

use std::collections::BTreeSet;

use super::audit::{Drawing, Fate, count_auditable, credit_with, order, subjects_of};
use super::draw::{Disputed, JuryState, jury_state};
use super::weights::{StationWeight, weights};
use super::{ChainState, Key, ReadError, RecordPlace, StateRead, Undo, Value, Writes, chain_state};
use crate::block::VerifiedBlock;
use crate::federation::Rules;
use crate::ids::{Height, StationId};
use crate::record::Subject;

/// Records of the order before the one that is asked about that an explanation lists, at most.
pub const MAX_EARLIER: usize = 256;

/// The state as it was after an earlier block, as far as its draw reads it: what the blocks above changed, taken back.
#[derive(Debug)]
pub struct Rewound {
    /// Whose values matter: of these the draw reads opinions and answers.
    subjects: BTreeSet<Subject>,
    kept: Writes,
}

impl Rewound {
    /// For the draw of the block whose undo data is `undo`, among the records of its `parent`.
    pub fn new(undo: &Undo, parent: Option<&VerifiedBlock>) -> Self {
        let disputed = match undo.get(&Key::Jury) {
            Some(Some(Value::Jury(jury))) => jury.disputed.iter().map(|it| it.subject.clone()).collect(),
            _ => Vec::new(),
        };
        let subjects = parent.into_iter().flat_map(subjects_of).chain(disputed).collect();
        Self { subjects, kept: Writes::new() }
    }

    /// Takes back the next block above it, by its undo data: one after the other, the lowest first.
    pub fn take_back(&mut self, undo: Undo) {
        for (key, value) in undo {
            if self.matters(&key) {
                // What was there before a lower block changed it is older.
                self.kept.entry(key).or_insert(value);
            }
        }
    }

    /// The state after that block, given the one at the head whose blocks were all taken back.
    pub const fn over<'a, R: StateRead>(&'a self, head: &'a R) -> Then<'a, R> {
        Then { rewound: self, head }
    }

    fn matters(&self, key: &Key) -> bool {
        match key {
            Key::Subject(subject, _) | Key::Answers(subject, ..) => self.subjects.contains(subject),
            Key::Chain
            | Key::Station(_)
            | Key::StationNumber(_)
            | Key::Equivocation(_)
            | Key::Equivocators
            | Key::Admission(_)
            | Key::RosterPlace(_)
            | Key::RosterLen
            | Key::Sums(_)
            | Key::Jury => true,
            Key::Datasets
            | Key::DatasetNumber(_)
            | Key::BlockHeight(_)
            | Key::LogBlocks(..)
            | Key::AnswersBy(..)
            | Key::Duty(_)
            | Key::Expiring(_)
            | Key::Disputed(_)
            | Key::MlDsaKey(_)
            | Key::AdmittedKey(_) => false,
        }
    }
}

/// An earlier state: see [`Rewound::over`].
#[derive(Clone, Copy, Debug)]
pub struct Then<'a, R> {
    rewound: &'a Rewound,
    head: &'a R,
}

impl<R: StateRead> StateRead for Then<'_, R> {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        match self.rewound.kept.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.head.get(key),
        }
    }
}

/// One record of a draw, in its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its author.
    pub station: StationId,
    /// The record.
    pub record: Disputed,
    /// SHA-256(`qfzz/audit/1` | draw | record hash), by which records come in order.
    pub rank: [u8; 32],
    /// The credit when its turn came.
    pub credit: u32,
    /// Who was able to check it, in the order of their ids' bytes; empty where it did not come to that.
    pub able: Vec<StationWeight>,
    /// What came of it.
    pub fate: Fate,
}

/// A draw, as far as it is about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The height of the block that draws.
    pub height: Height,
    /// The draw of the block before.
    pub previous_draw: [u8; 32],
    /// Its draw, which follows from that and its reveal.
    pub draw: [u8; 32],
    /// The credit that the block before left.
    pub credit_before: u32,
    /// The auditable records of the parent, one credit each.
    pub auditable: u32,
    /// Stations that weigh enough to be drawn.
    pub jurors: u64,
    /// Records that may be drawn.
    pub candidates: u64,
    /// The first of those whose turn came before, at most [`MAX_EARLIER`]; without who was able to check them.
    pub earlier: Vec<Step>,
    /// The turn of the record, from 0; `None` where this block could not draw it.
    pub turn: Option<u64>,
    /// What came of it.
    pub step: Option<Step>,
}

/// The draw of a block, made again: `after` is the state after it, `undo` its undo data, `parent` the block below it,
/// none for the first. Ends with `record`.
///
/// # Errors
/// [`ReadError`].
pub fn explain(
    rules: &Rules,
    after: &impl StateRead,
    undo: &Undo,
    parent: Option<&VerifiedBlock>,
    record: RecordPlace,
) -> Result<Explanation, ReadError> {
    let chain = chain_state(after, rules)?;
    let before = match undo.get(&Key::Jury) {
        Some(Some(Value::Jury(jury))) => JuryState::clone(jury),
        Some(Some(_)) => return Err(ReadError::Damaged { what: "the jury's state" }),
        Some(None) => JuryState::default(),
        // The block changed nothing of it.
        None => jury_state(after)?,
    };
    let previous_draw = match undo.get(&Key::Chain) {
        Some(Some(Value::Chain(chain))) => chain.draw,
        Some(None) => ChainState::genesis(rules).draw,
        // Every block moves the head.
        _ => return Err(ReadError::Damaged { what: "undo data" }),
    };
    let auditable = count_auditable(after, parent)?;
    let weights = weights(rules, after)?;
    let mut drawing = Drawing::new(chain.draw, &weights, credit_with(before.credit, auditable));
    let order = order(rules, after, &chain.draw, parent, before.disputed)?;
    let mut explained = Explanation {
        height: chain.height,
        previous_draw,
        draw: chain.draw,
        credit_before: before.credit,
        auditable,
        jurors: drawing.jurors() as u64,
        candidates: order.len() as u64,
        earlier: Vec::new(),
        turn: None,
        step: None,
    };
    // A disputed record may stand among the parent's, too; its first turn counts.
    for (turn, candidate) in (0..).zip(&order) {
        let credit = drawing.credit();
        let considered = drawing.consider(after, candidate)?;
        let is_it = candidate.record.place == record;
        let mut step = Step {
            station: candidate.station,
            record: candidate.record.clone(),
            rank: candidate.rank,
            credit,
            able: Vec::new(),
            fate: considered.fate,
        };
        if is_it {
            step.able = considered.able.into_iter().cloned().collect();
            (explained.turn, explained.step) = (Some(turn), Some(step));
            break;
        }
        if explained.earlier.len() < MAX_EARLIER {
            explained.earlier.push(step);
        }
    }
    Ok(explained)
}
