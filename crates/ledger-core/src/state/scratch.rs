//! A working copy of the keys that are being changed, and the fold of records into it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::admission::{AdmissionState, Standing};
use super::answers::Expiring;
use super::draw::JuryState;
use super::index::height_of;
use super::sums::Sums;
use super::value::{
    ChainState, ContentLedger, ContentOpinion, CreatorLedger, CreatorOpinion, RecordPlace, Since, StationState,
    UserLedger, UserOpinion, Value,
};
use super::{Key, ReadError, STATIONS_PER_GROUP, StateRead, Undo, Writes, key_of, ml_dsa_key, station_state};
use crate::batch::BatchHeader;
use crate::equivocation::BatchEquivocation;
use crate::federation::Rules;
use crate::ids::{BatchId, Height, Id, RecordHash, Sequence, StationId};
use crate::ml_dsa::MlDsaKey;
use crate::record::{Record, StationAdmitted, StationExpelled, Subject, UserAction};
use crate::score::Score;
use crate::time::Timestamp;

/// A record with what its effect depends on beside itself.
#[derive(Clone, Copy, Debug)]
pub struct PendingRecord<'a> {
    /// The header of its batch.
    pub batch: &'a BatchHeader,
    /// Its index in the batch.
    pub index: u16,
    /// The record.
    pub record: &'a Record,
}

/// Reads through a port, writes into memory, and remembers what stood there before.
pub struct Scratch<'a, R> {
    rules: &'a Rules,
    read: &'a R,
    /// Each key read. By hash: a block's records come back to the same keys thousands of times.
    touched: HashMap<Key, Touched>,
    chain: ChainState,
    chain_before: Option<Value>,
    /// The batch whose record was applied last: records come in batches of one station.
    batch: Option<CurrentBatch>,
    /// Testimonies that nobody was drawn for: their authors' numbers, and the records that they name.
    pub(super) undrawn: Vec<(u32, RecordPlace, RecordHash)>,
}

/// What the records of one batch have in common.
#[derive(Clone, Copy)]
struct CurrentBatch {
    place: (StationId, Sequence),
    number: u32,
    since: Since,
}

/// What stands now, what was changed included.
impl<R: StateRead> StateRead for Scratch<'_, R> {
    fn get(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        match (key, self.touched.get(key)) {
            (Key::Chain, _) => Ok(Some(Value::Chain(Box::new(self.chain.clone())))),
            (_, Some(touched)) => Ok(touched.now.clone()),
            (_, None) => self.read.get(key),
        }
    }
}

/// What a key held, and what it holds now.
struct Touched {
    before: Option<Value>,
    now: Option<Value>,
}

pub(super) const DAMAGED: ReadError = ReadError::Damaged { what: "an entry of the trust state" };

/// Takes the value of one variant out of what was read.
macro_rules! expect_value {
    ($value:expr, $variant:path) => {
        match $value {
            None => Ok(None),
            Some($variant(value)) => Ok(Some(value.clone())),
            Some(_) => Err(DAMAGED),
        }
    };
}
pub(super) use expect_value;

/// Finds the opinion of a station in its group, or where it belongs, and changes it.
macro_rules! update_opinion {
    ($scratch:expr, $subject:expr, $station:expr, $variant:path, $new:expr, $change:expr) => {{
        let slot = $scratch.slot(Key::Subject($subject, 1 + $station / STATIONS_PER_GROUP))?;
        let opinions = match slot {
            None => slot.insert($variant(Vec::new())),
            Some(opinions) => opinions,
        };
        let $variant(opinions) = opinions else { return Err(DAMAGED) };
        let at = match opinions.binary_search_by_key(&$station, |opinion| opinion.station) {
            Ok(at) => at,
            Err(at) => {
                opinions.insert(at, $new);
                at
            }
        };
        let change = $change;
        change(&mut opinions[at])
    }};
}
pub(super) use update_opinion;

impl<'a, R: StateRead> Scratch<'a, R> {
    /// Nothing changed yet.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn new(rules: &'a Rules, read: &'a R) -> Result<Self, ReadError> {
        let chain_before = read.get(&Key::Chain)?;
        let chain = match &chain_before {
            Some(Value::Chain(chain)) => ChainState::clone(chain),
            Some(_) => return Err(DAMAGED),
            None => ChainState::genesis(rules),
        };
        Ok(Self { rules, read, touched: HashMap::new(), chain, chain_before, batch: None, undrawn: Vec::new() })
    }

    /// The totals as they stand now.
    pub fn chain(&self) -> &ChainState {
        &self.chain
    }

    pub(super) fn chain_mut(&mut self) -> &mut ChainState {
        &mut self.chain
    }

    /// What stands under `key` now, to be changed.
    pub(super) fn slot(&mut self, key: Key) -> Result<&mut Option<Value>, ReadError> {
        Ok(match self.touched.entry(key) {
            Entry::Occupied(touched) => &mut touched.into_mut().now,
            Entry::Vacant(untouched) => {
                let value = self.read.get(untouched.key())?;
                &mut untouched.insert(Touched { before: value.clone(), now: value }).now
            }
        })
    }

    /// A user's ledger part as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn user(&mut self, user: &Id) -> Result<Option<UserLedger>, ReadError> {
        let key = Key::Subject(Subject::User(user.clone()), 0);
        expect_value!(self.slot(key)?.as_ref(), Value::User)
    }

    /// A content's ledger part as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn content(&mut self, subject: &Subject) -> Result<Option<ContentLedger>, ReadError> {
        let key = Key::Subject(subject.clone(), 0);
        Ok(expect_value!(self.slot(key)?.as_ref(), Value::Content)?.map(|content| *content))
    }

    /// A creator's ledger part as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn creator(&mut self, creator: &Id) -> Result<Option<CreatorLedger>, ReadError> {
        let key = Key::Subject(Subject::Creator(creator.clone()), 0);
        expect_value!(self.slot(key)?.as_ref(), Value::Creator)
    }

    /// What the branch knows of a station as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn station(&mut self, station: &StationId) -> Result<Option<StationState>, ReadError> {
        match self.touched.get(&Key::Station(*station)) {
            Some(touched) => Ok(expect_value!(touched.now.as_ref(), Value::Station)?.map(|state| *state)),
            None => station_state(self.read, station),
        }
    }

    /// Writes what the branch knows of a station.
    pub(super) fn set_station(&mut self, station: &StationId, state: StationState) -> Result<(), ReadError> {
        *self.slot(Key::Station(*station))? = Some(Value::Station(Box::new(state)));
        Ok(())
    }

    /// The station's entry, made with the next number at its first appearance.
    pub(super) fn station_or_new(&mut self, station: &StationId) -> Result<StationState, ReadError> {
        if let Some(state) = self.station(station)? {
            return Ok(state);
        }
        let number = self.chain.stations;
        self.chain.stations += 1;
        *self.slot(Key::StationNumber(number))? = Some(Value::StationNumber(Box::new(*station)));
        let state = StationState {
            number,
            name: crate::ids::Name::new("").expect("a name may be empty"),
            next: Sequence::ZERO,
            last: BatchId::ZERO,
            records: 0,
            produced: 0,
            reveal: [0; 32],
        };
        self.set_station(station, state.clone())?;
        // A founder was counted by the proof: it is asked also without a batch.
        if self.slot(Key::Equivocation(*station))?.is_some() && !self.rules.is_founder(station) {
            self.count_equivocator()?;
        }
        Ok(state)
    }

    /// What the record that is being applied has in common with those of its batch.
    fn current(&mut self, header: &BatchHeader) -> Result<CurrentBatch, ReadError> {
        let place = (header.station, header.sequence);
        if let Some(batch) = self.batch
            && batch.place == place
        {
            return Ok(batch);
        }
        let number = self.station_or_new(&header.station)?.number;
        let is_founder = self.rules.is_founder(&header.station);
        let seen = if is_founder { height_of(self.rules, self, &header.seen)? } else { None };
        let first = Height::new(self.chain.height.get().saturating_add(1));
        let batch = CurrentBatch { place, number, since: Since { first, seen } };
        self.batch = Some(batch);
        Ok(batch)
    }

    fn count_equivocator(&mut self) -> Result<(), ReadError> {
        let slot = self.slot(Key::Equivocators)?;
        let count = expect_value!(slot.as_ref(), Value::Equivocators)?.unwrap_or(0);
        *slot = Some(Value::Equivocators(count + 1));
        Ok(())
    }

    /// The ML-DSA key that a station introduced itself with, as it stands now.
    pub(super) fn ml_dsa_key(&mut self, station: &StationId) -> Result<Option<MlDsaKey>, ReadError> {
        match self.touched.get(&Key::MlDsaKey(*station)) {
            Some(touched) => touched.now.as_ref().map(key_of).transpose(),
            None => ml_dsa_key(self.read, station),
        }
    }

    /// Writes the ML-DSA key that a station introduces itself with.
    pub(super) fn set_ml_dsa_key(&mut self, station: &StationId, key: &MlDsaKey) -> Result<(), ReadError> {
        *self.slot(Key::MlDsaKey(*station))? = Some(Value::MlDsaKey(key.as_bytes().to_vec()));
        Ok(())
    }

    /// Takes note of the first proof against a station; a later one has no effect, nor has one that does not convict.
    fn apply_equivocation(&mut self, proof: &BatchEquivocation, place: RecordPlace) -> Result<(), ReadError> {
        let accused = &proof.station();
        if self.slot(Key::Equivocation(*accused))?.is_some() {
            return Ok(());
        }
        if self.rules.is_hybrid() {
            let key = self.ml_dsa_key(accused)?;
            if !key.is_some_and(|key| proof.is_signed_under(self.rules, &key)) {
                return Ok(());
            }
        }
        *self.slot(Key::Equivocation(*accused))? = Some(Value::Equivocation(place));
        if self.rules.is_founder(accused) || self.station(accused)?.is_some() {
            self.count_equivocator()?;
        }
        match self.station(accused)? {
            Some(state) => self.take_out_answers(state.number),
            None => Ok(()),
        }
    }

    /// A station is admitted; under `hybrid` with an ML-DSA key. If another is expected of it, that has no effect.
    fn admit(&mut self, author: &StationId, admitted: &StationAdmitted) -> Result<(), ReadError> {
        let station = &admitted.station;
        let Some(hash) = admitted.ml_dsa_key_hash else {
            return self.apply_admission(author, station, AdmissionState::admit).map(drop);
        };
        let expected = match self.ml_dsa_key(station)? {
            Some(introduced) => Some(introduced.hash()),
            None => expect_value!(self.slot(Key::AdmittedKey(*station))?.as_ref(), Value::KeyHash)?.map(|hash| *hash),
        };
        if expected.is_some_and(|expected| expected != hash) {
            return Ok(());
        }
        if self.apply_admission(author, station, AdmissionState::admit)?.is_some() {
            *self.slot(Key::AdmittedKey(*station))? = Some(Value::KeyHash(Box::new(hash)));
        }
        Ok(())
    }

    /// A station is to be expelled. When it is, no key is expected of it any more, unless it has introduced itself.
    fn expel(&mut self, author: &StationId, expelled: &StationExpelled) -> Result<(), ReadError> {
        let stood = self.apply_admission(author, &expelled.station, AdmissionState::expel)?;
        if self.rules.is_hybrid() && stood == Some([Standing::Admitted, Standing::Expelled]) {
            *self.slot(Key::AdmittedKey(expelled.station))? = None;
        }
        Ok(())
    }

    /// A founder's word about a station, and where it stood before and stands now. Nobody else's has an effect, nor one
    /// about a founder, who is admitted for good: then there is nothing to tell.
    fn apply_admission(
        &mut self,
        author: &StationId,
        about: &StationId,
        say: impl FnOnce(&mut AdmissionState, &Rules, u32),
    ) -> Result<Option<[Standing; 2]>, ReadError> {
        let rules = self.rules;
        let Some(place) = rules.founder_place(author).filter(|_| rules.has_roster() && !rules.is_founder(about)) else {
            return Ok(None);
        };
        let slot = self.slot(Key::Admission(*about))?;
        let known = expect_value!(slot.as_ref(), Value::Admission)?;
        let is_new = known.is_none();
        let mut state = known.unwrap_or_default();
        let before = state.standing;
        say(&mut state, rules, place);
        let after = state.standing;
        *slot = Some(Value::Admission(state));
        if is_new {
            let slot = self.slot(Key::RosterLen)?;
            let len = expect_value!(slot.as_ref(), Value::RosterLen)?.unwrap_or(0);
            *slot = Some(Value::RosterLen(len + 1));
            *self.slot(Key::RosterPlace(len))? = Some(Value::StationNumber(Box::new(*about)));
        }
        Ok(Some([before, after]))
    }

    /// Folds one record into the state.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn apply(&mut self, pending: PendingRecord<'_>) -> Result<(), ReadError> {
        let CurrentBatch { number: station, since, .. } = self.current(pending.batch)?;
        let place = RecordPlace { station, sequence: pending.batch.sequence, index: pending.index };
        let signed_at = pending.batch.created_at;
        self.chain.records += 1;
        match pending.record {
            Record::UserAction(action) => self.apply_action(station, since, action),
            Record::DatasetRegistered(dataset) => self.register_dataset(dataset, place, signed_at),
            Record::DatasetVerified(verified) => self.verify_dataset(station, since, verified, signed_at),
            Record::DatasetRated(rated) => self.rate_dataset(station, since, rated, signed_at),
            Record::Testimony(testimony) => self.apply_testimony(&pending.batch.station, station, testimony),
            Record::BatchEquivocation(proof) => self.apply_equivocation(proof, place),
            Record::StationAdmitted(it) => self.admit(&pending.batch.station, it),
            Record::StationExpelled(it) => self.expel(&pending.batch.station, it),
            Record::ContentAdded(content) => {
                let (subject, creator) = (subject_of(&content.creator_id, &content.content_id), &content.creator_id);
                let score = content.initial_score;
                self.change_content(&subject, creator, signed_at, |ledger| match ledger.added {
                    Some(added) if added.station != station => {}
                    _ => (ledger.initial_score, ledger.added) = (score, Some(place)),
                })?;
                self.change_content_opinion((station, since), &subject, creator, |opinion| {
                    (opinion.initial_score, opinion.added) = (score, Some(place));
                })
            }
            Record::ContentVerified(content) => {
                let (subject, creator) = (subject_of(&content.creator_id, &content.content_id), &content.creator_id);
                self.change_content(&subject, creator, signed_at, |ledger| ledger.verifications += 1)?;
                self.change_content_opinion((station, since), &subject, creator, |opinion| opinion.verifications += 1)
            }
            Record::ContentReported(content) => {
                let (subject, creator) = (subject_of(&content.creator_id, &content.content_id), &content.creator_id);
                self.change_content(&subject, creator, signed_at, |ledger| ledger.reports += 1)?;
                self.change_content_opinion((station, since), &subject, creator, |opinion| opinion.reports += 1)
            }
        }
    }

    fn apply_action(&mut self, station: u32, since: Since, action: &UserAction) -> Result<(), ReadError> {
        let subject = Subject::User(action.user_id.clone());
        let slot = self.slot(Key::Subject(subject.clone(), 0))?;
        let known = expect_value!(slot.as_ref(), Value::User)?;
        let is_new = known.is_none();
        let user = known.unwrap_or(UserLedger { score: Score::HALF, actions: 0 });
        let moved = UserLedger { score: user.score.moved(action.trust_delta), actions: user.actions + 1 };
        *slot = Some(Value::User(moved));
        self.chain.users += u64::from(is_new);
        let new = UserOpinion { station, score: Score::HALF, actions: 0, since };
        update_opinion!(self, subject, station, Value::UserOpinions, new, |opinion: &mut UserOpinion| {
            opinion.score = opinion.score.moved(action.trust_delta);
            opinion.actions += 1;
        });
        Ok(())
    }

    /// Changes a content's ledger part, and its creator's with it.
    fn change_content(
        &mut self,
        subject: &Subject,
        creator: &Id,
        signed_at: Timestamp,
        change: impl FnOnce(&mut ContentLedger),
    ) -> Result<(), ReadError> {
        let before = self.content(subject)?;
        let mut content = before.clone().unwrap_or(ContentLedger {
            initial_score: Score::HALF,
            verifications: 0,
            reports: 0,
            added: None,
            created_at: signed_at,
            updated_at: signed_at,
        });
        change(&mut content);
        content.updated_at = content.updated_at.max(signed_at);
        if before.is_none() {
            self.chain.contents += 1;
        }
        let mut totals = self.creator(creator)?.unwrap_or_default();
        let evidence = |content: &ContentLedger| content.verifications + content.reports;
        totals.replace(
            before.map(|content| (content.score(), evidence(&content))),
            (content.score(), evidence(&content)),
        );
        *self.slot(Key::Subject(Subject::Creator(creator.clone()), 0))? = Some(Value::Creator(totals));
        *self.slot(Key::Subject(subject.clone(), 0))? = Some(Value::Content(Box::new(content)));
        Ok(())
    }

    /// Changes a station's opinion of a content, and of its creator with it.
    fn change_content_opinion(
        &mut self,
        (station, since): (u32, Since),
        subject: &Subject,
        creator: &Id,
        change: impl FnOnce(&mut ContentOpinion),
    ) -> Result<(), ReadError> {
        let new = ContentOpinion {
            station,
            initial_score: Score::HALF,
            verifications: 0,
            reports: 0,
            added: None,
            since: Since::default(),
        };
        let evidence = |opinion: &ContentOpinion| opinion.verifications + opinion.reports;
        let (before, now) = update_opinion!(
            self,
            subject.clone(),
            station,
            Value::ContentOpinions,
            new,
            |opinion: &mut ContentOpinion| {
                // A station's first word about a content always leaves one of these behind.
                let is_new = evidence(opinion) == 0 && opinion.added.is_none();
                let before = (!is_new).then(|| (opinion.score(), evidence(opinion)));
                let had_evidence = evidence(opinion) > 0;
                change(opinion);
                if !had_evidence && evidence(opinion) > 0 {
                    opinion.since = since;
                }
                (before, (opinion.score(), evidence(opinion)))
            }
        );
        let creator = Subject::Creator(creator.clone());
        let new = CreatorOpinion { station, totals: CreatorLedger::default() };
        update_opinion!(self, creator, station, Value::CreatorOpinions, new, |opinion: &mut CreatorOpinion| {
            opinion.totals.replace(before, now);
        });
        Ok(())
    }

    /// A station's sums as they stand now.
    pub(super) fn sums_of(&mut self, station: u32) -> Result<Sums, ReadError> {
        let sums = expect_value!(self.slot(Key::Sums(station))?.as_ref(), Value::Sums)?;
        Ok(sums.map_or_else(Sums::default, |sums| *sums))
    }

    /// What draws go on from, as it stands now.
    pub(super) fn jury(&mut self) -> Result<JuryState, ReadError> {
        let jury = expect_value!(self.slot(Key::Jury)?.as_ref(), Value::Jury)?;
        Ok(jury.map_or_else(JuryState::default, |jury| *jury))
    }

    /// The same, to be changed.
    pub(super) fn jury_mut(&mut self) -> Result<&mut JuryState, ReadError> {
        match self.slot(Key::Jury)?.get_or_insert_with(|| Value::Jury(Box::default())) {
            Value::Jury(jury) => Ok(jury),
            _ => Err(DAMAGED),
        }
    }

    /// What ends with the block at a height, to be changed.
    pub(super) fn expiring_mut(&mut self, height: Height) -> Result<&mut Expiring, ReadError> {
        match self.slot(Key::Expiring(height))?.get_or_insert_with(|| Value::Expiring(Expiring::default())) {
            Value::Expiring(expiring) => Ok(expiring),
            _ => Err(DAMAGED),
        }
    }

    /// Whether there is a counted answer now, or was one before.
    pub(super) fn has_answers(&mut self) -> Result<bool, ReadError> {
        let before = matches!(self.before(&Key::Jury)?, Some(Value::Jury(jury)) if jury.answers > 0);
        Ok(before || self.jury()?.answers > 0)
    }

    pub(super) const fn rules(&self) -> &'a Rules {
        self.rules
    }

    /// What a key held before.
    pub(super) fn before(&self, key: &Key) -> Result<Option<Value>, ReadError> {
        match self.touched.get(key) {
            Some(touched) => Ok(touched.before.clone()),
            None => self.read.get(key),
        }
    }

    /// Whether what stands under a key was asked for to be changed.
    pub(super) fn is_touched(&self, key: &Key) -> bool {
        self.touched.contains_key(key)
    }

    /// The groups of opinions about users, contents and datasets that were changed: before and now.
    pub(super) fn touched_opinions(&self) -> impl Iterator<Item = (&Subject, u32, Option<&Value>, Option<&Value>)> {
        self.touched.iter().filter_map(|(key, touched)| match key {
            Key::Subject(Subject::Creator(_), _) | Key::Subject(_, 0) => None,
            Key::Subject(subject, group) => Some((subject, *group, touched.before.as_ref(), touched.now.as_ref())),
            _ => None,
        })
    }

    /// The subjects and claims whose answers were changed.
    pub(super) fn touched_answers(&self) -> impl Iterator<Item = (&Subject, Option<u32>)> {
        self.touched.iter().filter_map(|(key, touched)| match key {
            Key::Answers(subject, claimant, 0) if touched.before != touched.now => Some((subject, *claimant)),
            _ => None,
        })
    }

    /// What changed, and what stood there before. Keys that were only read are in neither.
    pub(super) fn finish(mut self) -> (Writes, Undo) {
        let chain = Touched { before: self.chain_before, now: Some(Value::Chain(Box::new(self.chain))) };
        self.touched.insert(Key::Chain, chain);
        let changed = self.touched.into_iter().filter(|(_, Touched { before, now })| before != now);
        let mut changed: Vec<_> = changed.collect();
        changed.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let changes = changed.into_iter().map(|(key, Touched { before, now })| ((key.clone(), now), (key, before)));
        let (writes, undo): (Vec<_>, Vec<_>) = changes.unzip();
        // Built at once, a map's nodes are full; filled one by one in order they stay half empty.
        (writes.into_iter().collect(), undo.into_iter().collect())
    }
}

fn subject_of(creator_id: &Id, content_id: &Id) -> Subject {
    Subject::Content { creator_id: creator_id.clone(), content_id: content_id.clone() }
}

impl CreatorLedger {
    /// Replaces what one content contributes: its score and evidence.
    fn replace(&mut self, before: Option<(Score, u64)>, now: (Score, u64)) {
        match before {
            Some((score, evidence)) => {
                self.sum -= u64::from(score.millionths());
                self.evidence -= evidence;
            }
            None => self.contents += 1,
        }
        self.sum += u64::from(now.0.millionths());
        self.evidence += now.1;
    }
}
