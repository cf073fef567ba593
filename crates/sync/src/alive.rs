//! Whether another daemon signs with the same key: what a daemon says of itself, and what its peers remember of it.
//!
//! Two daemons of one station cannot connect to each other, for to libp2p they are one peer. So each tells its peers,
//! signed, which run it is, and is told by them of the other one. Whoever started later then signs no more.

use std::collections::HashMap;

use qfzz_ledger_core::codec::{Decode, Encode, encode};
use qfzz_ledger_core::crypto::{ED25519_SIGNATURE_BYTES, Signature, SignatureScheme, StationKey, Tag, TaggedHash};
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::time::Timestamp;

/// How long a statement is remembered, in milliseconds: four times the default pause between two syncs.
pub const REMEMBERED_MS: i64 = 120_000;

/// Stations whose statements are remembered, at most; beyond that, those heard of longest ago are forgotten.
const MAX_STATIONS: usize = 1_024;

/// Runs of one station that are remembered, at most.
const MAX_RUNS: usize = 4;

/// One run of a daemon, from its start to its end. The order is that of the starts, then of the ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct Run {
    /// When it started, by its own clock.
    pub started_at: Timestamp,
    /// Drawn at its start.
    pub id: [u8; 8],
    /// Names the machine and the data directory, to daemons of this station alone. Two runs of one place follow each
    /// other, for the directory is locked.
    pub place: [u8; 8],
}

/// A station's word that a run of its is alive.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct Statement {
    /// Which run.
    pub run: Run,
    /// When it was made, by the run's own clock.
    pub made_at: Timestamp,
    /// The station's signature over both: Ed25519 under every scheme, as the connection that it comes by.
    pub signature: Signature,
}

impl Statement {
    /// Signs that `run` is alive.
    pub fn sign(rules: &Rules, key: &StationKey, run: Run, made_at: Timestamp) -> Self {
        Self { run, made_at, signature: key.sign(SignatureScheme::Ed25519, &digest(rules, &run, made_at)) }
    }

    /// Whether `station` signed it, for this federation.
    pub fn is_signed_by(&self, rules: &Rules, station: &StationId) -> bool {
        let digest = digest(rules, &self.run, self.made_at);
        self.signature.ed25519_verifies(SignatureScheme::Ed25519, station, &digest)
    }

    /// Whether the signature has its length: nothing longer is taken from a stranger.
    pub(crate) fn has_right_length(&self) -> bool {
        self.signature.as_bytes().len() == ED25519_SIGNATURE_BYTES
    }
}

fn digest(rules: &Rules, run: &Run, made_at: Timestamp) -> [u8; 32] {
    TaggedHash::new(Tag::Alive, &rules.federation(), &[]).hash(&[&encode(&(*run, made_at))])
}

/// What a peer tells an asker of another run of the asker's station.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[bincode(crate = "qfzz_ledger_core::codec::bincode")]
pub struct OtherRun {
    /// What that run said.
    pub statement: Statement,
    /// How long ago the peer heard it, in milliseconds by the peer's clock.
    pub age_ms: u64,
}

/// What a station remembers of the runs of others: up to 120 s, 4 runs of each of 1,024 stations.
///
/// Whoever asks is who it says it is, so nothing is verified here; who reads a statement does.
#[derive(Clone, Debug, Default)]
pub struct Runs(HashMap<StationId, Vec<(Statement, Timestamp)>>);

impl Runs {
    /// Remembers what `station` said at `now`, and tells it of another run of its, the one that
    /// was heard last: a run that has ended must not stand before one that goes on.
    pub fn heard(&mut self, station: StationId, statement: Option<&Statement>, now: Timestamp) -> Option<OtherRun> {
        let statement = statement?;
        let runs = self.0.entry(station).or_default();
        runs.retain(|(known, heard)| known.run.id != statement.run.id && now.since(*heard) < REMEMBERED_MS);
        let other = runs.iter().max_by_key(|(known, heard)| (*heard, known.run));
        let other = other.map(|(known, heard)| OtherRun {
            statement: known.clone(),
            age_ms: u64::try_from(now.since(*heard)).unwrap_or(0),
        });
        runs.push((statement.clone(), now));
        if runs.len() > MAX_RUNS {
            runs.remove(0);
        }
        if self.0.len() > MAX_STATIONS {
            let newest = |runs: &Vec<(Statement, Timestamp)>| runs.last().map(|(_, heard)| *heard);
            let oldest = self.0.iter().min_by_key(|(station, runs)| (newest(runs), **station)).map(|(it, _)| *it);
            oldest.map(|station| self.0.remove(&station));
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use qfzz_ledger_core::testing::{at, key, rules, station};

    use super::*;

    fn statement(id: u8, started_at: i64, made_at: i64) -> Statement {
        let run = Run { started_at: at(started_at), id: [id; 8], place: [id; 8] };
        Statement::sign(&rules(), &key(1), run, at(made_at))
    }

    #[test]
    fn a_statement_is_its_stations_own_and_holds_in_one_federation() {
        let said = statement(1, 0, 5);
        assert!(said.is_signed_by(&rules(), &station(1)));
        assert!(!said.is_signed_by(&rules(), &station(2)));
        assert!(!Statement { made_at: at(6), ..said.clone() }.is_signed_by(&rules(), &station(1)));
        let another = qfzz_ledger_core::testing::rules_with(|it| it.created_at = at(-1));
        assert!(!said.is_signed_by(&another, &station(1)));
    }

    #[test]
    fn each_run_is_told_of_the_other_until_that_is_forgotten() {
        let mut runs = Runs::default();
        let (first, second) = (statement(1, 0, 5), statement(2, 3, 6));
        assert_eq!(runs.heard(station(1), Some(&first), at(10)), None);
        assert_eq!(runs.heard(station(1), Some(&first), at(20)), None, "its own run is no other");
        let told = |statement: &Statement, age_ms| Some(OtherRun { statement: statement.clone(), age_ms });
        assert_eq!(runs.heard(station(1), Some(&second), at(50)), told(&first, 30));
        assert_eq!(runs.heard(station(1), Some(&first), at(60)), told(&second, 10));
        assert_eq!(runs.heard(station(2), Some(&first), at(60)), None, "another station's runs are none of its");
        assert_eq!(runs.heard(station(1), None, at(60)), None);
        assert_eq!(runs.heard(station(1), Some(&second), at(60 + REMEMBERED_MS)), None);
        let third = statement(3, 1, 6);
        runs.heard(station(1), Some(&third), at(61 + REMEMBERED_MS));
        let last = runs.heard(station(1), Some(&first), at(62 + REMEMBERED_MS));
        assert_eq!(last, told(&third, 1), "of several the one that was heard last");
    }

    #[test]
    fn strangers_fill_it_only_so_far() {
        let mut runs = Runs::default();
        let said = statement(1, 0, 0);
        for number in 0..MAX_STATIONS + 100 {
            let mut station = [0; 32];
            station[..8].copy_from_slice(&(number as u64).to_le_bytes());
            runs.heard(StationId::from_bytes(station), Some(&said), at(number as i64));
        }
        assert_eq!(runs.0.len(), MAX_STATIONS);
        for id in 0..20 {
            runs.heard(station(1), Some(&statement(id, 0, 0)), at(2_000));
        }
        assert_eq!(runs.0[&station(1)].len(), MAX_RUNS);
    }
}
