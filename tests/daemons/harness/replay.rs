//! The trust scores, recomputed from records by the guide's formulas and none of the program's code.

use std::collections::BTreeMap;

use serde_json::Value;

/// What is unknown or new has this score, in millionths.
const NEUTRAL: i64 = 500_000;

#[derive(Clone, Debug)]
struct Content {
    initial: Option<i64>,
    verifications: i64,
    reports: i64,
}

/// The ledger's scores after some records, in millionths.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    users: BTreeMap<String, i64>,
    contents: BTreeMap<(String, String), Content>,
}

impl Replay {
    /// Applies one record as the API shows it.
    ///
    /// # Panics
    /// On a kind that the guide does not know.
    pub fn apply(&mut self, record: &Value) {
        let field =
            |name: &str| record[name].as_str().unwrap_or_else(|| panic!("{name} is a text: {record}")).to_owned();
        let kind = field("kind");
        if kind == "user_action" {
            let score = self.users.entry(field("user_id")).or_insert(NEUTRAL);
            *score = (*score + millionths(&record["trust_delta"])).clamp(0, 1_000_000);
            return;
        }
        let key = (field("creator_id"), field("content_id"));
        let content = self.contents.entry(key).or_insert(Content { initial: None, verifications: 0, reports: 0 });
        match kind.as_str() {
            "content_added" => {
                content.initial.get_or_insert(millionths(&record["initial_score"]));
            }
            "content_verified" => content.verifications += 1,
            "content_reported" => content.reports += 1,
            _ => panic!("the guide knows no {kind}: {record}"),
        }
    }

    /// All users.
    pub fn users(&self) -> impl Iterator<Item = (&str, i64)> {
        self.users.iter().map(|(user, score)| (user.as_str(), *score))
    }

    /// A user's score: 0.5 where nothing is known.
    pub fn user(&self, user: &str) -> i64 {
        self.users.get(user).copied().unwrap_or(NEUTRAL)
    }

    /// All contents as (content, creator).
    pub fn contents(&self) -> impl Iterator<Item = (&str, &str)> {
        self.contents.keys().map(|(creator, content)| (content.as_str(), creator.as_str()))
    }

    /// A content's score: 0.1 + 0.8 v / (v + r), rounded down, or what it began with.
    pub fn content(&self, content: &str, creator: &str) -> i64 {
        self.contents.get(&(creator.to_owned(), content.to_owned())).map_or(NEUTRAL, score)
    }

    /// A creator's score: the mean over its contents, rounded down.
    pub fn creator(&self, creator: &str) -> i64 {
        let scores: Vec<i64> =
            self.contents.iter().filter(|((of, _), _)| of == creator).map(|(_, content)| score(content)).collect();
        match i64::try_from(scores.len()).expect("a count fits") {
            0 => NEUTRAL,
            count => scores.iter().sum::<i64>() / count,
        }
    }
}

fn score(content: &Content) -> i64 {
    match content.verifications + content.reports {
        0 => content.initial.unwrap_or(NEUTRAL),
        total => 100_000 + 800_000 * content.verifications / total,
    }
}

/// A JSON decimal of at most six places as millionths.
///
/// # Panics
/// If it is no number, or has more places.
#[track_caller]
pub fn millionths(value: &Value) -> i64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("a score is a number: {value}"));
    let scaled = number * 1e6;
    assert!((scaled - scaled.round()).abs() < 1e-3, "at most six decimals: {value}");
    #[expect(clippy::cast_possible_truncation, reason = "scores are between -1 and 1")]
    let rounded = scaled.round() as i64;
    rounded
}
