//! Plans that are asked for, and plans that are to be carried out.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use punctual_model::Mode;
use punctual_plan::{Ask, Plan};
use punctual_wire::{MigrationId, Offer};

use super::{Foresight, Subject, Unforeseen, age};
use crate::api::{MigrateRequest, PlanEvent, PlanRequest, Problem};
use crate::host::Host;
use crate::hypervisor::Departure;
use crate::listener::{Listener, Teller, listen};
use crate::registry::Record;
use crate::traces::Session;

/// An older plan is not carried out: the machine may do something else by now.
const GOOD_FOR: Duration = Duration::from_secs(3600);

impl Host {
    /// Begins to plan a move, in a thread of its own.
    pub(crate) fn plan(
        self: &Arc<Self>,
        request: PlanRequest,
    ) -> Result<Listener<PlanEvent>, Problem> {
        let address = self.config.address_of(&request.ask.to)?;
        let (session, record) = Session::begin(self, &request.machine)?;
        let departure = self.hypervisor.depart(&request.machine, &record.handle);
        let departure = departure.map_err(|refusals| Problem::from(&refusals[..]))?;
        let (teller, listener) = listen(session.cancel.clone());
        let host = Arc::clone(self);
        let work = move || {
            let told = host.planned(&record, departure, &address, &request, &session, &teller);
            drop(session);
            teller.tell(told);
        };
        let thread = thread::Builder::new().name("plan".to_owned()).spawn(work);
        thread.map_err(|error| {
            Problem::failed(format!("no thread for the plan: {error}"), "raise the limits")
        })?;
        Ok(listener)
    }

    fn planned(
        &self,
        record: &Record,
        departure: Departure,
        address: &str,
        request: &PlanRequest,
        session: &Session,
        teller: &Teller<PlanEvent>,
    ) -> PlanEvent {
        let PlanRequest { machine: name, ask, look } = request;
        let Departure { mut machine, description, processors, direct_io } = departure;
        let offered = self.rehearsal(&*machine, name, description, ask);
        let foreseen = offered.map_err(Unforeseen::Failed).and_then(|offer| {
            let machine = &mut *machine;
            let subject =
                Subject { machine, record, processors, direct_io, offer, address, moves: false };
            self.foresee(subject, ask, *look, &session.cancel, &mut |event| teller.tell(event))
        });
        match foreseen {
            Ok(Foresight { outlook: Some(outlook), .. }) => {
                PlanEvent::Planned(Box::new(outlook.plan))
            }
            Ok(Foresight { outlook: None, .. }) => PlanEvent::Failed(Problem::usage(
                format!(
                    "machine `{name}`: no recent trace of it is kept, and it was not to be traced"
                ),
                "have it traced for a while with --for",
            )),
            Err(Unforeseen::Refused(problem) | Unforeseen::Failed(problem)) => {
                PlanEvent::Failed(problem)
            }
            Err(Unforeseen::Cancelled) => PlanEvent::Failed(Problem::refused(
                format!("machine `{name}`: the plan was cancelled"),
                "",
            )),
        }
    }

    /// An offer of which nothing will come.
    fn rehearsal(
        &self,
        machine: &dyn punctual_guest::SourceMachine,
        name: &str,
        description: Vec<u8>,
        ask: &Ask,
    ) -> Result<Offer, Problem> {
        let populated = machine
            .ram()
            .populated()
            .map_err(|error| Problem::failed(format!("machine `{name}`: {error}"), ""))?;
        Ok(Offer {
            migration: MigrationId(rand::random()),
            machine: name.to_owned(),
            source: self.config.name.clone(),
            source_address: self.address.clone(),
            layout: machine.ram().layout().clone(),
            engine: punctual_wire::Engine::External,
            populated: populated.len().bytes(),
            description,
            downtime: ask.downtime,
            bandwidth: ask.bandwidth,
            verify: false,
            dry_run: true,
            post_copy: ask.mode.is_some_and(Mode::may_depend),
        })
    }

    /// The request as the plan says it that it carries, if it carries one.
    pub(crate) fn as_planned(&self, request: MigrateRequest) -> Result<MigrateRequest, Problem> {
        let Some(plan) = &request.plan else { return Ok(request) };
        if plan.machine != request.machine {
            return Err(Problem::usage(
                format!(
                    "the plan is for machine `{}`, not for `{}`",
                    plan.machine, request.machine
                ),
                format!("plan its move: `punctual plan {} --to {}`", request.machine, request.to),
            ));
        }
        // A host that is not known here is another one, too.
        if self.config.address_of(&plan.ask.to).ok() != self.config.address_of(&request.to).ok() {
            return Err(Problem::usage(
                format!(
                    "the plan is for a move to host `{}`, not to `{}`",
                    plan.ask.to, request.to
                ),
                format!("plan that: `punctual plan {} --to {}`", request.machine, request.to),
            ));
        }
        let Ask { to: _, downtime, within, confidence, bandwidth, mode, post_copy } =
            plan.ask.clone();
        let mode = request.mode.or(mode);
        let post_copy = request.post_copy && post_copy;
        Ok(MigrateRequest { downtime, within, confidence, bandwidth, mode, post_copy, ..request })
    }
}

/// Sees whether a plan is still one for the machine of `mark`.
pub(crate) fn check_plan(plan: &Plan, mark: &str) -> Result<(), Problem> {
    let name = &plan.machine;
    let again = format!("plan again: `punctual plan {name} --to {}`", plan.ask.to);
    match plan.process.as_deref() {
        Some(process) if process == mark => {}
        Some(_) => {
            let what = format!(
                "machine `{name}`: the plan is for another process of that name; it was started \
                 anew since, or runs on another host"
            );
            return Err(Problem::refused(what, again));
        }
        None => {
            let what =
                format!("machine `{name}`: the plan was made from a trace, not for a machine");
            return Err(Problem::refused(what, again));
        }
    }
    let age = age(plan.basis.recorded_at);
    if age > GOOD_FOR {
        let minutes = age.as_secs() / 60;
        let what = format!(
            "machine `{name}`: the plan rests on what the machine did {minutes} minutes ago; it is \
             good for {}",
            GOOD_FOR.as_secs() / 60
        );
        return Err(Problem::refused(what, again));
    }
    Ok(())
}
