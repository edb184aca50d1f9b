use std::time::Duration;

use punctual_units::{PageRange, Pages};
use thiserror::Error;

use crate::{About, Content};

/// The page writes of one machine over some time.
///
/// What it promises, however it was made: scans rise in time; the runs of a scan are not empty, rise,
/// do not overlap and lie inside the machine; and all of it is within the limits below. So whoever
/// reads a trace need check nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Trace {
    about: About,
    scans: Vec<Scan>,
}

/// What one scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// When, since the beginning of the trace: above zero and later than the scan before.
    pub at: Duration,
    /// The pages written since the scan before (or the beginning), each at least once.
    pub written: Vec<PageRange>,
}

impl Scan {
    /// How many distinct pages were found written.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.written.iter().map(|run| run.len()).sum()
    }
}

/// Why something is no trace.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Flaw {
    /// The machine's name or that of a region is too long.
    #[error("a name of {0} bytes is longer than the {most} that a trace holds", most = Trace::LONGEST_NAME)]
    NameTooLong(usize),
    /// The machine is too large.
    #[error("{} pages are more than the {} (4 TiB) of a machine that a trace is made for", .0.get(), Trace::MOST_PAGES.get())]
    MachineTooLarge(Pages),
    /// The set of populated pages is that of another machine.
    #[error("the populated pages are those of a machine of {}, not of {}", .populated, .machine)]
    OtherMachine {
        /// How many pages the set is for.
        populated: Pages,
        /// How many pages the machine has.
        machine: Pages,
    },
    /// A number of bytes that a page does not take.
    #[error("a packed page is said to take {0} bytes, which is not between 0 and {most}", most = Content::MOST)]
    Content(f64),
    /// More scans or more runs than a trace may have.
    #[error("{what} are more than the {most} that a trace holds")]
    TooMuch {
        /// What there is too much of, with its number.
        what: String,
        /// How much there may be.
        most: usize,
    },
    /// A scan is not later than the one before.
    #[error("scan {scan} is of {at:?}, which is not later than the one before")]
    Time {
        /// The scan, counted from 0.
        scan: usize,
        /// The time it states.
        at: Duration,
    },
    /// A run is empty, overlaps the one before or reaches behind the end of the machine.
    #[error(
        "scan {scan} has the pages {}..{}, which are none, not behind the ones before, or not \
         inside the machine's {machine}", .run.start.0, .run.end.0
    )]
    Run {
        /// The scan, counted from 0.
        scan: usize,
        /// The run.
        run: PageRange,
        /// How many pages the machine has.
        machine: Pages,
    },
}

impl Trace {
    /// The longest name of a machine or a region, in bytes.
    pub const LONGEST_NAME: usize = 1024;
    /// The most pages that a machine may have: 4 TiB of them.
    pub const MOST_PAGES: Pages = Pages::new(1 << 30);
    /// The most scans: a day of them at ten a second.
    pub const MOST_SCANS: usize = 1 << 20;
    /// The most runs of all scans together: half a gigabyte of them in memory.
    pub const MOST_RUNS: usize = 1 << 25;
    /// The latest time of a scan: a year.
    pub const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

    /// A trace of these scans.
    ///
    /// # Errors
    /// Something that a trace promises does not hold, see [`Trace`].
    pub fn new(about: About, scans: Vec<Scan>) -> Result<Self, Flaw> {
        about.check()?;
        at_most("scans", scans.len(), Self::MOST_SCANS)?;
        at_most("runs", scans.iter().map(|scan| scan.written.len()).sum(), Self::MOST_RUNS)?;
        let machine = about.layout.pages();
        let mut before = Duration::ZERO;
        for (index, scan) in scans.iter().enumerate() {
            if scan.at <= before || scan.at > Self::LONGEST {
                return Err(Flaw::Time { scan: index, at: scan.at });
            }
            before = scan.at;
            let mut free = 0;
            for run in &scan.written {
                if run.start.0 < free || run.is_empty() || run.end.0 > machine.get() {
                    return Err(Flaw::Run { scan: index, run: *run, machine });
                }
                free = run.end.0;
            }
        }
        Ok(Self { about, scans })
    }

    /// What it was recorded from.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.about
    }

    /// What was found, in the order of time.
    #[must_use]
    pub fn scans(&self) -> &[Scan] {
        &self.scans
    }

    /// How long was recorded: the time of the last scan.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.scans.last().map_or(Duration::ZERO, |scan| scan.at)
    }
}

impl About {
    /// Checks what can be wrong about it by itself.
    pub(crate) fn check(&self) -> Result<(), Flaw> {
        let names = self.layout.regions().iter().map(|region| &region.name);
        for name in names.chain([&self.machine]) {
            if name.len() > Trace::LONGEST_NAME {
                return Err(Flaw::NameTooLong(name.len()));
            }
        }
        let machine = self.layout.pages();
        if machine > Trace::MOST_PAGES {
            return Err(Flaw::MachineTooLarge(machine));
        }
        if self.populated.capacity() != machine {
            return Err(Flaw::OtherMachine { populated: self.populated.capacity(), machine });
        }
        for bytes in [self.content.first, self.content.again] {
            if !(0.0..=Content::MOST).contains(&bytes) {
                return Err(Flaw::Content(bytes));
            }
        }
        Ok(())
    }
}

fn at_most(what: &str, number: usize, most: usize) -> Result<(), Flaw> {
    if number > most {
        return Err(Flaw::TooMuch { what: format!("{number} {what}"), most });
    }
    Ok(())
}
