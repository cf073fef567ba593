//! The files of the original Python program: read, and their hashes made again bit for bit.
//!
//! | file | noun |
//! |---|---|
//! | `elements` | the elements of a JSON array, one by one from a stream |
//! | `value`, `parse` | JSON as Python understands it: every number is the decimal text that Python prints |
//! | `text` | the text that `json.dumps(value, sort_keys=True)` gives |
//! | `chain`, `ledger` | the blocks of the two kinds of files, and what makes them valid |
//! | `file` | a whole file, block by block |
//! | `fault` | why a file is refused: the block, and the reason |
//!
//! The only floating point is in `value`: a number of the file is read as the double that Python reads, to learn how
//! Python prints it. From there on it is text.

pub mod chain;
pub mod elements;
pub mod fault;
pub mod file;
pub mod ledger;
mod members;
pub mod parse;
pub mod text;
pub mod value;
