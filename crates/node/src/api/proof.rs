//! Proofs of records as JSON: written by the daemon, read and checked by anybody, with nothing but the text.
//!
//! The bytes are what is checked. What stands beside them for people (the record's fields, ids, times) is made from
//! them again and compared, so that nothing in the text can say anything else than what was signed.

use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::header::HEADER_BYTES;
use qfzz_ledger_core::ids::{BlockHash, FederationId};
use qfzz_ledger_core::limits::MAX_BATCH_BYTES;
use qfzz_ledger_core::merkle::InclusionProof;
use qfzz_ledger_core::ml_dsa::MlDsaKey;
use qfzz_ledger_core::proof::{BlockPart, ProofError, Proven, RecordProof};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::block::Fields;
use super::schema;

/// What a proof calls itself.
const FORMAT: &str = "qfzz/record-proof/1";

/// Bytes of a proof's text, at most: the largest genesis takes 128 KiB of it.
pub const MAX_PROOF_BYTES: usize = 1024 * 1024;

const IN_BLOCK: &str = "This proves that the record is in this block. It does not prove that the block is on the best chain: ask a station that you trust for the hash at this height.";
const PENDING: &str =
    "This proves that the station signed the record. It is in no block yet: ask again once it has been mined.";

/// Why a text is not a proof that holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// More than any proof takes.
    #[error("it has {bytes} bytes: a proof has at most {MAX_PROOF_BYTES}")]
    TooLong {
        /// Bytes given.
        bytes: usize,
    },
    /// Not the JSON of a proof.
    #[error("it is not a proof of this version: {reason}")]
    NotAProof {
        /// Where it differs.
        reason: String,
    },
    /// A part's bytes are not what they should be.
    #[error("its `{part}` cannot be read")]
    Part {
        /// The member's name.
        part: &'static str,
    },
    /// The bytes prove nothing.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The bytes hold, but the text beside them says something else.
    #[error("its `{member}` is not what its signed bytes say")]
    Differs {
        /// The first member that differs.
        member: String,
    },
}

/// A proof that a record was signed, and stands in a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Proof)]
pub struct ProofText {
    /// `qfzz/record-proof/1`.
    format: String,
    /// The federation that all of it belongs to: the hash of its genesis.
    #[schema(value_type = schema::Hash)]
    federation_id: String,
    /// What the federation calls itself.
    #[schema(value_type = schema::Name)]
    federation: String,
    /// The federation's encoded parameters and nonce.
    #[schema(value_type = schema::Hex)]
    genesis: String,
    /// The record's place.
    #[schema(value_type = schema::RecordId)]
    record_id: String,
    /// `confirmed` if the proof names a block, else `pending`.
    status: String,
    /// What is proven and what is not.
    note: String,
    /// The record's fields.
    #[schema(value_type = Object)]
    record: Value,
    /// The encoded record.
    #[schema(value_type = schema::Hex)]
    record_bytes: String,
    /// The record's hash: a leaf of its batch's Merkle tree.
    #[schema(value_type = schema::Hash)]
    record_hash: String,
    /// From the record's hash to the root in the batch's header.
    record_path: PathText,
    /// What the record's station signed.
    batch: BatchText,
    /// From the batch's id to the root in the block's header; null while pending.
    batch_path: Option<PathText>,
    /// The block that holds the batch; null while pending.
    block: Option<BlockText>,
}

/// A path in a Merkle tree in the shape of RFC 6962.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MerklePath)]
struct PathText {
    /// The leaf's index, from 0.
    index: u64,
    /// The number of leaves.
    leaves: u64,
    /// The sibling of each node from the leaf to the root, lowest first.
    #[schema(value_type = Vec<schema::Hash>)]
    path: Vec<String>,
}

/// A batch's header and signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProofBatch)]
struct BatchText {
    /// Its id: a leaf of its block's Merkle tree.
    #[schema(value_type = schema::Hash)]
    batch_id: String,
    /// Its author.
    #[schema(value_type = schema::PeerId)]
    station_id: String,
    /// Its number in its author's log.
    sequence: u64,
    /// When it was signed, as its author says.
    #[schema(value_type = schema::Time)]
    created_at: String,
    /// The encoded header: what was signed.
    #[schema(value_type = schema::Hex)]
    header: String,
    /// The signature over the header's hash.
    #[schema(value_type = schema::Hex)]
    signature: String,
    /// The author's ML-DSA key, exactly where the federation signs with `hybrid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Hex>, nullable = false)]
    ml_dsa_key: Option<String>,
}

/// A block's header and seal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProofBlock)]
struct BlockText {
    /// Its height.
    index: u64,
    /// Its hash.
    #[schema(value_type = schema::Hash)]
    hash: String,
    /// When its producer made it.
    #[schema(value_type = schema::Time)]
    timestamp: String,
    /// Who made it.
    #[schema(value_type = schema::PeerId)]
    producer: String,
    /// The encoded header: what was worked for and sealed.
    #[schema(value_type = schema::Hex)]
    header: String,
    /// The producer's signature over the block's hash.
    #[schema(value_type = schema::Hex)]
    seal: String,
    /// The producer's ML-DSA key, exactly where the federation signs with `hybrid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Hex>, nullable = false)]
    ml_dsa_key: Option<String>,
}

impl ProofText {
    /// Writes a proof, once it was found to hold.
    ///
    /// # Errors
    /// [`ProofError`]: it does not.
    pub fn new(proof: &RecordProof) -> Result<Self, ProofError> {
        let proven = proof.verify(None)?;
        let block = |(part, hash): (&BlockPart, BlockHash)| BlockText {
            index: part.sealed.header.index.get(),
            hash: hash.to_string(),
            timestamp: part.sealed.header.timestamp.to_string(),
            producer: part.sealed.header.producer.to_string(),
            header: hex::encode(encode(&part.sealed.header)),
            seal: hex::encode(part.sealed.seal.as_bytes()),
            ml_dsa_key: part.producer_key.as_ref().map(shown_key),
        };
        let status = if proof.block.is_some() { ("confirmed", IN_BLOCK) } else { ("pending", PENDING) };
        let rules = Rules::new(proof.genesis.clone()).map_err(ProofError::from)?;
        let record = serde_json::to_value(Fields::new(&proof.record, &rules));
        Ok(Self {
            format: FORMAT.to_owned(),
            federation_id: proven.federation.to_string(),
            federation: proof.genesis.parameters.name.to_string(),
            genesis: hex::encode(proof.genesis.encode()),
            record_id: proven.record.to_string(),
            status: status.0.to_owned(),
            note: status.1.to_owned(),
            record: record.expect("texts and numbers can be shown as JSON"),
            record_bytes: hex::encode(encode(&proof.record)),
            record_hash: proven.hash.to_string(),
            record_path: PathText::new(&proof.path),
            batch: BatchText {
                batch_id: proven.batch.to_string(),
                station_id: proof.header.station.to_string(),
                sequence: proof.header.sequence.get(),
                created_at: proof.header.created_at.to_string(),
                header: hex::encode(encode(&proof.header)),
                signature: hex::encode(proof.signature.as_bytes()),
                ml_dsa_key: proof.author_key.as_ref().map(shown_key),
            },
            batch_path: proof.block.as_ref().map(|part| PathText::new(&part.path)),
            block: proof.block.as_ref().zip(proven.block.map(|(_, hash, _)| hash)).map(block),
        })
    }

    /// The proof in the bytes; nothing of it is checked.
    fn bytes(&self) -> Result<RecordProof, ProofFault> {
        /// Bytes of the longest part beside genesis.
        const PART: usize = MAX_BATCH_BYTES as usize;
        let block = match (&self.block, &self.batch_path) {
            (None, None) => None,
            (Some(block), Some(path)) => {
                let header = part("block.header", &block.header, |bytes| decode(bytes, HEADER_BYTES).ok())?;
                let seal = part("block.seal", &block.seal, |bytes| Some(Signature::from_bytes(bytes.to_vec())))?;
                let sealed = qfzz_ledger_core::block::SealedHeader { header, seal };
                let producer_key = key("block.ml_dsa_key", block.ml_dsa_key.as_ref())?;
                Some(BlockPart { producer_key, sealed, path: path.bytes("batch_path")? })
            }
            _ => return Err(ProofFault::Part { part: "block" }),
        };
        Ok(RecordProof {
            genesis: part("genesis", &self.genesis, |bytes| Genesis::decode(bytes).ok())?,
            record: part("record_bytes", &self.record_bytes, |bytes| decode(bytes, PART).ok())?,
            path: self.record_path.bytes("record_path")?,
            header: part("batch.header", &self.batch.header, |bytes| decode(bytes, PART).ok())?,
            signature: part("batch.signature", &self.batch.signature, |bytes| {
                Some(Signature::from_bytes(bytes.to_vec()))
            })?,
            author_key: key("batch.ml_dsa_key", self.batch.ml_dsa_key.as_ref())?,
            block,
        })
    }
}

fn shown_key(key: &MlDsaKey) -> String {
    hex::encode(key.as_bytes())
}

fn key(name: &'static str, text: Option<&String>) -> Result<Option<MlDsaKey>, ProofFault> {
    text.map(|text| part(name, text, MlDsaKey::from_bytes)).transpose()
}

fn part<T>(name: &'static str, text: &str, read: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, ProofFault> {
    hex::decode(text).ok().and_then(|bytes| read(&bytes)).ok_or(ProofFault::Part { part: name })
}

impl PathText {
    fn new(path: &InclusionProof) -> Self {
        Self { index: path.index, leaves: path.leaves, path: path.path.iter().map(hex::encode).collect() }
    }

    fn bytes(&self, name: &'static str) -> Result<InclusionProof, ProofFault> {
        let sibling = |text: &String| part(name, text, |bytes| bytes.try_into().ok());
        let path = self.path.iter().map(sibling).collect::<Result<_, _>>()?;
        Ok(InclusionProof { index: self.index, leaves: self.leaves, path })
    }
}

/// Checks the text of a proof: everything in it, and that it is of the federation `expected` where one is given.
///
/// Returns what is proven, and the proof as it was read.
///
/// # Errors
/// [`ProofFault`]: why it does not hold.
pub fn check_proof(text: &[u8], expected: Option<FederationId>) -> Result<(Proven, ProofText), ProofFault> {
    if text.len() > MAX_PROOF_BYTES {
        return Err(ProofFault::TooLong { bytes: text.len() });
    }
    let not_a_proof = |reason: String| ProofFault::NotAProof { reason };
    let given: ProofText = serde_json::from_slice(text).map_err(|error| not_a_proof(error.to_string()))?;
    if given.format != FORMAT {
        return Err(not_a_proof(format!("its `format` is not `{FORMAT}`")));
    }
    let proof = given.bytes()?;
    let proven = proof.verify(expected)?;
    let written = ProofText::new(&proof)?;
    if given == written {
        return Ok((proven, given));
    }
    Err(ProofFault::Differs { member: first_difference(&given, &written) })
}

/// The name of the first member in which two texts differ.
fn first_difference(given: &ProofText, written: &ProofText) -> String {
    let members = |proof: &ProofText| match serde_json::to_value(proof) {
        Ok(Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let written = members(written);
    let differing = members(given).into_iter().find(|(name, value)| written.get(name) != Some(value));
    differing.map_or_else(|| "proof".to_owned(), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::header::Difficulty;
    use qfzz_ledger_core::ids::Height;
    use qfzz_ledger_core::testing::{Author, added, at, interaction, rules_with};

    use super::*;

    /// A proof of a record in a block, and one of a pending record.
    fn proofs() -> (FederationId, [Vec<u8>; 2]) {
        let rules = rules_with(|parameters| parameters.difficulty = Difficulty::new(4).expect("in range"));
        let mut author = Author::new(&rules, 1);
        let batch = author.batch(at(10), vec![interaction("a"), added("track", "artist", 123_456), interaction("c")]);
        let other = Author::new(&rules, 2).batch(at(11), vec![interaction("b")]);
        let id = batch.record_id(1);
        let block = author.block((Height::ZERO, rules.genesis_hash()), 0, at(1_000), vec![batch, other]);
        let pending = author.batch(at(20), vec![interaction("d")]);
        let proofs = [
            RecordProof::in_block(&rules, &block, &id, [None, None]).expect("it is there"),
            RecordProof::of_pending(&rules, &pending, 0, None).expect("it is there"),
        ];
        (Rules::federation(&rules), proofs.map(|proof| text_of(&proof)))
    }

    fn text_of(proof: &RecordProof) -> Vec<u8> {
        serde_json::to_vec_pretty(&ProofText::new(proof).expect("it holds")).expect("JSON")
    }

    #[test]
    fn a_proof_that_was_written_is_read_and_holds() {
        let (federation, [in_block, pending]) = proofs();
        let (proven, text) = check_proof(&in_block, Some(federation)).expect("it holds");
        assert!(proven.block.is_some());
        assert_eq!(text.record["initial_score"], 0.123456);
        assert_eq!(text.status, "confirmed");
        let (proven, text) = check_proof(&pending, None).expect("it holds");
        assert!(proven.block.is_none());
        assert_eq!((text.status.as_str(), text.batch.sequence), ("pending", 1));
        let other = FederationId::from_bytes([9; 32]);
        assert!(matches!(check_proof(&in_block, Some(other)), Err(ProofFault::Proof(ProofError::Federation { .. }))));
    }

    #[test]
    fn a_text_with_one_flipped_bit_is_refused_whichever_it_is() {
        let (_, [in_block, pending]) = proofs();
        let mut reasons = std::collections::BTreeMap::new();
        for mut text in [in_block, pending] {
            for bit in 0..text.len() * 8 {
                text[bit / 8] ^= 1 << (bit % 8);
                let fault = check_proof(&text, None).expect_err("it was altered");
                let kind = match fault {
                    ProofFault::TooLong { .. } => "too long",
                    ProofFault::NotAProof { .. } => "not a proof",
                    ProofFault::Part { .. } => "a part cannot be read",
                    ProofFault::Proof(_) => "proves nothing",
                    ProofFault::Differs { .. } => "says something else than its bytes",
                };
                *reasons.entry(kind).or_insert(0) += 1;
                text[bit / 8] ^= 1 << (bit % 8);
            }
        }
        let flipped: u32 = reasons.values().sum();
        println!("{flipped} texts with one flipped bit, all refused: {reasons:?}");
        assert_eq!(reasons.len(), 4, "{reasons:?}");
    }

    #[test]
    fn what_was_added_left_out_or_swapped_is_refused() {
        let (_, [in_block, pending]) = proofs();
        let of = |text: &[u8]| serde_json::from_slice::<Value>(text).expect("JSON");
        let refused = |value: &Value| check_proof(value.to_string().as_bytes(), None).expect_err("it was altered");
        let mut more = of(&in_block);
        more["more"] = Value::Bool(true);
        assert!(matches!(refused(&more), ProofFault::NotAProof { .. }));
        for member in of(&in_block).as_object().expect("an object").keys() {
            let mut without = of(&in_block);
            without.as_object_mut().expect("an object").remove(member);
            refused(&without);
        }
        let mut swapped = of(&in_block);
        swapped["batch"] = of(&pending)["batch"].clone();
        assert!(matches!(refused(&swapped), ProofFault::Proof(_)));
        let mut told = of(&in_block);
        told["record"]["content_id"] = "another".into();
        assert_eq!(refused(&told), ProofFault::Differs { member: "record".to_owned() });
        let long = vec![b' '; MAX_PROOF_BYTES + 1];
        assert!(matches!(check_proof(&long, None), Err(ProofFault::TooLong { .. })));
    }
}
