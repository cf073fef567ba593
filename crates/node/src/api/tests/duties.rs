//! Duties, draws and testimonies over HTTP, in front of the fake.

use qfzz_ledger_core::state::{Disputed, Explanation, Fate, Pick, RecordPlace, StationWeight, Step};
use qfzz_ledger_core::testimony::Answer as Finding;
use serde_json::json;

use super::*;
use crate::api::dto::{AnsweredBy, Draw, Draws, Duty};
use crate::api::duties::question;
use crate::api::port::NotAsked;

fn other() -> StationId {
    qfzz_ledger_core::testing::station(9)
}

fn about() -> Record {
    qfzz_ledger_core::testing::verified("track", "maker")
}

impl Fake {
    /// One, of another station's record that was the first in its batch.
    pub(super) fn duties_of_fake(&self) -> Vec<Duty> {
        let batch = self.sign(vec![about()]).batch;
        let (record, hash) = (batch.record_id(0), batch.record_hashes(&self.0.rules)[0]);
        let subject = about().subject().expect("a content");
        vec![Duty {
            batch,
            record,
            hash,
            subject,
            is_positive: true,
            until: Height::new(1_030),
            blocks_left: 1_020,
            is_answered: true,
            is_pending: true,
            registered: None,
            by: AnsweredBy::Command,
            silence: Some("it took longer than 1s, and was killed".to_owned()),
        }]
    }

    pub(super) fn draws_of_fake(&self, record: RecordId) -> Option<Draws> {
        if record.station != other() {
            return None;
        }
        let place = RecordPlace { station: 0, sequence: record.sequence, index: record.index };
        let subject = about().subject().expect("a content");
        let record_drawn = Disputed { place, hash: RecordHash::from_bytes([3; 32]), subject, is_positive: true };
        let pick = Pick { digest: [4; 32], total: 1_500_000, at: 700_000, station: other() };
        let step = Step {
            station: other(),
            record: record_drawn,
            rank: [5; 32],
            credit: 31,
            able: vec![StationWeight { station: other(), number: None, weight: Score::HALF }],
            fate: Fate::Drawn(vec![pick]),
        };
        let earlier = Step { fate: Fate::TooFewJurors, able: Vec::new(), ..step.clone() };
        let explanation = Explanation {
            height: Height::new(7),
            previous_draw: [1; 32],
            draw: [2; 32],
            credit_before: 30,
            auditable: 1,
            jurors: 3,
            candidates: 2,
            earlier: vec![earlier],
            turn: Some(1),
            step: Some(step),
        };
        let draw = Draw {
            block: BlockHash::from_bytes([6; 32]),
            previous: BlockHash::from_bytes([7; 32]),
            reveal: [8; 32],
            explanation,
        };
        let (out_of_reach, next) = (vec![Height::new(3)], Some(Height::new(9)));
        Some(Draws { record, block: Some(Height::new(6)), draws: vec![draw], out_of_reach, next })
    }

    /// Knows the records of one other station, and was drawn for the first of each batch.
    pub(super) async fn testified(&self, record: RecordId, answer: Finding) -> Result<Option<Receipt>, PortError> {
        if record.station != other() {
            return Ok(None);
        }
        self.heed(format!("{record} {answer}"));
        match record.index {
            0 => Ok(self.submit(vec![about()]).await?.first().copied()),
            1 => Err(NotAsked::NotDrawn.into()),
            2 => Err(NotAsked::Answered.into()),
            3 => Err(NotAsked::Expired.into()),
            4 => Err(NotAsked::Equivocated.into()),
            _ => Err(NotAsked::OwnRecord.into()),
        }
    }
}

#[tokio::test]
async fn a_duty_is_listed_with_its_record_its_end_and_what_answers_it() {
    let api = Api::start().await;
    let duties = api.get("/v1/duties").await.json();
    assert_eq!(api.fake.asked().as_deref(), Some("None 0.0 1000"));
    let [duty] = duties.as_array().expect("an array").as_slice() else { panic!("{duties}") };
    let members = json!({
        "kind": "content_verified",
        "subject": {"kind": "content", "content_id": "track", "creator_id": "maker"},
        "claim": "positive",
        "record": {"kind": "content_verified", "content_id": "track", "creator_id": "maker"},
        "until": 1_030, "blocks_left": 1_020, "answered": true, "pending": true, "by": "command",
        "silence": "it took longer than 1s, and was killed",
    });
    for (name, value) in members.as_object().expect("an object") {
        assert_eq!(duty[name], *value, "{name}");
    }
    let id: RecordId = duty["record_id"].as_str().expect("an id").parse().expect("an id");
    assert_eq!(duty["station_id"], id.station.to_string());
    api.get("/v1/duties?answered=false").await;
    assert_eq!(api.fake.asked().as_deref(), Some("Some(false) 0.0 1000"));
    let part = api.get("/v1/duties?limit=1&after=1030.7&answered=true").await;
    assert_eq!(api.fake.asked().as_deref(), Some("Some(true) 1030.7 1"));
    assert_eq!(part.header("link"), "</v1/duties?limit=1&answered=true&after=1030.8>; rel=\"next\"");
    assert_eq!(api.get("/v1/duties?after=1030.8").await.header("link"), "");
    for wrong in ["answered=no", "limit=0", "limit=1001", "after=1030", "after=1030.", "after=-1.0", "after=1.+1"] {
        let refused = api.get(&format!("/v1/duties?{wrong}")).await;
        assert_eq!(refused.problem(), (400, "bad_parameter".to_owned()), "{wrong}");
    }
    assert_eq!(api.get("/v1/duties?open=true").await.problem(), (400, "unknown_parameter".to_owned()));

    // The operator's program is told the same, as far as it is the same for everybody.
    let asked = &api.fake.duties_of_fake()[0];
    let question: Value = serde_json::from_slice(&question(asked, &api.fake.0.rules)).expect("JSON");
    let names = ["record_id", "hash", "station_id", "kind", "subject", "claim", "record", "until"];
    let told: Vec<&String> = question.as_object().expect("an object").keys().collect();
    assert_eq!(told.len(), names.len(), "{told:?}");
    assert!(names.iter().all(|name| question[*name] == duty[*name]), "{question} {duty}");
}

#[tokio::test]
async fn a_draw_is_explained_with_all_that_it_is_made_of() {
    let api = Api::start().await;
    let id = format!("{}.5.1", other());
    let draws = api.get(&format!("/v1/duties/{id}")).await.json();
    assert_eq!((&draws["record_id"], &draws["block"]), (&json!(id), &json!(6)));
    assert_eq!((&draws["out_of_reach"], &draws["next"]), (&json!([3]), &json!(9)));
    assert_eq!(draws["federation_id"], api.fake.0.rules.federation().to_string());
    let draw = &draws["draws"][0];
    let hex = |byte: u8| json!(hex::encode([byte; 32]));
    for (name, value) in [
        ("height", json!(7)),
        ("block", hex(6)),
        ("previous_block", hex(7)),
        ("previous_draw", hex(1)),
        ("reveal", hex(8)),
        ("draw", hex(2)),
        ("credit_before", json!(30)),
        ("auditable", json!(1)),
        ("credit_needed", json!(30)),
        ("juror_weight", json!(250_000)),
        ("jurors", json!(3)),
        ("candidates", json!(2)),
        ("turn", json!(1)),
    ] {
        assert_eq!(draw[name], value, "{name}");
    }
    let station = other().to_string();
    let record = json!({
        "record_id": id, "hash": hex(3), "rank": hex(5), "credit": 31, "outcome": "drawn",
        "able": [{"station_id": station, "weight": 500_000}],
        "picks": [{"digest": hex(4), "sum": 1_500_000, "at": 700_000, "station_id": station}],
    });
    assert_eq!(draw["record"], record);
    assert_eq!((&draw["earlier"][0]["outcome"], &draw["earlier"][0]["able"]), (&json!("too_few_jurors"), &Value::Null));
    let unknown = api.get(&format!("/v1/duties/{}.0.0", qfzz_ledger_core::testing::station(8))).await;
    assert_eq!(unknown.problem(), (404, "unknown_record".to_owned()));
    assert_eq!(api.get("/v1/duties/x").await.problem(), (422, "bad_id".to_owned()));
}

#[tokio::test]
async fn a_testimony_is_taken_where_it_counts_and_refused_elsewhere_with_the_reason() {
    let api = Api::start().await;
    let sent = |index: u16, answer: &str| json!({"record_id": format!("{}.5.{index}", other()), "answer": answer});
    let taken = api.post("/v1/testimonies", sent(0, "contest").to_string()).await;
    assert_eq!(taken.status, 201, "{}", taken.text);
    assert!(taken.json()["record_id"].is_string());
    assert_eq!(api.fake.asked(), Some(format!("{}.5.0 contest", other())));
    let stored = api.fake.submissions();
    for (index, code) in
        [(1, "not_drawn"), (2, "already_answered"), (3, "duty_expired"), (4, "not_drawn"), (5, "own_record")]
    {
        let refused = api.post("/v1/testimonies", sent(index, "agree").to_string()).await;
        assert_eq!(refused.problem(), (409, code.to_owned()));
        assert_eq!(refused.json()["field"], "record_id");
    }
    let unknown = json!({"record_id": format!("{}.5.0", qfzz_ledger_core::testing::station(8)), "answer": "agree"});
    for (body, status, code, field) in [
        (unknown, 404, "unknown_record", "record_id"),
        (sent(0, "maybe"), 422, "unknown_answer", "answer"),
        (json!({"answer": "agree"}), 422, "missing_field", "record_id"),
        (json!({"record_id": "r", "answer": "agree"}), 422, "bad_id", "record_id"),
        (json!({"kind": "testimony", "record_id": "r", "answer": "agree"}), 422, "unknown_field", "kind"),
        (json!({"record_id": 5, "answer": "agree"}), 422, "wrong_type", "record_id"),
    ] {
        let refused = api.post("/v1/testimonies", body.to_string()).await;
        assert_eq!(refused.problem(), (status, code.to_owned()), "{body}");
        assert_eq!(refused.json()["field"], field, "{body}");
    }
    assert_eq!(api.fake.submissions(), stored, "nothing was written");
    let unasked = send(api.request(Method::POST, "/v1/testimonies").body(sent(0, "agree").to_string())).await;
    assert_eq!(unasked.problem(), (401, "missing_token".to_owned()));
}
