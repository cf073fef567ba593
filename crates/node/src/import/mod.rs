//! Files that are taken in: our own export, and what the original program wrote.
//!
//! | file | noun |
//! |---|---|
//! | `spool` | a file on its way in, in a place of its own until all of it is judged |
//! | `provenance` | where a record says that it comes from |
//! | `plan` | what a file of the original makes: which records, and which of them are there already |
//! | `export` | the blocks of our own export, verified |
//! | `rebuild` | a store made of them beside the station's own, all of it or nothing |
//!
//! `node::importing` puts them together.

pub(crate) mod export;
pub(crate) mod plan;
mod provenance;
pub(crate) mod rebuild;
pub(crate) mod spool;
