//! The draws that may have been about a record, made again from what this station has on disk.

use std::collections::BTreeSet;

use qfzz_ledger_core::block::VerifiedBlock;
use qfzz_ledger_core::federation::Rules;
use qfzz_ledger_core::ids::{BlockHash, Height, RecordId};
use qfzz_ledger_core::overlay::LedgerRead;
use qfzz_ledger_core::state::{
    DUTY_BLOCKS, ReadError, RecordPlace, Rewound, chain_state, disputed_at, duty, explain, place_of, record_height,
};

use crate::api::dto::{Draw, Draws};
use crate::api::port::PortError;
use crate::store::StoreRead;

/// How often a draw is made again because the head moved meanwhile; only what is new is read again.
const TRIES: usize = 20;

/// All draws that may have been about `record`, as far as undo data reaches.
///
/// # Errors
/// [`PortError::NotReady`] where the chain is reorganised meanwhile; those of the store.
pub(crate) fn draws_of(rules: &Rules, reader: &impl StoreRead, record: RecordId) -> Result<Draws, PortError> {
    let known = reader.consistent(|reader| -> Result<_, ReadError> {
        let head = chain_state(reader, rules)?.height;
        let place = place_of(reader, &record)?;
        let height = record_height(rules, reader, &record)?;
        let (Some(place), Some(height)) = (place, height) else { return Ok((head, None)) };
        let mut heights = BTreeSet::from([height.get() + 1]);
        heights.extend(disputed_at(reader, place)?.map(|disputed| disputed.get() + 1));
        // A dispute is forgotten before a duty that came of it.
        let jurors = duty(reader, place)?.into_iter().flat_map(|duty| duty.jurors);
        heights.extend(jurors.map(|juror| juror.until.get().saturating_sub(DUTY_BLOCKS)));
        Ok((head, Some((place, height, heights))))
    });
    let (head, known) = known?;
    let Some((place, height, heights)) = known else { return Ok(Draws::none_of(record)) };
    let mut found = Draws { block: Some(height), ..Draws::none_of(record) };
    for height in heights.into_iter().map(Height::new) {
        if height > head {
            found.next = Some(height);
        } else if let Some(draw) = draw_at(rules, reader, height, place)? {
            found.draws.push(draw);
        } else {
            found.out_of_reach.push(height);
        }
    }
    Ok(found)
}

/// The draw of the block at `height`; `None` where its undo data is not kept any more.
fn draw_at(
    rules: &Rules,
    reader: &impl StoreRead,
    height: Height,
    place: RecordPlace,
) -> Result<Option<Draw>, PortError> {
    let moved = || PortError::NotReady { reason: "the chain moved on while the draw was made again".to_owned() };
    let (block, sealed) = reader.header_at(height)?.ok_or_else(moved)?;
    let Some(undo) = LedgerRead::undo(reader, &block)? else { return Ok(None) };
    let previous = sealed.header.previous;
    let parent = match height.get() {
        0 | 1 => None,
        _ => Some(LedgerRead::block(reader, &previous)?.ok_or_else(moved)?),
    };
    let parent: Option<&VerifiedBlock> = parent.as_ref();
    let mut rewound = Rewound::new(&undo, parent);
    let mut top: (Height, BlockHash) = (height, block);
    for _ in 0..TRIES {
        while let Some((hash, above)) = top.0.next().map(|next| reader.header_at(next)).transpose()?.flatten() {
            if above.header.previous != top.1 {
                return Err(moved());
            }
            rewound.take_back(LedgerRead::undo(reader, &hash)?.ok_or_else(moved)?);
            top = (above.header.index, hash);
        }
        let explanation = reader.consistent(|reader| -> Result<_, ReadError> {
            if chain_state(reader, rules)?.head != top.1 {
                return Ok(None);
            }
            explain(rules, &rewound.over(reader), &undo, parent, place).map(Some)
        })?;
        if let Some(explanation) = explanation {
            return Ok(Some(Draw { block, previous, reveal: sealed.header.reveal, explanation }));
        }
    }
    Err(moved())
}
