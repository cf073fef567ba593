//! `qfzz record`: a user's action, or many records from a file.

use clap::Args;
use qfzz_ledger_core::ids::{Id, Target};
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::time::Timestamp;
use serde_json::{Value, json};

use super::bulk;
use super::client::Client;
use super::failure::Failure;
use super::output::{Output, show};
use super::progress::explain_wait;

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// Who acted
    #[arg(required_unless_present = "from")]
    user: Option<Id>,
    /// What they did; `interaction`, `rating`, `verification`, `connection`, or what the federation added
    #[arg(required_unless_present = "from")]
    action: Option<Id>,
    /// What it was about
    #[arg(long)]
    target: Option<Target>,
    /// By how much it moves the user's score, -1 to 1 [default: the action's]
    #[arg(long, allow_negative_numbers = true)]
    delta: Option<Delta>,
    /// When it happened, RFC 3339 [default: now]
    #[arg(long)]
    timestamp: Option<Timestamp>,
    /// Read records of any kind as JSON lines from a file, or from standard input with `-`
    #[arg(long, value_name = "FILE", conflicts_with_all = ["user", "action", "target", "delta", "timestamp"])]
    from: Option<String>,
}

pub(super) async fn record(client: &Client, args: &RecordArgs, out: &mut Output) -> Result<(), Failure> {
    if let Some(from) = &args.from {
        return bulk::record_from(client, from, out).await;
    }
    let mut record = json!({
        "kind": "user_action",
        "user_id": args.user.as_ref().map(Id::as_str),
        "action": args.action.as_ref().map(Id::as_str),
    });
    // What is left out, the daemon fills in.
    if let Some(target) = &args.target {
        record["target"] = target.as_str().into();
    }
    if let Some(delta) = args.delta {
        record["trust_delta"] = decimal(delta.millionths());
    }
    if let Some(timestamp) = args.timestamp {
        record["timestamp"] = timestamp.to_string().into();
    }
    store(client, &record, out).await
}

/// Sends one record and prints its id.
pub(super) async fn store(client: &Client, record: &Value, out: &mut Output) -> Result<(), Failure> {
    let stored =
        explain_wait(client, out, None, client.post(&["v1", "records"], Some(record))).await?.unwrap_or_default();
    out.result(&stored, |out| out.line(show(&stored, "record_id")))
}

/// Millionths as a JSON number. Dividing rounds to the nearest float, whose shortest decimal has at most six places.
pub(super) fn decimal(millionths: i32) -> Value {
    json!(f64::from(millionths) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_delta_is_sent_as_the_decimal_that_was_given() {
        for millionths in (-1_000_000..=1_000_000).step_by(37).chain([-1_000_000, -1, 0, 1, 999_999, 1_000_000]) {
            let sent: f64 = decimal(millionths).to_string().parse().expect("a number");
            let given = Delta::from_millionths(millionths).expect("in range").to_string();
            assert_eq!(sent, given.parse::<f64>().expect("a number"), "{given}");
        }
    }
}
