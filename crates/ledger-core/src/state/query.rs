//! Answers: how far a user, a content, a creator or a dataset is trusted, by the ledger and by each station.

use std::collections::{BTreeSet, HashSet};

use super::dataset::{DatasetEvidence, DatasetOpinion};
use super::value::{ContentLedger, ContentOpinion, CreatorLedger, CreatorOpinion, RecordPlace, UserOpinion, Value};
use super::{
    Key, PendingRecord, ReadError, STATIONS_PER_GROUP, Scratch, StateRead, chain_state, equivocation, equivocators,
    station_state,
};
use crate::federation::Rules;
use crate::ids::{Id, StationId};
use crate::record::Subject;
use crate::score::Score;
use crate::time::Timestamp;

/// A user in the ledger's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserTrust {
    /// With what is pending.
    pub score: Score,
    /// At the head: the same on every node.
    pub confirmed_score: Score,
    /// User actions, pending ones included.
    pub actions: u64,
}

/// A content in the ledger's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentTrust {
    /// With what is pending.
    pub score: Score,
    /// At the head: the same on every node.
    pub confirmed_score: Score,
    /// Its score while nobody has verified or reported it.
    pub initial_score: Score,
    /// Verifications, pending ones included.
    pub verifications: u64,
    /// Reports, pending ones included.
    pub reports: u64,
    /// The station and record that hold its metadata; none while nobody has added it.
    pub added: Option<(StationId, RecordPlace)>,
    /// When it was first named, and when it last changed; none while nobody has named it.
    pub times: Option<(Timestamp, Timestamp)>,
}

/// A creator in the ledger's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatorTrust {
    /// With what is pending.
    pub score: Score,
    /// At the head: the same on every node.
    pub confirmed_score: Score,
    /// Contents, pending ones included.
    pub contents: u64,
    /// Verifications and reports of them, pending ones included.
    pub evidence: u64,
}

/// The state with pending records folded on top: what an answer shows.
pub struct Trust<'a, R> {
    pub(super) read: &'a R,
    pub(super) rules: &'a Rules,
}

impl<'a, R: StateRead> Trust<'a, R> {
    /// Answers from `read`.
    pub const fn new(rules: &'a Rules, read: &'a R) -> Self {
        Self { read, rules }
    }

    /// A user, with the `pending` records about it in pool order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn user<'r>(
        &self,
        user: &Id,
        pending: impl IntoIterator<Item = PendingRecord<'r>>,
    ) -> Result<UserTrust, ReadError> {
        let mut scratch = Scratch::new(self.rules, self.read)?;
        let confirmed_score = scratch.user(user)?.map_or(Score::HALF, |user| user.score);
        fold(&mut scratch, pending)?;
        let now = scratch.user(user)?;
        let (score, actions) = now.map_or((Score::HALF, 0), |user| (user.score, user.actions));
        Ok(UserTrust { score, confirmed_score, actions })
    }

    /// A content (a [`Subject::Content`]), with the `pending` records about it in pool order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn content<'r>(
        &self,
        content: &Subject,
        pending: impl IntoIterator<Item = PendingRecord<'r>>,
    ) -> Result<ContentTrust, ReadError> {
        let mut scratch = Scratch::new(self.rules, self.read)?;
        let confirmed = scratch.content(content)?.map_or(Score::HALF, |content| content.score());
        let authors = fold(&mut scratch, pending)?;
        let Some(now) = scratch.content(content)? else {
            return Ok(ContentTrust {
                score: Score::HALF,
                confirmed_score: confirmed,
                initial_score: Score::HALF,
                verifications: 0,
                reports: 0,
                added: None,
                times: None,
            });
        };
        let added = match now.added {
            None => None,
            Some(place) => {
                let pending_author = authors.into_iter().find(|(number, _)| *number == place.station);
                let station = match pending_author {
                    Some((_, station)) => station,
                    None => station_id(self.read, place.station)?,
                };
                Some((station, place))
            }
        };
        let ContentLedger { initial_score, verifications, reports, created_at, updated_at, .. } = now;
        let (score, times) = (now.score(), Some((created_at, updated_at)));
        Ok(ContentTrust { score, confirmed_score: confirmed, initial_score, verifications, reports, added, times })
    }

    /// A creator, with the `pending` records about its contents in pool order.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn creator<'r>(
        &self,
        creator: &Id,
        pending: impl IntoIterator<Item = PendingRecord<'r>>,
    ) -> Result<CreatorTrust, ReadError> {
        let mut scratch = Scratch::new(self.rules, self.read)?;
        let confirmed = scratch.creator(creator)?.unwrap_or_default();
        fold(&mut scratch, pending)?;
        let now: CreatorLedger = scratch.creator(creator)?.unwrap_or_default();
        Ok(CreatorTrust {
            score: now.score(),
            confirmed_score: confirmed.score(),
            contents: now.contents,
            evidence: now.evidence,
        })
    }
}

/// Folds pending records; returns the numbers that their authors have in this scratch.
pub(super) fn fold<'r, R: StateRead>(
    scratch: &mut Scratch<'_, R>,
    pending: impl IntoIterator<Item = PendingRecord<'r>>,
) -> Result<Vec<(u32, StationId)>, ReadError> {
    let (mut authors, mut known) = (Vec::new(), HashSet::new());
    for record in pending {
        scratch.apply(record)?;
        let author = record.batch.station;
        if known.insert(author) {
            authors.push((scratch.station_or_new(&author)?.number, author));
        }
    }
    Ok(authors)
}

/// What one station's own confirmed records say about one subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// Whose opinion it is.
    pub station: StationId,
    /// The score that follows from its records alone.
    pub score: Score,
    /// User actions, verifications and reports, or verifications and ratings; with none it has no voice.
    pub evidence: u64,
    /// What else it says.
    pub detail: OpinionDetail,
}

/// What an opinion says beside score and evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpinionDetail {
    /// Of a user: nothing.
    User,
    /// Of a content: its own counts and initial score, and where its metadata stands.
    Content(ContentOpinion),
    /// Of a creator: its contents.
    Creator {
        /// Contents of that creator that the station has a record about.
        contents: u64,
    },
    /// Of a dataset: what the station found.
    Dataset(DatasetEvidence),
}

/// The opinion of one station about `subject`; `None` where it has no record about it, or has equivocated.
///
/// # Errors
/// [`ReadError`].
pub fn opinion_of(read: &impl StateRead, subject: &Subject, station: &StationId) -> Result<Option<Opinion>, ReadError> {
    let Some(state) = station_state(read, station)? else { return Ok(None) };
    if equivocation(read, station)?.is_some() {
        return Ok(None);
    }
    let group = read_group(read, subject, group_of(state.number))?;
    Ok(group.into_iter().find(|said| said.station == state.number).map(|said| said.by(*station)))
}

/// The same, with `pending` records of the station folded on top, in the order of its log.
///
/// # Errors
/// [`ReadError`].
pub fn opinion_with<'r>(
    rules: &Rules,
    read: &impl StateRead,
    subject: &Subject,
    station: &StationId,
    pending: impl IntoIterator<Item = PendingRecord<'r>>,
) -> Result<Option<Opinion>, ReadError> {
    let mut scratch = Scratch::new(rules, read)?;
    fold(&mut scratch, pending)?;
    opinion_of(&scratch, subject, station)
}

/// The opinions about one subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opinions {
    /// Those that may count, in order of the stations' numbers.
    pub heard: Vec<Opinion>,
    /// Stations that have one as well, but have equivocated: theirs counts for nothing.
    pub equivocators: Vec<StationId>,
}

/// The opinions of all stations about `subject`.
///
/// # Errors
/// [`ReadError`].
pub fn opinions(rules: &Rules, read: &impl StateRead, subject: &Subject) -> Result<Opinions, ReadError> {
    let stations = chain_state(read, rules)?.stations;
    let has_equivocators = equivocators(read)? > 0;
    let mut all = Opinions::default();
    for group in 1..=stations.div_ceil(STATIONS_PER_GROUP) {
        for said in read_group(read, subject, group)? {
            let station = station_id(read, said.station)?;
            if has_equivocators && equivocation(read, &station)?.is_some() {
                all.equivocators.push(station);
            } else {
                all.heard.push(said.by(station));
            }
        }
    }
    Ok(all)
}

/// The stations that have a record about `subject`, be it evidence or not, by number: those in the groups of `asked`.
pub(super) fn recorders(
    read: &impl StateRead,
    subject: &Subject,
    asked: impl Iterator<Item = u32>,
) -> Result<Vec<u32>, ReadError> {
    let groups: BTreeSet<u32> = asked.map(group_of).collect();
    let mut numbers = Vec::new();
    for group in groups {
        numbers.extend(read_group(read, subject, group)?.into_iter().map(|said| said.station));
    }
    Ok(numbers)
}

/// The station with a number.
///
/// # Errors
/// [`ReadError`]; also where there is none, for numbers come from the state itself.
pub fn station_id(read: &impl StateRead, number: u32) -> Result<StationId, ReadError> {
    match read.get(&Key::StationNumber(number))? {
        Some(Value::StationNumber(station)) => Ok(*station),
        _ => Err(ReadError::Damaged { what: "a station's number" }),
    }
}

/// The group of a station's opinions.
const fn group_of(number: u32) -> u32 {
    1 + number / STATIONS_PER_GROUP
}

/// An opinion of the station with a number.
struct Said {
    station: u32,
    score: Score,
    evidence: u64,
    detail: OpinionDetail,
}

impl Said {
    fn by(self, station: StationId) -> Opinion {
        let Self { score, evidence, detail, .. } = self;
        Opinion { station, score, evidence, detail }
    }
}

/// The opinions of one group, by station number.
fn read_group(read: &impl StateRead, subject: &Subject, group: u32) -> Result<Vec<Said>, ReadError> {
    let of_user = |it: UserOpinion| {
        let UserOpinion { station, score, actions: evidence, .. } = it;
        Said { station, score, evidence, detail: OpinionDetail::User }
    };
    let of_content = |it: ContentOpinion| {
        let (station, score, evidence) = (it.station, it.score(), it.verifications + it.reports);
        Said { station, score, evidence, detail: OpinionDetail::Content(it) }
    };
    let of_creator = |it: CreatorOpinion| {
        let detail = OpinionDetail::Creator { contents: it.totals.contents };
        Said { station: it.station, score: it.totals.score(), evidence: it.totals.evidence, detail }
    };
    let of_dataset = |DatasetOpinion { station, evidence, .. }: DatasetOpinion| {
        let (score, count) = (evidence.score(), evidence.count());
        Said { station, score, evidence: count, detail: OpinionDetail::Dataset(evidence) }
    };
    Ok(match (subject, read.get(&Key::Subject(subject.clone(), group))?) {
        (_, None) => Vec::new(),
        (Subject::User(_), Some(Value::UserOpinions(group))) => group.into_iter().map(of_user).collect(),
        (Subject::Content { .. }, Some(Value::ContentOpinions(group))) => group.into_iter().map(of_content).collect(),
        (Subject::Creator(_), Some(Value::CreatorOpinions(group))) => group.into_iter().map(of_creator).collect(),
        (Subject::Dataset(_), Some(Value::DatasetOpinions(group))) => group.into_iter().map(of_dataset).collect(),
        (_, Some(_)) => return Err(ReadError::Damaged { what: "opinions about a subject" }),
    })
}
