//! Starting on a damaged store: what can be put together here is, what others have is fetched, and nothing is served
//! or signed before all is there again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use qfzz_ledger_core::federation::{Genesis, GenesisError, Rules};
use qfzz_ledger_core::ids::{Height, Sequence, StationId};
use qfzz_ledger_core::state::ReadError;
use qfzz_sync::report::SyncReport;
use tokio::time::sleep;

use super::member::{Duty, Member};
use super::{NodeError, Shared};
use crate::data_dir::{self, DataDir};
use crate::network;
use crate::service::state::State;
use crate::store::repair::{self, Repaired};
use crate::store::{Reach, StoreError, StoreReader};

/// How long others may take to bring anything of what is missing.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same where no other station is known.
const PATIENCE_ALONE: Duration = Duration::from_secs(1);

/// Between two looks at how far the store is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Between two syncs with each peer, while something is missing.
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The genesis of a data directory, and whether its file is damaged or lost: the journal holds it too, and a file that
/// differs from it is not this store's.
pub(super) fn genesis(dir: &DataDir) -> Result<Option<(Genesis, bool)>, NodeError> {
    let bytes = dir.read_genesis().or_else(|error| match error {
        // It is no genesis, and need not be read.
        data_dir::DataDirError::Damaged { .. } => Ok(Some(Vec::new())),
        error => Err(error),
    })?;
    let in_file = bytes.as_deref().map(usable);
    let in_journal = repair::genesis(dir.path()).as_deref().map(usable).and_then(Result::ok);
    match (in_file, in_journal) {
        (Some(Ok(file)), None) => Ok(Some((file, false))),
        (Some(Ok(file)), Some(journal)) if file.id() == journal.id() => Ok(Some((file, false))),
        (_, Some(journal)) => Ok(Some((journal, true))),
        (Some(Err(why)), None) => Err(NodeError::GenesisDamaged { path: dir.genesis_file(), why }),
        (None, None) => Ok(None),
    }
}

/// The same, to start with: the file is written again where that is needed.
pub(super) fn whole_genesis(dir: &DataDir) -> Result<Option<Genesis>, NodeError> {
    let Some((genesis, is_damaged)) = genesis(dir)? else { return Ok(None) };
    if is_damaged {
        tracing::warn!("the genesis file was lost or damaged: written again from the journal");
        dir.write_genesis(&genesis.encode())?;
    }
    Ok(Some(genesis))
}

fn usable(bytes: &[u8]) -> Result<Genesis, GenesisError> {
    let genesis = Genesis::decode(bytes)?;
    Rules::new(genesis.clone()).map(|_| genesis)
}

/// Starts the member of a federation; where its store is damaged, once it has again all that it had.
pub(super) async fn start(shared: &Arc<Shared>, genesis: Genesis) -> Result<Arc<Member>, NodeError> {
    let path = shared.dir.path();
    let started = match repair::goal(path) {
        Ok(None) => Member::start(shared, genesis.clone(), Duty::Everything).await,
        Ok(Some(_)) => return finish(shared, genesis).await,
        Err(error) => Err(error.into()),
    };
    match started {
        Err(NodeError::Store(error)) if error.is_damage() => {
            tracing::error!(%error, "the store is damaged");
            if !can_be_made_whole(shared, &genesis)? {
                return Err(NodeError::Damaged(error));
            }
            mend(shared, &genesis)?;
            finish(shared, genesis).await
        }
        started => started,
    }
}

/// Sets a damaged journal aside and puts together what is whole.
pub(super) fn mend(shared: &Shared, genesis: &Genesis) -> Result<Repaired, NodeError> {
    let rules = Arc::new(Rules::new(genesis.clone())?);
    let (path, station) = (shared.dir.path(), shared.identity.station_id());
    let (salvage, _) = repair::examine(path, Arc::clone(&rules), station)?;
    if !salvage.is_complete() && has_company(shared, &rules, station) {
        // Its log may have gone on beyond what is whole here.
        shared.dir.mark_log_unknown()?;
    }
    let repaired = repair::repair(path, rules, station)?;
    for hole in &repaired.holes {
        tracing::warn!("the journal was damaged: {hole}");
    }
    if let Some(aside) = &repaired.aside {
        tracing::warn!(path = %aside.display(), "the damaged journal is set aside; what is whole of it is kept");
    }
    Ok(repaired)
}

/// Fetches what a repair could not put together, and starts the member once all is there.
async fn finish(shared: &Arc<Shared>, genesis: Genesis) -> Result<Arc<Member>, NodeError> {
    fetch(shared, genesis.clone()).await?;
    Member::start(shared, genesis, Duty::Everything).await
}

/// Fetches from others what a repair could not put together.
pub(super) async fn fetch(shared: &Arc<Shared>, genesis: Genesis) -> Result<(), NodeError> {
    let Some(goal) = repair::goal(shared.dir.path())? else { return Ok(()) };
    let member = Member::start(shared, genesis, Duty::CatchUp).await?;
    // Somebody unknown may call all the same, who was not told to stay away.
    let patience = if knows_others(shared, &member.rules) { PATIENCE } else { PATIENCE_ALONE };
    let reached = reach(&member, goal, patience).await;
    if reached.is_ok() && shared.dir.is_log_unknown() && knows_own_log(&member).await {
        shared.dir.unmark_log_unknown()?;
    }
    member.stop().await;
    reached?;
    tracing::info!(height = %goal.height, "the store has again all that it had");
    Ok(repair::settle(shared.dir.path())?)
}

/// Waits until the member has come as far as `goal`, as long as it gets on.
async fn reach(member: &Member, goal: Reach, patience: Duration) -> Result<(), NodeError> {
    let station = member.network.station();
    let look = move |state: &State<StoreReader>| -> Result<(bool, Height, Sequence), ReadError> {
        let ledger = state.ledger();
        let (height, own_next) = (ledger.chain().height(), ledger.log_end(&station)?.next);
        let has_head = ledger.chain().contains(&goal.head) || height > goal.height;
        Ok((has_head, height, own_next))
    };
    let gone = |reason: String| NodeError::Failed { reason };
    let (mut last, mut moved, mut synced) = (None, Instant::now(), None::<Instant>);
    loop {
        let found = member.service.query(look).await.map_err(|error| gone(error.to_string()))?;
        let (has_head, height, own_next) = found?;
        if has_head && own_next >= goal.own_next {
            return Ok(());
        }
        if last != Some((height, own_next)) {
            (last, moved) = (Some((height, own_next)), Instant::now());
        }
        if moved.elapsed() > patience {
            return Err(NodeError::Unrepaired { missing: missing(&goal, (has_head, height), own_next) });
        }
        if synced.is_none_or(|at| at.elapsed() > SYNC_EVERY) {
            sync_with_all(member).await;
            synced = Some(Instant::now());
        } else {
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Whether this station has all of its own log that whoever is connected knows, one at least on whose word it may sign; it
/// may be more than was noted here.
async fn knows_own_log(member: &Member) -> bool {
    let reports = sync_with_all(member).await.into_iter().filter(|report| report.fault.is_none());
    let told: Vec<_> = reports.filter_map(|report| Some((report.peer, report.your_log?.next))).collect();
    let station = member.network.station();
    let look = move |state: &State<StoreReader>| -> Result<bool, ReadError> {
        let own = state.ledger().log_end(&station)?.next;
        let is_known = told.iter().all(|(_, next)| *next <= own);
        Ok(is_known && told.iter().any(|(peer, _)| state.may_tell_own_log(peer).is_ok_and(|may| may)))
    };
    matches!(member.service.query(look).await, Ok(Ok(true)))
}

/// Syncs with each connected peer in turn.
async fn sync_with_all(member: &Member) -> Vec<SyncReport> {
    let mut reports = Vec::new();
    for peer in member.network.peers().await {
        reports.extend(tokio::time::timeout(PATIENCE, member.exchange.sync(peer.station)).await.ok());
    }
    reports
}

/// What lies between what is there, and what should be.
pub(super) fn missing(goal: &Reach, (has_head, height): (bool, Height), own_next: Sequence) -> String {
    let blocks = (!has_head).then(|| match height.next() {
        Some(next) if next < goal.height => format!("the blocks {next} to {}", goal.height),
        _ => format!("block {} ({})", goal.height, goal.head),
    });
    let own = goal.own_next.previous().filter(|_| own_next < goal.own_next).map(|last| {
        if own_next == last { format!("its own batch {last}") } else { format!("its own batches {own_next} to {last}") }
    });
    blocks.into_iter().chain(own).collect::<Vec<_>>().join(" and ")
}

/// Whether a repair would find all it needs: here, or perhaps at a station that can be called.
fn can_be_made_whole(shared: &Shared, genesis: &Genesis) -> Result<bool, StoreError> {
    let Ok(rules) = Rules::new(genesis.clone()).map(Arc::new) else { return Ok(false) };
    if knows_others(shared, &rules) {
        return Ok(true);
    }
    let (salvage, _) = repair::examine(shared.dir.path(), rules, shared.identity.station_id())?;
    Ok(salvage.is_complete())
}

/// Whether a station is known that can be called.
fn knows_others(shared: &Shared, rules: &Rules) -> bool {
    !shared.config.network.join.is_empty() || network::names_others(&shared.dir.peers_file(), rules.federation())
}

/// Whether others may know this station's log.
fn has_company(shared: &Shared, rules: &Rules, station: StationId) -> bool {
    shared.dir.peers_file().exists() || !rules.is_founder(&station) || knows_others(shared, rules)
}
