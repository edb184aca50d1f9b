//! Machines that change their QEMU and stay where they are: their RAM lies where it lay.
//!
//! The engine that moves machines between hosts moves the state of the devices from the one process
//! to the other, over a connection within the daemon; both map the same RAM files, each by a name
//! of its own. So all that holds of a move holds here, with one difference: there is one journal,
//! and whoever reads it knows. The machine's one record names both processes as long as there are
//! two, see [`Standing::Replacing`].
//!
//! | journal | what a daemon does that is started anew |
//! | --- | --- |
//! | not committed | the successor is discarded, the machine is made to run where it was |
//! | committed | the successor is made to run, then what is left of its predecessor is removed |

mod taking;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use punctual_engine::report::{Ending, Engine, Policy, Report};
use punctual_engine::{
    Emigration, Entry, Immigration, Journal as _, Request, SourceHost, emigrate,
};
use punctual_guest::{Sharing, SourceMachine};
use punctual_link::{Link, Timeouts};
use punctual_wire::{MigrationId, Offer, Outcome};

use self::taking::Taking;
use crate::again::{FIRST, until_in_order};
use crate::api::{MigrateRequest, Migration, Problem, UpgradeRequest};
use crate::departure::Claim;
use crate::host::Host;
use crate::hypervisor::{Departure, Handle, Succession};
use crate::migrations::Ticket;
use crate::registry::{Record, Standing};

/// How long the process that was replaced is left alone, so that its end does not take processors
/// from the guest's first moments in the new one: the kernel needs some 20 ms to unmap 512 MiB, just
/// when, without KVM, QEMU translates the guest's code anew.
const UNDISTURBED: Duration = Duration::from_millis(250);

/// An attempt that ended before the engine had it.
struct Unbegun {
    outcome: Ending,
    problem: Problem,
}

impl Host {
    /// Begins to put another QEMU in a machine's place, which goes on in a thread of its own. What
    /// cannot be has a report that says so at once.
    pub(crate) fn upgrade(self: &Arc<Self>, request: UpgradeRequest) -> Result<Migration, Problem> {
        let UpgradeRequest { machine, program, downtime, within, dry_run } = request;
        let here = &self.config.name;
        let request =
            MigrateRequest { dry_run, ..MigrateRequest::new(&machine, here, downtime, within) };
        let id = MigrationId(rand::random());
        let lost = Problem::failed(
            format!("machine `{machine}`: its QEMU was not replaced, and it is not clear why"),
            "see the daemon's log, and start the daemon again: it puts the machine in order",
        );
        let claimed = self.claim(id, &request, Standing::Replacing(id.into()), &lost)?;
        let (record, ticket) = match claimed {
            Claim::Begun(record, ticket) => (record, ticket),
            Claim::Busy(migration) => return Ok(migration),
        };
        let migration = ticket.migration();
        let replacing = Replacing { host: Arc::clone(self), id, record, request, program, ticket };
        let thread = thread::Builder::new().name(format!("replace-{machine}"));
        thread.spawn(|| replacing.go()).map_err(|error| {
            self.stand(&machine, Standing::Resident);
            Problem::failed(format!("no thread to replace QEMU: {error}"), "raise the limits")
        })?;
        Ok(migration)
    }

    /// The successor is the machine: makes it run if it does not, and removes what is left of the
    /// process before it.
    fn succeed(&self, record: Record, successor: Handle) -> Result<(), Problem> {
        if self.hypervisor.is_gone(&successor) {
            // It is the machine all the same: the one before is older than what was done since.
            tracing::error!(machine = record.name, "its new QEMU has ended");
        } else {
            self.hypervisor.recover(&successor)?;
        }
        self.hypervisor.discard(&record.name, Some(&record.handle))?;
        self.at_home_as(record, successor)
    }

    /// There is one process again, and it is this one.
    fn at_home_as(&self, record: Record, handle: Handle) -> Result<(), Problem> {
        Ok(self.registry.put(Record::new(record.name, Standing::Resident, handle))?)
    }

    /// Records for the history: nothing depends on it.
    fn note_replaced(&self, entries: &[Entry]) {
        for entry in entries {
            if let Err(error) = self.journal.record(entry) {
                tracing::warn!(%error, "the journal lacks an entry");
            }
        }
    }
}

/// Puts in order what a daemon left that was killed while it replaced a machine's process; what
/// cannot be at once is tried again.
pub(crate) fn recover(
    host: &Arc<Host>,
    record: Record,
    migration: MigrationId,
) -> Result<(), Problem> {
    let name = record.name.clone();
    put_in_order(host, record, migration).inspect_err(|_| later(host, &name, migration))
}

/// Tries again until the machine has one process.
fn later(host: &Arc<Host>, name: &str, migration: MigrationId) {
    let machine = name.to_owned();
    until_in_order(host, name, FIRST, move |host| {
        let record = host.registry.get(&machine)?;
        match record.standing == Standing::Replacing(migration.into()) {
            true => put_in_order(host, record, migration),
            false => Ok(()),
        }
    });
}

/// Leaves one of the two processes of a machine: the journal decides which.
fn put_in_order(host: &Host, record: Record, migration: MigrationId) -> Result<(), Problem> {
    let name = record.name.clone();
    let committed = host.journal.outcome(migration, false) == Outcome::Committed;
    if let Some(successor) = record.successor.clone().filter(|_| committed) {
        tracing::warn!(machine = name, "its QEMU was replaced; the one before is removed");
        host.succeed(record, successor)?;
        host.note_replaced(&[Entry::Running { migration }, Entry::Surrendered { migration }]);
        return Ok(());
    }
    tracing::warn!(machine = name, "to replace its QEMU was broken off; it runs on as it was");
    if let Some(successor) = &record.successor {
        host.hypervisor.discard(&name, Some(successor))?;
    }
    host.hypervisor.recover(&record.handle)?;
    let handle = record.handle.clone();
    host.at_home_as(record, handle)?;
    let reason = "the daemon was ended".to_owned();
    host.note_replaced(&[
        Entry::Discarded { migration, reason: reason.clone() },
        Entry::Aborted { migration, reason },
    ]);
    Ok(())
}

/// A process that is being replaced, in a thread of its own.
struct Replacing {
    host: Arc<Host>,
    id: MigrationId,
    record: Record,
    request: MigrateRequest,
    /// What the successor runs, if not the same.
    program: Option<PathBuf>,
    ticket: Ticket,
}

impl Replacing {
    fn go(self) {
        let machine = &self.request.machine;
        tracing::info!(machine, program = ?self.program, "its QEMU is being replaced");
        let report = self.attempt().unwrap_or_else(|Unbegun { outcome, problem }| {
            self.host.stand(machine, Standing::Resident);
            self.host.report_of(&self.request, outcome, &problem)
        });
        let Report { outcome, owner, reason, .. } = &report;
        tracing::info!(machine, ?outcome, ?owner, reason, "the replacement has ended");
        self.host.tidy_journal();
        self.ticket.end(report);
    }

    fn attempt(&self) -> Result<Report, Unbegun> {
        let failed = |error: &dyn std::error::Error| {
            let what = format!("machine `{}`: {error}", self.request.machine);
            Unbegun { outcome: Ending::Failed, problem: Problem::failed(what, "") }
        };
        let succession = self
            .host
            .hypervisor
            .succeed(&self.record.name, &self.record.handle, self.program.as_deref())
            .map_err(|refusals| Unbegun {
                outcome: Ending::Refused,
                problem: Problem::from(&refusals[..]),
            })?;
        let Succession { departure: Departure { machine, .. }, command_line, handle, start } =
            succession;
        let machine = Sharing::leave(machine).map_err(|error| failed(&error))?;
        let offer = self.offer(&machine);
        let (near, far) = Link::pair(&Timeouts::default()).map_err(|error| failed(&error))?;
        let decided = OnceLock::new();
        let record = self.record.clone();
        let taking = Taking { host: &self.host, record, command_line, handle, start };
        let (left, taken) = thread::scope(|scope| {
            let taking = scope.spawn(|| taking.go(far, &decided));
            let (journal, cancel) = (&self.host.journal, self.ticket.cancel());
            // No page follows: none is missing.
            let host = SourceHost { journal, observer: &self.ticket, cancel, dial: None };
            let left = emigrate(Box::new(machine), near, offer, &self.engine_request(), host);
            // It is set here alone.
            let _ = decided.set(outcome_of(&left));
            (left, taking.join().expect("the thread that takes a machine over does not panic"))
        });
        Ok(self.settle(left, taken))
    }

    fn offer(&self, machine: &dyn SourceMachine) -> Offer {
        let MigrateRequest { machine: name, downtime, dry_run, .. } = &self.request;
        Offer {
            migration: self.id,
            machine: name.clone(),
            source: self.host.config.name.clone(),
            source_address: self.host.address.clone(),
            layout: machine.ram().layout().clone(),
            populated: Default::default(),
            // Who takes it over is told in other ways.
            description: Vec::new(),
            downtime: *downtime,
            bandwidth: None,
            verify: false,
            dry_run: *dry_run,
            post_copy: false,
            engine: Engine::External,
        }
    }

    fn engine_request(&self) -> Request {
        let MigrateRequest { within, confidence, .. } = self.request;
        let (fixed, fixed_spread) = self.host.experience().fixed(confidence);
        let request = Request::new(self.request.to.clone(), Policy::PreCopy);
        Request { within, fixed, fixed_spread, confidence, ..request }
    }

    /// Does what follows from how the attempt ended at both its ends.
    fn settle(&self, left: Emigration, taken: Immigration) -> Report {
        let name = &self.request.machine;
        match left {
            Emigration::Stayed { report, command_line, machine } => {
                self.ticket.plan(command_line.unwrap_or_default());
                drop(machine);
                let handle = self.record.handle.clone();
                self.put_in_order(self.host.at_home_as(self.record.clone(), handle));
                report
            }
            Emigration::Moved { report, surrendered, .. } => {
                let runs = matches!(taken, Immigration::Runs { .. });
                // It lets go of the monitor, by which the machine is looked at from now on.
                drop(taken);
                if !runs {
                    drop(surrendered);
                    self.put_in_order(self.take_possession());
                    return report;
                }
                thread::sleep(UNDISTURBED);
                if let Err(error) = surrendered.remove() {
                    tracing::error!(machine = name, %error, "something is left of its old QEMU");
                }
                self.put_in_order(self.take_possession_of_what_runs());
                report
            }
            Emigration::Unknown { report, machine } => {
                // Both stay paused; the journal decides when the daemon is started again.
                drop(machine);
                std::mem::forget(taken);
                report
            }
        }
    }

    /// The process that is the machine now, as it was recorded when it was started.
    fn successor(&self) -> Result<Handle, Problem> {
        let record = self.host.registry.get(&self.record.name)?;
        let lost = || Problem::failed("the record of the new QEMU is lost", "");
        record.successor.ok_or_else(lost)
    }

    fn take_possession(&self) -> Result<(), Problem> {
        self.host.succeed(self.record.clone(), self.successor()?)
    }

    fn take_possession_of_what_runs(&self) -> Result<(), Problem> {
        self.host.at_home_as(self.record.clone(), self.successor()?)
    }

    fn put_in_order(&self, done: Result<(), Problem>) {
        if let Err(problem) = done {
            let machine = &self.request.machine;
            tracing::error!(machine, %problem, remedy = problem.remedy, "not put in order yet");
            later(&self.host, machine, self.id);
        }
    }
}

/// What the other end is told; `None`: nobody knows before the journal has been read again.
fn outcome_of(left: &Emigration) -> Option<Outcome> {
    match left {
        Emigration::Moved { .. } => Some(Outcome::Committed),
        Emigration::Stayed { .. } => Some(Outcome::Aborted),
        Emigration::Unknown { .. } => None,
    }
}
