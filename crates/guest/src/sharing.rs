use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::{PageSet, Probability};

use crate::demand::Demand;
use crate::{
    DestinationMachine, MachineError, Ram, RamError, Settled, SourceMachine, Stopped, Surrendered,
};

/// One end of a move between two processes that map the same RAM files, so that only the device
/// state moves.
///
/// What it shows as its memory is another one, of the same layout and empty: there is nothing to be
/// sent, and whatever came in would not reach the guest, which still runs in the same files. So
/// nothing is traced either, and a comparison of digests says nothing.
///
/// Between the load of the device state and the commit both processes have the memory before
/// them: what is written to it while the destination loads is there for the source, too, if that has
/// to run on. Seen with QEMU 7.2 and 10: nothing by QEMU; by KVM the page of the guest's clock, which
/// it writes anew whenever the guest goes on.
pub struct Sharing<M> {
    machine: M,
    nothing: Arc<Ram>,
}

impl Sharing<Box<dyn SourceMachine>> {
    /// The end that has run the machine so far.
    ///
    /// # Errors
    /// The kernel cannot make a file in memory.
    pub fn leave(machine: Box<dyn SourceMachine>) -> Result<Self, RamError> {
        let nothing = nothing_like(machine.ram())?;
        Ok(Self { machine, nothing })
    }
}

impl Sharing<Box<dyn DestinationMachine>> {
    /// The end that takes it over.
    ///
    /// # Errors
    /// The kernel cannot make a file in memory. The machine is discarded then.
    pub fn take_over(machine: Box<dyn DestinationMachine>) -> Result<Self, RamError> {
        let nothing = nothing_like(machine.ram())?;
        Ok(Self { machine, nothing })
    }
}

fn nothing_like(ram: &Ram) -> Result<Arc<Ram>, RamError> {
    Ram::in_memory(ram.layout().clone()).map(Arc::new)
}

fn nothing_is_elsewhere(action: &'static str) -> MachineError {
    MachineError {
        machine: "in the same memory".to_owned(),
        action,
        cause: "it shares its RAM files with its source, so that nothing is elsewhere".into(),
    }
}

impl SourceMachine for Sharing<Box<dyn SourceMachine>> {
    fn ram(&self) -> &Arc<Ram> {
        &self.nothing
    }

    fn start_tracing(&mut self) -> Result<(), MachineError> {
        Ok(())
    }

    fn collect_written(&mut self, _written: &mut PageSet) -> Result<(), MachineError> {
        Ok(())
    }

    fn collect_written_among(
        &mut self,
        _pages: &PageSet,
        _written: &mut PageSet,
    ) -> Result<(), MachineError> {
        Ok(())
    }

    /// Data on their way into the memory arrive in the files of both.
    fn settle(&mut self) -> Result<Settled, MachineError> {
        Ok(Settled::NoDirectIo)
    }

    fn throttle(&mut self, share: Probability) -> Result<Probability, MachineError> {
        self.machine.throttle(share)
    }

    fn prepare_stop(&mut self) -> Result<(), MachineError> {
        self.machine.prepare_stop()
    }

    fn stop(&mut self) -> Result<Stopped, MachineError> {
        self.machine.stop()
    }

    fn save_device_state(&mut self) -> Result<(), MachineError> {
        self.machine.save_device_state()
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        self.machine.resume()
    }

    fn surrender(self: Box<Self>) -> Box<dyn Surrendered> {
        self.machine.surrender()
    }
}

impl DestinationMachine for Sharing<Box<dyn DestinationMachine>> {
    fn ram(&self) -> &Arc<Ram> {
        &self.nothing
    }

    /// Refused: what was taken away would be gone for the source, too.
    fn forget(&mut self, _: &PageSet) -> Result<(), MachineError> {
        Err(nothing_is_elsewhere("take pages away"))
    }

    /// Refused as [`DestinationMachine::forget`] is.
    fn page_on_demand(&mut self, _: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        Err(nothing_is_elsewhere("page on demand"))
    }

    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError> {
        self.machine.device_state()
    }

    fn wait_loaded(&mut self, timeout: Duration) -> Result<(), MachineError> {
        self.machine.wait_loaded(timeout)
    }

    fn resume(&mut self) -> Result<Instant, MachineError> {
        self.machine.resume()
    }

    fn discard(self: Box<Self>) -> Result<(), MachineError> {
        self.machine.discard()
    }
}
