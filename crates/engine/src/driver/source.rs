//! The source's driver.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use punctual_guest::{MachineError, RamIoError, Settled, SourceMachine, Surrendered};
use punctual_units::{BytesPerSecond, PageSet, Pages};
use punctual_wire::{Offer, Outcome, SourceMessage};

use super::line::Line;
use super::{Cancel, Connection, told};
use crate::journal::{Entry, Journal};
use crate::post_copy::{Dial, Serving};
use crate::source::{Committed, Effect, Event, Holding, Moved, Next, Stayed, Unknown, Why};
use crate::{Observer, Phase, Report, Request};

/// How a move ended at the source.
pub enum Emigration {
    /// The machine is the destination's. What is left here cannot run; it is to be removed once
    /// the report says that the move was completed.
    Moved {
        /// The report.
        report: Report,
        /// What is left.
        surrendered: Box<dyn Surrendered>,
        /// The pages that follow the machine, where they do: what is left here is needed until the
        /// destination has all of them.
        following: Option<Following>,
    },
    /// The machine runs on here.
    Stayed {
        /// The report.
        report: Report,
        /// The command line that it would have had at the destination, if only that was asked.
        command_line: Option<Vec<String>>,
        /// The machine, no longer traced once it is dropped or traced anew.
        machine: Box<dyn SourceMachine>,
    },
    /// Nobody can tell whether the commit is in the log. The machine stays paused.
    Unknown {
        /// The report.
        report: Report,
        /// The machine.
        machine: Held,
    },
}

/// Pages that follow a machine which runs elsewhere already.
pub struct Following {
    /// What serves them.
    pub serving: Serving,
    /// How many were missing when the machine was handed over.
    pub missing: Pages,
    /// When the machine was handed over.
    pub since: Instant,
}

impl Emigration {
    /// The report.
    #[must_use]
    pub fn report(&self) -> &Report {
        match self {
            Self::Moved { report, .. }
            | Self::Stayed { report, .. }
            | Self::Unknown { report, .. } => report,
        }
    }
}

impl fmt::Debug for Emigration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Moved { .. } => "Moved",
            Self::Stayed { .. } => "Stayed",
            Self::Unknown { .. } => "Unknown",
        };
        f.debug_struct(name).field("report", self.report()).finish_non_exhaustive()
    }
}

/// What the source's host gives to a move.
pub struct SourceHost<'a> {
    /// Its log, in which the commit is recorded.
    pub journal: &'a dyn Journal,
    /// Who watches.
    pub observer: &'a dyn Observer,
    /// The operator's wish that it end.
    pub cancel: &'a Cancel,
    /// What opens connections over which pages follow the machine; without it none can.
    pub dial: Option<Dial>,
}

/// A paused machine of which nobody knows whose it is. Only the outcome sets it free.
pub struct Held(Box<dyn SourceMachine>);

impl Held {
    /// The machine is the source's after all, if that is the outcome that the log shows when it
    /// has been read again: let it run.
    ///
    /// # Errors
    /// It is not: committed (then [`Held::surrender`] it) or still undecided.
    pub fn reclaim(self, outcome: Outcome) -> Result<Box<dyn SourceMachine>, Self> {
        if outcome == Outcome::Aborted { Ok(self.0) } else { Err(self) }
    }

    /// The machine is the destination's.
    #[must_use]
    pub fn surrender(self) -> Box<dyn Surrendered> {
        self.0.surrender()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

/// Moves a machine to the host at the other end of `link`, which has said nothing yet.
///
/// `machine` runs and is not traced. `offer` and `request` say what is asked, `host` what there is
/// to do it with. The outcome is always
/// clear, see [`Emigration`]; whatever goes wrong before the commit is recorded leaves
/// the machine running here. Blocks until then: at most [`Request::within`], and some seconds.
/// Uses three threads more. Where pages follow the machine, their end is not waited for, see
/// [`Following`].
pub fn emigrate(
    machine: Box<dyn SourceMachine>,
    link: impl Into<Connection>,
    offer: Offer,
    request: &Request,
    host: SourceHost<'_>,
) -> Emigration {
    let SourceHost { journal, observer, cancel, dial } = host;
    let migration = offer.migration;
    let entry =
        Entry::Offered { migration, machine: offer.machine.clone(), to: request.to.clone() };
    let recorded = journal.record(&entry);
    let (verify, rate) = (offer.verify, offer.bandwidth);
    let ram = Arc::clone(machine.ram());
    let line = Line::open(link.into(), &offer, ram, journal, observer, cancel);
    let first = match recorded {
        Ok(()) => Holding::begin(offer, request.clone()),
        Err(error) => Holding::not_begun(offer, request.clone(), Why::NotRecorded(told(&error))),
    };
    let held = verify.then(|| PageSet::empty(machine.ram().layout().pages()));
    let lines = PageLines { dial, rate, verify, serving: None };
    Driver { machine, line, held, lines }.run(first)
}

struct Driver<'a> {
    machine: Box<dyn SourceMachine>,
    line: Line<'a>,
    /// Pages that held something when last looked at, where digests will be compared.
    held: Option<PageSet>,
    lines: PageLines,
}

/// The connections over which pages follow the machine, and what opens them.
struct PageLines {
    dial: Option<Dial>,
    rate: Option<BytesPerSecond>,
    verify: bool,
    serving: Option<Serving>,
}

impl Driver<'_> {
    fn run(mut self, mut next: Next) -> Emigration {
        loop {
            match next {
                Next::Hold(holding, effects) => {
                    self.line.show(&holding);
                    for effect in effects {
                        self.carry_out(effect);
                    }
                    let (at, event) = self.line.next_event();
                    next = holding.step(at, event);
                }
                Next::Committed(committed) => return self.moved(committed),
                Next::Unknown(unknown) => return self.unknown(*unknown),
                Next::Stayed(stayed) => return self.stayed(*stayed),
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let outlet = &self.line.outlet;
        let answer = match effect {
            Effect::Say(message) => return outlet.say(message),
            Effect::Probe { rate } => return outlet.probe(rate),
            Effect::Send(batch) => return outlet.send(batch),
            Effect::StartTracing => self.start_tracing(),
            Effect::Settle => self
                .machine
                .settle()
                .map(|settled| Event::Settled { direct_io: settled != Settled::NoDirectIo }),
            Effect::Throttle(share) => Ok(match self.machine.throttle(share) {
                Ok(share) => Event::Throttled { share },
                Err(error) => Event::NotThrottled(told(&error)),
            }),
            Effect::PrepareStop => self.machine.prepare_stop().map(|()| Event::StopPrepared),
            Effect::Scan => self.scan(),
            Effect::ScanAmong(pages) => self.scan_among(&pages),
            Effect::Stop => self.stop(),
            // The end of the state is the answer, and comes from who reads it.
            Effect::SaveDeviceState => match self.machine.save_device_state() {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Effect::OpenPageLines => Ok(self.open_page_lines()),
            Effect::ServePages { heat } => {
                if let Some(serving) = &self.lines.serving {
                    serving.begin(Some(*heat));
                }
                return;
            }
            Effect::Digest { except } => Ok(self.digest(&except)),
            Effect::RecordCommit => Ok(self.line.record_commit()),
            Effect::Resume => {
                outlet.halt();
                // No page may be served of a machine that runs here.
                self.lines.serving = None;
                self.machine.resume().map(|()| Event::Resumed)
            }
        };
        self.line.answer(answer.unwrap_or_else(|error| Event::MachineFailed(told(&error))));
    }

    fn open_page_lines(&mut self) -> Event {
        let migration = self.line.migration;
        let Some(dial) = self.lines.dial.clone() else {
            return Event::PageLinesNotOpen("this host does not open any".to_owned());
        };
        // On record before the guest is stopped, so that nothing waits for it behind the commit.
        if let Err(error) = self.line.record(&Entry::Owing { migration }) {
            return Event::PageLinesNotOpen(told(&error));
        }
        let ram = Arc::clone(self.machine.ram());
        match Serving::open(ram, migration, dial, self.lines.rate, self.lines.verify) {
            Ok(serving) => {
                self.lines.serving = Some(serving);
                Event::PageLinesOpen
            }
            Err(error) => Event::PageLinesNotOpen(told(&error)),
        }
    }

    fn start_tracing(&mut self) -> Result<Event, MachineError> {
        self.machine.start_tracing()?;
        Ok(match self.machine.ram().populated() {
            Ok(populated) => {
                if let Some(held) = &mut self.held {
                    held.union(&populated);
                }
                Event::Traced { populated }
            }
            Err(error) => Event::MachineFailed(told(&error)),
        })
    }

    fn scan(&mut self) -> Result<Event, MachineError> {
        let mut written = PageSet::empty(self.machine.ram().layout().pages());
        self.machine.collect_written(&mut written)?;
        match self.add_vanished(&mut written) {
            Ok(()) => Ok(Event::Scanned { written }),
            Err(error) => Ok(Event::MachineFailed(told(&error))),
        }
    }

    fn scan_among(&mut self, pages: &PageSet) -> Result<Event, MachineError> {
        let mut written = PageSet::empty(pages.capacity());
        self.machine.collect_written_among(pages, &mut written)?;
        Ok(Event::Scanned { written })
    }

    /// Adds pages that the guest gave back (a balloon punches holes, which no tracer sees): it does
    /// not rely on what they hold, but the digests would differ.
    fn add_vanished(&mut self, written: &mut PageSet) -> Result<(), RamIoError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let populated = self.machine.ram().populated()?;
        let mut vanished = held.clone();
        vanished.subtract(&populated);
        written.union(&vanished);
        *held = populated;
        Ok(())
    }

    fn stop(&mut self) -> Result<Event, MachineError> {
        let stopped = self.machine.stop()?;
        Ok(self.line.stopped(stopped))
    }

    fn digest(&self, except: &PageSet) -> Event {
        match self.machine.ram().digest_without(except) {
            Ok(digest) => Event::Digested(digest.get()),
            Err(error) => Event::MachineFailed(told(&error)),
        }
    }

    /// The destination owns the machine: what is left of it here cannot run.
    fn moved(self, mut committed: Committed) -> Emigration {
        let Self { machine, mut line, lines, .. } = self;
        let since = Instant::now();
        let surrendered = machine.surrender();
        line.outlet.say(SourceMessage::Commit);
        line.reached(Phase::Committed);
        let Moved { report, seen_running, left } = loop {
            let (at, event) = line.next_event();
            match committed.step(at, event) {
                Ok(next) => committed = next,
                Err(moved) => break *moved,
            }
        };
        // Where it was not heard to run, what is left here goes once it is heard to be whole.
        let following = lines.serving.filter(|_| left > Pages::ZERO || !seen_running);
        let following = following.map(|serving| Following { serving, missing: left, since });
        if seen_running && following.is_none() {
            line.note(&Entry::Surrendered { migration: line.migration });
        }
        line.close();
        Emigration::Moved { report, surrendered, following }
    }

    fn unknown(self, unknown: Unknown) -> Emigration {
        self.line.close();
        Emigration::Unknown { report: unknown.report, machine: Held(self.machine) }
    }

    fn stayed(self, stayed: Stayed) -> Emigration {
        let Stayed { report, why, farewell } = stayed;
        let Self { machine, line, .. } = self;
        if let Some(farewell) = farewell {
            line.outlet.say(farewell);
        }
        let reason = report.reason.clone();
        line.note(&Entry::Aborted { migration: line.migration, reason });
        line.close();
        let command_line = match why {
            Why::Rehearsed { command_line } => Some(command_line),
            _ => None,
        };
        Emigration::Stayed { report, command_line, machine }
    }
}
