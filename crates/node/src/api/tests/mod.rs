//! The API over real sockets, in front of a station that is a fake.

mod access;
mod bounds;
mod client;
mod datasets;
mod duties;
mod events;
mod files;
mod openapi;
mod reads;
mod records;
mod writes;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use qfzz_ledger_core::batch::{Introduction, SignedBatch};
use qfzz_ledger_core::block::SealedHeader;
use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use qfzz_ledger_core::federation::{Genesis, Parameters, Rules};
use qfzz_ledger_core::header::{BlockHeader, Work};
use qfzz_ledger_core::ids::{BatchId, BlockHash, Height, Id, Name, Reason, RecordHash, RecordId, Sequence, StationId};
use qfzz_ledger_core::proof::RecordProof;
use qfzz_ledger_core::record::{Metadata, Record};
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::EndingPlace;
use qfzz_ledger_core::testimony::Answer as Finding;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::global_trust as combined;
use qfzz_sync::opinion::Unanswered;
use qfzz_sync::report::SyncReport;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use client::{Answer, Api, send};

use super::auth::Access;
use super::block::{Block, FoundRecord, SeenBatch};
use super::dto::{
    BannedPeer, ContentTrust, CreatorTrust, Dataset, DatasetChange, DatasetPage, DatasetTrust, Dialled, Draws,
    DutyPage, GlobalTrust, Head, ImportFormat, Imported, Invitation, Live, LogHead, Peer, Readiness, Receipt, Rests,
    StationInfo, Statistics, Status, Trouble, Trust, UserTrust, Verification, Voice,
};
use super::port::{BlockAt, BlockStream, DatasetQuery, DutyQuery, GlobalQuery, PortError, Station, Upload, Word};
use super::server::{Handle, Limits, start};
use crate::data_dir::ApiToken;
use crate::events::Events;
use crate::metrics::{Figures, Metrics};
use crate::quantum::{QuantumProvider, QuantumStatus};

const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// 2026-01-25T10:00:00.000Z.
const NOW: i64 = 1_769_335_200_000;

fn now() -> Timestamp {
    Timestamp::from_millis(NOW).expect("in range")
}

/// A fake: a station without chain rules, disk or network. It keeps what it is given, and fails or hangs when told to.
#[derive(Clone)]
struct Fake(Arc<Inner>);

struct Inner {
    rules: Arc<Rules>,
    key: StationKey,
    events: Events,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pending: Vec<SeenBatch>,
    blocks: Vec<Block>,
    /// The size of each submission.
    submissions: Vec<usize>,
    datasets: Vec<Dataset>,
    /// What it was asked last, where the answer does not show it.
    asked: Option<String>,
    fails: Option<PortError>,
    /// Why records cannot be stored, while all else works.
    stores_nothing: Option<PortError>,
    hangs: bool,
    /// The height from which blocks cannot be read.
    unreadable_from: Option<u64>,
}

impl Fake {
    fn new() -> Self {
        let key = StationKey::from_seed([7; 32]);
        let name = Name::new("fake federation").expect("a name");
        let genesis = Genesis::mine(Parameters::new(name, key.station(), now())).expect("valid parameters");
        let rules = Arc::new(Rules::new(genesis).expect("a valid genesis"));
        let sealed = SealedHeader::genesis(&rules);
        let first =
            Block { hash: BlockHash::from_bytes(*rules.genesis().id().as_bytes()), sealed, batches: Vec::new() };
        let state = Mutex::new(State { blocks: vec![first], ..State::default() });
        Self(Arc::new(Inner { rules, key, events: Events::new(8), metrics: Arc::default(), state }))
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.state.lock().expect("no test panics while it holds the lock"))
    }

    fn submissions(&self) -> Vec<usize> {
        self.with(|state| state.submissions.clone())
    }

    fn asked(&self) -> Option<String> {
        self.with(|state| state.asked.take())
    }

    fn heed(&self, asked: impl ToString) {
        self.with(|state| state.asked = Some(asked.to_string()));
    }

    fn head(&self) -> Head {
        self.with(|state| {
            let head = state.blocks.last().expect("genesis is there");
            Head { index: head.sealed.header.index, hash: head.hash }
        })
    }

    /// What every method does first: waits for ever, or fails, if told to.
    async fn obey(&self) -> Result<(), PortError> {
        let (hangs, fails) = self.with(|state| (state.hangs, state.fails.clone()));
        if hangs {
            std::future::pending::<()>().await;
        }
        fails.map_or(Ok(()), Err)
    }

    fn trust(&self, station_id: Option<StationId>, score: &str) -> Trust {
        let score: Score = score.parse().expect("a score");
        Trust {
            voice: station_id.map_or(Voice::Ledger, Voice::Opinion),
            score,
            confirmed_score: Score::HALF,
            evidence: 3,
            confirmed_evidence: 1,
            pending: 2,
            known: true,
            head: self.head(),
        }
    }

    /// A batch of `records` at the next place of the fake's log.
    fn sign(&self, records: Vec<Record>) -> SeenBatch {
        let (head, sequence) = (self.head(), self.with(|state| state.submissions.len() as u64));
        let introduction = (sequence == 0).then(|| Introduction {
            name: Name::new("fake").expect("a name"),
            reveal_commitment: [0; 32],
            ml_dsa_key: None,
        });
        let place = (Sequence::new(sequence), BatchId::ZERO);
        let rules = &self.0.rules;
        let batch = SignedBatch::sign(rules, &self.0.key, place, head.hash, now(), introduction, records);
        SeenBatch { batch, seen: Some(head.index) }
    }
}

impl Station for Fake {
    fn now(&self) -> Timestamp {
        now()
    }

    fn events(&self) -> Events {
        self.0.events.clone()
    }

    fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }

    fn quantum(&self) -> QuantumStatus {
        QuantumProvider::off().status()
    }

    async fn figures(&self) -> Result<Figures, PortError> {
        self.obey().await?;
        Ok(Figures { head_height: self.head().index.get(), peers: 1, ..Figures::default() })
    }

    async fn rules(&self) -> Result<Arc<Rules>, PortError> {
        self.obey().await?;
        Ok(Arc::clone(&self.0.rules))
    }

    async fn submit(&self, records: Vec<Record>) -> Result<Vec<Receipt>, PortError> {
        self.obey().await?;
        if let Some(error) = self.with(|state| state.stores_nothing.clone()) {
            return Err(error);
        }
        let count = records.len();
        let seen = self.sign(records);
        let hashes = seen.batch.record_hashes(&self.0.rules);
        let receipts = (0..).zip(hashes).map(|(index, hash)| Receipt {
            record_id: seen.batch.record_id(index),
            hash,
            batch_id: seen.batch.id(),
            is_refused: false,
        });
        let receipts = receipts.collect();
        self.with(|state| {
            state.submissions.push(count);
            state.pending.push(seen);
        });
        Ok(receipts)
    }

    async fn mine(&self) -> Result<Option<Block>, PortError> {
        self.obey().await?;
        let (head, rules) = (self.head(), &self.0.rules);
        let batches = self.with(|state| std::mem::take(&mut state.pending));
        if batches.is_empty() {
            return Ok(None);
        }
        let genesis = rules.genesis().header();
        let header = BlockHeader {
            index: head.index.next().expect("a low height"),
            previous: head.hash,
            batch_count: u32::try_from(batches.len()).expect("few"),
            producer: self.0.key.station(),
            reveal: [0xab; 32],
            nonce: u64::MAX,
            ..genesis
        };
        let sealed = SealedHeader::seal(rules, &self.0.key, header);
        let block = Block { hash: sealed.hash(rules), sealed, batches };
        self.with(|state| state.blocks.push(block.clone()));
        Ok(Some(block))
    }

    async fn dial(&self, target: String) -> Result<Dialled, PortError> {
        self.obey().await?;
        self.heed(&target);
        let federation = self.0.rules.genesis().parameters.name.clone();
        let federation_id = self.0.rules.genesis().id();
        Ok(Dialled {
            peer_id: StationId::from_bytes([9; 32]),
            address: target,
            federation_id,
            federation,
            joined: true,
        })
    }

    async fn sync(&self, peer: Option<String>) -> Result<Vec<SyncReport>, PortError> {
        self.obey().await?;
        self.heed(format!("{peer:?}"));
        Ok(vec![report()])
    }

    async fn content_scores(&self, contents: Vec<(Id, Id)>) -> Result<Vec<Score>, PortError> {
        self.obey().await?;
        // A content's score stands in its id.
        Ok(contents.iter().map(|(content, _)| content.as_str().parse().unwrap_or(Score::HALF)).collect())
    }

    async fn import(&self, mut file: Upload) -> Result<Imported, PortError> {
        self.obey().await?;
        let mut bytes = 0;
        while let Some(chunk) = file.next().await {
            bytes += chunk.map_err(|error| PortError::BrokeOff { reason: error.to_string() })?.len() as u64;
        }
        let source = "0".repeat(64);
        Ok(Imported { format: ImportFormat::Chain, blocks: 1, records: bytes, source, metadata_left_out: 0 })
    }

    async fn status(&self) -> Result<Status, PortError> {
        self.obey().await?;
        Ok(Status {
            station_id: self.0.key.station(),
            name: Name::new("fake").expect("a name"),
            federation_id: Some(self.0.rules.genesis().id()),
            federation: Some(self.0.rules.genesis().parameters.name.clone()),
            signatures: Some("ed25519"),
            ml_dsa_key_hash: "00".repeat(32),
            version: "0.0.0".to_owned(),
            listen: vec!["/ip4/127.0.0.1/tcp/4811".to_owned()],
            head: Some(self.head()),
            records: 4,
            pending_records: self.with(|state| state.pending.len() as u64),
            peers: 1,
            open_duties: 2,
            known_height: Some(self.head().index),
            synced: true,
            signing: true,
            verifying: None,
            importing: None,
            mining: true,
            reorganisations: 3,
            data_bytes: Some(1_234),
            free_bytes: Some(5_678),
            banned: vec![BannedPeer {
                peer_id: StationId::from_bytes([6; 32]),
                reason: "gossiped without measure".to_owned(),
                until: Timestamp::EPOCH,
            }],
            banned_total: 1,
            started_at: now(),
            problems: vec![Trouble::new("fake", "it is a fake".to_owned(), "test the real one too")],
            notices: vec!["it is a quiet day".to_owned()],
        })
    }

    async fn readiness(&self) -> Result<Readiness, PortError> {
        match self.obey().await {
            Ok(()) => Ok(Readiness { ready: true, reasons: Vec::new() }),
            Err(error) => Ok(Readiness { ready: false, reasons: vec![error.to_string()] }),
        }
    }

    async fn peers(&self) -> Result<Vec<Peer>, PortError> {
        self.obey().await?;
        let address = "/ip4/127.0.0.1/tcp/1".to_owned();
        let peer_id = StationId::from_bytes([9; 32]);
        Ok(vec![Peer { peer_id, address, name: None, head: Some(self.head()), connected_since: now() }])
    }

    async fn ticket(&self) -> Result<String, PortError> {
        self.obey().await.map(|()| "qfzz1fake".to_owned())
    }

    async fn say_of(&self, station: StationId, word: Word, reason: Reason) -> Result<Receipt, PortError> {
        self.heed(format!("{word:?} {station} {reason}"));
        let (record_id, hash) = (RecordId { station, sequence: Sequence::ZERO, index: 0 }, RecordHash::ZERO);
        self.obey().await.map(|()| Receipt { record_id, hash, batch_id: BatchId::ZERO, is_refused: false })
    }

    async fn invite(&self, valid: Duration) -> Result<Invitation, PortError> {
        self.heed(valid.as_millis());
        let expires = now().saturating_add(i64::try_from(valid.as_millis()).expect("small"));
        self.obey().await.map(|()| Invitation { ticket: "qfzz2fake".to_owned(), expires })
    }

    async fn stations(&self) -> Result<Vec<StationInfo>, PortError> {
        self.obey().await?;
        let (station_id, name) = (self.0.key.station(), Name::new("fake").expect("a name"));
        let equivocation = Some(RecordId { station: station_id, sequence: Sequence::new(3), index: 1 });
        let (founder, connected, equivocated) = (true, true, true);
        Ok(vec![StationInfo {
            station_id,
            name,
            records: 4,
            batches: 2,
            founder,
            admitted: true,
            vouched: founder,
            expelled: false,
            connected,
            equivocated,
            equivocation,
        }])
    }

    async fn duties(&self, query: DutyQuery) -> Result<DutyPage, PortError> {
        self.obey().await?;
        let DutyQuery { answered, after, limit } = query;
        self.heed(format!("{answered:?} {}.{} {limit}", after.height, after.before));
        // As if there were one more after each that is asked for by itself.
        let next = (limit == 1).then_some(EndingPlace { before: after.before + 1, ..after });
        Ok(DutyPage { duties: self.duties_of_fake(), next })
    }

    async fn draws(&self, record: RecordId) -> Result<Option<Draws>, PortError> {
        self.obey().await?;
        Ok(self.draws_of_fake(record))
    }

    async fn testify(&self, record: RecordId, answer: Finding) -> Result<Option<Receipt>, PortError> {
        self.obey().await?;
        self.testified(record, answer).await
    }

    async fn user_trust(&self, user_id: Id, station: Option<StationId>) -> Result<UserTrust, PortError> {
        self.obey().await?;
        Ok(UserTrust { user_id, trust: self.trust(station, "0.54"), may_submit: false, community_trusted: false })
    }

    async fn content_trust(
        &self,
        content_id: Id,
        creator_id: Id,
        station: Option<StationId>,
    ) -> Result<ContentTrust, PortError> {
        self.obey().await?;
        let trust = self.trust(station, "0.74");
        let metadata = Some(Metadata::new(r#"{"tags":["original"]}"#).expect("short"));
        Ok(ContentTrust {
            content_id,
            creator_id,
            trust,
            verifications: 4,
            reports: 1,
            initial_score: Score::HALF,
            metadata,
            created_at: Some(now()),
            updated_at: None,
        })
    }

    async fn creator_trust(&self, creator_id: Id, station: Option<StationId>) -> Result<CreatorTrust, PortError> {
        self.obey().await?;
        Ok(CreatorTrust { creator_id, trust: self.trust(station, "0.000001"), contents: 1 })
    }

    async fn dataset_trust(&self, dataset_id: Id, station: Option<StationId>) -> Result<DatasetTrust, PortError> {
        self.obey().await?;
        let trust = self.trust(station, "0.9");
        Ok(DatasetTrust { dataset_id, trust, verifications: 1, mismatches: 0, rating: None, ratings: 0 })
    }

    async fn dataset(&self, dataset: Id) -> Result<Option<Dataset>, PortError> {
        self.obey().await.map(|()| self.dataset_of(&dataset))
    }

    async fn datasets(&self, query: DatasetQuery) -> Result<DatasetPage, PortError> {
        self.obey().await.map(|()| self.datasets_of(query))
    }

    async fn register_dataset(&self, it: DatasetRegistered, user: Option<Id>) -> Result<DatasetChange, PortError> {
        self.register(it, user).await
    }

    async fn verify_dataset(
        &self,
        found: DatasetVerified,
        _user: Option<Id>,
        publish: bool,
    ) -> Result<DatasetChange, PortError> {
        self.verified(found, publish).await
    }

    async fn rate_dataset(&self, rated: DatasetRated, user: Id) -> Result<DatasetChange, PortError> {
        self.rated(rated, user).await
    }

    /// With `live` the first station named answers, and the second one too late.
    async fn global_trust(&self, query: GlobalQuery) -> Result<GlobalTrust, PortError> {
        self.obey().await?;
        let nodes: Vec<_> = query.nodes.map_or_else(|| vec![self.0.key.station()], |nodes| nodes.into_iter().collect());
        let voice = |station: &StationId| combined::Voice {
            station: *station,
            score: Score::HALF,
            evidence: 1,
            weight: Score::ONE,
            why: combined::Why::Counted,
            share: "0.8".parse().expect("a score"),
        };
        let live = query.live.then(|| Live {
            answered: nodes.iter().take(1).copied().collect(),
            unanswered: nodes.iter().skip(1).map(|station| (*station, Unanswered::Late)).collect(),
            ..Live::default()
        });
        let beside = combined::Agreement { info: 1_200_000, agreement: Score::ONE };
        let founders = vec![(StationId::from_bytes([8; 32]), beside)];
        let grounds = combined::Grounds { founders, jury: beside, checked: 3, contradicted: 400_000 };
        let rests = Rests { is_founder: false, is_vouched: true, grounds };
        let log_head = LogHead { sequence: Sequence::ZERO, batch_id: BatchId::ZERO };
        Ok(GlobalTrust {
            subject: query.subject,
            combined: combined::GlobalTrust {
                score: Score::HALF,
                policy: query.policy.unwrap_or_default(),
                voices: nodes.iter().map(voice).collect(),
                more: 0,
                jury: None,
                start: "0.2".parse().expect("a score"),
                coverage: Score::ONE,
                confidence: "0.2".parse().expect("a score"),
            },
            rests: nodes.iter().take(1).filter(|_| query.explain).map(|station| (*station, rests.clone())).collect(),
            live,
            pending: 0,
            newest: nodes.into_iter().map(|station| (station, log_head)).collect(),
            head: self.head(),
        })
    }

    async fn statistics(&self) -> Result<Statistics, PortError> {
        self.obey().await?;
        Ok(Statistics {
            chain_length: self.head().index.get() + 1,
            total_records: 4,
            pending_records: 1,
            difficulty: self.0.rules.parameters().difficulty,
            is_valid: true,
            chain_valid: true,
            indexed_records: 1,
            total_users: 2,
            work: Work::ZERO.plus(self.0.rules.parameters().difficulty.work()),
            head: self.head(),
        })
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, PortError> {
        self.obey().await?;
        Ok(self.with(|state| match at {
            BlockAt::Latest => state.blocks.last().cloned(),
            BlockAt::Index(index) => state.blocks.iter().find(|block| block.sealed.header.index == index).cloned(),
            BlockAt::Hash(hash) => state.blocks.iter().find(|block| block.hash == hash).cloned(),
            BlockAt::Within(first, last) => {
                state.blocks.iter().find(|block| (first..=last).contains(&block.hash)).cloned()
            }
        }))
    }

    async fn blocks(&self, from: Height, limit: Option<u64>) -> Result<BlockStream, PortError> {
        self.obey().await?;
        let (blocks, unreadable_from) = self.with(|state| (state.blocks.clone(), state.unreadable_from));
        let first = usize::try_from(from.get()).unwrap_or(usize::MAX);
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let readable = move |block: Block| match unreadable_from {
            Some(from) if block.sealed.header.index.get() >= from => {
                Err(PortError::Failed { reason: "a block cannot be read".to_owned() })
            }
            _ => Ok(block),
        };
        Ok(futures::stream::iter(blocks.into_iter().skip(first).take(limit).map(readable)).boxed())
    }

    async fn record(&self, id: RecordId) -> Result<Option<FoundRecord>, PortError> {
        self.obey().await?;
        let holds = |seen: &&SeenBatch| {
            seen.batch.sequence() == id.sequence && usize::from(id.index) < seen.batch.records().len()
        };
        let found = |seen: &SeenBatch, block, confirmations| {
            (seen.batch.station() == id.station).then(|| FoundRecord {
                batch: seen.clone(),
                index: id.index,
                block,
                confirmations,
                is_refused: false,
            })
        };
        Ok(self.with(|state| {
            let pending = state.pending.iter().find(holds).and_then(|seen| found(seen, None, 0));
            pending.or_else(|| {
                state.blocks.iter().find_map(|block| {
                    let head = Head { index: block.sealed.header.index, hash: block.hash };
                    let confirmations = state.blocks.len() as u64 - head.index.get();
                    found(block.batches.iter().find(holds)?, Some(head), confirmations)
                })
            })
        }))
    }

    async fn proof(&self, id: RecordId) -> Result<Option<RecordProof>, PortError> {
        let found = self.record(id).await?;
        // Its blocks are no real ones, so there is only the part up to the batch.
        Ok(found.and_then(|found| RecordProof::of_pending(&self.0.rules, &found.batch.batch, id.index, None)))
    }

    async fn verify(&self) -> Result<Verification, PortError> {
        self.heed("verify");
        self.obey().await?;
        Ok(Verification { valid: false, blocks: 1, problem: Some("block 1: it is a fake".to_owned()) })
    }
}

fn report() -> SyncReport {
    SyncReport {
        peer: StationId::from_bytes([9; 32]),
        blocks: 1,
        batches: 2,
        records: 3,
        bytes_in: 4,
        bytes_out: 5,
        round_trips: 8,
        reorg_depth: 6,
        elapsed_ms: 7,
        cpu_ms: 10,
        your_log: None,
        other_run: None,
        fault: None,
    }
}

fn hash(text: &Value) -> BlockHash {
    text.as_str().expect("text").parse().expect("a hash")
}
