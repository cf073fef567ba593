//! What several daemons come to agree on.

use std::time::Duration;

use serde_json::Value;

use super::{Daemon, Recipe, wait_for};

/// How long agreement may take where no limit is promised.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until all have one head.
///
/// # Panics
/// After half a minute, with the heads.
#[track_caller]
pub fn wait_for_one_head(daemons: &[&Daemon]) {
    wait_for("all have one head", PATIENCE, || {
        let heads: Vec<_> = daemons.iter().map(|daemon| daemon.api().head()).collect();
        if heads.iter().all(|head| *head == heads[0]) { Ok(()) } else { Err(format!("{heads:?}")) }
    });
}

/// Waits until each shows a record with this status.
///
/// # Panics
/// After half a minute each, with the last answer.
#[track_caller]
pub fn wait_for_record(daemons: &[&Daemon], id: &str, status: &str) {
    for daemon in daemons {
        wait_for(&format!("{} shows {id} as {status}", daemon.name()), PATIENCE, || {
            let answer = daemon.api().try_get(&format!("/v1/records/{id}")).map_err(|error| error.to_string())?;
            if answer.status == 200 && answer.json()["status"] == *status { Ok(()) } else { Err(format!("{answer:?}")) }
        });
    }
}

/// What a daemon says of a station; `null` where it knows none.
#[must_use]
pub fn station_seen_by(daemon: &Daemon, station: &str) -> Value {
    let stations = daemon.api().get("/v1/stations");
    let found = stations.as_array().expect("an array").iter().find(|it| it["station_id"] == *station);
    found.cloned().unwrap_or_default()
}

/// Whether a daemon has a peer and has caught up.
///
/// # Errors
/// Its status, where not.
pub fn synced(daemon: &Daemon) -> Result<(), String> {
    let status = daemon.api().get("/v1/status");
    if status["synced"] == true && status["peers"] != 0 { Ok(()) } else { Err(status.to_string()) }
}

/// Founds a federation (with `more` flags) together with `others`; the first founder, and the others in their order, all
/// connected.
///
/// # Panics
/// If one of them does not start, or catch up within half a minute.
pub fn found_together(first: Recipe, others: Vec<Recipe>, federation: &str, more: &[&str]) -> (Daemon, Vec<Daemon>) {
    let mut others: Vec<Daemon> = others.into_iter().map(Recipe::prepare).collect();
    let is_hybrid = more.contains(&"hybrid");
    // They have to exist before the genesis that names them.
    let init = |daemon: &Daemon| {
        let flags = ["--json", "init", "--name", daemon.name(), "--join", "/ip4/127.0.0.1/tcp/9", "--yes"];
        let made = daemon.qfzz(&flags).exits(0).json();
        let [id, hash] =
            ["station_id", "ml_dsa_key_hash"].map(|member| made[member].as_str().expect("a text").to_owned());
        if is_hybrid { format!("{id}:{hash}") } else { id }
    };
    let ids: Vec<String> = others.iter().map(init).collect();
    let named = ids.iter().flat_map(|id| ["--founder", id]);
    let flags: Vec<&str> = more.iter().copied().chain(named).collect();
    let first = first.found(federation, &flags);
    for founder in &mut others {
        founder.set("network.join", &first.address());
        founder.start();
        wait_for(&format!("{} caught up", founder.name()), PATIENCE, || synced(founder));
    }
    (first, others)
}
