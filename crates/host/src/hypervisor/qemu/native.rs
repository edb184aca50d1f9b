//! Machines that QEMU itself migrates.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use punctual_guest::MachineError;
use punctual_guest::qemu::movable::{HostFacts, Refusal as Found, refusals, refusals_of_native};
use punctual_guest::qemu::{Description, native};
use punctual_wire::{MigrationId, Offer, Refusal};
use rustix::net::RecvFlags;

use super::{Arrival, Choice, Handle, OwnDeparture, Problem, QemuHypervisor};
use super::{attached, for_the_wire, refusal, started};

/// The streams of machines that are arriving, until the tunnel of their attempt is opened.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<BTreeMap<u128, UnixStream>>);

impl Streams {
    fn put(&self, migration: MigrationId, stream: UnixStream) {
        let mut streams = self.lock();
        // What came to nothing before its tunnel was opened.
        streams.retain(|_, stream| !has_ended(stream));
        streams.insert(migration.0, stream);
    }

    pub(super) fn take(&self, migration: MigrationId) -> Option<UnixStream> {
        self.lock().remove(&migration.0)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u128, UnixStream>> {
        // A stream is in it or not.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the process at the other end is gone.
fn has_ended(stream: &UnixStream) -> bool {
    let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(rustix::net::recv(stream, &mut [0_u8; 1][..], look), Ok((_, 0)))
}

/// What would move a machine where nobody says, and what is in the way of that.
pub(super) fn choice(description: &Description) -> (Choice, Vec<Refusal>) {
    let host = HostFacts::here();
    let told = |found: Vec<Found>| found.iter().map(for_the_wire).collect::<Vec<_>>();
    let external = refusals(description, &host);
    let (untraceable, other): (Vec<_>, Vec<_>) =
        external.into_iter().partition(|refusal| refusal.code.is_of_tracing());
    if untraceable.is_empty() {
        return (Choice::default(), told(other));
    }
    let native = refusals_of_native(description, &host);
    // Where neither can, the way to have it moved by Punctual is told first.
    let obstacles = match native.is_empty() {
        true => vec![],
        false => [told(untraceable.clone()), told(native)].concat(),
    };
    (Choice::by(&told(untraceable)), obstacles)
}

impl QemuHypervisor {
    pub(super) fn choose(handle: &Handle) -> Result<Choice, Problem> {
        Ok(choice(attached(handle)?.description()).0)
    }

    pub(super) fn plan_own_departure(
        name: &str,
        handle: &Handle,
    ) -> Result<OwnDeparture, Vec<Refusal>> {
        let machine =
            attached(handle).map_err(|problem| vec![refusal("not-reachable", &problem)])?;
        let obstacles = match choice(machine.description()) {
            (Choice { because, .. }, obstacles) if !because.is_empty() => obstacles,
            _ => {
                let found = refusals_of_native(machine.description(), &HostFacts::here());
                found.iter().map(for_the_wire).collect()
            }
        };
        if !obstacles.is_empty() {
            return Err(obstacles);
        }
        let layout = machine.description().layout().map_err(|error| {
            let what = Problem::refused(format!("machine `{name}`: {error}"), "");
            vec![refusal("ram-not-known", &what)]
        })?;
        // The name by which the operator knows it, not the one that QEMU was given.
        let description = Description { name: name.to_owned(), ..machine.description().clone() };
        let description = serde_json::to_vec(&description).expect("a description is JSON");
        Ok(OwnDeparture { machine: native::Source::of(machine), description, layout })
    }

    pub(super) fn receive_by_itself(&self, offer: &Offer) -> Result<Arrival, MachineError> {
        let (description, plan) = self.plan_arrival(offer).map_err(|cause| MachineError {
            machine: offer.machine.clone(),
            action: "start at the destination",
            cause: cause.into(),
        })?;
        let (machine, stream) = native::Destination::start(plan, &offer.layout)?;
        let plan = machine.machine().plan();
        let pid = machine.machine().qmp().peer();
        let found = super::Found {
            monitor: plan.monitor.clone(),
            pid,
            started: started(pid).unwrap_or(0),
            memory: description.memory_size(),
            ram: plan.ram.iter().map(|file| file.path.clone()).collect(),
            // QEMU itself moves it: nobody else ever serves its pages.
            layout: None,
        };
        self.streams.put(offer.migration, stream);
        Ok(Arrival { handle: found.into(), machine: Box::new(machine) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_taken_once_and_forgotten_when_its_process_is_gone() {
        let streams = Streams::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        streams.put(MigrationId(1), ours);
        let (other, _others) = UnixStream::pair().unwrap();
        streams.put(MigrationId(2), other);
        drop(theirs);
        let (third, _thirds) = UnixStream::pair().unwrap();
        streams.put(MigrationId(3), third);
        assert!(streams.take(MigrationId(1)).is_none());
        assert!(streams.take(MigrationId(2)).is_some());
        assert!(streams.take(MigrationId(2)).is_none());
    }
}
