//! Pages that follow a machine that has been handed over without them.
//!
//! ```text
//!  source                                                   destination
//!  leaving ──(committed, pages owed)──► serving             arriving ──(runs, pages missing)──► depending
//!     serving ──(whole)──► gone                                depending ──(whole)──► resident
//! ```
//! A lost link, or a daemon that is killed, changes neither: the machine waits where it lacks a page,
//! and both go on when they are back.

mod depending;
mod lines;
mod serving;

pub(crate) use depending::TakenOver;
pub(crate) use lines::{Expected, Lines};
pub(crate) use serving::{Followed, Servings, dial};
