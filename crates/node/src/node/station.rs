//! The node as the API sees it.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::dataset::{DatasetRated, DatasetRegistered, DatasetVerified};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{Height, Id, Name, Reason, RecordId, StationId};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::proof::RecordProof;
use qfzz_ledger_core::record::{Record, Subject};
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::{
    ReadError, RecordPlace, Standing as Roster, Trust, chain_state, equivocation, is_vouched, ml_dsa_key, roster_at,
    roster_len, station_id, station_state,
};
use qfzz_ledger_core::testimony::Answer;
use qfzz_ledger_core::time::Timestamp;
use qfzz_sync::report::SyncReport;

use super::blocks::{Reading, block_by_hash, block_within, seen, show, verify};
use super::datasets;
use super::health::{self, Standing};
use super::importing::import;
use super::joining::join;
use super::status::status;
use super::weighing::Weighing;
use super::{Member, Shared};
use crate::api::block::{Block, FoundRecord, SeenBatch};
use crate::api::dto::{
    ContentTrust, CreatorTrust, Dataset, DatasetChange, DatasetPage, DatasetTrust, Dialled, Draws, DutyPage,
    GlobalTrust, Head, Imported, Invitation, Peer, Readiness, Receipt, StationInfo, Statistics, Status, UserTrust,
    Verification,
};
use crate::api::port::{BlockAt, BlockStream, DatasetQuery, DutyQuery, GlobalQuery, PortError, Station, Upload, Word};
use crate::clock;
use crate::config;
use crate::data_dir::DataDir;
use crate::disk_space;
use crate::events::Events;
use crate::metrics::{Figures, Metrics};
use crate::network::{Direction, PeerInfo};
use crate::quantum::QuantumStatus;
use crate::service::state::State;
use crate::store::{StoreRead, StoreReader};
use crate::ticket::{JoinTarget, JoinTargetError};

/// A node, as the API sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct StationHandle(Arc<Shared>);

/// Runs `read`, which reads the disk, where it may wait.
pub(super) async fn on_disk<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    let done = tokio::task::spawn_blocking(read).await;
    done.unwrap_or_else(|error| Err(PortError::Failed { reason: error.to_string() }))
}

/// That nothing is taken in for want of space, and how much there is.
pub(super) fn disk_full(dir: &DataDir) -> String {
    let free = disk_space::free(dir.path()).map_or_else(|_| "unknown space".to_owned(), disk_space::in_mib);
    format!("the disk is full: {free} free, a station needs {}", disk_space::in_mib(disk_space::RESERVE_BYTES))
}

pub(super) fn head_of(ledger: &Ledger<StoreReader>) -> Head {
    Head { index: ledger.chain().height(), hash: ledger.chain().head() }
}

/// Where a peer can be dialled, as far as that is known; else where its connection leads.
fn dialable(peer: &PeerInfo) -> Multiaddr {
    let told = peer.listens_at.as_ref().filter(|_| peer.direction == Direction::Inbound);
    told.unwrap_or(&peer.address).clone()
}

/// Where the batch of a record stands.
#[derive(Clone, Copy)]
pub(super) enum Place {
    /// In the block at this height.
    OnChain(Height),
    /// It waits for a block.
    Pending,
    /// Its author was expelled before a block took it.
    Refused,
}

impl StationHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    pub(super) fn member(&self) -> Result<Arc<Member>, PortError> {
        self.0.member().ok_or(PortError::NoFederation)
    }

    /// What this station asks of its users.
    pub(super) fn trust_policy(&self) -> &config::Trust {
        &self.0.config.trust
    }

    /// Every station's weight in global trust.
    pub(super) fn weighing(&self) -> Arc<Weighing> {
        Arc::clone(&self.0.weighing)
    }

    /// The batch that holds a record, and where it stands.
    pub(super) async fn find(&self, id: RecordId) -> Result<Option<(VerifiedBatch, Place)>, PortError> {
        let member = self.member()?;
        let waiting = move |state: &State<StoreReader>| state.waiting(&id.station, id.sequence);
        if let Some((batch, is_refused)) = member.service.query(waiting).await?? {
            return Ok(Some((batch, if is_refused { Place::Refused } else { Place::Pending })));
        }
        // Everything that was decided before that answer is on disk now.
        on_disk(move || {
            let stored = member.reader.batch(&id.station, id.sequence)?;
            let place = |height: Option<Height>| height.map_or(Place::Pending, Place::OnChain);
            Ok(stored.map(|stored| (stored.batch, place(stored.height))))
        })
        .await
    }
}

impl Station for StationHandle {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    fn events(&self) -> Events {
        self.0.events.clone()
    }

    fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.0.metrics)
    }

    async fn figures(&self) -> Result<Figures, PortError> {
        health::figures(&self.0).await
    }

    async fn rules(&self) -> Result<Arc<Rules>, PortError> {
        Ok(Arc::clone(&self.member()?.rules))
    }

    async fn submit(&self, records: Vec<Record>) -> Result<Vec<Receipt>, PortError> {
        let member = self.member()?;
        let receipts = member.service.submit(records).await?;
        // It is on disk, and would count again if this station were admitted again.
        let is_refused =
            member.rules.has_roster() && member.standing(self.0.identity.station_id()).await? == Roster::Expelled;
        let shown = receipts.into_iter();
        Ok(shown.map(|it| Receipt { record_id: it.id, hash: it.hash, batch_id: it.batch, is_refused }).collect())
    }

    async fn mine(&self) -> Result<Option<Block>, PortError> {
        let member = self.member()?;
        match member.service.mine().await? {
            Some(block) => on_disk(move || Ok(Some(show(&member.reader, &block)?))).await,
            None => Ok(None),
        }
    }

    async fn dial(&self, target: String) -> Result<Dialled, PortError> {
        let bad = |error: JoinTargetError| PortError::BadAddress { reason: error.to_string() };
        let target: JoinTarget = target.parse().map_err(bad)?;
        let joined = join(&self.0, &target).await?;
        let rules = &joined.member.rules;
        Ok(Dialled {
            peer_id: joined.peer,
            address: joined.address.to_string(),
            federation_id: rules.federation(),
            federation: rules.parameters().name.clone(),
            joined: joined.is_new,
        })
    }

    async fn sync(&self, peer: Option<String>) -> Result<Vec<SyncReport>, PortError> {
        let member = self.member()?;
        let connected: Vec<StationId> = member.network.peers().await.into_iter().map(|peer| peer.station).collect();
        let peers = match peer {
            None => connected,
            Some(text) => match text.parse::<StationId>() {
                Ok(station) if connected.contains(&station) => vec![station],
                Ok(_) => return Err(PortError::NotConnected),
                Err(_) => vec![self.dial(text).await?.peer_id],
            },
        };
        let mut reports = Vec::with_capacity(peers.len());
        for peer in peers {
            reports.push(member.exchange.sync(peer).await);
        }
        Ok(reports)
    }

    async fn status(&self) -> Result<Status, PortError> {
        status(&self.0).await
    }

    fn quantum(&self) -> QuantumStatus {
        self.0.quantum.status()
    }

    async fn readiness(&self) -> Result<Readiness, PortError> {
        let Some(member) = self.0.member() else {
            return Ok(Readiness { ready: false, reasons: vec!["no federation yet: join one".to_owned()] });
        };
        let asked = member.service.query(|state| (state.is_synced(), state.is_disk_full())).await?;
        let (is_synced, is_disk_full) = asked;
        let peers = member.network.peers().await.len();
        let full = is_disk_full.then(|| disk_full(&self.0.dir));
        let reason = Standing::of(is_synced, peers, member.is_founder()).reason().map(str::to_owned);
        let reasons: Vec<String> = full.into_iter().chain(reason).collect();
        Ok(Readiness { ready: reasons.is_empty(), reasons })
    }

    async fn peers(&self) -> Result<Vec<Peer>, PortError> {
        let Some(member) = self.0.member() else { return Ok(Vec::new()) };
        let connected = member.network.peers().await;
        let stations: Vec<StationId> = connected.iter().map(|peer| peer.station).collect();
        member.exchange.ask_heads(&stations).await;
        let names = member.service.query(move |state: &State<StoreReader>| {
            let name =
                |station: &StationId| station_state(state.ledger().read(), station).map(|it| it.map(|it| it.name));
            stations.iter().map(name).collect::<Result<Vec<_>, _>>()
        });
        let names = names.await??;
        let shown = connected.into_iter().zip(names).map(|(peer, name)| Peer {
            peer_id: peer.station,
            address: dialable(&peer).with(Protocol::P2p(crate::network::names::peer_of(peer.station))).to_string(),
            name: name.or(peer.name),
            head: member.exchange.head_of(&peer.station).map(|(index, hash)| Head { index, hash }),
            connected_since: peer.connected_since,
        });
        Ok(shown.collect())
    }

    async fn ticket(&self) -> Result<String, PortError> {
        let ticket = self.member()?.ticket().await;
        let nowhere = || PortError::NotReady { reason: "it listens on no address: set network.listen".to_owned() };
        ticket.map(|ticket| ticket.to_string()).ok_or_else(nowhere)
    }

    async fn say_of(&self, station: StationId, word: Word, reason: Reason) -> Result<Receipt, PortError> {
        // It runs to its end whether or not somebody waits for it.
        let member = self.member()?;
        let said = tokio::spawn(async move { member.say_of(station, word, reason).await }).await;
        said.unwrap_or_else(|error| Err(PortError::Failed { reason: error.to_string() }))
    }

    async fn invite(&self, valid: Duration) -> Result<Invitation, PortError> {
        self.member()?.invite(valid, &self.0.qrng()).await
    }

    async fn stations(&self) -> Result<Vec<StationInfo>, PortError> {
        let member = self.member()?;
        let own = (self.0.identity.station_id(), self.0.config.station.name.clone());
        let connected: Vec<StationId> = member.network.peers().await.into_iter().map(|peer| peer.station).collect();
        let listed = member.service.query(move |state: &State<StoreReader>| -> Result<_, ReadError> {
            let ledger = state.ledger();
            let (read, founders) = (ledger.read(), &ledger.rules().parameters().founders);
            let mut stations: Vec<StationId> = founders.iter().map(|founder| founder.station).chain([own.0]).collect();
            for number in 0..chain_state(read, ledger.rules())?.stations {
                stations.push(station_id(read, number)?);
            }
            for place in 0..roster_len(read)? {
                stations.push(roster_at(read, place)?);
            }
            stations.sort_unstable();
            stations.dedup();
            let mut listed = Vec::with_capacity(stations.len());
            for station in stations {
                let known = station_state(read, &station)?;
                let own_name = if station == own.0 { own.1.clone() } else { Name::default() };
                let proof = match equivocation(read, &station)? {
                    Some(RecordPlace { station, sequence, index }) => {
                        Some(RecordId { station: station_id(read, station)?, sequence, index })
                    }
                    None => None,
                };
                let stands = ledger.standing(&station)?;
                listed.push(StationInfo {
                    station_id: station,
                    admitted: stands == Roster::Admitted,
                    vouched: is_vouched(ledger.rules(), read, &station)?,
                    expelled: stands == Roster::Expelled,
                    equivocated: proof.is_some(),
                    equivocation: proof,
                    records: known.as_ref().map_or(0, |it| it.records),
                    batches: known.as_ref().map_or(0, |it| it.next.get()),
                    name: known.map_or(own_name, |it| it.name),
                    founder: ledger.rules().is_founder(&station),
                    connected: station == own.0 || connected.contains(&station),
                });
            }
            Ok(listed)
        });
        Ok(listed.await??)
    }

    async fn user_trust(&self, user: Id, station: Option<StationId>) -> Result<UserTrust, PortError> {
        self.trust_in_user(user, station).await
    }

    async fn content_trust(
        &self,
        content: Id,
        creator: Id,
        station: Option<StationId>,
    ) -> Result<ContentTrust, PortError> {
        self.trust_in_content(content, creator, station).await
    }

    async fn creator_trust(&self, creator: Id, station: Option<StationId>) -> Result<CreatorTrust, PortError> {
        self.trust_in_creator(creator, station).await
    }

    async fn dataset_trust(&self, dataset: Id, station: Option<StationId>) -> Result<DatasetTrust, PortError> {
        self.trust_in_dataset(dataset, station).await
    }

    async fn dataset(&self, dataset: Id) -> Result<Option<Dataset>, PortError> {
        datasets::one(self.member()?, dataset).await
    }

    async fn datasets(&self, query: DatasetQuery) -> Result<DatasetPage, PortError> {
        datasets::list(self.member()?, query).await
    }

    async fn register_dataset(&self, dataset: DatasetRegistered, user: Option<Id>) -> Result<DatasetChange, PortError> {
        self.registered(dataset, user).await
    }

    async fn verify_dataset(
        &self,
        found: DatasetVerified,
        user: Option<Id>,
        publish: bool,
    ) -> Result<DatasetChange, PortError> {
        self.verified(found, user, publish).await
    }

    async fn rate_dataset(&self, rated: DatasetRated, user: Id) -> Result<DatasetChange, PortError> {
        self.rated(rated, user).await
    }

    async fn duties(&self, query: DutyQuery) -> Result<DutyPage, PortError> {
        self.member()?.docket.duties(query).await
    }

    async fn draws(&self, record: RecordId) -> Result<Option<Draws>, PortError> {
        self.draws_about(record).await
    }

    async fn testify(&self, record: RecordId, answer: Answer) -> Result<Option<Receipt>, PortError> {
        self.testified(record, answer).await
    }

    async fn global_trust(&self, query: GlobalQuery) -> Result<GlobalTrust, PortError> {
        self.trust_globally(query).await
    }

    async fn statistics(&self) -> Result<Statistics, PortError> {
        let question = |state: &State<StoreReader>| -> Result<Statistics, ReadError> {
            let ledger = state.ledger();
            let chain = ledger.chain_state()?;
            Ok(Statistics {
                chain_length: chain.height.get() + 1,
                total_records: chain.records,
                pending_records: ledger.pool().records(),
                difficulty: ledger.rules().parameters().difficulty,
                // Nothing joins the chain unverified, and a station that finds anything else stops.
                is_valid: true,
                chain_valid: true,
                indexed_records: chain.contents,
                total_users: chain.users,
                work: ledger.chain().work_of(&chain.head).unwrap_or_default(),
                head: Head { index: chain.height, hash: chain.head },
            })
        };
        Ok(self.member()?.service.query(question).await??)
    }

    async fn block(&self, at: BlockAt) -> Result<Option<Block>, PortError> {
        let member = self.member()?;
        on_disk(move || {
            let reader = &member.reader;
            let hash = match at {
                BlockAt::Hash(hash) => Some(hash),
                BlockAt::Within(first, last) => block_within(reader, &first, &last)?,
                BlockAt::Latest => Some(chain_state(reader, reader.rules())?.head),
                BlockAt::Index(height) => reader.header_at(height)?.map(|(hash, _)| hash),
            };
            hash.map_or(Ok(None), |hash| block_by_hash(reader, &hash))
        })
        .await
    }

    async fn blocks(&self, from: Height, limit: Option<u64>) -> Result<BlockStream, PortError> {
        let member = self.member()?;
        let reader = member.reader.clone();
        let end = on_disk(move || Ok(chain_state(&member.reader, member.reader.rules())?.height)).await?;
        let last = limit.map_or(u64::MAX, |limit| from.get().saturating_add(limit).saturating_sub(1));
        let none = limit == Some(0);
        let reading = Reading { next: from.get(), end: end.get().min(last), previous: None };
        let groups = stream::try_unfold((reader, reading), move |(reader, mut reading)| async move {
            if none || reading.next > reading.end {
                return Ok(None);
            }
            let read = on_disk(move || {
                let blocks = reading.read(&reader)?;
                Ok((blocks, (reader, reading)))
            });
            read.await.map(Some)
        });
        let blocks = groups.flat_map(|group: Result<Vec<Block>, PortError>| match group {
            Ok(blocks) => stream::iter(blocks.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(error)]),
        });
        Ok(blocks.boxed())
    }

    async fn record(&self, id: RecordId) -> Result<Option<FoundRecord>, PortError> {
        let Some((batch, place)) = self.find(id).await? else { return Ok(None) };
        if usize::from(id.index) >= batch.records().len() {
            return Ok(None);
        }
        let member = self.member()?;
        on_disk(move || {
            let reader = &member.reader;
            let block = match place {
                Place::OnChain(height) => reader.header_at(height)?.map(|(hash, _)| Head { index: height, hash }),
                Place::Pending | Place::Refused => None,
            };
            let head = chain_state(reader, reader.rules())?.height;
            let confirmations = block.map_or(0, |block| (head.get() + 1).saturating_sub(block.index.get()));
            let batch = SeenBatch { seen: seen(reader, &batch)?, batch };
            let is_refused = matches!(place, Place::Refused);
            Ok(Some(FoundRecord { batch, index: id.index, block, confirmations, is_refused }))
        })
        .await
    }

    async fn proof(&self, id: RecordId) -> Result<Option<RecordProof>, PortError> {
        let Some((batch, place)) = self.find(id).await? else { return Ok(None) };
        let member = self.member()?;
        let asked = move |state: &State<StoreReader>| state.ledger().log_key(&id.station);
        let author_key = member.service.query(asked).await??;
        on_disk(move || {
            let (reader, rules) = (&member.reader, &member.rules);
            let Place::OnChain(height) = place else {
                return Ok(RecordProof::of_pending(rules, &batch, id.index, author_key));
            };
            let moved = || PortError::NotReady { reason: "the chain was reorganised meanwhile".to_owned() };
            let (hash, _) = reader.header_at(height)?.ok_or_else(moved)?;
            let block = LedgerRead::block(reader, &hash)?.ok_or_else(moved)?;
            let producer_key = ml_dsa_key(reader, &block.header().producer)?;
            match RecordProof::in_block(rules, &block, &id, [author_key, producer_key]) {
                Some(proof) => Ok(Some(proof)),
                None if usize::from(id.index) >= batch.records().len() => Ok(None),
                None => Err(moved()),
            }
        })
        .await
    }

    async fn content_scores(&self, contents: Vec<(Id, Id)>) -> Result<Vec<Score>, PortError> {
        let question = move |state: &State<StoreReader>| -> Result<Vec<Score>, ReadError> {
            let ledger = state.ledger();
            let trust = Trust::new(ledger.rules(), ledger.read());
            let score = |(content_id, creator_id)| {
                let subject = Subject::Content { creator_id, content_id };
                Ok(trust.content(&subject, ledger.pending_about(&subject)?)?.score)
            };
            contents.into_iter().map(score).collect()
        };
        Ok(self.member()?.service.query(question).await??)
    }

    async fn import(&self, file: Upload) -> Result<Imported, PortError> {
        import(&self.0, file).await
    }

    async fn verify(&self) -> Result<Verification, PortError> {
        let member = self.member()?;
        let progress = Arc::clone(&self.0.checking);
        let verified = on_disk(move || verify(&member.reader, &progress)).await?;
        if let Some(problem) = &verified.problem {
            // Nothing is added to such a chain: the start that follows heals it, or says what is missing.
            let reason = format!(
                "the chain on disk does not verify: {problem}. If a restart does not heal it: qfzz doctor --repair"
            );
            self.0.fail(reason);
        }
        Ok(verified)
    }
}
