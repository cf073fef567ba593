//! A real daemon under attack over real sockets: malformed and oversized frames of every kind, floods of what is valid by
//! itself, wrong and slow answers, half-open connections, idle listeners. Meanwhile it serves an honest station.
//!
//! All run on one machine. The attackers' thread has the lowest priority, so that what is measured is what the node does
//! for them, not what they do themselves.

mod attacks;
mod forge;
mod honest;
mod stranger;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use attacks::{Attack, FRAMES};
use forge::Federation;
use honest::{Exchange, Memory, Took, p99};
use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::time::Timestamp;
use qfzz_tests::harness::{Daemon, Recipe, alone, wait_for};
use stranger::Sources;

/// How long the honest stations are watched before the attack.
const CALM: Duration = Duration::from_secs(8);

/// Below this a p99 says more about the machine, its clock and who else runs than about the node: it counts as this.
const FLOOR: Duration = Duration::from_millis(50);

/// What the attack may add to the node's resident memory, in bytes.
const MAX_GROWTH: u64 = 64 * 1024 * 1024;

/// Half-open connections at a time.
const HALF_OPEN: u32 = 500;

/// Within which a newcomer joins in spite of them; unhindered it takes about a second.
const JOIN_LIMIT: Duration = Duration::from_secs(10);

#[test]
fn a_daemon_stands_up_to_hostile_peers() {
    let _turn = alone();
    // It mines now and then: of what nobody mines, others keep only so much.
    let mining = Recipe::new("attacked").set("mining.enabled", "true").set("mining.records", "200");
    let node = mining.found("besieged", &[]);
    let friend = Recipe::new("friend").join(&node.address());
    wait_for("both are connected and synced", JOIN_LIMIT, || {
        let status = friend.api().get("/v1/status");
        if status["peers"] == 1 && status["synced"] == true { Ok(()) } else { Err(status.to_string()) }
    });
    let begun = Instant::now();
    let exchange = Exchange::start([node.api(), friend.api()]);
    thread::sleep(CALM);
    let before = exchange.taken();
    let idle = idle_listeners(&node);
    let memory = Memory::watch(node.pid());

    let frames = attack(&node, exchange.took());

    let grown = memory.growth();
    let under = exchange.stop();
    assert!(frames >= 20 * FRAMES, "only {frames} frames");
    let (calm, besieged) = (p99(&before), p99(&under));
    println!(
        "records seen by the other: {} before, p99 {calm:.1?}; {} under attack, p99 {besieged:.1?}",
        before.len(),
        under.len()
    );
    println!(
        "resident memory: {:.1} MiB, at most {:.1} MiB more",
        memory.before() as f64 / 1048576.0,
        grown as f64 / 1048576.0
    );
    println!("{frames} malformed frames and the rest in {:.1?}", begun.elapsed());
    drop(idle);

    let status = node.api().get("/v1/status");
    assert_eq!(status["peers"], 1, "the honest one is still there, and nobody else: {status}");
    let banned = status["banned"].as_array().expect("an array");
    assert!(!banned.is_empty() && banned.iter().all(|ban| ban["reason"].is_string() && ban["until"].is_string()));
    let friends = [friend.station()];
    assert!(banned.iter().all(|ban| friends.iter().all(|friend| ban["peer_id"] != **friend)), "{status}");
    assert!(!node.said("stderr").contains("panicked"));
    assert!(besieged <= 2 * calm.max(FLOOR), "p99 {besieged:?} under attack, {calm:?} before");
    assert!(grown < MAX_GROWTH, "resident memory grew by {grown} bytes");
}

/// Runs all attacks; returns how many malformed frames were sent.
fn attack(node: &Daemon, took: Took) -> u32 {
    let genesis = fs::read(node.data_dir().join("genesis")).expect("a member has one");
    let rules = Rules::new(Genesis::decode(&genesis).expect("its own")).expect("its own");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let now = Timestamp::from_millis(now as i64).expect("before the year 10000");
    let to = socket_of(&node.address());
    let attack = Attack { to, federation: Federation::new(rules, now), sources: Sources::default(), took };
    let (standing, stand) = mpsc::channel();
    let (enough, is_enough) = tokio::sync::watch::channel(false);
    thread::scope(|scope| {
        let attackers = scope.spawn(|| {
            // Without it what is measured would be worse, not better.
            let _ = rustix::process::setpriority_process(None, 19);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let frames = attack.with_all_kinds().await;
                attack.with_floods().await;
                attack.with_wrong_answers().await;
                attack.with_one_byte_a_second().await;
                let (opened, longest) = attack.with_half_open_connections(HALF_OPEN, is_enough, standing).await;
                println!("  half-open: {HALF_OPEN} at a time, {opened} in all, each cut after {longest:.1?} at most");
                frames
            })
        });
        // An error means that the attackers have failed, which shows when they are joined.
        if stand.recv().is_ok() {
            let started = Instant::now();
            let newcomer = Recipe::new("newcomer").join(&node.address());
            wait_for("a newcomer joins and syncs", JOIN_LIMIT, || {
                let status = newcomer.api().get("/v1/status");
                if status["synced"] == true { Ok(()) } else { Err(status.to_string()) }
            });
            println!("  a newcomer joined beside them within {:.1?}", started.elapsed());
            drop(newcomer);
        }
        enough.send_replace(true);
        attackers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The TCP address in `/ip4/A/tcp/N`.
fn socket_of(address: &str) -> SocketAddr {
    let mut parts = address.split('/').skip(2);
    let (ip, port) = (parts.next().expect("an IP address"), parts.nth(1).expect("a port"));
    SocketAddr::new(ip.parse().expect("an IP address"), port.parse().expect("a port"))
}

/// Opens 64 streams of events, of which one is the test's own, that replay all and are never read.
fn idle_listeners(node: &Daemon) -> Vec<TcpStream> {
    let address = node.api().url().trim_start_matches("http://").to_owned();
    let open = |_| {
        let mut socket = TcpStream::connect(&address).expect("the API listens");
        let request = format!("GET /v1/events HTTP/1.1\r\nHost: {address}\r\nLast-Event-ID: 0\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("it reads");
        let mut status = [0; 12];
        socket.read_exact(&mut status).expect("it answers");
        assert_eq!(&status, b"HTTP/1.1 200");
        socket
    };
    (0..63).map(open).collect()
}
