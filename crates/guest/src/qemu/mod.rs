//! Machines of unmodified QEMU (7.2 or newer), found, described, started and handed over by QMP.
//!
//! ```text
//!  Spec ──► Plan ──► Machine::run                 Machine::attach ◄── a monitor's socket
//!                        └────────► Machine ◄──────────┘
//!                                      ├── Description ──► (travels) ──► Plan::for_destination
//!                                      └── Source                              └── Destination
//! ```
//!
//! A QEMU machine never runs by itself where it was moved to, and at the source it can be made to
//! run from every state ([`Source::recover`]) until the move is decided.

mod announce;
mod belongings;
pub mod command_line;
pub mod describe;
mod destination;
mod device_state;
mod launch;
mod machine;
pub mod migration;
pub mod movable;
pub mod native;
mod plan;
mod process;
pub mod qmp;
mod restart;
mod settle;
mod source;
pub mod spec;
mod tap;
mod unplugged;

pub use belongings::{Belongings, Leftover};
pub use describe::Description;
pub use destination::{Destination, TakeOverError};
pub use launch::LaunchError;
pub use machine::{AttachError, Machine, OpenRamError, RemoveError};
pub use plan::{Places, Plan, RamFile};
pub use process::Process;
pub use restart::{Afresh, ShutDown};
pub use source::Source;
pub use spec::{Spec, SpecError};
pub use tap::{Tap, TapError, interfaces};
pub use unplugged::Unplugged;
