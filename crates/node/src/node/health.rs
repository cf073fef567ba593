//! How this station is: whether it has caught up, what an operator should look at, and the figures of the metrics.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::joining::JoinError;
use super::station::on_disk;
use super::status::status;
use super::{Member, Shared};
use crate::api::dto::Trouble;
use crate::api::port::PortError;
use crate::clock;
use crate::metrics::Figures;
use crate::network::{DialError, JoinTrouble};
use crate::service::state::State;
use crate::store::StoreReader;
use crate::ticket::JoinTarget;

/// Between two lines of the log about one target that cannot be joined by.
const TELL_AGAIN: Duration = Duration::from_secs(3_600);

/// How a station stands towards its federation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has caught up with a peer since its start.
    CaughtUp,
    /// It founded the federation and nobody is connected: nobody can have more than it has.
    FounderAlone,
    /// Nobody is connected who could tell what it lacks.
    Alone,
    /// Peers are connected, and none has been caught up with yet.
    Behind,
}

impl Standing {
    /// By whether it has caught up with a peer, its peers, and whether genesis names it.
    pub(super) const fn of(has_caught_up: bool, peers: usize, is_founder: bool) -> Self {
        match (has_caught_up, peers, is_founder) {
            (true, _, _) => Self::CaughtUp,
            (false, 0, true) => Self::FounderAlone,
            (false, 0, false) => Self::Alone,
            (false, _, _) => Self::Behind,
        }
    }

    /// Whether its answers can be taken for the federation's: what `synced` and `/readyz` say.
    pub(super) const fn is_ready(self) -> bool {
        self.reason().is_none()
    }

    /// Why it is not ready; `None` if it is.
    pub(super) const fn reason(self) -> Option<&'static str> {
        match self {
            Self::CaughtUp | Self::FounderAlone => None,
            Self::Alone => Some("no peer is connected"),
            Self::Behind => Some("not caught up with any peer yet"),
        }
    }
}

/// Targets that could not be joined by the last time, in bounded number: those that are configured.
#[derive(Debug, Default)]
pub(crate) struct FailingTargets(Mutex<BTreeMap<String, Failing>>);

#[derive(Debug)]
struct Failing {
    why: String,
    is_foreign: bool,
    told: Instant,
}

impl FailingTargets {
    /// Takes note of a failure. Returns whether the log should be told: the first time, then at most once an hour.
    pub(super) fn note(&self, target: &JoinTarget, error: &JoinError, now: Instant) -> bool {
        let is_foreign =
            matches!(error, JoinError::NotTheTickets(_) | JoinError::Dial(DialError::OtherFederation { .. }));
        let mut targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let why = error.to_string();
        let target = target.without_invitation().to_string();
        match targets.get_mut(&target) {
            Some(failing) => {
                let is_due = now.saturating_duration_since(failing.told) >= TELL_AGAIN;
                let told = if is_due { now } else { failing.told };
                *failing = Failing { why, is_foreign, told };
                is_due
            }
            None => {
                targets.insert(target, Failing { why, is_foreign, told: now });
                true
            }
        }
    }

    /// Forgets them: one target works.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn troubles(&self) -> Vec<Trouble> {
        let targets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = |(target, failing): (&String, &Failing)| join_trouble(target, &failing.why, failing.is_foreign);
        targets.iter().map(trouble).collect()
    }
}

/// What to do about an address of `network.join` that does not work.
fn join_trouble(target: &str, why: &str, is_foreign: bool) -> Trouble {
    if is_foreign {
        let problem = format!("`{target}` leads to another federation: {why}");
        return Trouble::new("other_federation", problem, "take it out of network.join, or correct it");
    }
    let problem = format!("`{target}` cannot be joined by: {why}");
    let remedy = "check that the station there runs and can be reached, or take it out of network.join";
    Trouble::new("unreachable", problem, remedy)
}

/// Addresses to join that do not work, another federation's first: it does not go away by waiting.
pub(super) async fn join_troubles(shared: &Shared, member: Option<&Member>) -> Vec<Trouble> {
    let known = match member {
        Some(member) => member.network.join_troubles().await,
        None => Vec::new(),
    };
    let of_network =
        |JoinTrouble { address, why, foreign }| join_trouble(&address.to_string(), &why, foreign.is_some());
    let mut troubles: Vec<Trouble> = known.into_iter().map(of_network).collect();
    if troubles.is_empty() {
        // Before there is a network, and where it cannot know of other federations.
        troubles = shared.failing.troubles();
    }
    troubles.sort_by_key(|trouble| trouble.code != "other_federation");
    troubles
}

impl Member {
    /// Whether genesis names this station.
    pub(super) fn is_founder(&self) -> bool {
        self.rules.is_founder(&self.network.station())
    }
}

/// What the metrics ask for at every reading.
pub(super) async fn figures(shared: &Shared) -> Result<Figures, PortError> {
    let status = status(shared).await?;
    let place = shared.dir.clone();
    let of_machine = move || {
        let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
        Ok((bytes_in(&place.journal_dir()), resident_bytes().unwrap_or(0), open_files))
    };
    let (journal_bytes, resident_bytes, open_files) = on_disk(of_machine).await?;
    let quantum = shared.quantum.status();
    let uptime = u64::try_from(clock::now().since(shared.started_at)).unwrap_or(0);
    let mut figures = Figures {
        head_height: status.head.map_or(0, |head| head.index.get()),
        records: status.records,
        pending_records: status.pending_records,
        peers: status.peers,
        banned_peers: status.banned_total,
        open_duties: status.open_duties,
        is_synced: status.synced,
        problems: status.problems.len() as u64,
        disk_free_bytes: status.free_bytes.unwrap_or(0),
        uptime: Duration::from_millis(uptime),
        is_quantum: quantum.available,
        quantum_pool_bytes: quantum.pool_bytes,
        quantum_failed: shared.quantum.failed_test(),
        journal_bytes,
        resident_bytes,
        open_files,
        ..Figures::default()
    };
    if let Some(member) = shared.member() {
        figures.pending_bytes =
            member.service.query(|state: &State<StoreReader>| state.ledger().pool().bytes()).await?;
        figures.view_entries = member.reader.view_entries()?;
        figures.gossip_left_out = member.network.dropped_gossip();
    }
    Ok(figures)
}

/// Bytes of the files in a directory; files that come and go meanwhile may be missed.
fn bytes_in(directory: &std::path::Path) -> u64 {
    let Ok(files) = fs::read_dir(directory) else { return 0 };
    files.flatten().filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
}

/// Memory of this process in RAM, as Linux tells it.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_station_is_ready_once_caught_up_or_as_a_founder_without_peers() {
        for (has_caught_up, peers, is_founder, standing, is_ready) in [
            (true, 0, false, Standing::CaughtUp, true),
            (true, 3, true, Standing::CaughtUp, true),
            (false, 0, true, Standing::FounderAlone, true),
            (false, 0, false, Standing::Alone, false),
            (false, 1, true, Standing::Behind, false),
        ] {
            assert_eq!(Standing::of(has_caught_up, peers, is_founder), standing);
            assert_eq!(standing.is_ready(), is_ready);
        }
    }

    #[test]
    fn the_log_hears_of_a_failing_target_once_then_at_most_once_an_hour() {
        let (failing, now) = (FailingTargets::default(), Instant::now());
        let target: JoinTarget = "/ip4/192.0.2.1/tcp/4811".parse().expect("an address");
        let error = JoinError::Dial(DialError::Timeout);
        assert!(failing.note(&target, &error, now));
        for after in [1, 60, 3_599] {
            assert!(!failing.note(&target, &error, now + Duration::from_secs(after)), "{after} s later");
        }
        assert!(failing.note(&target, &error, now + TELL_AGAIN));
        let troubles = failing.troubles();
        assert_eq!(troubles.len(), 1);
        assert!(troubles[0].problem.contains("/ip4/192.0.2.1/tcp/4811"), "{troubles:?}");
        failing.clear();
        assert_eq!(failing.troubles(), []);
    }

    #[test]
    fn the_process_has_memory_and_open_files() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1024 * 1024));
    }
}
