//! Records as they are sent: what is read from them, and what each refusal says.

use std::collections::BTreeMap;

use qfzz_ledger_core::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use qfzz_ledger_core::ids::{ContentHash, Label, Text};
use qfzz_ledger_core::record::{ContentAdded, ContentRef, UserAction};
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::testing::{rules_with, station};

use super::*;
use crate::api::record::{FieldError, Sent, parse_record};

fn id(text: &str) -> Id {
    Id::new(text).expect("an id")
}

fn rules() -> Arc<Rules> {
    rules_with(|it| it.set_action(id("spam"), "-0.05".parse().expect("a delta")))
}

fn read(text: &str) -> Result<Record, FieldError> {
    parse_record(text, &rules(), now()).map(|sent| match sent {
        Sent::Whole(record) => record,
        Sent::Testimony { .. } => panic!("a testimony lacks a hash: {text}"),
    })
}

/// The refusal of `text`: field, code, detail.
fn refused(text: &str) -> (String, &'static str, String) {
    let error = read(text).expect_err(text);
    (error.field.unwrap_or_default(), error.code.as_str(), error.detail)
}

fn user_action(rest: &str) -> String {
    format!(r#"{{"kind":"user_action","user_id":"u","action":"interaction"{rest}}}"#)
}

fn content_added(rest: &str) -> String {
    format!(r#"{{"kind":"content_added","content_id":"c","creator_id":"m"{rest}}}"#)
}

#[test]
fn every_kind_is_read_with_all_its_fields() {
    let text = r#"{"kind":"user_action","user_id":"user_001","action":"spam","target":"dj","trust_delta":-0.05,"timestamp":"2026-01-25T11:00:00.5+01:00"}"#;
    let expected = UserAction {
        user_id: id("user_001"),
        action: id("spam"),
        target: "dj".parse().expect("a target"),
        trust_delta: "-0.05".parse().expect("a delta"),
        timestamp: now().saturating_add(500),
    };
    assert_eq!(read(text), Ok(Record::UserAction(expected)));
    let text = r#"{"metadata":{"tags":["original"],"a":1},"initial_score":0.75,"creator_id":"m","content_id":"c","kind":"content_added"}"#;
    let expected = ContentAdded {
        content_id: id("c"),
        creator_id: id("m"),
        initial_score: "0.75".parse().expect("a score"),
        metadata: Metadata::new(r#"{"a":1,"tags":["original"]}"#).expect("short"),
    };
    assert_eq!(read(text), Ok(Record::ContentAdded(expected)));
    let content = ContentRef { content_id: id("c"), creator_id: id("m") };
    let of_kind = |kind: &str| format!(r#"{{"kind":"{kind}","content_id":"c","creator_id":"m"}}"#);
    assert_eq!(read(&of_kind("content_verified")), Ok(Record::ContentVerified(content.clone())));
    assert_eq!(read(&of_kind("content_reported")), Ok(Record::ContentReported(content)));
    let text = format!(
        r#"{{"kind":"dataset_registered","dataset_id":"d","name":"n","license":"CC-BY","quality":0.9,"sha256":"{}","size":18446744073709551615,"description":"e","source":"s","creator":"c","genre":"g","tags":["t"]}}"#,
        "ab".repeat(32)
    );
    let (dataset_id, sha256) = (id("d"), ContentHash::from_bytes([0xab; 32]));
    let expected = DatasetRegistered {
        dataset_id: dataset_id.clone(),
        name: id("n"),
        license: id("CC-BY-4.0"),
        quality: "0.9".parse().expect("a score"),
        sha256,
        size: u64::MAX,
        description: Text::new("e").expect("short"),
        source: Text::new("s").expect("short"),
        creator: Label::new("c").expect("short"),
        genre: Label::new("g").expect("short"),
        tags: vec![id("t")],
    };
    assert_eq!(read(&text), Ok(Record::DatasetRegistered(Box::new(expected))));
    let text = format!(r#"{{"kind":"dataset_verified","dataset_id":"d","sha256":"{}"}}"#, "AB".repeat(32));
    let verified = DatasetVerified { dataset_id: dataset_id.clone(), sha256 };
    assert_eq!(read(&text), Ok(Record::DatasetVerified(verified)));
    let rated = DatasetRated { dataset_id, rating: "0.8".parse().expect("a score") };
    let text = r#"{"kind":"dataset_rated","dataset_id":"d","rating":0.8}"#;
    assert_eq!(read(text), Ok(Record::DatasetRated(rated)));
}

#[test]
fn what_may_be_left_out_is_filled_in() {
    let Ok(Record::UserAction(action)) = read(&user_action("")) else { panic!("a user action") };
    assert_eq!((action.target.as_str(), action.timestamp), ("", now()));
    assert_eq!(action.trust_delta.to_string(), "0.01");
    let Ok(Record::ContentAdded(added)) = read(&content_added("")) else { panic!("an added content") };
    assert_eq!((added.initial_score, added.metadata), (Score::HALF, Metadata::empty()));
}

#[test]
fn numbers_are_read_from_their_digits() {
    let score = |number: &str| match read(&content_added(&format!(r#","initial_score":{number}"#))) {
        Ok(Record::ContentAdded(added)) => Ok(added.initial_score.millionths()),
        Ok(_) => panic!("another kind"),
        Err(error) => Err(error.code.as_str()),
    };
    for (number, millionths) in [
        ("0", 0),
        ("1", 1_000_000),
        ("1.0", 1_000_000),
        ("54e-2", 540_000),
        ("1E-6", 1),
        ("-0", 0),
        ("0.1000000000", 100_000),
    ] {
        assert_eq!(score(number), Ok(millionths), "{number}");
    }
    for (number, code) in [
        ("1.2", "out_of_range"),
        ("-0.1", "out_of_range"),
        ("1e2", "out_of_range"),
        ("1e999", "out_of_range"),
        ("0.1234567", "too_precise"),
        ("0.50000000000000000000001", "too_precise"),
        ("1e-7", "too_precise"),
        ("\"0.5\"", "not_a_number"),
        ("\"NaN\"", "not_a_number"),
        ("null", "not_a_number"),
        ("true", "not_a_number"),
        ("[0.5]", "not_a_number"),
        ("NaN", "not_json"),
        ("Infinity", "not_json"),
        (".5", "not_json"),
    ] {
        assert_eq!(score(number), Err(code), "{number}");
        let (field, _, detail) = refused(&content_added(&format!(r#","initial_score":{number}"#)));
        assert_eq!(field, "initial_score", "{number}");
        assert!(detail.contains("`initial_score`"), "{detail}");
    }
    let (field, code, detail) = refused(&user_action(r#","trust_delta":NaN"#));
    assert_eq!((field.as_str(), code), ("trust_delta", "not_json"));
    assert!(detail.contains("`trust_delta`"), "{detail}");
}

#[test]
fn a_delta_is_its_actions_or_refused() {
    assert!(read(&user_action(r#","trust_delta":0.01"#)).is_ok());
    assert!(read(&user_action(r#","trust_delta":1e-2"#)).is_ok());
    let (field, code, detail) = refused(&user_action(r#","trust_delta":0.9"#));
    assert_eq!((field.as_str(), code), ("trust_delta", "wrong_delta"));
    assert!(detail.contains("0.9") && detail.contains("0.01"), "{detail}");
    let (field, code, detail) = refused(&user_action("").replace("interaction", "dance"));
    assert_eq!((field.as_str(), code), ("action", "unknown_action"));
    assert!(detail.contains("`dance`") && detail.contains("interaction, rating, spam"), "{detail}");
}

#[test]
fn a_testimony_names_a_record_and_an_answer() {
    let record = format!("{}.17.3", station(1));
    let sent =
        |record: &str, answer: &str| format!(r#"{{"kind":"testimony","record_id":"{record}","answer":"{answer}"}}"#);
    let read = |text: &str| parse_record(text, &rules(), now());
    let expected = Sent::Testimony { record: record.parse().expect("an id"), answer: Answer::Contest };
    assert_eq!(read(&sent(&record, "contest")), Ok(expected));
    let (field, code, detail) = refused(&sent(&record, "perhaps"));
    assert_eq!((field.as_str(), code), ("answer", "unknown_answer"));
    assert!(detail.contains("`agree` or `contest`"), "{detail}");
    assert_eq!(refused(&sent("17.3", "agree")).1, "bad_id");
    assert_eq!(refused(r#"{"kind":"testimony","answer":"agree"}"#).1, "missing_field");
    assert_eq!(refused(&sent(&record, "agree").replace("}", r#","hash":"00"}"#)).1, "unknown_field");
}

#[test]
fn kinds_that_are_unknown_are_named() {
    assert_eq!(refused(r#"{"kind":"gossip"}"#).1, "unknown_kind");
    assert_eq!(refused(r#"{"kind":7}"#).1, "wrong_type");
    let (field, code, _) = refused(r#"{"content_id":"c"}"#);
    assert_eq!((field.as_str(), code), ("kind", "missing_field"));
}

#[test]
fn fields_that_do_not_exist_are_refused_by_name_and_so_is_what_the_node_sets() {
    for field in ["record_id", "hash", "station_id", "batch_id", "seen", "sequence", "userid", "metadata", ""] {
        let (named, code, detail) = refused(&user_action(&format!(r#","{field}":"x""#)));
        assert_eq!((named.as_str(), code), (field, "unknown_field"));
        assert!(detail.contains(&format!("`{field}`")), "{detail}");
    }
    let (_, code, detail) = refused(&user_action(",\"a\\nb\\u001b\":1"));
    assert_eq!(code, "unknown_field");
    assert!(!detail.contains(char::is_control), "{detail:?}");
    let (field, code, _) = refused(&user_action(r#","user\u005fid":"v""#));
    assert_eq!((field.as_str(), code), ("user_id", "duplicate_field"));
}

#[test]
fn ids_texts_and_times_are_checked_by_name() {
    let with = |field: &str, value: &str| {
        let mut fields = BTreeMap::from([("kind", "\"user_action\""), ("user_id", "\"u\""), ("action", "\"rating\"")]);
        fields.insert(field, value);
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    };
    let long = format!("\"{}\"", "é".repeat(65));
    for (field, value, code) in [
        ("user_id", "\"\"", "bad_id"),
        ("user_id", long.as_str(), "bad_id"),
        ("user_id", "\"a\\u0000\"", "bad_id"),
        ("user_id", "\"\\ud800\"", "not_json"),
        ("user_id", "null", "wrong_type"),
        ("user_id", "1", "wrong_type"),
        ("action", "\"\"", "bad_id"),
        ("target", long.as_str(), "bad_id"),
        ("target", "\"\\u007f\"", "bad_id"),
        ("target", "{}", "wrong_type"),
        ("timestamp", "\"yesterday\"", "bad_timestamp"),
        ("timestamp", "\"1969-12-31T23:59:59Z\"", "bad_timestamp"),
        ("timestamp", "1769335200", "wrong_type"),
    ] {
        let (named, found, detail) = refused(&with(field, value));
        assert_eq!((named.as_str(), found), (field, code), "{value}");
        assert!(detail.contains(&format!("`{field}`")), "{detail}");
    }
    assert!(read(&with("user_id", &format!("\"{}\"", "é".repeat(64)))).is_ok());
    assert!(read(&with("target", "\"\"")).is_ok());
    for (missing, text) in [
        ("user_id", r#"{"kind":"user_action","action":"rating"}"#),
        ("action", r#"{"kind":"user_action","user_id":"u"}"#),
        ("content_id", r#"{"kind":"content_added","creator_id":"m"}"#),
        ("creator_id", r#"{"kind":"content_reported","content_id":"c"}"#),
    ] {
        let (field, code, _) = refused(text);
        assert_eq!((field.as_str(), code), (missing, "missing_field"));
    }
}

#[test]
fn metadata_is_an_object_within_its_limits() {
    let with = |metadata: &str| content_added(&format!(r#","metadata":{metadata}"#));
    for metadata in [
        "[]",
        "\"x\"",
        "null",
        "1",
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"b":[{"c":1,"\u0063":2}]}}"#,
        "{\"a\":[[[[[[[[1]]]]]]]]}",
    ] {
        let (field, code, _) = refused(&with(metadata));
        assert_eq!((field.as_str(), code), ("metadata", "bad_metadata"), "{metadata}");
    }
    let of_bytes = |bytes: usize| format!("{{ \"a\" : \"{}\" }}", "x".repeat(bytes - 8));
    assert!(read(&with(&of_bytes(4096))).is_ok());
    let (_, code, detail) = refused(&with(&of_bytes(4097)));
    assert_eq!(code, "bad_metadata");
    assert!(detail.contains("4097") && detail.contains("4096"), "{detail}");
}

#[test]
fn what_is_not_one_object_is_refused() {
    for (text, code) in [
        ("", "not_json"),
        ("hello", "not_json"),
        ("{", "not_json"),
        ("{}{}", "not_json"),
        ("[]", "not_an_object"),
        ("\"user_action\"", "not_an_object"),
        ("{}", "missing_field"),
    ] {
        assert_eq!(refused(text).1, code, "{text}");
    }
    assert_eq!(refused(&"[".repeat(200_000)).1, "not_json");
    assert_eq!(refused(&format!("{{\"kind\":{}", "{\"a\":".repeat(40_000))).1, "not_json");
}
