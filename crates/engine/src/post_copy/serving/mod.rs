//! The source's half: the pages of a stopped machine are sent to where it runs now.

mod answers;
mod dial;
mod push;
mod shared;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use punctual_guest::Ram;
use punctual_link::LinkError;
use punctual_model::Heat;
use punctual_units::{Bytes, BytesPerSecond, Pages};
use punctual_wire::{Faults, MigrationId, PageLine};

use self::dial::greet;
use self::shared::{Shared, Task};
use super::{Dial, Link, start};
use crate::Connection;

/// Serves the pages of a machine that runs, or is about to run, at its destination.
///
/// Uses two threads, and one more while it is connected; they end with it. Several threads may use
/// it at once.
pub struct Serving {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// How the service of a machine's pages stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// How many pages the destination lacks, by its last word, that are not on their way. `None`:
    /// it has not said.
    pub missing: Option<Pages>,
    /// How many pages have been sent; some may have been twice.
    pub pages: Pages,
    /// How many bytes have been sent, over both lines.
    pub bytes: Bytes,
    /// How many faults have been answered.
    pub faults: u64,
    /// How often the link was lost and came back.
    pub recoveries: u32,
    /// Whether the destination can be reached.
    pub link: Link,
}

/// What it took until the destination had everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// What was waited for there, as the destination tells.
    pub faults: Faults,
    /// How many pages were sent.
    pub pages: Pages,
    /// How many bytes were sent, over both lines.
    pub bytes: Bytes,
    /// How often the link was lost and came back.
    pub recoveries: u32,
    /// Whether the pages have arrived as they are here. `None`: nobody asked, or one of the two
    /// daemons was started again meanwhile, so that neither knows the sum of all of them.
    pub digest_equal: Option<bool>,
}

impl Serving {
    /// Opens both lines, before the machine is stopped. Serves nothing before [`Serving::begin`].
    ///
    /// `rate` is what the link is known to carry, and is not exceeded; without one it is measured.
    /// With `verify` the digests of what is sent and of what has arrived are compared at the end.
    /// Blocks for as long as `dial` takes, twice.
    ///
    /// # Errors
    /// The destination cannot be reached.
    pub fn open(
        ram: Arc<Ram>,
        migration: MigrationId,
        dial: Dial,
        rate: Option<BytesPerSecond>,
        verify: bool,
    ) -> Result<Self, LinkError> {
        let task = Task { ram, migration, rate, verify };
        let lines =
            (greet(&dial, migration, PageLine::Faults)?, greet(&dial, migration, PageLine::Push)?);
        Ok(Self::start(Shared::new(task, dial), Some(lines)))
    }

    /// Goes on with a machine that is its destination's, for a daemon that was started again, and
    /// serves at once. The destination may not be there yet: it is dialled until it is.
    #[must_use]
    pub fn reopen(
        ram: Arc<Ram>,
        migration: MigrationId,
        dial: Dial,
        rate: Option<BytesPerSecond>,
    ) -> Self {
        // What was missing in the beginning is not known any more: nothing can be verified.
        let task = Task { ram, migration, rate, verify: false };
        let serving = Self::start(Shared::new(task, dial), None);
        serving.begin(None);
        serving
    }

    fn start(shared: Shared, lines: Option<(Connection, Connection)>) -> Self {
        let shared = Arc::new(shared);
        let (faults, push) = lines.unzip();
        let answering = {
            let shared = Arc::clone(&shared);
            start("page-answers", move || answers::run(&shared, faults))
        };
        let pushing = {
            let shared = Arc::clone(&shared);
            start("page-push", move || push::run(&shared, push))
        };
        Self { shared, threads: Mutex::new(vec![answering, pushing]) }
    }

    /// The machine is stopped and will not run here again unless [`Serving::end`] is called first:
    /// its pages may be served. With its `heat`, pages that are written often go first. Returns at
    /// once; a second call changes nothing.
    pub fn begin(&self, heat: Option<Heat>) {
        self.shared.begin(heat);
    }

    /// The destination is to be found elsewhere now: what connections there are are closed, and it
    /// is dialled at once.
    pub fn redirect(&self, dial: Dial) {
        self.shared.redirect(dial);
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Waits until the destination has everything, or has told why it never will; `None`: neither
    /// happened within `timeout`, or it was ended here.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Result<Served, String>> {
        self.shared.wait(timeout)
    }

    /// Ends it at once: behind this no page of the machine is read. The destination goes on lacking
    /// what it lacks. Takes some milliseconds.
    pub fn end(&self) {
        self.shared.end();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // One that has panicked serves nothing any more, which is what is wanted.
            let _ = thread.join();
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("state", &self.state()).finish_non_exhaustive()
    }
}
