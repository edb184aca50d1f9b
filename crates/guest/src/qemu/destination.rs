use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::{LayoutError, PageSet};
use serde_json::json;
use thiserror::Error;

use super::announce::Announcement;
use super::belongings::Belongings;
use super::device_state::pair;
use super::launch::{Launched, last_words, launch};
use super::machine::RemoveError;
use super::migration;
use super::plan::{Plan, RamFile};
use super::process::Process;
use super::qmp::{Event, Mark, Qmp, QmpError};
use crate::demand::{Beforehand, Demand, Paged, Record};
use crate::{DestinationMachine, MachineError, Ram, RamError};

/// The name under which QEMU is given its end of the stream.
const STREAM: &str = "punctual-device-state";
/// RAM is in its files already; disks are opened only when the machine runs, since until then
/// they belong to the source.
const CAPABILITIES: &[&str] = &["x-ignore-shared", "late-block-activate", "events"];

/// A QEMU machine at the destination: its process waits for device state.
///
/// ```text
///  start ──► waits ──device_state, wait_loaded──► paused ──resume──► running
/// ```
///
/// Dropping it discards it, until [`DestinationMachine::resume`] was called: then the machine is
/// here, and stays.
#[derive(Debug)]
pub struct Destination {
    plan: Plan,
    qmp: Arc<Qmp>,
    process: Process,
    ram: Arc<Ram>,
    /// What has been done before all pages were known that will be missing.
    beforehand: Beforehand,
    belongings: Belongings,
    /// Where the device state goes, until somebody takes it.
    stream: Option<UnixStream>,
    /// From where in its events the loading is watched.
    began: Mark,
    /// Whether it has been told that no description of the stream will come.
    undescribed: bool,
    /// Whether pages of it may be missing, so that whatever touches one waits.
    paged: bool,
    /// Whether dropping it leaves it alone: it is the machine, or was removed.
    keep: bool,
    /// What the network is told since it runs.
    announcement: Option<Announcement>,
}

/// What can go wrong with the machine at the destination.
#[derive(Debug, Error)]
enum DestinationError {
    #[error("the stream of device state was taken before")]
    StreamTaken,
    #[error("QEMU did not accept the device state: {cause}; it says: {said}")]
    NotLoaded { cause: String, said: String },
}

/// Where it is written down which pages of a machine are missing. It goes with its directory.
fn record(directory: &Path) -> Record {
    Record::at(directory.join("missing"))
}

/// Why the paging on demand of a machine could not be taken over.
#[derive(Debug, Error)]
pub enum TakeOverError {
    /// The machine is no more.
    #[error("its process has ended")]
    Gone,
    /// It is not known any more what was made for the machine.
    #[error("plan.json in its directory is gone or not readable, so that its RAM is not known")]
    NoPlan,
    /// Its RAM could not be opened.
    #[error("its RAM cannot be opened: {0}")]
    File(#[from] io::Error),
    /// It was made for no machine that makes sense.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The RAM files do not fit the machine.
    #[error(transparent)]
    Ram(#[from] RamError),
    /// The process is not as it was left.
    #[error(transparent)]
    Machine(#[from] MachineError),
}

impl Destination {
    /// Starts the process of a plan made by [`Plan::for_destination`]. It waits for device state
    /// and does not run by itself. Takes some 100 ms, most of it QEMU's start.
    ///
    /// # Errors
    /// It did not start; nothing is left of it then.
    pub fn start(plan: Plan) -> Result<Self, MachineError> {
        let (mut destination, stream) = Self::waiting(plan, CAPABILITIES, None)?;
        // Its end would be missed otherwise. Where it comes all the same nobody reads it.
        destination.undescribed = migration::leave_out_description(&destination.qmp, true)
            .map_err(destination.failed("start at the destination"))?;
        destination.stream = Some(stream);
        Ok(destination)
    }

    /// Starts the process of a plan, which waits for what a migration with these capabilities
    /// sends; returns where that goes. What it shows as its memory is `shown`, or else its RAM
    /// files.
    pub(super) fn waiting(
        plan: Plan,
        capabilities: &[&str],
        shown: Option<Ram>,
    ) -> Result<(Self, UnixStream), MachineError> {
        let failed = |cause: Box<dyn Error + Send + Sync>| MachineError {
            machine: plan.machine.clone(),
            action: "start at the destination",
            cause,
        };
        if shown.is_none() {
            plan.layout().map_err(|error| failed(error.into()))?;
        }
        let Launched { qmp, process, ram, belongings } =
            launch(&plan).map_err(|error| failed(error.into()))?;
        let ram = shown.or(ram).expect("what makes a layout is in files");
        let destination = Self {
            began: qmp.mark(),
            qmp,
            process,
            beforehand: Beforehand::new(ram.layout().pages()),
            ram: Arc::new(ram),
            belongings,
            stream: None,
            undescribed: false,
            paged: false,
            keep: false,
            announcement: None,
            plan: plan.clone(),
        };
        // On an error it is dropped, and so discarded.
        let stream = destination.listen(capabilities).map_err(failed)?;
        Ok((destination, stream))
    }

    /// Has QEMU wait for what will be sent, so that nothing of that is left for the handover.
    fn listen(&self, capabilities: &[&str]) -> Result<UnixStream, Box<dyn Error + Send + Sync>> {
        // QEMU would announce the guest's address when the state is loaded, while the machine may
        // still run on at the source.
        let parameters = json!({ "announce-rounds": 0 });
        migration::set(&self.qmp, capabilities, &parameters)?;
        let (ours, qemus) = pair()?;
        self.qmp.pass_fd(STREAM, qemus.as_fd())?;
        self.qmp.execute("migrate-incoming", json!({ "uri": format!("fd:{STREAM}") }))?;
        Ok(ours)
    }

    /// The plan that it was started by.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its monitor.
    #[must_use]
    pub fn qmp(&self) -> &Arc<Qmp> {
        &self.qmp
    }

    fn failed<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        action: &'static str,
    ) -> impl Fn(E) -> MachineError + use<E> {
        let machine = self.plan.machine.clone();
        move |cause| MachineError { machine: machine.clone(), action, cause: cause.into() }
    }

    fn loaded(&self, timeout: Duration) -> Result<(), DestinationError> {
        let over = |event: &Event| migration::reached(event, &[]);
        let deadline = Instant::now() + timeout;
        let not_loaded = |cause: String| {
            // QEMU ends itself when it cannot load, and says why; its words are whole at its end.
            let _ = self.process.wait_end(Duration::from_millis(500));
            DestinationError::NotLoaded { cause, said: last_words(&self.plan) }
        };
        let event = self
            .qmp
            .wait_event(self.began, deadline, "load the device state", over)
            .map_err(|error| not_loaded(error.to_string()))?;
        match event.migration_status() {
            Some("completed") => Ok(()),
            _ => Err(not_loaded(migration::failure(&self.qmp))),
        }
    }

    /// Lets it run, and has it announced at once: nobody waits for the announcement, since from now
    /// on QEMU answers only when the processors let it.
    fn run(&mut self) -> Result<Instant, QmpError> {
        let mark = self.qmp.mark();
        let running = self.qmp.begin("cont", json!({}))?;
        self.announcement = Some(Announcement::begin(&self.qmp, &self.plan.machine));
        if std::mem::take(&mut self.undescribed) {
            migration::describe_again(&self.qmp)?;
        }
        if let Some(silence) = unanswered(running.answer(), self.paged)? {
            let machine = &self.plan.machine;
            tracing::warn!(machine, %silence, "it waits for a page and runs once that has come");
        }
        let ran = Instant::now();
        let resumed = self.qmp.seen_event(mark, |event| event.name == "RESUME");
        Ok(resumed.map_or(ran, |event| event.at))
    }

    /// Takes over the paging on demand of the machine with this monitor and process (none: it has
    /// ended), if that was begun and not finished by a daemon that was killed; `None`: it depends
    /// on nobody.
    ///
    /// QEMU itself is not asked, since it may be waiting for a page.
    ///
    /// # Errors
    /// Pages of it are missing, and its process is gone or does not wait for them.
    pub fn take_over(
        monitor: &Path,
        process: Option<&Process>,
    ) -> Result<Option<Arc<dyn Demand>>, TakeOverError> {
        let record = record(monitor.parent().unwrap_or(monitor));
        if !record.exists() {
            return Ok(None);
        }
        let plan = Belongings::recorded(monitor).ok_or(TakeOverError::NoPlan)?;
        let process = process.ok_or(TakeOverError::Gone)?;
        let open = |file: &RamFile| File::options().read(true).write(true).open(&file.path);
        let files = plan.ram.iter().map(open).collect::<Result<_, _>>()?;
        let ram = Ram::open(plan.layout()?, files)?;
        let paged = Paged::take_over(&plan.machine, process.raw(), &ram, record)?;
        Ok(paged.map(|paged| -> Arc<dyn Demand> { Arc::new(paged) }))
    }

    fn remove(&mut self) -> Result<(), RemoveError> {
        self.keep = true;
        let killed = self.process.kill().map_err(RemoveError::Process);
        let removed = self.belongings.remove();
        killed?;
        Ok(removed?)
    }
}

/// Of the answer to a command: that there is none yet, if that is no failure. QEMU's main thread
/// touches memory for its devices; where a page of that is missing it answers nobody until it has
/// come, and carries the command out then.
fn unanswered<T>(answer: Result<T, QmpError>, paged: bool) -> Result<Option<QmpError>, QmpError> {
    match answer {
        Err(silence @ QmpError::Timeout { .. }) if paged => Ok(Some(silence)),
        answer => answer.map(|_| None),
    }
}

impl DestinationMachine for Destination {
    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn forget(&mut self, pages: &PageSet) -> Result<(), MachineError> {
        let Self { plan, process, ram, beforehand, .. } = self;
        beforehand.forget(&plan.machine, process.raw(), ram, pages)
    }

    fn page_on_demand(&mut self, missing: &PageSet) -> Result<Arc<dyn Demand>, MachineError> {
        let Self { plan, process, ram, beforehand, .. } = self;
        let record = record(&plan.directory);
        let paged = beforehand.begin(&plan.machine, process.raw(), ram, missing, record)?;
        self.paged = true;
        Ok(Arc::new(paged))
    }

    fn device_state(&mut self) -> Result<Box<dyn Write + Send>, MachineError> {
        let stream = self.stream.take().ok_or(DestinationError::StreamTaken);
        Ok(Box::new(stream.map_err(self.failed("load device state"))?))
    }

    fn wait_loaded(&mut self, timeout: Duration) -> Result<(), MachineError> {
        self.loaded(timeout).map_err(self.failed("load device state"))
    }

    fn resume(&mut self) -> Result<Instant, MachineError> {
        // From here on it is the machine: letting go of it must not end it, even if it does not
        // run at once, for example since the source still holds the lock of a disk.
        self.keep = true;
        self.run().map_err(self.failed("resume"))
    }

    fn discard(mut self: Box<Self>) -> Result<(), MachineError> {
        self.remove().map_err(self.failed("discard"))
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = self.remove()
        {
            tracing::warn!(machine = self.plan.machine, %error, "destination not wholly discarded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_no_failure_while_a_page_may_be_missing() {
        let after = Duration::from_secs(20);
        let silence = || Err::<(), _>(QmpError::Timeout { what: "run".to_owned(), after });
        assert!(unanswered(silence(), true).unwrap().is_some());
        assert!(unanswered(silence(), false).is_err());
        let gone = QmpError::Lost { command: "cont".to_owned(), cause: "it has ended".to_owned() };
        assert!(unanswered(Err::<(), _>(gone), true).is_err());
        assert!(unanswered(Ok(()), true).unwrap().is_none());
    }
}
