//! Introductions, which hold the key, and the sizes of what is signed.

use qfzz_ledger_core::batch::{BatchError, BatchHeader, Introduction, SignedBatch};
use qfzz_ledger_core::block::{MAX_BLOCK_BYTES, SealedHeader};
use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Name, Sequence};
use qfzz_ledger_core::limits::{MAX_BATCH_BYTES, MAX_GOSSIP_BYTES};
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::ml_dsa::ML_DSA_KEY_BYTES;
use qfzz_ledger_core::record::Record;
use qfzz_ledger_core::testing::{Author, at, interaction, key, own_log, rules, station};

use super::{empty_header, genesis, introduced_with, open};

#[test]
fn an_introduction_holds_a_key_exactly_under_hybrid_and_a_founders_is_the_one_in_genesis() {
    let hybrid = open();
    let with = |rules: &Rules, number: u8, ml_dsa_key: Option<Vec<u8>>| {
        let introduction =
            Introduction { name: Name::new("x").expect("a name"), reveal_commitment: [0; 32], ml_dsa_key };
        let header = BatchHeader { introduction: Some(introduction), ..empty_header(&key(number)) };
        let signature = key(number).sign(rules.scheme(), &header.hash(rules));
        SignedBatch { header, signature, records: vec![] }.verify(rules)
    };
    let own = |number: u8| Some(key(number).ml_dsa_key().as_bytes().to_vec());
    let refused = |number: u8| Err(BatchError::Introduction { station: station(number), sequence: Sequence::ZERO });
    assert!(with(&hybrid, 2, own(2)).is_ok());
    assert_eq!(with(&hybrid, 2, None), refused(2));
    for length in [0, 3, ML_DSA_KEY_BYTES - 1, ML_DSA_KEY_BYTES + 1] {
        assert_eq!(with(&hybrid, 2, Some(vec![1; length])), refused(2), "{length}");
    }
    assert_eq!(with(&rules(), 2, own(2)), refused(2), "under ed25519");
    assert!(with(&rules(), 2, None).is_ok());
    assert!(with(&hybrid, 1, own(1)).is_ok(), "the founder");
    assert_eq!(with(&hybrid, 1, own(2)), refused(1), "genesis names another key");
    let unsigned = BatchError::MlDsaSignature { station: station(2), sequence: Sequence::ZERO };
    assert_eq!(with(&hybrid, 2, own(3)), Err(unsigned), "it is signed with another key than it holds");
}

#[test]
fn an_own_log_introduces_itself_with_its_key_and_fills_batches_to_the_limit() {
    let rules = open();
    let records: Vec<Record> = (0..600).map(|number| interaction(&format!("{number:0>100}"))).collect();
    let batches = own_log(&rules, 2).sign(&rules, LogEnd::EMPTY, BlockHash::ZERO, at(0), records);
    assert_eq!(batches[0].introduced_key().as_ref(), Some(key(2).ml_dsa_key()));
    assert_eq!(batches.iter().map(|batch| batch.records().len()).sum::<usize>(), 600);
    for batch in &batches {
        assert!(batch.encoded_len() <= MAX_BATCH_BYTES as usize, "{}", batch.encoded_len());
        assert_eq!(batch.signed().clone().verify(&rules).as_ref(), Ok(batch));
        assert!(batch.is_signed_under(&rules, key(2).ml_dsa_key()));
        assert!(!batch.is_signed_under(&rules, key(3).ml_dsa_key()));
    }
}

#[test]
fn the_largest_announcement_fits_gossip_and_the_largest_block_its_limit() {
    let rules = open();
    let long = Name::new("x".repeat(64)).expect("a name");
    let introduction = introduced_with(&rules, &key(2), &key(2), long.as_str());
    let block = Author::new(&rules, 2);
    let mut header = block.header(genesis(&rules), 0, at(1), std::slice::from_ref(&introduction));
    header.batch_count = 1_536;
    let sealed = SealedHeader::seal(&rules, &key(2), header);
    let announced = qfzz_ledger_core::block::Announcement {
        sealed: sealed.clone(),
        introduction: Some((introduction.header().clone(), introduction.signed().signature.clone())),
        batch_ids: vec![introduction.id(); 1_536],
    };
    assert!(encode(&announced).len() < MAX_GOSSIP_BYTES, "{}", encode(&announced).len());
    let overhead = encode(&sealed).len() + 8;
    assert!(rules.limits().body_bytes as usize + overhead <= MAX_BLOCK_BYTES, "{overhead}");
}

#[test]
fn what_is_stored_and_read_again_keeps_its_bytes() {
    let rules = open();
    let batch = Author::new(&rules, 2).batch(at(0), vec![interaction("a")]);
    let bytes = encode(batch.signed());
    assert_eq!(decode::<SignedBatch>(&bytes, MAX_BATCH_BYTES as usize).as_ref(), Ok(batch.signed()));
}
