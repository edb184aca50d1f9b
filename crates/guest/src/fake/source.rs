use std::io::{PipeWriter, Write, pipe};
use std::sync::Arc;
use std::time::Instant;

use punctual_units::{Bytes, PAGE_SIZE, PageIndex, PageRange, PageSet, Probability};

use super::{Call, Fake, Status};
use crate::{MachineError, Ram, Settled, SourceMachine, Stopped, Surrendered};

/// What flows before the state is saved; less than a pipe holds.
const EARLY_STATE: [u8; 1024] = [0x5a; 1024];
/// A look at one page sees so many around it.
const BLOCK: u64 = 8;

impl Fake {
    /// The machine as the engine at the source sees it.
    #[must_use]
    pub fn source(&self) -> FakeSource {
        FakeSource { machine: self.clone(), state_out: None }
    }

    /// A hold on what is left of a machine that was given up before.
    #[must_use]
    pub fn remains(&self) -> Box<dyn Surrendered> {
        Box::new(FakeSurrendered { machine: self.clone() })
    }
}

/// A [`Fake`] at the source.
#[derive(Debug)]
pub struct FakeSource {
    machine: Fake,
    state_out: Option<PipeWriter>,
}

impl SourceMachine for FakeSource {
    fn ram(&self) -> &Arc<Ram> {
        &self.machine.ram
    }

    fn start_tracing(&mut self) -> Result<(), MachineError> {
        let mut state = self.machine.called(Call::StartTracing, "start tracing")?;
        state.traced = Some(PageSet::empty(self.machine.ram.layout().pages()));
        Ok(())
    }

    fn collect_written(&mut self, written: &mut PageSet) -> Result<(), MachineError> {
        let action = "collect written pages";
        let mut state = self.machine.called(Call::CollectWritten, action)?;
        let Some(traced) = &mut state.traced else {
            return Err(self.machine.error(action, "it is not being traced"));
        };
        written.union(traced);
        traced.clear();
        Ok(())
    }

    /// Reports whole blocks of pages, as a tracer does that looks at stretches.
    fn collect_written_among(
        &mut self,
        pages: &PageSet,
        written: &mut PageSet,
    ) -> Result<(), MachineError> {
        let action = "collect written pages";
        let mut state = self.machine.called(Call::CollectWrittenAmong, action)?;
        let Some(traced) = &mut state.traced else {
            return Err(self.machine.error(action, "it is not being traced"));
        };
        let mut blocks = PageSet::empty(pages.capacity());
        for run in pages.ranges() {
            let end = run.end.0.next_multiple_of(BLOCK).min(pages.capacity().get());
            blocks.insert_range(PageRange::new(run.start.0 / BLOCK * BLOCK, end));
        }
        blocks.intersect(traced);
        traced.subtract(&blocks);
        written.union(&blocks);
        Ok(())
    }

    fn settle(&mut self) -> Result<Settled, MachineError> {
        Ok(self.machine.called(Call::Settle, "settle")?.settled)
    }

    fn throttle(&mut self, share: Probability) -> Result<Probability, MachineError> {
        self.machine.called(Call::Throttle, "throttle")?.share = share;
        Ok(share)
    }

    fn prepare_stop(&mut self) -> Result<(), MachineError> {
        self.machine.called(Call::PrepareStop, "prepare to stop").map(drop)
    }

    fn stop(&mut self) -> Result<Stopped, MachineError> {
        let called = self.machine.called(Call::Stop, "stop").map(drop);
        let mut state = self.machine.lock();
        if state.status != Status::Running {
            return Err(self.machine.wrong_state("stop", state.status));
        }
        (state.status, state.share) = (Status::Stopped, Probability::ONE);
        called?;
        let piped = pipe().and_then(|(reader, mut writer)| {
            writer.write_all(&EARLY_STATE)?;
            Ok((reader, writer))
        });
        let (reader, writer) =
            piped.map_err(|cause| self.machine.error("stop", &cause.to_string()))?;
        self.state_out = Some(writer);
        Ok(Stopped { at: Instant::now(), device_state: Box::new(reader) })
    }

    /// Writes the last page as well, as devices may when they are saved.
    fn save_device_state(&mut self) -> Result<(), MachineError> {
        let action = "save device state";
        let mut state = self.machine.called(Call::SaveDeviceState, action)?;
        let Some(mut out) = self.state_out.take() else {
            return Err(self.machine.wrong_state(action, state.status));
        };
        let last = PageIndex(self.machine.ram.layout().pages().get() - 1);
        let registers = state.registers.to_le_bytes();
        let at = Bytes::new(PAGE_SIZE.get() - registers.len() as u64);
        self.machine.write(&mut state, last, at, &registers);
        state.status = Status::Saved;
        out.write_all(&registers).map_err(|cause| self.machine.error(action, &cause.to_string()))
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        let mut state = self.machine.called(Call::Resume, "resume")?;
        match state.status {
            Status::Running | Status::Stopped | Status::Saved => state.status = Status::Running,
            other => return Err(self.machine.wrong_state("resume", other)),
        }
        state.share = Probability::ONE;
        drop(state);
        self.state_out = None;
        Ok(())
    }

    fn surrender(self: Box<Self>) -> Box<dyn Surrendered> {
        let mut state = self.machine.lock();
        state.calls.push(Call::Surrender);
        state.status = Status::Surrendered;
        drop(state);
        self.machine.remains()
    }
}

impl Drop for FakeSource {
    fn drop(&mut self) {
        let mut state = self.machine.lock();
        (state.traced, state.share) = (None, Probability::ONE);
    }
}

/// A [`Fake`] that has been given up.
#[derive(Debug)]
struct FakeSurrendered {
    machine: Fake,
}

impl Surrendered for FakeSurrendered {
    fn ram(&self) -> &Arc<Ram> {
        &self.machine.ram
    }

    fn remove(self: Box<Self>) -> Result<(), MachineError> {
        self.machine.called(Call::Remove, "remove")?.status = Status::Gone;
        Ok(())
    }
}

/// How long the whole device state is.
pub(super) const STATE_LENGTH: usize = EARLY_STATE.len() + size_of::<u64>();
