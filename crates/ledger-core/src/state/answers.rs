//! Jurors' answers: who was drawn to check a record, what they found, and what it comes to (global trust, section 5).

use super::scratch::{DAMAGED, expect_value};
use super::{Key, ReadError, RecordPlace, Scratch, StateRead, Value};
use crate::codec::{Decode, Encode};
use crate::ids::{Height, RecordHash, StationId};
use crate::record::Subject;
use crate::score::Score;
use crate::testimony::{Answer, Testimony};

/// Answers in one value, at most: 5 bytes each.
const ANSWERS_PER_VALUE: usize = 512;

/// Of a station's answers, what they were about, in one value, at most: up to 293 bytes each.
const GIVEN_PER_VALUE: u32 = 8;

/// Answers before the jury has said anything.
pub(super) const QUORUM: u32 = 2;

/// A juror's counted answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Given {
    /// The juror's number.
    pub(super) juror: u32,
    /// About a content or dataset: whether it is good. About a claim on a user: whether the juror agrees with it.
    pub(super) is_positive: bool,
}

/// Counted answers about one subject or claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Answers {
    /// All of them, in the first value; 0 in the others.
    pub count: u32,
    /// Those that are positive, in the first value; 0 in the others.
    pub positives: u32,
    /// Those of this value.
    pub(super) given: Vec<Given>,
}

impl Answers {
    /// The jury's opinion about a content or dataset: `0.1 + 0.8 * positives / answers`; `None` of fewer than two.
    pub fn score(&self) -> Option<Score> {
        if self.count < QUORUM {
            return None;
        }
        Score::of_content(u64::from(self.positives), u64::from(self.count - self.positives.min(self.count)))
    }

    /// Whether a claim is contested: more contest than agree; `None` of fewer than two answers.
    pub fn is_contested(&self) -> Option<bool> {
        (self.count >= QUORUM).then(|| self.count - self.positives.min(self.count) > self.positives)
    }
}

/// What an answer was about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Encode, Decode)]
pub struct GivenTo {
    /// The subject.
    pub(super) subject: Subject,
    /// About a user: the number of the station whose claim it is.
    pub(super) claimant: Option<u32>,
}

/// A record that is checked.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Duty {
    /// The record's hash.
    pub hash: RecordHash,
    /// What it is about.
    pub subject: Subject,
    /// Whether it speaks well of it.
    pub is_positive: bool,
    /// Who was drawn; at most six, for a record is drawn once when it is new and once when it is disputed.
    pub jurors: Vec<Juror>,
}

/// A station that was drawn to check a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Juror {
    /// The station.
    pub station: StationId,
    /// The height of the last block in which its answer counts.
    pub until: Height,
    /// Whether it has answered.
    pub has_answered: bool,
}

/// What ends with a block: 14 bytes for each of at most 149 duties and 8 disputes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Expiring {
    /// Records with jurors whose time is over.
    pub(super) duties: Vec<RecordPlace>,
    /// Records that are too old to be disputed again.
    pub(super) disputes: Vec<RecordPlace>,
}

/// Who was drawn to check a record; `None` where nobody was in the last 1,024 blocks.
///
/// # Errors
/// [`ReadError`].
pub fn duty(read: &impl StateRead, record: RecordPlace) -> Result<Option<Duty>, ReadError> {
    match read.get(&Key::Duty(record))? {
        Some(Value::Duty(duty)) => Ok(Some(*duty)),
        Some(_) => Err(ReadError::Damaged { what: "a duty" }),
        None => Ok(None),
    }
}

/// How many jurors answered about `subject`, or about the claim on it of the station with a number, and how.
///
/// # Errors
/// [`ReadError`].
pub fn jury_answers(read: &impl StateRead, subject: &Subject, claimant: Option<u32>) -> Result<Answers, ReadError> {
    totals(read.get(&Key::Answers(subject.clone(), claimant, 0))?)
}

/// Whether the jury contests what the station with a number claims of a user; `None` while it has not said.
///
/// # Errors
/// [`ReadError`].
pub fn verdict(read: &impl StateRead, user: &Subject, claimant: u32) -> Result<Option<bool>, ReadError> {
    Ok(jury_answers(read, user, Some(claimant))?.is_contested())
}

pub(super) fn totals(value: Option<Value>) -> Result<Answers, ReadError> {
    match value {
        Some(Value::Answers(answers)) => Ok(answers),
        Some(_) => Err(ReadError::Damaged { what: "jurors' answers" }),
        None => Ok(Answers::default()),
    }
}

/// All answers of one subject or claim, from whatever gives its values.
pub(super) fn all_answers(
    mut value: impl FnMut(u32) -> Result<Option<Value>, ReadError>,
) -> Result<Vec<Given>, ReadError> {
    let Answers { count, given: mut all, .. } = totals(value(0)?)?;
    for chunk in 1..count.div_ceil(ANSWERS_PER_VALUE as u32) {
        all.extend(totals(value(chunk)?)?.given);
    }
    Ok(all)
}

impl<R: StateRead> Scratch<'_, R> {
    /// Counts a drawn juror's first answer in time; keeps what may be a dispute for the end of the block.
    pub(super) fn apply_testimony(
        &mut self,
        author: &StationId,
        number: u32,
        testimony: &Testimony,
    ) -> Result<(), ReadError> {
        if testimony.record.station == *author || self.slot(Key::Equivocation(*author))?.is_some() {
            return Ok(());
        }
        let Some(claimant) = self.station(&testimony.record.station)? else { return Ok(()) };
        let (sequence, index) = (testimony.record.sequence, testimony.record.index);
        let place = RecordPlace { station: claimant.number, sequence, index };
        let duty = expect_value!(self.slot(Key::Duty(place))?.as_ref(), Value::Duty)?;
        let named = duty.filter(|duty| duty.hash == testimony.hash);
        let drawn = named.as_ref().and_then(|duty| duty.jurors.iter().position(|juror| juror.station == *author));
        match (named, drawn) {
            (Some(mut duty), Some(at)) => {
                if duty.jurors[at].has_answered {
                    return Ok(());
                }
                duty.jurors[at].has_answered = true;
                let agrees = testimony.answer == Answer::Agree;
                let (claimant, is_positive) = match &duty.subject {
                    Subject::User(_) => (Some(place.station), agrees),
                    _ => (None, agrees == duty.is_positive),
                };
                let about = GivenTo { subject: duty.subject.clone(), claimant };
                *self.slot(Key::Duty(place))? = Some(Value::Duty(duty));
                self.count_answer(about, Given { juror: number, is_positive })
            }
            _ => {
                self.undrawn.push((number, place, testimony.hash));
                Ok(())
            }
        }
    }

    fn count_answer(&mut self, about: GivenTo, given: Given) -> Result<(), ReadError> {
        let mut all = self.answers_about(&about)?;
        all.push(given);
        self.write_answers(&about, &all)?;
        let mut sums = self.sums_of(given.juror)?;
        let slot = self.slot(Key::AnswersBy(given.juror, sums.answers / GIVEN_PER_VALUE))?;
        let mut list = expect_value!(slot.as_ref(), Value::AnswersBy)?.unwrap_or_default();
        list.push(about);
        *slot = Some(Value::AnswersBy(list));
        sums.answers += 1;
        *self.slot(Key::Sums(given.juror))? = Some(Value::Sums(Box::new(sums)));
        self.jury_mut()?.answers += 1;
        Ok(())
    }

    fn answers_about(&mut self, about: &GivenTo) -> Result<Vec<Given>, ReadError> {
        let key = |chunk| Key::Answers(about.subject.clone(), about.claimant, chunk);
        all_answers(|chunk| Ok(self.slot(key(chunk))?.clone()))
    }

    fn write_answers(&mut self, about: &GivenTo, all: &[Given]) -> Result<(), ReadError> {
        let key = |chunk| Key::Answers(about.subject.clone(), about.claimant, chunk);
        let positives = all.iter().filter(|given| given.is_positive).count();
        let mut chunk = 0;
        for given in all.chunks(ANSWERS_PER_VALUE) {
            let (count, positives) = if chunk == 0 { (all.len() as u32, positives as u32) } else { (0, 0) };
            *self.slot(key(chunk))? = Some(Value::Answers(Answers { count, positives, given: given.to_vec() }));
            chunk += 1;
        }
        // Answers that were taken out leave values behind.
        while self.slot(key(chunk))?.take().is_some() {
            chunk += 1;
        }
        Ok(())
    }

    /// Takes out every answer of an equivocator.
    pub(super) fn take_out_answers(&mut self, juror: u32) -> Result<(), ReadError> {
        let mut sums = self.sums_of(juror)?;
        for chunk in 0..sums.answers.div_ceil(GIVEN_PER_VALUE) {
            let list = self.slot(Key::AnswersBy(juror, chunk))?.take();
            for about in expect_value!(list.as_ref(), Value::AnswersBy)?.unwrap_or_default() {
                let mut all = self.answers_about(&about)?;
                let before = all.len();
                all.retain(|given| given.juror != juror);
                let jury = self.jury_mut()?;
                jury.answers = jury.answers.checked_sub((before - all.len()) as u64).ok_or(DAMAGED)?;
                self.write_answers(&about, &all)?;
            }
        }
        if sums.answers > 0 {
            sums.answers = 0;
            *self.slot(Key::Sums(juror))? = Some(Value::Sums(Box::new(sums)));
        }
        Ok(())
    }

    /// Ends the duties and disputes whose time is over with the block at `height`.
    pub(super) fn expire(&mut self, height: Height) -> Result<(), ReadError> {
        let ended = self.slot(Key::Expiring(height))?.take();
        let Some(ended) = expect_value!(ended.as_ref(), Value::Expiring)? else { return Ok(()) };
        for place in ended.duties {
            let slot = self.slot(Key::Duty(place))?;
            let Some(mut duty) = expect_value!(slot.as_ref(), Value::Duty)? else { continue };
            duty.jurors.retain(|juror| juror.until > height);
            *slot = (!duty.jurors.is_empty()).then_some(Value::Duty(duty));
        }
        for place in ended.disputes {
            *self.slot(Key::Disputed(place))? = None;
        }
        Ok(())
    }
}
