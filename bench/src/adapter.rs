//! This node behind the protocol by which systems are compared: JSON lines in, one JSON line out for each
//! (docs/peer-adapter.md).
//!
//! An entry is one record about a subject of its own. It says when it was appended, so that whoever receives it knows
//! how long it took, and is filled up to about 160 bytes.

mod entry;

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use qfzz_ledger_core::federation::{Genesis, Parameters};
use qfzz_ledger_core::header::Difficulty;
use qfzz_ledger_core::ids::{Height, Name, RecordId, StationId};
use qfzz_node::api::port::Station;
use qfzz_node::config::Config;
use qfzz_node::data_dir::DataDir;
use qfzz_node::events::Event;
use qfzz_node::identity::Identity;
use qfzz_node::node::Node;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::samples;
use entry::Entry;

/// Entries of one signature, at most: the protocol's limit.
const MAX_BATCH: usize = 256;

/// Entries that may wait for a block before one is mined while entries are sent one by one: other stations keep 1,024
/// batches of one that wait.
const MINE_AFTER: u64 = 512;

/// How often to look whether a sync brought all that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// How long nothing may happen before a command gives up.
const PATIENCE: Duration = Duration::from_secs(120);

/// Answers commands, one at a time.
#[derive(Default)]
pub struct Adapter {
    open: Option<Open>,
}

/// A station that runs.
struct Open {
    node: Node,
    /// Where each entry stands, as far as it was looked up.
    places: HashMap<u64, RecordId>,
    /// Up to which height blocks were looked through for entries.
    seen: Height,
    /// Whom it parted from.
    parted: Vec<StationId>,
}

impl Adapter {
    /// Answers one line; `None` to `quit`, after which the process is to end. What cannot be done, or not be read, is
    /// answered with an `error`.
    pub async fn answer(&mut self, line: &str) -> Option<Value> {
        let answered = match serde_json::from_str::<Value>(line) {
            Ok(command) if command["cmd"] == "quit" => return None,
            Ok(command) => self.command(&command).await,
            Err(error) => Err(anyhow::anyhow!("no JSON: {error}")),
        };
        Some(answered.unwrap_or_else(|error| json!({ "error": format!("{error:#}") })))
    }

    async fn command(&mut self, command: &Value) -> Result<Value> {
        let name = command["cmd"].as_str().context("a command needs `cmd`, a text")?;
        let number =
            |key: &str| command[key].as_u64().with_context(|| format!("`{name}` needs `{key}`, a whole number"));
        let text = |key: &str| command[key].as_str().with_context(|| format!("`{name}` needs `{key}`, a text"));
        match name {
            "version" => Ok(json!({
                "name": "qfzz", "version": env!("CARGO_PKG_VERSION"),
                "note": "an entry is one record; Ed25519, up to 256 records a signature; one fdatasync a commit",
            })),
            "open" => self.open(Path::new(text("dir")?), command["key"].as_str()).await,
            "append" => self.opened()?.append(number("start")?, number("n")?, number("batch")?).await,
            "sync" => self.opened()?.sync(text("addr")?, number("count")?).await,
            "disconnect" => self.opened()?.disconnect().await,
            "live_recv" => self.opened()?.receive(number("start")?, number("n")?).await,
            "live_send" => self.opened()?.send(number("start")?, number("n")?, number("gap_ms")?).await,
            "get" => self.opened()?.get(number("n")?, number("count")?).await,
            "rss" => Ok(json!({ "rss_mb": resident_mb()? })),
            other => bail!("no command is called `{other}`"),
        }
    }

    fn opened(&mut self) -> Result<&mut Open> {
        self.open.as_mut().context("nothing is open: send `open` first")
    }

    /// Opens or makes a store in `dir`; `key` is a seed of 64 hex digits, for a new one.
    async fn open(&mut self, dir: &Path, key: Option<&str>) -> Result<Value> {
        self.close().await;
        let start = Instant::now();
        let dir = DataDir::new(dir);
        dir.create()?;
        let identity = match (Identity::load(&dir)?, key) {
            (Some(identity), _) => identity,
            (None, key) => {
                let identity = match key {
                    Some(key) => Identity::from_seed(&seed(key)?),
                    None => Identity::generate()?,
                };
                identity.store(&dir)?;
                dir.write_genesis(&federation()?.encode())?;
                // A station whose store is missing asks others for its log before it signs. This one is new, and has none.
                std::fs::create_dir_all(dir.journal_dir())?;
                identity
            }
        };
        let mut config = Config::default();
        config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
        config.api.listen = "127.0.0.1:0".parse().context("an address")?;
        // The commands say when a block is mined, and whom to sync with.
        config.mining.enabled = false;
        // What is measured is the node, not Python beside it.
        config.quantum.enabled = false;
        config.sync.interval = Duration::from_secs(3_600);
        let node = Node::start(config, dir.lock()?, identity).await?;
        let address = node.addresses().await.into_iter().next().context("the station listens nowhere")?;
        let open = Open { node, places: HashMap::new(), seen: Height::ZERO, parted: Vec::new() };
        let count = open.count().await?;
        self.open = Some(open);
        Ok(json!({ "open_s": start.elapsed().as_secs_f64(), "count": count, "addr": address.to_string() }))
    }

    /// Stops the station, if one runs: what was acknowledged is on disk then.
    pub async fn close(&mut self) {
        if let Some(open) = self.open.take() {
            open.node.stop().await;
        }
    }
}

impl Open {
    /// Entries that can be read here.
    async fn count(&self) -> Result<u64> {
        let statistics = self.node.station().statistics().await?;
        Ok(statistics.total_records + statistics.pending_records)
    }

    /// Appends entries as a client in the same process does, and mines them after the time was taken.
    async fn append(&mut self, start: u64, count: u64, batch: u64) -> Result<Value> {
        let batch = usize::try_from(batch)?;
        ensure!((1..=MAX_BATCH).contains(&batch), "`batch` is {batch}: one signature covers 1 to {MAX_BATCH} entries");
        let station = self.node.station();
        let begun = Instant::now();
        for first in (start..start + count).step_by(batch) {
            let numbers = first..(first + batch as u64).min(start + count);
            let records = numbers.map(|number| Entry::now(number).record()).collect::<Result<_>>()?;
            let receipts = station.submit(records).await?;
            self.places.extend((first..).zip(receipts.iter().map(|receipt| receipt.record_id)));
        }
        let elapsed = begun.elapsed();
        self.mine().await?;
        Ok(json!({ "s": elapsed.as_secs_f64() }))
    }

    /// Mines until nothing is pending.
    async fn mine(&self) -> Result<()> {
        while self.node.station().mine().await?.is_some() {}
        Ok(())
    }

    /// Connects, and syncs until `count` entries can be read here.
    async fn sync(&mut self, addr: &str, count: u64) -> Result<Value> {
        let start = Instant::now();
        let station = self.node.station();
        let mut events = station.events().subscribe();
        self.meet_again().await;
        let connected = station.peers().await?;
        let peer = station.dial(addr.to_owned()).await?.peer_id;
        // Connecting starts a sync by itself; what it leaves open is asked for.
        let mut is_under_way = connected.iter().all(|connected| connected.peer_id != peer);
        while self.count().await? < count {
            ensure!(start.elapsed() < PATIENCE, "only {} of {count} entries are here", self.count().await?);
            if is_under_way {
                let event = timeout(LOOK_AGAIN, events.recv()).await;
                let has_ended = |event: &Event| matches!(event, Event::Sync(report) if report.peer == peer);
                is_under_way = !matches!(event, Ok(Ok(numbered)) if has_ended(&numbered.event));
                continue;
            }
            let reports = station.sync(Some(peer.to_string())).await?;
            if let Some(fault) = reports.iter().find_map(|report| report.fault.as_ref()) {
                bail!("the peer {fault}");
            }
        }
        Ok(json!({ "s": start.elapsed().as_secs_f64() }))
    }

    /// Closes all connections, and opens none before the next command that needs one.
    async fn disconnect(&mut self) -> Result<Value> {
        for peer in self.node.station().peers().await? {
            self.node.part_from(peer.peer_id).await;
            self.parted.push(peer.peer_id);
        }
        Ok(json!({}))
    }

    async fn meet_again(&mut self) {
        for peer in self.parted.drain(..) {
            self.node.meet(peer).await;
        }
    }

    /// Waits for entries that the other appends: from then until each can be read here, in microseconds.
    async fn receive(&mut self, start: u64, count: u64) -> Result<Value> {
        self.meet_again().await;
        let station = self.node.station();
        let resumed = station.events().resume(0);
        let (mut missed, mut listener) = (resumed.missed, resumed.listener);
        let mut latencies: HashMap<u64, u64> = HashMap::new();
        while (latencies.len() as u64) < count {
            let numbered = match missed.pop_front() {
                Some(numbered) => numbered,
                None => timeout(PATIENCE, listener.recv()).await.context("no entry came")??,
            };
            let Event::Record { record_id } = numbered.event else { continue };
            let Some(found) = station.record(record_id).await? else { continue };
            let readable = entry::micros();
            let record =
                found.batch.batch.records().get(usize::from(found.index)).context("a record that was found")?;
            let Some(entry) = Entry::of(record) else { continue };
            self.places.insert(entry.number, record_id);
            if (start..start + count).contains(&entry.number) {
                latencies.entry(entry.number).or_insert(readable.saturating_sub(entry.micros));
            }
        }
        let in_order: Vec<u64> = (start..start + count).filter_map(|number| latencies.get(&number).copied()).collect();
        Ok(json!({ "lat": in_order }))
    }

    /// Appends entries one by one.
    async fn send(&mut self, start: u64, count: u64, gap_ms: u64) -> Result<Value> {
        self.meet_again().await;
        let station = self.node.station();
        for number in start..start + count {
            let receipts = station.submit(vec![Entry::now(number).record()?]).await?;
            self.places.extend(receipts.first().map(|receipt| (number, receipt.record_id)));
            tokio::time::sleep(Duration::from_millis(gap_ms)).await;
            if (number - start) % MINE_AFTER == MINE_AFTER - 1 {
                self.mine().await?;
            }
        }
        self.mine().await?;
        Ok(json!({}))
    }

    /// Reads entries at random among the first `count`: how long each took, in microseconds.
    async fn get(&mut self, reads: u64, count: u64) -> Result<Value> {
        ensure!(count > 0, "`count` is 0: there is nothing to read");
        self.find_places().await?;
        let station = self.node.station();
        let mut latencies = Vec::new();
        let mut draw = samples::Draw::new(count);
        for _ in 0..reads {
            let number = draw.below(count);
            let id = *self.places.get(&number).with_context(|| format!("entry {number} is not here"))?;
            let start = Instant::now();
            let found = station.record(id).await?;
            latencies.push(u64::try_from(start.elapsed().as_micros())?);
            ensure!(found.is_some(), "entry {number} cannot be read");
        }
        Ok(json!({ "lat": latencies }))
    }

    /// Looks through the blocks that came since the last time for entries, and where they stand.
    async fn find_places(&mut self) -> Result<()> {
        let mut blocks = self.node.station().blocks(self.seen, None).await?;
        while let Some(block) = blocks.next().await {
            let block = block?;
            for seen in &block.batches {
                for (index, record) in (0..).zip(seen.batch.records()) {
                    self.places.extend(Entry::of(record).map(|entry| (entry.number, seen.batch.record_id(index))));
                }
            }
            self.seen = block.sealed.header.index;
        }
        Ok(())
    }
}

/// The federation of all adapters: the same bytes wherever it is made, so that any two of them can talk.
fn federation() -> Result<Genesis> {
    let mut parameters = Parameters::new(Name::new("peer adapter")?, samples::key().station(), samples::at()?);
    parameters.difficulty = Difficulty::new(1).context("a difficulty in range")?;
    Ok(Genesis::mine(parameters)?)
}

/// A seed from 64 hex digits.
fn seed(digits: &str) -> Result<[u8; 32]> {
    let is_hex = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    ensure!(is_hex, "`key` is not 64 hex digits");
    let mut seed = [0; 32];
    for (at, byte) in seed.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16)?;
    }
    Ok(seed)
}

/// Resident memory of this process, in MB.
fn resident_mb() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS in /proc/self/status")?;
    let kib: f64 = line.trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1_024.0 / 1_000_000.0)
}
