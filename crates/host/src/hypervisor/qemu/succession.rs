//! Another QEMU in the place of one that runs here, in the same RAM files.

use std::path::{Path, PathBuf};

use punctual_guest::qemu::movable::{
    DestinationFacts, refusals_at_destination, refusals_to_succeed,
};
use punctual_guest::qemu::{self, Description, Destination, Plan};
use punctual_wire::Refusal;

use super::{Found, QemuHypervisor, for_the_wire};
use crate::hypervisor::{Arrival, Departure, Handle, Hypervisor, Succession};

impl QemuHypervisor {
    /// What [`Hypervisor::succeed`] does.
    pub(super) fn plan_succession(
        &self,
        name: &str,
        handle: &Handle,
        program: Option<&Path>,
    ) -> Result<Succession, Vec<Refusal>> {
        let departure: Departure = self.depart(name, handle)?;
        let mut machine: Description = serde_json::from_slice(&departure.description)
            .expect("a description that was just written can be read");
        if let Some(program) = program {
            machine.program.binary = program.to_owned();
            // What decided which code ran was meant for the other one.
            machine.program.environment.clear();
        }
        let plan = Plan::for_successor(&machine, &self.places, &qemu::interfaces());
        let facts = DestinationFacts::here(&machine, &plan);
        let mut refusals = refusals_to_succeed(&machine);
        refusals.extend(refusals_at_destination(&machine, &plan, &facts));
        if !refusals.is_empty() {
            return Err(refusals.iter().map(|refusal| said_here(for_the_wire(refusal))).collect());
        }
        let command_line = [&[plan.binary.display().to_string()], &plan.arguments[..]].concat();
        // There is no process yet.
        let planned = Found::of_plan(&plan, 0);
        let start = Box::new(move || {
            let destination = Destination::start(plan)?;
            let handle = Found::of_plan(destination.plan(), destination.qmp().peer()).into();
            Ok(Arrival { handle, machine: Box::new(destination) })
        });
        Ok(Succession { departure, command_line, handle: planned.into(), start })
    }

    /// The directory that was made for a machine with this monitor; `None` if it was started by
    /// something else.
    pub(super) fn own_directory(&self, monitor: &Path) -> Option<PathBuf> {
        let directory = monitor.parent()?;
        let label = directory.file_name()?.to_str()?;
        (self.places.directory(label) == directory).then(|| directory.to_owned())
    }
}

/// What is said of a destination, said of the host that both are.
fn said_here(refusal: Refusal) -> Refusal {
    let here = |text: &str| text.replace("the destination", "this host").replace(" there", " here");
    let Refusal { code, reason, remedy } = refusal;
    Refusal { code, reason: here(&reason), remedy: here(&remedy) }
}
