//! The ownership protocol as a model that is searched exhaustively. Pure.
//!
//! Two hosts, one machine, and several attempts to move it, there and back. The state machines of
//! the two sides are the engine's own ([`punctual_engine::source`], [`punctual_engine::destination`]),
//! with the page traffic answered at once; what a host does around them (the log, the records of
//! machines, recovery, inquiries, pages that follow, processes that are replaced) is modelled rule
//! by rule, and each rule names the function that it mirrors. `docs/protocol.md` tells the protocol
//! and what this search has found.
//!
//! - [`Model`]: the worlds that can follow a world, each by a [`Step`];
//! - [`World`]: everything that decides what can happen next;
//! - [`Bounds`], [`Rules`]: how much may go wrong, and by which rules the hosts play;
//! - [`search`]: looks at every world within the bounds, and shows the shortest way to a
//!   [`Violation`].

mod cores;
mod following;
mod inquiries;
mod local;
mod model;
mod properties;
mod recovery;
mod rules;
mod search;
mod step;
mod tasks;
mod threads;
mod world;

pub use model::Model;
pub use properties::{Breach, Violation};
pub use rules::{Bounds, Deviation, Moves, Rules};
pub use search::{Search, Trace, search};
pub use step::{Cost, Step};
pub use world::World;

#[cfg(test)]
mod tests;
