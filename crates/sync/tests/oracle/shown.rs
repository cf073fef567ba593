//! Answers of the node as the reference writes them.

use std::collections::BTreeSet;

use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::state::{Audit, Writes};
use qfzz_sync::global_trust::{GlobalTrust, Policy, PolicyWeights, Why, get_global_trust, policy_weights};
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

fn shown(answer: &GlobalTrust, name: &impl Fn(&StationId) -> String) -> Value {
    assert_eq!(answer.more, 0);
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
