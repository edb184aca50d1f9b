//! Machines in files: saved, resumed, cloned.
//!
//! - [`suspending`]: a machine goes into a file, and ends or runs on;
//! - [`resuming`]: a machine comes out of a file; [`cloning`]: both, one after the other;
//! - [`saving`], [`restoring`]: memory and device state on their way;
//! - [`place`]: the file and its names; [`disks`]: whether they are as they were;
//! - [`session`], [`task`], [`recovery`]: what a daemon that was killed leaves, and what the next
//!   one makes of it.
//!
//! A suspended machine has one owner at every moment. Until its file has its name, durably, it is
//! the process that stands here; from then on it is the file. Who resumes it takes the name away
//! first.

mod cloning;
mod disks;
mod place;
mod recovery;
mod restoring;
mod resuming;
mod saving;
mod session;
mod suspending;
mod task;
mod watch;

use std::thread;
use std::time::{Duration, SystemTime};

use punctual_snapshot::About;
use punctual_units::Bytes;
use punctual_wire::{Engine, MigrationId, Offer};

use crate::api::{Id, Problem, SnapshotEvent};

pub(crate) use recovery::{resuming as recover_resuming, suspending as recover_suspending, tidy};

/// How an undertaking that was begun came to nothing.
enum Ended {
    /// It was not to go on. The text says what is the case.
    Cancelled(String),
    /// It did not work.
    Failed(Problem),
}

impl From<Problem> for Ended {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl From<Ended> for SnapshotEvent {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Cancelled(what) => Self::Cancelled(what),
            Ended::Failed(problem) => Self::Failed(problem),
        }
    }
}

/// The number of a new undertaking.
fn new_id() -> Id {
    MigrationId(rand::random()).into()
}

/// What a machine out of a file would be offered as by another host.
fn offer(about: &About, name: &str, populated: Bytes, description: Vec<u8>) -> Offer {
    Offer {
        migration: MigrationId(about.id.0),
        machine: name.to_owned(),
        source: about.host.clone(),
        // Nobody is asked how the attempt ended.
        source_address: String::new(),
        layout: about.layout.clone(),
        populated,
        description,
        downtime: Duration::ZERO,
        bandwidth: None,
        verify: true,
        dry_run: false,
        post_copy: false,
        engine: Engine::External,
    }
}

/// Seconds since 1970, UTC.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Does the work in a thread of its own.
fn begin(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Problem> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    thread
        .map(drop)
        .map_err(|error| Problem::failed(format!("no thread for it: {error}"), "raise the limits"))
}
