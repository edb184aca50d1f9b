//! Machines that leave this host.

mod before;
mod by_itself;
mod follow;
mod restart;
mod waiting;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use punctual_engine::report::{
    Ending, Engine, Holder, Measured, Mode, OnMiss, Promise, Promised, Report,
};
use punctual_engine::{Emigration, Request, SourceHost, emigrate};
use punctual_guest::{SourceMachine, Surrendered};
use punctual_link::{Link, Timeouts};
use punctual_units::PageSet;
use punctual_wire::{MigrationId, Offer};

use crate::api::{MigrateRequest, Migration, Problem, ProblemKind};
use crate::experience::Past;
use crate::following::dial;
use crate::host::Host;
use crate::hypervisor::Departure;
use crate::migrations::Ticket;
use crate::planning::Decision;
use crate::registry::{Record, Standing};
use before::{Before, Ended};
pub(crate) use waiting::no_room;

/// What comes of taking a machine for an attempt.
pub(crate) enum Claim {
    /// It is the attempt's.
    Begun(Record, Ticket),
    /// Another has it: the attempt has ended.
    Busy(Migration),
}

impl Host {
    /// Begins a migration, which goes on in a thread of its own. One that cannot be has a report
    /// that says so at once.
    pub(crate) fn migrate(self: &Arc<Self>, request: MigrateRequest) -> Result<Migration, Problem> {
        let address = self.config.address_of(&request.to)?;
        let request = self.as_planned(request)?;
        let id = MigrationId(rand::random());
        let lost = Problem::failed(
            format!("machine `{}`: its migration was not carried to an end", request.machine),
            "see the daemon's log, and start the daemon again: it puts the machine in order",
        );
        let claimed = self.claim(id, &request, Standing::Leaving(id.into()), &lost)?;
        let (record, ticket) = match claimed {
            Claim::Begun(record, ticket) => (record, ticket),
            Claim::Busy(migration) => return Ok(migration),
        };
        let migration = ticket.migration();
        let host = Arc::clone(self);
        let leaving = Leaving { host, id, record, request, address, ticket };
        let thread = thread::Builder::new().name(format!("leave-{}", migration.machine));
        thread.spawn(|| leaving.go()).map_err(|error| {
            self.stand(&migration.machine, Standing::Resident);
            Problem::failed(format!("no thread for the migration: {error}"), "raise the limits")
        })?;
        Ok(migration)
    }

    /// Takes a machine that is at home for an attempt, by which it stands so from now on. `lost` is
    /// what is said of the attempt should its thread end without a word.
    pub(crate) fn claim(
        &self,
        attempt: MigrationId,
        request: &MigrateRequest,
        standing: Standing,
        lost: &Problem,
    ) -> Result<Claim, Problem> {
        let at_home = |from| from == Standing::Resident;
        match self.registry.shift(&request.machine, at_home, standing).map_err(Problem::from) {
            Ok(record) => {
                let lost = self.report_of(request, Ending::Failed, lost);
                let lost = Report { owner: Holder::Unknown, ..lost };
                Ok(Claim::Begun(record, self.migrations().begin(attempt.into(), lost)))
            }
            Err(problem) if problem.kind == ProblemKind::Refused => {
                let report = self.report_of(request, Ending::Refused, &problem);
                Ok(Claim::Busy(Migration::ended(attempt.into(), request, report)))
            }
            Err(problem) => Err(problem),
        }
    }

    /// The report of an attempt that ended before the engine had it.
    pub(crate) fn report_of(
        &self,
        request: &MigrateRequest,
        outcome: Ending,
        problem: &Problem,
    ) -> Report {
        let reason = match problem.remedy.as_str() {
            "" => problem.what.clone(),
            remedy => format!("{}; {remedy}", problem.what),
        };
        Report {
            machine: request.machine.clone(),
            from: self.config.name.clone(),
            to: request.to.clone(),
            engine: Engine::default(),
            mode: request.mode.unwrap_or_default(),
            policy: Decision::blind(request).policy,
            promised: Promised { downtime: request.downtime, total: request.within },
            predicted: None,
            measured: Measured::default(),
            ram_digest_equal: None,
            outcome,
            promise: (outcome == Ending::Refused).then_some(Promise::Refused),
            owner: Holder::Source,
            reason,
            codes: problem.codes.clone(),
            samples: Vec::new(),
        }
    }
}

/// A migration in its own thread.
struct Leaving {
    host: Arc<Host>,
    id: MigrationId,
    record: Record,
    request: MigrateRequest,
    address: String,
    ticket: Ticket,
}

impl Leaving {
    fn go(self) {
        let machine = &self.request.machine;
        tracing::info!(machine, to = self.request.to, id = %self.ticket.migration().id, "leaves");
        let report = self.in_turn().unwrap_or_else(|Ended { outcome, problem, predicted }| {
            self.host.stand(machine, Standing::Resident);
            let predicted = predicted.map(|predicted| *predicted);
            Report { predicted, ..self.host.report_of(&self.request, outcome, &problem) }
        });
        let Report { outcome, owner, promise, reason, .. } = &report;
        tracing::info!(machine, ?outcome, ?owner, ?promise, reason, "the migration has ended");
        self.ticket.end(report);
    }

    fn attempt(&self) -> Result<Report, Ended> {
        if let Some(report) = self.restart()? {
            return Ok(report);
        }
        if let Some(report) = self.by_itself()? {
            return Ok(report);
        }
        let failed = |error: &dyn std::error::Error| {
            let what = format!("machine `{}`: {error}", self.request.machine);
            Ended::failed(Problem::failed(what, ""))
        };
        let Departure { mut machine, description, processors, direct_io } = self
            .host
            .hypervisor
            .depart(&self.record.name, &self.record.handle)
            .map_err(|refusals| Ended::refused(Problem::from(&refusals[..])))?;
        let populated = machine.ram().populated().map_err(|error| failed(&error))?;
        let mut offer = self.offer(&*machine, description, &populated);
        let mut before = self.before(&mut *machine, processors, direct_io, &offer)?;
        offer.post_copy = self.may_depend(before.decision.mode);
        self.ticket.foresee(before.decision.forecast.clone());
        let connecting = Instant::now();
        let link = Link::connect(&self.address, &Timeouts::default()).map_err(|error| {
            let what = format!("machine `{}`: {error}", self.request.machine);
            Ended::refused(Problem::refused(what, ""))
        })?;
        link.pace(self.request.bandwidth).map_err(|error| failed(&error))?;
        // To connect takes one round trip, to agree on a version another.
        let request = self.request(&mut before, connecting.elapsed() / 2);
        let Host { journal, .. } = &*self.host;
        let cancel = self.ticket.cancel();
        let dial = Some(dial(&self.address, self.request.bandwidth));
        let host = SourceHost { journal, observer: &self.ticket, cancel, dial };
        let ended = emigrate(machine, link, offer, &request, host);
        let mut report = self.settle(ended);
        report.measured.planned = before.took;
        self.host.experience().add(Past::of(&self.address, &report, before.expectation()));
        Ok(report)
    }

    fn offer(
        &self,
        machine: &dyn SourceMachine,
        description: Vec<u8>,
        populated: &PageSet,
    ) -> Offer {
        Offer {
            migration: self.id,
            machine: self.request.machine.clone(),
            source: self.host.config.name.clone(),
            source_address: self.host.address.clone(),
            layout: machine.ram().layout().clone(),
            populated: populated.len().bytes(),
            description,
            downtime: self.request.downtime,
            bandwidth: self.request.bandwidth,
            verify: self.request.verify,
            dry_run: self.request.dry_run,
            post_copy: self.may_depend(self.request.mode.unwrap_or_default()),
            engine: Engine::External,
        }
    }

    /// Whether the machine may come to run there while pages of it are still here.
    fn may_depend(&self, mode: Mode) -> bool {
        self.request.on_miss == OnMiss::PostCopy || mode.may_depend()
    }

    fn request(&self, before: &mut Before, round_trip: Duration) -> Request {
        let (experience, confidence) = (self.host.experience(), self.request.confidence);
        let (fixed, fixed_spread) = experience.fixed(confidence);
        let Decision { mode, policy, .. } = before.decision;
        let following = experience.following(mode, round_trip, confidence);
        drop(experience);
        Request {
            within: self.request.within,
            fixed,
            fixed_spread,
            following,
            round_trip,
            confidence,
            heat: before.heat.take(),
            predicted: before.decision.predicted(),
            bandwidth: before.bandwidth,
            force: self.request.force,
            mode,
            on_miss: self.request.on_miss,
            ..Request::new(self.request.to.clone(), policy)
        }
    }

    /// Does what follows from how the attempt ended.
    fn settle(&self, ended: Emigration) -> Report {
        match ended {
            Emigration::Moved { report, surrendered, following: Some(following) } => {
                self.follow(report, surrendered, following)
            }
            Emigration::Moved { report, surrendered, following: None } => {
                self.let_go(&report, surrendered);
                report
            }
            Emigration::Stayed { report, command_line, machine } => {
                self.ticket.plan(command_line.unwrap_or_default());
                drop(machine);
                self.host.stand(&self.request.machine, Standing::Resident);
                report
            }
            Emigration::Unknown { report, machine } => {
                // It stays paused; the journal decides when the daemon is started again.
                self.host.stand(&self.request.machine, Standing::Undecided(self.id.into()));
                drop(machine);
                report
            }
        }
    }

    fn let_go(&self, report: &Report, surrendered: Box<dyn Surrendered>) {
        let name = &self.request.machine;
        let departed = Standing::Departed(self.id.into());
        if report.outcome != Ending::Completed {
            // Nobody has said that it runs there. What is left here cannot run, but an operator
            // may want to see it; it goes once the destination asks, or by `punctual stop`.
            self.host.stand(name, departed);
            return;
        }
        match surrendered.remove() {
            Ok(()) => self.host.forget(name),
            Err(error) => {
                tracing::error!(machine = name, %error, "not all that was left could be removed");
                self.host.stand(name, departed);
            }
        }
    }
}
