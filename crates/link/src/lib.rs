//! The channel between two hosts: one TCP connection that carries messages and pages.
//!
//! A [`Link`] falls into a [`Sender`] and a [`Receiver`], to be used by two threads, and has a
//! [`Closer`] that ends it from any other. Nothing here waits for ever: see [`Timeouts`] for how
//! long anything can take before it ends in a [`LinkError`].
//!
//! Raw pages go from the memory's file into the socket by `sendfile` and from the socket into the
//! destination's memory, never through a buffer of this crate.

mod connect;
mod error;
pub mod probe;
mod receiver;
mod sender;
mod socket;
mod tunnel;

pub use connect::{Arrival, Closer, Link, Listener, Timeouts};
pub use error::{LinkError, LinkFault};
pub use receiver::{Incoming, PendingPages, Receiver};
pub use sender::{Sender, Sent};
pub use socket::Way;
pub use tunnel::Tunnel;
