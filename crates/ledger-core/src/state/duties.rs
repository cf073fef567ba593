//! What a station is asked to check, and where a record stands that somebody asks about.

use super::answers::{Duty, Expiring, Juror, duty};
use super::draw::DUTY_BLOCKS;
use super::index::{block_of_batch, height_of};
use super::{Key, ReadError, RecordPlace, StateRead, Value, chain_state, station_id, station_state};
use crate::federation::Rules;
use crate::ids::{Height, RecordId, StationId};

/// A record that a station was drawn to check, and may still answer about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenDuty {
    /// The record.
    pub record: RecordId,
    /// The same, as the state names it.
    pub place: RecordPlace,
    /// What it claims, and who was drawn.
    pub duty: Duty,
    /// The station's own part.
    pub own: Juror,
}

/// A place in the order in which duties end, of whichever station: blocks only add to its end, so what comes after a place
/// stays after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndingPlace {
    /// The block with which they end.
    pub height: Height,
    /// How many that end with the same block come before.
    pub before: usize,
}

/// What `station` was drawn to check and may still answer about in the next block: the first to end first, from the place
/// `from` on, at most `limit` of those that are `wanted`; and the place of the next one, if there are more. All of them end
/// within [`DUTY_BLOCKS`] above the head.
///
/// # Errors
/// [`ReadError`].
pub fn duties_of(
    rules: &Rules,
    read: &impl StateRead,
    station: &StationId,
    wanted: impl Fn(&OpenDuty) -> bool,
    from: EndingPlace,
    limit: usize,
) -> Result<(Vec<OpenDuty>, Option<EndingPlace>), ReadError> {
    let (mut found, head) = (Vec::new(), chain_state(read, rules)?.height.get());
    let first = head.saturating_add(1).max(from.height.get());
    for height in (first..=head.saturating_add(DUTY_BLOCKS)).map(Height::new) {
        let Expiring { duties, .. } = match read.get(&Key::Expiring(height))? {
            Some(Value::Expiring(expiring)) => expiring,
            Some(_) => return Err(ReadError::Damaged { what: "what ends with a block" }),
            None => continue,
        };
        let skipped = if height == from.height { from.before } else { 0 };
        for (before, place) in duties.into_iter().enumerate().skip(skipped) {
            let Some(duty) = duty(read, place)? else { continue };
            // One who was drawn again for the same record stands in it once, with the later end.
            let own = duty.jurors.iter().find(|it| it.station == *station && it.until == height).copied();
            let Some(own) = own else { continue };
            let open = OpenDuty { record: record_id(read, place)?, place, duty, own };
            if !wanted(&open) {
                continue;
            }
            if found.len() == limit {
                return Ok((found, Some(EndingPlace { height, before })));
            }
            found.push(open);
        }
    }
    Ok((found, None))
}

/// A record's place as the state names it; `None` while its station has no batch on the branch.
///
/// # Errors
/// [`ReadError`].
pub fn place_of(read: &impl StateRead, record: &RecordId) -> Result<Option<RecordPlace>, ReadError> {
    let RecordId { sequence, index, .. } = *record;
    let state = station_state(read, &record.station)?;
    Ok(state.map(|state| RecordPlace { station: state.number, sequence, index }))
}

/// The record at a place.
///
/// # Errors
/// [`ReadError`].
pub fn record_id(read: &impl StateRead, place: RecordPlace) -> Result<RecordId, ReadError> {
    let RecordPlace { station, sequence, index } = place;
    Ok(RecordId { station: station_id(read, station)?, sequence, index })
}

/// The height of the block that holds a record's batch; `None` while none on the branch does.
///
/// # Errors
/// [`ReadError`].
pub fn record_height(rules: &Rules, read: &impl StateRead, record: &RecordId) -> Result<Option<Height>, ReadError> {
    let Some(state) = station_state(read, &record.station)?.filter(|state| record.sequence < state.next) else {
        return Ok(None);
    };
    match block_of_batch(read, state.number, record.sequence)? {
        Some(block) => height_of(rules, read, &block),
        None => Ok(None),
    }
}

/// The height of the block in which a record was disputed; `None` where it was not, in the last 1,024 blocks.
///
/// # Errors
/// [`ReadError`].
pub fn disputed_at(read: &impl StateRead, place: RecordPlace) -> Result<Option<Height>, ReadError> {
    match read.get(&Key::Disputed(place))? {
        Some(Value::Disputed(height)) => Ok(Some(height)),
        Some(_) => Err(ReadError::Damaged { what: "a dispute" }),
        None => Ok(None),
    }
}
