//! A working copy of the keys that are being changed, and the fold of records into it.

use std::collections::BTreeMap;

use super::value::{
    ChainState, ContentLedger, ContentOpinion, CreatorLedger, CreatorOpinion, RecordPlace, StationState, UserLedger,
    UserOpinion, Value,
};
use super::{Key, ReadError, STATIONS_PER_GROUP, StateRead, Undo, Writes, station_state};
use crate::batch::BatchHeader;
use crate::federation::Rules;
use crate::ids::{BatchId, Id, Sequence, StationId};
use crate::record::{Record, Subject, UserAction};
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
    /// Each key read: what it held, and what it holds now.
    touched: BTreeMap<Key, (Option<Value>, Option<Value>)>,
    chain: ChainState,
    chain_before: Option<Value>,
}

const DAMAGED: ReadError = ReadError::Damaged { what: "an entry of the trust state" };

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

/// Finds the opinion of a station in its group, or where it belongs.
macro_rules! update_opinion {
    ($scratch:expr, $subject:expr, $station:expr, $variant:path, $new:expr, $change:expr) => {{
        let key = Key::Subject($subject.clone(), 1 + $station / STATIONS_PER_GROUP);
        let mut opinions = expect_value!($scratch.value(&key)?, $variant)?.unwrap_or_default();
        let at = match opinions.binary_search_by_key(&$station, |opinion| opinion.station) {
            Ok(at) => at,
            Err(at) => {
                opinions.insert(at, $new);
                at
            }
        };
        let change = $change;
        let result = change(&mut opinions[at]);
        $scratch.set(key, $variant(opinions));
        result
    }};
}

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
        Ok(Self { rules, read, touched: BTreeMap::new(), chain, chain_before })
    }

    /// The totals as they stand now.
    pub fn chain(&self) -> &ChainState {
        &self.chain
    }

    pub(super) fn chain_mut(&mut self) -> &mut ChainState {
        &mut self.chain
    }

    /// The value under `key` as it stands now.
    fn value(&mut self, key: &Key) -> Result<Option<&Value>, ReadError> {
        if !self.touched.contains_key(key) {
            let value = self.read.get(key)?;
            self.touched.insert(key.clone(), (value.clone(), value));
        }
        Ok(self.touched.get(key).and_then(|(_, now)| now.as_ref()))
    }

    fn set(&mut self, key: Key, value: Value) {
        // Every key is read before it is written, so an absent entry is an absent value.
        self.touched.entry(key).or_insert((None, None)).1 = Some(value);
    }

    /// A user's ledger part as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn user(&mut self, user: &Id) -> Result<Option<UserLedger>, ReadError> {
        let key = Key::Subject(Subject::User(user.clone()), 0);
        expect_value!(self.value(&key)?, Value::User)
    }

    /// A content's ledger part as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn content(&mut self, subject: &Subject) -> Result<Option<ContentLedger>, ReadError> {
        let key = Key::Subject(subject.clone(), 0);
        Ok(expect_value!(self.value(&key)?, Value::Content)?.map(|content| *content))
    }

    /// A creator's ledger part as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn creator(&mut self, creator: &Id) -> Result<Option<CreatorLedger>, ReadError> {
        let key = Key::Subject(Subject::Creator(creator.clone()), 0);
        expect_value!(self.value(&key)?, Value::Creator)
    }

    /// What the branch knows of a station as it stands now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn station(&mut self, station: &StationId) -> Result<Option<StationState>, ReadError> {
        match self.touched.get(&Key::Station(*station)) {
            Some((_, now)) => Ok(expect_value!(now.as_ref(), Value::Station)?.map(|state| *state)),
            None => station_state(self.read, station),
        }
    }

    /// Writes what the branch knows of a station.
    pub(super) fn set_station(&mut self, station: &StationId, state: StationState) -> Result<(), ReadError> {
        let key = Key::Station(*station);
        self.value(&key)?;
        self.set(key, Value::Station(Box::new(state)));
        Ok(())
    }

    /// The station's entry, made with the next number at its first appearance.
    pub(super) fn station_or_new(&mut self, station: &StationId) -> Result<StationState, ReadError> {
        if let Some(state) = self.station(station)? {
            return Ok(state);
        }
        let number = self.chain.stations;
        self.chain.stations += 1;
        let key = Key::StationNumber(number);
        self.value(&key)?;
        self.set(key, Value::StationNumber(Box::new(*station)));
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
        if self.value(&Key::Equivocation(*station))?.is_some() && !self.rules.is_founder(station) {
            self.count_equivocator()?;
        }
        Ok(state)
    }

    fn count_equivocator(&mut self) -> Result<(), ReadError> {
        let count = expect_value!(self.value(&Key::Equivocators)?, Value::Equivocators)?.unwrap_or(0);
        self.set(Key::Equivocators, Value::Equivocators(count + 1));
        Ok(())
    }

    /// Takes note of the first proof against a station; a later one has no effect.
    fn apply_equivocation(&mut self, accused: &StationId, place: RecordPlace) -> Result<(), ReadError> {
        let key = Key::Equivocation(*accused);
        if self.value(&key)?.is_some() {
            return Ok(());
        }
        self.set(key, Value::Equivocation(place));
        if self.rules.is_founder(accused) || self.station(accused)?.is_some() {
            self.count_equivocator()?;
        }
        Ok(())
    }

    /// Folds one record into the state.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn apply(&mut self, pending: PendingRecord<'_>) -> Result<(), ReadError> {
        let station = self.station_or_new(&pending.batch.station)?.number;
        let place = RecordPlace { station, sequence: pending.batch.sequence, index: pending.index };
        let signed_at = pending.batch.created_at;
        self.chain.records += 1;
        match pending.record {
            Record::UserAction(action) => self.apply_action(station, action),
            Record::BatchEquivocation(proof) => self.apply_equivocation(&proof.station(), place),
            Record::ContentAdded(content) => {
                let (subject, creator) = (subject_of(&content.creator_id, &content.content_id), &content.creator_id);
                let score = content.initial_score;
                self.change_content(&subject, creator, signed_at, |ledger| match ledger.added {
                    Some(added) if added.station != station => {}
                    _ => (ledger.initial_score, ledger.added) = (score, Some(place)),
                })?;
                self.change_content_opinion(station, &subject, creator, |opinion| {
                    (opinion.initial_score, opinion.added) = (score, Some(place));
                })
            }
            Record::ContentVerified(content) => {
                let (subject, creator) = (subject_of(&content.creator_id, &content.content_id), &content.creator_id);
                self.change_content(&subject, creator, signed_at, |ledger| ledger.verifications += 1)?;
                self.change_content_opinion(station, &subject, creator, |opinion| opinion.verifications += 1)
            }
            Record::ContentReported(content) => {
                let (subject, creator) = (subject_of(&content.creator_id, &content.content_id), &content.creator_id);
                self.change_content(&subject, creator, signed_at, |ledger| ledger.reports += 1)?;
                self.change_content_opinion(station, &subject, creator, |opinion| opinion.reports += 1)
            }
        }
    }

    fn apply_action(&mut self, station: u32, action: &UserAction) -> Result<(), ReadError> {
        let user = match self.user(&action.user_id)? {
            Some(user) => user,
            None => {
                self.chain.users += 1;
                UserLedger { score: Score::HALF, actions: 0 }
            }
        };
        let subject = Subject::User(action.user_id.clone());
        let moved = UserLedger { score: user.score.moved(action.trust_delta), actions: user.actions + 1 };
        self.set(Key::Subject(subject.clone(), 0), Value::User(moved));
        let new = UserOpinion { station, score: Score::HALF, actions: 0 };
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
        self.set(Key::Subject(Subject::Creator(creator.clone()), 0), Value::Creator(totals));
        self.set(Key::Subject(subject.clone(), 0), Value::Content(Box::new(content)));
        Ok(())
    }

    /// Changes a station's opinion of a content, and of its creator with it.
    fn change_content_opinion(
        &mut self,
        station: u32,
        subject: &Subject,
        creator: &Id,
        change: impl FnOnce(&mut ContentOpinion),
    ) -> Result<(), ReadError> {
        let new = ContentOpinion { station, initial_score: Score::HALF, verifications: 0, reports: 0, added: None };
        let evidence = |opinion: &ContentOpinion| opinion.verifications + opinion.reports;
        let (before, now) =
            update_opinion!(self, subject, station, Value::ContentOpinions, new, |opinion: &mut ContentOpinion| {
                // A station's first word about a content always leaves one of these behind.
                let is_new = evidence(opinion) == 0 && opinion.added.is_none();
                let before = (!is_new).then(|| (opinion.score(), evidence(opinion)));
                change(opinion);
                (before, (opinion.score(), evidence(opinion)))
            });
        let creator = Subject::Creator(creator.clone());
        let new = CreatorOpinion { station, totals: CreatorLedger::default() };
        update_opinion!(self, creator, station, Value::CreatorOpinions, new, |opinion: &mut CreatorOpinion| {
            opinion.totals.replace(before, now);
        });
        Ok(())
    }

    /// What changed, and what stood there before. Keys that were only read are in neither.
    pub(super) fn finish(mut self) -> (Writes, Undo) {
        self.touched.insert(Key::Chain, (self.chain_before, Some(Value::Chain(Box::new(self.chain)))));
        let changed = self.touched.into_iter().filter(|(_, (before, now))| before != now);
        let (writes, undo): (Vec<_>, Vec<_>) =
            changed.map(|(key, (before, now))| ((key.clone(), now), (key, before))).unzip();
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
