//! The daemon.

pub mod cli;
pub mod config;
pub mod data_dir;
pub mod identity;
pub mod telemetry;
