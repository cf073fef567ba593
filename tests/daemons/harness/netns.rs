//! Two halves of a network that can be cut from each other: Linux network namespaces, bridges and one cable.
//!
//! Nothing outside the own namespaces is touched. Needs root and `ip` (iproute2).

use std::fs::File;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{process, thread};

use rustix::fd::AsFd;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network of its own for one station.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
    address: Ipv4Addr,
}

impl Namespace {
    /// Its address, which the stations of both halves reach while the cable is in.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Does `work` inside: processes and threads that it starts live there.
    ///
    /// # Panics
    /// If the namespace cannot be entered, or `work` panics.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        // A thread of its own, because there is no way back for the one that enters.
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                let file = File::open(format!("/run/netns/{}", self.name)).expect("an own namespace can be opened");
                move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root can enter a namespace");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Namespaces for the stations, on two bridges with one cable between them.
pub struct Network {
    switch: String,
    sites: [Vec<Namespace>; 2],
}

impl Network {
    /// As many stations on each side as named; the cable is in.
    ///
    /// # Panics
    /// If namespaces cannot be made here.
    pub fn new(sizes: [u8; 2]) -> Self {
        static NETWORKS: AtomicUsize = AtomicUsize::new(0);
        require_ip();
        let prefix = format!("qfzz-{}-{}", process::id(), NETWORKS.fetch_add(1, Ordering::Relaxed));
        let switch = format!("{prefix}-switch");
        ip(&format!("netns add {switch}"));
        // From here on its drop clears up, also when a step fails.
        let mut network = Self { switch, sites: [Vec::new(), Vec::new()] };
        let switch = network.switch.clone();
        for (side, size) in sizes.into_iter().enumerate() {
            ip(&format!("-n {switch} link add bridge{side} type bridge"));
            ip(&format!("-n {switch} link set bridge{side} up"));
            for station in 1..=size {
                let side_number = u8::try_from(side).expect("there are two sides");
                let address = Ipv4Addr::new(10, 77, side_number, station);
                let name = format!("{prefix}-{side}-{station}");
                ip(&format!("netns add {name}"));
                network.sites[side].push(Namespace { name: name.clone(), address });
                let port = format!("port{side}-{station}");
                ip(&format!("-n {switch} link add {port} type veth peer name eth0 netns {name}"));
                ip(&format!("-n {switch} link set {port} master bridge{side} up"));
                ip(&format!("-n {name} addr add {address}/16 dev eth0"));
                ip(&format!("-n {name} link set eth0 up"));
                ip(&format!("-n {name} link set lo up"));
            }
        }
        ip(&format!("-n {switch} link add cable0 type veth peer name cable1"));
        for side in 0..2 {
            ip(&format!("-n {switch} link set cable{side} master bridge{side} up"));
        }
        network
    }

    /// Where the stations of one side live.
    pub fn side(&self, side: usize) -> &[Namespace] {
        &self.sites[side]
    }

    /// Pulls the cable: packets between the sides vanish, and nobody is told.
    pub fn cut(&self) {
        ip(&format!("-n {} link set cable0 down", self.switch));
    }

    /// Puts the cable back.
    pub fn heal(&self) {
        ip(&format!("-n {} link set cable0 up", self.switch));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let sites = self.sites.iter().flatten().map(|site| &site.name);
        for name in sites.chain([&self.switch]) {
            if let Err(reason) = try_ip(&format!("netns delete {name}")) {
                eprintln!("{reason}");
            }
        }
    }
}

/// Installs `ip` where it is missing.
fn require_ip() {
    static PRESENT: OnceLock<()> = OnceLock::new();
    PRESENT.get_or_init(|| {
        if Command::new("ip").arg("-V").output().is_ok() {
            return;
        }
        let installed = Command::new("apt-get").args(["install", "--yes", "iproute2"]).output();
        assert!(
            installed.as_ref().is_ok_and(|output| output.status.success()),
            "the tests of partitions need the program `ip`, and `apt-get install iproute2` failed: {installed:?}"
        );
    });
}

/// Runs `ip` with these words.
fn ip(words: &str) {
    try_ip(words).unwrap_or_else(|reason| panic!("{reason} (network namespaces need Linux and root)"));
}

fn try_ip(words: &str) -> Result<(), String> {
    let output = Command::new("ip").args(words.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}
