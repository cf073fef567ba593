//! The QFZZ federation node: daemon, store, network, HTTP API and the program `qfzz`.

mod after;
pub mod api;
mod checks;
pub mod cli;
pub mod clock;
pub mod config;
mod content_hash;
pub mod data_dir;
pub mod disk_space;
pub mod events;
mod exchange;
pub mod identity;
mod import;
pub mod invitations;
pub mod legacy;
mod license;
pub mod metrics;
pub mod network;
pub mod node;
pub mod quantum;
mod rate;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod ticket;

/// A station in the caller's process, by the name that the guide gives it.
pub use node::Node as QfzzNode;
