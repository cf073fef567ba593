//! Strict decoding: whatever a stranger sends either is the one encoding of a value or is refused, and never panics.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use qfzz_ledger_core::batch::{BatchError, Checked, SignedBatch, VerifiedBatch};
use qfzz_ledger_core::block::{Announcement, BlockError, MAX_BLOCK_BYTES, SignedBlock, VerifiedBlock};
use qfzz_ledger_core::codec::{CodecError, Decode, Encode, decode, encode, encoded_len};
use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::header::{BlockHeader, HEADER_BYTES};
use qfzz_ledger_core::ids::{Height, RecordId, Sequence};
use qfzz_ledger_core::limits::{MAX_BATCH_BYTES, MAX_GOSSIP_BYTES};
use qfzz_ledger_core::merkle::InclusionProof;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::severity::Severity;
use qfzz_ledger_core::state::{Key, Value};
use qfzz_ledger_core::testing::{
    Author, added, at, dataset_rated, dataset_registered, dataset_verified, interaction, reported, rules, station,
    verified,
};
use qfzz_ledger_core::verify::Verifier;

const LIMIT: usize = MAX_BLOCK_BYTES;

fn records() -> Vec<Record> {
    vec![
        interaction("u"),
        added("track", "maker", 700_000),
        verified("track", "maker"),
        reported("track", "maker"),
        dataset_registered("dataset", 1),
        dataset_verified("dataset", 1),
        dataset_rated("dataset", 800_000),
    ]
}

fn block(rules: &Arc<Rules>) -> VerifiedBlock {
    let mut author = Author::new(rules, 2);
    let body: Vec<VerifiedBatch> = (0..2).map(|_| author.batch(at(0), records())).collect();
    author.block((Height::ZERO, rules.genesis_hash()), 0, at(1), body)
}

/// Ways to spoil bytes, as strangers and broken disks do.
#[derive(Clone, Debug)]
enum Spoil {
    Flip { at: usize, bit: u8 },
    Byte { at: usize, value: u8 },
    Length { at: usize, value: u64 },
    Cut { at: usize },
    Append { value: u8 },
    Insert { at: usize, value: u8 },
    Remove { at: usize },
}

fn spoil() -> impl Strategy<Value = Spoil> {
    let place = any::<usize>;
    let length = prop_oneof![Just(0), Just(1), Just(u64::MAX), Just(1 << 40), 0..1_000u64];
    prop_oneof![
        (place(), 0..8u8).prop_map(|(at, bit)| Spoil::Flip { at, bit }),
        (place(), any::<u8>()).prop_map(|(at, value)| Spoil::Byte { at, value }),
        (place(), length).prop_map(|(at, value)| Spoil::Length { at, value }),
        place().prop_map(|at| Spoil::Cut { at }),
        any::<u8>().prop_map(|value| Spoil::Append { value }),
        (place(), any::<u8>()).prop_map(|(at, value)| Spoil::Insert { at, value }),
        place().prop_map(|at| Spoil::Remove { at }),
    ]
}

fn spoiled(bytes: &[u8], spoil: &Spoil) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let length = bytes.len();
    match *spoil {
        Spoil::Flip { at, bit } => bytes[at % length] ^= 1 << bit,
        Spoil::Byte { at, value } => bytes[at % length] = value,
        Spoil::Length { at, value } if length >= 8 => {
            let at = at % (length - 7);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        Spoil::Cut { at } => bytes.truncate(at % length),
        Spoil::Length { .. } => bytes.clear(),
        Spoil::Append { value } => bytes.push(value),
        Spoil::Insert { at, value } => bytes.insert(at % length, value),
        Spoil::Remove { at } => drop(bytes.remove(at % length)),
    }
    bytes
}

/// What decodes encodes to the same bytes; returns it if so.
fn strict<T: Encode + Decode<()>>(bytes: &[u8]) -> Result<Option<T>, TestCaseError> {
    let Ok(value) = decode::<T>(bytes, LIMIT) else { return Ok(None) };
    prop_assert_eq!(encode(&value), bytes);
    prop_assert_eq!(encoded_len(&value), bytes.len());
    Ok(Some(value))
}

fn run<T: Debug>(cases: u32, strategy: impl Strategy<Value = T>, test: impl Fn(T) -> Result<(), TestCaseError>) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    runner.run(&strategy, test).expect("decoding is strict");
}

#[test]
fn spoiled_bytes_are_refused_or_are_the_encoding_of_another_value() {
    let rules = rules();
    let block = block(&rules);
    let mut verifier = Verifier::from_genesis(&rules);
    verifier.next(block.to_signed()).expect("valid");
    let (keys, values): (Vec<Vec<u8>>, Vec<Vec<u8>>) =
        verifier.state().iter().map(|(key, value)| (encode(key), encode(value.as_ref().expect("present")))).unzip();
    let kept: Vec<Vec<u8>> = records().iter().map(encode).collect();
    let header = encode(block.header());
    assert_eq!(header.len(), HEADER_BYTES);
    let proof = encode(&InclusionProof::new(&[[1; 32], [2; 32], [3; 32]], 1));
    let id = encode(&RecordId { station: station(2), sequence: Sequence::new(3), index: 4 });
    let genesis = rules.genesis().encode();
    run(3_000, (spoil(), spoil(), any::<usize>()), |(first, second, pick)| {
        let spoil = |bytes: &[u8]| {
            let once = spoiled(bytes, &first);
            if pick % 2 == 0 || once.len() < 8 { once } else { spoiled(&once, &second) }
        };
        strict::<Record>(&spoil(&kept[pick % kept.len()]))?;
        strict::<Key>(&spoil(&keys[pick % keys.len()]))?;
        strict::<Value>(&spoil(&values[pick % values.len()]))?;
        strict::<BlockHeader>(&spoil(&header))?;
        strict::<Option<InclusionProof>>(&spoil(&proof))?;
        strict::<RecordId>(&spoil(&id))?;
        let bytes = spoil(&genesis);
        if let Ok(read) = Genesis::decode(&bytes) {
            prop_assert_eq!(read.encode(), &bytes[..]);
            if bytes != genesis {
                let other = Rules::new(read).map(|other| other.federation());
                prop_assert_ne!(other.ok(), Some(rules.federation()), "another genesis is another federation");
            }
        }
        Ok(())
    });
}

#[test]
fn a_batch_that_was_spoiled_anywhere_does_not_verify() {
    let rules = rules();
    let batch = Author::new(&rules, 2).batch(at(0), records());
    let bytes = encode(batch.signed());
    assert_eq!(bytes.len(), batch.encoded_len());
    run(3_000, spoil(), |spoil| {
        let spoiled = spoiled(&bytes, &spoil);
        if let Some(read) = strict::<SignedBatch>(&spoiled)? {
            let id = read.id(&rules);
            let reread = VerifiedBatch::reread(&rules, read.clone(), batch.id(), Checked::Alone);
            let verified = read.verify(&rules);
            prop_assert_eq!(verified.is_ok(), spoiled == bytes);
            prop_assert_eq!(reread.is_ok(), spoiled == bytes, "read back from a disk: {}", id);
        }
        Ok(())
    });
}

#[test]
fn a_block_that_was_spoiled_anywhere_does_not_verify() {
    let rules = rules();
    let block = block(&rules);
    let signed = encode(&block.to_signed());
    let announced = encode(&block.announcement());
    let known: HashMap<_, _> = block.batches().iter().map(|batch| (batch.id(), batch.clone())).collect();
    run(3_000, spoil(), |spoil| {
        let bytes = spoiled(&signed, &spoil);
        if let Some(read) = strict::<SignedBlock>(&bytes)? {
            let verified = read.clone().verify(&rules, &HashMap::new());
            prop_assert_eq!(verified.is_ok(), bytes == signed);
            // With batches known by id, records that were spoiled on the way don't matter: the known ones stand.
            if let Ok(verified) = read.verify(&rules, &known) {
                prop_assert_eq!(verified, block.clone());
            }
        }
        let bytes = spoiled(&announced, &spoil);
        if let Some(read) = strict::<Announcement>(&bytes)? {
            // The introduction may be left out; who doesn't know the producer refuses it for that.
            let is_same = bytes == announced || read == Announcement { introduction: None, ..block.announcement() };
            prop_assert_eq!(read.check_alone(&rules).is_ok(), is_same);
        }
        Ok(())
    });
}

#[test]
fn a_record_of_a_kind_to_come_is_nobodys_fault() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    let batch = author.batch(at(0), vec![verified("track", "maker")]);
    let mut bytes = encode(batch.signed());
    let at_tag = bytes.len() - encode(&batch.records()[0]).len();
    assert_eq!(bytes[at_tag..at_tag + 4], 2u32.to_le_bytes());
    for tag in [9, 12, 99, u32::MAX] {
        bytes[at_tag..at_tag + 4].copy_from_slice(&tag.to_le_bytes());
        let error = SignedBatch::decode(&bytes).expect_err("unknown");
        assert_eq!(error, BatchError::Codec(CodecError::UnknownTag { tag }));
        assert_eq!(error.severity(), Severity::Later);
    }
    let block = author.block((Height::ZERO, rules.genesis_hash()), 0, at(1), vec![batch]);
    let mut bytes = encode(&block.to_signed());
    let at_tag = bytes.len() - (encode(&verified("track", "maker")).len());
    bytes[at_tag..at_tag + 4].copy_from_slice(&9u32.to_le_bytes());
    let error = BlockError::from(decode::<SignedBlock>(&bytes, LIMIT).expect_err("unknown"));
    assert_eq!(error.severity(), Severity::Later);
}

#[test]
fn an_option_that_is_neither_there_nor_not_is_malformed() {
    let rules = rules();
    let mut author = Author::new(&rules, 2);
    author.batch(at(0), vec![]);
    let batch = author.batch(at(0), vec![interaction("u")]);
    let mut bytes = encode(batch.signed());
    let at_option = encode(batch.header()).len() - 1;
    for value in [2, 4, 255] {
        bytes[at_option] = value;
        let error = SignedBatch::decode(&bytes).expect_err("neither 0 nor 1");
        assert_eq!(error, BatchError::Codec(CodecError::Malformed));
        assert_eq!(error.severity(), Severity::Peer);
    }
}

#[test]
fn what_is_too_long_is_not_looked_at() {
    let too_long = |length: usize, limit: usize| CodecError::TooLong { length, limit };
    let limit = MAX_BATCH_BYTES as usize;
    let bytes = vec![0; limit + 1];
    assert_eq!(SignedBatch::decode(&bytes), Err(BatchError::Codec(too_long(limit + 1, limit))));
    let bytes = vec![0; MAX_GOSSIP_BYTES + 1];
    let expected = BlockError::Codec(too_long(MAX_GOSSIP_BYTES + 1, MAX_GOSSIP_BYTES));
    assert_eq!(Announcement::decode(&bytes), Err(expected));
    assert_eq!(Genesis::decode(&bytes), Err(too_long(MAX_GOSSIP_BYTES + 1, 64 * 1024)), "64 KiB with the nonce");
}

#[test]
fn lengths_are_those_of_the_encodings() {
    let rules = rules();
    let block = block(&rules);
    assert_eq!(encoded_len(block.sealed()), HEADER_BYTES + 8 + 64);
    let body: usize = block.batches().iter().map(VerifiedBatch::encoded_len).sum();
    assert_eq!(block.header().body_bytes as usize, body);
    assert_eq!(encode(&block.to_signed()).len(), encoded_len(block.sealed()) + 8 + body);
    assert!(encoded_len(block.sealed()) + 8 + rules.limits().body_bytes as usize <= MAX_BLOCK_BYTES);
}
