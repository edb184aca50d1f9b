//! Pages that follow a machine that was handed over without them.
//!
//! ```text
//!  source: Serving                                             destination: Depending
//!
//!  answers ── reads pages, encodes ◄══ faults line ═══════ Want ◄── faults ── userfaultfd
//!     │ order: around the fault     ══════ pages ═══════► filler ──► pages in place, who waits wakes
//!     ▼
//!  push ───── reads pages, encodes ═══ push line ═ pages ═► filler
//!  ears ◄───────────────────────────── Lacking, Whole ◄───── what is missing
//! ```
//!
//! # What holds
//! 1. **Nothing is served before [`Serving::begin`], and nothing after [`Serving::end`].** In between
//!    the machine does not run at the source, so that a page has one content, whenever it is read.
//! 2. **A page is filled once**, by whichever line brings it first; [`Demand`] sees to that. Pages
//!    travel whole or as zero: neither side remembers what the other has.
//! 3. **What was sent and may not have arrived is missing still.** Who knows what is missing is the
//!    destination: it says so anew on each new push line, and asks anew on each new faults line. What
//!    the source has sent over a line that is lost counts as not sent.
//! 4. **A lost line is dialled again until [`Serving::end`]**, and no page is given up. The machine
//!    waits meanwhile where it lacks a page, and runs where it does not.
//! 5. **Faults come first**: they have a connection and a thread of their own, and what is pushed
//!    beside them keeps the queue of the link short (`pace.rs`).
//!
//! A line on which nothing is said is not lost: TCP itself finds a dead network out, by keepalive
//! probes where nothing is under way and by its time limit where something is, in some 10 s
//! ([`Timeouts::lost`](punctual_link::Timeouts::lost)).

mod depending;
mod order;
mod pace;
mod serving;
mod sketch;
mod warmth;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use punctual_link::LinkError;
use punctual_wire::PageLine;

pub use depending::{Dependence, Depending, answer_failed, answer_whole};
pub use serving::{Served, Serving, State};

use crate::Connection;
#[cfg(doc)]
use punctual_guest::demand::Demand;

/// Opens a connection to the destination: connects and agrees on a version. The first message is
/// said by [`Serving`]. It is called on a thread of its own, and should end within some seconds.
pub type Dial = Arc<dyn Fn() -> Result<Connection, LinkError> + Send + Sync>;

/// How the link between a machine and the pages that it lacks stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Both lines are there.
    Up,
    /// One is not. The machine waits where it lacks a page.
    Lost {
        /// Since when.
        since: Instant,
        /// Why, to be shown.
        why: String,
    },
}

/// How long a line may be silent: as long as the machine needs nothing. 68 years.
const SILENCE: Duration = Duration::from_secs(1 << 31);

/// Starts a thread that somebody joins.
fn start(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.expect("a system that runs a machine can start one more thread")
}

/// The place of a line among two.
const fn place(line: PageLine) -> usize {
    match line {
        PageLine::Faults => 0,
        PageLine::Push => 1,
    }
}

/// What is known of both lines, at either end.
#[derive(Debug)]
struct Lines {
    lost: [Option<(Instant, String)>; 2],
    /// How often each has come back.
    recoveries: [u32; 2],
    /// Whether it was ever there.
    known: [bool; 2],
}

impl Lines {
    fn new(why: &str) -> Self {
        let lost = || Some((Instant::now(), why.to_owned()));
        Self { lost: [lost(), lost()], recoveries: [0; 2], known: [false; 2] }
    }

    fn connected(&mut self, line: PageLine) {
        let at = place(line);
        self.lost[at] = None;
        self.recoveries[at] += u32::from(self.known[at]);
        self.known[at] = true;
    }

    fn lost(&mut self, line: PageLine, why: String) {
        // The first reason stands: later ones follow from it.
        self.lost[place(line)].get_or_insert((Instant::now(), why));
    }

    fn is_lost(&self, line: PageLine) -> bool {
        self.lost[place(line)].is_some()
    }

    /// A newer reason why a line cannot be had.
    fn still_lost(&mut self, line: PageLine, why: String) {
        let since = self.lost[place(line)].as_ref().map_or_else(Instant::now, |(since, _)| *since);
        self.lost[place(line)] = Some((since, why));
    }

    fn link(&self) -> Link {
        match self.lost.iter().flatten().min_by_key(|(since, _)| *since) {
            None => Link::Up,
            Some((since, why)) => Link::Lost { since: *since, why: why.clone() },
        }
    }

    /// How often the link has come back: both lines are lost together.
    fn recoveries(&self) -> u32 {
        self.recoveries.into_iter().max().unwrap_or(0)
    }
}
