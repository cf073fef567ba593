//! What a score of many stations rests on: the parts of the score, and what each station's weight comes from.

use serde_json::Value;

use super::{Explanation, Reason, evidence, no_voice, not_counted, number};
use crate::cli::failure::Failure;
use crate::cli::output::{Output, count, items, show};
use crate::cli::trust::show_score;

/// Records of a station about one subject that count: they are its own word.
const CAP: u64 = 2;

/// What a plain subject that two stations have in common counts: one opinion at 0.1 or 0.9.
const PLAIN_SUBJECT: f64 = 0.4;

impl Explanation {
    /// Of many stations' opinions, combined: the score, then its parts, the largest first, then what does not count.
    pub(in crate::cli) fn of_many(answer: &Value) -> Self {
        let stations = items(&answer["stations"]);
        let is_live = answer["live"] == Value::Bool(true);
        let mut parts: Vec<Reason> = stations
            .iter()
            .filter(|station| share(station) > 0.0)
            .map(|station| {
                let why = format!("{}; {}{}", weight(station), records(answer, station), when(station, is_live));
                let said = show_score(station, "score");
                Reason::new(show(station, "station_id"), said, why).with_share(share(station))
            })
            .collect();
        let jury = &answer["jury"];
        if !jury.is_null() {
            let why =
                format!("{} of jurors whom blocks drew, and nobody chose", count(number(jury, "evidence"), "answer"));
            parts.push(Reason::new("the jury", show_score(jury, "score"), why).with_share(share(jury)));
        }
        let start = answer["start"].as_f64().unwrap_or(0.0);
        if start > 0.0 {
            let why = "where everything begins; the more evidence there is, the less it counts";
            parts.push(Reason::new("the start", "0.5", why).with_share(start));
        }
        parts.sort_by(|one, other| other.share.unwrap_or(0.0).total_cmp(&one.share.unwrap_or(0.0)));
        let mut reasons = vec![Reason::new("the score", show_score(answer, "score"), rule(answer))];
        reasons.extend(parts);
        if number(answer, "more") > 0 {
            let more = number(answer, "more").to_string();
            reasons.push(Reason::new("more stations", more, "are counted, too, but not listed"));
        }
        reasons.extend(items(&answer["unanswered"]).iter().map(unanswered));
        reasons.extend(stations.iter().filter(|station| share(station) == 0.0).map(without_part));
        let coverage = "of the weight of those that were asked has an opinion (1 is all)";
        reasons.push(Reason::new("coverage", show_score(answer, "coverage"), coverage));
        let confidence = "how much evidence there is and how far the voices agree (1 is certain)";
        reasons.push(Reason::new("confidence", show_score(answer, "confidence"), confidence));
        if is_live {
            let why = "stations were asked at once, and what waits for a block at those that answered counts: \
                       this answer is this station's alone";
            reasons.push(Reason::new("live", "yes", why));
        } else {
            reasons.extend(not_counted(answer));
        }
        Self(reasons)
    }
}

fn share(part: &Value) -> f64 {
    part["share"].as_f64().unwrap_or(0.0)
}

/// How the score follows from its parts.
fn rule(answer: &Value) -> String {
    let stations = items(&answer["stations"]).iter().filter(|station| share(station) > 0.0).count() as u64;
    let stations = stations.saturating_add(number(answer, "more"));
    if stations == 0 && answer["jury"].is_null() {
        return "nobody whose word counts has an opinion: then it is 0.5".to_owned();
    }
    let voices = count(stations, "station");
    match show(answer, "policy").as_str() {
        "mean" => format!("the mean of {voices}, each with the same voice"),
        "median" => format!("the median of {voices}: half of the evidence lies at or below it"),
        "eigentrust" => format!("{voices}, weighed by the trust that flows to them from the founders"),
        _ => format!("{voices}, weighed by how far each agreed with founders and jurors before"),
    }
}

/// Where a station's weight comes from, in a few words.
fn weight(station: &Value) -> String {
    let (weight, grounds) = (show_score(station, "weight"), &station["grounds"]);
    let is = |member: &str| grounds[member] == Value::Bool(true);
    let shares = |beside: &&Value| beside["info"].as_f64().is_some_and(|info| info > 0.0);
    let founders = items(&grounds["founders"]).iter().filter(shares).count() as u64;
    let mut from = Vec::new();
    if is("founder") {
        from.push("a founder".to_owned());
    } else if founders > 0 {
        from.push(format!("shares subjects with {}", count(founders, "founder")));
    }
    if is("vouched") {
        from.push("vouched for".to_owned());
    }
    let (checked, contradicted) = (number(grounds, "checked"), amount(&grounds["contradicted"]));
    if checked > 0 && contradicted > 0.0 {
        from.push(format!("jurors contradict {contradicted} of {checked} that they checked"));
    } else if checked > 0 {
        from.push(format!("jurors confirm the {checked} that they checked"));
    }
    if from.is_empty() { format!("weight {weight}") } else { format!("weight {weight}: {}", from.join(", ")) }
}

/// A station's own records about the subject, and how many of them count.
fn records(answer: &Value, station: &Value) -> String {
    let all = evidence(station, "evidence");
    match number(station, "evidence") > CAP && answer["policy"] != "mean" {
        true => format!("{all}, of which {CAP} count"),
        false => all,
    }
}

/// Whether a live answer has it from the station itself.
fn when(station: &Value, is_live: bool) -> &'static str {
    match (is_live, station["answered"] == Value::Bool(true)) {
        (false, _) => "",
        (true, true) => "; it said so now",
        (true, false) => "; on the chain",
    }
}

/// A station that is listed and adds nothing.
fn without_part(station: &Value) -> Reason {
    let (id, score) = (show(station, "station_id"), show_score(station, "score"));
    match station["why"].as_str() {
        Some("unproven") => {
            Reason::new(id, score, "weighs nothing: it has not agreed with founders or jurors on anything yet")
        }
        Some("contested") => Reason::new(id, score, "jurors contest what it claims of this user: it does not count"),
        Some("counted") => Reason::new(id, score, "counts, but for less than a millionth"),
        other => Reason::new(id, "-", no_voice(other)),
    }
}

/// A station that was asked at once, and whose answer does not count.
fn unanswered(station: &Value) -> Reason {
    let why = station["why"].as_str().unwrap_or_default();
    Reason::new(
        show(station, "station_id"),
        "-",
        format!("not heard: {}; its opinion on the chain stands", reason(why)),
    )
}

/// Why an answer does not count, in words.
pub(in crate::cli) fn reason(why: &str) -> &str {
    match why {
        "not_connected" => "it is not connected",
        "not_asked" => "it was not asked, for too many questions are under way",
        "equivocation" => "it signed two histories, so it was not asked",
        "late" => "it gave no answer within 3 s",
        "busy" => "it is busy",
        "no_answer" => "it closed the connection, or its version knows no such question",
        "unreadable" => "its answer cannot be read",
        "other_federation" => "its answer is of another federation",
        "other_station" => "its answer is in another station's name",
        "other_subject" => "its answer is about another subject",
        "replayed_nonce" => "its answer was not made for this question",
        "behind" => "its answer leaves out records of its that are on the chain",
        "other_time" => "its clock and this one differ by more than 2 minutes",
        "wrong_signature" => "its answer is not signed with its key",
        "overtaken" => "more of its records were mined while it answered",
        other => other,
    }
}

fn amount(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// What each listed station's weight rests on, under its whole id.
pub(in crate::cli) fn show_grounds(answer: &Value, out: &mut Output) -> Result<(), Failure> {
    let with_grounds = items(&answer["stations"]).iter().filter(|station| !station["grounds"].is_null());
    for (at, station) in with_grounds.enumerate() {
        if at == 0 {
            out.line("\nWHAT THE WEIGHTS REST ON")?;
        }
        let grounds = &station["grounds"];
        out.line(format_args!("{}  weight {}", show(station, "station_id"), show_score(station, "weight")))?;
        let is = |member: &str| grounds[member] == Value::Bool(true);
        if is("founder") {
            out.line("  a founder: genesis names it")?;
        }
        if is("vouched") {
            out.line("  founders vouch for it: an advance of 0.5")?;
        }
        let (mut beside_anybody, mut strangers) = (false, 0);
        for founder in items(&grounds["founders"]) {
            match amount(&founder["info"]) > 0.0 {
                true => {
                    beside_anybody = true;
                    let who = format!("the founder {}", super::short_id(&show(founder, "station_id")));
                    out.line(beside(&who, founder))?;
                }
                false => strangers += 1,
            }
        }
        if strangers > 0 {
            out.line(format_args!("  shares no subject with {}", count(strangers, "other founder")))?;
        }
        if amount(&grounds["jury"]["info"]) > 0.0 {
            beside_anybody = true;
            out.line(beside("the jury", &grounds["jury"]))?;
        }
        if !beside_anybody && !is("founder") {
            out.line("  nobody who is trusted has judged what it judged first")?;
        }
        let (checked, contradicted) = (number(grounds, "checked"), amount(&grounds["contradicted"]));
        if checked > 0 {
            out.line(format_args!("  jurors checked {checked} of its claims, and contradict {contradicted} of them"))?;
        }
    }
    Ok(())
}

/// A station beside another, or the jury, in words.
fn beside(who: &str, agreement: &Value) -> String {
    let shared = amount(&agreement["info"]) / PLAIN_SUBJECT;
    format!("  beside {who}: {shared:.1} plain subjects shared, agreement {}", show_score(agreement, "agreement"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{short_id, show_share};
    use super::*;

    const A: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
    const B: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";

    fn answer() -> Value {
        let grounds = json!({ "founder": false, "vouched": false, "checked": 3, "contradicted": 0.4,
            "founders": [{ "station_id": B, "info": 1.2, "agreement": 0.97 }], "jury": { "info": 0, "agreement": 0 } });
        let station = |id: &str, score: f64, share: f64, why: &str| {
            json!({ "station_id": id, "score": score, "evidence": 3, "weight": 0.5, "share": share, "why": why,
                "answered": true, "unanswered": null, "grounds": null })
        };
        let mut one = station(A, 0.9, 0.3, "counted");
        one["grounds"] = grounds;
        json!({ "score": 0.7, "policy": "anchored", "live": false, "unanswered": [], "more": 0, "start": 0.2, "coverage": 0.5,
            "confidence": 0.2, "pending": 2, "jury": { "score": 0.6, "evidence": 4, "share": 0.5 },
            "stations": [one, station(B, 0.1, 0.0, "contested"), station("C", 0.5, 0.0, "unknown_station")] })
    }

    fn whats(explanation: &Explanation) -> Vec<&str> {
        explanation.0.iter().map(|it| it.what.as_str()).collect()
    }

    fn why<'a>(explanation: &'a Explanation, what: &str) -> &'a str {
        &explanation.0.iter().find(|it| it.what == what).unwrap_or_else(|| panic!("{what} is named")).why
    }

    #[test]
    fn the_largest_part_of_the_score_comes_first_and_what_does_not_count_last() {
        let explanation = Explanation::of_many(&answer());
        let order = ["the score", "the jury", A, "the start", B, "C", "coverage", "confidence", "not counted"];
        assert_eq!(whats(&explanation), order);
        assert!(why(&explanation, "the score").starts_with("1 station, weighed by how far"));
        let expected = "weight 0.5: shares subjects with 1 founder, jurors contradict 0.4 of 3 that they checked; \
                        3 records, of which 2 count";
        assert_eq!(why(&explanation, A), expected);
        assert!(why(&explanation, B).contains("contest") && why(&explanation, "C").contains("no such station"));
        let shown = explanation.to_json();
        assert_eq!((&shown[1]["share"], &shown[0]["share"]), (&json!(0.5), &Value::Null));
    }

    #[test]
    fn a_live_answer_says_who_was_heard_now_and_who_was_not_and_why() {
        let mut answer = answer();
        answer["live"] = json!(true);
        answer["unanswered"] = json!([{ "station_id": B, "why": "wrong_signature", "fault": true }]);
        answer["stations"][1]["share"] = json!(0.1);
        answer["stations"][1]["answered"] = json!(false);
        let explanation = Explanation::of_many(&answer);
        assert!(why(&explanation, A).ends_with("it said so now"));
        assert!(why(&explanation, B).ends_with("on the chain"));
        let ignored = explanation.0.iter().rfind(|it| it.what == B).expect("it is named again");
        assert_eq!(ignored.why, "not heard: its answer is not signed with its key; its opinion on the chain stands");
        assert!(why(&explanation, "live").contains("this station's alone"));
    }

    #[test]
    fn where_nobody_counts_the_score_is_where_everything_begins() {
        let nothing =
            json!({ "score": 0.5, "policy": "anchored", "stations": [], "jury": null, "start": 1, "pending": 0 });
        let explanation = Explanation::of_many(&nothing);
        assert_eq!(whats(&explanation), ["the score", "the start", "coverage", "confidence"]);
        assert!(why(&explanation, "the score").starts_with("nobody whose word counts"));
    }

    #[test]
    fn ids_are_shown_by_their_end_and_shares_as_percent() {
        assert_eq!((short_id(A).as_str(), short_id("the jury").as_str()), ("…yKSUKPH5", "the jury"));
        assert_eq!([0.0, 0.000_001, 0.25, 1.0].map(show_share), ["0 %", "<1 %", "25 %", "100 %"]);
    }

    #[test]
    fn every_reason_of_an_unheard_station_has_words() {
        use qfzz_sync::opinion::Unanswered::*;
        let all = [
            NotConnected,
            NotAsked,
            Equivocation,
            Late,
            Busy,
            NoAnswer,
            Unreadable,
            OtherFederation,
            OtherStation,
            OtherSubject,
            OtherNonce,
            Behind,
            OtherTime,
            WrongSignature,
            Overtaken,
        ];
        for why in all {
            assert_ne!(reason(why.as_str()), why.as_str());
        }
    }
}
