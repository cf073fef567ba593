//! The bytes of requests and answers: every value comes back, nothing else is read, and the largest fit.

mod common;

use common::station::{Clock, Station};
use proptest::prelude::*;
use qfzz_ledger_core::batch::SignedBatch;
use qfzz_ledger_core::block::{SealedHeader, SignedBlock};
use qfzz_ledger_core::chain::MAX_LOCATOR;
use qfzz_ledger_core::codec::{CodecError, encode, encoded_len};
use qfzz_ledger_core::crypto::Signature;
use qfzz_ledger_core::crypto::SignatureScheme;
use qfzz_ledger_core::header::Work;
use qfzz_ledger_core::ids::{BatchId, BlockHash, FederationId, Height, Id, Sequence, StationId};
use qfzz_ledger_core::limits::MAX_BODY_BYTES;
use qfzz_ledger_core::mempool::LogEnd;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::testing::{added, at, interaction, key, reported, rules, station, verified};
use qfzz_sync::alive::{OtherRun, Run, Statement};
use qfzz_sync::message::{
    MAX_BLOCKS, MAX_LOGS, MAX_REQUEST_BYTES, MAX_RESPONSE_BYTES, Request, Response, Status, max_headers,
};
use qfzz_sync::opinion::{LiveOpinion, Nonce, Question, SignedOpinion};
use qfzz_sync::peer::SessionError;

fn hash(byte: u8) -> BlockHash {
    BlockHash::from_bytes([byte; 32])
}

/// A block with every kind of record, and its two batches.
fn block() -> SignedBlock {
    let founder = Station::new(&rules(), 1, &Clock::default());
    founder.say(vec![interaction("u"), added("t", "c", 600_000)]);
    founder.say(vec![verified("t", "c"), reported("t", "c")]);
    founder.mine().to_signed()
}

/// What a daemon says of itself.
fn statement() -> Statement {
    let run = Run { started_at: at(1), id: [2; 8], place: [3; 8] };
    Statement::sign(&rules(), &key(1), run, at(4))
}

fn subject() -> Subject {
    let id = |text: &str| Id::new(text).expect("an id");
    Subject::Content { creator_id: id("artist_001"), content_id: id("track_001") }
}

/// What a station says of a subject when it is asked at once.
fn opinion() -> SignedOpinion {
    let opinion = LiveOpinion {
        federation: rules().federation(),
        station: station(1),
        subject: subject(),
        score: Score::from_millionths(633_333).expect("in range"),
        evidence: 3,
        next: Sequence::new(5),
        nonce: Nonce::from_bytes([8; 16]),
        said_at: at(9),
    };
    opinion.sign(&key(1))
}

/// One request of every kind.
fn requests() -> Vec<Request> {
    vec![
        Request::Status { alive: None },
        Request::Status { alive: Some(statement()) },
        Request::Headers { locator: vec![hash(1), hash(2)] },
        Request::Blocks { hashes: vec![hash(3)] },
        Request::BlockBatches { block: hash(4), indexes: vec![0, 7, 1_535] },
        Request::Pending { after: None },
        Request::Pending { after: Some(station(1)) },
        Request::Logs { from: vec![(station(1), Sequence::ZERO), (station(2), Sequence::new(u64::MAX))] },
        Request::Opinion(Question { subject: subject(), nonce: Nonce::from_bytes([8; 16]) }),
    ]
}

/// One answer of every kind.
fn responses() -> Vec<Response> {
    let block = block();
    vec![
        Response::Status(Status {
            federation: FederationId::from_bytes([1; 32]),
            head: hash(2),
            height: Height::new(3),
            work: Work::ZERO,
            pending: [4; 32],
            your_log: LogEnd { next: Sequence::new(5), last: BatchId::from_bytes([6; 32]) },
            other_run: Some(OtherRun { statement: statement(), age_ms: 7 }),
        }),
        Response::Headers { after: hash(1), headers: vec![block.sealed.clone()] },
        Response::Batches(block.batches.clone()),
        Response::Blocks(vec![block]),
        Response::Pending(vec![(station(1), LogEnd { next: Sequence::new(3), last: BatchId::ZERO })]),
        Response::Busy,
        Response::Unknown,
        Response::Opinion(opinion()),
    ]
}

#[test]
fn every_request_and_answer_comes_back_as_it_was() {
    for request in requests() {
        assert_eq!(Request::decode(&encode(&request)), Ok(request));
    }
    for response in responses() {
        assert_eq!(Response::decode(&encode(&response)), Ok(response));
    }
}

#[test]
fn the_tags_of_requests_and_answers_stay_what_they_are() {
    let tag = |bytes: Vec<u8>| u32::from_le_bytes(bytes[..4].try_into().expect("four bytes"));
    assert_eq!(requests().iter().map(|it| tag(encode(it))).collect::<Vec<_>>(), [0, 0, 1, 2, 3, 4, 4, 5, 6]);
    assert_eq!(responses().iter().map(|it| tag(encode(it))).collect::<Vec<_>>(), [0, 1, 3, 2, 4, 5, 6, 7]);
}

/// What stands between federation and signature of station 1's opinion, laid out by hand: integers little-endian,
/// lengths u64, tags u32.
fn opinion_by_hand() -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let about = [&1u32.to_le_bytes()[..], &text("artist_001"), &text("track_001")].concat();
    let (score, evidence, next) = (633_333u32.to_le_bytes(), 3u64.to_le_bytes(), 5u64.to_le_bytes());
    let (federation, station, said_at) = (rules().federation(), station(1), at(9).as_millis().to_le_bytes());
    let parts: [&[u8]; 8] =
        [federation.as_bytes(), station.as_bytes(), &about, &score, &evidence, &next, &[8; 16], &said_at];
    parts.concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Frozen: a question for an opinion, and its answer's signature, which stands for the tag and the bytes under it.
const QUESTION: &str = "06000000010000000a000000000000006172746973745f3030310900000000000000747261636b5f30303108080808080808080808080808080808";
const SIGNATURE: &str = "f9741eadd773d3f4535220b6d2f39c79881dc76d73a0121fcf0c25a3445fcad6032d8dbbd7a091a781579bce44e140b1578745c8fefde7b1e40c773892167804";

#[test]
fn a_question_for_an_opinion_and_its_answer_keep_their_bytes() {
    let question = Request::Opinion(Question { subject: subject(), nonce: Nonce::from_bytes([8; 16]) });
    assert_eq!(hex(&encode(&question)), QUESTION);
    let SignedOpinion { opinion: said, signature } = opinion();
    assert_eq!(encode(&said), opinion_by_hand());
    assert_eq!(hex(signature.as_bytes()), SIGNATURE);
    let whole = [&7u32.to_le_bytes()[..], &encode(&said), &64u64.to_le_bytes(), signature.as_bytes()].concat();
    assert_eq!(encode::<Response>(&Response::Opinion(opinion())), whole);
}

#[test]
fn cut_off_or_longer_bytes_are_not_read() {
    for request in requests() {
        let bytes = encode(&request);
        for length in 0..bytes.len() {
            assert_eq!(Request::decode(&bytes[..length]), Err(CodecError::Malformed), "{request:?} to {length}");
        }
        assert_eq!(Request::decode(&[&bytes[..], &[0]].concat()), Err(CodecError::Malformed));
    }
    for response in responses() {
        let bytes = encode(&response);
        for length in 0..bytes.len() {
            assert!(Response::decode(&bytes[..length]).is_err(), "{response:?} to {length}");
        }
        assert_eq!(Response::decode(&[&bytes[..], &[0]].concat()), Err(CodecError::Malformed));
    }
}

#[test]
fn an_unknown_kind_is_of_a_newer_version_and_nobodys_fault() {
    assert_eq!(Request::decode(&7u32.to_le_bytes()), Err(CodecError::UnknownTag { tag: 7 }));
    let error = Response::decode(&8u32.to_le_bytes()).expect_err("there is no such kind");
    assert_eq!(SessionError::from(error), SessionError::Newer);
    // A record kind of a later version inside a batch that waits there.
    let batches: Vec<SignedBatch> = block().batches;
    let mut bytes = encode::<Response>(&Response::Batches(batches[1..].to_vec()));
    let record = encode(&batches[1].records[0]);
    let at = bytes.windows(record.len()).position(|window| window == record).expect("it is in there");
    bytes[at..at + 4].copy_from_slice(&9u32.to_le_bytes());
    let error = Response::decode(&bytes).expect_err("there is no such kind of record yet");
    assert_eq!(SessionError::from(error), SessionError::Newer);
    assert_eq!(SessionError::from(CodecError::Malformed), SessionError::Malformed);
}

#[test]
fn lists_end_at_their_limits() {
    let locator = |count| Request::Headers { locator: vec![hash(1); count] };
    let blocks = |count| Request::Blocks { hashes: vec![hash(1); count] };
    let logs = |count| Request::Logs { from: vec![(station(1), Sequence::ZERO); count] };
    for (fits, too_long) in [
        (locator(MAX_LOCATOR), locator(MAX_LOCATOR + 1)),
        (blocks(MAX_BLOCKS), blocks(MAX_BLOCKS + 1)),
        (logs(MAX_LOGS), logs(MAX_LOGS + 1)),
    ] {
        assert_eq!(Request::decode(&encode(&fits)), Ok(fits));
        assert_eq!(Request::decode(&encode(&too_long)), Err(CodecError::Malformed));
    }
    for indexes in [vec![1, 1], vec![2, 1]] {
        let request = Request::BlockBatches { block: hash(1), indexes };
        assert_eq!(Request::decode(&encode(&request)), Err(CodecError::Malformed));
    }
    let bytes = vec![0; MAX_REQUEST_BYTES + 1];
    let too_long = CodecError::TooLong { length: MAX_REQUEST_BYTES + 1, limit: MAX_REQUEST_BYTES };
    assert_eq!(Request::decode(&bytes), Err(too_long));
    let bytes = vec![0; MAX_RESPONSE_BYTES + 1];
    let too_long = CodecError::TooLong { length: MAX_RESPONSE_BYTES + 1, limit: MAX_RESPONSE_BYTES };
    assert_eq!(Response::decode(&bytes), Err(too_long));
}

#[test]
fn the_largest_request_of_every_kind_fits() {
    let all_batches: Vec<u32> = (0..qfzz_ledger_core::limits::MAX_BLOCK_BATCHES).collect();
    for request in [
        Request::Headers { locator: vec![hash(1); MAX_LOCATOR] },
        Request::Blocks { hashes: vec![hash(1); MAX_BLOCKS] },
        Request::BlockBatches { block: hash(1), indexes: all_batches },
        Request::Logs { from: vec![(station(1), Sequence::new(u64::MAX)); MAX_LOGS] },
    ] {
        let bytes = encode(&request);
        assert!(bytes.len() <= MAX_REQUEST_BYTES, "{}", bytes.len());
        assert_eq!(Request::decode(&bytes), Ok(request));
    }
}

#[test]
fn the_largest_answer_of_every_kind_fits_and_can_be_read() {
    // As many records as 1 MiB holds: the shortest ones, in full batches, take most memory for their bytes.
    let founder = Station::new(&rules(), 1, &Clock::default());
    for _ in 0..200 {
        founder.say((0..256).map(|_| verified("t", "c")).collect());
    }
    let full = founder.mine().to_signed();
    assert!(full.sealed.header.body_bytes > MAX_BODY_BYTES - 8 * 1_024, "{}", full.sealed.header.body_bytes);
    // Many small batches instead: 1,536 of one record each.
    for number in 0..1_600 {
        founder.say(vec![interaction(&format!("u{number}"))]);
    }
    let many = founder.mine().to_signed();
    let fill = |batches: &[SignedBatch]| -> Vec<SignedBatch> {
        let mut left = MAX_RESPONSE_BYTES - 16;
        let fits = batches.iter().cycle().map_while(|batch| {
            left = left.checked_sub(encoded_len(batch))?;
            Some(batch.clone())
        });
        fits.collect()
    };

    let sealed: SealedHeader = full.sealed.clone();
    let ids = (0..MAX_LOGS as u16).map(|number| {
        let mut id = [9; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        (StationId::from_bytes(id), LogEnd { next: Sequence::new(u64::MAX), last: BatchId::ZERO })
    });
    for response in [
        Response::Headers { after: hash(1), headers: vec![sealed; max_headers(SignatureScheme::Ed25519)] },
        Response::Blocks(vec![full.clone()]),
        Response::Blocks(vec![full.clone(), many.clone()]),
        Response::Batches(fill(&full.batches)),
        Response::Batches(fill(&many.batches)),
        Response::Pending(ids.collect()),
    ] {
        let bytes = encode(&response);
        assert!(bytes.len() <= MAX_RESPONSE_BYTES, "{}", bytes.len());
        assert!(Response::decode(&bytes) == Ok(response));
    }
}

/// Bytes with some changed, cut out or put in.
fn mutated(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = bytes.len();
    let change = (0..length, any::<u8>(), 0..3u8);
    proptest::collection::vec(change, 1..6).prop_map(move |changes| {
        let mut bytes = bytes.clone();
        for (at, byte, how) in changes {
            match how {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at.min(bytes.len()), byte),
            }
        }
        bytes
    })
}

fn any_mutated() -> impl Strategy<Value = Vec<u8>> {
    let encoded: Vec<Vec<u8>> = requests().iter().map(encode).chain(responses().iter().map(encode)).collect();
    proptest::sample::select(encoded).prop_flat_map(mutated)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_read_from_changed_bytes_has_just_these_bytes(bytes in any_mutated()) {
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(encode(&request), bytes.clone());
        }
        if let Ok(response) = Response::decode(&bytes) {
            prop_assert_eq!(encode(&response), bytes);
        }
    }
}

#[test]
fn a_statement_has_its_few_bytes_and_no_more() {
    let status = Request::Status { alive: Some(statement()) };
    assert_eq!(encode(&status).len(), 4 + 1 + (8 + 8 + 8) + 8 + (8 + 64));
    for length in [0, 63, 65, 10_000] {
        let signature = Signature::from_bytes(vec![1; length]);
        let longer = Request::Status { alive: Some(Statement { signature, ..statement() }) };
        assert_eq!(Request::decode(&encode(&longer)), Err(CodecError::Malformed), "{length}");
    }
}
