//! What may happen to a station in the model, drawn from a seed.

use proptest::collection::vec;
use proptest::prelude::*;
use qfzz_ledger_core::ids::{Id, Target};
use qfzz_ledger_core::record::{Record, UserAction};
use qfzz_ledger_core::score::Delta;
use qfzz_ledger_core::testing::{added, at, reported, verified};

use crate::{ACTIONS, CONTENTS, CREATORS, STATIONS, USERS, datasets};

/// How a block is made wrong; by luck it may be right nevertheless, of which the model is the judge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    None,
    Reveal,
    Gap,
    Repeat,
    NoIntroduction,
    Old,
    Empty,
    /// A station that is not admitted on the branch, if there is one.
    Stranger,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Makes a branch of blocks on the `parent`-th newest block, the fault in the first of them.
    Make {
        parent: usize,
        length: usize,
        producer: u8,
        others: Vec<(u8, bool)>,
        fault: Fault,
    },
    /// Delivers blocks whose parents were delivered.
    Deliver {
        pick: usize,
        count: usize,
    },
    /// Sends the next batch of a station's log.
    Offer {
        who: u8,
    },
    Sign {
        salt: usize,
    },
    Mine,
    Commit,
    ForgetUndo,
    Reopen,
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    use Fault::{Empty, Gap, NoIntroduction, Old, Repeat, Reveal, Stranger};
    let fault = prop_oneof![
        12 => Just(Fault::None),
        3 => proptest::sample::select(vec![Reveal, Gap, Repeat, NoIntroduction, Old, Empty, Stranger]),
    ];
    let others = vec((STATIONS, any::<bool>()), 0..4);
    let make = (0..8usize, 1..5usize, STATIONS.start() + 1..=*STATIONS.end(), others, fault);
    prop_oneof![
        8 => make.prop_map(|(parent, length, producer, others, fault)| Step::Make { parent, length, producer, others, fault }),
        8 => (0..8usize, 1..6usize).prop_map(|(pick, count)| Step::Deliver { pick, count }),
        4 => STATIONS.prop_map(|who| Step::Offer { who }),
        2 => (0..100usize).prop_map(|salt| Step::Sign { salt }),
        1 => Just(Step::Mine),
        3 => Just(Step::Commit),
        1 => Just(Step::ForgetUndo),
        1 => Just(Step::Reopen),
    ]
}

/// Some records, different for each batch.
pub(crate) fn records(salt: usize) -> Vec<Record> {
    let pick = |number: usize| -> Record {
        let id = |text: &str| Id::new(text).expect("an id");
        let (content, creator) = (CONTENTS[number / 3 % 3], CREATORS[number / 7 % 2]);
        match number % 8 {
            0 | 1 => {
                let (action, delta) = ACTIONS[number / 5 % 4];
                Record::UserAction(UserAction {
                    user_id: id(USERS[number / 11 % 3]),
                    action: id(action),
                    target: Target::new("").expect("may be empty"),
                    trust_delta: Delta::from_millionths(delta).expect("in range"),
                    timestamp: at(0),
                })
            }
            2 => added(content, creator, (number * 77_777 % 1_000_000) as u32),
            3 | 4 => verified(content, creator),
            5 => reported(content, creator),
            _ => datasets::record(number),
        }
    };
    (0..1 + salt % 4).map(|number| pick(salt * 31 + number * 17 + salt / 5)).collect()
}

/// What happened over all cases: a test that never reorganised would prove nothing.
#[derive(Default, Debug)]
pub(crate) struct Totals {
    pub(crate) blocks: usize,
    pub(crate) refused: usize,
    pub(crate) deep: usize,
    pub(crate) replaced: usize,
    pub(crate) returned: usize,
    /// Equivocations that the ledger found.
    pub(crate) found: usize,
    /// Looks at a chain that holds a proof, and at one that holds two.
    pub(crate) proven: usize,
    pub(crate) proven_again: usize,
    /// Verifications and ratings of datasets that counted, over all looks.
    pub(crate) found_of_datasets: usize,
    /// Batches left out because their author was not admitted any more.
    pub(crate) left_out: usize,
    /// Looks at a station that is vouched, and batches offered by one that is not admitted.
    pub(crate) vouched: usize,
    pub(crate) strangers: usize,
}
