//! Where a record says that it comes from: the member `imported` of its metadata.

use qfzz_ledger_core::record::Metadata;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::json::{canonical_object, members};
use crate::legacy::chain;
use crate::legacy::parse::parse;
use crate::legacy::text::dumps;
use crate::legacy::value::{Text, Value};

/// The member's name.
const MEMBER: &str = "imported";

/// The place in a chain of the original that a record was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    /// The hash of the block.
    pub(super) block_hash: [u8; 32],
    /// The index of the record in it; `None` of a whole ledger file, which is known by its last block.
    pub(super) record: Option<u32>,
}

/// What a record says of where it comes from. Members in the order of their names.
#[derive(Serialize)]
struct Shown<'a> {
    block: u64,
    block_hash: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    /// The SHA-256 of metadata that a record cannot hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata_sha256: Option<String>,
    /// What the original had under this name itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    original: Option<&'a serde_json::value::RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u32>,
    source: String,
}

/// The part of it by which a record is known again.
#[derive(Deserialize)]
struct Known {
    block_hash: String,
    record: Option<u32>,
}

/// Where a record stands in a file.
pub(super) struct Place<'a> {
    /// The SHA-256 of the file.
    pub(super) source: &'a [u8; 32],
    /// The index of the block.
    pub(super) block: u64,
    /// The block and the record.
    pub(super) origin: Origin,
}

impl Place<'_> {
    fn shown(&self) -> Shown<'_> {
        Shown {
            block: self.block,
            block_hash: hex::encode(self.origin.block_hash),
            events: None,
            metadata_sha256: None,
            original: None,
            record: self.origin.record,
            source: hex::encode(self.source),
        }
    }

    /// The metadata of a content that was added there: the original's members, and where they come from. Whether the
    /// original's could not be held and stand there as their hash alone.
    pub(super) fn metadata(&self, record: &chain::Record) -> (Metadata, bool) {
        let mut members = record.metadata.clone();
        let original = members.remove(&Text::from(MEMBER)).map(|value| dumps(&value));
        let original = original.as_deref().map(serde_json::from_str::<&serde_json::value::RawValue>);
        let whole = match original.transpose() {
            Ok(original) => with_member(members, &Shown { original, ..self.shown() }),
            Err(_) => None,
        };
        if let Some(metadata) = whole {
            return (metadata, false);
        }
        let hash = hex::encode(Sha256::digest(dumps(&Value::Object(record.metadata.clone()))));
        let shown = Shown { metadata_sha256: Some(hash), ..self.shown() };
        (with_member(Default::default(), &shown).unwrap_or_else(Metadata::empty), true)
    }

    /// The metadata of a ledger file's document.
    pub(super) fn document(&self, events: u64) -> Metadata {
        let shown = Shown { events: Some(events), ..self.shown() };
        with_member(Default::default(), &shown).unwrap_or_else(Metadata::empty)
    }
}

/// The members and `shown` as metadata, if a record can hold them.
fn with_member(mut members: std::collections::BTreeMap<Text, Value>, shown: &Shown<'_>) -> Option<Metadata> {
    let shown = serde_json::to_vec(shown).ok()?;
    members.insert(Text::from(MEMBER), parse(&shown).ok()?);
    let canonical = canonical_object(&dumps(&Value::Object(members))).ok()?;
    Metadata::new(canonical).ok()
}

/// Where a record with this metadata comes from, if it was imported.
pub(super) fn origin_of(metadata: &Metadata) -> Option<Origin> {
    let text = metadata.as_str();
    // Most records were not, and need not be parsed.
    if !text.contains(MEMBER) {
        return None;
    }
    let members = members(text).ok()?;
    let known: Known = serde_json::from_str(members.get(MEMBER)?.get()).ok()?;
    let mut block_hash = [0; 32];
    hex::decode_to_slice(known.block_hash, &mut block_hash).ok()?;
    Some(Origin { block_hash, record: known.record })
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::ids::Id;
    use qfzz_ledger_core::score::Score;

    use super::*;

    const ORIGIN: Origin = Origin { block_hash: [0xab; 32], record: Some(3) };

    fn metadata(json: &str) -> (String, bool) {
        let Ok(Value::Object(metadata)) = parse(json.as_bytes()) else { panic!("{json} is an object") };
        let id = || Id::new("x").expect("an id");
        let record = chain::Record {
            content_id: id(),
            creator_id: id(),
            score: Score::HALF,
            verifications: 0,
            reports: 0,
            metadata,
        };
        let place = Place { source: &[0xcd; 32], block: 5, origin: ORIGIN };
        let (metadata, is_left_out) = place.metadata(&record);
        assert_eq!(origin_of(&metadata), Some(ORIGIN), "{json}");
        (metadata.as_str().to_owned(), is_left_out)
    }

    #[test]
    fn metadata_stays_and_says_where_it_comes_from() {
        let from = format!("\"block\":5,\"block_hash\":\"{}\"", "ab".repeat(32));
        let end = format!("\"record\":3,\"source\":\"{}\"", "cd".repeat(32));
        assert_eq!(metadata("{}"), (format!("{{\"imported\":{{{from},{end}}}}}"), false));
        let kept = metadata(r#"{"z": "\u2603", "bpm": 1e-7, "imported": [1.0]}"#);
        let expected = format!("{{\"bpm\":1e-07,\"imported\":{{{from},\"original\":[1.0],{end}}},\"z\":\"\u{2603}\"}}");
        assert_eq!(kept, (expected, false));
    }

    #[test]
    fn what_a_record_cannot_hold_leaves_its_hash() {
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(4_000));
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(9), "]".repeat(9));
        for json in [long.as_str(), &deep, r#"{"a": NaN}"#, r#"{"a": "\ud800"}"#, r#"{"imported": NaN}"#] {
            let (text, is_left_out) = metadata(json);
            let hash = hex::encode(Sha256::digest(json));
            assert!(is_left_out && text.contains(&format!("\"metadata_sha256\":\"{hash}\"")), "{json}: {text}");
        }
        assert_eq!(origin_of(&Metadata::new("{\"imported\":{\"block_hash\":\"xy\"}}").expect("short")), None);
    }
}
