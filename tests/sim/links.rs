//! The links between stations: which are open, and what they do to messages.

use std::collections::{BTreeMap, BTreeSet};

/// A link between two stations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) is_open: bool,
    /// Counts its openings and closings: what was sent before one is lost.
    pub(crate) epoch: u64,
    /// Whether the two were told of the connection.
    pub(crate) is_told: bool,
    /// Whether the lower, and the higher, of the two knows of the other's subscription.
    pub(crate) is_subscribed: [bool; 2],
}

/// A partition of the federation.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) sides: Vec<bool>,
    /// Nobody has noticed yet: links look open, and messages vanish.
    pub(crate) is_silent: bool,
}

/// All links. A pair is named by its lower station first.
#[derive(Debug)]
pub(crate) struct Links {
    links: BTreeMap<(usize, usize), Link>,
    pub(crate) partition: Option<Partition>,
    pub(crate) cut: BTreeSet<(usize, usize)>,
}

/// The name of the link between two stations, and the side of the first.
pub(crate) fn pair(station: usize, other: usize) -> ((usize, usize), usize) {
    if station < other { ((station, other), 0) } else { ((other, station), 1) }
}

impl Links {
    /// Closed links between these pairs.
    pub(crate) fn new(pairs: &[(usize, usize)]) -> Self {
        let links = pairs.iter().map(|pair| (*pair, Link::default())).collect();
        Self { links, partition: None, cut: BTreeSet::new() }
    }

    /// The link between two stations.
    pub(crate) fn get(&self, station: usize, other: usize) -> Option<&Link> {
        self.links.get(&pair(station, other).0)
    }

    /// The link between two stations.
    pub(crate) fn get_mut(&mut self, station: usize, other: usize) -> Option<&mut Link> {
        self.links.get_mut(&pair(station, other).0)
    }

    /// The epoch of the link, if the two are connected and know it.
    pub(crate) fn connected(&self, station: usize, other: usize) -> Option<u64> {
        self.get(station, other).filter(|link| link.is_open && link.is_told).map(|link| link.epoch)
    }

    /// Stations that `station` gossips with: those whose subscription it knows.
    pub(crate) fn gossips_with(&self, station: usize) -> Vec<usize> {
        let is_subscribed = |(pair, link): &(&(usize, usize), &Link)| {
            link.is_open
                && ((pair.0 == station && link.is_subscribed[0]) || (pair.1 == station && link.is_subscribed[1]))
        };
        let links = self.links.iter().filter(is_subscribed);
        links.map(|(pair, _)| if pair.0 == station { pair.1 } else { pair.0 }).collect()
    }

    fn is_crossing(&self, (low, high): (usize, usize)) -> bool {
        self.partition.as_ref().is_some_and(|partition| partition.sides[low] != partition.sides[high])
    }

    /// Whether messages between the two vanish.
    pub(crate) fn is_mute(&self, station: usize, other: usize) -> bool {
        self.is_crossing(pair(station, other).0)
    }

    /// Opens and closes links according to who runs and what is cut; returns those that changed.
    pub(crate) fn update(&mut self, is_running: &[bool]) -> Vec<((usize, usize), Link)> {
        let pairs: Vec<(usize, usize)> = self.links.keys().copied().collect();
        let is_silent = self.partition.as_ref().is_some_and(|partition| partition.is_silent);
        let mut changed = Vec::new();
        for pair in pairs {
            let is_crossing = self.is_crossing(pair);
            let Some(link) = self.links.get_mut(&pair) else { continue };
            let can_be = is_running[pair.0] && is_running[pair.1] && !self.cut.contains(&pair);
            // Nobody connects through a silent partition, but who is connected does not know.
            let should_be = can_be && (!is_crossing || (is_silent && link.is_open));
            if link.is_open != should_be {
                changed.push((pair, link.clone()));
                *link = Link { is_open: should_be, epoch: link.epoch + 1, ..Link::default() };
            }
        }
        changed
    }
}
