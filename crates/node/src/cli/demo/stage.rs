//! Where the demo plays: stations in a temporary directory, each asked through its HTTP API.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use qfzz_ledger_core::federation::{Genesis, Parameters, SignatureScheme};
use qfzz_ledger_core::ids::{Name, StationId};
use serde_json::Value;
use tempfile::TempDir;

use super::super::client::Client;
use super::super::failure::Failure;
use super::super::init::sign_with;
use super::super::output::{items, show};
use crate::clock;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::identity::Identity;
use crate::node::Node;
use crate::ticket::JoinTarget;

/// What the demo's federation calls itself.
pub(super) const FEDERATION: &str = "QFZZ demo";

/// How often to look again while the stations come to an agreement.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The directory of the stations' data.
pub(super) struct Stage {
    path: PathBuf,
    /// Removes the directory at the end, unless it is to be kept or is the operator's own.
    _temporary: Option<TempDir>,
}

impl Stage {
    /// A new directory: inside `parent`, or a temporary one; removed at the end unless `keep`.
    pub(super) fn new(parent: Option<&PathBuf>, keep: bool) -> Result<Self, Failure> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("qfzz-demo-");
        let made = match parent {
            Some(parent) => std::fs::create_dir_all(parent).and_then(|()| builder.tempdir_in(parent)),
            None => builder.tempdir(),
        };
        let directory = made.map_err(Failure::Runtime)?;
        if keep {
            return Ok(Self { path: directory.keep(), _temporary: None });
        }
        Ok(Self { path: directory.path().to_owned(), _temporary: Some(directory) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Station `number`, founder of the federation.
    pub(super) async fn found(&self, number: u8, scheme: SignatureScheme) -> Result<Actor, Failure> {
        let (dir, identity) = self.station(number)?;
        let federation = Name::new(FEDERATION).expect("a valid name");
        let mut parameters = Parameters::new(federation, identity.station_id(), clock::now());
        sign_with(&mut parameters, scheme, &identity);
        let genesis = Genesis::mine(parameters).expect("the default parameters are valid");
        dir.write_genesis(&genesis.encode())?;
        Actor::start(number, dir, identity, Vec::new()).await
    }

    /// Station `number`, which joins by the bare address of `other`.
    pub(super) async fn join(&self, number: u8, other: &Actor) -> Result<Actor, Failure> {
        let (dir, identity) = self.station(number)?;
        let address = other.bare_address().await?;
        Actor::start(number, dir, identity, vec![JoinTarget::Address(address)]).await
    }

    fn station(&self, number: u8) -> Result<(DataDir, Identity), Failure> {
        let dir = DataDir::new(self.path.join(format!("station-{number}")));
        dir.create()?;
        let identity = Identity::generate()?;
        identity.store(&dir)?;
        Ok((dir, identity))
    }
}

/// A running station.
pub(super) struct Actor {
    node: Node,
    client: Client,
    acknowledged: AtomicU64,
}

impl Actor {
    async fn start(number: u8, dir: DataDir, identity: Identity, join: Vec<JoinTarget>) -> Result<Self, Failure> {
        let mut config = Config::default();
        config.station.name = Name::new(format!("Station {number}")).expect("a valid name");
        config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddress")];
        config.network.join = join;
        config.api.listen = "127.0.0.1:0".parse().expect("an address");
        // The story says when a block is mined.
        config.mining.enabled = false;
        // One helper process for each station would be many.
        config.quantum.enabled = false;
        let place = dir.clone();
        let node = Node::start(config, dir.lock()?, identity).await?;
        let client = Client::new(place, Some(&node.api_address().to_string()), false)?;
        Ok(Self { node, client, acknowledged: AtomicU64::new(0) })
    }

    async fn bare_address(&self) -> Result<libp2p::Multiaddr, Failure> {
        let address = self.node.addresses().await.into_iter().next();
        let mut address = address.ok_or(Failure::Demo { what: "a station listens nowhere".to_owned() })?;
        address.pop();
        Ok(address)
    }

    fn id(&self) -> StationId {
        self.node.station_id()
    }

    /// Records that this station has acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, Failure> {
        self.client.get(path, &[]).await
    }

    pub(super) async fn ask(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        self.client.get(path, query).await
    }

    pub(super) async fn record(&self, records: Vec<Value>) -> Result<(), Failure> {
        for record in records {
            self.client.post(&["v1", "records"], Some(&record)).await?;
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(super) async fn mine(&self) -> Result<(), Failure> {
        let mined = self.client.post(&["v1", "mine"], None).await?;
        mined.map(drop).ok_or_else(|| Failure::Demo { what: "nothing was pending to be mined".to_owned() })
    }

    /// Closes the connections to `other` and refuses new ones.
    pub(super) async fn part_from(&self, other: &Self) {
        self.node.part_from(other.id()).await;
    }

    /// Lets `other` connect again.
    pub(super) async fn meet(&self, other: &Self) {
        self.node.meet(other.id()).await;
    }

    pub(super) async fn leave(self) {
        self.node.stop().await;
    }
}

/// Waits until `holds` says so for the stations' statuses.
async fn await_all(
    actors: &[&Actor],
    patience: Duration,
    what: &str,
    holds: impl Fn(&[Value]) -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + patience;
    loop {
        let mut statuses = Vec::with_capacity(actors.len());
        for actor in actors {
            statuses.push(actor.get(&["v1", "status"]).await?);
        }
        if holds(&statuses) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::Demo { what: format!("after {} s {what}", patience.as_secs()) });
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Waits until every station is connected to every other.
pub(super) async fn await_peers(actors: &[Actor], patience: Duration) -> Result<(), Failure> {
    let others = actors.len() as u64 - 1;
    let all: Vec<&Actor> = actors.iter().collect();
    let connected = |statuses: &[Value]| statuses.iter().all(|it| it["peers"].as_u64() >= Some(others));
    await_all(&all, patience, "not all stations are connected", connected).await
}

/// Waits until a station is connected to nobody.
pub(super) async fn await_no_peer(actor: &Actor, patience: Duration) -> Result<(), Failure> {
    let alone = |statuses: &[Value]| statuses[0]["peers"].as_u64() == Some(0);
    await_all(&[actor], patience, "the station is still connected", alone).await
}

/// Waits until all stations have the same head and the same number of pending records.
pub(super) async fn await_agreement(actors: &[Actor], patience: Duration) -> Result<(), Failure> {
    let all: Vec<&Actor> = actors.iter().collect();
    // One alone says that it is: that is no trouble of the demo's.
    let is_alone = all.len() == 1;
    let agree = |statuses: &[Value]| {
        statuses
            .iter()
            .all(|it| it["head"] == statuses[0]["head"] && it["pending_records"] == statuses[0]["pending_records"])
            && (is_alone || items(&statuses[0]["problems"]).is_empty())
            && show(&statuses[0], "head.hash") != "-"
    };
    await_all(&all, patience, "the stations do not agree on a head", agree).await
}
