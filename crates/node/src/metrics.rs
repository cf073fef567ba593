//! What the node counts and measures, in the words of Prometheus. `docs/metrics.md` has every name.
//!
//! Counters and histograms are kept where things happen; what can be asked for at any time ([`Figures`]) is asked for
//! when somebody reads. No label holds what a peer or client chose, so their number is bounded.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use qfzz_ledger_core::severity::Severity;
use qfzz_sync::report::{Fault, SyncReport};

use crate::quantum::HealthTest;

/// A label and its value; both are words of this program.
type Label = (&'static str, &'static str);

type Counters<const N: usize> = Family<[Label; N], Counter>;

/// One histogram for each route.
type ByRoute = Family<[(&'static str, String); 1], Histogram, fn() -> Histogram>;

/// The route, method and status of an answer.
type Answer = [(&'static str, String); 3];

/// What the node counts. One for each node; see the module.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    gauges: Gauges,
    syncs: Counters<1>,
    sync_bytes: Counters<1>,
    gossip: Counters<1>,
    gossip_left_out: Counter,
    quantum_failures: Counters<1>,
    bans: Counter,
    refused: Counters<1>,
    blocks_mined: Counter,
    reorganisations: Counter,
    reorganisation_depth: Histogram,
    commits: Counter,
    commit_time: Histogram,
    sync_time: Histogram,
    http_requests: Family<Answer, Counter>,
    http_time: ByRoute,
    /// One reader at a time: the figures that are set are those that are shown.
    reading: Mutex<()>,
}

/// What is asked for when somebody reads the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Height of the head.
    pub head_height: u64,
    /// Records on the best chain.
    pub records: u64,
    /// Records that wait for a block, of all stations.
    pub pending_records: u64,
    /// Bytes of the batches that hold them.
    pub pending_bytes: u64,
    /// Connected peers.
    pub peers: u64,
    /// Peers that are refused for what they did.
    pub banned_peers: u64,
    /// Records that it is asked to check and has not answered about.
    pub open_duties: u64,
    /// Whether it has caught up.
    pub is_synced: bool,
    /// Problems that `status` shows.
    pub problems: u64,
    /// Bytes of the journal's files.
    pub journal_bytes: u64,
    /// Entries of the view.
    pub view_entries: u64,
    /// Bytes free for the data directory.
    pub disk_free_bytes: u64,
    /// Gossiped messages that were left out because the node did not keep up, since the start.
    pub gossip_left_out: u64,
    /// Whether Q# runs and passes the health tests.
    pub is_quantum: bool,
    /// Bytes of random numbers that are drawn ahead.
    pub quantum_pool_bytes: u64,
    /// The health test that the quantum source failed, once it has.
    pub quantum_failed: Option<HealthTest>,
    /// Since the start.
    pub uptime: Duration,
    /// Memory of the process in RAM, in bytes; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// Open files and sockets of the process; 0 where the system does not tell.
    pub open_files: u64,
}

#[derive(Debug, Default)]
struct Gauges {
    head_height: Gauge<u64, AtomicU64>,
    records: Gauge<u64, AtomicU64>,
    pending_records: Gauge<u64, AtomicU64>,
    pending_bytes: Gauge<u64, AtomicU64>,
    peers: Gauge<u64, AtomicU64>,
    banned_peers: Gauge<u64, AtomicU64>,
    open_duties: Gauge<u64, AtomicU64>,
    synced: Gauge<u64, AtomicU64>,
    problems: Gauge<u64, AtomicU64>,
    journal: Gauge<u64, AtomicU64>,
    view_entries: Gauge<u64, AtomicU64>,
    disk_free: Gauge<u64, AtomicU64>,
    quantum_available: Gauge<u64, AtomicU64>,
    quantum_pool: Gauge<u64, AtomicU64>,
    uptime: Gauge<f64, AtomicU64>,
    resident: Gauge<u64, AtomicU64>,
    open_files: Gauge<u64, AtomicU64>,
}

impl Gauges {
    fn set(&self, figures: &Figures) {
        self.head_height.set(figures.head_height);
        self.records.set(figures.records);
        self.pending_records.set(figures.pending_records);
        self.pending_bytes.set(figures.pending_bytes);
        self.peers.set(figures.peers);
        self.banned_peers.set(figures.banned_peers);
        self.open_duties.set(figures.open_duties);
        self.synced.set(figures.is_synced.into());
        self.problems.set(figures.problems);
        self.journal.set(figures.journal_bytes);
        self.view_entries.set(figures.view_entries);
        self.disk_free.set(figures.disk_free_bytes);
        self.quantum_available.set(figures.is_quantum.into());
        self.quantum_pool.set(figures.quantum_pool_bytes);
        self.uptime.set(figures.uptime.as_secs_f64());
        self.resident.set(figures.resident_bytes);
        self.open_files.set(figures.open_files);
    }

    fn register(&self, qfzz: &mut Registry) {
        let mut one = |name: &str, help: &str, gauge: &Gauge<u64, AtomicU64>| {
            qfzz.register(name, help, gauge.clone());
        };
        one("head_height", "Height of the head of the best chain", &self.head_height);
        one("chain_records", "Records on the best chain", &self.records);
        one("pending_records", "Records that wait for a block, of all stations", &self.pending_records);
        one("peers", "Connected stations of the federation", &self.peers);
        one("banned_peers", "Stations that are refused for what they did", &self.banned_peers);
        one("open_duties", "Records that it is asked to check and has not answered about", &self.open_duties);
        one("synced", "1 once it has caught up with a peer, or is a founder without peers", &self.synced);
        one("problems", "Problems that the status shows", &self.problems);
        one("view_entries", "Entries of the view", &self.view_entries);
        one("quantum_available", "1 where Q# runs and passes the health tests", &self.quantum_available);
        let mut bytes = |name: &str, help: &str, gauge: &Gauge<u64, AtomicU64>| {
            qfzz.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        };
        bytes("quantum_pool", "Random numbers of Q# that are drawn ahead", &self.quantum_pool);
        bytes("pending", "Encoded batches that wait for a block", &self.pending_bytes);
        bytes("journal", "Files of the journal", &self.journal);
        bytes("disk_free", "Free for the data directory", &self.disk_free);
        qfzz.register_with_unit("uptime", "Time since the start", Unit::Seconds, self.uptime.clone());
    }
}

/// From a tenth of a millisecond to 1.6 s: a fast disk's sync to a slow one's.
fn of_disk() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 15))
}

/// From half a millisecond to 65 s.
fn of_answers() -> Histogram {
    Histogram::new(exponential_buckets(0.000_5, 2.0, 18))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            gauges: Gauges::default(),
            syncs: Family::default(),
            sync_bytes: Family::default(),
            gossip: Family::default(),
            gossip_left_out: Counter::default(),
            quantum_failures: Family::default(),
            bans: Counter::default(),
            refused: Family::default(),
            blocks_mined: Counter::default(),
            reorganisations: Counter::default(),
            reorganisation_depth: Histogram::new([1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0]),
            commits: Counter::default(),
            commit_time: of_disk(),
            sync_time: of_disk(),
            http_requests: Family::default(),
            http_time: Family::new_with_constructor(of_answers as fn() -> Histogram),
            reading: Mutex::default(),
        };
        metrics.register();
        metrics.begin();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let process = registry.sub_registry_with_prefix("process");
        process.register_with_unit("resident_memory", "Memory in RAM", Unit::Bytes, self.gauges.resident.clone());
        process.register("open_fds", "Open files and sockets", self.gauges.open_files.clone());
        let qfzz = registry.sub_registry_with_prefix("qfzz");
        let build: Family<[Label; 1], Gauge<u64, AtomicU64>> = Family::default();
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        qfzz.register("build_info", "Always 1; the label is the program's version", build);
        self.gauges.register(qfzz);
        qfzz.register("syncs", "Syncs with a peer that ended", self.syncs.clone());
        let bytes = "What syncs received and sent";
        qfzz.register_with_unit("sync", bytes, Unit::Bytes, self.sync_bytes.clone());
        qfzz.register("gossip_messages", "Gossiped messages that were judged", self.gossip.clone());
        let left_out = "Gossiped messages that were left out because the station did not keep up; sync brings them";
        qfzz.register("gossip_left_out", left_out, self.gossip_left_out.clone());
        let failures = "Health tests that the quantum source failed";
        qfzz.register("quantum_health_failures", failures, self.quantum_failures.clone());
        qfzz.register("bans", "Peers parted with for what they did", self.bans.clone());
        qfzz.register("refused_peers", "Peers that are not of the federation", self.refused.clone());
        qfzz.register("blocks_mined", "Blocks that this station made", self.blocks_mined.clone());
        qfzz.register("reorganisations", "Changes to another branch", self.reorganisations.clone());
        let depth = "Blocks that a reorganisation gave up";
        qfzz.register("reorganisation_depth_blocks", depth, self.reorganisation_depth.clone());
        qfzz.register("commits", "Writes to the store", self.commits.clone());
        let commit = "Time of a write to the store, its sync included";
        qfzz.register_with_unit("commit", commit, Unit::Seconds, self.commit_time.clone());
        let sync = "Time of syncing the journal to the disk";
        qfzz.register_with_unit("journal_sync", sync, Unit::Seconds, self.sync_time.clone());
        let requests = "Answers of the HTTP API";
        qfzz.register("http_requests", requests, self.http_requests.clone());
        let time = "Time until an answer of the HTTP API begins";
        qfzz.register_with_unit("http_request", time, Unit::Seconds, self.http_time.clone());
    }

    /// Names every label whose values are known, so that what did not happen yet is shown as 0.
    fn begin(&self) {
        for outcome in ["done", "peer_at_fault", "broken_off"] {
            let _ = self.syncs.get_or_create(&[("outcome", outcome)]);
        }
        for direction in ["in", "out"] {
            let _ = self.sync_bytes.get_or_create(&[("direction", direction)]);
        }
        for verdict in ["accept", "ignore", "reject"] {
            let _ = self.gossip.get_or_create(&[("verdict", verdict)]);
        }
        for test in HealthTest::ALL {
            let _ = self.quantum_failures.get_or_create(&[("test", test.name())]);
        }
        for why in ["other_federation", "no_station"] {
            let _ = self.refused.get_or_create(&[("why", why)]);
        }
        let read = [("route", "/metrics".to_owned()), ("method", "GET".to_owned()), ("status", "200".to_owned())];
        let _ = self.http_requests.get_or_create(&read);
        let _ = self.http_time.get_or_create(&[("route", "/metrics".to_owned())]);
    }

    /// A sync ended.
    pub fn synced(&self, report: &SyncReport) {
        let outcome = match report.fault.as_ref().map(Fault::severity) {
            None => "done",
            Some(Severity::Peer) => "peer_at_fault",
            Some(Severity::Later | Severity::Fatal) => "broken_off",
        };
        self.syncs.get_or_create(&[("outcome", outcome)]).inc();
        self.sync_bytes.get_or_create(&[("direction", "in")]).inc_by(report.bytes_in);
        self.sync_bytes.get_or_create(&[("direction", "out")]).inc_by(report.bytes_out);
    }

    /// A gossiped message was judged: `accept`, `ignore` or `reject`.
    pub fn judged(&self, verdict: &'static str) {
        self.gossip.get_or_create(&[("verdict", verdict)]).inc();
    }

    /// A peer was parted with for what it did.
    pub fn banned(&self) {
        self.bans.inc();
    }

    /// A peer turned out to be of another federation, or no station at all.
    pub fn refused(&self, is_station: bool) {
        let why = if is_station { "other_federation" } else { "no_station" };
        self.refused.get_or_create(&[("why", why)]).inc();
    }

    /// This station made a block.
    pub fn mined(&self) {
        self.blocks_mined.inc();
    }

    /// The best chain gave up `depth` blocks.
    pub fn reorganised(&self, depth: u64) {
        self.reorganisations.inc();
        // Depths are far below 2^52, where this would round.
        self.reorganisation_depth.observe(depth as f64);
    }

    /// The store was written to in `whole`, of which `sync` was spent on syncing the journal.
    pub fn committed(&self, whole: Duration, sync: Duration) {
        self.commits.inc();
        self.commit_time.observe(whole.as_secs_f64());
        self.sync_time.observe(sync.as_secs_f64());
    }

    /// The API began an answer after `time`. `route` is one of the routes that exist, or a word for all others.
    pub fn answered(&self, route: &str, method: &'static str, status: u16, time: Duration) {
        let answer = [("route", route.to_owned()), ("method", method.to_owned()), ("status", status.to_string())];
        self.http_requests.get_or_create(&answer).inc();
        self.http_time.get_or_create(&[("route", route.to_owned())]).observe(time.as_secs_f64());
    }

    /// All of it as OpenMetrics 1.0 text.
    pub fn open_metrics(&self, figures: &Figures) -> String {
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        self.gauges.set(figures);
        let counted = self.gossip_left_out.get();
        self.gossip_left_out.inc_by(figures.gossip_left_out.saturating_sub(counted));
        if let Some(test) = figures.quantum_failed {
            // The first failure is the last: the source is dropped.
            let failures = self.quantum_failures.get_or_create(&[("test", test.name())]);
            failures.inc_by(1_u64.saturating_sub(failures.get()));
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to memory cannot fail");
        text
    }

    /// All of it in the text format that Prometheus had before, version 0.0.4: names of counters in full, no units.
    pub fn prometheus(&self, figures: &Figures) -> String {
        let open = self.open_metrics(figures);
        let mut text = String::with_capacity(open.len());
        let mut help = "";
        for line in open.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                help = rest.split_once(' ').map_or("", |(_, help)| help);
            } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                let suffix = if kind == "counter" { "_total" } else { "" };
                text.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
            } else if !line.starts_with('#') {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The names of `text`, by its lines `# TYPE`.
    fn served(text: &str) -> BTreeSet<&str> {
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|rest| rest.split_once(' ')).map(|(name, _)| name).collect()
    }

    #[test]
    fn the_page_has_every_name_that_is_served_and_no_other() {
        let page = include_str!("../../../docs/metrics.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let documented: BTreeSet<&str> = rows.map(|(name, _)| name).collect();
        let text = Metrics::default().prometheus(&Figures::default());
        assert_eq!(documented, served(&text));
        assert!(documented.len() > 25, "{documented:?}");
    }

    #[test]
    fn every_sample_is_under_a_type_of_its_name_in_both_formats() {
        let metrics = Metrics::default();
        metrics.answered("/v1/records/{id}", "GET", 404, Duration::from_millis(3));
        metrics.reorganised(7);
        let figures = Figures { head_height: 12, uptime: Duration::from_millis(1_500), ..Figures::default() };
        let text = metrics.prometheus(&figures);
        let names = served(&text);
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let name = sample.split(['{', ' ']).next().expect("a first part");
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            assert!(names.contains(name) || histogram.is_some_and(|name| names.contains(name)), "{sample}");
        }
        for sample in [
            "qfzz_head_height 12",
            "qfzz_uptime_seconds 1.5",
            "qfzz_reorganisations_total 1",
            "qfzz_reorganisation_depth_blocks_bucket{le=\"10.0\"} 1",
            "qfzz_http_requests_total{route=\"/v1/records/{id}\",method=\"GET\",status=\"404\"} 1",
            "qfzz_syncs_total{outcome=\"peer_at_fault\"} 0",
        ] {
            assert!(text.lines().any(|line| line == sample), "{sample} in\n{text}");
        }
        let open = metrics.open_metrics(&figures);
        assert!(open.ends_with("# EOF\n") && open.contains("# TYPE qfzz_reorganisations counter\n"), "{open}");
    }

    #[test]
    fn messages_left_out_are_counted_once_however_often_they_are_read() {
        let metrics = Metrics::default();
        for (told, shown) in [(3, 3), (3, 3), (5, 5)] {
            let text = metrics.prometheus(&Figures { gossip_left_out: told, ..Figures::default() });
            assert!(text.contains(&format!("qfzz_gossip_left_out_total {shown}\n")), "{text}");
        }
    }
}
