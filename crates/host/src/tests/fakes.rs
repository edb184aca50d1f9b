//! A hypervisor of machines that are nothing but memory in this process.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use punctual_guest::demand::Demand;
use punctual_guest::fake::{Call, Fake, Status};
use punctual_guest::{DestinationMachine, MachineError, SourceMachine, Surrendered};
use punctual_units::{Bytes, MemoryLayout, PageIndex, Region};
use punctual_wire::{Offer, Refusal};
use serde_json::json;

use crate::api::{MachineState, Problem, RamFile};
use crate::hypervisor::{
    Arrival, Departure, Disk, Examination, Handle, Hypervisor, Identity, Links, Succession, Ties,
};

/// The machines of one host. They outlive its daemon, as QEMU does.
#[derive(Debug, Default)]
pub(super) struct Fakes {
    machines: Mutex<BTreeMap<String, Fake>>,
    /// What all of them share with the world.
    ties: Mutex<Ties>,
    /// The links with which the last came from a file.
    links: Mutex<Option<Links>>,
    /// What the next that arrives fails at.
    fault: Mutex<Option<Call>>,
    /// The next machine that lacks pages cannot be taken over.
    not_taken_over: Mutex<bool>,
    /// Nobody who asks a machine is answered while this page of it is missing.
    touched: Mutex<Option<PageIndex>>,
}

/// How long a machine is asked for.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn layout() -> MemoryLayout {
    MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size: Bytes::mib(4) }]).unwrap()
}

impl Fakes {
    pub(super) fn put(&self, name: &str, machine: &Fake) {
        self.lock().insert(name.to_owned(), machine.clone());
    }

    pub(super) fn get(&self, name: &str) -> Option<Fake> {
        self.lock().get(name).cloned()
    }

    /// Gives every machine this disk, and a network card.
    pub(super) fn tie(&self, disk: Disk) {
        *self.ties.lock().unwrap() = Ties { disks: vec![disk], links: 1 };
    }

    pub(super) fn fail_next_arrival(&self, call: Call) {
        *self.fault.lock().unwrap() = Some(call);
    }

    pub(super) fn fail_next_take_over(&self) {
        *self.not_taken_over.lock().unwrap() = true;
    }

    /// Machines touch this page before they answer, as QEMU's main thread does for their devices.
    pub(super) fn answer_behind(&self, page: PageIndex) {
        *self.touched.lock().unwrap() = Some(page);
    }

    fn answers(&self, machine: &Fake) -> bool {
        let Some(page) = *self.touched.lock().unwrap() else { return true };
        let deadline = Instant::now() + PATIENCE;
        while !machine.guest_touches(page) {
            if Instant::now() > deadline {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        true
    }

    pub(super) fn links(&self) -> Option<Links> {
        *self.links.lock().unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Fake>> {
        self.machines.lock().unwrap()
    }

    fn find(&self, handle: &Handle) -> Option<Fake> {
        self.get(handle.as_str()?)
    }
}

impl Hypervisor for Arc<Fakes> {
    /// The specification is the name; an empty one is malformed.
    fn name_of(&self, spec: &str) -> Result<String, Problem> {
        let malformed = || Problem::usage("the specification is empty", "write a name");
        (!spec.is_empty()).then(|| spec.to_owned()).ok_or_else(malformed)
    }

    fn run(&self, spec: &str, _: &Path) -> Result<Handle, Problem> {
        if spec == "broken" {
            return Err(Problem::failed("machine `broken` did not start", "mend it"));
        }
        self.put(spec, &Fake::running(spec, layout()).unwrap());
        Ok(json!(spec))
    }

    fn attach(&self, _: &str, qmp: &Path) -> Result<Handle, Problem> {
        let handle = json!(qmp.file_name().unwrap().to_str());
        let nobody = || Problem::failed(format!("nobody answers at {}", qmp.display()), "");
        self.find(&handle).ok_or_else(nobody).map(|_| handle)
    }

    fn identity(&self, _: &Handle) -> Identity {
        Identity { pid: std::process::id(), memory: layout().pages().bytes() }
    }

    fn state(&self, handle: &Handle) -> MachineState {
        let machine = self.find(handle);
        match machine.as_ref().map(Fake::status) {
            Some(_) if !machine.is_some_and(|machine| self.answers(&machine)) => {
                MachineState::Silent
            }
            Some(Status::Running) => MachineState::Running,
            None | Some(Status::Gone) => MachineState::Gone,
            Some(_) => MachineState::Paused,
        }
    }

    fn is_gone(&self, handle: &Handle) -> bool {
        self.find(handle).is_none_or(|machine| machine.status() == Status::Gone)
    }

    fn examine(&self, _: &Handle) -> Result<Examination, Problem> {
        let ram = vec![RamFile {
            name: "ram0".to_owned(),
            size: layout().pages().bytes(),
            populated: Bytes::ZERO,
        }];
        Ok(Examination { ram, ..Examination::default() })
    }

    fn depart(&self, _: &str, handle: &Handle) -> Result<Departure, Vec<Refusal>> {
        let machine = self.find(handle).expect("the test has not ended it");
        Ok(Departure {
            machine: Box::new(machine.source()),
            description: b"{}".to_vec(),
            processors: std::num::NonZeroU32::MIN,
            direct_io: false,
        })
    }

    fn shut_down(
        &self,
        name: &str,
        handle: &Handle,
        _: Duration,
        _: bool,
    ) -> Result<Departure, Vec<Refusal>> {
        self.depart(name, handle)
    }

    fn consider(&self, offer: &Offer) -> Result<Vec<String>, Vec<Refusal>> {
        Ok(vec!["fake".to_owned(), offer.machine.clone()])
    }

    fn receive(&self, offer: &Offer) -> Result<Arrival, MachineError> {
        let name = &offer.machine;
        let machine = Fake::waiting(name, offer.layout.clone()).unwrap();
        self.put(name, &machine);
        Ok(Arrival { machine: Box::new(machine.destination()), handle: json!(name) })
    }

    fn depends(&self, _: &str, handle: &Handle) -> Result<Option<Arc<dyn Demand>>, Problem> {
        if std::mem::take(&mut *self.not_taken_over.lock().unwrap()) {
            return Err(Problem::failed("its missing pages cannot be fetched", ""));
        }
        Ok(self.find(handle).and_then(|machine| machine.depends()))
    }

    fn remains(&self, _: &str, handle: &Handle) -> Result<Option<Box<dyn Surrendered>>, Problem> {
        Ok(self.find(handle).map(|machine| machine.remains()))
    }

    /// Their names count them.
    fn succeed(
        &self,
        name: &str,
        handle: &Handle,
        _: Option<&Path>,
    ) -> Result<Succession, Vec<Refusal>> {
        let departure = self.depart(name, handle)?;
        let next = format!("{}'", handle.as_str().expect("a handle is a name"));
        let successor = self.find(handle).expect("it was found before").successor();
        let (fakes, handle) = (Arc::clone(self), json!(next));
        let command_line = vec!["fake".to_owned(), next.clone()];
        let planned = handle.clone();
        let start = Box::new(move || {
            fakes.put(&next, &successor);
            Ok(Arrival { machine: Box::new(successor.destination()), handle })
        });
        Ok(Succession { departure, command_line, handle: planned, start })
    }

    fn ties(&self, _: &[u8]) -> Result<Ties, Problem> {
        Ok(self.ties.lock().unwrap().clone())
    }

    fn renamed(&self, description: &[u8], _: &str) -> Result<Vec<u8>, Problem> {
        Ok(description.to_vec())
    }

    fn restore(&self, offer: &Offer, links: Links) -> Result<Arrival, MachineError> {
        *self.links.lock().unwrap() = Some(links);
        let arrival = self.receive(offer)?;
        if let Some(call) = self.fault.lock().unwrap().take() {
            self.find(&arrival.handle).expect("it has just come").fail_next(call, 1);
        }
        Ok(arrival)
    }

    fn recover(&self, handle: &Handle) -> Result<(), Problem> {
        let gone = || Problem::failed("the machine is gone", "");
        let machine = self.find(handle).ok_or_else(gone)?;
        if !self.answers(&machine) {
            return Err(Problem::failed("the machine does not answer", ""));
        }
        let resumed = match machine.status() {
            Status::Loaded => {
                let mut destination = machine.destination();
                let resumed = destination.resume().map(drop);
                // It is this host's: one that does not run is not discarded.
                std::mem::forget(destination);
                resumed
            }
            _ => machine.source().resume(),
        };
        resumed.map_err(|error| Problem::failed(error, ""))
    }

    fn discard(&self, name: &str, handle: Option<&Handle>) -> Result<(), Problem> {
        self.lock().remove(handle.and_then(Handle::as_str).unwrap_or(name));
        Ok(())
    }
}
