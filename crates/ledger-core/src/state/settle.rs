//! At the end of a block: what its opinions and answers changed of the sums (global trust, section 6).
//!
//! The sums follow from opinions and answers alone, so only those before and after the block matter: each pair of a
//! station and a founder is looked at once for a subject that changed, however many records it had in the block. Its old
//! term goes out, its new one comes in.

use std::collections::{BTreeMap, HashMap};

use super::answers::{Given, all_answers, totals};
use super::scratch::DAMAGED;
use super::sums::{JurySums, PairSums, UNIT, difference, information};
use super::value::Since;
use super::{Key, ReadError, STATIONS_PER_GROUP, Scratch, StateRead, Value};
use crate::record::Subject;
use crate::score::{ONE, Score};

/// A difference to the jury that costs no standing, in millionths.
const TOLERANCE: u64 = 300_000;

/// The further difference that costs all of it.
const SPAN: u64 = 500_000;

/// An opinion with evidence.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Said {
    station: u32,
    score: Score,
    since: Since,
}

/// The opinions with evidence of a group, by station; none of creators, who are in no sum.
fn said(value: Option<&Value>) -> Vec<Said> {
    match value {
        Some(Value::UserOpinions(group)) => {
            let counted = group.iter().filter(|it| it.actions > 0);
            counted.map(|it| Said { station: it.station, score: it.score, since: it.since }).collect()
        }
        Some(Value::ContentOpinions(group)) => {
            let counted = group.iter().filter(|it| it.verifications + it.reports > 0);
            counted.map(|it| Said { station: it.station, score: it.score(), since: it.since }).collect()
        }
        Some(Value::DatasetOpinions(group)) => {
            let counted = group.iter().filter(|it| it.evidence.count() > 0);
            counted.map(|it| Said { station: it.station, score: it.evidence.score(), since: it.since }).collect()
        }
        _ => Vec::new(),
    }
}

fn find(group: &[Said], station: u32) -> Option<&Said> {
    group.binary_search_by_key(&station, |it| it.station).ok().map(|at| &group[at])
}

/// Something before the block and after it.
#[derive(Clone, Default)]
struct Change<T> {
    before: T,
    after: T,
}

/// A founder with a number, and its place in genesis.
#[derive(Clone, Copy)]
struct Founder {
    number: u32,
    place: u8,
}

/// What is added to sums and taken out of them.
#[derive(Clone, Copy, Default)]
struct PairDelta {
    info: i128,
    weighted: i128,
}

impl PairDelta {
    fn add(&mut self, sign: i128, info: u64, difference: u64) {
        self.info += sign * i128::from(info);
        self.weighted += sign * i128::from(info) * i128::from(difference);
    }

    fn apply(&self, pair: &mut PairSums) -> Result<(), ReadError> {
        let info = i128::from(pair.info) + self.info;
        let weighted = i128::try_from(pair.weighted).map_err(|_| DAMAGED)? + self.weighted;
        pair.info = u64::try_from(info).map_err(|_| DAMAGED)?;
        pair.weighted = u128::try_from(weighted).map_err(|_| DAMAGED)?;
        Ok(())
    }
}

#[derive(Clone, Copy, Default)]
struct JuryDelta {
    pair: PairDelta,
    checked: i64,
    contradicted: i64,
}

impl JuryDelta {
    fn apply(&self, jury: &mut JurySums) -> Result<(), ReadError> {
        self.pair.apply(&mut jury.pair)?;
        jury.checked = jury.checked.checked_add_signed(self.checked).ok_or(DAMAGED)?;
        jury.contradicted = jury.contradicted.checked_add_signed(self.contradicted).ok_or(DAMAGED)?;
        Ok(())
    }
}

#[derive(Default)]
struct Deltas {
    /// The numbers of founders, in order.
    founders: Vec<u32>,
    with_founders: HashMap<(u32, u8), PairDelta>,
    with_jury: HashMap<u32, JuryDelta>,
}

impl Deltas {
    /// A station's word beside a founder's: counted where it is a founder itself, or stood on the chain that the founder
    /// had seen.
    fn pair(&mut self, sign: i128, is_founder: bool, one: Option<&Said>, founder: Option<&Said>, place: u8) {
        let (Some(one), Some(founder)) = (one, founder) else { return };
        if is_founder || founder.since.seen.is_some_and(|seen| one.since.first <= seen) {
            let delta = self.with_founders.entry((one.station, place)).or_default();
            delta.add(sign, information(one.score, founder.score), difference(one.score, founder.score));
        }
    }

    /// A station's word beside the jury's about a content or dataset.
    fn beside_jury(&mut self, sign: i8, one: Option<&Said>, jury: Option<Score>) {
        let (Some(one), Some(jury)) = (one, jury) else { return };
        let (delta, difference) = (self.with_jury.entry(one.station).or_default(), difference(one.score, jury));
        delta.pair.add(i128::from(sign), information(one.score, jury), difference);
        delta.checked += i64::from(sign);
        let contradicted = (difference.saturating_sub(TOLERANCE) * u64::from(ONE) / SPAN).min(u64::from(ONE));
        delta.contradicted += i64::from(sign) * contradicted as i64;
    }

    /// Each juror beside the others, where there are three answers or more about a content or dataset.
    fn jurors(&mut self, sign: i128, answers: &[Given]) {
        let count = answers.len() as u64;
        if count < 3 {
            return;
        }
        let positives = answers.iter().filter(|given| given.is_positive).count() as u64;
        for given in answers {
            let others = 100_000 + 800_000 * (positives - u64::from(given.is_positive)) / (count - 1);
            let own: u64 = if given.is_positive { 900_000 } else { 100_000 };
            self.with_jury.entry(given.juror).or_default().pair.add(sign, UNIT, own.abs_diff(others));
        }
    }

    /// A verdict about a station's claim on a user.
    fn claim(&mut self, sign: i8, claimant: u32, is_contested: Option<bool>) {
        let Some(is_contested) = is_contested else { return };
        let (delta, one) = (self.with_jury.entry(claimant).or_default(), u64::from(ONE));
        delta.pair.add(i128::from(sign), UNIT, if is_contested { one } else { 0 });
        delta.checked += i64::from(sign);
        delta.contradicted += if is_contested { i64::from(sign) * i64::from(ONE) } else { 0 };
    }
}

impl<R: StateRead> Scratch<'_, R> {
    /// Brings all sums up to what the block's records changed.
    pub(super) fn settle(&mut self) -> Result<(), ReadError> {
        let founders = self.founders()?;
        let has_answers = self.has_answers()?;
        if founders.is_empty() && !has_answers {
            return Ok(());
        }
        let deltas = self.deltas(&founders, has_answers)?;
        let mut by_station: BTreeMap<u32, (Vec<(u8, PairDelta)>, JuryDelta)> = BTreeMap::new();
        for ((station, place), delta) in deltas.with_founders {
            by_station.entry(station).or_default().0.push((place, delta));
        }
        for (station, delta) in deltas.with_jury {
            by_station.entry(station).or_default().1 = delta;
        }
        for (station, (with_founders, with_jury)) in by_station {
            let mut sums = self.sums_of(station)?;
            for (place, delta) in with_founders {
                delta.apply(sums.with_founder_mut(place))?;
            }
            with_jury.apply(&mut sums.jury)?;
            *self.slot(Key::Sums(station))? = Some(Value::Sums(Box::new(sums)));
        }
        Ok(())
    }

    /// The founders that have a number, in order of their numbers.
    fn founders(&mut self) -> Result<Vec<Founder>, ReadError> {
        let mut founders = Vec::new();
        for (place, founder) in (0..).zip(&self.rules().parameters().founders) {
            if let Some(state) = self.station(&founder.station)? {
                founders.push(Founder { number: state.number, place });
            }
        }
        founders.sort_unstable_by_key(|founder| founder.number);
        Ok(founders)
    }

    fn deltas(&self, founders: &[Founder], has_answers: bool) -> Result<Deltas, ReadError> {
        let mut deltas = Deltas { founders: founders.iter().map(|it| it.number).collect(), ..Deltas::default() };
        let groups = 1..=self.chain().stations.div_ceil(STATIONS_PER_GROUP);
        for (subject, group, before, after) in self.touched_opinions() {
            let own = Change { before: said(before), after: said(after) };
            let founders = self.founders_voices(subject, group, &own, founders)?;
            let jury = if has_answers { self.jury_on(subject)? } else { Change::default() };
            deltas.group(&own, &founders, &jury);
            // Where a founder changed, also its pairs with stations whose groups did not.
            let changed: Vec<Voice> = founders
                .into_iter()
                .filter(|it| it.founder.number / STATIONS_PER_GROUP + 1 == group && it.said.before != it.said.after)
                .collect();
            if !changed.is_empty() {
                self.other_groups(&mut deltas, subject, groups.clone(), &changed, &Change::default())?;
            }
        }
        for (subject, claimant) in self.touched_answers() {
            let key = |chunk| Key::Answers(subject.clone(), claimant, chunk);
            let before = all_answers(|chunk| self.before(&key(chunk)))?;
            let after = all_answers(|chunk| self.get(&key(chunk)))?;
            match claimant {
                None => {
                    deltas.jurors(-1, &before);
                    deltas.jurors(1, &after);
                    let jury = self.jury_on(subject)?;
                    if jury.before != jury.after {
                        self.other_groups(&mut deltas, subject, groups.clone(), &[], &jury)?;
                    }
                }
                Some(claimant) => {
                    deltas.claim(-1, claimant, totals(self.before(&key(0))?)?.is_contested());
                    deltas.claim(1, claimant, totals(self.get(&key(0))?)?.is_contested());
                }
            }
        }
        Ok(deltas)
    }

    /// What founders said of a subject, where one of them has a voice before the block or after it.
    fn founders_voices(
        &self,
        subject: &Subject,
        group: u32,
        own: &Change<Vec<Said>>,
        founders: &[Founder],
    ) -> Result<Vec<Voice>, ReadError> {
        let mut voices = Vec::new();
        let mut read: Option<(u32, Change<Vec<Said>>)> = None;
        for founder in founders {
            let at = founder.number / STATIONS_PER_GROUP + 1;
            if at != group && read.as_ref().is_none_or(|(known, _)| *known != at) {
                let key = Key::Subject(subject.clone(), at);
                let (before, after) = (self.before(&key)?, self.get(&key)?);
                read = Some((at, Change { before: said(before.as_ref()), after: said(after.as_ref()) }));
            }
            let of_group = if at == group { own } else { read.as_ref().map_or(own, |(_, change)| change) };
            let said = Change {
                before: find(&of_group.before, founder.number).copied(),
                after: find(&of_group.after, founder.number).copied(),
            };
            if said.before.is_some() || said.after.is_some() {
                voices.push(Voice { founder: *founder, said });
            }
        }
        Ok(voices)
    }

    /// The jury's opinion of a content or dataset.
    fn jury_on(&self, subject: &Subject) -> Result<Change<Option<Score>>, ReadError> {
        if matches!(subject, Subject::User(_)) {
            return Ok(Change::default());
        }
        let key = Key::Answers(subject.clone(), None, 0);
        Ok(Change { before: totals(self.before(&key)?)?.score(), after: totals(self.get(&key)?)?.score() })
    }

    /// The pairs with stations whose opinions about the subject did not change in this block.
    fn other_groups(
        &self,
        deltas: &mut Deltas,
        subject: &Subject,
        groups: std::ops::RangeInclusive<u32>,
        founders: &[Voice],
        jury: &Change<Option<Score>>,
    ) -> Result<(), ReadError> {
        for group in groups {
            let key = Key::Subject(subject.clone(), group);
            if !self.is_touched(&key) {
                let same = said(self.get(&key)?.as_ref());
                deltas.group(&Change { before: same.clone(), after: same }, founders, jury);
            }
        }
        Ok(())
    }
}

/// What a founder said of a subject.
struct Voice {
    founder: Founder,
    said: Change<Option<Said>>,
}

impl Deltas {
    /// The stations of one group beside founders and the jury.
    fn group(&mut self, own: &Change<Vec<Said>>, founders: &[Voice], jury: &Change<Option<Score>>) {
        if founders.is_empty() && jury.before.is_none() && jury.after.is_none() {
            return;
        }
        // A station that had evidence keeps it, so whoever had a voice before has one after.
        for after in &own.after {
            let before = find(&own.before, after.station);
            let is_same = before == Some(after);
            let is_founder = self.founders.binary_search(&after.station).is_ok();
            for Voice { founder, said } in founders {
                if founder.number == after.station || (is_same && said.before == said.after) {
                    continue;
                }
                self.pair(-1, is_founder, before, said.before.as_ref(), founder.place);
                self.pair(1, is_founder, Some(after), said.after.as_ref(), founder.place);
            }
            if !is_same || jury.before != jury.after {
                self.beside_jury(-1, before, jury.before);
                self.beside_jury(1, Some(after), jury.after);
            }
        }
    }
}
