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

/// What `station` was drawn to check and may still answer about in the next block: the first to end first, at most
/// `limit` of those that are `wanted`. All of them end within [`DUTY_BLOCKS`] above the head.
///
/// # Errors
/// [`ReadError`].
pub fn duties_of(
    rules: &Rules,
    read: &impl StateRead,
    station: &StationId,
    wanted: impl Fn(&OpenDuty) -> bool,
    limit: usize,
) -> Result<Vec<OpenDuty>, ReadError> {
    let (mut found, head) = (Vec::new(), chain_state(read, rules)?.height.get());
    for height in head.saturating_add(1)..=head.saturating_add(DUTY_BLOCKS) {
        let Expiring { duties, .. } = match read.get(&Key::Expiring(Height::new(height)))? {
            Some(Value::Expiring(expiring)) => expiring,
            Some(_) => return Err(ReadError::Damaged { what: "what ends with a block" }),
            None => continue,
        };
        for place in duties {
            if found.len() == limit {
                return Ok(found);
            }
            let Some(duty) = duty(read, place)? else { continue };
            // One who was drawn again for the same record stands in it once, with the later end.
            let own = duty.jurors.iter().find(|it| it.station == *station && it.until.get() == height).copied();
            let Some(own) = own else { continue };
            let open = OpenDuty { record: record_id(read, place)?, place, duty, own };
            if wanted(&open) {
                found.push(open);
            }
        }
    }
    Ok(found)
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
