//! Federations with the scheme `hybrid`: both parts of every signature must verify, and which key the second one is of.

mod equivocation;
mod introduction;
mod key;
mod signature;

use std::collections::HashMap;
use std::sync::Arc;

use qfzz_ledger_core::batch::{BatchHeader, Introduction, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::crypto::{ED25519_SIGNATURE_BYTES, Signature, SignatureScheme, StationKey};
use qfzz_ledger_core::federation::{Admission, Rules};
use qfzz_ledger_core::ids::{BlockHash, Height, Name, Sequence, StationId};
use qfzz_ledger_core::ledger::{BatchOutcome, BlockRefusal, Ledger};
use qfzz_ledger_core::memory::MemoryStore;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::state;
use qfzz_ledger_core::testing::{at, ledger, rules_hybrid, station};

/// Later than any block here.
const NOW: i64 = 1_000_000;

fn open() -> Arc<Rules> {
    rules_hybrid(|_| {})
}

fn roster(founders: u8) -> Arc<Rules> {
    rules_hybrid(|parameters| {
        parameters.admission = Admission::Roster;
        (2..=founders).for_each(|number| parameters.add_founder(station(number), None));
    })
}

/// The ledger of a test station, and its store.
struct Listener {
    rules: Arc<Rules>,
    ledger: Ledger<MemoryStore>,
    store: MemoryStore,
}

impl Listener {
    fn new(rules: &Arc<Rules>, number: u8) -> Self {
        let (ledger, store) = ledger(rules, number);
        Self { rules: Arc::clone(rules), ledger, store }
    }

    fn hear(&mut self, batch: &SignedBatch) -> BatchOutcome {
        self.ledger.add_batch(batch.clone(), at(NOW)).expect("memory can be read")
    }

    /// Takes in a block as somebody sent it; what was wrong with it.
    fn take(&mut self, block: &VerifiedBlock) -> Option<BlockRefusal> {
        // What was found out about signatures does not travel.
        let block = block.to_signed().verify(&self.rules, &HashMap::new()).expect("valid by itself");
        let outcome = self.ledger.add_blocks(vec![block], at(NOW)).expect("memory can be read");
        for transition in outcome.transitions {
            self.store.apply(&transition);
            self.ledger.committed(transition.number);
        }
        outcome.refused.map(|(_, refusal)| refusal)
    }

    fn head(&self) -> BlockHash {
        self.ledger.chain().head()
    }

    fn convicted(&self, station: &StationId) -> bool {
        state::equivocation(self.ledger.read(), station).expect("memory can be read").is_some()
    }
}

fn genesis(rules: &Rules) -> (Height, BlockHash) {
    (Height::ZERO, rules.genesis_hash())
}

fn tip(block: &VerifiedBlock) -> (Height, BlockHash) {
    (block.index(), block.hash())
}

/// The two parts of a signature.
fn parts(signature: &Signature) -> (&[u8], &[u8]) {
    signature.as_bytes().split_at(ED25519_SIGNATURE_BYTES)
}

fn joined(parts: &[&[u8]]) -> Signature {
    Signature::from_bytes(parts.concat())
}

/// An introduction of `author`'s station that holds and signs with the ML-DSA key of `second`: what somebody signs who
/// broke Ed25519, or somebody with two keys.
fn introduced_with(rules: &Rules, author: &StationKey, second: &StationKey, name: &str) -> VerifiedBatch {
    let introduction = Introduction {
        name: Name::new(name).expect("a name"),
        reveal_commitment: [0; 32],
        ml_dsa_key: Some(second.ml_dsa_key().as_bytes().to_vec()),
    };
    let header = BatchHeader { introduction: Some(introduction), ..empty_header(author) };
    signed_by(rules, author, second, header).verify(rules).expect("valid by itself")
}

fn empty_header(author: &StationKey) -> BatchHeader {
    BatchHeader {
        station: author.station(),
        sequence: Sequence::ZERO,
        previous: LogEnd::EMPTY.last,
        seen: BlockHash::ZERO,
        created_at: at(0),
        record_count: 0,
        records_root: [0; 32],
        introduction: None,
    }
}

/// Signed by the Ed25519 key of one and the ML-DSA key of the other.
fn signed_by(rules: &Rules, author: &StationKey, second: &StationKey, header: BatchHeader) -> SignedBatch {
    let digest = header.hash(rules);
    let [one, other] = [author, second].map(|key| key.sign(SignatureScheme::Hybrid, &digest));
    SignedBatch { signature: joined(&[parts(&one).0, parts(&other).1]), header, records: vec![] }
}
