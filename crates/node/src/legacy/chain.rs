//! The chain that `export_chain()` of the original program wrote.

use std::collections::BTreeMap;

use qfzz_ledger_core::ids::Id;
use qfzz_ledger_core::score::Score;
use sha2::{Digest, Sha256};

use super::fault::{Reason, Within};
use super::members::{Claims, Members};
use super::value::{Number, Text, Value};
use crate::api::json::plain_decimal;

/// The members of a block; its hash covers all others.
const MEMBERS: [&str; 6] = ["index", "timestamp", "records", "previous_hash", "nonce", "hash"];

/// Places of a score's decimals that a record keeps.
const PLACES: usize = 6;

/// A block whose index, link and hash are right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its hash, in hex.
    pub hash: String,
    /// Its records, in order.
    pub records: Vec<Record>,
}

/// A record: a content as it stood when the block was mined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The content.
    pub content_id: Id,
    /// Who made it.
    pub creator_id: Id,
    /// Its score, rounded down to a millionth.
    pub score: Score,
    /// How often it was verified.
    pub verifications: u64,
    /// How often it was reported.
    pub reports: u64,
    /// What else was known about it.
    pub metadata: BTreeMap<Text, Value>,
}

/// Checks `block`, which stands at `place` after the block with the hash `previous`.
///
/// # Errors
/// [`Reason`].
pub fn check(block: BTreeMap<Text, Value>, place: u64, previous: &str) -> Result<Block, Reason> {
    let mut members = Members::of(block, Within::Block);
    members.only(&MEMBERS)?;
    let hash = members.take("hash")?;
    let computed = hex::encode(Sha256::digest(members.dumps()));
    let claims = Claims { hash, previous: members.take("previous_hash")?, index: members.take("index")? };
    let hash = claims.check(place, previous, computed)?;
    members.take_text("timestamp")?;
    members.take_count("nonce")?;
    let records = members.take_array("records")?.into_iter().enumerate().map(|(index, record)| read(record, index));
    Ok(Block { hash, records: records.collect::<Result<_, _>>()? })
}

fn read(record: Value, index: usize) -> Result<Record, Reason> {
    let within = Within::Record(index);
    let Value::Object(record) = record else {
        return Err(Reason::WrongKind { within, member: "records", found: record.kind(), expected: "an object" });
    };
    let mut members = Members::of(record, within);
    let mut id = |member| {
        let text = members.take_text(member)?;
        Id::new(text).map_err(|error| Reason::Id { within, member, error })
    };
    let (content_id, creator_id) = (id("content_id")?, id("creator_id")?);
    let score = members.take_number("trust_score")?;
    let score = rounded_down(&score).ok_or_else(|| Reason::Score { within, found: score.as_str().to_owned() })?;
    Ok(Record {
        content_id,
        creator_id,
        score,
        verifications: members.take_count("verifications")?,
        reports: members.take_count("reports")?,
        metadata: members.take_object("metadata")?,
    })
}

/// A number as a score, rounded down to a millionth; `None` outside 0 to 1.
fn rounded_down(number: &Number) -> Option<Score> {
    // Negative zero is zero.
    let text = if number.as_str() == "-0.0" { "0" } else { number.as_str() };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, ""));
    // So small that nothing is left of it, however small.
    if exponent.starts_with('-') && !mantissa.starts_with('-') && plain_decimal(text).is_none() {
        return Some(Score::ZERO);
    }
    let plain = plain_decimal(text)?;
    let (whole, decimals) = plain.split_once('.').unwrap_or((&plain, "0"));
    let kept = &decimals[..decimals.len().min(PLACES)];
    let is_over_one = whole.bytes().all(|digit| digit == b'0' || digit == b'1')
        && whole.trim_start_matches('0') == "1"
        && decimals.bytes().any(|digit| digit != b'0');
    if is_over_one { None } else { format!("{whole}.{kept}").parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_rounded_down_and_none_outside_its_range() {
        let read = |json: &str| rounded_down(&Number::of_json(json)).map(|score| score.to_string());
        for (json, score) in [
            ("0.9", "0.9"),
            ("0.6333333333333333", "0.633333"),
            ("0.9999999999", "0.999999"),
            ("1", "1"),
            ("1.0", "1"),
            ("0", "0"),
            ("-0.0", "0"),
            ("1e-7", "0"),
            ("2.5e-5", "0.000025"),
            ("5e-324", "0"),
        ] {
            assert_eq!(read(json).as_deref(), Some(score), "{json}");
        }
        for wrong in ["1.0000001", "1.5", "2", "10.5", "-0.1", "-1e-300", "1e16", "1e400", "-1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
