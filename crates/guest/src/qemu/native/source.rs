use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use punctual_units::{Bytes, BytesPerSecond};
use serde_json::json;

use super::look::Look;
use super::memory;
use crate::MachineError;
use crate::qemu::belongings::Belongings;
use crate::qemu::machine::{Machine, end};
use crate::qemu::migration::{self, Settings};
use crate::qemu::process::Process;
use crate::qemu::qmp::{Event, Mark, Qmp, QmpError};

/// The name under which QEMU is given its end of the stream.
const STREAM: &str = "punctual-migration";
/// QEMU holds between stop and saving, and says what it does.
const CAPABILITIES: [&str; 2] = ["pause-before-switchover", "events"];
/// Slows the guest's processors down where its memory is written faster than it can be sent.
const THROTTLE: &str = "auto-converge";
/// The longest interruption that QEMU can be allowed, in ms.
const LONGEST: u64 = 2_000_000;
/// More than any link carries.
const UNLIMITED: u64 = 1 << 40;

/// What a migration is to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The rate of the stream; `None` for as fast as somebody reads.
    pub bandwidth: Option<BytesPerSecond>,
    /// QEMU stops the guest when what remains would take no longer.
    pub downtime: Duration,
    /// Whether QEMU may slow the guest's processors down.
    pub throttle: bool,
}

/// A QEMU machine at the source, which QEMU migrates itself. Dropping it lets everything be as it
/// is.
#[derive(Debug)]
pub struct Source {
    machine: Machine,
    /// What was set before the migration began.
    before: Option<Settings>,
    /// Whether it was told to save.
    saving: bool,
}

impl Source {
    /// Takes a machine that runs.
    #[must_use]
    pub fn of(machine: Machine) -> Self {
        Self { machine, before: None, saving: false }
    }

    fn qmp(&self) -> &Qmp {
        &self.machine.qmp
    }

    fn failed<E: Into<Box<dyn Error + Send + Sync>>>(
        &self,
        action: &'static str,
    ) -> impl Fn(E) -> MachineError + use<E> {
        let machine = self.machine.description.name.clone();
        move |cause| MachineError { machine: machine.clone(), action, cause: cause.into() }
    }

    /// How much of the memory is in use, zero pages that were read included.
    #[must_use]
    pub fn populated(&self) -> Bytes {
        memory::populated(&self.machine.description)
    }

    /// How much of the memory the guest changes in a second, by samples; `None` where QEMU cannot
    /// tell. Blocks for that second.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn writing(&self) -> Result<Option<BytesPerSecond>, MachineError> {
        let seen = memory::writing(self.qmp(), &self.machine.description);
        seen.map_err(self.failed("sample the memory"))
    }

    /// Begins the migration. What is returned carries it, in both directions; somebody has to read
    /// and write it all the time. To end it has the migration fail.
    ///
    /// # Errors
    /// QEMU refuses; [`Source::resume`] makes sure that the guest runs.
    pub fn begin(&mut self, limits: &Limits) -> Result<(UnixStream, Watch), MachineError> {
        let begun = self.start(limits);
        begun.map_err(self.failed("begin QEMU's migration"))
    }

    fn start(
        &mut self,
        limits: &Limits,
    ) -> Result<(UnixStream, Watch), Box<dyn Error + Send + Sync>> {
        let throttle = limits.throttle.then_some(THROTTLE);
        let capabilities: Vec<&str> = CAPABILITIES.into_iter().chain(throttle).collect();
        let parameters = json!({
            "max-bandwidth": limits.bandwidth.map_or(UNLIMITED, BytesPerSecond::get),
            "downtime-limit": milliseconds(limits.downtime),
        });
        if self.before.is_none() {
            self.before = Some(migration::set(self.qmp(), &capabilities, &parameters)?);
        }
        // No larger than it is by itself: what waits in it when the guest is stopped is part of
        // the interruption, and QEMU does not know of it.
        let (ours, qemus) = UnixStream::pair()?;
        let mark = self.qmp().mark();
        self.qmp().pass_fd(STREAM, qemus.as_fd())?;
        self.qmp().execute("migrate", json!({ "uri": format!("fd:{STREAM}") }))?;
        let watch = Watch { qmp: Arc::clone(&self.machine.qmp), mark, stopped: false };
        Ok((ours, watch))
    }

    /// How the migration goes on.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn look(&self) -> Result<Look, MachineError> {
        let answer = self.qmp().execute("query-migrate", json!({}));
        answer.map(|answer| Look::read(&answer)).map_err(self.failed("look at QEMU's migration"))
    }

    /// Changes the interruption that QEMU is allowed.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub fn allow(&self, downtime: Duration) -> Result<(), MachineError> {
        let parameters = json!({ "downtime-limit": milliseconds(downtime) });
        let set = self.qmp().execute("migrate-set-parameters", parameters);
        set.map(drop).map_err(self.failed("allow another interruption"))
    }

    /// Lets a stopped machine's last pages and the state of its devices flow.
    ///
    /// # Errors
    /// QEMU does not answer, or the guest is not stopped.
    pub fn hand_over(&mut self) -> Result<(), MachineError> {
        self.saving = true;
        migration::save(self.qmp()).map_err(self.failed("save the machine"))
    }

    /// Gives the migration up, and makes the guest run on here, from any state. One that is being saved
    /// is saved first: somebody has to read the stream to its end.
    ///
    /// # Errors
    /// The machine is gone.
    pub fn resume(&mut self) -> Result<(), MachineError> {
        let saving = std::mem::take(&mut self.saving);
        let running = migration::run_on(self.qmp(), &self.machine.description.name, saving);
        running.map_err(self.failed("resume"))?;
        if let Some(before) = self.before.take() {
            let restored = migration::restore(self.qmp(), &before);
            restored.map_err(self.failed("restore what was set"))?;
        }
        Ok(())
    }

    /// Gives up the right to run the machine.
    #[must_use]
    pub fn surrender(self) -> Remains {
        let Machine { description, qmp, process, belongings } = self.machine;
        Remains { machine: description.name, qmp, process, belongings }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(LONGEST).clamp(1, LONGEST)
}

/// What is left of a machine that was moved away. It cannot run.
#[derive(Debug)]
pub struct Remains {
    machine: String,
    qmp: Arc<Qmp>,
    process: Process,
    belongings: Belongings,
}

impl Remains {
    /// Ends the process and removes what the machine had on this host.
    ///
    /// # Errors
    /// Something could not be removed; the rest has been.
    pub fn remove(self) -> Result<(), MachineError> {
        let ended = end(&self.qmp, &self.process);
        let removed = ended.and_then(|()| Ok(self.belongings.remove()?));
        let machine = self.machine;
        removed.map_err(|cause| MachineError { machine, action: "remove", cause: cause.into() })
    }
}

/// What a migration comes to, in this order; it may fail at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Milestone {
    /// The guest is stopped and its disks are quiet: QEMU waits for [`Source::hand_over`].
    Stopped {
        /// When its processors stopped.
        at: Instant,
    },
    /// All has been put into the stream. The guest stays stopped.
    Saved,
    /// QEMU gave up. It lets the guest run on.
    Failed {
        /// Why.
        reason: String,
    },
}

/// Waits for the milestones of a migration, on a thread of its own.
#[derive(Debug)]
pub struct Watch {
    qmp: Arc<Qmp>,
    mark: Mark,
    stopped: bool,
}

impl Watch {
    /// The next milestone; `None` if there is none within `patience`. Behind the second, and behind
    /// a failure, there is no more.
    pub fn next(&mut self, patience: Duration) -> Option<Milestone> {
        let held = if self.stopped { &[][..] } else { &["pre-switchover"] };
        let wanted = |event: &Event| migration::reached(event, held);
        let deadline = Instant::now() + patience;
        let event = match self.qmp.wait_event(self.mark, deadline, "migrate", wanted) {
            Ok(event) => event,
            Err(QmpError::Timeout { .. }) => return None,
            Err(error) => return Some(Milestone::Failed { reason: error.to_string() }),
        };
        Some(match event.migration_status() {
            Some("pre-switchover") => {
                self.stopped = true;
                let stop = self.qmp.seen_event(self.mark, |event| event.name == "STOP");
                Milestone::Stopped { at: stop.map_or(event.at, |stop| stop.at) }
            }
            Some("completed") => Milestone::Saved,
            status => {
                let (status, reason) =
                    (status.unwrap_or("no status"), migration::failure(&self.qmp));
                Milestone::Failed { reason: format!("QEMU gave up ({status}): {reason}") }
            }
        })
    }
}
