//! Whole moves on virtual time: the engine's own state machines of both sides, with a guest, a link
//! and two hosts that only compute what theirs would do and how long it would take.
//!
//! Nothing of the engine is repeated here. What the drivers do around it is: a thread that encodes
//! and sends in the order of its jobs, a short queue in the socket, acknowledgements per mebibyte.
//! Pages have no content: they are members of sets, and what they cost on the link is the
//! mean of what the machine's own pages were found to cost.

mod agenda;
mod costs;
mod destination;
mod guest;
mod outlet;
mod source;
mod world;

use std::time::Duration;

use punctual_engine::{Report, Request};
use punctual_trace::Content;
use punctual_units::{BytesPerSecond, PageSet, Pages};

pub use costs::{Costs, Link};
pub use guest::{Untouched, Writes};

/// The machine of a simulated move.
#[derive(Debug, Clone)]
pub struct Subject {
    /// Its name.
    pub machine: String,
    /// Its pages that hold anything, out of all that it has.
    pub populated: PageSet,
    /// What they cost on the link.
    pub content: Content,
    /// Whether it has disks with direct I/O.
    pub direct_io: bool,
    /// Of so many pages one is simulated and stands for the others; 1 for all of them. The link is
    /// slowed down by the same factor, so that everything takes the time it would.
    pub thinning: u32,
}

/// What is offered to the destination of a simulated move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The longest interruption.
    pub downtime: Duration,
    /// The bandwidth counted on, as the operator said it. The source sends no faster, and refuses
    /// a link that is slower.
    pub bandwidth: Option<BytesPerSecond>,
}

/// Moves a machine that writes its memory as `writes` tells, and reports it as the engine does.
///
/// The same arguments give the same report. Counts of pages and bytes are those of the whole
/// machine, whatever [`Subject::thinning`].
///
/// Cost: some microseconds for each leg of the move and 128 KiB of pages, so some milliseconds a
/// GiB sent, and what the engine's strategy takes.
#[must_use]
pub fn simulate(
    subject: &Subject,
    writes: &mut dyn Writes,
    link: &Link,
    costs: &Costs,
    terms: Terms,
    request: Request,
) -> Report {
    let report = world::World::new(subject, writes, link, costs, terms).run(request);
    whole(report, subject.thinning)
}

/// The report of the whole machine, of which one page in `thinning` was simulated.
fn whole(mut report: Report, thinning: u32) -> Report {
    let pages = |pages: &mut Pages| *pages = Pages::new(pages.get() * u64::from(thinning));
    let bytes = |bytes: &mut punctual_units::Bytes| {
        *bytes = punctual_units::Bytes::new(bytes.get() * u64::from(thinning));
    };
    pages(&mut report.measured.pages_sent);
    bytes(&mut report.measured.wire_bytes);
    for sample in &mut report.samples {
        pages(&mut sample.written);
        pages(&mut sample.dirty);
        bytes(&mut sample.sent);
    }
    report
}

#[cfg(test)]
mod tests;
