//! `qfzz trust ... --explain`: what a score rests on, most important first, in sentences.

mod global;

use qfzz_ledger_core::ids::StationId;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output::{Output, items, show};
use super::trust::{Subject, show_score};
pub(super) use global::{reason, show_grounds};

/// One thing that a score rests on.
struct Reason {
    what: String,
    value: String,
    /// Its part of the score, where the score is put together of parts.
    share: Option<f64>,
    why: String,
}

impl Reason {
    fn new(what: impl Into<String>, value: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into(), share: None, why: why.into() }
    }

    fn with_share(self, share: f64) -> Self {
        Self { share: Some(share), ..self }
    }
}

/// What an answer rests on. `stations` is the answer about all stations; for a global answer it is the answer itself.
pub(super) struct Explanation(Vec<Reason>);

impl Explanation {
    /// Of what all records together say, or one station's own.
    pub(super) fn of_one(subject: &Subject<'_>, answer: &Value, stations: &Value) -> Self {
        if !answer["station_id"].is_null() {
            return Self::of_station(subject, answer);
        }
        let mut reasons = Vec::new();
        if answer["known"] == Value::Bool(false) {
            let why = "no station has said anything about it: everything unknown stands at 0.5";
            reasons.push(Reason::new("nothing", show_score(answer, "score"), why));
            return Self(reasons);
        }
        reasons.push(Reason::new("all records", show_score(answer, "score"), rule(subject, answer)));
        reasons.push(Reason::new(
            "on the chain",
            show_score(answer, "confirmed_score"),
            format!(
                "{} count here: the same at every station that has this head",
                evidence(answer, "confirmed_evidence")
            ),
        ));
        let pending = number(answer, "pending");
        let why = match pending {
            0 => "nothing waits for a block: the score is final as far as this station knows".to_owned(),
            1 => "1 record waits for a block; it is counted in the score already".to_owned(),
            more => format!("{more} records wait for a block; they are counted in the score already"),
        };
        reasons.push(Reason::new("pending", pending.to_string(), why));
        reasons.extend(voices(stations));
        Self(reasons)
    }

    fn of_station(subject: &Subject<'_>, answer: &Value) -> Self {
        let station = show(answer, "station_id");
        let mut reasons = match show(answer, "why").as_str() {
            "unknown_station" => vec![Reason::new(
                station,
                "-",
                "the chain knows no such station, so this is no opinion: check the id with `qfzz station list`",
            )],
            "equivocation" => vec![Reason::new(
                station,
                "-",
                "it signed two batches with one sequence, and that is proven: from then on its word counts for nothing",
            )],
            "no_opinion" => {
                vec![Reason::new(station, "-", "it has no record about this on the chain, so it has no opinion")]
            }
            _ => vec![
                Reason::new(station, show_score(answer, "score"), rule(subject, answer)),
                Reason::new(
                    "evidence",
                    show(answer, "evidence"),
                    "its own records on the chain; no other station's count",
                ),
            ],
        };
        reasons.extend(not_counted(answer));
        Self(reasons)
    }

    /// As JSON.
    pub(super) fn to_json(&self) -> Value {
        let shown = self.0.iter().map(|it| {
            let mut shown = json!({ "what": it.what, "value": it.value, "why": it.why });
            if let Some(share) = it.share {
                shown["share"] = json!(share);
            }
            shown
        });
        shown.collect()
    }

    /// As a table that fits a terminal. Of stations' ids it shows the end, by which people tell them apart.
    pub(super) fn show(&self, out: &mut Output) -> Result<(), Failure> {
        out.line("")?;
        if self.0.iter().all(|it| it.share.is_none()) {
            let rows = self.0.iter().map(|it| [short_id(&it.what), it.value.clone(), it.why.clone()]);
            return out.narrow_table(["RESTS ON", "VALUE", "WHY"], rows);
        }
        let row = |it: &Reason| {
            let share = it.share.map_or_else(|| "-".to_owned(), show_share);
            [short_id(&it.what), it.value.clone(), share, it.why.clone()]
        };
        out.narrow_table(["RESTS ON", "VALUE", "SHARE", "WHY"], self.0.iter().map(row))
    }
}

/// A station's id as its end; anything else as it is.
fn short_id(what: &str) -> String {
    match what.parse::<StationId>() {
        Ok(_) => format!("…{}", &what[what.len() - 8..]),
        Err(_) => what.to_owned(),
    }
}

/// A part of all as people write it.
fn show_share(share: f64) -> String {
    let percent = (share * 100.0).round();
    if share > 0.0 && percent < 1.0 { "<1 %".to_owned() } else { format!("{percent} %") }
}

fn number(answer: &Value, member: &str) -> u64 {
    answer[member].as_u64().unwrap_or(0)
}

fn evidence(answer: &Value, member: &str) -> String {
    match number(answer, member) {
        1 => "1 record".to_owned(),
        many => format!("{many} records"),
    }
}

/// How the score follows from what was said.
fn rule(subject: &Subject<'_>, answer: &Value) -> String {
    match subject {
        Subject::User(_) => format!(
            "0.5, then the delta of each of {} user actions in the order of the chain, kept between 0 and 1",
            number(answer, "evidence")
        ),
        Subject::Content(_) => match (number(answer, "verifications"), number(answer, "reports")) {
            (0, 0) => format!(
                "nobody has verified or reported it: its initial score of {}",
                show_score(answer, "initial_score")
            ),
            (verified, reported) => format!(
                "verified {verified} and reported {reported} times: 0.1 + 0.8 * {verified} / {}",
                verified.saturating_add(reported)
            ),
        },
        Subject::Dataset(_) => {
            let [verified, other, rated] = ["verifications", "mismatches", "ratings"].map(|it| number(answer, it));
            let all = verified.saturating_add(other).saturating_add(rated);
            if all == 0 {
                return "it is registered, but nobody has verified or rated it: then it is 0.5".to_owned();
            }
            format!(
                "verified {verified} times, {other} times another file, rated {rated} times with {} on average: 0.1 + 0.8 * the mean of all {all}, where a verification is 1 and another file 0",
                show_score(answer, "rating")
            )
        }
        Subject::Creator(_) => format!("the mean over {} contents of this creator", number(answer, "contents")),
    }
}

/// What each station alone says, those that count first.
fn voices(answer: &Value) -> impl Iterator<Item = Reason> + '_ {
    items(&answer["stations"]).iter().map(|station| {
        let id = show(station, "station_id");
        match station["why"].as_str() {
            Some("counted" | "unproven" | "contested") => {
                let why = format!("by its own records on the chain alone: {}", evidence(station, "evidence"));
                Reason::new(id, show_score(station, "score"), why)
            }
            other => Reason::new(id, "-", no_voice(other)),
        }
    })
}

/// Why a station has no voice.
fn no_voice(why: Option<&str>) -> &'static str {
    match why {
        Some("unknown_station") => "the chain knows no such station: it has no voice; check the id",
        Some("equivocation") => "signed two batches with one sequence: its word counts for nothing",
        _ => "has no record about this on the chain: it has no voice",
    }
}

/// What waits for a block and is in no opinion.
fn not_counted(answer: &Value) -> Option<Reason> {
    let pending = number(answer, "pending");
    (pending > 0).then(|| {
        let why = "records about this wait for a block; opinions don't count them until they are mined";
        Reason::new("not counted", pending.to_string(), why)
    })
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::ids::Id;

    use super::*;

    fn whys(explanation: &Explanation) -> String {
        explanation.0.iter().map(|it| format!("{} {} {}\n", it.what, it.value, it.why)).collect()
    }

    #[test]
    fn an_explanation_begins_with_the_rule_and_names_what_is_not_counted() {
        let user = Id::new("u").expect("an id");
        let stations = json!({ "stations": [
            { "station_id": "A", "score": 0.51, "evidence": 1, "weight": 1, "why": "counted" },
            { "station_id": "B", "score": 0.5, "evidence": 0, "weight": 1, "why": "unknown_station" },
        ] });
        let answer = json!({ "station_id": null, "known": true, "score": 0.54, "confirmed_score": 0.51, "evidence": 2, "confirmed_evidence": 1, "pending": 1 });
        let text = whys(&Explanation::of_one(&Subject::User(&user), &answer, &stations));
        assert!(text.starts_with("all records 0.54 0.5, then the delta of each of 2 user actions"), "{text}");
        assert!(text.contains("on the chain 0.51 1 record count"), "{text}");
        assert!(text.contains("A 0.51 by its own records") && text.contains("B - the chain knows no such"), "{text}");

        let unknown = json!({ "station_id": null, "known": false, "score": 0.5 });
        let text = whys(&Explanation::of_one(&Subject::User(&user), &unknown, &stations));
        assert!(text.contains("everything unknown stands at 0.5"), "{text}");

        let liar = json!({ "station_id": "C", "score": 0.5, "why": "equivocation", "pending": 0 });
        let text = whys(&Explanation::of_one(&Subject::User(&user), &liar, &stations));
        assert!(text.starts_with("C - it signed two batches"), "{text}");

        let stranger = json!({ "station_id": "B", "score": 0.5, "why": "unknown_station", "pending": 3 });
        let text = whys(&Explanation::of_one(&Subject::User(&user), &stranger, &stations));
        assert!(text.starts_with("B - ") && text.contains("not counted 3"), "{text}");
    }
}
