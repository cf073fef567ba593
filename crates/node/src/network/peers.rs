//! Which stations are known, and when which of them is dialled. Pure: time and jitter are arguments.
//!
//! Of two stations that know each other the one with the lower id dials first: when both dial at once over TCP, often
//! neither connection comes about. The other waits [`YIELD`], for the first may not know it any more.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use qfzz_ledger_core::ids::{FederationId, Name, StationId};
use qfzz_ledger_core::time::Timestamp;

use super::address_book::Entry;
use super::handle::JoinTrouble;
use super::names::{peer_in, station_of, without_peer};
use super::{MAX_ADDRESSES, MAX_KNOWN};

/// Stations that are kept connected, at most. A federation has 3 to 50.
const MAX_WANTED: usize = 64;

/// Dials of ours under way, at most.
const MAX_DIALLING: usize = 16;

/// How long the station with the higher id leaves the first dial to the other.
const YIELD: Duration = Duration::from_secs(1);

/// The wait after the first failure; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(500);

/// The longest wait while no station is connected: somebody must be found.
const LONGEST_WAIT_ALONE: Duration = Duration::from_secs(5);

/// The longest wait else. A station that comes back dials by itself, so this only matters for one that cannot.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A connection that stood this long clears the failures before it.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Between two lines of the log about one address to join that does not work.
const TELL_AGAIN: Duration = Duration::from_secs(3_600);

/// Failed dials after which a station is no longer looked for through others, and forgotten if it was only heard of.
const FORGET_AFTER: u32 = 3;

/// Blocked stations, at most; of more the oldest is let in again.
const MAX_BLOCKED: usize = 1_024;

/// Stations of other federations that are remembered, at most; the oldest go first.
const MAX_FOREIGN: usize = 256;

/// The federation that a foreign peer belongs to; `None` for a program that is no station.
pub(super) type Federation = Option<(FederationId, Name)>;

/// When something is dialled next.
#[derive(Clone, Copy, Debug)]
struct Attempts {
    dialling: bool,
    failures: u32,
    /// Part of every wait: what we leave to the other side.
    courtesy: Duration,
    wait: Duration,
    last: Instant,
    not_before: Instant,
}

impl Attempts {
    fn new(now: Instant, courtesy: Duration) -> Self {
        Self { dialling: false, failures: 0, courtesy, wait: courtesy, last: now, not_before: now }
    }

    fn failed(&mut self, now: Instant, jitter: u16) {
        let doubled = FIRST_WAIT * (1 << self.failures.min(6));
        let wait = self.courtesy + jittered(doubled, jitter);
        *self = Self { dialling: false, failures: self.failures.saturating_add(1), wait, last: now, ..*self };
    }

    fn is_due(&self, now: Instant, alone: bool) -> bool {
        let wait = self.wait.min(if alone { LONGEST_WAIT_ALONE } else { LONGEST_WAIT });
        !self.dialling && now >= self.not_before && now.saturating_duration_since(self.last) >= wait
    }
}

/// What `own` leaves to `other` before it dials.
fn courtesy(own: StationId, other: StationId) -> Duration {
    if own < other { Duration::ZERO } else { YIELD }
}

/// `wait` shortened by up to a third, so that two stations do not keep step.
fn jittered(wait: Duration, jitter: u16) -> Duration {
    wait - wait / 3 * u32::from(jitter) / u32::from(u16::MAX)
}

#[derive(Debug)]
struct Known {
    addresses: Vec<Multiaddr>,
    /// `None` while it was only heard of.
    last_seen: Option<Timestamp>,
    attempts: Attempts,
}

/// An address that the operator named, dialled as it is.
#[derive(Debug)]
struct Join {
    address: Multiaddr,
    /// Who is expected there: by the address itself, or who answered last.
    station: Option<StationId>,
    /// Names ourselves.
    pointless: bool,
    attempts: Attempts,
    /// What the last attempt ended with, if it failed.
    trouble: Option<String>,
    /// When the log was told of that last.
    told: Option<Instant>,
}

/// What to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// A known station.
    Station { station: StationId, addresses: Vec<Multiaddr> },
    /// The `join` address of this number.
    Join { number: usize, address: Multiaddr },
}

/// The known stations.
pub(super) struct Peers {
    own: StationId,
    known: HashMap<StationId, Known>,
    join: Vec<Join>,
    connected: HashSet<StationId>,
    /// Those that this station knew before its start, and those that were found where the operator said.
    familiar: HashSet<StationId>,
    blocked: VecDeque<StationId>,
    foreign: VecDeque<(StationId, Federation)>,
    changed: bool,
    /// Whether the book that was written last holds those who called us, too.
    remembered_callers: bool,
}

impl Peers {
    pub(super) fn new(
        own: StationId,
        book: Vec<Entry>,
        join: Vec<Multiaddr>,
        remembers_callers: bool,
        now: Instant,
    ) -> Self {
        let named = join.iter().filter_map(|address| station_of(&peer_in(address)?));
        let familiar = book.iter().map(|entry| entry.station).chain(named).collect();
        let known = book
            .into_iter()
            .filter(|entry| entry.station != own)
            .map(|Entry { station, addresses, last_seen }| {
                let attempts = Attempts::new(now, courtesy(own, station));
                (station, Known { addresses, last_seen: Some(last_seen), attempts })
            })
            .collect();
        let join = join
            .into_iter()
            .map(|address| {
                let station = peer_in(&address).and_then(|peer| station_of(&peer));
                let pointless = station == Some(own);
                let attempts = Attempts::new(now, Duration::ZERO);
                Join { address, station, pointless, attempts, trouble: None, told: None }
            })
            .collect();
        Self {
            own,
            known,
            join,
            connected: HashSet::new(),
            familiar,
            blocked: VecDeque::new(),
            foreign: VecDeque::new(),
            changed: false,
            remembered_callers: remembers_callers,
        }
    }

    /// What is to be dialled now. What is returned counts as being dialled until its outcome is told.
    pub(super) fn plan(&mut self, now: Instant) -> Vec<Plan> {
        let alone = self.connected.is_empty();
        let under_way = self.known.values().filter(|known| known.attempts.dialling).count()
            + self.join.iter().filter(|join| join.attempts.dialling).count();
        let mut room = MAX_DIALLING.saturating_sub(under_way);
        let mut plans = Vec::new();
        for (number, join) in self.join.iter_mut().enumerate() {
            let elsewhere = join.station.is_some_and(|station| {
                self.connected.contains(&station)
                    || self.blocked.contains(&station)
                    || self.known.get(&station).is_some_and(|known| known.attempts.dialling)
            });
            if room > 0 && !join.pointless && !elsewhere && join.attempts.is_due(now, alone) {
                join.attempts.dialling = true;
                plans.push(Plan::Join { number, address: join.address.clone() });
                room -= 1;
            }
        }
        let mut wanted = MAX_WANTED.saturating_sub(self.connected.len());
        for (station, known) in &mut self.known {
            if room == 0 || wanted == 0 {
                break;
            }
            let elsewhere = self.connected.contains(station)
                || self.blocked.contains(station)
                || self.join.iter().any(|join| join.station == Some(*station) && join.attempts.dialling);
            if !elsewhere && known.attempts.is_due(now, alone) {
                known.attempts.dialling = true;
                plans.push(Plan::Station { station: *station, addresses: known.addresses.clone() });
                room -= 1;
                wanted -= 1;
            }
        }
        plans
    }

    /// A dial of ours led to `station`, which has yet to say who it is unless it is connected already.
    pub(super) fn answered(&mut self, dialled: Dialled, station: StationId) {
        if let Dialled::Join(number) = dialled
            && let Some(join) = self.join.get_mut(number)
        {
            join.station = Some(station);
            join.trouble = None;
            self.familiar.insert(station);
        }
        if self.connected.contains(&station) {
            self.attempts_of(station).for_each(|attempts| attempts.dialling = false);
        }
    }

    /// The operator asked for `station`, or for an address where it was found.
    pub(super) fn asked_for(&mut self, station: StationId) {
        self.familiar.insert(station);
    }

    /// Whether this station knew `station` before its start, or the operator named it, or it was found where the operator
    /// said: no stranger becomes so by calling us.
    pub(super) fn is_familiar(&self, station: StationId) -> bool {
        self.familiar.contains(&station)
    }

    /// All ways in which `station` is dialled.
    fn attempts_of(&mut self, station: StationId) -> impl Iterator<Item = &mut Attempts> {
        let joins = self.join.iter_mut().filter(move |join| join.station == Some(station));
        joins.map(|join| &mut join.attempts).chain(self.known.get_mut(&station).map(|known| &mut known.attempts))
    }

    /// A dial of ours failed.
    pub(super) fn failed(&mut self, dialled: Dialled, now: Instant, jitter: u16) {
        let attempts = match dialled {
            Dialled::Join(number) => self.join.get_mut(number).map(|join| &mut join.attempts),
            Dialled::Station(station) => self.known.get_mut(&station).map(|known| &mut known.attempts),
        };
        if let Some(attempts) = attempts {
            attempts.failed(now, jitter);
        }
        if let Dialled::Station(station) = dialled {
            self.forget_if_only_heard_of(station);
        }
    }

    /// The `join` address of this number.
    pub(super) fn join_address(&self, number: usize) -> Option<&Multiaddr> {
        self.join.get(number).map(|join| &join.address)
    }

    /// The `join` address of this number does not work, because of `why`. Returns whether the log should be told: the
    /// first time, then at most once an hour.
    pub(super) fn join_failed(&mut self, number: usize, why: String, now: Instant) -> bool {
        let Some(join) = self.join.get_mut(number).filter(|join| !join.pointless) else { return false };
        let is_told = join.told.is_some_and(|told| now.saturating_duration_since(told) < TELL_AGAIN);
        join.trouble = Some(why);
        if !is_told {
            join.told = Some(now);
        }
        !is_told
    }

    /// The `join` addresses that did not work the last time.
    pub(super) fn join_troubles(&self) -> Vec<JoinTrouble> {
        let trouble = |join: &Join| {
            if join.pointless || join.station.is_some_and(|station| self.connected.contains(&station)) {
                return None;
            }
            let foreign = join.station.and_then(|station| self.foreign_federation(station)).cloned().flatten();
            let why = match (&foreign, &join.trouble) {
                (Some((id, name)), _) => format!("the station there belongs to the federation `{name}` ({id})"),
                (None, Some(why)) => why.clone(),
                (None, None) => return None,
            };
            Some(JoinTrouble { address: join.address.clone(), why, foreign })
        };
        self.join.iter().filter_map(trouble).collect()
    }

    /// The `join` address of this number leads to ourselves: it is not dialled again.
    pub(super) fn leads_to_ourselves(&mut self, number: usize) {
        if let Some(join) = self.join.get_mut(number) {
            join.pointless = true;
        }
    }

    /// Whether dials to `station` have failed so often that it is no longer to be looked for through others.
    pub(super) fn is_lost(&self, station: StationId) -> bool {
        self.known.get(&station).is_none_or(|known| known.attempts.failures >= FORGET_AFTER)
    }

    fn forget_if_only_heard_of(&mut self, station: StationId) {
        if self.known.get(&station).is_some_and(|k| k.last_seen.is_none() && k.attempts.failures >= FORGET_AFTER) {
            self.known.remove(&station);
        }
    }

    /// Others say that `station` is at `addresses`.
    pub(super) fn heard_of(&mut self, station: StationId, addresses: Vec<Multiaddr>, now: Instant) {
        let is_foreign = self.foreign_federation(station).is_some();
        if station == self.own || is_foreign || addresses.is_empty() || self.known.contains_key(&station) {
            return;
        }
        if self.make_room(false) {
            let addresses = addresses.into_iter().map(without_peer).take(MAX_ADDRESSES).collect();
            let attempts = Attempts::new(now, FIRST_WAIT + courtesy(self.own, station));
            self.known.insert(station, Known { addresses, last_seen: None, attempts });
        }
    }

    /// A connection to `station` stands and it is of our federation.
    pub(super) fn confirmed(&mut self, station: StationId, now: Instant, wall: Timestamp) {
        self.foreign.retain(|(foreign, _)| *foreign != station);
        self.connected.insert(station);
        if !self.known.contains_key(&station) && self.make_room(true) {
            let attempts = Attempts::new(now, courtesy(self.own, station));
            self.known.insert(station, Known { addresses: Vec::new(), last_seen: None, attempts });
        }
        if let Some(known) = self.known.get_mut(&station) {
            known.last_seen = Some(wall);
            self.changed = true;
        }
        self.attempts_of(station).for_each(|attempts| attempts.dialling = false);
    }

    /// `station`, which is confirmed, can be dialled at `addresses`, best first.
    pub(super) fn reachable_at(&mut self, station: StationId, addresses: impl IntoIterator<Item = Multiaddr>) {
        let Some(known) = self.known.get_mut(&station) else { return };
        let mut fresh: Vec<Multiaddr> = Vec::new();
        for address in addresses.into_iter().map(without_peer) {
            if fresh.len() < MAX_ADDRESSES && !fresh.contains(&address) {
                fresh.push(address);
            }
        }
        if !fresh.is_empty() && known.addresses != fresh {
            known.addresses = fresh;
            self.changed = true;
        }
    }

    /// The last connection to `station` is closed; it stood confirmed for `stood`, or never was (`None`).
    pub(super) fn disconnected(
        &mut self,
        station: StationId,
        stood: Option<Duration>,
        now: Instant,
        wall: Timestamp,
        jitter: u16,
    ) {
        self.connected.remove(&station);
        if let (Some(_), Some(known)) = (stood, self.known.get_mut(&station)) {
            known.last_seen = Some(wall);
            self.changed = true;
        }
        for attempts in self.attempts_of(station) {
            if stood.is_some_and(|stood| stood >= STABLE_AFTER) {
                attempts.failures = 0;
            }
            attempts.failed(now, jitter);
        }
        // Without an address there is nothing to dial: it dialled us, and will again.
        if self.known.get(&station).is_some_and(|known| known.addresses.is_empty()) {
            self.known.remove(&station);
        }
        self.forget_if_only_heard_of(station);
    }

    /// Leaves `station` alone for a while.
    pub(super) fn pause(&mut self, station: StationId, now: Instant) {
        self.attempts_of(station).for_each(|attempts| attempts.not_before = now + LONGEST_WAIT);
    }

    /// Does not dial `station` any more. Returns the station that is let in again for it, if any.
    pub(super) fn block(&mut self, station: StationId) -> Option<StationId> {
        if self.blocked.contains(&station) {
            return None;
        }
        self.blocked.push_back(station);
        if self.blocked.len() > MAX_BLOCKED { self.blocked.pop_front() } else { None }
    }

    /// Dials `station` again, at once.
    pub(super) fn unblock(&mut self, station: StationId, now: Instant) {
        self.blocked.retain(|blocked| *blocked != station);
        for attempts in self.attempts_of(station) {
            *attempts = Attempts { dialling: attempts.dialling, ..Attempts::new(now, attempts.courtesy) };
        }
    }

    /// Whether `station` is blocked.
    pub(super) fn is_blocked(&self, station: StationId) -> bool {
        self.blocked.contains(&station)
    }

    /// `station` is not of our federation: it is forgotten, and only the operator's own address for it is tried again,
    /// at long intervals. Returns whether that is news.
    pub(super) fn is_foreign(&mut self, station: StationId, federation: Federation, now: Instant) -> bool {
        if self.known.remove(&station).is_some() {
            self.changed = true;
        }
        self.pause(station, now);
        let news = self.foreign_federation(station) != Some(&federation);
        if news {
            self.foreign.retain(|(foreign, _)| *foreign != station);
            self.foreign.push_back((station, federation));
            if self.foreign.len() > MAX_FOREIGN {
                self.foreign.pop_front();
            }
        }
        news
    }

    /// The other federation that `station` is remembered to belong to.
    pub(super) fn foreign_federation(&self, station: StationId) -> Option<&Federation> {
        self.foreign.iter().find(|(foreign, _)| *foreign == station).map(|(_, federation)| federation)
    }

    /// Makes room for one more: stations only heard of go first, then who was not seen for longest, familiar ones last, but
    /// the latter only for one that is connected. Returns whether there is room.
    fn make_room(&mut self, for_connected: bool) -> bool {
        if self.known.len() < MAX_KNOWN {
            return true;
        }
        let victim = self
            .known
            .iter()
            .filter(|(station, known)| {
                !self.connected.contains(station) && (for_connected || known.last_seen.is_none())
            })
            .min_by_key(|(station, known)| (self.familiar.contains(station), known.last_seen))
            .map(|(station, _)| *station);
        victim.is_some_and(|station| self.known.remove(&station).is_some())
    }

    /// What belongs into the address book, if that has changed since the last call; newest first. With
    /// `remembers_callers` also those who are not familiar.
    pub(super) fn changed_book(&mut self, remembers_callers: bool) -> Option<Vec<Entry>> {
        let is_other = std::mem::replace(&mut self.remembered_callers, remembers_callers) != remembers_callers;
        if !std::mem::take(&mut self.changed) && !is_other {
            return None;
        }
        let mut entries: Vec<Entry> = self
            .known
            .iter()
            .filter(|(_, known)| !known.addresses.is_empty())
            .filter(|(station, _)| remembers_callers || self.familiar.contains(station))
            .filter_map(|(station, known)| {
                known.last_seen.map(|last_seen| Entry {
                    station: *station,
                    addresses: known.addresses.clone(),
                    last_seen,
                })
            })
            .collect();
        entries.sort_by_key(|entry| (std::cmp::Reverse(entry.last_seen), entry.station));
        Some(entries)
    }
}

/// Whose dial it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialled {
    /// A known station's.
    Station(StationId),
    /// That of the `join` address of this number.
    Join(usize),
}

#[cfg(test)]
#[path = "tests/peers.rs"]
mod tests;
