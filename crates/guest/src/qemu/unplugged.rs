//! A machine that comes up without its network.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::PageSet;
use serde_json::json;

use super::describe::nic_names;
use super::destination::Destination;
use super::qmp::QmpError;
use crate::demand::Demand;
use crate::{DestinationMachine, MachineError, Ram};

/// A QEMU machine that begins to run with the links of all its network cards down, as if their
/// cables were pulled: for a second machine beside one that has the same addresses. `set_link` of
/// its monitor puts them up.
#[derive(Debug)]
pub struct Unplugged(pub Destination);

impl Unplugged {
    /// The state of the links is loaded with all else, so this comes after that.
    fn pull(&self) -> Result<(), QmpError> {
        let qmp = self.0.qmp();
        for name in nic_names(qmp)? {
            qmp.execute("set_link", json!({ "name": name, "up": false }))?;
        }
        Ok(())
    }
}

impl DestinationMachine for Unplugged {
    fn ram(&self) -> &Arc<Ram> {
        self.0.ram()
    }

    fn forget(&mut self, pages: &PageSet) -> Result<(), MachineError> {
        self.0.forget(pages)
    }

    fn page_on_demand(&mut self, missing: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        self.0.page_on_demand(missing)
    }

    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError> {
        self.0.device_state()
    }

    fn wait_loaded(&mut self, timeout: Duration) -> Result<(), MachineError> {
        self.0.wait_loaded(timeout)
    }

    fn resume(&mut self) -> Result<Instant, MachineError> {
        self.pull().map_err(|cause| MachineError {
            machine: self.0.plan().machine.clone(),
            action: "take its links down",
            cause: cause.into(),
        })?;
        self.0.resume()
    }

    fn discard(self: Box<Self>) -> Result<(), MachineError> {
        Box::new(self.0).discard()
    }
}
