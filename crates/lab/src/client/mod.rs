//! What a client of a guest sees of a move: measured from outside, on the client's own clock.
//!
//! - [`BeaconReceiver`]: the guest's beacon of 1 kHz, for gaps and for work that was not done;
//! - [`StreamReader`]: a TCP connection that the guest streams over, checked byte by byte;
//! - [`Load`]: connections that keep a server busy, and what came over them;
//! - [`Control`]: questions to the guest itself, above all whether its memory is whole.
//!
//! What arrives goes into [`Arrivals`], which are asked about a [`Window`] of time.

mod arrivals;
mod beacon;
mod control;
mod load;
mod reception;
mod stream;

pub use arrivals::{Arrival, Arrivals, Kind};
pub(crate) use beacon::receive_one;
pub use beacon::{BeaconReceiver, Signs};
pub(crate) use control::connect;
pub use control::{Control, ControlError};
pub use load::{Demand, Load, LoadSeen};
pub use reception::{Gap, Reception, Window, WorkLost};
pub use stream::{StreamEnd, StreamReader};
