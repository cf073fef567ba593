//! How far users, contents and creators are trusted, as the API shows it: by the ledger, or by one station.

use qfzz_ledger_core::ids::{Id, RecordId, StationId};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::record::{Metadata, Record, Subject};
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::{
    Opinion, OpinionDetail, PendingRecord, ReadError, RecordPlace, Trust, equivocation, opinion_of, station_state,
};

use super::station::{StationHandle, head_of};
use crate::api::dto::{self, ContentTrust, CreatorTrust, Head, UserTrust, Voice};
use crate::api::port::PortError;
use crate::service::state::State;
use crate::store::StoreReader;

/// A subject in the ledger's eyes, put together in the worker's turn.
pub(super) struct Answered<T> {
    pub(super) trust: T,
    /// Pending records about the subject, and those of them that are evidence.
    pub(super) pending: Pending,
    /// One station's opinion, where it was asked for.
    pub(super) opinion: Option<(Voice, Option<Opinion>)>,
    pub(super) head: Head,
}

/// Records about a subject that wait for a block.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    records: u64,
    evidence: u64,
}

impl Pending {
    pub(super) const fn records(self) -> u64 {
        self.records
    }

    fn of(records: &[PendingRecord<'_>]) -> Self {
        let is_evidence =
            |it: &&PendingRecord<'_>| !matches!(it.record, Record::ContentAdded(_) | Record::DatasetRegistered(_));
        Self { records: records.len() as u64, evidence: records.iter().filter(is_evidence).count() as u64 }
    }
}

/// What the ledger's answers have in common.
fn ledger_trust(scores: (Score, Score), evidence: u64, known: bool, pending: Pending, head: Head) -> dto::Trust {
    let (score, confirmed_score) = scores;
    let confirmed_evidence = evidence.saturating_sub(pending.evidence);
    let (voice, pending) = (Voice::Ledger, pending.records);
    dto::Trust { voice, score, confirmed_score, evidence, confirmed_evidence, pending, known, head }
}

/// What the answers of one station have in common.
pub(super) fn opinion_trust(voice: Voice, opinion: Option<&Opinion>, pending: Pending, head: Head) -> dto::Trust {
    let (score, evidence) = opinion.map_or((Score::HALF, 0), |opinion| (opinion.score, opinion.evidence));
    let (known, pending) = (opinion.is_some(), pending.records);
    dto::Trust { voice, score, confirmed_score: score, evidence, confirmed_evidence: evidence, pending, known, head }
}

impl StationHandle {
    /// Asks the ledger about `subject`: what all say, and one station's opinion where it is asked for.
    pub(super) async fn about<T: Send + 'static>(
        &self,
        subject: Subject,
        station: Option<StationId>,
        answer: impl FnOnce(&Ledger<StoreReader>) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<Answered<T>, PortError> {
        let question = move |state: &State<StoreReader>| -> Result<Answered<T>, ReadError> {
            let ledger = state.ledger();
            let pending = Pending::of(&ledger.pending_about(&subject)?);
            let opinion = match station {
                None => None,
                Some(station) => {
                    let opinion = opinion_of(ledger.read(), &subject, &station)?;
                    let is_known = || Ok::<_, ReadError>(station_state(ledger.read(), &station)?.is_some());
                    let voice = match &opinion {
                        Some(_) => Voice::Opinion(station),
                        None if equivocation(ledger.read(), &station)?.is_some() => Voice::Equivocator(station),
                        None if ledger.rules().is_founder(&station) || is_known()? => Voice::NoOpinion(station),
                        None => Voice::UnknownStation(station),
                    };
                    Some((voice, opinion))
                }
            };
            Ok(Answered { trust: answer(ledger)?, pending, opinion, head: head_of(ledger) })
        };
        Ok(self.member()?.service.query(question).await??)
    }

    /// How far a user is trusted, by the ledger or by one station.
    pub(super) async fn trust_in_user(&self, user: Id, station: Option<StationId>) -> Result<UserTrust, PortError> {
        let (subject, user_id) = (Subject::User(user.clone()), user.clone());
        let found = self.about(subject.clone(), station, move |ledger| {
            Trust::new(ledger.rules(), ledger.read()).user(&user, ledger.pending_about(&subject)?)
        });
        let Answered { trust, pending, opinion, head } = found.await?;
        let trust = match opinion {
            Some((voice, opinion)) => opinion_trust(voice, opinion.as_ref(), pending, head),
            None => {
                let scores = (trust.score, trust.confirmed_score);
                ledger_trust(scores, trust.actions, trust.actions > 0, pending, head)
            }
        };
        let policy = self.trust_policy();
        let may_submit = trust.score >= policy.submit_threshold;
        Ok(UserTrust { user_id, trust, may_submit, community_trusted: trust.score >= policy.community_threshold })
    }

    /// How far a content is trusted, by the ledger or by one station.
    pub(super) async fn trust_in_content(
        &self,
        content: Id,
        creator: Id,
        station: Option<StationId>,
    ) -> Result<ContentTrust, PortError> {
        let subject = Subject::Content { creator_id: creator.clone(), content_id: content.clone() };
        let asked = subject.clone();
        let found = self.about(subject, station, move |ledger| {
            Trust::new(ledger.rules(), ledger.read()).content(&asked, ledger.pending_about(&asked)?)
        });
        let Answered { trust: all, pending, opinion, head } = found.await?;
        let (content_id, creator_id) = (content, creator);
        if let (Some(station), Some((voice, opinion))) = (station, opinion) {
            let detail = opinion.as_ref().and_then(|it| match &it.detail {
                OpinionDetail::Content(detail) => Some(detail.clone()),
                OpinionDetail::User | OpinionDetail::Creator { .. } | OpinionDetail::Dataset(_) => None,
            });
            let metadata = match detail.as_ref().and_then(|detail| detail.added) {
                Some(place) => self.metadata(station, place).await?,
                None => None,
            };
            return Ok(ContentTrust {
                content_id,
                creator_id,
                trust: opinion_trust(voice, opinion.as_ref(), pending, head),
                verifications: detail.as_ref().map_or(0, |detail| detail.verifications),
                reports: detail.as_ref().map_or(0, |detail| detail.reports),
                initial_score: detail.map_or(Score::HALF, |detail| detail.initial_score),
                metadata,
                created_at: None,
                updated_at: None,
            });
        }
        let metadata = match all.added {
            Some((author, place)) => self.metadata(author, place).await?,
            None => None,
        };
        Ok(ContentTrust {
            content_id,
            creator_id,
            trust: ledger_trust(
                (all.score, all.confirmed_score),
                all.verifications + all.reports,
                all.times.is_some(),
                pending,
                head,
            ),
            verifications: all.verifications,
            reports: all.reports,
            initial_score: all.initial_score,
            metadata,
            created_at: all.times.map(|(created_at, _)| created_at),
            updated_at: all.times.map(|(_, updated_at)| updated_at),
        })
    }

    /// How far a creator is trusted, by the ledger or by one station.
    pub(super) async fn trust_in_creator(
        &self,
        creator: Id,
        station: Option<StationId>,
    ) -> Result<CreatorTrust, PortError> {
        let (subject, creator_id) = (Subject::Creator(creator.clone()), creator.clone());
        let found = self.about(subject.clone(), station, move |ledger| {
            Trust::new(ledger.rules(), ledger.read()).creator(&creator, ledger.pending_about(&subject)?)
        });
        let Answered { trust, pending, opinion, head } = found.await?;
        if let Some((voice, opinion)) = opinion {
            let contents = match opinion.as_ref().map(|it| &it.detail) {
                Some(OpinionDetail::Creator { contents }) => *contents,
                _ => 0,
            };
            let trust = opinion_trust(voice, opinion.as_ref(), pending, head);
            return Ok(CreatorTrust { creator_id, trust, contents });
        }
        let scores = (trust.score, trust.confirmed_score);
        let shown = ledger_trust(scores, trust.evidence, trust.contents > 0, pending, head);
        Ok(CreatorTrust { creator_id, trust: shown, contents: trust.contents })
    }

    /// The metadata of a record that added a content.
    async fn metadata(&self, author: StationId, place: RecordPlace) -> Result<Option<Metadata>, PortError> {
        let id = RecordId { station: author, sequence: place.sequence, index: place.index };
        Ok(self.find(id).await?.and_then(|(batch, _)| match batch.records().get(usize::from(place.index)) {
            Some(Record::ContentAdded(added)) => Some(added.metadata.clone()),
            _ => None,
        }))
    }
}
