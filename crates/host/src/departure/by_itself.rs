//! Machines that leave by their own hypervisor.

use std::time::{Duration, Instant};

use punctual_engine::report::{Ending, Engine, Report};
use punctual_guest::MachineError;
use punctual_link::{Link, Timeouts};
use punctual_wire::{Offer, Refusal};

use super::Leaving;
use super::before::Ended;
use crate::api::{Native, Problem};
use crate::hypervisor::OwnDeparture;
use crate::native::choice::{Choice, check};
use crate::native::drive::{self, Move};
use crate::native::estimate::{self, Known, estimate};
use crate::registry::Standing;
use crate::survey::{Survey, survey};

impl Leaving {
    /// Has the machine moved by its own hypervisor, where that is asked for or the only way; `None`
    /// where Punctual moves it itself.
    pub(super) fn by_itself(&self) -> Result<Option<Report>, Ended> {
        let because = match self.request.engine {
            Some(Engine::External | Engine::Restart) => return Ok(None),
            Some(Engine::Native) => String::new(),
            None => match self.host.hypervisor.choice(&self.record.handle) {
                Ok(Choice { engine: Engine::Native, because }) => because,
                // One that does not answer is told of by whoever tries to move it.
                Ok(_) | Err(_) => return Ok(None),
            },
        };
        check(&self.request).map_err(Ended::refused)?;
        let departure =
            self.host.hypervisor.depart_by_itself(&self.record.name, &self.record.handle);
        let departure = departure
            .map_err(|refusals: Vec<Refusal>| Ended::refused(Problem::from(&refusals[..])))?;
        self.leave_by_itself(departure, because).map(Some)
    }

    fn leave_by_itself(&self, departure: OwnDeparture, because: String) -> Result<Report, Ended> {
        let begun = Instant::now();
        let OwnDeparture { machine, description, layout } = departure;
        let populated = machine.populated();
        let offer = Offer {
            migration: self.id,
            machine: self.request.machine.clone(),
            source: self.host.config.name.clone(),
            source_address: self.host.address.clone(),
            layout,
            populated,
            description,
            downtime: self.request.downtime,
            // The link was looked at before, or is not to be.
            bandwidth: None,
            verify: false,
            dry_run: self.request.dry_run,
            post_copy: false,
            engine: Engine::Native,
        };
        let fixed = self.host.experience().fixed(self.request.confidence).0.sum();
        let looks = self.request.look != Some(Duration::ZERO);
        let known = if looks { Some(self.look_at(&machine, &offer, fixed)?) } else { None };
        let estimate = known.map(|known| estimate(&known, self.request.downtime));
        self.ticket.by_itself(Native { because, estimate });
        if let Some(estimate) = &estimate {
            estimate::check(estimate, &self.request).map_err(Ended::refused)?;
        }
        let planned = looks.then(|| begun.elapsed());
        let link = Link::connect(&self.address, &Timeouts::default())
            .map_err(|error| Ended::refused(Problem::refused(self.about(&error), "")))?;
        let nothing = Problem::failed("", "");
        let ended = Move {
            machine,
            link,
            address: &self.address,
            offer,
            bandwidth: self.request.bandwidth,
            within: self.request.within,
            force: self.request.force,
            on_miss: self.request.on_miss,
            fixed,
            base: self.host.report_of(&self.request, Ending::Failed, &nothing),
            journal: &self.host.journal,
            observer: &self.ticket,
            cancel: self.ticket.cancel(),
        };
        let mut report = self.settle_by_itself(ended.drive());
        report.measured.planned = planned;
        Ok(report)
    }

    /// Looks at the other host and the link, and samples the machine's memory.
    fn look_at(
        &self,
        machine: &punctual_guest::qemu::native::Source,
        offer: &Offer,
        fixed: Duration,
    ) -> Result<Known, Ended> {
        self.observe_planning(Duration::ZERO);
        let asked = self.request.bandwidth;
        let seen: Survey = survey(&self.address, Some(offer.clone()), asked).map_err(|error| {
            Ended::refused(error.problem(&format!("machine `{}`", self.request.machine)))
        })?;
        if let Some(asked) = asked.filter(|asked| !seen.is_enough(*asked)) {
            let measured = seen.bandwidth;
            return Err(Ended::refused(Problem::refused(
                self.about(&format!("the link moves {measured}, but {asked} was asked for")),
                format!("ask for at most {measured}, or mend the link"),
            )));
        }
        let writing = machine.writing();
        let writing =
            writing.map_err(|error: MachineError| Ended::failed(Problem::failed(error, "")))?;
        if self.ticket.cancel().is_cancelled() {
            let cancelled = Ended::failed(Problem::failed("cancelled", ""));
            return Err(Ended { outcome: Ending::Cancelled, ..cancelled });
        }
        let bandwidth = asked.map_or(seen.bandwidth, |asked| asked.min(seen.bandwidth));
        Ok(Known { populated: offer.populated, writing, bandwidth, fixed })
    }

    fn about(&self, what: &dyn std::fmt::Display) -> String {
        format!("machine `{}`: {what}", self.request.machine)
    }

    /// Does what follows from how the attempt ended.
    fn settle_by_itself(&self, ended: drive::Ended) -> Report {
        let name = &self.request.machine;
        let departed = Standing::Departed(self.id.into());
        match ended {
            // Nobody has said that it runs there: what is left here is kept, see `let_go`.
            drive::Ended::Moved { report, .. } if report.outcome != Ending::Completed => {
                self.host.stand(name, departed);
                report
            }
            drive::Ended::Moved { report, remains } => {
                match remains.remove() {
                    Ok(()) => self.host.forget(name),
                    Err(error) => {
                        tracing::error!(machine = name, %error, "not all that was left is gone");
                        self.host.stand(name, departed);
                    }
                }
                report
            }
            drive::Ended::Stayed { report, command_line } => {
                self.ticket.plan(command_line.unwrap_or_default());
                self.host.stand(name, Standing::Resident);
                report
            }
            drive::Ended::Unknown { report } => {
                // It stays paused; the journal decides when the daemon is started again.
                self.host.stand(name, Standing::Undecided(self.id.into()));
                report
            }
        }
    }
}
