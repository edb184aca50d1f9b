use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use punctual_units::{Bytes, LayoutError, MemoryLayout, PAGE_SIZE, Region};
use serde::{Deserialize, Serialize};

use super::command_line::{PerHost, relocate};
use super::describe::{Backend, Description};
use super::tap::{Tap, free_name};

/// Where a host keeps what belongs to machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The host's runtime directory; each machine has `machines/NAME` in it.
    pub runtime: PathBuf,
    /// Where RAM files go: a tmpfs, such as `/dev/shm`.
    pub ram: PathBuf,
    /// Where RAM files with huge pages go: a mounted hugetlbfs.
    pub huge_ram: PathBuf,
}

impl Places {
    /// The directory of a machine.
    #[must_use]
    pub fn directory(&self, machine: &str) -> PathBuf {
        self.runtime.join("machines").join(machine)
    }

    /// The file for a region of a machine's RAM.
    #[must_use]
    pub fn ram_file(&self, machine: &str, region: &str, huge: bool) -> PathBuf {
        let place = if huge { &self.huge_ram } else { &self.ram };
        place.join(format!("{machine}-{region}.ram"))
    }
}

/// A RAM file to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamFile {
    /// The region that it holds.
    pub region: String,
    /// The file.
    pub path: PathBuf,
    /// Its size.
    pub size: Bytes,
    /// The file of a machine on this host of which this is a second name, where the two share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<PathBuf>,
}

/// All that starting a machine on a host will do: what `--dry-run` shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The machine's name.
    pub machine: String,
    /// The program.
    pub binary: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables that it gets beyond the host's.
    pub environment: BTreeMap<String, String>,
    /// The directory that it is started in.
    pub working_directory: PathBuf,
    /// The directory for its sockets and logs, made and removed with the machine.
    pub directory: PathBuf,
    /// The monitor through which Punctual speaks with it.
    pub monitor: PathBuf,
    /// The RAM files, in the order of the machine's layout.
    pub ram: Vec<RamFile>,
    /// The taps.
    pub taps: Vec<Tap>,
}

impl Plan {
    /// The plan for taking a machine over from another host, which waits for its state at first.
    /// Interfaces whose names are in `taken` exist on this host.
    #[must_use]
    pub fn for_destination(
        machine: &Description,
        places: &Places,
        taken: &BTreeSet<String>,
    ) -> Self {
        let name = &machine.name;
        // Memory that is in no file is made by QEMU itself, there as here.
        let ram: Vec<RamFile> = machine
            .memory
            .iter()
            .filter(|backend| backend.path.is_some())
            .map(|backend| RamFile {
                region: backend.id.clone(),
                path: places.ram_file(name, &backend.id, backend.page_size > PAGE_SIZE),
                size: backend.size,
                shared: None,
            })
            .collect();
        Self::waiting(machine, places.directory(name), ram, taken)
    }

    /// The plan for starting a machine anew that was shut down on another host: as
    /// [`Plan::for_destination`], but it waits for nothing.
    #[must_use]
    pub fn for_start(machine: &Description, places: &Places, taken: &BTreeSet<String>) -> Self {
        let mut plan = Self::for_destination(machine, places, taken);
        let waiting = ["-S", "-incoming", "defer"];
        let runs = plan.arguments.len() - waiting.len();
        debug_assert_eq!(plan.arguments[runs..], waiting, "what has a machine wait comes last");
        plan.arguments.truncate(runs);
        plan
    }

    /// The plan for another process in the place of one on this host, in the same RAM files, which
    /// waits for the state of the devices at first. Interfaces whose names are in `taken` exist.
    ///
    /// Memory that is in no named file has no place in the plan: see
    /// [`refusals_to_succeed`](super::movable::refusals_to_succeed).
    #[must_use]
    pub fn for_successor(machine: &Description, places: &Places, taken: &BTreeSet<String>) -> Self {
        // Beside those that are there, since a file has all its names on one filesystem.
        let beside = |label: &str| -> Vec<RamFile> {
            let file = |backend: &Backend| {
                let shared = backend.path.clone()?;
                let path = shared.with_file_name(format!("{label}-{}.ram", backend.id));
                let (region, size) = (backend.id.clone(), backend.size);
                Some(RamFile { region, path, size, shared: Some(shared) })
            };
            machine.memory.iter().filter_map(file).collect()
        };
        // No machine has such a name.
        let labels = (2..).map(|number| format!("{}~{number}", machine.name));
        let is_free = |label: &String| {
            !places.directory(label).exists()
                && beside(label).iter().all(|file| !file.path.exists())
        };
        let label = std::iter::once(machine.name.clone())
            .chain(labels)
            .find(is_free)
            .expect("there are more numbers than machines");
        Self::waiting(machine, places.directory(&label), beside(&label), taken)
    }

    fn waiting(
        machine: &Description,
        directory: PathBuf,
        ram: Vec<RamFile>,
        taken: &BTreeSet<String>,
    ) -> Self {
        let mut taken = taken.clone();
        let mut named = BTreeMap::new();
        let mut taps = Vec::new();
        for nic in &machine.nics {
            let Some(tap) = &nic.tap else { continue };
            let name = free_name(tap, &taken);
            taken.insert(name.clone());
            named.insert(nic.netdev.clone(), name.clone());
            taps.push(Tap { name, bridge: nic.bridge.clone() });
        }
        let host = PerHost {
            directory,
            monitor: machine.monitor.clone(),
            ram: ram.iter().map(|file| (file.region.clone(), file.path.clone())).collect(),
            machine_type: machine.machine_type.clone(),
            accel: machine.accel.name().to_owned(),
            taps: named,
            dimms: machine.dimms.clone(),
        };
        let relocated = relocate(&machine.command_line(), &host);
        Self {
            machine: machine.name.clone(),
            binary: machine.program.binary.clone(),
            arguments: relocated.command_line.words(),
            environment: machine.program.environment.clone(),
            working_directory: machine.program.directory.clone(),
            directory: host.directory,
            monitor: relocated.monitor,
            ram,
            taps,
        }
    }

    /// How the machine's pages are numbered.
    ///
    /// # Errors
    /// The plan has no RAM that makes a layout.
    pub fn layout(&self) -> Result<MemoryLayout, LayoutError> {
        let region = |file: &RamFile| Region { name: file.region.clone(), size: file.size };
        MemoryLayout::new(self.ram.iter().map(region).collect())
    }

    /// Where QEMU's own messages go.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.directory.join("qemu.log")
    }
}

/// As a shell would take it, an option a line.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for file in &self.ram {
            write!(f, "# RAM {}: {} of {}", file.region, file.path.display(), file.size)?;
            match &file.shared {
                Some(other) => writeln!(f, ", the same as {}", other.display())?,
                None => writeln!(f)?,
            }
        }
        for tap in &self.taps {
            let bridge = tap.bridge.as_deref().unwrap_or("no bridge");
            writeln!(f, "# tap {}: port of {bridge}", tap.name)?;
        }
        writeln!(f, "# in {}", self.working_directory.display())?;
        for (name, value) in &self.environment {
            writeln!(f, "{name}={} \\", quoted(value))?;
        }
        write!(f, "{}", quoted(&self.binary.to_string_lossy()))?;
        for word in &self.arguments {
            let separator = if word.starts_with('-') { " \\\n  " } else { " " };
            write!(f, "{separator}{}", quoted(word))?;
        }
        Ok(())
    }
}

fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-+=./:,@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_as_a_shell_takes_them() {
        assert_eq!(quoted("pc,accel=tcg"), "pc,accel=tcg");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("console=ttyS0 it's"), r"'console=ttyS0 it'\''s'");
    }
}
