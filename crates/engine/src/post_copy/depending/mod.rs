//! The destination's half: a machine runs while pages of it are still at its source.

mod answer;
mod filling;
mod lines;
mod parts;
mod shared;
mod waiting;

use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use punctual_guest::MachineError;
use punctual_guest::demand::Demand;
use punctual_units::{MemoryLayout, Pages};
use punctual_wire::{DestinationMessage, Faults, PageLine};

pub use self::answer::{answer_failed, answer_whole};
use self::shared::Shared;
use super::{Link, start};
use crate::Connection;

/// How long the last word may take to be said and heard.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Fills the pages that a machine lacks, and asks for those that it waits for.
///
/// Uses two threads, and one for each line; they end with it. Dropping it leaves what is missing
/// waiting in the machine.
pub struct Depending {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// How a machine stands that depends on its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependence {
    /// How many pages are missing.
    pub missing: Pages,
    /// For how many somebody waits now.
    pub waiting: usize,
    /// How often somebody has waited until now, and how long.
    pub faults: Faults,
    /// How often the link was lost and came back.
    pub recoveries: u32,
    /// Whether the source can be heard.
    pub link: Link,
}

impl Depending {
    /// Begins to fill the pages that `demand` lacks, with what comes over `lines`: each connection
    /// whose first message was [`Serve`](punctual_wire::Serve) for this machine, also later ones
    /// after a loss; a new line takes the place of the one before. `layout` is the machine's. With
    /// `verify` a digest of what has come is told at the end; only where the machine has lacked
    /// nothing else before, not behind [`Pager::take_over`](punctual_guest::demand::Pager::take_over).
    ///
    /// Returns at once. Faults are answered from now on.
    #[must_use]
    pub fn begin(
        demand: Arc<dyn Demand>,
        layout: MemoryLayout,
        lines: mpsc::Receiver<(PageLine, Connection)>,
        verify: bool,
    ) -> Self {
        let shared = Arc::new(Shared::new(demand, layout, verify));
        let faults = {
            let shared = Arc::clone(&shared);
            start("page-faults", move || waiting::run(&shared))
        };
        let incoming = {
            let shared = Arc::clone(&shared);
            start("page-lines", move || lines::run(&shared, &lines))
        };
        Self { shared, threads: vec![faults, incoming] }
    }

    /// How it stands.
    #[must_use]
    pub fn state(&self) -> Dependence {
        self.shared.state()
    }

    /// Waits until the machine depends on its source no more, or never will be whole; `None`: it is
    /// not known within `timeout`.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Result<Faults, Arc<MachineError>>> {
        self.shared.wait(timeout)
    }

    /// Tells the source that the machine is whole, if there is a link, and ends. The source may not
    /// hear it: [`answer_whole`] is for one that comes back later. Blocks for at most 2 s.
    pub fn tell_whole(self) {
        let (faults, digest) = (self.shared.faults(), self.shared.digest());
        self.shared.tell(&DestinationMessage::Whole { faults, digest }, LAST_WORD);
    }

    /// Tells the source that the machine has ended, if there is a link, and ends. Blocks for at most
    /// 2 s.
    pub fn tell_failed(self, reason: &str) {
        let reason = reason.to_owned();
        self.shared.tell(&DestinationMessage::Failed { reason }, LAST_WORD);
    }
}

impl Drop for Depending {
    fn drop(&mut self) {
        self.shared.end();
        for thread in self.threads.drain(..) {
            // One that has panicked has left its pages waiting, as if it had been ended before.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Depending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Depending").field("state", &self.state()).finish_non_exhaustive()
    }
}
