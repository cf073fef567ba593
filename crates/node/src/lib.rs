//! The daemon.

pub mod service;
