//! Live opinions: those that this station is asked for, and those that it asks others for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use qfzz_ledger_core::ids::{Sequence, StationId};
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::state::ReadError;
use qfzz_sync::message::{Request, Response};
use qfzz_sync::opinion::{Asked, LiveOpinion, Nonce, Question, Unanswered};
use qfzz_sync::peer::{PeerSession, SessionError};
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::{Exchange, locked};
use crate::clock;
use crate::service::state::State;
use crate::store::StoreReader;

/// Questions of ours that are under way, at most: four answers' worth. More are not asked.
pub(super) const MAX_QUESTIONS: usize = 256;

/// How long one station may take to answer.
const EACH: Duration = Duration::from_secs(3);

/// How long all of them may take, from the beginning of the whole answer.
const ALL: Duration = Duration::from_secs(5);

impl Exchange {
    /// Answers a peer's question; [`Response::Busy`] where it, or all together, ask too often, and while nothing is signed.
    pub(super) async fn opinion_for(&self, peer: &StationId, question: Question) -> Result<Response, ReadError> {
        let now = clock::now();
        if !locked(&self.neighbours).may_question(peer, now) {
            return Ok(Response::Busy);
        }
        let asked = move |state: &State<StoreReader>| state.live_opinion(question, now);
        match self.service.query(asked).await {
            Ok(opinion) => Ok(opinion?.map_or(Response::Busy, Response::Opinion)),
            Err(_) => Ok(Response::Busy),
        }
    }

    /// Asks connected stations, all at once, what they say of a subject; each with where its log goes on, on the chain.
    /// `began`: when the whole answer did.
    pub(crate) async fn ask_opinions(
        &self,
        subject: &Subject,
        stations: Vec<(StationId, Sequence)>,
        began: Instant,
    ) -> Vec<(StationId, Result<LiveOpinion, Unanswered>)> {
        let until = (Instant::now() + EACH).min(began + ALL);
        let ask = |(station, next)| async move { (station, self.ask_opinion(subject, station, next, until).await) };
        let answers = join_all(stations.into_iter().map(ask)).await;
        for (station, answer) in &answers {
            if let Err(why) = answer {
                self.tell(station, *why);
            }
        }
        answers
    }

    async fn ask_opinion(
        &self,
        subject: &Subject,
        station: StationId,
        next: Sequence,
        until: Instant,
    ) -> Result<LiveOpinion, Unanswered> {
        let permit = Arc::clone(&self.questions).try_acquire_owned().map_err(|_| Unanswered::NotAsked)?;
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| Unanswered::NotAsked)?;
        {
            let mut neighbours = locked(&self.neighbours);
            if !neighbours.may_ask(&station) {
                let is_here = neighbours.contains(&station);
                return Err(if is_here { Unanswered::NotAsked } else { Unanswered::NotConnected });
            }
        }
        let question = Question { subject: subject.clone(), nonce: Nonce::from_bytes(nonce) };
        let asked = Asked { station, question: question.clone(), next };
        let (respond_to, answer) = oneshot::channel();
        let exchange = self.clone();
        // It goes on when nobody waits for it any more, and counts as under way as long as its stream stands.
        self.spawn(async move {
            let session = exchange.session(station);
            let answer = session.request(Request::Opinion(question)).await;
            locked(&exchange.neighbours).asked(&station);
            drop(permit);
            // Whoever asked may have left.
            let _ = respond_to.send(answer);
        });
        let answer = timeout_at(until.into(), answer).await.map_err(|_| Unanswered::Late)?;
        match answer.map_err(|_| Unanswered::NoAnswer)? {
            Ok(Response::Opinion(answer)) => asked.check(&self.rules, answer, clock::now()),
            Ok(Response::Busy) => Err(Unanswered::Busy),
            Err(SessionError::Timeout | SessionError::Dribbled) => Err(Unanswered::Late),
            Ok(Response::Unknown)
            | Err(SessionError::Newer | SessionError::Unsupported | SessionError::Disconnected) => {
                Err(Unanswered::NoAnswer)
            }
            Ok(_) | Err(SessionError::Malformed) => Err(Unanswered::Unreadable),
        }
    }

    /// Tells the log whose answer does not count, as often as it may.
    fn tell(&self, station: &StationId, why: Unanswered) {
        let name = why.as_str();
        if why.is_fault() && self.may_tell() {
            tracing::warn!(peer = %station, "a live opinion is ignored: {name}");
        } else {
            tracing::info!(peer = %station, "no live opinion: {name}");
        }
    }
}
