//! The daemon.

pub mod api;
pub mod events;
