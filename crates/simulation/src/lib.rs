//! Whole moves on virtual time, with the very same two state machines that the drivers use, and
//! with a fault at every message and every effect.
//!
//! [`Case::of`] a seed is a guest, a link, a move and one to four faults; [`Case::run`] moves the
//! guest, lets everything settle, moves it once more, and says in its [`Verdict`] what does not
//! hold. `punctual chaos --simulated --seed N` shows one.
//!
//! What must hold: at no time two hosts let the guest run, and never from memory that is not what
//! the guest wrote; in the end one runs it, the one that the source's log names; nothing is left at
//! the other; a second attempt succeeds.
//!
//! The state machines are the engine's own. What hosts do around them (drivers, journals, recovery,
//! inquiries, reminders) is modelled here as simply as will do; `punctual-protocol` searches that
//! part exhaustively. No state machine is ever told the time of day, so there is none here: a clock
//! that jumps is a daemon that stands still for a while.
//!
//! ```
//! use punctual_simulation::Case;
//!
//! let verdict = Case::of(7).run();
//! assert_eq!(verdict.wrong, Vec::<String>::new());
//! ```

mod case;
mod chance;
mod destination_host;
mod fault;
mod guest;
mod link;
mod outcome;
mod paging;
mod setting;
mod source_host;
mod strike;
#[cfg(test)]
mod tests;
mod world;

pub use case::{Case, Verdict};
pub use chance::Chance;
pub use fault::{Failure, Fault, FaultKind, Side, Way, When};
