//! What is known of a machine's page writes, and what follows from it for a move.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock. `docs/model.md` has the
//! formulas, what they leave out, and how each is checked.
//!
//! - [`Strategy`], [`Policy`]: how memory is moved: in which order, what is held back, how often;
//! - [`Mode`], [`OnMiss`]: how a machine changes hosts, and what is done where a promise is missed;
//! - [`Heat`], [`Activity`]: how often each page, and all of them together, are written;
//! - [`rounds`]: what a pre-copy in rounds leads to: downtime, total time, what is left over;
//! - [`order`]: in which order pages are sent;
//! - [`hold_back`]: which pages are not sent before the stop;
//! - [`lull`]: when the machine will write little;
//! - [`quantile`]: from samples and past errors to intervals that hold as often as they say.

mod activity;
mod heat;
pub mod hold_back;
pub mod lull;
mod mode;
mod normal;
pub mod order;
pub mod quantile;
pub mod rounds;
mod spread;
mod strategy;

pub use activity::{Activity, Sample};
pub use heat::Heat;
pub use mode::{Mode, OnMiss};
pub use quantile::Calibration;
pub use spread::Spread;
pub use strategy::{HoldBack, Order, Policy, Rounds, Strategy};
