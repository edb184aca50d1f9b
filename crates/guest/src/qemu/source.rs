use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::{PageSet, Probability};
use serde::Deserialize;
use serde_json::json;
use thiserror::Error;

use super::device_state::{Saved, pair};
use super::machine::{AttachError, Machine, end};
use super::migration::{self, Settings};
use super::qmp::{Event, Mark, Qmp, QmpError};
use super::settle;
use crate::throttle::{self, Throttle};
use crate::trace::Tracer;
use crate::{MachineError, Ram, Settled, SourceMachine, Stopped, Surrendered};

/// How long the guest may take to stop, its disks' requests and flushes included.
const STOP: Duration = Duration::from_secs(30);
/// By then QEMU has told the guest's processors to stop: it begins to within a millisecond or two.
const TOLD: Duration = Duration::from_millis(5);
/// The name under which QEMU is given its end of the stream.
const STREAM: &str = "punctual-device-state";
/// And that under which it holds ours, too, so that the stream does not break where this process ends.
const HELD: &str = "punctual-device-state-reader";
/// RAM stays in its files, QEMU holds between stop and saving, and says what it does.
const CAPABILITIES: &[&str] = &["x-ignore-shared", "pause-before-switchover", "events"];

/// A QEMU machine at the source of a move.
///
/// ```text
///            prepare_stop        stop             save_device_state
///  running ──────────────► running ──► pre-switchover ──────────► postmigrate
///     ▲                       │              │                        │
///     └───────────────────────┴──── resume ──┴────────────────────────┘
/// ```
#[derive(Debug)]
pub struct Source {
    machine: Machine,
    ram: Arc<Ram>,
    tracer: Option<Tracer>,
    throttle: Option<Throttle>,
    /// What was set before `prepare_stop`.
    before: Option<Settings>,
    /// Whether it is to leave out the description of the stream, which it did not before.
    undescribed: bool,
    /// Our end of the stream, from `prepare_stop` to `stop`.
    stream: Option<UnixStream>,
    /// Whether QEMU was told to save.
    saving: bool,
}

/// What can go wrong with the machine at the source.
#[derive(Debug, Error)]
enum SourceError {
    #[error("it is not being traced: call start_tracing first")]
    NotTraced,
    #[error("nothing was made ready for it: call prepare_stop first")]
    NotPrepared,
    #[error("QEMU gave up ({status}): {reason}")]
    GaveUp { status: String, reason: String },
}

impl Source {
    pub(super) fn new(machine: Machine, ram: Arc<Ram>) -> Self {
        Self {
            machine,
            ram,
            tracer: None,
            throttle: None,
            before: None,
            undescribed: false,
            stream: None,
            saving: false,
        }
    }

    /// Makes the machine behind a monitor run, in whatever state a handover that was broken off
    /// has left it. For a daemon that was started anew and knows that the machine belongs here.
    ///
    /// # Errors
    /// Its monitor does not answer, or it cannot run.
    pub fn recover(monitor: &Path) -> Result<Machine, AttachError> {
        let qmp = Qmp::connect(monitor)?;
        super::restart::undo(&qmp)?;
        migration::run_on(&qmp, &monitor.to_string_lossy(), false)?;
        release(&qmp)?;
        migration::switch_off(&qmp, CAPABILITIES)?;
        migration::switch_off(&qmp, super::native::CAPABILITIES)?;
        migration::leave_out_description(&qmp, false)?;
        drop(qmp);
        let machine = Machine::attach(monitor)?;
        let pid = machine.process.pid();
        if throttle::undo(pid).map_err(|cause| AttachError::Slow { pid, cause })? {
            tracing::warn!(pid, "the machine had been left slowed down; it runs freely again");
        }
        Ok(machine)
    }

    /// The machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(super) fn qmp(&self) -> &Qmp {
        &self.machine.qmp
    }

    fn failed<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        action: &'static str,
    ) -> impl Fn(E) -> MachineError + use<E> {
        let machine = self.machine.description.name.clone();
        move |cause| MachineError { machine: machine.clone(), action, cause: cause.into() }
    }

    fn prepare(&mut self) -> Result<(), Box<dyn Error + Send + Sync>> {
        if self.before.is_none() {
            // Only device state goes through the stream: neither bandwidth nor downtime are for
            // QEMU to ration.
            let parameters = json!({
                "max-bandwidth": 1_u64 << 40,
                "downtime-limit": 2_000_000,
            });
            self.before = Some(migration::set(self.qmp(), CAPABILITIES, &parameters)?);
            self.undescribed = migration::leave_out_description(self.qmp(), true)?;
        }
        let (ours, qemus) = pair()?;
        self.qmp().pass_fd(HELD, ours.as_fd())?;
        self.qmp().pass_fd(STREAM, qemus.as_fd())?;
        self.stream = Some(ours);
        Ok(())
    }

    fn stop_guest(&mut self) -> Result<Stopped, Box<dyn Error + Send + Sync>> {
        let stream = self.stream.take().ok_or(SourceError::NotPrepared)?;
        let mark = self.qmp().mark();
        self.qmp().execute("migrate", json!({ "uri": format!("fd:{STREAM}") }))?;
        let device_state = Saved::read_from(stream, &self.machine.qmp, mark)?;
        if self.throttle.is_some() {
            self.let_slow_guest_stop(mark);
        }
        let at = self.wait_stopped(mark)?;
        Ok(Stopped { at, device_state: Box::new(device_state) })
    }

    /// A processor that was slowed down hears that it has to stop when it is its turn to run, which
    /// may take 80 ms. It is slow until it has been told to, so as not to write a lot meanwhile, and
    /// let run when it has been: then it stops before it does anything else.
    fn let_slow_guest_stop(&self, mark: Mark) {
        let stopped = |event: &Event| event.name == "STOP";
        // It does not matter whether it stood by then.
        let _ = self.qmp().wait_event(mark, Instant::now() + TOLD, "stop", stopped);
        Throttle::lift(&self.throttle);
    }

    /// Waits until the processors stand and the disks are quiet: QEMU stops the machine, ends and
    /// flushes all requests to disks, and only then comes to `pre-switchover`
    /// (`migration_completion` in QEMU's `migration/migration.c`, `do_vm_stop` in `system/cpus.c`).
    /// Of the time between, 1 ms is a fixed wait of QEMU's (`migration_maybe_pause`).
    fn wait_stopped(&self, mark: Mark) -> Result<Instant, Box<dyn Error + Send + Sync>> {
        let wanted = |event: &Event| migration::reached(event, &["pre-switchover"]);
        let held = self.qmp().wait_event(mark, Instant::now() + STOP, "stop", wanted)?;
        if held.migration_status() != Some("pre-switchover") {
            let status = held.migration_status().unwrap_or_default().to_owned();
            return Err(
                SourceError::GaveUp { status, reason: migration::failure(self.qmp()) }.into()
            );
        }
        let stopped = self.qmp().seen_event(mark, |event| event.name == "STOP");
        Ok(stopped.map_or(held.at, |event| event.at))
    }

    fn run_on(&mut self) -> Result<(), QmpError> {
        self.stream = None;
        Throttle::lift(&self.throttle);
        let saving = std::mem::take(&mut self.saving);
        migration::run_on(self.qmp(), &self.machine.description.name, saving)?;
        release(self.qmp())?;
        if let Some(before) = self.before.take() {
            migration::restore(self.qmp(), &before)?;
        }
        if std::mem::take(&mut self.undescribed) {
            migration::leave_out_description(self.qmp(), false)?;
        }
        self.throttle = None;
        Ok(())
    }
}

impl SourceMachine for Source {
    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn start_tracing(&mut self) -> Result<(), MachineError> {
        let tracer = match self.tracer.take() {
            Some(tracer) => tracer.begin_anew(&self.ram),
            None => Tracer::attach(self.machine.process.raw(), &self.ram),
        };
        self.tracer = Some(tracer.map_err(self.failed("trace"))?);
        Ok(())
    }

    fn collect_written(&mut self, written: &mut PageSet) -> Result<(), MachineError> {
        let action = "collect written pages";
        let Some(tracer) = &mut self.tracer else {
            return Err(self.failed(action)(SourceError::NotTraced));
        };
        let collected = tracer.collect(written);
        collected.map_err(self.failed(action))
    }

    fn collect_written_among(
        &mut self,
        pages: &PageSet,
        written: &mut PageSet,
    ) -> Result<(), MachineError> {
        let action = "collect written pages";
        let Some(tracer) = &mut self.tracer else {
            return Err(self.failed(action)(SourceError::NotTraced));
        };
        let collected = tracer.collect_among(pages, written);
        collected.map_err(self.failed(action))
    }

    fn settle(&mut self) -> Result<Settled, MachineError> {
        settle::settle(self.qmp(), &self.machine.description.disks).map_err(self.failed("settle"))
    }

    fn throttle(&mut self, share: Probability) -> Result<Probability, MachineError> {
        let pid = self.machine.process.pid();
        let qmp = &self.machine.qmp;
        let threads = || processors(qmp).map_err(std::io::Error::other);
        let slowed = Throttle::hold(&mut self.throttle, pid, threads, share);
        slowed.map_err(self.failed("throttle"))
    }

    fn prepare_stop(&mut self) -> Result<(), MachineError> {
        let prepared = self.prepare();
        prepared.map_err(self.failed("prepare the stop"))
    }

    fn stop(&mut self) -> Result<Stopped, MachineError> {
        let stopped = self.stop_guest();
        stopped.map_err(self.failed("stop"))
    }

    fn save_device_state(&mut self) -> Result<(), MachineError> {
        self.saving = true;
        migration::save(self.qmp()).map_err(self.failed("save device state"))
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        let running = self.run_on();
        running.map_err(self.failed("resume"))
    }

    fn surrender(self: Box<Self>) -> Box<dyn Surrendered> {
        let Self { machine, ram, tracer, throttle, .. } = *self;
        Box::new(Moved { machine, ram, _tracer: tracer, _throttle: throttle })
    }
}

/// Has QEMU close our end of the stream, if it holds one.
fn release(qmp: &Qmp) -> Result<(), QmpError> {
    match qmp.execute("closefd", json!({ "fdname": HELD })) {
        Err(QmpError::Command(_)) => Ok(()),
        answer => answer.map(drop),
    }
}

/// What is left of a machine that was moved away.
struct Moved {
    machine: Machine,
    ram: Arc<Ram>,
    /// Ending it takes a millisecond or two, which the handover does not have.
    _tracer: Option<Tracer>,
    /// The same.
    _throttle: Option<Throttle>,
}

/// The threads that are the guest's processors. With TCG one may be all of them.
fn processors(qmp: &Qmp) -> Result<Vec<u32>, QmpError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Processor {
        thread_id: u32,
    }
    let processors: Vec<Processor> = qmp.query("query-cpus-fast", json!({}))?;
    let mut threads: Vec<_> = processors.iter().map(|processor| processor.thread_id).collect();
    threads.sort_unstable();
    threads.dedup();
    Ok(threads)
}

impl Surrendered for Moved {
    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn remove(self: Box<Self>) -> Result<(), MachineError> {
        let Machine { description, qmp, process, belongings } = self.machine;
        let ended = end(&qmp, &process);
        let removed = ended.and_then(|()| Ok(belongings.remove()?));
        removed.map_err(|cause| MachineError {
            machine: description.name,
            action: "remove",
            cause: cause.into(),
        })
    }
}
