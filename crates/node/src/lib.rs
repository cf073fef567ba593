//! The daemon.

pub mod network;
pub mod ticket;
