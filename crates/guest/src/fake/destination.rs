use std::io::{PipeReader, Read, Write, pipe};
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::PageSet;

use super::source::STATE_LENGTH;
use super::{Call, Fake, Status};
use crate::demand::Demand;
use crate::{DestinationMachine, MachineError, Ram};

impl Fake {
    /// The machine as the engine at the destination sees it.
    #[must_use]
    pub fn destination(&self) -> FakeDestination {
        FakeDestination { machine: self.clone(), state_in: None }
    }
}

/// A [`Fake`] at the destination.
#[derive(Debug)]
pub struct FakeDestination {
    machine: Fake,
    state_in: Option<PipeReader>,
}

impl DestinationMachine for FakeDestination {
    fn ram(&self) -> &Arc<Ram> {
        &self.machine.ram
    }

    fn forget(&mut self, pages: &PageSet) -> Result<(), MachineError> {
        let action = "take pages away";
        drop(self.machine.called(Call::Forget, action)?);
        let punched = pages.ranges().try_for_each(|run| self.machine.ram.punch(run));
        punched.map_err(|cause| self.machine.error(action, &cause.to_string()))
    }

    fn page_on_demand(&mut self, missing: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        self.machine.page(missing)
    }

    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError> {
        let action = "take device state";
        let state = self.machine.called(Call::DeviceState, action)?;
        if state.status != Status::Waiting || self.state_in.is_some() {
            return Err(self.machine.wrong_state(action, state.status));
        }
        let (reader, writer) =
            pipe().map_err(|cause| self.machine.error(action, &cause.to_string()))?;
        self.state_in = Some(reader);
        Ok(Box::new(writer))
    }

    /// Waits for the end of the stream whatever `timeout` says: the stream is a pipe that a test
    /// has written and closed before. Then reads the last page, as devices read their rings; if it
    /// is missing, that is waited for.
    fn wait_loaded(&mut self, timeout: Duration) -> Result<(), MachineError> {
        let action = "load device state";
        drop(self.machine.called(Call::WaitLoaded, action)?);
        let Some(mut stream) = self.state_in.take() else {
            return Err(self.machine.error(action, "no device state was sent"));
        };
        let mut bytes = Vec::new();
        stream
            .read_to_end(&mut bytes)
            .map_err(|cause| self.machine.error(action, &cause.to_string()))?;
        let Some((_, registers)) = bytes.split_last_chunk().filter(|_| bytes.len() == STATE_LENGTH)
        else {
            let length = bytes.len();
            let cause = format!("{length} bytes of device state instead of {STATE_LENGTH}");
            return Err(self.machine.error(action, &cause));
        };
        let mut state = self.machine.rings_read(u64::from_le_bytes(*registers), timeout)?;
        state.registers = u64::from_le_bytes(*registers);
        state.status = Status::Loaded;
        Ok(())
    }

    fn resume(&mut self) -> Result<Instant, MachineError> {
        let mut state = self.machine.called(Call::Resume, "resume")?;
        if state.status != Status::Loaded {
            return Err(self.machine.wrong_state("resume", state.status));
        }
        state.status = Status::Running;
        Ok(Instant::now())
    }

    fn discard(self: Box<Self>) -> Result<(), MachineError> {
        self.machine.called(Call::Discard, "discard")?.status = Status::Gone;
        self.machine.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for FakeDestination {
    fn drop(&mut self) {
        let mut state = self.machine.lock();
        if state.status != Status::Running {
            state.status = Status::Gone;
            self.machine.shared.changed.notify_all();
        }
    }
}
