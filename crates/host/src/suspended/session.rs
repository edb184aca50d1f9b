//! A machine while it is being written to a file.

use std::sync::Arc;

use punctual_engine::Cancel;

use super::task::Task;
use crate::api::Problem;
use crate::host::Host;
use crate::registry::{Record, Standing};

/// A machine that is at home and is being saved. However it ends, the machine is at home again
/// after it, unless it is told otherwise.
pub(super) struct Session {
    host: Arc<Host>,
    name: String,
    /// What ends it early.
    pub(super) cancel: Cancel,
    end: End,
}

/// What becomes of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The machine is at home.
    Home,
    /// The machine is gone.
    Gone,
    /// It is as it was: the next daemon sees to it.
    Undecided,
}

impl Session {
    /// Takes a machine that is at home for it. What is to be done is on record before anything is.
    pub(super) fn begin(
        host: &Arc<Host>,
        name: &str,
        task: &Task,
    ) -> Result<(Self, Record), Problem> {
        let at_home = |from| from == Standing::Resident;
        let record = host.registry.shift(name, at_home, Standing::Suspending(task.id))?;
        let (host, name, cancel) = (Arc::clone(host), name.to_owned(), Cancel::new());
        host.recordings.enter(&name, &cancel);
        let session = Self { host, name, cancel, end: End::Home };
        task.record(&session.host.config.suspending(), &session.name)?;
        Ok((session, record))
    }

    /// The machine has been ended, and nothing is left of it.
    pub(super) fn forget(mut self) {
        self.end = End::Gone;
    }

    /// The machine is neither: the next daemon looks at its file, and decides.
    pub(super) fn leave_undecided(mut self) {
        self.end = End::Undecided;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.host.recordings.leave(&self.name);
        match self.end {
            End::Home => self.host.stand(&self.name, Standing::Resident),
            End::Gone => self.host.forget(&self.name),
            End::Undecided => return,
        }
        Task::forget(&self.host.config.suspending(), &self.name);
    }
}
