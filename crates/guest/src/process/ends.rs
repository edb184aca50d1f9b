//! A process as the engine sees it, at either end.

use std::io::{self, PipeWriter, Write, pipe};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use punctual_units::{PageSet, Probability};

use super::Process;
use crate::demand::{Beforehand, Demand};
use crate::throttle::{Throttle, other_threads};
use crate::trace::Tracer;
use crate::{DestinationMachine, MachineError, Ram, Settled, SourceMachine, Stopped, Surrendered};

/// A process at the source.
#[derive(Debug)]
pub struct ProcessSource {
    process: Arc<Process>,
    tracer: Option<Tracer>,
    throttle: Option<Throttle>,
    state_out: Option<PipeWriter>,
}

impl ProcessSource {
    /// The source's hold on a process that runs.
    #[must_use]
    pub fn new(process: Arc<Process>) -> Self {
        Self { process, tracer: None, throttle: None, state_out: None }
    }
}

impl SourceMachine for ProcessSource {
    fn ram(&self) -> &Arc<Ram> {
        &self.process.ram
    }

    fn start_tracing(&mut self) -> Result<(), MachineError> {
        let tracer = match self.tracer.take() {
            Some(tracer) => tracer.begin_anew(&self.process.ram),
            None => Tracer::attach(self.process.pid(), &self.process.ram),
        };
        self.tracer = Some(tracer.map_err(|cause| self.process.failed("start tracing", cause))?);
        Ok(())
    }

    fn collect_written(&mut self, written: &mut PageSet) -> Result<(), MachineError> {
        let action = "collect written pages";
        let Some(tracer) = &mut self.tracer else {
            return Err(self.process.failed(action, "it is not being traced"));
        };
        tracer.collect(written).map_err(|cause| self.process.failed(action, cause))
    }

    fn collect_written_among(
        &mut self,
        pages: &PageSet,
        written: &mut PageSet,
    ) -> Result<(), MachineError> {
        let action = "collect written pages";
        let Some(tracer) = &mut self.tracer else {
            return Err(self.process.failed(action, "it is not being traced"));
        };
        let collected = tracer.collect_among(pages, written);
        collected.map_err(|cause| self.process.failed(action, cause))
    }

    fn settle(&mut self) -> Result<Settled, MachineError> {
        Ok(Settled::NoDirectIo)
    }

    fn throttle(&mut self, share: Probability) -> Result<Probability, MachineError> {
        let pid = self.process.pid().as_raw_pid().unsigned_abs();
        let threads = || other_threads(pid);
        let slowed = Throttle::hold(&mut self.throttle, pid, threads, share);
        slowed.map_err(|cause| self.process.failed("throttle", cause))
    }

    fn prepare_stop(&mut self) -> Result<(), MachineError> {
        Ok(())
    }

    /// Its threads stand still between two writes. The process itself goes on, since it saves its
    /// own state, as QEMU does.
    fn stop(&mut self) -> Result<Stopped, MachineError> {
        let failed =
            |cause: Box<dyn std::error::Error + Send + Sync>| self.process.failed("stop", cause);
        let (reader, writer) = pipe().map_err(|cause| failed(cause.into()))?;
        Throttle::lift(&self.throttle);
        self.process.talk().order("stop").map_err(|cause| failed(cause.into()))?;
        self.state_out = Some(writer);
        Ok(Stopped { at: Instant::now(), device_state: Box::new(reader) })
    }

    fn save_device_state(&mut self) -> Result<(), MachineError> {
        let action = "save device state";
        let Some(mut out) = self.state_out.take() else {
            return Err(self.process.failed(action, "it has not been stopped"));
        };
        let state = self.process.talk().fetch("save");
        let state = state.map_err(|cause| self.process.failed(action, cause))?;
        // More than a pipe holds: whoever reads it decides when it has flowed.
        std::thread::spawn(move || out.write_all(&state));
        Ok(())
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        self.state_out = None;
        self.throttle = None;
        let told = self.process.talk().order("run");
        told.map_err(|cause| self.process.failed("resume", cause))
    }

    fn surrender(self: Box<Self>) -> Box<dyn Surrendered> {
        Box::new(SurrenderedProcess { process: self.process, _throttle: self.throttle })
    }
}

/// A process that runs elsewhere now.
#[derive(Debug)]
struct SurrenderedProcess {
    process: Arc<Process>,
    /// Ending it takes longer than the handover has time for.
    _throttle: Option<Throttle>,
}

impl Surrendered for SurrenderedProcess {
    fn ram(&self) -> &Arc<Ram> {
        &self.process.ram
    }

    fn remove(self: Box<Self>) -> Result<(), MachineError> {
        self.process.end().map_err(|cause| self.process.failed("remove", cause))
    }
}

/// A process at the destination.
#[derive(Debug)]
pub struct ProcessDestination {
    process: Arc<Process>,
    stage: Stage,
    /// What has been done before all pages were known that will be missing.
    beforehand: Beforehand,
}

/// How far it has come.
#[derive(Debug)]
enum Stage {
    Waiting,
    Receiving(Receiver<Vec<u8>>),
    Loaded,
    Running,
}

impl ProcessDestination {
    /// The destination's hold on a process that waits to be moved here.
    #[must_use]
    pub fn new(process: Arc<Process>) -> Self {
        let beforehand = Beforehand::new(process.ram.layout().pages());
        Self { process, stage: Stage::Waiting, beforehand }
    }
}

impl DestinationMachine for ProcessDestination {
    fn ram(&self) -> &Arc<Ram> {
        &self.process.ram
    }

    fn forget(&mut self, pages: &PageSet) -> Result<(), MachineError> {
        let Process { name, pid, ram, .. } = &*self.process;
        self.beforehand.forget(name, *pid, ram, pages)
    }

    fn page_on_demand(&mut self, missing: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        let Process { name, pid, ram, record, .. } = &*self.process;
        Ok(Arc::new(self.beforehand.begin(name, *pid, ram, missing, record.clone())?))
    }

    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError> {
        if !matches!(self.stage, Stage::Waiting) {
            return Err(self.process.failed("take device state", "it has been taken already"));
        }
        let (whole, received) = channel();
        self.stage = Stage::Receiving(received);
        Ok(Box::new(StateWriter { bytes: Vec::new(), whole }))
    }

    fn wait_loaded(&mut self, timeout: Duration) -> Result<(), MachineError> {
        let failed = |cause: Box<dyn std::error::Error + Send + Sync>| {
            self.process.failed("load device state", cause)
        };
        let Stage::Receiving(received) = &self.stage else {
            return Err(failed("there is none to wait for".into()));
        };
        let state = received.recv_timeout(timeout).map_err(|cause| failed(cause.into()))?;
        let told = self.process.talk().give("load", &state);
        told.map_err(|cause| failed(cause.into()))?;
        self.stage = Stage::Loaded;
        Ok(())
    }

    fn resume(&mut self) -> Result<Instant, MachineError> {
        if !matches!(self.stage, Stage::Loaded) {
            return Err(self.process.failed("resume", "its device state has not been loaded"));
        }
        let told = self.process.talk().order("run");
        told.map_err(|cause| self.process.failed("resume", cause))?;
        self.stage = Stage::Running;
        Ok(Instant::now())
    }

    fn discard(self: Box<Self>) -> Result<(), MachineError> {
        self.process.end().map_err(|cause| self.process.failed("discard", cause))
    }
}

impl Drop for ProcessDestination {
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Running) {
            let _ = self.process.end();
        }
    }
}

/// Gathers the device state, and hands it over at its end.
struct StateWriter {
    bytes: Vec<u8>,
    whole: Sender<Vec<u8>>,
}

impl Write for StateWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for StateWriter {
    fn drop(&mut self) {
        // Nobody may be waiting any more.
        let _ = self.whole.send(std::mem::take(&mut self.bytes));
    }
}
