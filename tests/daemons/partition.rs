//! Two halves of a federation that cannot reach each other, mine apart, and meet again.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use qfzz_ledger_core::ids::{BlockHash, FederationId, StationId};
use qfzz_tests::harness::{Daemon, Network, Recipe, alone, beside_others, wait_for};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// How long the halves may take to find each other again and agree.
///
/// Open connections were cut in silence: until the retransmission after the next the kernels wait up to twice as long as
/// the cut took.
const HEAL_LIMIT: Duration = Duration::from_secs(90);

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two sides of two stations each, and what they acknowledged.
struct Halves {
    stations: [[Daemon; 2]; 2],
    /// Author (side, number) of every acknowledged id.
    acknowledged: BTreeMap<String, (usize, usize)>,
    // Dropped last: the stations live in it.
    network: Network,
}

impl Halves {
    /// All four joined through the first, and agree on one block.
    fn new(federation: &str) -> Self {
        let network = Network::new([2, 2]);
        let recipe = |side: usize, number: usize| {
            Recipe::new(&format!("side-{side}-{number}")).set("sync.interval", "1s").inside(&network.side(side)[number])
        };
        let first = recipe(0, 0).found(federation, &[]);
        let address = first.address();
        let stations =
            [[first, recipe(0, 1).join(&address)], [recipe(1, 0).join(&address), recipe(1, 1).join(&address)]];
        let mut halves = Self { stations, acknowledged: BTreeMap::new(), network };
        halves.await_peers();
        // A common beginning in which all took part.
        for side in 0..2 {
            for number in 0..2 {
                halves.record(side, number);
            }
        }
        halves.await_pending(4);
        halves.mine(0, 0);
        halves.await_one_head(PATIENCE);
        halves
    }

    fn all(&self) -> impl Iterator<Item = &Daemon> {
        self.stations.iter().flatten()
    }

    /// Every station of a side sees the other one of its own side: what keeps a half together when it is cut off.
    fn await_peers(&self) {
        for pair in &self.stations {
            let ids: Vec<String> = pair.iter().map(Daemon::station).collect();
            for (station, other) in [(&pair[0], &ids[1]), (&pair[1], &ids[0])] {
                wait_for(&format!("{} knows its neighbour", station.name()), PATIENCE, || {
                    let peers = station.api().get("/v1/peers").to_string();
                    if peers.contains(other.as_str()) { Ok(()) } else { Err(peers) }
                });
            }
        }
    }

    fn await_pending(&self, count: u64) {
        for station in self.all() {
            wait_for(&format!("{count} records are pending at {}", station.name()), PATIENCE, || {
                let pending = station.api().get("/v1/chain")["pending_records"].clone();
                if pending == count { Ok(()) } else { Err(pending.to_string()) }
            });
        }
    }

    /// One record at that station.
    fn record(&mut self, side: usize, number: usize) {
        let user = format!("user_{side}_{number}");
        let record = json!({ "kind": "user_action", "user_id": user, "action": "interaction", "trust_delta": 0.01 });
        let id = self.stations[side][number].api().record(&record);
        self.acknowledged.insert(id, (side, number));
    }

    /// One block of what is pending at that station; its hash.
    fn mine(&self, side: usize, number: usize) -> String {
        let block = self.stations[side][number].api().mine().expect("a record is pending");
        block["hash"].as_str().expect("a block has a hash").to_owned()
    }

    /// `count` blocks with a record each on one side, of both its stations by turns; the side's head.
    fn mine_apart(&mut self, side: usize, count: u64) -> (u64, String) {
        for block in 0..count {
            let number = usize::from(block % 2 == 1);
            self.record(side, number);
            self.mine(side, number);
            let head = self.stations[side][number].api().head();
            // By turns, so the other one needs it before it goes on.
            let other = &self.stations[side][1 - number];
            wait_for(&format!("{} has the block of its neighbour", other.name()), PATIENCE, || {
                let theirs = other.api().head();
                if theirs == head { Ok(()) } else { Err(format!("{theirs:?} instead of {head:?}")) }
            });
        }
        self.stations[side][0].api().head()
    }

    /// Waits until all four have one head; which, and after which time.
    fn await_one_head(&self, deadline: Duration) -> ((u64, String), Duration) {
        wait_for("all stations have one head", deadline, || {
            let heads: Vec<_> = self.all().map(|station| station.api().head()).collect();
            if heads.iter().all(|head| *head == heads[0]) { Ok(heads[0].clone()) } else { Err(format!("{heads:?}")) }
        })
    }

    /// Every acknowledged id is confirmed or pending at its author; then all are confirmed everywhere, exactly once.
    fn nothing_is_lost(&self) {
        for (id, (side, number)) in &self.acknowledged {
            let record = self.stations[*side][*number].api().get(&format!("/v1/records/{id}"));
            assert!(matches!(record["status"].as_str(), Some("pending" | "confirmed")), "{record}");
        }
        // What was reverted is offered again, so a station of the winning side gets to mine it.
        let producer = self.stations[1][0].api();
        wait_for("all that was reverted is on the chain again", PATIENCE, || {
            producer.mine();
            let on_chain = producer.get("/v1/chain")["total_records"].clone();
            if on_chain == self.acknowledged.len() as u64 { Ok(()) } else { Err(on_chain.to_string()) }
        });
        self.await_one_head(PATIENCE);
        let blocks: Vec<Value> = self.stations[0][1].api().blocks(0);
        let mut ids: Vec<&str> = blocks
            .iter()
            .flat_map(|block| block["records"].as_array().expect("a block has records"))
            .map(|record| record["record_id"].as_str().expect("a record has an id"))
            .collect();
        ids.sort_unstable();
        let acknowledged: Vec<&str> = self.acknowledged.keys().map(String::as_str).collect();
        assert_eq!(ids, acknowledged, "each acknowledged id is on the chain exactly once");
        for user in ["user_0_0", "user_0_1", "user_1_0", "user_1_1"] {
            let path = format!("/v1/trust/users/{user}");
            let answers: Vec<Value> = self.all().map(|station| station.api().get(&path)).collect();
            assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
        }
    }
}

#[test]
fn after_more_than_a_hundred_blocks_apart_the_branch_of_more_work_wins_everywhere() {
    let _turn = alone();
    let mut halves = Halves::new("long partition");
    halves.network.cut();
    let cut = Instant::now();
    let shorter = halves.mine_apart(0, 105);
    let longer = halves.mine_apart(1, 110);
    assert_ne!(shorter.1, longer.1);
    let apart = cut.elapsed();
    halves.network.heal();
    let (head, healed) = halves.await_one_head(HEAL_LIMIT);
    assert_eq!(head, longer, "the branch of more work");
    println!("apart for {apart:?} with 105 and 110 blocks, one head {healed:?} after the cable was back");
    halves.nothing_is_lost();
}

#[test]
fn equal_work_is_settled_by_rank_the_same_everywhere() {
    let _turn = alone();
    let mut halves = Halves::new("equal work");
    let federation = halves.stations[0][0].api().get("/v1/status")["federation_id"].clone();
    let federation: FederationId =
        federation.as_str().and_then(|id| id.parse().ok()).expect("a federation id is 64 hex digits");
    for trial in 1..=3 {
        halves.network.cut();
        let tips = [halves.mine_apart(0, 2), halves.mine_apart(1, 2)];
        assert_eq!(tips[0].0, tips[1].0, "equal work");
        let blocks: Vec<Value> = (0..2)
            .map(|side| halves.stations[side][0].api().get(&format!("/v1/chain/blocks/{}", tips[side].1)))
            .collect();
        let winner = usize::from(rank(&federation, &blocks[1]) < rank(&federation, &blocks[0]));
        halves.network.heal();
        let (head, healed) = halves.await_one_head(HEAL_LIMIT);
        assert_eq!(head, tips[winner], "the tip of lower rank");
        println!("trial {trial}: side {winner} won, one head {healed:?} after the cable was back");
        halves.nothing_is_lost();
        halves.await_peers();
    }
}

/// The protocol's tie-break, `H(qfzz/rank/1, previous | producer)`, computed anew.
fn rank(federation: &FederationId, block: &Value) -> [u8; 32] {
    let text = |key: &str| block[key].as_str().unwrap_or_else(|| panic!("{key} is a text: {block}"));
    let previous: BlockHash = text("previous_hash").parse().expect("a hash is 64 hex digits");
    let producer: StationId = text("producer").parse().expect("a producer is a peer id");
    let context = Sha256::new().chain_update(b"qfzz/rank/1").chain_update(federation.as_bytes()).finalize();
    let hash = Sha256::new().chain_update(context).chain_update(context);
    hash.chain_update(previous.as_bytes()).chain_update(producer.as_bytes()).finalize().into()
}

#[test]
fn while_the_cable_is_out_no_packet_passes() {
    let _turn = beside_others();
    let network = Network::new([1, 1]);
    let [here, there] = [&network.side(0)[0], &network.side(1)[0]];
    let listener =
        here.enter(|| TcpListener::bind((here.address(), 4811)).expect("an own namespace has this port free"));
    let address = listener.local_addr().expect("it is bound");
    let connect = || there.enter(|| TcpStream::connect_timeout(&address, Duration::from_millis(300)));
    connect().expect("the cable is in");
    network.cut();
    connect().expect_err("the cable is out");
    network.heal();
    wait_for("the cable is in again", PATIENCE, || connect().map(drop).map_err(|error| error.to_string()));
}
