//! Global trust as the API shows it, and with opinions that stations are asked for at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use qfzz_ledger_core::ids::{Sequence, StationId};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::{ReadError, equivocation, is_vouched};
use qfzz_sync::global_trust::{Live as Opinions, Policy, PolicyWeights, get_live_global_trust, grounds};
use qfzz_sync::opinion::{LiveOpinion, Nonce, Question, Unanswered};

use super::Member;
use super::station::{StationHandle, head_of};
use super::weighing::Weighing;
use crate::api::dto::{GlobalTrust, Live, LogHead, Rests};
use crate::api::port::{GlobalQuery, MAX_ASKED, PortError};
use crate::clock;
use crate::service::state::State;
use crate::store::StoreReader;

/// Whom to ask at once, as the head has it.
struct Plan {
    /// Each with where its log goes on, on the chain.
    asked: Vec<(StationId, Sequence)>,
    /// Whether this station is among those asked: it needs no network to answer.
    asks_itself: bool,
    live: Live,
}

impl StationHandle {
    /// The opinions of many stations, combined.
    pub(super) async fn trust_globally(&self, query: GlobalQuery) -> Result<GlobalTrust, PortError> {
        let member = self.member()?;
        let (policy, weighing) = (query.policy.unwrap_or(self.trust_policy().policy.into()), self.weighing());
        let GlobalQuery { subject, nodes, explain, .. } = query;
        weighing.prepare(&member, policy).await?;
        let heard = match query.live {
            false => None,
            true => Some(hear(&member, &weighing, policy, &subject, nodes.as_ref()).await?),
        };
        let question = move |state: &State<StoreReader>| -> Result<GlobalTrust, ReadError> {
            let ledger = state.ledger();
            let weights = weighing.at_head(ledger, policy)?;
            let (opinions, live) = match heard {
                None => (Opinions::new(), None),
                Some(heard) => {
                    let (opinions, live) = heard.at_head(ledger, &subject)?;
                    (opinions, Some(live))
                }
            };
            let (rules, read) = (ledger.rules(), ledger.read());
            let combined = get_live_global_trust(rules, read, &weights, &subject, nodes.as_ref(), &opinions)?;
            let (mut newest, mut rests) = (BTreeMap::new(), BTreeMap::new());
            for voice in &combined.voices {
                let LogEnd { next, last } = ledger.log_end(&voice.station)?;
                if let Some(sequence) = next.previous() {
                    newest.insert(voice.station, LogHead { sequence, batch_id: last });
                }
                if explain && let Some(found) = rests_of(ledger, &weights, &voice.station)? {
                    rests.insert(voice.station, found);
                }
            }
            let pending = ledger.pending_about(&subject)?.len() as u64;
            Ok(GlobalTrust { subject, combined, newest, rests, live, pending, head: head_of(ledger) })
        };
        Ok(member.service.query(question).await??)
    }
}

/// What a station's weight rests on; `None` where the policy does not weigh by that.
fn rests_of(
    ledger: &Ledger<StoreReader>,
    weights: &PolicyWeights,
    station: &StationId,
) -> Result<Option<Rests>, ReadError> {
    if weights.policy() != Policy::Anchored {
        return Ok(None);
    }
    let (rules, read) = (ledger.rules(), ledger.read());
    let Some(grounds) = grounds(read, weights, station)? else { return Ok(None) };
    let is_vouched = is_vouched(rules, read, station)?;
    Ok(Some(Rests { is_founder: rules.is_founder(station), is_vouched, grounds }))
}

/// What stations said when they were asked at once.
struct Heard {
    said: Vec<LiveOpinion>,
    asks_itself: bool,
    live: Live,
}

/// Asks stations at once, and waits for what they say, at most 5 s.
async fn hear(
    member: &Member,
    weighing: &Arc<Weighing>,
    policy: Policy,
    subject: &Subject,
    nodes: Option<&BTreeSet<StationId>>,
) -> Result<Heard, PortError> {
    let began = Instant::now();
    let connected: BTreeSet<StationId> = member.network.peers().await.into_iter().map(|peer| peer.station).collect();
    let (weighing, nodes) = (Arc::clone(weighing), nodes.cloned());
    let question = move |state: &State<StoreReader>| -> Result<Plan, ReadError> {
        let ledger = state.ledger();
        let weights = weighing.at_head(ledger, policy)?;
        plan(ledger, &weights, nodes.as_ref(), connected)
    };
    let Plan { asked, asks_itself, mut live } = member.service.query(question).await??;
    let mut said = Vec::new();
    for (station, answer) in member.exchange.ask_opinions(subject, asked, began).await {
        match answer {
            Ok(opinion) => said.push(opinion),
            Err(why) => {
                live.unanswered.insert(station, why);
            }
        }
    }
    Ok(Heard { said, asks_itself, live })
}

/// Whom to ask: those named, or the connected ones that weigh something, the heaviest first.
fn plan<R: LedgerRead>(
    ledger: &Ledger<R>,
    weights: &PolicyWeights,
    nodes: Option<&BTreeSet<StationId>>,
    connected: BTreeSet<StationId>,
) -> Result<Plan, ReadError> {
    let own = ledger.own().station();
    let mut live = Live { connected, ..Live::default() };
    let stations: Vec<StationId> = match nodes {
        Some(nodes) => nodes.iter().copied().filter(|station| *station != own).collect(),
        None => {
            let of = |station: &StationId| weights.weights().of(station);
            let mut weighty: Vec<StationId> =
                live.connected.iter().copied().filter(|station| of(station) > Score::ZERO).collect();
            weighty.sort_unstable_by_key(|station| (std::cmp::Reverse(of(station)), *station));
            weighty
        }
    };
    let mut asked = Vec::new();
    for station in stations.into_iter().take(MAX_ASKED) {
        if equivocation(ledger.read(), &station)?.is_some() {
            live.unanswered.insert(station, Unanswered::Equivocation);
        } else if !live.connected.contains(&station) {
            live.unanswered.insert(station, Unanswered::NotConnected);
        } else {
            asked.push((station, ledger.chain_end(&station)?.next));
        }
    }
    Ok(Plan { asked, asks_itself: nodes.is_none_or(|nodes| nodes.contains(&own)), live })
}

impl Heard {
    /// What of it stands at the head: a station whose records were mined meanwhile has said more there.
    fn at_head(self, ledger: &Ledger<StoreReader>, subject: &Subject) -> Result<(Opinions, Live), ReadError> {
        let Self { said, asks_itself, mut live } = self;
        let mut opinions = Opinions::new();
        for opinion in said {
            if opinion.next < ledger.chain_end(&opinion.station)?.next {
                live.unanswered.insert(opinion.station, Unanswered::Overtaken);
            } else {
                opinions.insert(opinion.station, opinion);
            }
        }
        let own = ledger.own().station();
        if asks_itself && equivocation(ledger.read(), &own)?.is_some() {
            live.unanswered.insert(own, Unanswered::Equivocation);
        } else if asks_itself {
            // Nobody else can say this one, so it needs neither nonce nor signature.
            let question = Question { subject: subject.clone(), nonce: Nonce::from_bytes([0; 16]) };
            opinions.insert(own, LiveOpinion::of(ledger, question, clock::now())?);
        }
        live.answered = opinions.keys().copied().collect();
        Ok((opinions, live))
    }
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::ids::Height;
    use qfzz_ledger_core::testing::{Author, admits, at, ledger, rules_with_roster, station};
    use qfzz_sync::global_trust::policy_weights;

    use super::*;

    #[test]
    fn of_more_connected_stations_than_may_be_asked_the_lightest_are_left_out() {
        const FOUNDERS: u8 = 62;
        let rules = rules_with_roster(FOUNDERS);
        let (mut ledger, store) = ledger(&rules, 3);
        // Two founders vouch for five stations, which weigh less than a founder.
        let vouched: Vec<StationId> = (70..75).map(station).collect();
        let [mut one, mut other] = [1, 2].map(|number| Author::new(&rules, number));
        let body = [&mut one, &mut other].map(|it| it.batch(at(0), vouched.iter().map(|it| admits(*it)).collect()));
        let block = one.block((Height::ZERO, rules.genesis_hash()), 0, at(1), body.into());
        for transition in ledger.add_blocks(vec![block], at(2)).expect("memory can be read").transitions {
            store.apply(&transition);
            ledger.committed(transition.number);
        }
        let weights = policy_weights(&rules, ledger.read(), Policy::Anchored).expect("memory can be read");
        let founders = (1..=FOUNDERS).filter(|number| *number != 3).map(station);
        let connected: BTreeSet<StationId> = founders.clone().chain(vouched.iter().copied()).collect();
        assert_eq!((connected.len(), MAX_ASKED), (66, 64));

        let plan_of = |nodes: Option<&BTreeSet<StationId>>| {
            plan(&ledger, &weights, nodes, connected.clone()).expect("memory can be read")
        };
        let Plan { asked, asks_itself, live } = plan_of(None);
        // Of those that weigh the same the lowest ids are asked.
        let lowest: BTreeSet<StationId> = vouched.iter().copied().collect();
        let (taken, left): (Vec<_>, Vec<_>) = lowest.into_iter().zip(0..).partition(|(_, place)| *place < 3);
        let expected: BTreeSet<StationId> = founders.chain(taken.into_iter().map(|(station, _)| station)).collect();
        assert_eq!(asked.iter().map(|(station, _)| *station).collect::<BTreeSet<_>>(), expected);
        assert_eq!(asked.len(), MAX_ASKED);
        assert!(asks_itself);
        for (station, _) in left {
            assert_eq!(live.why_not(&station), Some(Unanswered::NotAsked));
        }
        // Who is named is asked, whatever it weighs.
        let named = BTreeSet::from([vouched[4]]);
        let Plan { asked, asks_itself, .. } = plan_of(Some(&named));
        assert_eq!((asked.into_iter().map(|(station, _)| station).collect(), asks_itself), (named, false));
    }
}
