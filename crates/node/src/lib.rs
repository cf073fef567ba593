//! The QFZZ federation node: daemon, store, network, HTTP API and the program `qfzz`.

pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod data_dir;
pub mod disk_space;
pub mod events;
mod exchange;
pub mod identity;
pub mod invitations;
pub mod metrics;
pub mod network;
pub mod node;
mod rate;
pub mod service;
pub mod store;
pub mod telemetry;
pub mod ticket;
