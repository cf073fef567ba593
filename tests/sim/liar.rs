//! A station outside that signs two batches for one place of its log, and tells one station the one and another station
//! the other.

use std::sync::Arc;

use qfzz_ledger_core::batch::VerifiedBatch;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::state::equivocation;
use qfzz_ledger_core::testing::{Author, at, interaction};

use crate::scenario::BEGIN;
use crate::world::{Event, World};

/// The liar's number: of no station in here.
const NUMBER: u8 = 200;

/// Between two tries to tell a station that is down, in milliseconds.
const AGAIN_MS: i64 = 250;

/// What the liar signed.
pub(crate) struct Liar {
    pub(crate) id: StationId,
    first: VerifiedBatch,
    pair: [VerifiedBatch; 2],
    /// Whom each of the two still has to be told.
    to_tell: [Option<usize>; 2],
}

impl Liar {
    /// It tells its first batch and one of the two to each of two stations.
    pub(crate) fn new(rules: &Arc<Rules>, told: [usize; 2]) -> Self {
        let mut author = Author::new(rules, NUMBER);
        // Not ahead of the slowest clock.
        let signed_at = at(BEGIN - 60_000);
        let first = author.batch(signed_at, vec![interaction("victim")]);
        let pair = author.equivocate(signed_at, [vec![interaction("one")], vec![interaction("other")]]);
        Self { id: author.station(), first, pair, to_tell: told.map(Some) }
    }
}

impl World {
    /// Tells what is still to be told, and again what may have been forgotten in a crash.
    pub(crate) fn on_lie(&mut self, is_repeated: bool) {
        let Some(mut liar) = self.liar.take() else { return };
        if is_repeated {
            liar.to_tell = self.scenario.lied_to.map_or([None; 2], |told| told.map(Some));
        }
        for (wish, batch) in liar.to_tell.iter_mut().zip(&liar.pair) {
            if let Some(station) = *wish
                && self.hear_from_outside(station, &liar.first)
                && self.hear_from_outside(station, batch)
            {
                self.line(format_args!("the liar has told s{station} a batch of its own"));
                *wish = None;
            }
        }
        if liar.to_tell.iter().any(Option::is_some) {
            self.after(AGAIN_MS, Event::Lie { is_repeated: false });
        }
        self.liar = Some(liar);
    }

    /// The first station that holds no proof against the liar, or accuses anybody else; `None` if all is as it should be.
    pub(crate) fn unproven(&self) -> Option<String> {
        for (number, station) in self.stations.iter().enumerate() {
            let Some(running) = &station.running else { continue };
            let node = running.node.lock();
            let ledger = node.state.ledger();
            let is_proven = |station: &StationId| equivocation(ledger.read(), station).is_ok_and(|it| it.is_some());
            if let Some(liar) = self.liar.as_ref().filter(|liar| !is_proven(&liar.id)) {
                return Some(format!("s{number} has no proof against the liar {}", liar.id));
            }
            if let Some(accused) = self.stations.iter().find(|station| is_proven(&station.id)) {
                return Some(format!("s{number} accuses {}, which is honest", accused.id));
            }
        }
        None
    }
}
