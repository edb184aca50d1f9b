//! The move of a machine: what each side does when, and the drivers that carry it out.
//!
//! - [`emigrate`], [`immigrate`]: move a machine away, take one in;
//! - [`source`], [`destination`]: the two sides, pure: `step(state, event) → (state, effects)`;
//! - [`Request`]: what is asked of a move; [`rule`]: when to stop, to go on and to give up;
//! - [`Report`]: what a move promised and what it took;
//! - [`Progress`], [`Observer`]: what is known while it goes on;
//! - [`Journal`], [`Entry`]: what must survive the end of a daemon;
//! - [`post_copy`]: pages that follow a machine that was handed over without them;
//! - [`times`]: times as they stand in JSON.

mod course;
pub mod destination;
mod driver;
pub mod journal;
mod meter;
pub mod post_copy;
mod probe;
pub mod progress;
mod remainder;
pub mod report;
mod request;
pub mod rule;
mod slowing;
pub mod source;
pub mod times;

pub use driver::{
    Admission, Cancel, Connection, Emigration, Following, Held, Immigration, Lines, PagesInto,
    SourceHost, Start, StartError, Unanswered, emigrate, immigrate,
};
pub use journal::{Entry, Journal, JournalError};
pub use progress::{Observer, Phase, Progress};
pub use report::Report;
pub use request::{FixedCost, Request};
pub use rule::GiveUp;
