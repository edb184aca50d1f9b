//! A machine comes out of a file.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use punctual_engine::Cancel;
use punctual_guest::DestinationMachine;
use punctual_snapshot::{Purpose, Reader};
use punctual_wire::Offer;

use super::place::Place;
use super::restoring::{RestoreError, Snapshot, load};
use super::task::{Aim, Task};
use super::watch::Watch;
use super::{Ended, begin, disks, new_id, offer};
use crate::api::{Id, Problem, Restored, ResumeRequest, SnapshotEvent};
use crate::host::Host;
use crate::hypervisor::{Arrival, Handle, Links};
use crate::listener::{Listener, listen};
use crate::registry::{Record, RegistryError, Standing, check_name};

/// How much is read of a file at once.
const BUFFER: usize = 1 << 20;

/// A name on this host that a machine out of a file is to have. Free again if it comes to nothing.
pub(super) struct Entry {
    host: Arc<Host>,
    name: String,
    id: Id,
    pub(super) cancel: Cancel,
    end: End,
}

/// What becomes of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// It is free again.
    Free,
    /// The machine has it.
    Settled,
    /// It is as it was: the next daemon sees to it.
    Undecided,
}

/// What a machine out of a file is to be.
pub(super) struct Restoration {
    pub(super) entry: Entry,
    pub(super) offer: Offer,
    pub(super) links: Links,
    /// The file to be used up; `None`: it is good for more than one machine.
    pub(super) claim: Option<Place>,
    pub(super) file: Option<PathBuf>,
    pub(super) notes: Vec<String>,
}

impl Host {
    /// Begins to run a machine from a file, in a thread of its own.
    pub(crate) fn resume(
        self: &Arc<Self>,
        request: &ResumeRequest,
    ) -> Result<Listener<SnapshotEvent>, Problem> {
        let place = Place::new(&request.file)?;
        let snapshot = open(&place)?;
        let name = request.name.clone().unwrap_or_else(|| snapshot.about().machine.clone());
        self.check_free(&name)?;
        let notes = disks::compare(&name, &snapshot.ending().disks, request.force)?;
        let purpose = snapshot.about().purpose;
        let description = self.hypervisor.renamed(snapshot.description(), &name)?;
        let linked = self.hypervisor.ties(&description)?.links > 0;
        let links = match purpose {
            Purpose::Copied if !request.link_up && linked => Links::Down,
            _ => Links::AsTheyWere,
        };
        let offer = offer(snapshot.about(), &name, snapshot.ending().populated, description);
        let considered = self.hypervisor.consider(&offer);
        considered.map_err(|refusals| Problem::from(&refusals[..]))?;
        let uses_up = purpose == Purpose::Suspended && !request.keep;
        let entry = Entry::take(self, &name, uses_up.then_some(&place), Cancel::new())?;
        let file = Some(place.file().to_owned());
        let claim = uses_up.then_some(place);
        let restoration = Restoration { entry, offer, links, claim, file, notes };
        let (teller, listener) = listen(restoration.entry.cancel.clone());
        begin(&format!("resume-{name}"), move || {
            let cancel = restoration.entry.cancel.clone();
            let mut watch = Watch::begin(&teller, &cancel, &restoration.offer.machine);
            let restored = restoration.restore(snapshot, &mut watch);
            teller.tell(restored.map_or_else(SnapshotEvent::from, SnapshotEvent::Restored));
        })?;
        Ok(listener)
    }

    /// Refuses a name that a machine of this host has.
    pub(super) fn check_free(&self, name: &str) -> Result<(), Problem> {
        check_name(name)?;
        if self.registry.contains(name) {
            return Err(taken(name));
        }
        Ok(())
    }
}

fn taken(name: &str) -> Problem {
    Problem::refused(
        format!("there is a machine called `{name}` on this host"),
        "give this one another name with --name, or stop that one",
    )
}

/// Opens a snapshot, as far as it can be checked without reading all of it.
pub(super) fn open(place: &Place) -> Result<Snapshot, Problem> {
    let shown = place.file().display();
    let file = File::open(place.file()).map_err(|error| {
        let missing = error.kind() == io::ErrorKind::NotFound;
        let remedy = match missing && place.resumed().exists() {
            true => format!(
                "its machine was resumed before: what is left of the file is {}",
                place.resumed().display()
            ),
            false => "name a file that `punctual suspend` wrote".to_owned(),
        };
        Problem::refused(format!("{shown}: {error}"), remedy)
    })?;
    Reader::open(BufReader::with_capacity(BUFFER, file))
        .map_err(|error| Problem::refused(format!("{shown}: {error}"), ""))
}

impl Entry {
    /// Takes the name. Where a file is to be used up, that is on record before it is touched.
    pub(super) fn take(
        host: &Arc<Host>,
        name: &str,
        uses_up: Option<&Place>,
        cancel: Cancel,
    ) -> Result<Self, Problem> {
        let id = new_id();
        let standing = Standing::Resuming(id);
        let record = Record::new(name, standing, Handle::Null);
        host.registry.add(record).map_err(|error| match error {
            RegistryError::Taken(name) => taken(&name),
            error => error.into(),
        })?;
        host.recordings.enter(name, &cancel);
        let (host, name) = (Arc::clone(host), name.to_owned());
        let entry = Self { host, name, id, cancel, end: End::Free };
        if let Some(place) = uses_up {
            let task = Task { id, file: place.file().to_owned(), aim: Aim::Resume };
            task.record(&entry.host.config.suspending(), &entry.name)?;
        }
        Ok(entry)
    }

    /// Notes which process it is, so that the next daemon finds it.
    fn has(&self, handle: Handle) -> Result<(), Problem> {
        let standing = Standing::Resuming(self.id);
        Ok(self.host.registry.put(Record::new(self.name.clone(), standing, handle))?)
    }

    /// The machine is at home.
    fn settle(mut self) {
        self.end = End::Settled;
    }

    /// It is as it was: the next daemon sees to it.
    fn leave_undecided(mut self) {
        self.end = End::Undecided;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.host.recordings.leave(&self.name);
        match self.end {
            End::Free => self.host.forget(&self.name),
            End::Settled => self.host.stand(&self.name, Standing::Resident),
            End::Undecided => return,
        }
        Task::forget(&self.host.config.suspending(), &self.name);
    }
}

impl Restoration {
    /// Makes the machine run; when this fails, nothing of it is left here and the file is as it
    /// was, unless the problem says otherwise.
    pub(super) fn restore(
        self,
        mut snapshot: Snapshot,
        watch: &mut Watch<'_>,
    ) -> Result<Restored, Ended> {
        let name = self.entry.name.clone();
        let host = Arc::clone(&self.entry.host);
        let failed = |error: RestoreError| failed(&name, error);
        tracing::info!(machine = name, from = snapshot.about().machine, "is resumed from a file");
        let arrival = host.hypervisor.restore(&self.offer, self.links);
        let Arrival { mut machine, handle } = arrival.map_err(|error| failed(error.into()))?;
        // On an error the machine is dropped, and so discarded.
        self.entry.has(handle.clone())?;
        load(&mut snapshot, &mut *machine, watch).map_err(failed)?;
        let (claim, id) = (self.claim.clone(), self.entry.id);
        if let Some(place) = &claim {
            place.claim(id).map_err(|error| unclaimed(&name, place, &error))?;
        }
        if let Err(error) = machine.resume() {
            return Err(self.undo(machine, failed(error.into())));
        }
        // It lets go of the monitor, by which it is looked at from now on.
        drop(machine);
        Ok(self.settle(handle, &snapshot, watch))
    }

    /// The machine has not run: what is here of it goes, and the file gets its name back.
    fn undo(self, machine: Box<dyn DestinationMachine>, ended: Ended) -> Ended {
        let given_back = machine.discard().map_err(io::Error::other).and_then(|()| {
            self.claim.as_ref().map_or(Ok(()), |place| place.give_back(self.entry.id))
        });
        let Err(error) = given_back else { return ended };
        let what = format!("machine `{}`: it does not run, and {error}", self.entry.name);
        self.entry.leave_undecided();
        Ended::Failed(Problem::failed(what, "start the daemon again: it puts that in order"))
    }

    fn settle(self, handle: Handle, snapshot: &Snapshot, watch: &Watch<'_>) -> Restored {
        let Self { entry, links, claim, mut file, mut notes, .. } = self;
        let (host, name) = (Arc::clone(&entry.host), entry.name.clone());
        if let Some(place) = &claim {
            match place.use_up(entry.id) {
                Ok(resumed) => file = Some(resumed),
                Err(error) => notes.push(format!(
                    "the file could not be renamed ({error}): do not resume it once more"
                )),
            }
        }
        if links == Links::Down {
            notes.push(
                "its network links are down, since the machine that it was copied from may use the \
                 same addresses: `set_link` of QEMU's monitor puts them up, as --link-up does from \
                 the start"
                    .to_owned(),
            );
        }
        entry.settle();
        tracing::info!(machine = name, "runs from a file");
        let record = Record::new(name, Standing::Resident, handle);
        Restored {
            machine: host.summary(&record),
            file,
            ram_digest: format!("{:032x}", snapshot.ending().digest),
            took: watch.elapsed(),
            notes,
        }
    }
}

fn failed(name: &str, error: RestoreError) -> Ended {
    match error {
        RestoreError::Cancelled => Ended::Cancelled(format!(
            "machine `{name}` was not resumed: nothing of it is here, and its file is as it was"
        )),
        // It names the machine.
        RestoreError::Machine(error) => Ended::Failed(Problem::failed(error, "")),
        error => Ended::Failed(Problem::failed(format!("machine `{name}`: {error}"), "")),
    }
}

fn unclaimed(name: &str, place: &Place, error: &io::Error) -> Problem {
    let shown = place.file().display();
    if error.kind() == io::ErrorKind::NotFound {
        return Problem::refused(
            format!("machine `{name}`: {shown} has been resumed by somebody else meanwhile"),
            "it runs there",
        );
    }
    Problem::failed(
        format!(
            "machine `{name}`: {shown} cannot be renamed, so that nobody resumes it twice: {error}"
        ),
        "resume it with --keep, and see to it that it is not resumed once more",
    )
}
