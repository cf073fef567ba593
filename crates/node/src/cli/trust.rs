//! `qfzz trust`: how far users, contents, creators and datasets are trusted.

use clap::{Args, Subcommand};
use qfzz_ledger_core::ids::{Id, StationId};
use qfzz_ledger_core::score::Score;
use serde_json::Value;

use super::client::Client;
use super::content::Place;
use super::explain::{self, Explanation, show_grounds};
use super::failure::Failure;
use super::filter::{self, FilterArgs};
use super::output::{Output, clean, items, notice, show, show_head};
use crate::config::TrustPolicy;

#[derive(Debug, Subcommand)]
pub(super) enum TrustCommand {
    /// How far a user is trusted
    User {
        /// Who
        user: Id,
        #[command(flatten)]
        view: View,
    },
    /// How far a content is trusted
    Content {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        view: View,
    },
    /// How far a creator is trusted: the mean over what they made
    Creator {
        /// Who
        creator: Id,
        #[command(flatten)]
        view: View,
    },
    /// How far a dataset is trusted, by what stations found
    Dataset {
        /// Which
        dataset: Id,
        #[command(flatten)]
        view: View,
    },
    /// Print those contents of a playlist that reach a score
    Filter(FilterArgs),
}

/// Whose answer is wanted, and what it must reach.
#[derive(Debug, Args)]
pub(super) struct View {
    /// The opinion of this station alone
    #[arg(long, value_name = "PEER_ID", conflicts_with = "global")]
    station: Option<StationId>,
    /// The opinions of many stations combined
    #[arg(long)]
    global: bool,
    /// Only the opinions of these stations, separated by commas
    #[arg(long, value_name = "PEER_ID,...", value_delimiter = ',', requires = "global")]
    nodes: Vec<StationId>,
    /// How to combine them: anchored, eigentrust, median or mean [default: trust.policy of the daemon's settings]
    #[arg(long, requires = "global")]
    policy: Option<TrustPolicy>,
    /// Ask these stations at once, or the connected ones that weigh something: what waits for a block there counts, too
    #[arg(long, requires = "global")]
    live: bool,
    /// Say what the score rests on, the most important reason first
    #[arg(long)]
    explain: bool,
    /// Exit with code 5 if the score is below this, 0 to 1
    #[arg(long, value_name = "SCORE")]
    at_least: Option<Score>,
}

/// Whom or what a question of trust is about.
pub(super) enum Subject<'a> {
    User(&'a Id),
    Content(&'a Place),
    Creator(&'a Id),
    Dataset(&'a Id),
}

pub(super) async fn trust(client: &Client, command: &TrustCommand, out: &mut Output) -> Result<(), Failure> {
    let (subject, view) = match command {
        TrustCommand::User { user, view } => (Subject::User(user), view),
        TrustCommand::Content { place, view } => (Subject::Content(place), view),
        TrustCommand::Creator { creator, view } => (Subject::Creator(creator), view),
        TrustCommand::Dataset { dataset, view } => (Subject::Dataset(dataset), view),
        TrustCommand::Filter(args) => return filter::filter(client, args, out).await,
    };
    let mut answer = match view.global {
        true => {
            name_strangers(client, &view.nodes, out).await;
            ask_globally(client, &subject, view).await?
        }
        false => ask(client, &subject, view.station.as_ref()).await?,
    };
    let explanation = match (view.explain, view.global) {
        (false, _) => None,
        (true, true) => Some(Explanation::of_many(&answer)),
        // Of one station there is nothing more to know.
        (true, false) if view.station.is_some() => Some(Explanation::of_one(&subject, &answer, &Value::Null)),
        (true, false) => {
            let stations = ask_globally(client, &subject, view).await?;
            Some(Explanation::of_one(&subject, &answer, &stations))
        }
    };
    if let (Some(explanation), Value::Object(members)) = (&explanation, &mut answer) {
        members.insert("explanation".to_owned(), explanation.to_json());
    }
    out.result(&answer, |out| {
        match view.global {
            true => show_global(&answer, view.explain, out)?,
            false => show_one(&subject, &answer, out)?,
        }
        let Some(explanation) = explanation else { return Ok(()) };
        explanation.show(out)?;
        if view.global { show_grounds(&answer, out) } else { Ok(()) }
    })?;
    match view.at_least {
        Some(threshold) => {
            let score = score_of(&answer)?;
            if score < threshold { Err(Failure::BelowThreshold { score, threshold }) } else { Ok(()) }
        }
        None => Ok(()),
    }
}

/// `qfzz content show`.
pub(super) async fn show_content(client: &Client, place: &Place, out: &mut Output) -> Result<(), Failure> {
    let subject = Subject::Content(place);
    let answer = ask(client, &subject, None).await?;
    if answer["known"] == Value::Bool(false) {
        let what = format!(
            "nobody has said anything about the content `{}` of the creator `{}`: check both ids, or run `qfzz sync`",
            clean(place.content.as_str()),
            clean(place.creator.as_str())
        );
        return Err(Failure::NotFound { what });
    }
    out.result(&answer, |out| show_one(&subject, &answer, out))
}

async fn ask(client: &Client, subject: &Subject<'_>, station: Option<&StationId>) -> Result<Value, Failure> {
    let station = station.map(ToString::to_string);
    let mut query: Vec<(&str, &str)> = station.iter().map(|station| ("station", station.as_str())).collect();
    match subject {
        Subject::User(user) => client.get(&["v1", "trust", "users", user.as_str()], &query).await,
        Subject::Creator(creator) => client.get(&["v1", "trust", "creators", creator.as_str()], &query).await,
        Subject::Dataset(dataset) => client.get(&["v1", "trust", "datasets", dataset.as_str()], &query).await,
        Subject::Content(place) => {
            query.extend([("content_id", place.content.as_str()), ("creator_id", place.creator.as_str())]);
            client.get(&["v1", "trust", "content"], &query).await
        }
    }
}

async fn ask_globally(client: &Client, subject: &Subject<'_>, view: &View) -> Result<Value, Failure> {
    let mut query = match subject {
        Subject::User(user) => vec![("kind", "user"), ("id", user.as_str())],
        Subject::Creator(creator) => vec![("kind", "creator"), ("id", creator.as_str())],
        Subject::Dataset(dataset) => vec![("kind", "dataset"), ("id", dataset.as_str())],
        Subject::Content(place) => {
            vec![("kind", "content"), ("id", place.content.as_str()), ("creator_id", place.creator.as_str())]
        }
    };
    let nodes = view.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    if !nodes.is_empty() {
        query.push(("nodes", &nodes));
    }
    let policy = view.policy.map(|policy| policy.to_string());
    query.extend(policy.iter().map(|policy| ("policy", policy.as_str())));
    query.extend(view.live.then_some(("live", "true")));
    query.extend((view.explain && view.global).then_some(("explain", "true")));
    client.get(&["v1", "trust", "global"], &query).await
}

/// Says which of `nodes` take no part in the federation: a slip in an id would otherwise look like a silent station.
async fn name_strangers(client: &Client, nodes: &[StationId], out: &Output) {
    if nodes.is_empty() || out.is_quiet() {
        return;
    }
    let Ok(stations) = client.get(&["v1", "stations"], &[]).await else { return };
    let takes_part = |node: &str| items(&stations).iter().any(|station| station["station_id"] == node);
    for node in nodes.iter().map(ToString::to_string).filter(|node| !takes_part(node)) {
        notice(format_args!("note: {node} takes no part in this federation, so it has no opinion"));
    }
}

fn show_one(subject: &Subject<'_>, answer: &Value, out: &mut Output) -> Result<(), Failure> {
    let station = show(answer, "station_id");
    match answer["why"].as_str() {
        Some("unknown_station") => {
            out.line(format_args!("PROBLEM  the chain knows no station {station}: this is no opinion"))?;
            out.line("  remedy check the id: `qfzz peers` and the blocks name those that are known")?;
        }
        Some("equivocation") => {
            out.line(format_args!(
                "PROBLEM  {station} signed two batches with one sequence: its word counts for nothing"
            ))?;
            out.line("  remedy ask other stations, or all of them with --global")?;
        }
        Some("no_opinion") => out.line(format_args!("{station} has no record about this on the chain: no opinion"))?,
        _ => {}
    }
    out.facts(&[
        ("score", show_score(answer, "score")),
        ("band", show(answer, "band")),
        ("confirmed", show_score(answer, "confirmed_score")),
        ("evidence", show(answer, "evidence")),
        ("pending", format!("{} records, {}", show(answer, "pending"), counted(answer))),
    ])?;
    match subject {
        // Of one station's opinion these two would mislead: they are about everybody's.
        Subject::User(_) if !answer["station_id"].is_null() => {}
        Subject::User(_) => out.facts(&[
            ("may submit datasets", show(answer, "may_submit")),
            ("community trusted", show(answer, "community_trusted")),
        ])?,
        Subject::Dataset(_) => out.facts(&[
            ("verifications", show(answer, "verifications")),
            ("mismatches", show(answer, "mismatches")),
            ("rating", show_score(answer, "rating")),
            ("ratings", show(answer, "ratings")),
        ])?,
        Subject::Creator(_) => out.facts(&[("contents", show(answer, "contents"))])?,
        Subject::Content(_) => out.facts(&[
            ("verifications", show(answer, "verifications")),
            ("reports", show(answer, "reports")),
            ("initial score", show_score(answer, "initial_score")),
            ("metadata", show(answer, "metadata")),
            ("first named", show(answer, "created_at")),
            ("last changed", show(answer, "updated_at")),
        ])?,
    }
    if !answer["station_id"].is_null() {
        out.facts(&[("opinion of", show(answer, "station_id"))])?;
    }
    out.facts(&[("at block", show_head(answer, "head"))])
}

/// `is_explained`: the explanation that follows names the stations.
fn show_global(answer: &Value, is_explained: bool, out: &mut Output) -> Result<(), Failure> {
    out.facts(&[
        ("score", show_score(answer, "score")),
        ("band", show(answer, "band")),
        ("policy", show(answer, "policy")),
        ("coverage", show(answer, "coverage")),
        ("confidence", show(answer, "confidence")),
        ("pending", format!("{} records, {}", show(answer, "pending"), counted(answer))),
        ("at block", show_head(answer, "head")),
    ])?;
    let rows = items(&answer["stations"]);
    let unanswered = items(&answer["unanswered"]);
    if answer["live"] == Value::Bool(true) {
        out.line("asked at once: this answer is this station's alone, others may hear others")?;
    }
    if is_explained {
        return Ok(());
    }
    for station in unanswered {
        let why = explain::reason(station["why"].as_str().unwrap_or_default());
        out.line(format_args!("not heard: {}: {why}", show(station, "station_id")))?;
    }
    if rows.is_empty() {
        return out.line("no station has an opinion");
    }
    let row = |station: &Value| {
        let fields = ["evidence", "weight", "answered", "why"].map(|field| show(station, field));
        let [evidence, weight, answered, why] = fields;
        [show(station, "station_id"), show_score(station, "score"), evidence, weight, answered, why]
    };
    out.table(["STATION", "SCORE", "EVIDENCE", "WEIGHT", "ANSWERED", "WHY"], rows.iter().map(row))
}

/// Whether the score counts what is pending.
fn counted(answer: &Value) -> &'static str {
    match (answer["includes_pending"] == Value::Bool(true), answer["live"] == Value::Bool(true)) {
        (true, true) => "those of stations that answered counted",
        (true, false) => "counted",
        (false, _) => "not counted",
    }
}

/// A score as people write it, without exponent.
pub(super) fn show_score(answer: &Value, member: &str) -> String {
    parse_score(&answer[member]).map_or_else(|| show(answer, member), |score| score.to_string())
}

fn score_of(answer: &Value) -> Result<Score, Failure> {
    parse_score(&answer["score"]).ok_or_else(|| Failure::BadAnswer { why: "it has no score from 0 to 1".to_owned() })
}

/// A JSON number from 0 to 1 as a score; it has six decimals at most, so rounding finds the one that was meant.
fn parse_score(value: &Value) -> Option<Score> {
    let number = value.as_f64().filter(|number| (0.0..=1.0).contains(number))?;
    format!("{number:.6}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_score_is_read_exactly_and_shown_without_exponent() {
        for millionths in (0..=1_000_000).step_by(13).chain([1, 999_999, 1_000_000]) {
            let score = Score::from_millionths(millionths).expect("in range");
            let value: Value = serde_json::from_str(&score.to_string()).expect("a number");
            assert_eq!(parse_score(&value), Some(score));
        }
        assert_eq!(show_score(&json!({ "score": 0.000_001 }), "score"), "0.000001");
        assert_eq!(show_score(&json!({ "score": null }), "score"), "-");
        for wrong in [json!(1.2), json!(-0.1), json!("0.5"), json!(null)] {
            assert_eq!(parse_score(&wrong), None);
        }
    }
}
