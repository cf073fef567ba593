use std::pin::pin;

use futures::poll;
use qfzz_ledger_core::ids::Height;
use qfzz_ledger_core::ledger::Ledger;
use qfzz_ledger_core::testing::{Author, at, interaction, own_log, rules, station};
use qfzz_sync::alive::Run;
use tokio::time::timeout;

use super::*;
use crate::events::Events;
use crate::service::state::{Hold, MiningConfig, StateConfig, SyncConfig};
use crate::store::LedgerStore;

const SOON: Duration = Duration::from_secs(10);

/// The service of test station 1, which has nothing, on a store in `dir`. It hears from the second value alone how far
/// its writer is.
fn service(dir: &std::path::Path) -> (Service, watch::Sender<Progress>) {
    let rules = rules();
    let (store, _) = DiskStore::open(dir, Arc::clone(&rules), station(1)).expect("a new store");
    let (own, now) = (own_log(&rules, 1), clock::now());
    let ledger = Ledger::open(rules, store.reader(), own, [], [], Vec::new(), now).expect("an empty store");
    let config = StateConfig {
        mining: MiningConfig { enabled: false, interval_ms: 1_000, records: 100, slot_ms: 0 },
        sync: SyncConfig { interval_ms: 30_000 },
        hold: Hold::No,
        run: Run { started_at: now, id: [1; 8], place: [1; 8] },
    };
    let observers = Observers { events: Events::new(16), metrics: Arc::default() };
    let (writer, _) = Writer::start(store, Arc::clone(&observers.metrics)).expect("threads");
    let (tell, heard) = watch::channel(Progress::default());
    let (on_log_known, disk) = (Box::new(|| ()), Watch::new(dir.to_owned()));
    (start_on((writer, heard), State::new(ledger, config), observers, on_log_known, disk, None), tell)
}

fn height(state: &State<StoreReader>) -> Height {
    state.ledger().chain().height()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_goes_on_when_its_block_is_on_disk_and_who_reads_the_store_when_every_reader_sees_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (Service { handle, .. }, writer) = service(dir.path());
    let (rules, mut author) = (rules(), Author::new(&rules(), 2));
    let batch = author.batch(at(0), vec![interaction("u")]);
    let block = author.block((Height::ZERO, rules.genesis_hash()), 0, at(1), vec![batch]);

    // Given a block that was handed over, and a question about what it changed.
    let (mut taken, mut asked) = (pin!(handle.take_blocks(vec![block])), pin!(handle.query(height)));
    assert!(poll!(&mut taken).is_pending() && poll!(&mut asked).is_pending());

    // When it is on disk, the sync hears of it, and may ask for more.
    writer.send_replace(Progress { synced: 1, ..Progress::default() });
    let (taken, outcome) = timeout(SOON, taken).await.expect("a block on disk is taken");
    assert_eq!((taken.count, taken.records, outcome), (1, 1, Ok(())));
    let looked = timeout(SOON, handle.look(height)).await.expect("what is on disk is told of");
    assert_eq!(looked, Ok(Height::new(1)));
    assert!(poll!(&mut asked).is_pending(), "no reader sees it yet");

    // When every reader sees it, so does who asked.
    writer.send_replace(Progress { synced: 1, committed: 1, failure: None });
    let answer = timeout(SOON, asked).await.expect("what is seen is told of");
    assert_eq!(answer, Ok(Height::new(1)));
    handle.stop().await;
}
