//! Tests of the whole: what the tests of real daemons share.
//!
//! The tests themselves know only what people and programs touch: the program `qfzz`, its HTTP API and its files.

#[path = "daemons/harness/mod.rs"]
pub mod harness;
