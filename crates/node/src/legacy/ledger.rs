//! The station ledger that the original program kept (`qfzz_ledger.json`).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::fault::{Reason, Within};
use super::members::{Claims, Members};
use super::text::dumps;
use super::value::{Text, Value};

/// The members of a block; its hash covers all others.
const MEMBERS: [&str; 6] = ["index", "timestamp", "event_type", "data", "prev_hash", "hash"];

/// Checks `block`, which stands at `place` after the block with the hash `previous`; returns its hash, in hex.
///
/// Nothing separates the index from the timestamp where they are hashed, so the index is compared with the place.
///
/// # Errors
/// [`Reason`].
pub fn check(block: BTreeMap<Text, Value>, place: u64, previous: &str) -> Result<String, Reason> {
    let mut members = Members::of(block, Within::Block);
    members.only(&MEMBERS)?;
    let claims =
        Claims { hash: members.take("hash")?, previous: members.take("prev_hash")?, index: members.take("index")? };
    let (timestamp, event) = (members.take_text("timestamp")?, members.take_text("event_type")?);
    let data = Value::Object(members.take_object("data")?);
    let mut hash = Sha256::new();
    // The index and the link as they stand: what is wrong with them is told before the hash is.
    let named = claims.previous.as_str().unwrap_or_default();
    for part in [dumps(&claims.index).as_str(), &timestamp, &event, &dumps(&data), named] {
        hash.update(part);
    }
    claims.check(place, previous, hex::encode(hash.finalize()))
}
