//! Datasets over HTTP, in front of the fake.

use qfzz_ledger_core::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use qfzz_ledger_core::state::DatasetEvidence;
use serde_json::json;

use super::*;
use crate::api::dto::{Dataset, DatasetChange, DatasetPage};
use crate::api::port::DatasetQuery;

/// Lower case, as the answers show it.
const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// Whom the fake does not trust.
const NOVICE: &str = "novice";

impl Fake {
    pub(super) fn dataset_of(&self, id: &Id) -> Option<Dataset> {
        self.with(|state| state.datasets.iter().find(|it| it.registered.dataset_id == *id).cloned())
    }

    pub(super) fn datasets_of(&self, query: DatasetQuery) -> DatasetPage {
        self.heed(format!("{query:?}"));
        let first = usize::try_from(query.after).unwrap_or(usize::MAX);
        let datasets = self.with(|state| state.datasets.clone());
        let end = first.saturating_add(query.limit);
        let next = (end < datasets.len()).then_some(end as u64);
        DatasetPage { datasets: datasets.into_iter().skip(first).take(query.limit).collect(), next }
    }

    pub(super) async fn register(
        &self,
        registered: DatasetRegistered,
        user: Option<Id>,
    ) -> Result<DatasetChange, PortError> {
        if let Some(user) = user.filter(|user| user.as_str() == NOVICE) {
            let (score, threshold) = (score("0.69"), score("0.7"));
            return Err(PortError::BelowThreshold { user, score, threshold });
        }
        if let Some(found) = self.dataset_of(&registered.dataset_id) {
            return Err(PortError::DatasetExists { dataset: registered.dataset_id, station: found.record_id.station });
        }
        let receipts = self.submit(vec![Record::DatasetRegistered(Box::new(registered.clone()))]).await?;
        let record_id = receipts[0].record_id;
        let evidence = DatasetEvidence::default();
        let dataset =
            Dataset { registered, record_id, is_pending: true, evidence, created_at: now(), updated_at: now() };
        self.with(|state| state.datasets.push(dataset.clone()));
        Ok(DatasetChange { dataset, receipts })
    }

    pub(super) async fn verified(&self, found: DatasetVerified, publish: bool) -> Result<DatasetChange, PortError> {
        let id = found.dataset_id.clone();
        let known = self.dataset_of(&id).ok_or_else(|| PortError::UnknownDataset { dataset: id.clone() })?;
        let (registered, is_match) = (known.registered.sha256, known.registered.sha256 == found.sha256);
        if !is_match && !publish {
            return Err(PortError::DatasetMismatch { dataset: id, registered, found: found.sha256 });
        }
        self.found(&id, Record::DatasetVerified(found), |evidence| {
            evidence.verifications += u64::from(is_match);
            evidence.mismatches += u64::from(!is_match);
        })
        .await
    }

    pub(super) async fn rated(&self, rated: DatasetRated, user: Id) -> Result<DatasetChange, PortError> {
        self.heed(user);
        let (id, rating) = (rated.dataset_id.clone(), u64::from(rated.rating.millionths()));
        self.found(&id, Record::DatasetRated(rated), |evidence| {
            evidence.ratings += 1;
            evidence.rating_sum += rating;
        })
        .await
    }

    async fn found(
        &self,
        id: &Id,
        record: Record,
        change: impl FnOnce(&mut DatasetEvidence),
    ) -> Result<DatasetChange, PortError> {
        if self.dataset_of(id).is_none() {
            return Err(PortError::UnknownDataset { dataset: id.clone() });
        }
        let receipts = self.submit(vec![record]).await?;
        let dataset = self.with(|state| {
            let dataset = state.datasets.iter_mut().find(|it| it.registered.dataset_id == *id).expect("it is known");
            change(&mut dataset.evidence);
            dataset.clone()
        });
        Ok(DatasetChange { dataset, receipts })
    }
}

fn score(text: &str) -> Score {
    text.parse().expect("a score")
}

fn body(id: &str) -> Value {
    json!({ "dataset_id": id, "name": "OpenMusic", "license": "CC-BY", "quality": 0.9, "sha256": SHA256 })
}

#[tokio::test]
async fn a_dataset_is_registered_shown_verified_and_rated() {
    let api = Api::start().await;
    let sent = json!({ "dataset_id": "ds_001", "name": "OpenMusic", "license": "cc-by or MIT", "quality": 0.75,
        "sha256": SHA256.to_uppercase(), "size": 1024, "description": "d", "source": "s", "creator": "c", "genre": "g",
        "tags": ["a", "b"], "user_id": "user_001", "kind": "dataset_registered" });
    let answer = api.post("/v1/datasets", sent.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let shown = api.get("/v1/datasets/ds_001").await.json();
    for (field, value) in [
        ("license", json!("CC-BY-4.0 OR MIT")),
        ("quality_band", json!("medium")),
        ("sha256", json!(SHA256)),
        ("size", json!(1024)),
        ("description", json!("d")),
        ("source", json!("s")),
        ("creator", json!("c")),
        ("genre", json!("g")),
        ("tags", json!(["a", "b"])),
        ("verified", json!(false)),
        ("rating", Value::Null),
        ("status", json!("pending")),
        ("record_id", answer.json()["records"][0]["record_id"].clone()),
        ("station_id", json!(api.fake.0.key.station().to_string())),
    ] {
        assert_eq!(shown[field], value, "{field} of {shown}");
    }
    let verified = api.post("/v1/datasets/ds_001/verify", json!({ "sha256": SHA256 }).to_string()).await;
    assert_eq!((verified.status, &verified.json()["verified"]), (201, &json!(true)));
    let rated = api.post("/v1/datasets/ds_001/rate", r#"{"rating":0.8,"user_id":"u"}"#).await;
    assert_eq!((rated.status, &rated.json()["rating"], &rated.json()["ratings"]), (201, &json!(0.8), &json!(1)));
    let trust = api.get("/v1/trust/datasets/ds_001").await.json();
    assert_eq!((&trust["dataset_id"], &trust["verifications"]), (&json!("ds_001"), &json!(1)), "{trust}");
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_the_rules_name_and_value() {
    let api = Api::start().await;
    let with = |field: &str, value: Value| {
        let mut body = body("d");
        body[field] = value;
        body.to_string()
    };
    for (field, value, status, code, words) in [
        ("license", json!("CC-BY-NC"), 422, "license_not_allowed", ["datasets.licenses", "CC-BY-NC-4.0"]),
        ("license", json!("Proprietary"), 422, "bad_license", ["`Proprietary`", "SPDX"]),
        ("quality", json!(0.65), 422, "quality_too_low", ["datasets.min_quality", "0.7"]),
        ("quality", json!(1.5), 422, "out_of_range", ["quality", "0 to 1"]),
        ("sha256", json!("9f86"), 422, "bad_hash", ["sha256", "64 hex digits"]),
        ("size", json!(-1), 422, "not_a_number", ["size", "whole number"]),
        ("size", json!(1.5), 422, "not_a_number", ["size", "whole number"]),
        ("tags", json!("live"), 422, "wrong_type", ["tags", "list"]),
        ("tags", json!(vec!["t"; 17]), 422, "too_many_tags", ["17", "16"]),
        ("tags", json!([""]), 422, "bad_id", ["tags", "empty"]),
        ("description", json!("x".repeat(1_025)), 422, "bad_id", ["description", "1024"]),
        ("kind", json!("dataset_rated"), 422, "unknown_kind", ["kind", "dataset_registered"]),
        ("station_id", json!("x"), 422, "unknown_field", ["station_id", "user_id"]),
        ("user_id", json!(NOVICE), 403, "below_threshold", ["0.69", "trust.submit_threshold of 0.7"]),
    ] {
        let refused = api.post("/v1/datasets", with(field, value)).await;
        assert_eq!(refused.problem(), (status, code.to_owned()), "{}", refused.text);
        for word in words {
            assert!(refused.text.contains(word), "{word} in {}", refused.text);
        }
    }
    let mut without = body("d");
    without.as_object_mut().expect("an object").remove("quality");
    assert_eq!(api.post("/v1/datasets", without.to_string()).await.problem(), (422, "missing_field".to_owned()));
    assert!(api.fake.submissions().is_empty());
}

#[tokio::test]
async fn the_first_registration_stands_and_another_file_is_published_only_when_asked() {
    let api = Api::start().await;
    assert_eq!(api.get("/v1/datasets/d").await.problem(), (404, "unknown_dataset".to_owned()));
    let other = json!({ "sha256": "00".repeat(32) });
    for (path, body) in [("verify", other.to_string()), ("rate", r#"{"rating":1,"user_id":"u"}"#.to_owned())] {
        let refused = api.post(&format!("/v1/datasets/d/{path}"), body).await;
        assert_eq!(refused.problem(), (404, "unknown_dataset".to_owned()));
    }
    assert_eq!(api.post("/v1/datasets", body("d").to_string()).await.status, 201);
    assert_eq!(api.post("/v1/datasets", body("d").to_string()).await.problem(), (409, "dataset_exists".to_owned()));
    let refused = api.post("/v1/datasets/d/verify", other.to_string()).await;
    assert_eq!(refused.problem(), (409, "dataset_mismatch".to_owned()));
    assert!(refused.text.contains(SHA256) && refused.text.contains(&"00".repeat(32)), "{}", refused.text);
    let published = json!({ "sha256": "00".repeat(32), "publish": true, "user_id": "u" });
    let published = api.post("/v1/datasets/d/verify", published.to_string()).await;
    assert_eq!((published.status, &published.json()["mismatches"]), (201, &json!(1)));
    assert_eq!(published.json()["verified"], false);
    for (body, code) in [
        (r#"{"sha256":"x"}"#, "bad_hash"),
        (r#"{}"#, "missing_field"),
        (r#"{"sha256":"x","publish":1}"#, "wrong_type"),
        (r#"{"sha256":"x","user":"u"}"#, "unknown_field"),
    ] {
        assert_eq!(api.post("/v1/datasets/d/verify", body).await.problem(), (422, code.to_owned()), "{body}");
    }
    for (body, code) in [
        (r#"{"rating":0.8}"#, "missing_field"),
        (r#"{"user_id":"u"}"#, "missing_field"),
        (r#"{"rating":1.1,"user_id":"u"}"#, "out_of_range"),
        (r#"{"rating":"1","user_id":"u"}"#, "not_a_number"),
    ] {
        assert_eq!(api.post("/v1/datasets/d/rate", body).await.problem(), (422, code.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn the_list_is_read_strictly_and_says_where_it_goes_on() {
    let api = Api::start().await;
    assert_eq!(api.get("/v1/datasets").await.json(), json!([]));
    for number in 0..3 {
        assert_eq!(api.post("/v1/datasets", body(&format!("d{number}")).to_string()).await.status, 201);
    }
    let first = api.get("/v1/datasets?limit=2&license=cc-by&tag=a%26b").await;
    assert_eq!(first.json().as_array().map(Vec::len), Some(2));
    let asked = api.fake.asked().expect("it was asked");
    assert!(asked.contains("CC-BY-4.0") && asked.contains("a&b"), "{asked}");
    let link = first.header("link");
    assert_eq!(link, "</v1/datasets?limit=2&license=cc-by&tag=a%26b&after=2>; rel=\"next\"");
    let rest = api.get(link.trim_start_matches('<').split('>').next().expect("a part")).await;
    assert_eq!((rest.json()[0]["dataset_id"].clone(), rest.header("link")), (json!("d2"), ""));
    for (query, field) in [
        ("min_quality=2", "min_quality"),
        ("license=nonsense", "license"),
        ("verified=yes", "verified"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("after=-1", "after"),
    ] {
        let refused = api.get(&format!("/v1/datasets?{query}")).await;
        assert_eq!(refused.problem(), (400, "bad_parameter".to_owned()), "{query}");
        assert_eq!(refused.json()["field"], field);
    }
    for query in ["station=me", "tag=", "tag=%C2%9B", "genre=%00", &format!("creator={}", "x".repeat(129))] {
        assert_eq!(api.get(&format!("/v1/datasets?{query}")).await.problem(), (422, "bad_id".to_owned()), "{query}");
    }
}
