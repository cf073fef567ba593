//! What is shown: status, trust, blocks, export.

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::record::{ContentAdded, ContentRef};
use serde_json::json;

use super::*;

fn added(metadata: &str) -> Record {
    Record::ContentAdded(ContentAdded {
        content_id: Id::new("c").expect("an id"),
        creator_id: Id::new("m").expect("an id"),
        initial_score: "0.25".parse().expect("a score"),
        metadata: Metadata::new(metadata).expect("short"),
    })
}

fn reported() -> Record {
    Record::ContentReported(ContentRef {
        content_id: Id::new("c").expect("an id"),
        creator_id: Id::new("m").expect("an id"),
    })
}

#[tokio::test]
async fn health_and_readiness() {
    let api = Api::start().await;
    assert_eq!(
        (api.get("/livez").await.status, api.get("/readyz").await.json()),
        (200, json!({"ready": true, "reasons": []}))
    );
    api.fake.with(|state| state.fails = Some(PortError::NoFederation));
    let unready = api.get("/readyz").await;
    assert_eq!(unready.problem(), (503, "not_ready".to_owned()));
    assert_eq!(unready.json()["reasons"], json!(["this station has no federation yet"]));
    assert_eq!(api.get("/livez").await.status, 200);
    let head = send(api.request(Method::HEAD, "/livez")).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[tokio::test]
async fn the_station_shows_itself() {
    let api = Api::start().await;
    let (station, head) = (api.fake.0.key.station().to_string(), api.fake.head());
    let head = json!({"index": 0, "hash": head.hash.to_string()});
    let status = api.get("/v1/status").await.json();
    assert_eq!(
        (&status["station_id"], &status["head"], &status["federation"]),
        (&json!(station), &head, &json!("fake federation"))
    );
    assert_eq!(status["federation_id"], head["hash"], "the federation's id is the hash of genesis");
    assert_eq!((&status["peers"], &status["synced"], &status["reorganisations"]), (&json!(1), &json!(true), &json!(3)));
    assert_eq!(status["problems"][0]["problem"], "it is a fake");
    let peers = api.get("/v1/peers").await.json();
    assert_eq!((&peers[0]["head"], &peers[0]["connected_since"]), (&head, &json!("2026-01-25T10:00:00.000Z")));
    assert_eq!(api.get("/v1/ticket").await.json(), json!({"ticket": "qfzz1fake"}));
    let listed = api.get("/v1/stations").await.json()[0].clone();
    assert_eq!((listed["station_id"].as_str(), listed["equivocated"].as_bool()), (Some(&station[..]), Some(true)));
    assert_eq!(listed["equivocation"], format!("{}.3.1", listed["station_id"].as_str().expect("a text")));
    let expected = json!({"chain_length": 1, "total_records": 4, "pending_records": 1, "difficulty": 2, "is_valid": true,
        "chain_valid": true, "indexed_records": 1, "total_users": 2, "work": 256, "head": head});
    assert_eq!(api.get("/v1/chain").await.json(), expected);
    let verified = api.get("/v1/chain/verify").await;
    assert_eq!(
        (verified.status, verified.json()),
        (200, json!({"valid": false, "blocks": 1, "problem": "block 1: it is a fake"}))
    );
}

#[tokio::test]
async fn trust_is_shown_with_at_most_six_decimals() {
    let api = Api::start().await;
    let user = api.get("/v1/trust/users/user%20%C3%A9").await;
    assert_eq!(user.json()["user_id"], "user é");
    assert_eq!((&user.json()["band"], &user.json()["station_id"]), (&json!("neutral"), &Value::Null));
    assert!(user.text.contains(r#""score":0.54,"confirmed_score":0.5,"#), "{}", user.text);
    let creator = api.get("/v1/trust/creators/m").await;
    assert!(creator.text.contains(r#""score":0.000001,"#), "{}", creator.text);
    let station = api.fake.0.key.station();
    let content = api.get(&format!("/v1/trust/content?content_id=c%2F1&creator_id=m&station={station}")).await.json();
    assert_eq!((&content["content_id"], &content["station_id"]), (&json!("c/1"), &json!(station.to_string())));
    assert_eq!((&content["verifications"], &content["metadata"]), (&json!(4), &json!({"tags": ["original"]})));
    assert_eq!((&content["created_at"], &content["updated_at"]), (&json!("2026-01-25T10:00:00.000Z"), &Value::Null));
    assert_eq!((&content["band"], &content["initial_score"]), (&json!("high"), &json!(0.5)));
}

#[tokio::test]
async fn questions_about_trust_are_read_strictly() {
    let api = Api::start().await;
    let other = StationId::from_bytes([9; 32]);
    for (path, status, code, field) in [
        ("/v1/trust/users/u?station=me", 400 + 22, "bad_id", "station"),
        ("/v1/trust/users/u?at=1", 400, "unknown_parameter", "at"),
        ("/v1/trust/users/a%00b", 422, "bad_id", "user_id"),
        ("/v1/trust/content?content_id=c", 400, "missing_parameter", "creator_id"),
        ("/v1/trust/content?creator_id=c&content_id=", 422, "bad_id", "content_id"),
        ("/v1/trust/global?id=u", 400, "missing_parameter", "kind"),
        ("/v1/trust/global?kind=user", 400, "missing_parameter", "id"),
        ("/v1/trust/global?kind=content&id=c", 400, "missing_parameter", "creator_id"),
        ("/v1/trust/global?kind=user&id=c&creator_id=m", 400, "unknown_parameter", "creator_id"),
        ("/v1/trust/global?kind=planet&id=c", 400, "bad_parameter", "kind"),
        ("/v1/trust/global?kind=dataset&id=d&creator_id=m", 400, "unknown_parameter", "creator_id"),
        ("/v1/trust/datasets/a%00b", 422, "bad_id", "dataset_id"),
        ("/v1/trust/global?kind=user&id=u&live=yes", 400, "bad_parameter", "live"),
        ("/v1/trust/global?kind=user&id=u&live=true&explain=1", 400, "bad_parameter", "explain"),
        ("/v1/trust/global?kind=user&id=u&policy=loudest", 400, "unknown_policy", "policy"),
        ("/v1/trust/global?kind=user&id=u&nodes=x", 422, "bad_id", "nodes"),
        ("/v1/trust/global?kind=user&id=u&nodes=", 422, "bad_id", "nodes"),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.problem(), (status, code.to_owned()), "{path}");
        assert_eq!(answer.json()["field"], field, "{path}");
    }
    let unknown = api.get("/v1/trust/global?kind=user&id=u&policy=loudest").await.json();
    assert!(
        unknown["detail"].as_str().is_some_and(|detail| detail.contains("`loudest`") && detail.contains("anchored")),
        "{unknown}"
    );

    let content = api
        .get(&format!("/v1/trust/global?kind=content&id=c&creator_id=m&policy=mean&live=false&nodes={other},{other}"))
        .await;
    let shown = content.json();
    assert_eq!(
        (&shown["kind"], &shown["content_id"], &shown["creator_id"]),
        (&json!("content"), &json!("c"), &json!("m"))
    );
    assert_eq!(
        (&shown["policy"], &shown["band"], shown["stations"].as_array().map(Vec::len)),
        (&json!("mean"), &json!("neutral"), Some(1))
    );
    let voice = json!({"station_id": other.to_string(), "score": 0.5, "evidence": 1, "weight": 1, "share": 0.8, "answered": true,
        "unanswered": null, "why": "counted", "grounds": null, "head": {"sequence": 0, "batch_id": "0".repeat(64)}});
    assert_eq!(shown["stations"][0], voice);
    assert!(content.text.contains(r#""coverage":1,"confidence":0.2,"#), "{}", content.text);
    assert_eq!(api.get("/v1/trust/global?kind=user&id=u").await.json()["user_id"], "u");
    assert_eq!(api.get("/v1/trust/global?kind=creator&id=m").await.json()["creator_id"], "m");
    assert_eq!((&shown["live"], &shown["unanswered"], &shown["start"]), (&json!(false), &json!([]), &json!(0.2)));
}

#[tokio::test]
async fn a_live_answer_names_who_did_not_answer_and_an_explained_one_what_weights_rest_on() {
    let api = Api::start().await;
    let [one, two] = [3, 4].map(|byte| StationId::from_bytes([byte; 32]).to_string());
    let path = format!("/v1/trust/global?kind=user&id=u&nodes={one},{two}&live=true&explain=true");
    let shown = api.get(&path).await.json();
    assert_eq!((&shown["live"], &shown["includes_pending"]), (&json!(true), &json!(true)));
    assert_eq!(shown["unanswered"], json!([{ "station_id": two, "why": "late", "fault": false }]));
    let told = |at: usize| ["station_id", "answered", "unanswered"].map(|member| shown["stations"][at][member].clone());
    assert_eq!([told(0), told(1)], [[json!(one), json!(true), json!(null)], [json!(two), json!(false), json!("late")]]);
    let founder = StationId::from_bytes([8; 32]).to_string();
    let grounds = json!({ "founder": false, "vouched": true, "jury": { "info": 1.2, "agreement": 1 }, "checked": 3,
        "founders": [{ "station_id": founder, "info": 1.2, "agreement": 1 }], "contradicted": 0.4 });
    assert_eq!((&shown["stations"][0]["grounds"], &shown["stations"][1]["grounds"]), (&grounds, &Value::Null));

    let named = |count: u8| (0..count).map(|byte| StationId::from_bytes([byte; 32]).to_string());
    let ask = |count: u8, live: &str| {
        let nodes = named(count).collect::<Vec<_>>().join(",");
        format!("/v1/trust/global?kind=user&id=u&nodes={nodes}{live}")
    };
    let refused = api.get(&ask(65, "&live=true")).await;
    assert_eq!(refused.problem(), (400, "bad_parameter".to_owned()));
    assert!(refused.json()["detail"].as_str().is_some_and(|it| it.contains("more than 64")), "{}", refused.text);
    for fits in [ask(64, "&live=true"), ask(65, "")] {
        assert_eq!(api.get(&fits).await.status, 200);
    }
}

#[tokio::test]
async fn genesis_is_shown_without_parent_and_producer() {
    let api = Api::start().await;
    let genesis = api.get("/v1/chain/blocks/0").await.json();
    let header = api.fake.0.rules.genesis().header();
    let expected = json!({"index": 0, "hash": api.fake.head().hash.to_string(), "previous_hash": "0", "timestamp": "2026-01-25T10:00:00.000Z",
        "producer": null, "version": 1, "difficulty": 2, "nonce": header.nonce, "merkle_root": hex::encode(header.merkle_root),
        "batch_count": 0, "body_bytes": 0, "reveal": "0".repeat(64), "seal": "", "records": []});
    assert_eq!(genesis, expected);
}

#[tokio::test]
async fn blocks_are_found_by_index_hash_and_as_the_latest() {
    let api = Api::start().await;
    api.fake.submit(vec![added(r#"{"a":1}"#), added("not JSON"), reported()]).await.expect("stored");
    let mined = api.post("/v1/mine", "").await.json();
    let records = mined["records"].as_array().expect("records");
    assert_eq!(
        (&records[0]["kind"], &records[0]["metadata"], &records[1]["metadata"]),
        (&json!("content_added"), &json!({"a": 1}), &Value::Null)
    );
    assert_eq!((&records[2]["kind"], &records[2]["creator_id"]), (&json!("content_reported"), &json!("m")));
    assert_eq!((&mined["nonce"], &mined["reveal"]), (&json!(u64::MAX), &json!("ab".repeat(32))));
    assert_eq!(mined["seal"].as_str().map(str::len), Some(128));
    assert_eq!(mined["producer"], api.fake.0.key.station().to_string());
    let hash = hash(&mined["hash"]);
    let whole = hash.to_string();
    for at in ["latest", "1", &whole, &whole[..6], &whole[..63]] {
        assert_eq!(api.get(&format!("/v1/chain/blocks/{at}")).await.json(), mined, "{at}");
    }
    assert_eq!(mined["previous_hash"], api.get("/v1/chain/blocks/0").await.json()["hash"]);
    for (at, status, code) in [
        ("2", 404, "unknown_block"),
        (&"f".repeat(64), 404, "unknown_block"),
        ("18446744073709551616", 400, "bad_parameter"),
        ("-1", 400, "bad_parameter"),
        ("+1", 400, "bad_parameter"),
        ("newest", 400, "bad_parameter"),
    ] {
        assert_eq!(api.get(&format!("/v1/chain/blocks/{at}")).await.problem(), (status, code.to_owned()), "{at}");
    }
    let station = api.fake.0.key.station();
    for (id, status, code) in [
        (format!("{station}.9.9"), 404, "unknown_record"),
        ("x".to_owned(), 422, "bad_id"),
        (format!("{station}.0.01"), 422, "bad_id"),
    ] {
        assert_eq!(api.get(&format!("/v1/records/{id}")).await.problem(), (status, code.to_owned()), "{id}");
    }
}

#[tokio::test]
async fn blocks_are_listed_from_a_height_up_to_a_limit() {
    let api = Api::start().await;
    for _ in 0..4 {
        api.fake.submit(vec![reported()]).await.expect("stored");
        api.post("/v1/mine", "").await;
    }
    let listed = async |query: &str| {
        let blocks = api.get(&format!("/v1/chain/blocks{query}")).await.json();
        blocks
            .as_array()
            .expect("an array")
            .iter()
            .map(|block| block["index"].as_u64().expect("an index"))
            .collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, [0, 1, 2, 3, 4]);
    assert_eq!(listed("?from=1&limit=2").await, [1, 2]);
    assert_eq!(listed("?from=4&limit=10000").await, [4]);
    assert_eq!(listed("?from=5").await, Vec::<u64>::new());
    for query in ["?from=-1", "?limit=0", "?limit=10001", "?limit=x", "?from=1&from=2"] {
        assert_eq!(
            api.get(&format!("/v1/chain/blocks{query}")).await.problem(),
            (400, "bad_parameter".to_owned()),
            "{query}"
        );
    }
    assert_eq!(api.get("/v1/chain/blocks?to=3").await.problem(), (400, "unknown_parameter".to_owned()));
}

#[tokio::test]
async fn an_export_holds_every_byte_that_is_needed_to_verify_it() {
    let api = Api::start().await;
    api.fake.submit(vec![added("{}"), reported()]).await.expect("stored");
    api.post("/v1/mine", "").await;
    let export = api.get("/v1/chain/export").await;
    assert_eq!((export.status, export.header("content-type")), (200, "application/json"));
    let blocks = export.json();
    let bytes = |text: &Value| hex::decode(text.as_str().expect("text")).expect("hex");
    let rules = Rules::new(Genesis::decode(&bytes(&blocks[0]["genesis"])).expect("a genesis")).expect("rules");
    assert_eq!(rules.genesis().id().to_string(), blocks[0]["hash"]);
    let header: BlockHeader = qfzz_ledger_core::codec::decode(&bytes(&blocks[1]["header"]), 168).expect("a header");
    assert_eq!(rules.block_hash(&header).to_string(), blocks[1]["hash"]);
    let batch = SignedBatch::decode(&bytes(&blocks[1]["batches"][0])).expect("a batch").verify(&rules).expect("valid");
    assert_eq!(batch.records(), [added("{}"), reported()]);
    assert_eq!(encode(batch.signed()).len(), batch.encoded_len());
    assert_eq!(blocks[1]["records"][1]["hash"], batch.record_hashes(&rules)[1].to_string());
    assert_eq!(blocks[1].get("genesis"), None);
}

#[tokio::test]
async fn an_export_that_breaks_off_cannot_be_taken_for_a_whole_one() {
    let api = Api::start().await;
    api.fake.submit(vec![reported()]).await.expect("stored");
    api.post("/v1/mine", "").await;
    api.fake.with(|state| state.unreadable_from = Some(1));
    let whole = match api.request(Method::GET, "/v1/chain/export").send().await {
        Ok(response) => response.bytes().await.is_ok(),
        Err(_) => false,
    };
    assert!(!whole, "the answer must not end as if it were whole");
    api.fake.with(|state| state.unreadable_from = Some(0));
    assert_eq!(api.get("/v1/chain/export").await.problem(), (500, "internal".to_owned()));
}
