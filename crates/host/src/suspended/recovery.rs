//! What an earlier daemon left of machines and their files.
//!
//! | record | file | machine | what is done |
//! | --- | --- | --- | --- |
//! | suspending, to end | has its name | | the file is it: what is left of the process is discarded |
//! | suspending, to end | has not | | it runs on; what was written is removed |
//! | suspending, a copy | | | it runs on; what was written is removed |
//! | resuming | | runs | it is at home; the file is used up |
//! | resuming | taken by this attempt | waits | it is made to run, and the file is used up |
//! | resuming | taken by this attempt | is gone | the file gets its name back |
//! | resuming | not taken | waits | it is discarded |

use std::fs;

use punctual_snapshot::SnapshotId;
use punctual_wire::MigrationId;

use super::place::Place;
use super::task::{Aim, Task};
use crate::api::{Id, MachineState, Problem};
use crate::config::HostConfig;
use crate::host::Host;
use crate::registry::{Record, Standing};

/// Puts in order a machine that was being saved.
pub(crate) fn suspending(host: &Host, record: Record, id: Id) -> Result<(), Problem> {
    let directory = host.config.suspending();
    let task = Task::read(&directory, &record.name, id)?;
    let place = task.as_ref().map(|task| Place::new(&task.file)).transpose()?;
    if let (Some(task), Some(place)) = (&task, &place) {
        let is_whole = place.holds(SnapshotId(MigrationId::from(id).0));
        if task.aim == Aim::Suspend && is_whole {
            let file = task.file.display();
            tracing::warn!(machine = record.name, %file, "is in its file; the rest is removed");
            host.discard(&record)?;
            Task::forget(&directory, &record.name);
            return Ok(());
        }
        place.tidy();
    }
    let name = record.name.clone();
    // One that has ended is at home all the same, where `punctual stop` finds it.
    if host.hypervisor.state(&record.handle) != MachineState::Gone {
        tracing::warn!(machine = name, "was being saved to a file; it runs on here");
        host.hypervisor.recover(&record.handle)?;
    }
    at_home(host, record)
}

/// Puts in order a machine that was coming out of a file.
pub(crate) fn resuming(host: &Host, record: Record, id: Id) -> Result<(), Problem> {
    let directory = host.config.suspending();
    let task = Task::read(&directory, &record.name, id)?;
    let place = task.as_ref().map(|task| Place::new(&task.file)).transpose()?;
    let claimed = place.filter(|place| place.is_claimed(id));
    let is_here = !record.handle.is_null();
    let state = if is_here { host.hypervisor.state(&record.handle) } else { MachineState::Gone };
    match (claimed, state) {
        (claimed, MachineState::Running) => {
            if let Some(place) = claimed {
                use_up(&place, id)?;
            }
            at_home(host, record)
        }
        (Some(place), MachineState::Gone) => {
            tracing::warn!(machine = record.name, "was being resumed; its file is as it was");
            place.give_back(id).map_err(|error| renamed(&place, &error))?;
            discard(host, &record)
        }
        (Some(place), _) => {
            tracing::warn!(machine = record.name, "was being resumed; it is made to run");
            host.hypervisor.recover(&record.handle)?;
            use_up(&place, id)?;
            at_home(host, record)
        }
        (None, _) => discard(host, &record),
    }
}

/// Removes the files of clones that were being made.
pub(crate) fn tidy(config: &HostConfig) {
    // Nothing depends on them, and there may be none.
    let _ = fs::remove_dir_all(config.clones());
}

fn at_home(host: &Host, record: Record) -> Result<(), Problem> {
    let name = record.name.clone();
    host.registry.put(Record { standing: Standing::Resident, ..record })?;
    Task::forget(&host.config.suspending(), &name);
    Ok(())
}

fn discard(host: &Host, record: &Record) -> Result<(), Problem> {
    host.discard(record)?;
    Task::forget(&host.config.suspending(), &record.name);
    Ok(())
}

fn use_up(place: &Place, id: Id) -> Result<(), Problem> {
    place.use_up(id).map(drop).map_err(|error| renamed(place, &error))
}

fn renamed(place: &Place, error: &std::io::Error) -> Problem {
    let what = format!("{}: its other name cannot be changed: {error}", place.file().display());
    Problem::failed(what, "see to that disk, and start the daemon again")
}
