use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::{MemoryLayout, PageSet};

use crate::demand::Demand;
use crate::qemu::{self, Plan};
use crate::{DestinationMachine, MachineError, Ram};

/// Disks are opened only when the machine runs, since until then they belong to the source.
const CAPABILITIES: &[&str] = &["late-block-activate", "events"];

/// A QEMU machine at the destination that its like at the source sends everything to: memory and
/// the state of devices come by the stream that [`Destination::start`] returns, and not through
/// what the contract has for them.
///
/// So what it shows as its memory is another one, of the same layout and empty.
#[derive(Debug)]
pub struct Destination(qemu::Destination);

impl Destination {
    /// Starts the process of a plan made by [`Plan::for_destination`] for a machine with this
    /// memory. It does not run by itself. Whoever has the stream carries it from and to the
    /// source, in both directions; its end before all has come is the end of the process.
    ///
    /// # Errors
    /// It did not start; nothing is left of it then.
    pub fn start(plan: Plan, layout: &MemoryLayout) -> Result<(Self, UnixStream), MachineError> {
        let nothing = Ram::in_memory(layout.clone()).map_err(|error| MachineError {
            machine: plan.machine.clone(),
            action: "start at the destination",
            cause: error.into(),
        })?;
        let (machine, stream) = qemu::Destination::waiting(plan, CAPABILITIES, Some(nothing))?;
        Ok((Self(machine), stream))
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &qemu::Destination {
        &self.0
    }

    fn out_of_reach(&self, action: &'static str) -> MachineError {
        MachineError {
            machine: self.0.plan().machine.clone(),
            action,
            cause: "QEMU migrates it, and nobody else can reach its memory".into(),
        }
    }
}

impl DestinationMachine for Destination {
    fn ram(&self) -> &Arc<Ram> {
        self.0.ram()
    }

    fn forget(&mut self, _: &PageSet) -> Result<(), MachineError> {
        Err(self.out_of_reach("take pages away"))
    }

    fn page_on_demand(&mut self, _: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        Err(self.out_of_reach("page it on demand"))
    }

    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError> {
        Ok(Box::new(io::sink()))
    }

    fn wait_loaded(&mut self, timeout: Duration) -> Result<(), MachineError> {
        self.0.wait_loaded(timeout)
    }

    fn resume(&mut self) -> Result<Instant, MachineError> {
        self.0.resume()
    }

    fn discard(self: Box<Self>) -> Result<(), MachineError> {
        Box::new(self.0).discard()
    }
}
