//! The store.
mod frame;
mod journal;
mod redo;
mod view;
