//! One screen about the station, and what is wrong with it.

use std::sync::Arc;

use qfzz_ledger_core::federation::SignatureScheme;
use qfzz_ledger_core::ids::{Sequence, StationId};
use qfzz_ledger_core::state::{ReadError, Standing as Roster, equivocation, equivocators};

use super::health::{Standing, join_troubles};
use super::station::{disk_full, head_of};
use super::{Member, Shared};
use crate::api::dto::{BannedPeer, Head, Status, Trouble};
use crate::api::port::PortError;
use crate::disk_space::{self, RESERVE_BYTES};
use crate::service::state::{NotSigning, State};
use crate::store::StoreReader;

/// Below this many free bytes an operator should make room: some days of a busy station.
const LITTLE_ROOM: u64 = 256 * 1024 * 1024;

/// Blocks that a station may be behind what a peer tells before it is worth a line: they may be on their way.
const MAY_LAG: u64 = 2;

/// Peers that are kept away and shown, at most.
const MAX_SHOWN_BANS: usize = 32;

/// What the worker knows, read in one of its turns.
struct Known {
    head: Head,
    records: u64,
    pending: u64,
    is_synced: bool,
    is_disk_full: bool,
    not_signing: Option<NotSigning>,
    /// Whether another daemon with this key started later, and so signs nothing.
    is_followed: bool,
    /// Whether this station's own key signed one place twice: found, or proven on the chain.
    has_equivocated: bool,
    equivocators: u32,
    is_used_up: bool,
    standing: Roster,
    own_pending: u64,
    reorganisations: u64,
}

impl Known {
    fn read(state: &State<StoreReader>) -> Result<Self, ReadError> {
        let ledger = state.ledger();
        let own = ledger.own().station();
        Ok(Self {
            head: head_of(ledger),
            records: ledger.chain_state()?.records,
            pending: ledger.pool().records(),
            is_synced: state.is_synced(),
            is_disk_full: state.is_disk_full(),
            not_signing: state.not_signing(),
            is_followed: state.is_followed(),
            has_equivocated: state.own_equivocation().is_some() || equivocation(ledger.read(), &own)?.is_some(),
            equivocators: equivocators(ledger.read())?,
            is_used_up: state.is_used_up(),
            standing: ledger.standing(&own)?,
            own_pending: ledger.pool().log_from(&own, Sequence::ZERO).map(|it| it.records().len() as u64).sum(),
            reorganisations: state.reorganisations(),
        })
    }
}

/// How the station is; also without a federation.
pub(super) async fn status(shared: &Shared) -> Result<Status, PortError> {
    let (dir, meter) = (shared.dir.path().to_owned(), Arc::clone(&shared.meter));
    // It reads directories, so it may wait for the disk.
    let space = tokio::task::spawn_blocking(move || (meter.used(&dir).ok(), disk_space::free(&dir).ok()));
    let (data_bytes, free_bytes) = space.await.unwrap_or_default();
    let mut status = Status {
        station_id: shared.identity.station_id(),
        name: shared.config.station.name.clone(),
        federation_id: None,
        federation: None,
        signatures: None,
        ml_dsa_key_hash: hex::encode(shared.identity.ml_dsa_key_hash()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        listen: Vec::new(),
        head: None,
        records: 0,
        pending_records: 0,
        peers: 0,
        open_duties: 0,
        known_height: None,
        synced: false,
        signing: false,
        verifying: shared.checking.read(),
        importing: shared.import_progress.read(),
        mining: shared.config.mining.enabled,
        reorganisations: 0,
        banned: Vec::new(),
        banned_total: 0,
        data_bytes,
        free_bytes,
        started_at: shared.started_at,
        problems: Vec::new(),
        notices: Vec::new(),
    };
    match shared.member() {
        Some(member) => take_part(shared, &member, &mut status).await?,
        None => {
            status.problems.push(no_federation(shared));
            status.problems.extend(join_troubles(shared, None).await);
        }
    }
    if let Some(free) = free_bytes.filter(|free| (RESERVE_BYTES..LITTLE_ROOM).contains(free)) {
        let problem = format!("the disk has only {} MiB left", free / (1024 * 1024));
        status.problems.push(Trouble::new("disk_low", problem, "make room: on a full disk records are refused"));
    }
    if let Some(test) = shared.quantum.failed_test() {
        let problem =
            format!("the quantum source failed {test} and was dropped: the operating system's generator is used alone");
        let remedy = "look at quantum.python and quantum.target, then restart; or set quantum.enabled to false";
        status.problems.push(Trouble::new("quantum_source_failed", problem, remedy));
    }
    Ok(status)
}

/// Adds what there is to say of a station in a federation.
async fn take_part(shared: &Shared, member: &Member, status: &mut Status) -> Result<(), PortError> {
    let known = member.service.query(Known::read).await??;
    let peers: Vec<StationId> = member.network.peers().await.into_iter().map(|peer| peer.station).collect();
    let heads = peers.iter().filter_map(|peer| member.exchange.head_of(peer));
    status.federation_id = Some(member.rules.federation());
    status.federation = Some(member.rules.parameters().name.clone());
    status.signatures = Some(match member.rules.scheme() {
        SignatureScheme::Ed25519 => "ed25519",
        SignatureScheme::Hybrid => "hybrid",
    });
    status.listen = member.addresses().await.iter().map(ToString::to_string).collect();
    status.head = Some(known.head);
    status.records = known.records;
    status.pending_records = known.pending;
    status.peers = peers.len() as u64;
    status.open_duties = member.open_duties();
    status.known_height = heads.map(|(height, _)| height).max();
    status.synced = Standing::of(known.is_synced, peers.len(), member.is_founder()).is_ready();
    status.signing = known.not_signing.is_none();
    status.notices = notices(&known);
    status.notices.extend(match member.open_duties() {
        0 => None,
        1 => Some("this station is asked to check 1 record: see `qfzz duties`".to_owned()),
        open => Some(format!("this station is asked to check {open} records: see `qfzz duties`")),
    });
    status.reorganisations = known.reorganisations;
    let (banned, banned_total) = member.exchange.bans(MAX_SHOWN_BANS);
    status.banned =
        banned.into_iter().map(|ban| BannedPeer { peer_id: ban.peer, reason: ban.reason, until: ban.until }).collect();
    status.banned_total = banned_total as u64;
    let mut trouble = |code, problem: String, remedy| status.problems.push(Trouble::new(code, problem, remedy));
    if known.is_disk_full {
        trouble("disk_full", disk_full(&shared.dir), "free some space: the station takes things again by itself");
    }
    if known.has_equivocated {
        trouble(
            "equivocated",
            "this station's key signed two batches with one sequence: once that is proven its opinions count for nothing, \
             for good"
                .to_owned(),
            "stop every daemon that has this key, find the copy of its data directory, and start a new station: qfzz init \
             in an empty directory",
        );
    }
    match known.standing {
        Roster::Admitted => {}
        Roster::Stranger => trouble(
            "not_admitted",
            format!(
                "this station is not admitted to the federation: of its records {} wait, and no other station takes them",
                known.own_pending
            ),
            "ask a founder: there `qfzz station admit` and this station's id, or an invitation by `qfzz ticket --invite`",
        ),
        Roster::Expelled => trouble(
            "expelled",
            format!(
                "this station was expelled from the federation: its {} pending records are refused, and so are new ones",
                known.own_pending
            ),
            "more than half of the founders must admit it again: there `qfzz station admit` and this station's id",
        ),
    }
    if let Some(reason) = known.not_signing {
        let remedy = match reason {
            // That takes seconds, and is over by itself.
            NotSigning::LearningLog | NotSigning::Repairing => None,
            NotSigning::LogUnknown => {
                Some("join a station that the federation admitted, or the founder: qfzz join ADDRESS")
            }
            NotSigning::AnotherSeen => {
                Some("stop one of the two; if the other one has stopped, this one goes on by itself within minutes")
            }
            NotSigning::AnotherDaemon => Some(
                "use the other one; or stop it, then restart this one. A copy needs a key of its own: qfzz init in an \
                 empty directory",
            ),
        };
        if let Some(remedy) = remedy {
            trouble(reason.code(), reason.to_string(), remedy);
        }
    }
    if known.is_followed && known.not_signing.is_none() {
        trouble(
            "another_daemon_stopped",
            "another daemon was started with this station's key; it signs nothing, for this one started earlier"
                .to_owned(),
            "stop the other one, and give it a key of its own: qfzz init in an empty directory",
        );
    }
    if known.is_used_up {
        trouble(
            "reveals_used_up",
            "this station's reveal chain is used up: it produces no more blocks".to_owned(),
            "let other stations mine, or start a new station",
        );
    }
    let expects_others =
        !member.is_founder() || !shared.config.network.join.is_empty() || shared.dir.peers_file().exists();
    if peers.is_empty() && expects_others {
        let goes_on = if known.not_signing.is_none() { "records and mining go on, and " } else { "" };
        trouble(
            "no_peer",
            format!("no other station is connected; {goes_on}the others are called again"),
            "check the network and the other stations, or join by another address: qfzz join ADDRESS",
        );
    }
    let head = known.head.index.get();
    if let Some(told) = status.known_height.map(|height| height.get()).filter(|told| *told > head + MAY_LAG) {
        let problem = format!("a peer tells of block {told}, this station is at {head}");
        trouble("behind", problem, "catch up: qfzz sync; if nothing comes of it, that peer cannot prove what it tells");
    }
    status.problems.extend(join_troubles(shared, Some(member)).await);
    Ok(())
}

/// What may be worth knowing, though nothing has to be done.
fn notices(known: &Known) -> Vec<String> {
    let of_equivocators = match known.equivocators {
        0 => None,
        1 => Some("1 station has signed two batches with one sequence, so its opinions count for nothing".to_owned()),
        count => Some(format!(
            "{count} stations have signed two batches with one sequence, so their opinions count for nothing"
        )),
    };
    of_equivocators.into_iter().map(|text| format!("{text}: see /v1/stations")).collect()
}

fn no_federation(shared: &Shared) -> Trouble {
    let targets = &shared.config.network.join;
    if targets.is_empty() {
        let problem = "this station has no federation yet".to_owned();
        return Trouble::new("no_federation", problem, "join one: qfzz join TICKET or ADDRESS");
    }
    // Whoever reads this need not have the token: an invitation's secret is not shown.
    let named: Vec<String> = targets.iter().map(|target| target.without_invitation().to_string()).collect();
    let problem = format!("this station has no federation yet: nobody answers at {}", named.join(", "));
    let remedy = "see that the station there runs and its port is open; or join by another: qfzz join ADDRESS";
    Trouble::new("no_federation", problem, remedy)
}
