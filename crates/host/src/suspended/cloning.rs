//! A second machine like one that runs.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use punctual_snapshot::{About, Purpose, SnapshotId};
use punctual_units::Bytes;
use punctual_wire::MigrationId;

use super::place::Place;
use super::resuming::{Entry, Restoration, open};
use super::session::Session;
use super::suspending::{Job, check_room};
use super::task::{Aim, Task};
use super::watch::Watch;
use super::{Ended, begin, new_id, now, offer};
use crate::api::{CloneRequest, Problem, Restored, SnapshotEvent};
use crate::host::Host;
use crate::hypervisor::{Departure, Links, Ties};
use crate::listener::{Listener, listen};

impl Host {
    /// Begins to clone a machine, in a thread of its own: it is saved and runs on, and what was
    /// saved runs under another name.
    pub(crate) fn clone_machine(
        self: &Arc<Self>,
        name: &str,
        request: &CloneRequest,
    ) -> Result<Listener<SnapshotEvent>, Problem> {
        self.check_free(&request.name)?;
        let id = new_id();
        let file = Temporary::new(self, &id.to_string())?;
        let place = Place::new(&file.0)?;
        let task = Task { id, file: file.0.clone(), aim: Aim::Copy };
        let (session, record) = Session::begin(self, name, &task)?;
        let departure = self.hypervisor.depart(name, &record.handle);
        let departure = departure.map_err(|refusals| Problem::from(&refusals[..]))?;
        let Ties { disks, links } = self.hypervisor.ties(&departure.description)?;
        check_disks(name, &disks)?;
        let ram = departure.machine.ram();
        let about = About {
            id: SnapshotId(MigrationId::from(id).0),
            purpose: Purpose::Copied,
            machine: name.to_owned(),
            host: self.config.name.clone(),
            taken_at: now(),
            layout: ram.layout().clone(),
        };
        let description = self.hypervisor.renamed(&departure.description, &request.name)?;
        let offer = offer(&about, &request.name, Bytes::ZERO, description);
        let considered = self.hypervisor.consider(&offer);
        considered.map_err(|refusals| Problem::from(&refusals[..]))?;
        check_room(name, &*departure.machine, &place)?;
        let entry = Entry::take(self, &request.name, None, session.cancel.clone())?;
        let links = if request.link_up || links == 0 { Links::AsTheyWere } else { Links::Down };
        let (claim, notes) = (None, vec![]);
        let restoration = Restoration { entry, offer, links, claim, file: None, notes };
        let purpose = Purpose::Copied;
        let job = Job { host: Arc::clone(self), name: name.to_owned(), place, purpose, id, disks };
        let (teller, listener) = listen(session.cancel.clone());
        begin(&format!("clone-{name}"), move || {
            let cancel = session.cancel.clone();
            let mut watch = Watch::begin(&teller, &cancel, &job.name);
            let event = match job.clone_to(departure, session, restoration, &mut watch) {
                Ok(restored) => SnapshotEvent::Restored(restored),
                Err(event) => *event,
            };
            drop(file);
            teller.tell(event);
        })?;
        Ok(listener)
    }
}

impl Job {
    fn clone_to(
        &self,
        departure: Departure,
        session: Session,
        restoration: Restoration,
        watch: &mut Watch<'_>,
    ) -> Result<Restored, Box<SnapshotEvent>> {
        let saved = self.save(departure, watch);
        // The first machine is at home again.
        let event = self.end(saved, session);
        let SnapshotEvent::Saved(_) = event else { return Err(Box::new(event)) };
        watch.turn_to(&restoration.offer.machine);
        let restored = open(&self.place)
            .map_err(Ended::from)
            .and_then(|snapshot| restoration.restore(snapshot, watch));
        restored.map_err(|ended| Box::new(ended.into()))
    }
}

/// Two machines that write one disk destroy what is on it.
fn check_disks(name: &str, disks: &[crate::hypervisor::Disk]) -> Result<(), Problem> {
    let written: Vec<String> = disks
        .iter()
        .filter(|disk| disk.writable)
        .map(|disk| disk.path.display().to_string())
        .collect();
    if written.is_empty() {
        return Ok(());
    }
    Err(Problem::refused(
        format!("machine `{name}` writes {}, and its clone would, too", written.join(", ")),
        format!(
            "clone machines whose disks are read-only; or suspend it, copy the disks, and resume \
             it: `punctual suspend {name} FILE`"
        ),
    ))
}

/// A file that is there only for a while.
struct Temporary(PathBuf);

impl Temporary {
    fn new(host: &Host, name: &str) -> Result<Self, Problem> {
        let directory = host.config.clones();
        fs::create_dir_all(&directory).map_err(|error| {
            let what = format!("{}: {error}", directory.display());
            Problem::failed(what, "see to the daemon's state directory")
        })?;
        Ok(Self(directory.join(name)))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = %self.0.display(), %error, "cannot be removed");
        }
    }
}
