//! The two halves of writing to the store: the journal first, then what follows from it to the view.
//!
//! Between the two a transition is durable and not shown yet. Each half may have a thread of its own: the journal takes
//! the next transition while the view takes the last one, and reads what is on its way there from memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::ids::{BatchId, BlockHash, StationId};
use qfzz_ledger_core::ledger::Transition;
use qfzz_ledger_core::state::Undo;

use super::StoreError;
use super::disk::at;
use super::draft::Draft;
use super::entries::Entries;
use super::journal::{Group, Journal, Place, Position};
use super::lookup::Lookup;
use super::mark::{Mark, Note, Reach};
use super::schema::{BATCH_ENTRY, BLOCK_ENTRY, BlockEntry, OWN_BATCH_ENTRY, Own};
use super::side::Side;
use super::view::{Pulse, View, ViewReader, Writes};

/// What is in the journal and on its way to the view, oldest first.
#[derive(Clone, Default)]
pub(super) struct Unshown(Arc<Mutex<VecDeque<Arc<Writes>>>>);

/// Keys of a step up to which it is merged with others for reading: those of a commit of own batches.
const FEW_KEYS: usize = 256;

impl Unshown {
    /// What is on its way, newest first, in few layers.
    fn layers(&self) -> Vec<Arc<Writes>> {
        let mut layers: Vec<Arc<Writes>> = Vec::new();
        for writes in self.lock().iter() {
            match layers.last_mut() {
                Some(last) if last.len() <= FEW_KEYS && writes.len() <= FEW_KEYS => {
                    let more = writes.iter().map(|(key, value)| (key.clone(), value.clone()));
                    Arc::make_mut(last).extend(more);
                }
                _ => layers.push(Arc::clone(writes)),
            }
        }
        layers.reverse();
        layers
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Writes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What transitions in the journal write to the view.
pub struct Step {
    writes: Arc<Writes>,
    position: Position,
    /// How long the disk took to sync them.
    pub sync: Duration,
    /// Whether they only add batches of this station's own log, which nobody reads from the view while the station runs:
    /// showing them may wait.
    pub is_own_only: bool,
}

/// Writes the journal and the blocks off the best chain.
pub struct JournalWriter {
    pub(super) station: StationId,
    pub(super) entries: Entries,
    pub(super) journal: Journal,
    pub(super) side: Side,
    pub(super) view: ViewReader,
    pub(super) unshown: Unshown,
    /// Steps that were made.
    pub(super) steps: u64,
    /// Blocks that were connected by a step with this number: their files go when it is shown.
    pub(super) connected: VecDeque<(u64, BlockHash)>,
    pub(super) mark: Mark,
    pub(super) mark_path: PathBuf,
    /// What was noted last.
    pub(super) noted: Option<Position>,
    pub(super) reach: Reach,
    /// Held as long as either half is open, so that nobody else writes to the store.
    pub(super) _lock: Arc<File>,
}

impl JournalWriter {
    /// Writes `transitions` in their order, all with one sync of the disk. Afterwards they outlive a power cut, and are
    /// what the view is to take next. [`note`](Self::note) is due.
    ///
    /// # Errors
    /// [`StoreError`]. The store then takes nothing any more: stop the node, a restart reads the disk.
    pub fn write(&mut self, transitions: &[Transition]) -> Result<Step, StoreError> {
        self.remove_shown()?;
        let is_own_only = transitions.iter().all(Transition::is_own_only);
        // For adding batches to the own log nothing is looked up.
        let below = if is_own_only { Vec::new() } else { self.unshown.layers() };
        let mut draft = Draft::over(self.view.clone(), below, self.station);
        let mut state = BTreeMap::new();
        for transition in transitions {
            // What came and went within one transition is in both.
            for hash in &transition.dropped {
                self.side.remove(hash)?;
            }
            for block in transition.kept.iter().filter(|block| !transition.dropped.contains(&block.hash())) {
                self.connected.retain(|(_, hash)| *hash != block.hash());
                self.side.keep(block)?;
            }
            self.append(transition, &mut draft)?;
            // Only what the last of them writes to a key counts.
            if transition.replaces_state {
                state.clear();
            }
            state.extend(&transition.writes);
            self.reach(transition);
        }
        draft.put_state(state);
        let started = Instant::now();
        self.journal.sync()?;
        let sync = started.elapsed();
        self.steps += 1;
        let connected = transitions.iter().flat_map(|transition| &transition.connected);
        self.connected.extend(connected.map(|(block, _)| (self.steps, block.hash())));
        let writes = Arc::new(draft.into_writes());
        self.unshown.lock().push_back(Arc::clone(&writes));
        Ok(Step { writes, position: self.journal.end(), sync, is_own_only })
    }

    /// Removes the files of blocks off the best chain that the view shows on it.
    pub(super) fn remove_shown(&mut self) -> Result<(), StoreError> {
        let shown = self.steps - self.unshown.lock().len() as u64;
        while let Some((_, hash)) = self.connected.pop_front_if(|(step, _)| *step <= shown) {
            self.side.remove(&hash)?;
        }
        Ok(())
    }

    /// Notes how far the journal is synced: after each [`write`](Self::write), where it keeps nobody waiting.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn note(&mut self) -> Result<(), StoreError> {
        let position = self.journal.end();
        if self.noted != Some(position) {
            self.mark.write(&Note { position, reach: self.reach }).map_err(at(&self.mark_path))?;
            self.noted = Some(position);
        }
        Ok(())
    }

    /// Takes note of what a transition reaches.
    fn reach(&mut self, transition: &Transition) {
        (self.reach.height, self.reach.head) = (transition.height, transition.head);
        let station = self.station;
        let on_chain = transition.connected.iter().flat_map(|(block, _)| block.batches());
        let own = transition.own_batches.iter().chain(on_chain.filter(|batch| batch.station() == station));
        for next in own.filter_map(|batch| batch.sequence().next()) {
            self.reach.own_next = self.reach.own_next.max(next);
        }
    }

    /// Writes a transition to the journal, not synced, and adds what follows from it to `draft`.
    fn append(&mut self, transition: &Transition, draft: &mut Draft) -> Result<(), StoreError> {
        let mut places = HashMap::new();
        for hash in &transition.reverted {
            let at = draft.block_at(hash)?.ok_or(StoreError::NotNext { block: *hash })?;
            let (block, entry) = self.entries.block(at.place, hash)?;
            draft.revert(&block, &entry)?;
            places.extend(entry.batches.into_iter().map(|(place, id)| (id, place)));
        }
        if !transition.own_batches.is_empty() || !transition.connected.is_empty() {
            let mut group = self.journal.begin()?;
            for batch in &transition.own_batches {
                let place = group.push(OWN_BATCH_ENTRY, &encode(batch.signed()))?;
                draft.put_own(batch.sequence(), Own { place, id: batch.id() });
            }
            for (block, undo) in &transition.connected {
                connect(&self.entries, &mut group, draft, &places, block, undo)?;
            }
            group.finish()?;
        }
        if transition.replaces_state {
            draft.clear_state()?;
        }
        for hash in &transition.dropped {
            draft.drop_block(hash)?;
        }
        Ok(())
    }
}

/// Writes a connected block: first those of its batches that are not in the journal yet.
fn connect(
    entries: &Entries,
    group: &mut Group<'_>,
    draft: &mut Draft,
    places: &HashMap<BatchId, Place>,
    block: &VerifiedBlock,
    undo: &Undo,
) -> Result<(), StoreError> {
    let batches = match draft.block_at(&block.hash())? {
        Some(at) => entries.block_entry(at.place, &block.hash())?.batches,
        None => {
            let mut batches = Vec::with_capacity(block.batches().len());
            for batch in block.batches() {
                let own = if draft.is_own(&batch.station()) { draft.own(batch.sequence())? } else { None };
                let own = own.filter(|own| own.id == batch.id()).map(|own| own.place);
                let place = match own.or_else(|| places.get(&batch.id()).copied()) {
                    Some(place) => place,
                    None => group.push(BATCH_ENTRY, &encode(batch.signed()))?,
                };
                batches.push((place, batch.id()));
            }
            batches
        }
    };
    let entry = BlockEntry { sealed: block.sealed().clone(), batches };
    let place = group.push(BLOCK_ENTRY, &entry.encode())?;
    draft.connect(block, place, &entry.batches, undo)
}

/// Writes the view.
pub struct ViewWriter {
    pub(super) view: View,
    pub(super) unshown: Unshown,
    pub(super) _lock: Arc<File>,
}

impl ViewWriter {
    /// For whoever watches that writing goes on.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.view.pulse()
    }

    /// Writes the next steps, as one: afterwards every reader sees them. Of what several of them write to a key only the
    /// last counts, for every value is absolute.
    ///
    /// # Errors
    /// As [`JournalWriter::write`].
    pub fn show(&mut self, steps: &[Step]) -> Result<(), StoreError> {
        let Some((last, before)) = steps.split_last() else { return Ok(()) };
        if before.is_empty() {
            self.apply(&last.writes, last.position)?;
        } else {
            let all = steps.iter().flat_map(|step| step.writes.iter());
            self.apply(&all.map(|(key, value)| (key.clone(), value.clone())).collect(), last.position)?;
        }
        self.unshown.lock().drain(..steps.len());
        Ok(())
    }

    fn apply(&mut self, writes: &Writes, position: Position) -> Result<(), StoreError> {
        if !writes.is_empty() {
            self.view.apply(writes, position)?;
        }
        Ok(())
    }
}
