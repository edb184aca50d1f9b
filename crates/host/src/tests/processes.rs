//! A process whose threads write its memory, traced as QEMU is, moves between two daemons.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use punctual_engine::report::Ending;
use punctual_guest::demand::Demand;
use punctual_guest::process::{Process, ProcessDestination, ProcessSource, Setup, Workload};
use punctual_guest::{MachineError, SourceMachine, Surrendered};
use punctual_wire::{Offer, Refusal};
use serde_json::json;

use super::{Site, config, fakes, request};
use crate::api::{MachineState, Problem};
use crate::hypervisor::{
    Arrival, Departure, Examination, Handle, Hypervisor, Identity, Links, Succession, Ties,
};

/// The processes of one host.
#[derive(Debug)]
struct Processes {
    ram: PathBuf,
    worker: PathBuf,
    running: Mutex<BTreeMap<String, Arc<Process>>>,
}

impl Processes {
    fn setup(&self, name: &str) -> Setup {
        Setup {
            name: name.to_owned(),
            layout: fakes::layout(),
            directory: self.ram.clone(),
            worker: self.worker.clone(),
        }
    }

    fn put(&self, name: &str, process: &Arc<Process>) -> Handle {
        self.running.lock().unwrap().insert(name.to_owned(), Arc::clone(process));
        json!(name)
    }

    fn get(&self, handle: &Handle) -> Option<Arc<Process>> {
        self.running.lock().unwrap().get(handle.as_str()?).cloned()
    }
}

impl Hypervisor for Arc<Processes> {
    fn name_of(&self, spec: &str) -> Result<String, Problem> {
        Ok(spec.to_owned())
    }

    fn run(&self, spec: &str, _: &Path) -> Result<Handle, Problem> {
        let workload = Workload::HotCold { writes_per_second: 5000 };
        let process = Process::run(&self.setup(spec), 11, workload);
        Ok(self.put(spec, &process.map_err(|error| Problem::failed(error, ""))?))
    }

    fn attach(&self, name: &str, _: &Path) -> Result<Handle, Problem> {
        Ok(json!(name))
    }

    fn identity(&self, _: &Handle) -> Identity {
        Identity { pid: 0, memory: fakes::layout().pages().bytes() }
    }

    fn state(&self, handle: &Handle) -> MachineState {
        let alive = self.get(handle).is_some_and(|process| process.is_alive());
        if alive { MachineState::Running } else { MachineState::Gone }
    }

    fn is_gone(&self, handle: &Handle) -> bool {
        self.state(handle) == MachineState::Gone
    }

    fn examine(&self, _: &Handle) -> Result<Examination, Problem> {
        Ok(Examination::default())
    }

    fn depart(&self, _: &str, handle: &Handle) -> Result<Departure, Vec<Refusal>> {
        let machine = Box::new(ProcessSource::new(self.get(handle).unwrap()));
        let processors = std::num::NonZeroU32::MIN;
        Ok(Departure { machine, description: vec![], processors, direct_io: false })
    }

    fn consider(&self, _: &Offer) -> Result<Vec<String>, Vec<Refusal>> {
        Ok(vec![self.worker.display().to_string()])
    }

    fn receive(&self, offer: &Offer) -> Result<Arrival, MachineError> {
        let process = Process::wait(&self.setup(&offer.machine)).unwrap();
        let handle = self.put(&offer.machine, &process);
        Ok(Arrival { machine: Box::new(ProcessDestination::new(process)), handle })
    }

    fn succeed(&self, _: &str, _: &Handle, _: Option<&Path>) -> Result<Succession, Vec<Refusal>> {
        Err(vec![Refusal {
            code: "not-replaceable".to_owned(),
            reason: "a process does not share its memory".to_owned(),
            remedy: "move it to another host".to_owned(),
        }])
    }

    fn depends(&self, _: &str, handle: &Handle) -> Result<Option<Arc<dyn Demand>>, Problem> {
        let taken = self.get(handle).map(|process| process.depends()).transpose();
        Ok(taken.map_err(|error| Problem::failed(error, ""))?.flatten())
    }

    fn remains(&self, _: &str, handle: &Handle) -> Result<Option<Box<dyn Surrendered>>, Problem> {
        let remains = |process| Box::new(ProcessSource::new(process)).surrender();
        Ok(self.get(handle).map(remains))
    }

    fn ties(&self, _: &[u8]) -> Result<Ties, Problem> {
        Ok(Ties::default())
    }

    fn renamed(&self, description: &[u8], _: &str) -> Result<Vec<u8>, Problem> {
        Ok(description.to_vec())
    }

    fn restore(&self, offer: &Offer, _: Links) -> Result<Arrival, MachineError> {
        self.receive(offer)
    }

    fn recover(&self, handle: &Handle) -> Result<(), Problem> {
        let mut source = ProcessSource::new(self.get(handle).unwrap());
        source.resume().map_err(|error| Problem::failed(error, ""))
    }

    fn discard(&self, name: &str, _: Option<&Handle>) -> Result<(), Problem> {
        self.running.lock().unwrap().remove(name);
        Ok(())
    }
}

#[test]
fn a_process_that_writes_all_the_time_moves() {
    let worker = match Process::worker() {
        Ok(worker) => worker,
        Err(error) => return eprintln!("SKIP: {error}"),
    };
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let host = |name: &str| {
        let config = config(name, directory.path());
        let (ram, worker) = (config.ram_dir.clone(), worker.clone());
        let processes = Arc::new(Processes { ram, worker, running: Mutex::default() });
        (Site::start(config, Arc::clone(&processes)), processes)
    };
    let ((a, here), (b, there)) = (host("a"), host("b"));
    a.run("web");
    let report = a.moves(&request("web", &b));
    assert_eq!(report.outcome, Ending::Completed, "{}", report.reason);
    assert_eq!(report.ram_digest_equal, Some(true));
    assert_eq!((a.machines().len(), b.machines().len()), (0, 1));
    there.get(&json!("web")).unwrap().check().unwrap();
    drop(here);
    b.ask(|client| async move { client.stop("web").await }).unwrap();
}
