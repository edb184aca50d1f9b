//! A machine goes into a file, and ends or runs on.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use punctual_guest::SourceMachine;
use punctual_snapshot::{About, Ending, Purpose, SnapshotId, Writer};
use punctual_units::Bytes;
use punctual_wire::MigrationId;

use super::place::{Partial, Place};
use super::saving::{SaveError, Stood, save};
use super::session::Session;
use super::task::{Aim, Task};
use super::watch::Watch;
use super::{Ended, begin, disks, new_id, now};
use crate::api::{Id, Problem, Saved, SnapshotEvent, SnapshotPhase, SuspendRequest};
use crate::host::Host;
use crate::hypervisor::{Departure, Disk};
use crate::listener::{Listener, listen};

/// A machine that is to be saved, and where.
pub(super) struct Job {
    pub(super) host: Arc<Host>,
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) purpose: Purpose,
    pub(super) id: Id,
    pub(super) disks: Vec<Disk>,
}

/// Why a machine was not saved.
pub(super) enum Unsaved {
    /// It runs on as before, and no file is left.
    Runs(Ended),
    /// It stands: only the next daemon can say whose it is.
    Undecided(Problem),
}

impl Host {
    /// Begins to write a machine to a file, in a thread of its own.
    pub(crate) fn suspend(
        self: &Arc<Self>,
        name: &str,
        request: &SuspendRequest,
    ) -> Result<Listener<SnapshotEvent>, Problem> {
        let place = Place::new(&request.file)?;
        let id = new_id();
        let (aim, purpose) = match request.keep_running {
            true => (Aim::Copy, Purpose::Copied),
            false => (Aim::Suspend, Purpose::Suspended),
        };
        let task = Task { id, file: place.file().to_owned(), aim };
        let (session, record) = Session::begin(self, name, &task)?;
        let departure = self.hypervisor.depart(name, &record.handle);
        let departure = departure.map_err(|refusals| Problem::from(&refusals[..]))?;
        let disks = self.hypervisor.ties(&departure.description)?.disks;
        check_room(name, &*departure.machine, &place)?;
        let (teller, listener) = listen(session.cancel.clone());
        let job = Job { host: Arc::clone(self), name: name.to_owned(), place, purpose, id, disks };
        begin(&format!("save-{name}"), move || {
            let cancel = session.cancel.clone();
            let mut watch = Watch::begin(&teller, &cancel, &job.name);
            tracing::info!(machine = job.name, file = %job.place.file().display(), "is saved");
            let saved = job.save(departure, &mut watch);
            let event = job.end(saved, session);
            teller.tell(event);
        })?;
        Ok(listener)
    }
}

/// Refuses a place that may be too small, before anything is touched.
pub(super) fn check_room(
    name: &str,
    machine: &dyn SourceMachine,
    place: &Place,
) -> Result<(), Problem> {
    let populated = machine.ram().populated().map_err(|error| {
        Problem::failed(format!("machine `{name}`: {error}"), "see whether it still runs")
    })?;
    // What is written again while it is copied, and the device state.
    let most = populated.len().bytes().get();
    place.check(Bytes::new(most + most / 16 + (16 << 20)))
}

impl Job {
    /// Saves the machine. When this returns it has ended or runs on, see [`Purpose`]; where that is
    /// not so, [`Unsaved`] says what is.
    pub(super) fn save(
        &self,
        departure: Departure,
        watch: &mut Watch<'_>,
    ) -> Result<Saved, Unsaved> {
        let Departure { mut machine, description, .. } = departure;
        let (partial, file) =
            self.place.begin().map_err(|problem| Unsaved::Runs(problem.into()))?;
        let ram = Arc::clone(machine.ram());
        let about = About {
            id: SnapshotId(MigrationId::from(self.id).0),
            purpose: self.purpose,
            machine: self.name.clone(),
            host: self.host.config.name.clone(),
            taken_at: now(),
            layout: ram.layout().clone(),
        };
        let saved = Writer::begin(file, &about, &description).map_err(SaveError::File).and_then(
            |mut writer| {
                let stood = save(&mut *machine, &mut writer, watch)?;
                let disks = disks::look(&self.disks).map_err(SaveError::File)?;
                Ok((writer, stood, disks))
            },
        );
        let (writer, stood, disks) = match saved {
            Ok(saved) => saved,
            Err(error) => return Err(self.back(&mut *machine, &error)),
        };
        let ending = Ending {
            digest: stood.digest.get(),
            populated: stood.populated,
            device_state: stood.device_state,
            disks,
        };
        match self.purpose {
            Purpose::Copied => self.copied(machine, writer, partial, &ending, &stood, watch),
            Purpose::Suspended => self.suspended(machine, writer, partial, &ending, &stood, watch),
        }
    }

    /// The machine runs on at once, and its file is made durable beside it.
    fn copied(
        &self,
        mut machine: Box<dyn SourceMachine>,
        writer: Writer<File>,
        partial: Partial,
        ending: &Ending,
        stood: &Stood,
        watch: &mut Watch<'_>,
    ) -> Result<Saved, Unsaved> {
        machine.resume().map_err(|error| Unsaved::Undecided(stands(&self.name, &error)))?;
        let lasted = Instant::now() - stood.since;
        drop(machine);
        let published = self.publish(writer, partial, ending, watch);
        let size = published.map_err(|error| Unsaved::Runs(self.failed(&error)))?;
        let saved = Saved { stood: lasted, ..self.result(ending, size, watch) };
        let writable = self.disks.iter().any(|disk| disk.writable);
        let note = "the file is good only as long as the machine's disks are as they were when it \
                    stood: copy them with it";
        Ok(Saved { notes: writable.then(|| note.to_owned()).into_iter().collect(), ..saved })
    }

    /// The machine ends once its file is durable, and not before.
    fn suspended(
        &self,
        mut machine: Box<dyn SourceMachine>,
        writer: Writer<File>,
        partial: Partial,
        ending: &Ending,
        stood: &Stood,
        watch: &mut Watch<'_>,
    ) -> Result<Saved, Unsaved> {
        let size = match self.publish(writer, partial, ending, watch) {
            Ok(size) => size,
            Err(_) if self.place.holds(SnapshotId(MigrationId::from(self.id).0)) => {
                return Err(Unsaved::Undecided(Problem::failed(
                    format!(
                        "machine `{}`: it stands, and whether {} is durable is not known",
                        self.name,
                        self.place.file().display()
                    ),
                    "mend that disk and start the daemon again: if the file is there then, it is \
                     the machine; else the machine runs on",
                )));
            }
            Err(error) => return Err(self.back(&mut *machine, &error)),
        };
        let lasted = Instant::now() - stood.since;
        let mut saved = Saved { stood: lasted, ..self.result(ending, size, watch) };
        // From here on it is the file: what is here can no longer run.
        if let Err(error) = machine.surrender().remove() {
            tracing::error!(machine = self.name, %error, "not all that was left could be removed");
            saved.notes.push(format!("something of the machine is left on this host: {error}"));
        }
        Ok(saved)
    }

    /// Ends the file and gives it its name, durably. Says how long it is.
    fn publish(
        &self,
        writer: Writer<File>,
        partial: Partial,
        ending: &Ending,
        watch: &mut Watch<'_>,
    ) -> Result<Bytes, SaveError> {
        watch.enter(SnapshotPhase::Syncing, Bytes::ZERO);
        let file = writer.finish(ending).map_err(SaveError::File)?;
        file.sync_all().map_err(SaveError::File)?;
        let size = file.metadata().map_err(SaveError::File)?.len();
        if watch.is_cancelled() {
            return Err(SaveError::Cancelled);
        }
        partial.publish(&self.place).map_err(SaveError::File)?;
        Ok(Bytes::new(size))
    }

    fn result(&self, ending: &Ending, size: Bytes, watch: &Watch<'_>) -> Saved {
        Saved {
            machine: self.name.clone(),
            file: self.place.file().to_owned(),
            keeps_running: self.purpose == Purpose::Copied,
            memory: ending.populated,
            size,
            ram_digest: format!("{:032x}", ending.digest),
            stood: std::time::Duration::ZERO,
            took: watch.elapsed(),
            notes: vec![],
        }
    }

    /// Lets the machine run on here, from wherever it was.
    fn back(&self, machine: &mut dyn SourceMachine, error: &SaveError) -> Unsaved {
        match machine.resume() {
            Ok(()) => Unsaved::Runs(self.failed(error)),
            Err(resuming) => {
                tracing::error!(machine = self.name, %error, "could not be saved, and stands");
                Unsaved::Undecided(stands(&self.name, &resuming))
            }
        }
    }

    fn failed(&self, error: &SaveError) -> Ended {
        let (name, file) = (&self.name, self.place.file().display());
        let runs_on = "it runs on, and no file is left";
        let remedy = match error {
            SaveError::Cancelled => {
                return Ended::Cancelled(format!("machine `{name}` was not saved: {runs_on}"));
            }
            SaveError::File(error) if is_full(error) => "make room there, or name a file elsewhere",
            SaveError::File(_) => "see to that disk, or name a file elsewhere",
            _ => "see the daemon's log",
        };
        let what = match error {
            // It names the machine.
            SaveError::Machine(error) => format!("{error}; {runs_on}"),
            SaveError::File(error) => format!("machine `{name}`: {file}: {error}; {runs_on}"),
            error => format!("machine `{name}`: {error}; {runs_on}"),
        };
        Ended::Failed(Problem::failed(what, remedy))
    }

    /// Does what follows from how it ended.
    pub(super) fn end(&self, saved: Result<Saved, Unsaved>, session: Session) -> SnapshotEvent {
        match saved {
            Ok(saved) => {
                tracing::info!(machine = saved.machine, file = %saved.file.display(), "saved");
                match self.purpose {
                    Purpose::Copied => drop(session),
                    Purpose::Suspended if saved.notes.is_empty() => session.forget(),
                    // What is left goes when the daemon is started again.
                    Purpose::Suspended => session.leave_undecided(),
                }
                SnapshotEvent::Saved(saved)
            }
            Err(Unsaved::Runs(ended)) => {
                drop(session);
                ended.into()
            }
            Err(Unsaved::Undecided(problem)) => {
                session.leave_undecided();
                SnapshotEvent::Failed(problem)
            }
        }
    }
}

fn stands(name: &str, error: &punctual_guest::MachineError) -> Problem {
    Problem::failed(
        format!("machine `{name}` stands: {error}"),
        "start the daemon again: it makes the machine run on",
    )
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
