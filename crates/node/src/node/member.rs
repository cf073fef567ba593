//! A node's part in one federation: store, service, network and exchange.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use qfzz_ledger_core::codec::{decode, encode};
use qfzz_ledger_core::crypto::StationKey;
use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::ids::{Height, StationId};
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::own_log::OwnLog;
use qfzz_ledger_core::reveal::{DEFAULT_REVEALS, RevealChain};
use qfzz_ledger_core::state::{chain_state, station_state};
use qfzz_sync::alive::Run;
use sha2::{Digest, Sha256};

use super::{NodeError, Shared};
use crate::checks::command::Checker;
use crate::checks::docket::Docket;
use crate::checks::files::FileIndex;
use crate::checks::juror::Juror;
use crate::clock;
use crate::config::{Config, Verify};
use crate::data_dir::{self, DataDir, DataDirError};
use crate::disk_space::Watch;
use crate::events::Observers;
use crate::exchange::Exchange;
use crate::invitations::Invitations;
use crate::network::{self, NetworkConfig, NetworkHandle};
use crate::service::state::{Hold, MiningConfig, State, StateConfig, SyncConfig};
use crate::service::{ServiceHandle, worker};
use crate::store::{DiskStore, LedgerStore, Opened, StoreRead, StoreReader};
use crate::ticket::{JoinTarget, MAX_TICKET_ADDRESSES, Ticket};

/// How long a station that knows peers waits for one to tell it of its own log, in milliseconds.
const HOLD_MS: i64 = 5_000;

/// Headers read at once while the tree is loaded.
const HEADERS_AT_ONCE: usize = 10_000;

/// Bytes of the file that keeps the reveal chain's checkpoints, at most.
const MAX_REVEAL_CACHE: usize = 1024 * 1024;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duty {
    /// All that a station does.
    Everything,
    /// It takes over what others have, and signs nothing: its store is being repaired.
    CatchUp,
}

/// A running part. Stops when it is told to.
pub(crate) struct Member {
    pub(crate) rules: Arc<Rules>,
    pub(crate) service: ServiceHandle,
    pub(crate) network: NetworkHandle,
    pub(crate) exchange: Exchange,
    pub(crate) reader: StoreReader,
    /// What it is asked to check, and where it answers.
    pub(crate) docket: Docket,
    /// Answers without a person; not while the store is being repaired.
    juror: Option<Juror>,
    station: StationId,
    /// Whether it is being stopped: that its service ends then is no failure.
    is_stopping: Arc<AtomicBool>,
}

impl Member {
    /// Opens the store and starts everything; libp2p listens when this returns.
    pub(super) async fn start(shared: &Arc<Shared>, genesis: Genesis, duty: Duty) -> Result<Arc<Self>, NodeError> {
        let encoded_genesis = genesis.encode();
        let rules = Arc::new(Rules::new(genesis)?);
        let station = shared.identity.station_id();
        let opening = {
            let (shared, rules) = (Arc::clone(shared), Arc::clone(&rules));
            tokio::task::spawn_blocking(move || open(&shared, &rules, duty))
        };
        let (state, store, reader) =
            opening.await.map_err(|error| NodeError::Thread(std::io::Error::other(error)))??;
        let dir: DataDir = shared.dir.clone();
        // Who calls a station that does not know its own log may want to be believed after a restart.
        let remembers_callers = Arc::new(AtomicBool::new(!dir.is_log_unknown()));
        let is_log_known = Arc::clone(&remembers_callers);
        let on_log_known = Box::new(move || {
            is_log_known.store(true, Ordering::Release);
            if let Err(error) = dir.unmark_log_unknown() {
                tracing::warn!(%error, "it is not noted that this station's log is known: the next start waits for a peer");
            }
        });
        let observers = Observers { events: shared.events.clone(), metrics: Arc::clone(&shared.metrics) };
        let (disk, qrng) = (Watch::new(shared.dir.path().to_owned()), shared.mining_qrng());
        let service = worker::start(state, store, observers.clone(), on_log_known, disk, qrng);
        let service = service.map_err(NodeError::Thread)?;
        let started = network::start(NetworkConfig {
            seed: *shared.identity.seed(),
            federation: rules.federation(),
            name: shared.config.station.name.clone(),
            federation_name: rules.parameters().name.clone(),
            genesis: encoded_genesis,
            listen: shared.config.network.listen.iter().map(|address| address.to_multiaddr()).collect(),
            join: addresses_of(&shared.config.network.join),
            mdns: shared.config.network.mdns,
            address_book: shared.dir.peers_file(),
            remembers_callers,
        });
        let (network, network_events) = match started {
            Ok(started) => started,
            Err(error) => {
                service.handle.stop().await;
                return Err(error.into());
            }
        };
        let verifiers = rayon::ThreadPoolBuilder::new().thread_name(|number| format!("qfzz-verify-{number}")).build();
        let verifiers = Arc::new(verifiers.map_err(|error| NodeError::Thread(std::io::Error::other(error)))?);
        let invitations = match Invitations::open(shared.dir.invitations_file(), rules.federation(), station) {
            Ok(invitations) => Arc::new(invitations),
            Err(error) => {
                service.handle.stop().await;
                network.stop().await;
                return Err(error.into());
            }
        };
        let mines = shared.config.mining.enabled && duty == Duty::Everything;
        let exchange = Exchange::start(
            (network.clone(), network_events),
            service.handle.clone(),
            service.orders,
            reader.clone(),
            observers,
            verifiers,
            (invitations, mines),
        );
        let docketing = {
            let (shared, handle, reader) = (Arc::clone(shared), service.handle.clone(), reader.clone());
            tokio::task::spawn_blocking(move || docket(&shared, handle, reader))
        };
        let (docket, checker) = docketing.await.map_err(|error| NodeError::Thread(std::io::Error::other(error)))?;
        let juror = (duty == Duty::Everything)
            .then(|| Juror::start(docket.clone(), checker, shared.config.verify.interval, &shared.events));
        let (mut failure, is_stopping) = (service.failure, Arc::new(AtomicBool::new(false)));
        let member = Arc::new(Self {
            rules,
            service: service.handle,
            network,
            exchange,
            reader,
            docket,
            juror,
            station,
            is_stopping: Arc::clone(&is_stopping),
        });
        let failed = shared.failure.clone();
        tokio::spawn(async move {
            let reason = match failure.wait_for(Option::is_some).await {
                Ok(reason) => reason.clone(),
                Err(_) => Some("the service ended unexpectedly".to_owned()),
            };
            if !is_stopping.load(Ordering::Acquire) {
                failed.send_replace(reason);
            }
        });
        Ok(member)
    }

    /// Where libp2p listens, with the peer id.
    pub(crate) async fn addresses(&self) -> Vec<Multiaddr> {
        let peer = network::names::peer_of(self.station);
        let listeners = self.network.listeners().await.into_iter();
        listeners.map(|address| address.with(Protocol::P2p(peer))).collect()
    }

    /// What others join with; `None` while it listens nowhere.
    pub(crate) async fn ticket(&self) -> Option<Ticket> {
        let mut addresses = self.addresses().await;
        addresses.truncate(MAX_TICKET_ADDRESSES);
        Ticket::new(self.rules.federation(), self.rules.parameters().name.clone(), addresses).ok()
    }

    /// Records that this station is asked to check and has not answered about, as far as it knows.
    pub(super) fn open_duties(&self) -> u64 {
        self.juror.as_ref().map_or(0, Juror::open_duties)
    }

    /// Whether nothing would be lost if this federation were forgotten: this station founded it alone, nobody has
    /// joined, nothing was recorded.
    pub(super) async fn is_pristine(&self) -> bool {
        let founders = &self.rules.parameters().founders;
        if founders.iter().any(|founder| founder.station != self.station) || !self.network.peers().await.is_empty() {
            return false;
        }
        self.is_empty().await
    }

    /// Whether there is neither a block nor a batch.
    pub(super) async fn is_empty(&self) -> bool {
        let empty = self
            .service
            .query(|state| state.ledger().chain().height() == Height::ZERO && state.ledger().pool().is_empty());
        empty.await.unwrap_or(false)
    }

    /// Whether the store holds neither a block nor a batch.
    pub(super) fn is_store_empty(&self) -> bool {
        let is_genesis = chain_state(&self.reader, &self.rules).is_ok_and(|chain| chain.height == Height::ZERO);
        is_genesis && self.reader.own_pending().is_ok_and(|batches| batches.is_empty())
    }

    /// Stops everything: what was acknowledged is on disk when this returns.
    pub(super) async fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        if let Some(juror) = &self.juror {
            juror.stop().await;
        }
        // The service first, so that what it announces still leaves.
        self.service.stop().await;
        self.network.stop().await;
        self.exchange.stop().await;
    }
}

/// What the station is asked, and the program that answers for it, as the operator configured them.
fn docket(shared: &Shared, service: ServiceHandle, reader: StoreReader) -> (Docket, Option<Checker>) {
    let Verify { folders, command, timeout, .. } = &shared.config.verify;
    let files = (!folders.is_empty()).then(|| {
        let folders = folders.iter().map(|folder| folder.as_path().to_owned()).collect();
        Arc::new(FileIndex::open(folders, shared.dir.file_hashes_file()))
    });
    let checker = (!command.is_empty()).then(|| Checker::new(command.clone(), *timeout));
    let station = shared.identity.station_id();
    (Docket::new(service, reader, station, files, checker.is_some()), checker)
}

/// The addresses that join targets name.
pub(super) fn addresses_of(targets: &[JoinTarget]) -> Vec<Multiaddr> {
    let addresses = targets.iter().flat_map(|target| match target {
        JoinTarget::Ticket(ticket) => ticket.addresses().to_vec(),
        JoinTarget::Address(address) => vec![address.clone()],
    });
    addresses.collect()
}

/// Opens the store and takes up the ledger.
fn open(
    shared: &Shared,
    rules: &Arc<Rules>,
    duty: Duty,
) -> Result<(State<StoreReader>, DiskStore, StoreReader), NodeError> {
    let (dir, station, now) = (&shared.dir, shared.identity.station_id(), clock::now());
    let has_met_others = dir.peers_file().exists();
    if !dir.journal_dir().exists() && (has_met_others || !rules.is_founder(&station)) {
        // Its log may go on where it cannot see it: it is new here, or its store was lost.
        dir.mark_log_unknown()?;
    }
    let (store, opened) = DiskStore::open(dir.path(), Arc::clone(rules), station)?;
    report(&opened);
    let reader = store.reader();
    let mut best = Vec::new();
    loop {
        let from = Height::new(best.len() as u64 + 1);
        let headers = reader.headers(from, HEADERS_AT_ONCE)?;
        let is_end = headers.len() < HEADERS_AT_ONCE;
        best.extend(headers.into_iter().map(|(hash, sealed)| (hash, sealed.header)));
        if is_end {
            break;
        }
    }
    let side = reader.side_headers()?.into_iter().map(|(hash, sealed)| (hash, sealed.header));
    let own_pending = reader.own_pending()?;
    let key = StationKey::from_seed(*shared.identity.seed());
    let run = this_run(dir, &key)?;
    let reveals = reveal_chain(shared, rules, &key)?;
    let own = OwnLog::new(key, shared.config.station.name.clone(), reveals);
    let ledger = Ledger::open(Arc::clone(rules), reader.clone(), own, best, side, own_pending, now)?;

    let introduced = station_state(&reader, &station)?.is_some();
    tracing::info!(
        federation = %rules.parameters().name, id = %rules.federation(), height = %ledger.chain().height(),
        pending = ledger.pool().records(), introduced, "store open"
    );
    let hold = if duty == Duty::CatchUp {
        Hold::Throughout
    } else if dir.is_log_unknown() {
        tracing::info!(
            "the store is new: nothing is signed before a station known here has told of this station's log"
        );
        Hold::UntilAnswered
    } else if has_met_others || !shared.config.network.join.is_empty() {
        Hold::Until(clock::now().saturating_add(HOLD_MS))
    } else {
        Hold::No
    };
    let mut config = state_config(&shared.config, hold, run);
    config.mining.enabled &= duty == Duty::Everything;
    Ok((State::new(ledger, config), store, reader))
}

fn report(opened: &Opened) {
    if let Some(cut) = &opened.cut {
        tracing::warn!(?cut, "the journal's tail was torn and has been cut: it was never acknowledged");
    }
    if let Some((path, problem)) = &opened.set_aside {
        tracing::warn!(path = %path.display(), %problem, "the view was damaged: set aside, and rebuilt from the journal");
    }
    for file in &opened.mended {
        tracing::warn!(file, "the header of a journal's file was damaged: written again from its copy");
    }
    if opened.replayed > 0 {
        tracing::info!(blocks = opened.replayed, "the view lagged: replayed from the journal");
    }
}

/// Names this run of the daemon, and where it runs.
fn this_run(dir: &DataDir, key: &StationKey) -> Result<Run, NodeError> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(DataDirError::NoRandomness)?;
    // Where the system doesn't tell the machine's name, only the path tells places apart.
    let host = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    let path = dir.path().canonicalize().unwrap_or_else(|_| dir.path().to_owned());
    let place = key.place(&host, path.as_os_str().as_encoded_bytes());
    Ok(Run { started_at: clock::now(), id, place })
}

fn state_config(config: &Config, hold: Hold, run: Run) -> StateConfig {
    let millis = |duration: std::time::Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    StateConfig {
        mining: MiningConfig {
            enabled: config.mining.enabled,
            interval_ms: millis(config.mining.interval),
            records: u64::from(config.mining.records.get()),
            slot_ms: millis(config.mining.slot),
        },
        sync: SyncConfig { interval_ms: millis(config.sync.interval) },
        hold,
        run,
    }
}

/// The station's reveal chain, from its checkpoints where they are kept: walking it takes about half a second.
fn reveal_chain(shared: &Shared, rules: &Rules, key: &StationKey) -> Result<RevealChain, NodeError> {
    /// Commitment, checkpoints, and the SHA-256 of both: a wrong checkpoint would show only when its turn comes.
    type Cache = ([u8; 32], Vec<[u8; 32]>, [u8; 32]);
    let sum = |commitment: &[u8; 32], checkpoints: &Vec<[u8; 32]>| -> [u8; 32] {
        Sha256::digest(encode(&(commitment, checkpoints))).into()
    };
    let (path, federation) = (shared.dir.reveal_cache_file(), rules.federation());
    let (station, secret) = (key.station(), key.reveal_secret(&federation));
    let kept = data_dir::read_small(&path)?.and_then(|bytes| decode::<Cache>(&bytes, MAX_REVEAL_CACHE).ok());
    let whole = kept.filter(|(commitment, checkpoints, found)| sum(commitment, checkpoints) == *found);
    let resumed = whole.and_then(|(commitment, checkpoints, _)| {
        RevealChain::resume(&federation, &station, secret, DEFAULT_REVEALS, checkpoints, commitment)
    });
    if let Some(chain) = resumed {
        return Ok(chain);
    }
    let chain = RevealChain::new(&federation, &station, secret, DEFAULT_REVEALS);
    let (commitment, checkpoints) = (chain.commitment(), chain.checkpoints().to_vec());
    let cache: Cache = (commitment, checkpoints.clone(), sum(&commitment, &checkpoints));
    data_dir::write_private(&path, &encode(&cache))?;
    Ok(chain)
}
