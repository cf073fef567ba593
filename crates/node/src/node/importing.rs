//! Taking in a file: our own export, or what the original program wrote.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{FederationId, Sequence};
use tokio::time::{Instant, sleep};

use super::joining::is_unused;
use super::member::{Duty, Member};
use super::station::on_disk;
use super::{NodeError, Shared};
use crate::api::dto::{ImportFormat, Imported};
use crate::api::port::{MAX_SUBMIT, PortError, Upload};
use crate::clock;
use crate::data_dir::DataDir;
use crate::import::export::{Export, ExportFault, is_export};
use crate::import::plan::Plan;
use crate::import::rebuild::{self, RebuildError, Rebuilt, rebuild};
use crate::import::spool::{Spooled, spool};
use crate::legacy::fault::Fault;
use crate::legacy::file::Kind;
use crate::service::state::State;
use crate::store::{StoreRead, StoreReader};

/// How long to try again while the station has too much to do.
const BUSY_TIME: Duration = Duration::from_secs(30);

/// Between two tries.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

impl From<Fault> for PortError {
    fn from(fault: Fault) -> Self {
        Self::BadImport { reason: fault.to_string() }
    }
}

impl From<ExportFault> for PortError {
    fn from(fault: ExportFault) -> Self {
        Self::BadImport { reason: fault.to_string() }
    }
}

impl From<RebuildError> for PortError {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Fault(fault) => fault.into(),
            RebuildError::Store(error) if error.is_full() => Self::DiskFull,
            error => Self::Failed { reason: error.to_string() },
        }
    }
}

fn failed(error: impl ToString) -> PortError {
    PortError::Failed { reason: error.to_string() }
}

/// Removes what an import left that did not come to its end.
pub(super) fn tidy(dir: &DataDir) {
    if let Err(error) = rebuild::tidy(dir) {
        tracing::warn!(%error, "what an import left cannot be removed: remove the directory `importing`");
    }
}

/// Takes in a file. Once it has arrived, it is judged and taken in whether or not somebody waits for it.
pub(super) async fn import(shared: &Arc<Shared>, upload: Upload) -> Result<Imported, PortError> {
    let Ok(_arriving) = shared.importing.try_lock() else { return Err(PortError::Busy) };
    let file = Arc::new(spool(shared.dir.path(), upload).await?);
    let shared = Arc::clone(shared);
    tokio::spawn(async move { take_in(&shared, file).await }).await.unwrap_or_else(|error| Err(failed(error)))
}

async fn take_in(shared: &Arc<Shared>, file: Arc<Spooled>) -> Result<Imported, PortError> {
    let (spooled, progress) = (Arc::clone(&file), Arc::clone(&shared.import_progress));
    let is_export = on_disk(move || Ok(is_export(spooled.reader(&progress).map_err(failed)?))).await?;
    let imported = if is_export { take_in_export(shared, &file).await? } else { take_in_legacy(shared, &file).await? };
    let Imported { format, blocks, records, source, .. } = &imported;
    tracing::info!(?format, blocks, records, source, "a file was imported");
    Ok(imported)
}

/// Signs what a file of the original makes, as records of this station.
async fn take_in_legacy(shared: &Arc<Shared>, file: &Arc<Spooled>) -> Result<Imported, PortError> {
    let member = shared.member().ok_or(PortError::NoFederation)?;
    let (spooled, progress) = (Arc::clone(file), Arc::clone(&shared.import_progress));
    let plan = on_disk(move || Ok(Plan::of(spooled.reader(&progress).map_err(failed)?, spooled.sha256())?)).await?;
    let (format, blocks) = (plan.kind(), plan.blocks());
    let plan = compare_with_own_log(&member, plan).await?;
    let (spooled, progress) = (Arc::clone(file), Arc::clone(&shared.import_progress));
    let mut records = on_disk(move || Ok(plan.records(spooled.reader(&progress).map_err(failed)?))).await?;
    let mut stored = 0;
    loop {
        let (group, rest) = on_disk(move || Ok((records.next(MAX_SUBMIT)?, records))).await?;
        records = rest;
        if group.is_empty() {
            break;
        }
        let give_up = Instant::now() + BUSY_TIME;
        stored += loop {
            match member.service.submit(group.clone()).await.map_err(PortError::from) {
                Err(PortError::Busy) if Instant::now() < give_up => sleep(BUSY_PAUSE).await,
                done => break done?.len() as u64,
            }
        };
    }
    Ok(Imported {
        format: if format == Kind::Chain { ImportFormat::Chain } else { ImportFormat::Ledger },
        blocks,
        records: stored,
        source: hex::encode(file.sha256()),
        metadata_left_out: records.left_out(),
    })
}

/// Lets the plan see all of this station's own log: it says what was imported before.
async fn compare_with_own_log(member: &Arc<Member>, mut plan: Plan) -> Result<Plan, PortError> {
    let station = member.network.station();
    let pending = member.service.query(move |state: &State<StoreReader>| -> BTreeMap<Sequence, VerifiedBatch> {
        let own = state.ledger().pool().log_from(&station, Sequence::ZERO);
        own.map(|batch| (batch.sequence(), batch.clone())).collect()
    });
    let (pending, reader) = (pending.await?, member.reader.clone());
    on_disk(move || {
        let first_pending = pending.keys().next().copied();
        let mut next = Some(Sequence::ZERO);
        // Everything that was decided before that answer is on disk now.
        while let Some(sequence) = next.filter(|next| first_pending.is_none_or(|pending| *next < pending))
            && let Some(stored) = reader.batch(&station, sequence)?
        {
            stored.batch.records().iter().for_each(|record| plan.see(record));
            next = sequence.next();
        }
        pending.values().flat_map(VerifiedBatch::records).for_each(|record| plan.see(record));
        Ok(plan)
    })
    .await
}

/// Makes the blocks of an export the chain of this station, which has none yet.
async fn take_in_export(shared: &Arc<Shared>, file: &Arc<Spooled>) -> Result<Imported, PortError> {
    let (spooled, progress) = (Arc::clone(file), Arc::clone(&shared.import_progress));
    let export = on_disk(move || Ok(Export::open(spooled.reader(&progress).map_err(failed)?)?)).await?;
    let rules = Arc::clone(export.rules());
    let of = |blocks, records| Imported {
        format: ImportFormat::Export,
        blocks,
        records,
        source: hex::encode(file.sha256()),
        metadata_left_out: 0,
    };
    if let Some(blocker) = blocker(shared, rules.federation()).await {
        let same = blocker.member.rules.federation() == rules.federation();
        let reader = blocker.member.reader.clone();
        return match on_disk(move || if same { is_here(export, &reader) } else { Ok(None) }).await? {
            Some(blocks) => Ok(of(blocks, 0)),
            None => Err(PortError::NotEmpty { reason: blocker.reason(&rules) }),
        };
    }
    let (dir, seed) = (DataDir::clone(&shared.dir), *shared.identity.seed());
    let rebuilt = on_disk(move || Ok(rebuild(&dir, export, seed, clock::now())?)).await?;
    let (blocks, records) = (rebuilt.blocks, rebuilt.records);
    install(shared, rebuilt, &rules).await?;
    Ok(of(blocks, records))
}

/// A member whose federation and chain are not to be lost.
struct Blocker {
    member: Arc<Member>,
}

impl Blocker {
    fn reason(&self, export: &Rules) -> String {
        let own = &self.member.rules;
        if own.federation() == export.federation() {
            return "this station has blocks or records of its own".to_owned();
        }
        let named = |rules: &Rules| format!("`{}` ({})", rules.parameters().name, rules.federation());
        format!("this station belongs to the federation {}, the export to {}", named(own), named(export))
    }
}

/// What stands in the way of a chain of `federation`, if anything does.
async fn blocker(shared: &Shared, federation: FederationId) -> Option<Blocker> {
    let member = shared.member()?;
    let is_free =
        is_unused(shared, &member).await || (member.rules.federation() == federation && member.is_empty().await);
    (!is_free).then_some(Blocker { member })
}

/// The number of blocks of an export, if this station's chain has all of them.
fn is_here<R: std::io::BufRead>(mut export: Export<R>, reader: &StoreReader) -> Result<Option<u64>, PortError> {
    let mut blocks = 1;
    loop {
        let group = export.next_group()?;
        let Some(last) = group.last() else { return Ok(Some(blocks)) };
        blocks = last.index().get() + 1;
        for block in &group {
            if reader.header_at(block.index())?.is_none_or(|(hash, _)| hash != block.hash()) {
                return Ok(None);
            }
        }
    }
}

/// Puts a store in the place of this station's own, which is empty.
async fn install(shared: &Arc<Shared>, rebuilt: Rebuilt, rules: &Rules) -> Result<(), PortError> {
    let _one_at_a_time = shared.joining.lock().await;
    if shared.is_stopping() {
        return Err(PortError::Stopping);
    }
    if let Some(blocker) = blocker(shared, rules.federation()).await {
        return Err(PortError::NotEmpty { reason: blocker.reason(rules) });
    }
    let station = shared.identity.station_id();
    // Its log may go on where it cannot see it.
    let log_is_known = rules.is_founder(&station) && !rebuilt.knows_station && !shared.dir.peers_file().exists();
    tracing::info!(
        federation = %rules.parameters().name, id = %rules.federation(), blocks = rebuilt.blocks,
        "taking over the chain of an export"
    );
    if let Some(member) = shared.set_member(None) {
        member.stop().await;
        // Something may have been recorded until the last moment.
        if !member.is_store_empty() {
            let member =
                Member::start(shared, member.rules.genesis().clone(), Duty::Everything).await.map_err(failed)?;
            shared.set_member(Some(member));
            return Err(PortError::NotEmpty { reason: "this station has records of its own".to_owned() });
        }
    }
    let installed = on_disk(move || Ok(rebuilt.install(log_is_known)?)).await;
    let started = match installed {
        Ok(genesis) => Member::start(shared, genesis, Duty::Everything).await,
        Err(error) => Err(NodeError::Failed { reason: error.to_string() }),
    };
    match started {
        Ok(member) => {
            shared.set_member(Some(member));
            Ok(())
        }
        // There is no member to go on with; a restart reads what is on the disk.
        Err(error) => {
            shared.failure.send_replace(Some(error.to_string()));
            Err(failed(error))
        }
    }
}
