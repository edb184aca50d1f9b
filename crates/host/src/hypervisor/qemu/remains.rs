//! What is left of a machine that was moved away while pages of it are still to be served.

use std::fs::File;
use std::io;
use std::sync::Arc;

use punctual_guest::{MachineError, Ram, Surrendered};

use super::{Found, QemuHypervisor};
use crate::api::Problem;
use crate::hypervisor::{Handle, Hypervisor};

/// The memory of such a machine, by its files alone: its process, paused for good, is not asked and
/// may even have ended.
pub(super) struct Remains {
    hypervisor: QemuHypervisor,
    name: String,
    handle: Handle,
    ram: Arc<Ram>,
}

impl Remains {
    pub(super) fn open(
        hypervisor: &QemuHypervisor,
        name: &str,
        handle: &Handle,
        found: &Found,
    ) -> Result<Self, Problem> {
        let failed = |error: &dyn std::fmt::Display| {
            let what = format!("what is left of machine `{name}` cannot be opened: {error}");
            Problem::failed(what, "if its memory is gone, stop the machine where it is now")
        };
        let layout = found.layout.clone().ok_or_else(super::unreadable)?;
        let open = |path| File::options().read(true).write(true).open(path);
        let files = found.ram.iter().map(open).collect::<io::Result<_>>();
        let ram = Ram::open(layout, files.map_err(|error| failed(&error))?);
        Ok(Self {
            hypervisor: hypervisor.clone(),
            name: name.to_owned(),
            handle: handle.clone(),
            ram: Arc::new(ram.map_err(|error| failed(&error))?),
        })
    }
}

impl Surrendered for Remains {
    fn ram(&self) -> &Arc<Ram> {
        &self.ram
    }

    fn remove(self: Box<Self>) -> Result<(), MachineError> {
        let removed = self.hypervisor.discard(&self.name, Some(&self.handle));
        removed.map_err(|problem| MachineError {
            machine: self.name,
            action: "remove",
            cause: problem.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use punctual_guest::qemu::Places;
    use punctual_units::{Bytes, MemoryLayout, PAGE_SIZE, PageRange, Region};

    use super::*;

    #[test]
    fn pages_are_served_and_removed_also_where_the_process_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            runtime: directory.path().to_owned(),
            ram: directory.path().to_owned(),
            huge_ram: directory.path().to_owned(),
        };
        let (size, path) = (Bytes::mib(1), directory.path().join("web-ram0.ram"));
        std::fs::write(&path, vec![7; size.get() as usize]).unwrap();
        let found = Found {
            monitor: directory.path().join("qmp.sock"),
            pid: std::process::id(),
            started: 0, // another one had this number
            memory: size,
            ram: vec![path.clone()],
            layout: MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size }]).ok(),
        };
        let handle = Handle::from(found);
        let hypervisor = QemuHypervisor { places, streams: Arc::default() };
        let remains = hypervisor.remains("web", &handle).unwrap().unwrap();
        let mut page = vec![0; PAGE_SIZE.get() as usize];
        remains.ram().read(PageRange::new(255, 256), &mut page).unwrap();
        assert!(page.iter().all(|byte| *byte == 7));
        remains.remove().unwrap();
        assert!(!path.exists());
        assert!(hypervisor.remains("web", &handle).unwrap().is_none(), "nothing is left of it");
    }
}
