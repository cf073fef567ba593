//! A whole file, block by block.

use std::io::BufRead;

use super::elements::{ElementError, Elements};
use super::fault::{Fault, Reason};
use super::parse::parse;
use super::value::{Text, Value};
use super::{chain, ledger};

/// Bytes of one block, at most: the original mined a hundred records at a time, of some hundred bytes each.
pub const MAX_BLOCK_BYTES: usize = 4 * 1024 * 1024;

/// What block 0 names as the hash of the block before.
const NO_BLOCK: &str = "0";

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What `export_chain()` wrote.
    Chain,
    /// A station's ledger.
    Ledger,
}

/// A block that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Of a chain.
    Chain(chain::Block),
    /// Of a station ledger: its hash, in hex.
    Ledger(String),
}

impl Checked {
    /// Its hash, in hex.
    pub fn hash(&self) -> &str {
        match self {
            Self::Chain(block) => &block.hash,
            Self::Ledger(hash) => hash,
        }
    }
}

/// A file, while it is read and checked.
pub struct Blocks<R> {
    elements: Elements<R>,
    /// What block 0 showed the file to be.
    kind: Option<Kind>,
    previous: String,
}

impl<R: BufRead> Blocks<R> {
    /// Reads a file of either kind.
    pub fn new(input: R) -> Self {
        Self { elements: Elements::new(input, MAX_BLOCK_BYTES), kind: None, previous: NO_BLOCK.to_owned() }
    }

    /// The next block, once its index, its link and its hash are found right; `None` behind the last one.
    ///
    /// # Errors
    /// [`Fault`]; the file is refused with it, and cannot be read on.
    pub fn next_block(&mut self) -> Result<Option<Checked>, Fault> {
        let block = self.elements.index();
        let checked = self.check_next(block).map_err(|reason| Fault { block, reason })?;
        if let Some(checked) = &checked {
            checked.hash().clone_into(&mut self.previous);
        }
        Ok(checked)
    }

    fn check_next(&mut self, place: u64) -> Result<Option<Checked>, Reason> {
        let Some(json) = self.elements.next_element()? else {
            return if place == 0 { Err(Reason::Empty) } else { Ok(None) };
        };
        let Value::Object(block) = parse(&json)? else {
            return Err(ElementError::Expected { expected: "an object" }.into());
        };
        let has = |member: &str| block.contains_key(&Text::from(member));
        let kind = match self.kind {
            Some(kind) => kind,
            None if has("records") => Kind::Chain,
            None if has("event_type") => Kind::Ledger,
            None => return Err(Reason::UnknownKind),
        };
        self.kind = Some(kind);
        Ok(Some(match kind {
            Kind::Chain => Checked::Chain(chain::check(block, place, &self.previous)?),
            Kind::Ledger => Checked::Ledger(ledger::check(block, place, &self.previous)?),
        }))
    }
}
