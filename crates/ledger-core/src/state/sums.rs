//! What a station's weight rests on: how far it agrees with each founder and with the jury (global trust, section 3).

use super::{Key, ReadError, StateRead, Value};
use crate::codec::{Decode, Encode};
use crate::score::{ONE, Score};

/// A mean difference of this much, in millionths, is no agreement at all.
const SCALE: u128 = 350_000;

/// The information of one plain subject, in millionths: an opinion at 0.1 or 0.9.
pub(super) const UNIT: u64 = 400_000;

/// What two have said of the subjects that both know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PairSums {
    /// Sum of information; at most 2.2 * 10^15 for 2^32 subjects.
    pub info: u64,
    /// Sum of information times difference; at most 2.2 * 10^21.
    pub weighted: u128,
}

impl PairSums {
    /// How far the two agree, in millionths.
    pub fn agreement(&self) -> u64 {
        agreement(self.info, self.weighted)
    }
}

/// What the jury's answers say of a station.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct JurySums {
    /// The station beside the jury and the other jurors.
    pub pair: PairSums,
    /// Subjects and claims that were checked.
    pub checked: u64,
    /// How far they were contradicted, in millionths of one each.
    pub contradicted: u64,
}

/// A founder's part in a station's sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct WithFounder {
    /// The founder's place in genesis.
    pub(super) place: u8,
    pub(super) pair: PairSums,
}

/// All sums of one station: 25 bytes for each founder, 64 at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Sums {
    /// By the founder's place.
    pub(super) founders: Vec<WithFounder>,
    /// With the jury.
    pub jury: JurySums,
    /// Its counted answers.
    pub answers: u32,
}

impl Sums {
    /// The station and the founder at `place` in genesis, below 64; zeros while they share no subject.
    pub fn with_founder(&self, place: u32) -> PairSums {
        let found = self.founders.binary_search_by_key(&place, |it| u32::from(it.place)).ok();
        found.map_or(PairSums::default(), |at| self.founders[at].pair)
    }

    pub(super) fn with_founder_mut(&mut self, place: u8) -> &mut PairSums {
        let at = match self.founders.binary_search_by_key(&place, |it| it.place) {
            Ok(at) => at,
            Err(at) => {
                self.founders.insert(at, WithFounder { place, pair: PairSums::default() });
                at
            }
        };
        &mut self.founders[at].pair
    }
}

/// The sums of the station with a number; zeros while it has none.
///
/// # Errors
/// [`ReadError`].
pub fn sums(read: &impl StateRead, number: u32) -> Result<Sums, ReadError> {
    match read.get(&Key::Sums(number))? {
        Some(Value::Sums(sums)) => Ok(*sums),
        Some(_) => Err(ReadError::Damaged { what: "a station's sums" }),
        None => Ok(Sums::default()),
    }
}

/// How much the two scores say: the distance of the bolder one from a half, in millionths, at most 500,000.
pub fn information(one: Score, other: Score) -> u64 {
    let from_half = |score: Score| u64::from(score.millionths().abs_diff(Score::HALF.millionths()));
    from_half(one).max(from_half(other))
}

/// How far apart two scores are, in millionths.
pub fn difference(one: Score, other: Score) -> u64 {
    u64::from(one.millionths().abs_diff(other.millionths()))
}

/// Agreement from sums of information and of information times difference, in millionths: 0 where there is nothing to
/// compare, or the mean difference is 0.35 or more.
pub fn agreement(info: u64, weighted: u128) -> u64 {
    let Some(mean) = weighted.checked_div(u128::from(info)) else { return 0 };
    // At most ONE.
    u64::try_from(SCALE.saturating_sub(mean) * u128::from(ONE) / SCALE).unwrap_or(u64::from(ONE))
}
