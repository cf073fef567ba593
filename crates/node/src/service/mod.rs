//! The service: one writer that decides, and what carries its decisions out.
//!
//! ```text
//!  commands ──> worker ── Input + now ──> state (pure)
//!                 │  <──── effects, in order
//!                 ├─ Persist ──> writer (for the journal a thread, or who asked; then one for the view)
//!                 ├─ Mine ─────> miner (blocking thread)
//!                 ├─ orders ───> exchange ──> network
//!                 └─ replies, events: once what they rest on is on disk
//! ```

mod block_lines;
mod command;
pub mod effect;
mod journaling;
mod miner;
mod showing;
pub mod state;
mod watchdog;
pub(crate) mod worker;
mod writer;

pub use command::{ServiceError, ServiceHandle};
