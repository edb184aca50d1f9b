//! Machines that change hosts by being shut down here and started there.

use std::sync::Arc;
use std::time::Duration;

use punctual_guest::MachineError;
use punctual_guest::qemu::{self, Afresh, Description, Machine, Plan, ShutDown};
use punctual_units::Bytes;
use punctual_wire::{Offer, Refusal};
use serde::{Deserialize, Serialize};

use super::{QemuHypervisor, attached, handle, obstacles, refusal};
use crate::api::{MachineState, Problem};
use crate::hypervisor::{Arrival, Departure, Handle, Identity};

/// What finds a machine that is to be started here, before it is and after.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Reserved {
    to_start: Plan,
}

impl Reserved {
    pub(super) fn of(handle: &Handle) -> Option<Self> {
        serde_json::from_value(handle.clone()).ok()
    }

    fn machine(&self) -> Option<Machine> {
        Machine::attach(&self.to_start.monitor).ok()
    }

    pub(super) fn identity(&self) -> Identity {
        let memory: Bytes = self.to_start.ram.iter().map(|file| file.size).sum();
        Identity { pid: self.machine().map_or(0, |machine| machine.process().pid()), memory }
    }

    pub(super) fn state(&self) -> MachineState {
        match self.machine() {
            Some(machine) => super::state_behind(&machine.description().monitor),
            None => MachineState::Gone,
        }
    }

    /// Starts it, if it has not been.
    pub(super) fn start(&self) -> Result<(), Problem> {
        if self.machine().is_some() {
            return Ok(());
        }
        Machine::run(&self.to_start).map(drop).map_err(|error| {
            let what = format!("machine `{}` did not start: {error}", self.to_start.machine);
            Problem::failed(
                what,
                "mend that, and start the daemon again: the machine is this host's",
            )
        })
    }

    /// What finds it from now on, since it runs.
    pub(super) fn arrived(&self) -> Result<Handle, Problem> {
        let machine = Machine::attach(&self.to_start.monitor);
        let machine = machine.map_err(|error| Problem::failed(error, ""))?;
        Ok(handle(machine.description()))
    }
}

impl QemuHypervisor {
    pub(super) fn plan_shut_down(
        name: &str,
        handle: &Handle,
        patience: Duration,
        insist: bool,
    ) -> Result<Departure, Vec<Refusal>> {
        let machine =
            attached(handle).map_err(|problem| vec![refusal("not-reachable", &problem)])?;
        let found = obstacles(machine.description());
        if !found.is_empty() {
            return Err(found);
        }
        let failed = |error: &dyn std::error::Error| {
            let what = Problem::refused(format!("machine `{name}`: {error}"), "");
            vec![refusal("ram-not-reachable", &what)]
        };
        let ram = machine.open_ram().map_err(|error| failed(&error))?;
        let description = Description { name: name.to_owned(), ..machine.description().clone() };
        let source = machine.into_source(Arc::new(ram));
        let machine = ShutDown::new(source, patience, insist).map_err(|error| failed(&error))?;
        Ok(Departure {
            machine: Box::new(machine),
            description: serde_json::to_vec(&description).expect("a description is JSON"),
            processors: std::num::NonZeroU32::MIN,
            direct_io: false,
        })
    }

    pub(super) fn reserve(&self, offer: &Offer) -> Result<Arrival, MachineError> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| MachineError {
            machine: offer.machine.clone(),
            action: "start at the destination",
            cause,
        };
        let (description, _) = self.plan_arrival(offer).map_err(|cause| failed(cause.into()))?;
        let to_start = Plan::for_start(&description, &self.places, &qemu::interfaces());
        let handle = serde_json::to_value(Reserved { to_start: to_start.clone() });
        let machine = Afresh::new(to_start).map_err(|cause| failed(cause.into()))?;
        Ok(Arrival { machine: Box::new(machine), handle: handle.expect("a plan is JSON") })
    }
}

#[cfg(test)]
mod tests {
    use punctual_guest::qemu::{Places, Spec};

    use super::*;
    use crate::hypervisor::Hypervisor;

    /// A daemon that was killed before it started the machine is followed by one that starts it.
    #[test]
    fn a_machine_that_is_yet_to_be_started_lacks_no_pages() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            runtime: directory.path().to_owned(),
            ram: directory.path().to_owned(),
            huge_ram: directory.path().to_owned(),
        };
        let spec: Spec = "name = 'web'\nmemory = '16MiB'\n".parse().unwrap();
        let to_start = spec.plan(&places, spec.accel_here());
        let handle = serde_json::to_value(Reserved { to_start }).unwrap();
        let hypervisor = QemuHypervisor { places, streams: Arc::default() };
        assert!(hypervisor.depends("web", &handle).unwrap().is_none());
        assert_eq!(hypervisor.state(&handle), MachineState::Gone);
    }
}
