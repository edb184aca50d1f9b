//! The contract that every machine keeps, kept by QEMU's.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use punctual_guest::contract::{Breach, CHECKS, End, Rig};
use punctual_guest::qemu::{Description, Destination, Machine, Plan};
use punctual_guest::{DestinationMachine, SourceMachine};

use crate::support::{
    Host, Kind, bare_metal_spec, entries, for_each_kind, process_of, run, source, wait_growth,
};

/// How long the bare-metal guest may take for one sweep over its memory.
const SWEEP: Duration = Duration::from_secs(1);

struct Machines<'a> {
    kind: &'a Kind,
    hosts: [Host; 2],
    /// Of the machine at the source.
    description: Option<Description>,
}

impl Machines<'_> {
    fn directory(&self, end: End) -> PathBuf {
        self.hosts[end as usize].places().directory("bare")
    }

    fn machine(&self) -> Machine {
        let host = &self.hosts[End::Source as usize];
        if process_of(&self.directory(End::Source)).is_some() {
            return Machine::attach(&self.directory(End::Source).join("qmp.sock")).unwrap();
        }
        let machine = run(&bare_metal_spec(self.kind, host.runtime.path()), host);
        // Until its firmware is done, which takes seconds with some KVMs, it shows no work.
        wait_growth(&host.serial_log("bare"));
        machine
    }
}

impl Rig for Machines<'_> {
    fn source(&mut self) -> Result<Box<dyn SourceMachine>, Breach> {
        let machine = self.machine();
        self.description = Some(machine.description().clone());
        Ok(source(machine))
    }

    fn destination(&mut self) -> Result<Box<dyn DestinationMachine>, Breach> {
        let description = self.description.as_ref().unwrap();
        let places = self.hosts[End::Destination as usize].places();
        let plan = Plan::for_destination(description, &places, &Default::default());
        let started = Destination::start(plan);
        Ok(Box::new(started.map_err(|error| Breach::unexpected("start", error))?))
    }

    fn works(&mut self, end: End) -> Result<bool, Breach> {
        let log = self.directory(end).join("serial.log");
        let length = || fs::metadata(&log).map_or(0, |found| found.len());
        let (before, deadline) = (length(), Instant::now() + SWEEP);
        while process_of(&self.directory(end)).is_some() && Instant::now() < deadline {
            if length() > before {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(false)
    }

    fn remains(&mut self, end: End) -> Vec<String> {
        let host = &self.hosts[end as usize];
        let machines = entries(&host.runtime.path().join("machines"));
        let files = machines.iter().flat_map(|machine| entries(machine)).chain(machines.clone());
        let files = files.chain(entries(host.ram.path()));
        let mut found: Vec<String> = files.map(|file| file.display().to_string()).collect();
        found.sort();
        if let Some(process) = process_of(&self.directory(end)) {
            let smaps = fs::read_to_string(format!("/proc/{}/smaps", process.pid())).unwrap();
            let watched = |line: &&str| line.starts_with("VmFlags:") && line.contains(" uw");
            found.push(format!("process {}", process.pid()));
            found.push(format!("{} watched mappings", smaps.lines().filter(watched).count()));
        }
        found
    }
}

#[test]
fn qemus_machines_keep_the_contract() {
    for_each_kind(|kind| {
        for (name, check) in CHECKS {
            println!("{name}");
            let mut rig = Machines { kind, hosts: [Host::new(), Host::new()], description: None };
            check(&mut rig).unwrap_or_else(|breach| panic!("{name}: {breach}"));
        }
    });
}
