//! Answers of the node as the reference writes them.

use std::collections::BTreeSet;

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::state::{Audit, Writes};
use qfzz_sync::global_trust::{
    Agreement, GlobalTrust, Policy, PolicyWeights, Why, get_global_trust, grounds, policy_weights,
};
use serde_json::{Map, Value, json};

use crate::chain::subject_json;

/// The weights of all policies at one head.
pub(crate) struct Asked<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) state: &'a Writes,
    weights: Vec<(Policy, PolicyWeights)>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(rules: &'a Rules, state: &'a Writes) -> Self {
        let of = |policy| (policy, policy_weights(rules, state, policy).expect("memory can be read"));
        Self { rules, state, weights: Policy::ALL.map(of).into_iter().collect() }
    }

    /// Every station's weight under `anchored` and `eigentrust`.
    pub(crate) fn weights(&self, name: &impl Fn(&StationId) -> String) -> Value {
        let anchored = qfzz_ledger_core::state::weights(self.rules, self.state).expect("memory can be read");
        let eigentrust = &self.weights.iter().find(|(policy, _)| *policy == Policy::EigenTrust).expect("it is one").1;
        let shown = |weights: &qfzz_ledger_core::state::Weights| {
            let of = weights.stations().iter().map(|it| (name(&it.station), it.weight.millionths().into()));
            Value::Object(of.collect::<Map<String, Value>>())
        };
        json!({ "anchored": shown(&anchored), "eigentrust": shown(eigentrust.weights()) })
    }

    /// What every station's weight under `anchored` rests on.
    pub(crate) fn grounds(&self, name: &impl Fn(&StationId) -> String) -> Value {
        let weights = &self.weights.iter().find(|(policy, _)| *policy == Policy::Anchored).expect("it is one").1;
        let of = |it: &Agreement| json!([it.info, it.agreement.millionths()]);
        let shown = |station: &StationId| {
            let found = grounds(self.state, weights, station).expect("memory can be read").expect("it is asked");
            let founders = found.founders.iter().map(|(founder, it)| (name(founder), of(it)));
            json!({ "founders": Value::Object(founders.collect()), "jury": of(&found.jury),
                "checked": found.checked, "contradicted": found.contradicted })
        };
        let stations = weights.weights().stations().iter();
        Value::Object(stations.map(|it| (name(&it.station), shown(&it.station))).collect())
    }

    /// The answer of every policy to one question.
    pub(crate) fn answer(
        &self,
        subject: &Subject,
        nodes: Option<&BTreeSet<StationId>>,
        name: &impl Fn(&StationId) -> String,
    ) -> Map<String, Value> {
        let mut row = Map::from_iter([("subject".to_owned(), subject_json(subject))]);
        for (policy, weights) in &self.weights {
            let answer = get_global_trust(self.rules, self.state, weights, subject, nodes).expect("memory can be read");
            row.insert(policy.as_str().to_owned(), shown(&answer, name));
        }
        row
    }
}

/// Checks that the shares of an answer are all of it, but for what rounding leaves.
fn check_shares(answer: &GlobalTrust) {
    let of = |share: qfzz_ledger_core::score::Score| u64::from(share.millionths());
    let voices = answer.voices.iter().map(|voice| of(voice.share));
    let shares: Vec<u64> = voices.chain(answer.jury.map(|jury| of(jury.share))).chain([of(answer.start)]).collect();
    let sum: u64 = shares.iter().sum();
    assert!(sum <= 1_000_000 && sum + shares.len() as u64 >= 1_000_000, "{shares:?}: {answer:?}");
}

fn shown(answer: &GlobalTrust, name: &impl Fn(&StationId) -> String) -> Value {
    assert_eq!(answer.more, 0);
    check_shares(answer);
    let silent = [Why::NoOpinion, Why::UnknownStation, Why::Equivocation];
    let mut voices: Vec<_> = answer.voices.iter().filter(|voice| !silent.contains(&voice.why)).collect();
    voices.sort_by_key(|voice| name(&voice.station));
    let voices: Vec<Value> = voices
        .iter()
        .map(|voice| {
            json!({ "station": name(&voice.station), "score": voice.score.millionths(), "evidence": voice.evidence,
                "weight": voice.weight.millionths(), "why": voice.why.as_str() })
        })
        .collect();
    let mut shown = json!({ "policy": answer.policy.as_str(), "score": answer.score.millionths(),
        "coverage": answer.coverage.millionths(), "confidence": answer.confidence.millionths(), "stations": voices });
    if let Some(jury) = answer.jury {
        shown["jury"] = json!({ "score": jury.score.millionths(), "evidence": jury.evidence });
    }
    shown
}

/// Whom a block draws, with the record's id and the stations' names.
pub(crate) fn audits(
    audits: &[Audit],
    credit: u32,
    id: impl Fn(&Audit) -> String,
    name: &impl Fn(&StationId) -> String,
) -> Value {
    let shown = audits
        .iter()
        .map(|audit| json!({ "record": id(audit), "jurors": audit.jurors.iter().map(name).collect::<Vec<_>>() }));
    json!({ "audits": shown.collect::<Vec<_>>(), "credit": credit })
}
