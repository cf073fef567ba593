//! Who may take part where admission is by roster: what the founders' records come to (protocol, section 8).
//!
//! One founder admits a station, more than half of the founders expel it, and then more than half must admit it again.
//! Each founder's newest word counts, from the last change on.

use super::{Key, ReadError, StateRead, Value};
use crate::codec::{Decode, Encode};
use crate::federation::Rules;
use crate::ids::StationId;

/// Founders by their place in genesis, one bit each: there are at most 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Founders(u64);

impl Founders {
    /// Adds the founder at `place`, below 64.
    const fn add(&mut self, place: u32) {
        self.0 |= 1 << place;
    }

    const fn remove(&mut self, place: u32) {
        self.0 &= !(1 << place);
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the founder at `place`, below 64, is one of them.
    pub const fn contains(self, place: u32) -> bool {
        self.0 & (1 << place) != 0
    }
}

/// Where a station stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Standing {
    /// Nobody has admitted it: one founder can.
    #[default]
    Stranger,
    /// It may publish and produce.
    Admitted,
    /// It was expelled: more than half of the founders must admit it again.
    Expelled,
}

/// What the founders have said of a station.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct AdmissionState {
    /// What it comes to.
    pub standing: Standing,
    /// Those who admitted it since it was last expelled, and have not wanted it expelled since.
    pub admitted_by: Founders,
    /// Those who wanted it expelled since it was last admitted, and have not admitted it since.
    pub expelled_by: Founders,
}

impl AdmissionState {
    /// The founder at `place` admits it.
    pub(super) fn admit(&mut self, rules: &Rules, place: u32) {
        self.admitted_by.add(place);
        self.expelled_by.remove(place);
        let needed = match self.standing {
            Standing::Stranger => 1,
            Standing::Admitted => return,
            Standing::Expelled => rules.majority(),
        };
        if self.admitted_by.count() >= needed {
            (self.standing, self.expelled_by) = (Standing::Admitted, Founders::default());
        }
    }

    /// The founder at `place` wants it expelled.
    pub(super) fn expel(&mut self, rules: &Rules, place: u32) {
        self.expelled_by.add(place);
        self.admitted_by.remove(place);
        if self.standing == Standing::Admitted && self.expelled_by.count() >= rules.majority() {
            (self.standing, self.admitted_by) = (Standing::Expelled, Founders::default());
        }
    }
}

/// What the founders have said of a station on the branch; `None` where none has said anything.
///
/// # Errors
/// [`ReadError`].
pub fn admission(read: &impl StateRead, station: &StationId) -> Result<Option<AdmissionState>, ReadError> {
    match read.get(&Key::Admission(*station))? {
        Some(Value::Admission(state)) => Ok(Some(*state)),
        Some(_) => Err(ReadError::Damaged { what: "a station's admission" }),
        None => Ok(None),
    }
}

/// The hash of the ML-DSA key that a station must introduce itself with: what genesis or its admission names; `None`
/// where neither does.
///
/// # Errors
/// [`ReadError`].
pub fn expected_key_hash(
    rules: &Rules,
    read: &impl StateRead,
    station: &StationId,
) -> Result<Option<[u8; 32]>, ReadError> {
    if !(rules.is_hybrid() && rules.has_roster()) || rules.is_founder(station) {
        return Ok(rules.founder_key_hash(station));
    }
    match read.get(&Key::AdmittedKey(*station))? {
        Some(Value::KeyHash(hash)) => Ok(Some(*hash)),
        Some(_) => Err(ReadError::Damaged { what: "the key that a station was admitted with" }),
        None => Ok(None),
    }
}

/// Where a station stands on the branch: founders, and anybody where admission is open, are admitted.
///
/// # Errors
/// [`ReadError`].
pub fn standing(rules: &Rules, read: &impl StateRead, station: &StationId) -> Result<Standing, ReadError> {
    if !rules.has_roster() || rules.is_founder(station) {
        return Ok(Standing::Admitted);
    }
    Ok(admission(read, station)?.map_or(Standing::Stranger, |it| it.standing))
}

/// Whether a station is admitted by two founders, or by one where genesis names one; a founder is by itself.
///
/// # Errors
/// [`ReadError`].
pub fn is_vouched(rules: &Rules, read: &impl StateRead, station: &StationId) -> Result<bool, ReadError> {
    if !rules.has_roster() {
        return Ok(false);
    }
    if rules.is_founder(station) {
        return Ok(true);
    }
    let needed = rules.parameters().founders.len().min(2);
    let state = admission(read, station)?.filter(|it| it.standing == Standing::Admitted);
    Ok(state.is_some_and(|it| it.admitted_by.count() as usize >= needed))
}

/// How many stations the founders have spoken of on the branch.
///
/// # Errors
/// [`ReadError`].
pub fn roster_len(read: &impl StateRead) -> Result<u32, ReadError> {
    match read.get(&Key::RosterLen)? {
        Some(Value::RosterLen(count)) => Ok(count),
        Some(_) => Err(ReadError::Damaged { what: "the length of the roster" }),
        None => Ok(0),
    }
}

/// The station that founders spoke of as the `place`-th, from 0, below [`roster_len`].
///
/// # Errors
/// [`ReadError`].
pub fn roster_at(read: &impl StateRead, place: u32) -> Result<StationId, ReadError> {
    match read.get(&Key::RosterPlace(place))? {
        Some(Value::StationNumber(station)) => Ok(*station),
        _ => Err(ReadError::Damaged { what: "a place of the roster" }),
    }
}
