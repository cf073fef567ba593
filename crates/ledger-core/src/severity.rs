//! Who is answerable for an error.

/// What an error means for the node and for whoever sent the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Nobody's fault, or not yet decidable: ignore, perhaps try again.
    Later,
    /// The sender's fault: reject and penalise it.
    Peer,
    /// Our own trouble: stop the node.
    Fatal,
}
