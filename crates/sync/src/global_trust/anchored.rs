//! The policy `anchored`: founders anchor the network, and jurors that nobody appoints check what it says (global trust,
//! sections 3 and 4). The weights follow from sums that the ledger keeps, see `qfzz_ledger_core::state::weights`.

use qfzz_ledger_core::ids::StationId;
use qfzz_ledger_core::record::Subject;
use qfzz_ledger_core::score::Score;
use qfzz_ledger_core::state::{PairSums, ReadError, StateRead, jury_answers, sums, verdict};

use super::{JuryVoice, PolicyWeights};

/// The jury's voice about a subject; `None` below two answers, and about users and creators.
pub(super) fn jury(read: &impl StateRead, subject: &Subject) -> Result<Option<JuryVoice>, ReadError> {
    match subject {
        Subject::User(_) | Subject::Creator(_) => Ok(None),
        Subject::Content { .. } | Subject::Dataset(_) => {
            let answers = jury_answers(read, subject, None)?;
            Ok(answers.score().map(|score| JuryVoice { score, evidence: answers.count, share: Score::ZERO }))
        }
    }
}

/// Whether the jury contests what the station with a number claims of a subject.
pub(super) fn is_contested(read: &impl StateRead, subject: &Subject, number: u32) -> Result<bool, ReadError> {
    match subject {
        Subject::User(_) => Ok(verdict(read, subject, number)? == Some(true)),
        Subject::Content { .. } | Subject::Creator(_) | Subject::Dataset(_) => Ok(false),
    }
}

/// How far a station agrees with another, or with the jury, on the subjects that both know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// How much they have in common, in millionths: 400,000 for a plain subject.
    pub info: u64,
    /// How far they agree.
    pub agreement: Score,
}

impl Agreement {
    fn of(pair: &PairSums) -> Self {
        Self { info: pair.info, agreement: super::parts::score(u128::from(pair.agreement())) }
    }
}

/// What a station's weight under `anchored` rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grounds {
    /// The station beside each founder that has not equivocated, but itself.
    pub founders: Vec<(StationId, Agreement)>,
    /// The station beside the jury and the other jurors.
    pub jury: Agreement,
    /// Subjects and claims of it that the jury has an opinion about.
    pub checked: u64,
    /// How far the jury contradicts them, in millionths of one each.
    pub contradicted: u64,
}

/// What a station's weight under `anchored` rests on; `None` of one that is unknown or has equivocated.
///
/// # Errors
/// [`ReadError`].
pub fn grounds(
    read: &impl StateRead,
    weights: &PolicyWeights,
    station: &StationId,
) -> Result<Option<Grounds>, ReadError> {
    let Some(entry) = weights.weights.get(station) else { return Ok(None) };
    let sums = match entry.number {
        Some(number) => sums(read, number)?,
        None => qfzz_ledger_core::state::Sums::default(),
    };
    let others = weights.weights.founders().iter().filter(|(_, founder)| founder != station);
    Ok(Some(Grounds {
        founders: others.map(|(place, founder)| (*founder, Agreement::of(&sums.with_founder(*place)))).collect(),
        jury: Agreement::of(&sums.jury.pair),
        checked: sums.jury.checked,
        contradicted: sums.jury.contradicted,
    }))
}
