//! What is put off until a turn is over: so an answer leaves before what need not precede it.

use std::any::Any;
use std::cell::RefCell;

thread_local! {
    /// What is put off in the turn that this thread is taking, if it is one in which something may be.
    static PUT_OFF: RefCell<Option<Vec<Box<dyn Any>>>> = const { RefCell::new(None) };
}

/// Takes `turn`, and then drops what was put off in it, in its order. A turn within another is part of it.
pub(crate) fn run<T>(turn: impl FnOnce() -> T) -> T {
    let is_outermost = PUT_OFF.with_borrow_mut(|list| list.is_none() && list.insert(Vec::new()).is_empty());
    let _end = is_outermost.then(|| End);
    turn()
}

/// Drops what was put off, also where the turn panicked.
struct End;

impl Drop for End {
    fn drop(&mut self) {
        let list = PUT_OFF.with_borrow_mut(Option::take);
        drop(list);
    }
}

/// Whether this thread is taking a turn in which something may be put off.
pub(crate) fn is_turn() -> bool {
    PUT_OFF.with_borrow(Option::is_some)
}

/// Drops `what` after the turn that this thread is taking, or at once if it is taking none.
pub(crate) fn put_off(what: impl Any) {
    let at_once = PUT_OFF.with_borrow_mut(|list| match list {
        Some(list) => {
            list.push(Box::new(what));
            None
        }
        None => Some(what),
    });
    drop(at_once);
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Told(&'static str, Sender<&'static str>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.1.send(self.0).expect("a listener");
        }
    }

    #[test]
    fn what_is_put_off_comes_after_the_outermost_turn_in_its_order() {
        let (tell, told) = channel();
        assert!(!is_turn());
        run(|| {
            assert!(is_turn());
            run(|| put_off(Told("first", tell.clone())));
            put_off(Told("second", tell.clone()));
            tell.send("the turn").expect("a listener");
        });
        assert_eq!(told.try_iter().collect::<Vec<_>>(), ["the turn", "first", "second"]);
    }

    #[test]
    fn nothing_is_put_off_without_a_turn_nor_beyond_one_that_panics() {
        let (tell, told) = channel();
        put_off(Told("at once", tell.clone()));
        assert_eq!(told.try_recv(), Ok("at once"));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            run(|| {
                put_off(Told("after the panic", tell.clone()));
                panic!("on purpose");
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(told.try_recv(), Ok("after the panic"));
        put_off(Told("at once again", tell));
        assert_eq!(told.try_recv(), Ok("at once again"));
    }
}
