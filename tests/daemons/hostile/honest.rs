//! What honest stations notice: how long their records take to be seen by the other, and what the node's memory does.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use qfzz_tests::harness::Api;
use reqwest::Method;
use serde_json::{Value, json};

/// Between two records: enough of them for a p99, few enough not to be a load themselves.
const PAUSE: Duration = Duration::from_millis(15);

/// The longest that a record may take: a sync brings it within half a minute even where gossip fails.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// What each record took.
#[derive(Clone, Default)]
pub(crate) struct Took(Arc<Mutex<Vec<Duration>>>);

impl Took {
    fn push(&self, took: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    }

    fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many records there were.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What 99 of 100 did not exceed, of those after the first `skipped`; none if there are none.
    pub(crate) fn p99_after(&self, skipped: usize) -> Option<Duration> {
        let took = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        took.get(skipped..).filter(|took| !took.is_empty()).map(p99)
    }
}

/// When which record was first told of by a station.
#[derive(Clone, Default)]
struct Seen(Arc<(Mutex<HashMap<String, Instant>>, Condvar)>);

impl Seen {
    fn listen(&self, api: &Api) {
        let request = api.request(Method::GET, "/v1/events").timeout(Duration::from_secs(3_600));
        let response = request.send().expect("the stream of events can be opened");
        assert_eq!(response.status().as_u16(), 200);
        let seen = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(response).lines().map_while(Result::ok) {
                let now = Instant::now();
                let data: Value =
                    line.strip_prefix("data:").and_then(|data| serde_json::from_str(data).ok()).unwrap_or_default();
                if let Some(id) = data["record_id"].as_str() {
                    seen.0.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), now);
                    seen.0.1.notify_all();
                }
            }
        });
    }

    /// Waits until a record was told of.
    fn when(&self, id: &str) -> Instant {
        let guard = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.0.1.wait_timeout_while(guard, LOST_AFTER, |seen| !seen.contains_key(id));
        let (mut seen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        seen.remove(id).unwrap_or_else(|| panic!("{id} is not seen by the other within {LOST_AFTER:?}"))
    }
}

/// Two stations that write by turns, and see what the other writes.
pub(crate) struct Exchange {
    took: Took,
    stop: Arc<AtomicBool>,
    writer: JoinHandle<()>,
}

impl Exchange {
    pub(crate) fn start(stations: [&Api; 2]) -> Self {
        let seen = [Seen::default(), Seen::default()];
        stations.iter().zip(&seen).for_each(|(api, seen)| seen.listen(api));
        let stations = stations.map(Api::clone);
        let (took, stop) = (Took::default(), Arc::<AtomicBool>::default());
        let writer = thread::spawn({
            let (took, stop) = (took.clone(), Arc::clone(&stop));
            move || {
                for number in 0_usize.. {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let (writer, reader) = (number % 2, 1 - number % 2);
                    let posted = Instant::now();
                    let id = stations[writer].record(&json!({
                        "kind": "content_verified", "content_id": format!("track {}", number % 50), "creator_id": "dj",
                    }));
                    let heard = seen[reader].when(&id).saturating_duration_since(posted);
                    took.push(heard);
                    thread::sleep(PAUSE);
                }
            }
        });
        Self { took, stop, writer }
    }

    /// What the records up to now took; those that follow are counted anew.
    pub(crate) fn taken(&self) -> Vec<Duration> {
        self.took.take()
    }

    /// What the records take, as it goes on.
    pub(crate) fn took(&self) -> Took {
        self.took.clone()
    }

    /// Ends it; returns what the records took since they were last counted.
    pub(crate) fn stop(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Release);
        self.writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.took.take()
    }
}

/// What so many of 100 did not exceed.
pub(crate) fn share(took: &[Duration], of_100: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort_unstable();
    *sorted.get((sorted.len() * of_100).div_ceil(100).max(1) - 1).expect("there are samples")
}

/// What 99 of 100 did not exceed.
pub(crate) fn p99(took: &[Duration]) -> Duration {
    share(took, 99)
}

/// A process' resident memory, watched until dropped.
pub(crate) struct Memory {
    before: u64,
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Memory {
    pub(crate) fn watch(pid: u32) -> Self {
        let before = resident(pid).expect("it runs");
        let (highest, stop) = (Arc::new(AtomicU64::new(before)), Arc::<AtomicBool>::default());
        thread::spawn({
            let (highest, stop) = (Arc::clone(&highest), Arc::clone(&stop));
            move || {
                while let (Some(now), false) = (resident(pid), stop.load(Ordering::Acquire)) {
                    highest.fetch_max(now, Ordering::AcqRel);
                    thread::sleep(Duration::from_millis(20));
                }
            }
        });
        Self { before, highest, stop }
    }

    /// At the start, in bytes.
    pub(crate) fn before(&self) -> u64 {
        self.before
    }

    /// How much more it was at most since, in bytes.
    pub(crate) fn growth(&self) -> u64 {
        self.highest.load(Ordering::Acquire) - self.before
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
}
