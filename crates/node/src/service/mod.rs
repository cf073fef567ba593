//! The service: one writer that decides, and what carries its decisions out.

pub mod effect;
pub mod state;
