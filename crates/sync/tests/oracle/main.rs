//! The node beside the reference of global trust: the same records to both, every integer compared.

mod chain;
mod histories;
mod reference;
mod scenarios;
mod shown;

use std::sync::mpsc::sync_channel;
use std::thread;

use crate::histories::{Dice, Met};

/// Histories that are compared.
const HISTORIES: u64 = 2_000;

/// Questions on their way to the reference, at most.
const AHEAD: usize = 64;

#[test]
fn in_random_histories_node_and_reference_agree_on_every_integer_and_the_state_is_a_replay() {
    let (mut child, mut input, mut answers) = reference::start();
    let (send, receive) = sync_channel(AHEAD);
    let met = thread::scope(|scope| {
        let checker = scope.spawn(move || {
            let mut checked = 0;
            for (history, scenario, found) in receive {
                let expected = answers.next();
                assert_eq!(found, expected, "history {history}: {scenario}");
                checked += 1;
            }
            checked
        });
        let (federations, mut met) = (histories::federations(), Met::default());
        for history in 0..HISTORIES {
            let federation = &federations[history as usize % federations.len()];
            histories::run(federation, &mut Dice(history), &mut met, &mut |scenario, found| {
                reference::ask(&mut input, &scenario);
                // It is gone where something differed, which it says itself.
                let _ = send.send((history, scenario, found));
            });
        }
        drop((send, input));
        assert!(checker.join().expect("both agree") >= HISTORIES);
        met
    });
    assert!(child.wait().expect("it ended").success());
    println!("{met:?}");
    let Met { draws, disputed_first, drawn_answers, undrawn, contested, .. } = met;
    let Met { juries, equivocators, no_founders, reorganisations, unproven, .. } = met;
    for often in [draws, drawn_answers, undrawn, juries, equivocators, reorganisations, unproven] {
        assert!(often > 500, "{met:?}");
    }
    for seldom in [disputed_first, contested, no_founders] {
        assert!(seldom > 50, "{met:?}");
    }
}
