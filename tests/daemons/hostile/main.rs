//! A real daemon under attack over real sockets: malformed and oversized frames of every kind, floods of what is valid by
//! itself, wrong and slow answers, half-open connections, idle listeners. Meanwhile it serves an honest station.
//!
//! All run on one machine, and attackers elsewhere would take no time from it. So their thread runs only when nobody else
//! wants to, and the same attack goes to a bystander, too, whom the honest stations do not know: what they notice of that is
//! the machine's doing.

mod attacks;
mod forge;
mod honest;
mod stranger;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use attacks::{Attack, FRAMES};
use forge::Federation;
use honest::{Exchange, Memory, Took, p99, share};
use qfzz_ledger_core::federation::{Genesis, Rules};
use qfzz_ledger_core::time::Timestamp;
use qfzz_tests::harness::{Appends, Daemon, Recipe, alone, wait_for};
use stranger::Sources;

/// How long the honest stations are watched before the attack: a p99 wants some hundreds of records.
const CALM: Duration = Duration::from_secs(15);

/// Below this a p99 says more about the machine, its clock and who else runs than about the node: it counts as this.
const FLOOR: Duration = Duration::from_millis(10);

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
    println!("on a bystander:");
    let bystander = Recipe::new("bystander").found("elsewhere", &[]);
    exchange.taken();
    attackers(&bystander, exchange.took(), async |attack| {
        attack.with_all_kinds().await;
        attack.with_floods().await;
    });
    let beside = exchange.taken();
    drop(bystander);
    println!("on one of the two:");
    let idle = idle_listeners(&node);
    let memory = Memory::watch(node.pid());
    let appends = Appends::start();
    exchange.taken();
    let frames = attackers(&node, exchange.took(), async |attack| {
        let frames = attack.with_all_kinds().await;
        attack.with_floods().await;
        frames
    });
    let flooded = exchange.taken();
    besiege(&node, exchange.took());

    let grown = memory.growth();
    let besieged = exchange.stop();
    let disk = appends.p99();
    assert!(frames >= 20 * FRAMES, "only {frames} frames");
    let seen = [
        ("calm", &before),
        ("attack on a bystander", &beside),
        ("frames and floods", &flooded),
        ("wrong, slow and half-open", &besieged),
    ];
    for (when, took) in seen {
        let (half, most, longest) = (share(took, 50), p99(took), share(took, 100));
        println!("{when}: {} records seen by the other, p50 {half:.1?}, p99 {most:.1?}, max {longest:.1?}", took.len());
    }
    let (calm, besieged) = (p99(&before).max(p99(&beside)), p99(&flooded).max(p99(&besieged)));
    println!("an append to the disk during the last two: p99 {disk:.1?}");
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
    let limit = (2 * calm.max(FLOOR)).max(Appends::FACTOR * disk);
    assert!(besieged <= limit, "p99 {besieged:?} under attack, {calm:?} else; {disk:?} of an append to the disk");
    assert!(grown < MAX_GROWTH, "resident memory grew by {grown} bytes");
}

/// Attacks a node from a thread that stands back.
fn attackers<T: Send>(node: &Daemon, took: Took, attacks: impl AsyncFnOnce(&Attack) -> T + Send) -> T {
    let attack = attack_on(node, took);
    let run = move || {
        // Without it what is measured would be worse, not better.
        let thread = rustix::thread::gettid().as_raw_nonzero().to_string();
        let _ = Command::new("chrt").args(["--idle", "--pid", "0", &thread]).status();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(attacks(&attack))
    };
    thread::scope(|scope| {
        let attackers = scope.spawn(run);
        attackers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn attack_on(node: &Daemon, took: Took) -> Attack {
    let genesis = fs::read(node.data_dir().join("genesis")).expect("a member has one");
    let rules = Rules::new(Genesis::decode(&genesis).expect("its own")).expect("its own");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let now = Timestamp::from_millis(now as i64).expect("before the year 10000");
    let to = socket_of(&node.address());
    Attack { to, federation: Federation::new(rules, now), sources: Sources::default(), took }
}

/// Answers wrongly and slowly, and holds connections half open until a newcomer has joined in spite of them.
fn besiege(node: &Daemon, took: Took) {
    let (standing, stand) = mpsc::channel();
    let (enough, is_enough) = tokio::sync::watch::channel(false);
    thread::scope(|scope| {
        let besiegers = scope.spawn(|| {
            attackers(node, took, async |attack| {
                attack.with_wrong_answers().await;
                attack.with_one_byte_a_second().await;
                let (opened, longest) = attack.with_half_open_connections(HALF_OPEN, is_enough, standing).await;
                println!("  half-open: {HALF_OPEN} at a time, {opened} in all, each cut after {longest:.1?} at most");
            });
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
        besiegers.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
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
