//! Machines that change hosts by being shut down here and started there: nothing of their memory
//! moves, so neither end has any, but the order of the handover is that of every move.
//!
//! ```text
//!  source:       runs ──stop──► guest shut down, disks given up ──surrender──► ended
//!                  ▲                       │ resume: reset, and started again
//!                  └───────────────────────┘
//!  destination:  nothing but a plan ──resume──► QEMU started: the guest boots
//! ```
//!
//! QEMU is told to hold a guest that has shut down (`set-action`), so that the source can start it
//! again until the move is decided. A save of the device state, read by nobody, has it give up its
//! disks: `migration_completion` in QEMU's `migration/migration.c` inactivates them.

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use punctual_units::{MemoryLayout, PAGE_SIZE, PageSet, Probability, Region};
use serde_json::json;
use thiserror::Error;

use super::machine::Machine;
use super::plan::Plan;
use super::qmp::{Qmp, QmpError};
use super::source::Source;
use crate::demand::Demand;
use crate::{
    DestinationMachine, MachineError, Ram, RamError, Settled, SourceMachine, Stopped, Surrendered,
};

/// What QEMU knows by this name as long as its guest is down: one that was interrupted by the end of a
/// daemon is reset before it runs on.
const MARK: &str = "punctual-guest-is-down";

/// What stands for the memory of a machine that takes none along: a page that holds nothing.
///
/// # Errors
/// The kernel has no memory for it.
fn no_memory() -> Result<Arc<Ram>, RamError> {
    Ram::in_memory(layout()).map(Arc::new)
}

/// The memory of a machine that takes none along: what its offer says.
fn layout() -> MemoryLayout {
    let region = Region { name: "nothing".to_owned(), size: PAGE_SIZE };
    MemoryLayout::new(vec![region]).expect("a page is a layout")
}

/// A machine that is to be shut down.
#[derive(Debug)]
pub struct ShutDown {
    source: Source,
    nothing: Arc<Ram>,
    /// How long its guest may take.
    patience: Duration,
    /// Whether it is stopped where it is if it takes longer.
    insist: bool,
    name: String,
}

#[derive(Debug, Error)]
enum ShutDownError {
    #[error(
        "the guest did not shut down within {:.1} s of the power button; allow a longer interruption, \
         have it listen to the button, or --force it: what it has not written to its disks is lost then",
        .0.as_secs_f64()
    )]
    Deaf(Duration),
}

impl ShutDown {
    /// The machine of `source`, whose guest may take `patience` to shut down once it is asked to.
    ///
    /// # Errors
    /// The kernel has no memory for a page.
    pub fn new(source: Source, patience: Duration, insist: bool) -> Result<Self, RamError> {
        let name = source.machine().description().name.clone();
        Ok(Self { source, nothing: no_memory()?, patience, insist, name })
    }

    fn qmp(&self) -> &Qmp {
        self.source.qmp()
    }

    fn failed<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        action: &'static str,
    ) -> impl Fn(E) -> MachineError + use<E> {
        let machine = self.name.clone();
        move |cause| MachineError { machine: machine.clone(), action, cause: cause.into() }
    }

    fn shut_down(&self) -> Result<Instant, Box<dyn Error + Send + Sync>> {
        let (mark, asked) = (self.qmp().mark(), Instant::now());
        self.qmp().execute("system_powerdown", json!({}))?;
        let down =
            self.qmp().wait_event(mark, asked + self.patience, "shut the guest down", |event| {
                event.name == "SHUTDOWN"
            });
        match down {
            Ok(_) => {}
            Err(QmpError::Timeout { .. }) if self.insist => {
                tracing::warn!(machine = self.name, "its guest does not shut down; it is cut off");
                self.qmp().execute("stop", json!({}))?;
            }
            Err(QmpError::Timeout { .. }) => return Err(ShutDownError::Deaf(self.patience).into()),
            Err(error) => return Err(error.into()),
        }
        let mark = json!({ "qom-type": "secret", "id": MARK, "data": "down" });
        self.qmp().execute("object-add", mark)?;
        Ok(asked)
    }
}

/// Starts a guest again that was shut down, or cut off, for a move that did not come about. No harm
/// where there is none.
///
/// # Errors
/// QEMU does not answer.
pub(super) fn undo(qmp: &Qmp) -> Result<(), QmpError> {
    let objects = qmp.execute("qom-list", json!({ "path": "/objects" }))?;
    let marked = objects.as_array().into_iter().flatten().any(|object| object["name"] == MARK);
    let is_down = super::describe::state(qmp)? == "shutdown";
    if !marked && !is_down {
        return Ok(());
    }
    qmp.execute("system_reset", json!({}))?;
    if marked {
        qmp.execute("object-del", json!({ "id": MARK }))?;
    }
    let as_ever = json!({ "shutdown": "poweroff" });
    qmp.execute("set-action", as_ever).map(drop)
}

/// Reads device state to its end, so that QEMU gets rid of it.
fn drain(mut from: Box<dyn Read + Send>) -> io::Result<()> {
    let drain = move || {
        // Where it breaks off QEMU knows, and says so to whoever waits for it.
        let _ = io::copy(&mut from, &mut io::sink());
    };
    thread::Builder::new().name("drain".to_owned()).spawn(drain).map(drop)
}

impl SourceMachine for ShutDown {
    fn ram(&self) -> &Arc<Ram> {
        &self.nothing
    }

    fn start_tracing(&mut self) -> Result<(), MachineError> {
        Ok(())
    }

    fn collect_written(&mut self, _: &mut PageSet) -> Result<(), MachineError> {
        Ok(())
    }

    fn collect_written_among(&mut self, _: &PageSet, _: &mut PageSet) -> Result<(), MachineError> {
        Ok(())
    }

    fn settle(&mut self) -> Result<Settled, MachineError> {
        Ok(Settled::NoDirectIo)
    }

    fn throttle(&mut self, share: Probability) -> Result<Probability, MachineError> {
        self.source.throttle(share)
    }

    fn prepare_stop(&mut self) -> Result<(), MachineError> {
        let hold = json!({ "shutdown": "pause" });
        self.qmp().execute("set-action", hold).map_err(self.failed("prepare the shutdown"))?;
        self.source.prepare_stop()
    }

    /// Shuts the guest down, and has QEMU give up its disks. The interruption begins with the power
    /// button.
    fn stop(&mut self) -> Result<Stopped, MachineError> {
        let at = self.shut_down().map_err(self.failed("shut down"))?;
        let stopped = self.source.stop()?;
        drain(stopped.device_state).map_err(self.failed("give up the disks"))?;
        Ok(Stopped { at, device_state: Box::new(io::empty()) })
    }

    fn save_device_state(&mut self) -> Result<(), MachineError> {
        let mark = self.qmp().mark();
        self.source.save_device_state()?;
        // The other host opens the disks only after this.
        let deadline = Instant::now() + GIVE_UP;
        let saved = self.qmp().wait_event(mark, deadline, "give up the disks", |event| {
            event.migration_status().is_some_and(super::migration::is_over)
        });
        saved.map(drop).map_err(self.failed("give up the disks"))
    }

    fn resume(&mut self) -> Result<(), MachineError> {
        // It runs on, or is reset by then.
        undo(self.qmp()).map_err(self.failed("start again"))?;
        self.source.resume()?;
        let as_ever = json!({ "shutdown": "poweroff" });
        let restored = self.qmp().execute("set-action", as_ever);
        restored.map(drop).map_err(self.failed("start again"))
    }

    fn surrender(self: Box<Self>) -> Box<dyn Surrendered> {
        let Self { source, nothing, .. } = *self;
        Box::new(Gone { rest: Box::new(source).surrender(), nothing })
    }
}

/// How long QEMU may take to give up its disks once its guest is down.
const GIVE_UP: Duration = Duration::from_secs(10);

/// What is left of a machine that was shut down.
struct Gone {
    rest: Box<dyn Surrendered>,
    nothing: Arc<Ram>,
}

impl Surrendered for Gone {
    fn ram(&self) -> &Arc<Ram> {
        &self.nothing
    }

    fn remove(self: Box<Self>) -> Result<(), MachineError> {
        self.rest.remove()
    }
}

/// A machine that will be started here once it is this host's: until then it is a plan.
#[derive(Debug)]
pub struct Afresh {
    plan: Plan,
    nothing: Arc<Ram>,
}

#[derive(Debug, Error)]
#[error("a machine that is started anew has no pages to wait for")]
struct NoPages;

impl Afresh {
    /// The machine of a plan that was made by [`Plan::for_start`].
    ///
    /// # Errors
    /// The kernel has no memory for a page.
    pub fn new(plan: Plan) -> Result<Self, RamError> {
        Ok(Self { plan, nothing: no_memory()? })
    }

    fn failed<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        action: &'static str,
    ) -> impl Fn(E) -> MachineError + use<E> {
        let machine = self.plan.machine.clone();
        move |cause| MachineError { machine: machine.clone(), action, cause: cause.into() }
    }
}

impl DestinationMachine for Afresh {
    fn ram(&self) -> &Arc<Ram> {
        &self.nothing
    }

    fn forget(&mut self, _: &PageSet) -> Result<(), MachineError> {
        Err(self.failed("take pages away")(NoPages))
    }

    fn page_on_demand(&mut self, _: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        Err(self.failed("page on demand")(NoPages))
    }

    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError> {
        Ok(Box::new(io::sink()))
    }

    fn wait_loaded(&mut self, _: Duration) -> Result<(), MachineError> {
        Ok(())
    }

    fn resume(&mut self) -> Result<Instant, MachineError> {
        Machine::run(&self.plan).map_err(self.failed("start"))?;
        Ok(Instant::now())
    }

    /// Nothing was started: a machine that runs is not discarded.
    fn discard(self: Box<Self>) -> Result<(), MachineError> {
        Ok(())
    }
}
