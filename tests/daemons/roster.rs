//! Admission by roster on real daemons: by a founder's record, by an invitation, undone by most founders; and a stranger
//! who floods the stations with batches that nobody may publish.

use std::fs;
use std::time::{Duration, Instant};

use qfzz_ledger_core::codec::encode;
use qfzz_ledger_core::testing::{Author, interaction};
use qfzz_ledger_core::time::Timestamp;
use qfzz_node::invitations::Secret;
use qfzz_node::ticket::Ticket;
use qfzz_tests::harness::{
    Daemon, Ledgerless, Recipe, alone, beside_others, found_together, rules_of, station_seen_by, synced, wait_for,
    wait_for_one_head, wait_for_record,
};
use serde_json::{Value, json};

/// How long to wait where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two founders of one federation with a roster, connected; both mine only when asked.
fn founders() -> [Daemon; 2] {
    let others = vec![Recipe::new("second")];
    let (first, mut others) = found_together(Recipe::new("first"), others, "closed", &["--admission", "roster"]);
    [first, others.remove(0)]
}

#[track_caller]
fn wait_for_standing(daemons: &[&Daemon], station: &str, member: &str, expected: bool) {
    for daemon in daemons {
        wait_for(&format!("{}: {member} is {expected}", daemon.name()), PATIENCE, || {
            let seen = station_seen_by(daemon, station);
            if seen[member] == expected { Ok(()) } else { Err(seen.to_string()) }
        });
    }
}

fn action(user: &str) -> Value {
    json!({"kind": "user_action", "user_id": user, "action": "rating"})
}

fn actions_of(daemon: &Daemon, user: &str) -> Value {
    daemon.api().get(&format!("/v1/trust/users/{user}"))["evidence"].clone()
}

/// Mines one block, which reaches the others.
#[track_caller]
fn mine_for(miner: &Daemon, others: &[&Daemon]) {
    miner.api().mine().expect("something is pending");
    for other in others {
        wait_for_one_head(&[miner, other]);
    }
}

#[track_caller]
fn has_problem(daemon: &Daemon, code: &str) {
    wait_for(&format!("{} has the problem {code}", daemon.name()), PATIENCE, || {
        let problems = daemon.api().get("/v1/status")["problems"].clone();
        let found = problems.as_array().expect("an array").iter().any(|it| it["code"] == *code);
        if found { Ok(()) } else { Err(problems.to_string()) }
    });
}

#[test]
fn an_admitted_stations_records_count_everywhere_and_an_expelled_ones_nowhere() {
    let _turn = beside_others();
    let [first, second] = founders();
    let newcomer = Recipe::new("newcomer").join(&first.address());
    let (all, id) = ([&first, &second, &newcomer], newcomer.station());
    wait_for("the newcomer caught up", PATIENCE, || synced(&newcomer));
    has_problem(&newcomer, "not_admitted");
    let record = newcomer.api().record(&action("early"));
    wait_for_record(&[&newcomer], &record, "pending");
    let refused = newcomer.api().try_post("/v1/mine", &json!({})).expect("it answers");
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("not_admitted")), "{refused:?}");
    assert_eq!(actions_of(&newcomer, "early"), 0, "what others don't take does not count here either");

    let said = newcomer.qfzz(&["station", "admit", &id]).exits(1).stderr;
    assert!(said.contains("no founder") && said.contains("ask a founder"), "{said}");
    first.qfzz(&["station", "admit", &id, "--reason", "from Harbour"]).exits(0);
    mine_for(&first, &[&second, &newcomer]);
    wait_for_standing(&all, &id, "admitted", true);
    wait_for_standing(&all, &id, "vouched", false);
    wait_for_record(&[&first, &second], &record, "pending");
    assert_eq!(actions_of(&second, "early"), 1);
    mine_for(&newcomer, &[&first, &second]);
    wait_for_record(&all, &record, "confirmed");
    second.qfzz(&["station", "admit", &id]).exits(0);
    mine_for(&second, &[&first, &newcomer]);
    wait_for_standing(&all, &id, "vouched", true);
    let list = first.qfzz(&["station", "list"]).exits(0).stdout;
    assert!(list.contains("vouched") && list.matches("founder").count() == 2, "{list}");

    first.qfzz(&["station", "expel", &id, "--reason", "spam"]).exits(0);
    mine_for(&first, &[&second, &newcomer]);
    wait_for_standing(&all, &id, "admitted", true);
    second.qfzz(&["station", "expel", &id]).exits(0);
    mine_for(&second, &[&first, &newcomer]);
    wait_for_standing(&all, &id, "expelled", true);
    let answer = newcomer.api().post("/v1/records", &action("late"));
    assert_eq!((answer.status, &answer.json()["status"]), (201, &json!("refused")), "{answer:?}");
    let late = answer.json()["record_id"].as_str().expect("an id").to_owned();
    wait_for_record(&[&newcomer], &late, "refused");
    has_problem(&newcomer, "expelled");
    let shown = newcomer.qfzz(&["status"]).exits(0).stdout;
    assert!(shown.starts_with("PROBLEM") && shown.contains("expelled") && shown.contains("refused"), "{shown}");

    // What is written after it reaches everybody, so this would have, too.
    let after = first.api().record(&action("after"));
    mine_for(&first, &[&second, &newcomer]);
    wait_for_record(&all, &after, "confirmed");
    newcomer.api().post("/v1/sync", &json!({}));
    for daemon in [&first, &second] {
        daemon.api().post("/v1/sync", &json!({}));
        let answer = daemon.api().try_get(&format!("/v1/records/{late}")).expect("it answers");
        assert_eq!(answer.status, 404, "{answer:?}");
    }
    for daemon in all {
        assert_eq!(
            (actions_of(daemon, "late"), actions_of(daemon, "early")),
            (json!(0), json!(1)),
            "{}",
            daemon.name()
        );
    }

    // Two of two admit it again: what it had pending counts then.
    first.qfzz(&["station", "admit", &id]).exits(0);
    mine_for(&first, &[&second, &newcomer]);
    wait_for_standing(&all, &id, "admitted", false);
    second.qfzz(&["station", "admit", &id]).exits(0);
    mine_for(&second, &[&first, &newcomer]);
    wait_for_standing(&all, &id, "admitted", true);
    wait_for_record(&[&first, &second], &late, "pending");
}

#[test]
fn a_word_without_effect_is_refused_by_name() {
    let _turn = beside_others();
    let [first, second] = founders();
    let stranger = Author::new(&rules_of(&first), 77).station().to_string();
    for (arguments, code) in [
        (["station", "expel", &second.station()], "founder_stays"),
        (["station", "admit", &second.station()], "founder_stays"),
        (["station", "expel", &stranger], "not_admitted"),
    ] {
        let said = first.qfzz(&arguments).exits(1).stderr;
        assert!(said.contains(code), "{said}");
    }
    first.qfzz(&["station", "admit", "12D3KooW"]).exits(2);
    let open = Recipe::new("open").found("open", &[]);
    for arguments in [&["station", "admit", &stranger][..], &["ticket", "--invite"]] {
        let said = open.qfzz(arguments).exits(1).stderr;
        assert!(said.contains("admission_open") && said.contains("qfzz ticket"), "{said}");
    }
}

/// A founder that mines by itself, though only once in an hour.
fn founder() -> Daemon {
    let recipe = Recipe::new("founder").set("mining.enabled", "true").set("mining.interval", "1h");
    recipe.found("closed", &["--admission", "roster"])
}

fn invitation(founder: &Daemon, expires: &str) -> (String, Timestamp) {
    let made = founder.qfzz(&["--json", "ticket", "--invite", "--expires", expires]).exits(0).json();
    let ticket = made["ticket"].as_str().expect("a ticket").to_owned();
    (ticket, made["expires"].as_str().expect("a time").parse().expect("a time"))
}

/// Tries to join with a ticket in every way there is; each is refused for `reason`, and leaves nothing behind.
#[track_caller]
fn is_refused(ticket: &str, code: &str, reason: &str) {
    let init = Recipe::new("init").prepare();
    let said = init.qfzz(&["init", "--join", ticket, "--yes"]).exits(1).stderr;
    assert!(said.contains(reason) && said.contains("qfzz ticket --invite"), "{said}");
    assert!(!init.data_dir().join("key").exists() && !init.data_dir().join("qfzz.toml").exists());

    let mut run = Recipe::new("run").set("network.join", ticket).prepare();
    if let Ok(_answered) = run.try_start() {
        assert_eq!(run.wait_end(PATIENCE).0.code(), Some(1));
    }
    let said = run.said("stderr");
    assert!(said.contains(reason) && said.contains("qfzz ticket --invite"), "{said}");

    let mut other = Recipe::new("other").prepare();
    other.start();
    let said = other.qfzz(&["join", ticket]).exits(1).stderr;
    assert!(said.contains(reason) && said.contains(code), "{said}");
    assert_eq!(other.api().get("/v1/status")["peers"], 0);
}

#[test]
fn an_invitation_admits_one_newcomer_without_a_second_step() {
    let _turn = beside_others();
    let mut founder = founder();
    let (ticket, _) = invitation(&founder, "24h");
    let newcomer = Recipe::new("newcomer").join(&ticket);
    wait_for_standing(&[&founder, &newcomer], &newcomer.station(), "admitted", true);
    let record = newcomer.api().record(&action("invited"));
    wait_for_record(&[&founder], &record, "pending");
    newcomer.api().mine().expect("it may mine");
    wait_for_record(&[&founder, &newcomer], &record, "confirmed");
    let settings = fs::read_to_string(newcomer.data_dir().join("qfzz.toml")).expect("settings");
    assert!(!settings.contains("qfzz2"), "the secret is not kept once it was used: {settings}");

    // By `run` and by `join` as well, each with a ticket of its own.
    let (ticket, _) = invitation(&founder, "1h");
    let by_run = Recipe::new("by_run").run_joining(&ticket);
    wait_for_standing(&[&founder], &by_run.station(), "admitted", true);
    let by_join = Recipe::new("by_join").join(&founder.address());
    wait_for("it caught up", PATIENCE, || synced(&by_join));
    let (ticket, _) = invitation(&founder, "1h");
    by_join.qfzz(&["join", &ticket]).exits(0);
    wait_for_standing(&[&founder, &by_join], &by_join.station(), "admitted", true);
    by_join.qfzz(&["join", &ticket]).exits(0);

    is_refused(&ticket, "invitation_used", "used already");
    founder.kill();
    founder.start();
    is_refused(&ticket, "invitation_used", "used already");
}

#[test]
fn an_expired_or_forged_invitation_is_refused_by_name() {
    let _turn = beside_others();
    let founder = founder();
    let (ticket, expires) = invitation(&founder, "1s");
    let valid: Ticket = ticket.parse().expect("a ticket");
    let forged = valid.without_invitation().with_invitation(Secret::new([0x5a; 32]));
    is_refused(&forged.to_string(), "invitation_unknown", "knows no such invitation");
    wait_for("it has expired", PATIENCE, || {
        let now = qfzz_node::clock::now();
        if now > expires { Ok(()) } else { Err(format!("{now}")) }
    });
    is_refused(&ticket, "invitation_expired", "has expired");
    assert_eq!(founder.api().head().0, 0, "nobody was admitted");
    let said = founder.qfzz(&["ticket", "--invite", "--expires", "0s"]).exits(2).stderr;
    assert!(said.contains("too short"), "{said}");
    founder.qfzz(&["ticket", "--expires", "1h"]).exits(2);
}

/// Time that a process has spent on all cores.
fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let after_name = stat.rsplit(')').next().expect("a name in brackets");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("ticks")).sum();
    // Linux counts in hundredths of a second for programs.
    Duration::from_millis(ticks * 10)
}

#[test]
fn a_stranger_who_floods_batches_costs_little_and_is_cut_off() {
    /// How long it goes on, coming back whenever it is let.
    const FLOOD: Duration = Duration::from_secs(40);
    /// Between two tries to come back.
    const AGAIN_AFTER: Duration = Duration::from_millis(100);
    let _turn = alone();
    let nodes = founders();
    let rules = rules_of(&nodes[0]);
    let stranger = Ledgerless::start(&rules, 90);
    let id = stranger.station().to_string();
    let mut author = Author::new(&rules, 90);
    let now = qfzz_node::clock::now();
    let records = |n: u32| (0..250).map(|user| interaction(&format!("flood-{n}-{user}-{}", "x".repeat(110)))).collect();
    let flood: Vec<Vec<u8>> = (0..400).map(|n| encode(author.batch(now, records(n)).signed())).collect();
    assert!(flood.iter().all(|batch| batch.len() > 40_000 && batch.len() < 60_000), "{}", flood[0].len());

    let calm = measure(&nodes, Duration::from_secs(10), || {});
    let addresses = nodes.each_ref().map(Daemon::address);
    for address in &addresses {
        assert!(stranger.dial(address), "a stranger may connect");
    }
    let (mut sent, mut cut, mut dials, mut dialled) = (0_usize, None, 0_u32, Instant::now());
    let begun = Instant::now();
    let besieged = measure(&nodes, FLOOD, || {
        if stranger.is_connected() {
            // What is too much for its own network is left out: that is a flood, too.
            let _ = stranger.publish(flood[sent % flood.len()].clone());
            sent += 1;
        } else {
            cut.get_or_insert(begun.elapsed());
            // It comes back, again and again, to whoever lets it.
            if dialled.elapsed() >= AGAIN_AFTER {
                dialled = Instant::now();
                dials += 1;
                let _ = addresses.iter().any(|address| stranger.dial(address));
            }
        }
    });
    let share = |cpu: Duration, of: Duration| cpu.as_secs_f64() / of.as_secs_f64() * 100.0;
    for (at, node) in nodes.iter().enumerate() {
        let (before, under) = (share(calm[at], Duration::from_secs(10)), share(besieged[at], FLOOD));
        println!("{}: {before:.2} % of a core before, {under:.2} % during the flood; {dials} dials", node.name());
        assert!(under - before < 1.0, "{}: {before:.2} % of a core before, {under:.2} % during", node.name());
        let status = node.api().get("/v1/status");
        let banned = status["banned"].as_array().expect("an array").iter().find(|ban| ban["peer_id"] == *id);
        let reason = banned.unwrap_or_else(|| panic!("it is kept away: {status}"))["reason"].clone();
        assert!(reason.as_str().is_some_and(|reason| reason.contains("not admitted")), "{reason}");
        assert_eq!(status["pending_records"], 0, "{status}");
    }
    let cut = cut.expect("its connections were cut");
    println!("cut after {cut:.1?}; {sent} batches sent, {dials} times called again");
    assert!(cut < Duration::from_secs(10), "{cut:?}");
}

/// What each daemon spends while `work` is done again and again for so long.
fn measure(nodes: &[Daemon; 2], time: Duration, mut work: impl FnMut()) -> [Duration; 2] {
    let before = nodes.each_ref().map(|node| cpu_of(node.pid()));
    let end = Instant::now() + time;
    while Instant::now() < end {
        work();
        std::thread::sleep(Duration::from_millis(1));
    }
    let after = nodes.each_ref().map(|node| cpu_of(node.pid()));
    std::array::from_fn(|at| after[at].saturating_sub(before[at]))
}
