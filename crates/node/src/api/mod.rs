//! The HTTP API: bounds and decodes what comes in, asks the node through [`port::Station`], shows what comes back.
//!
//! | file | noun |
//! |---|---|
//! | `port` | what the API needs of the node |
//! | `server` | listener, connections, stop |
//! | `routes` | which path does what |
//! | `auth` | who may ask what |
//! | `body`, `query`, `json` | reading strictly, within bounds |
//! | `record` | records as they are sent |
//! | `block`, `duties`, `proof`, `dto` | what is shown |
//! | `schema`, `openapi` | how all of it is described |
//! | `problem` | refusals, with their stable codes |
//!
//! Nothing here decides about the ledger, and nothing waits for a client: whatever a client can hold up is bounded in
//! bytes, time and number by [`server::Limits`].

pub mod auth;
pub mod block;
mod body;
pub mod dto;
pub(crate) mod duties;
pub mod json;
mod openapi;
pub mod port;
pub mod problem;
pub mod proof;
mod query;
pub mod record;
mod routes;
mod schema;
pub mod server;

#[cfg(test)]
mod tests;
