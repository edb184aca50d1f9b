//! A host: its machines and what can be asked of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use punctual_units::{Bytes, Probability};
use punctual_wire::MigrationId;

use crate::api::{
    AttachRequest, HostFacts, MachineDetails, MachineState, MachineSummary, Problem, RunRequest,
};
use crate::arrivals::Arrivals;
use crate::config::HostConfig;
use crate::experience::Experience;
use crate::following::{Lines, Servings};
use crate::hypervisor::{Choice, Examination, Handle, Hypervisor, Identity};
use crate::journal::Journal;
use crate::migrations::Migrations;
use crate::queue::Queue;
use crate::registry::{Record, Registry, RegistryError, Standing};
use crate::traces::{Recordings, kept};

/// A host, shared by everything that serves it.
pub(crate) struct Host {
    pub(crate) config: HostConfig,
    /// Where other hosts are told to connect to.
    pub(crate) address: String,
    pub(crate) hypervisor: Box<dyn Hypervisor>,
    pub(crate) registry: Registry,
    pub(crate) journal: Journal,
    experience: Mutex<Experience>,
    pub(crate) arrivals: Arc<Arrivals>,
    pub(crate) recordings: Recordings,
    /// Machines that came before their pages, by what their connections say.
    pub(crate) lines: Arc<Lines>,
    /// Machines that went before their pages.
    pub(crate) servings: Servings,
    migrations: Arc<Migrations>,
    pub(crate) queue: Queue,
}

impl Host {
    pub(crate) fn new(
        config: HostConfig,
        address: String,
        hypervisor: Box<dyn Hypervisor>,
        registry: Registry,
        journal: Journal,
    ) -> Self {
        let experience = Mutex::new(Experience::open(&config.experience()));
        let (arrivals, migrations) = (Arc::default(), Arc::default());
        let recordings = Recordings::default();
        Self {
            config,
            address,
            hypervisor,
            registry,
            journal,
            experience,
            arrivals,
            recordings,
            lines: Arc::default(),
            servings: Servings::default(),
            migrations,
            queue: Queue::default(),
        }
    }

    pub(crate) fn migrations(&self) -> &Arc<Migrations> {
        &self.migrations
    }

    /// What past moves took.
    pub(crate) fn experience(&self) -> MutexGuard<'_, Experience> {
        // A move is remembered whole or not at all.
        self.experience.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn facts(&self) -> HostFacts {
        HostFacts {
            name: self.config.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: self.address.clone(),
            peers: self.config.peers.clone(),
            free_memory: free_memory(),
            fixed_costs: self.experience().fixed(Probability::ZERO).0,
        }
    }

    pub(crate) fn machines(&self) -> Vec<MachineSummary> {
        self.registry.all().iter().map(|record| self.summary(record)).collect()
    }

    pub(crate) fn machine(&self, name: &str) -> Result<MachineDetails, Problem> {
        let record = self.registry.get(name)?;
        let summary = self.summary(&record);
        // One that is on its way has another to talk to.
        let found = match summary.state {
            MachineState::Running | MachineState::Paused => {
                self.hypervisor.examine(&record.handle)?
            }
            _ => Examination::default(),
        };
        let Examination { command_line, qmp, ram, choice, obstacles } = found;
        let Choice { engine, because: engine_reason } = choice;
        Ok(MachineDetails { summary, command_line, qmp, ram, engine, engine_reason, obstacles })
    }

    /// Starts a machine. Its record comes first, so that a crash leaves nothing unknown.
    pub(crate) fn run(&self, request: &RunRequest) -> Result<MachineSummary, Problem> {
        let name = self.hypervisor.name_of(&request.spec)?;
        let starting = Record::new(name.clone(), Standing::Starting, Handle::Null);
        self.registry.add(starting)?;
        let started = self.hypervisor.run(&request.spec, &request.directory);
        let handle = started.inspect_err(|_| self.forget(&name))?;
        tracing::info!(machine = name, "started");
        let record = Record::new(name, Standing::Resident, handle);
        self.registry.put(record.clone())?;
        Ok(self.summary(&record))
    }

    pub(crate) fn attach(&self, request: &AttachRequest) -> Result<MachineSummary, Problem> {
        let AttachRequest { name, qmp } = request;
        crate::registry::check_name(name)?;
        if self.registry.contains(name) {
            return Err(RegistryError::Taken(name.clone()).into());
        }
        let handle = self.hypervisor.attach(name, qmp)?;
        let record = Record::new(name.clone(), Standing::Resident, handle);
        self.registry.add(record.clone())?;
        tracing::info!(machine = name, qmp = %qmp.display(), "attached");
        Ok(self.summary(&record))
    }

    /// Ends a machine, or removes what is left of one that is gone.
    pub(crate) fn stop(&self, name: &str) -> Result<MachineSummary, Problem> {
        let before = self.summary(&self.registry.get(name)?);
        // What a destination still needs goes only if that cannot be reached.
        let cut_off = self.link_is_lost(name);
        let may_end = |from| match from {
            Standing::Resident | Standing::Departed(_) | Standing::Depending(_) => true,
            Standing::Serving(_) => cut_off,
            _ => false,
        };
        let record = self.registry.shift(name, may_end, Standing::Ending)?;
        self.discard(&record)?;
        tracing::info!(machine = name, "ended");
        Ok(before)
    }

    /// Removes all that is here of a machine, then its record.
    pub(crate) fn discard(&self, record: &Record) -> Result<(), Problem> {
        let handle = Some(&record.handle).filter(|handle| !handle.is_null());
        self.hypervisor.discard(&record.name, handle)?;
        kept::forget(&self.config.traces(), &record.name);
        Ok(self.registry.remove(&record.name)?)
    }

    /// Notes how a machine stands.
    pub(crate) fn stand(&self, name: &str, standing: Standing) {
        if let Err(error) = self.registry.shift(name, |_| true, standing) {
            // The journal says the same when the daemon is started again.
            tracing::error!(machine = name, %error, ?standing, "its record is out of date");
        }
    }

    /// Keeps the journal short, between two attempts.
    pub(crate) fn tidy_journal(&self) {
        let attempts = self.registry.all().into_iter().filter_map(|one| one.standing.attempt());
        if let Err(error) = self.journal.tidy(&attempts.map(MigrationId::from).collect()) {
            tracing::warn!(%error, "the journal grows: it could not be tidied");
        }
    }

    /// Drops the record of a machine that is not here. One that cannot be dropped is found, and
    /// tried again, when the daemon starts.
    pub(crate) fn forget(&self, name: &str) {
        kept::forget(&self.config.traces(), name);
        if let Err(error) = self.registry.remove(name) {
            tracing::error!(machine = name, %error, "cannot remove the machine's record");
        }
    }

    pub(crate) fn summary(&self, record: &Record) -> MachineSummary {
        let Record { name, standing, handle, .. } = record;
        let migration = self.migrations.of_machine(name);
        let state = match standing {
            Standing::Starting => MachineState::Starting,
            Standing::Ending => MachineState::Ending,
            Standing::Arriving(_) => MachineState::Arriving,
            Standing::Departed(_) => MachineState::Departed,
            Standing::Undecided(_) => MachineState::Undecided,
            Standing::Leaving(id) if self.migrations.is_queued(*id) => MachineState::Queued,
            Standing::Leaving(_) => MachineState::Leaving,
            Standing::Replacing(_) => MachineState::Replacing,
            Standing::Traced => MachineState::Traced,
            Standing::Suspending(_) => MachineState::Suspending,
            Standing::Resuming(_) => MachineState::Resuming,
            Standing::Serving(_) => MachineState::Serving,
            // It does not answer while it waits for a page.
            Standing::Depending(_) if self.hypervisor.is_gone(handle) => MachineState::Gone,
            Standing::Depending(_) => MachineState::Depending,
            Standing::Resident => self.hypervisor.state(handle),
        };
        let Identity { pid, memory } = self.hypervisor.identity(handle);
        MachineSummary { name: name.clone(), state, pid, memory, migration }
    }
}

/// What the kernel says could be had without swapping; zero if it does not say.
pub(crate) fn free_memory() -> Bytes {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.map_or(Bytes::ZERO, Bytes::kib)
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        match &error {
            RegistryError::Name(_) => Self::usage(error, ""),
            RegistryError::Taken(_) => Self::refused(error, ""),
            RegistryError::Unknown(_) => Self::unknown(error, ""),
            RegistryError::Busy { name, standing } => {
                Self::refused(&error, remedy(name, *standing))
            }
            RegistryError::Io { .. } | RegistryError::Malformed { .. } => Self::failed(error, ""),
        }
    }
}

/// What to do about a machine that cannot be had now.
fn remedy(name: &str, standing: Standing) -> String {
    match standing {
        Standing::Resident | Standing::Starting | Standing::Ending => {
            "try again in a moment".to_owned()
        }
        Standing::Leaving(_) | Standing::Replacing(_) => {
            format!("wait for it (`punctual watch`), or `punctual cancel {name}`")
        }
        Standing::Traced | Standing::Suspending(_) | Standing::Resuming(_) => {
            format!("wait for its end, or end it early: `punctual cancel {name}`")
        }
        Standing::Arriving(_) => {
            "wait for it, or cancel its migration at the host that it comes from".to_owned()
        }
        Standing::Departed(_) => {
            format!("see it there; `punctual stop {name}` removes what is left of it here")
        }
        Standing::Serving(_) => format!(
            "wait until it has them; if the link is lost, mend it, or tell the other address: \
             `punctual recover {name} --to ADDRESS`"
        ),
        Standing::Depending(_) => {
            "wait until it has them; if the link to that host is lost, mend it".to_owned()
        }
        Standing::Undecided(_) => {
            "mend the disk that holds the journal, and start the daemon again".to_owned()
        }
    }
}
