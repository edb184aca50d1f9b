//! What a running machine is: everything that another host must know to take it over.

mod devices;
mod disks;
mod memory;
mod nics;
mod program;

use std::fmt;
use std::path::PathBuf;

use punctual_units::{Bytes, LayoutError, MemoryLayout, Region};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

use super::command_line::{CommandLine, Dimm};
use super::qmp::{Qmp, QmpError};

pub use devices::{Device, Presence};
pub use disks::Disk;
pub use memory::Backend;
pub use nics::Nic;
pub(super) use nics::names as nic_names;
pub use program::{Program, ProgramError};

/// A version of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Version {
    /// Such as 7 of 7.2.22.
    pub major: u32,
    /// Such as 2 of 7.2.22.
    pub minor: u32,
    /// Such as 22 of 7.2.22.
    pub micro: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor, by the kernel's KVM.
    Kvm,
    /// QEMU's own translator.
    Tcg,
}

impl Accel {
    /// QEMU's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// A running machine. It travels to the destination.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Its name: what `-name` says.
    pub name: String,
    /// The process that runs it.
    pub program: Program,
    /// QEMU's version.
    pub version: Version,
    /// The machine type with its version, such as `pc-i440fx-7.2`.
    pub machine_type: String,
    /// What it runs on.
    pub accel: Accel,
    /// How many virtual processors it has.
    pub vcpus: usize,
    /// The socket of the monitor through which this was found out.
    pub monitor: PathBuf,
    /// Its memory, in the order that both hosts use.
    pub memory: Vec<Backend>,
    /// Memory modules plugged in since its start.
    pub dimms: Vec<Dimm>,
    /// Its disks: every image file or block device that QEMU has open.
    pub disks: Vec<Disk>,
    /// Its connections to taps.
    pub nics: Vec<Nic>,
    /// The devices that its command line or an operator gave it.
    pub devices: Vec<Device>,
    /// QEMU's run state, such as `running` or `paused`.
    pub state: String,
    /// The status of QEMU's own migration, if one was ever begun.
    pub migration: Option<String>,
    /// Why QEMU itself would not migrate it.
    pub blockers: Vec<String>,
}

/// Why a machine could not be described.
#[derive(Debug, Error)]
pub enum DescribeError {
    /// QEMU was not understood or did not answer.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// The process behind the monitor was not understood.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

#[derive(Deserialize)]
struct VersionAnswer {
    qemu: Version,
}

impl Description {
    /// Asks a running machine what it is. Takes some milliseconds, and the machine runs on.
    ///
    /// # Errors
    /// The monitor or the process does not answer as QEMU 7.2 or newer would.
    pub fn of(qmp: &Qmp) -> Result<Self, DescribeError> {
        let program = Program::of(qmp.peer())?;
        let line = program.command_line();
        let name = qmp.execute("query-name", json!({}))?["name"].as_str().map(ToOwned::to_owned);
        let migration = qmp.execute("query-migrate", json!({}))?;
        let version: VersionAnswer = qmp.query("query-version", json!({}))?;
        let dimms = memory::plugged(qmp)?;
        Ok(Self {
            name: name.unwrap_or_else(|| format!("qemu-{}", program.pid)),
            version: version.qemu,
            machine_type: machine_type(qmp)?,
            accel: accel(qmp)?,
            vcpus: qmp.execute("query-cpus-fast", json!({}))?.as_array().map_or(0, Vec::len),
            monitor: qmp.path().to_owned(),
            memory: memory::backends(qmp, &line, &dimms, program.pid)?,
            dimms: dimms.into_iter().filter(|dimm| dimm.hotplugged).map(|dimm| dimm.dimm).collect(),
            disks: disks::of(qmp, &line)?,
            nics: nics::of(qmp)?,
            devices: devices::of(qmp, &line)?,
            state: state(qmp)?,
            migration: migration["status"].as_str().map(ToOwned::to_owned),
            blockers: texts(&migration["blocked-reasons"]),
            program,
        })
    }

    /// The same machine under another name, which its command line has too.
    #[must_use]
    pub fn renamed(mut self, name: &str) -> Self {
        let mut line = self.command_line();
        for argument in line.arguments.iter_mut().filter(|argument| argument.name() == "name") {
            let mut options = argument.options();
            options.set_kind("guest", name);
            argument.value = Some(options.to_string());
        }
        self.program.arguments = line.words();
        name.clone_into(&mut self.name);
        self
    }

    /// How its pages are numbered.
    ///
    /// # Errors
    /// It has no memory that makes a layout.
    pub fn layout(&self) -> Result<MemoryLayout, LayoutError> {
        let region = |backend: &Backend| Region { name: backend.id.clone(), size: backend.size };
        MemoryLayout::new(self.memory.iter().map(region).collect())
    }

    /// How much memory it has.
    #[must_use]
    pub fn memory_size(&self) -> Bytes {
        self.memory.iter().map(|backend| backend.size).sum()
    }

    /// Its command line.
    #[must_use]
    pub fn command_line(&self) -> CommandLine {
        self.program.command_line()
    }
}

/// The run state, such as `running`.
pub(crate) fn state(qmp: &Qmp) -> Result<String, QmpError> {
    Ok(text(&qmp.execute("query-status", json!({}))?["status"]))
}

/// QEMU knows the machine by its versioned type, whatever alias the command line has.
fn machine_type(qmp: &Qmp) -> Result<String, QmpError> {
    let class = qmp.execute("qom-get", json!({ "path": "/machine", "property": "type" }))?;
    let class = text(&class);
    Ok(class.strip_suffix("-machine").unwrap_or(&class).to_owned())
}

fn accel(qmp: &Qmp) -> Result<Accel, QmpError> {
    let kvm = qmp.execute("query-kvm", json!({}))?;
    Ok(if kvm["enabled"] == true { Accel::Kvm } else { Accel::Tcg })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// The children of an object of QEMU's object model, with their types; none if it is not there.
fn children(qmp: &Qmp, path: &str) -> Result<Vec<(String, String)>, QmpError> {
    let list = match qmp.execute("qom-list", json!({ "path": path })) {
        Ok(list) => list,
        Err(QmpError::Command(_)) => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let child = |entry: &Value| {
        let kind = entry["type"].as_str()?.strip_prefix("child<")?.strip_suffix('>')?;
        Some((text(&entry["name"]), kind.to_owned()))
    };
    Ok(list.as_array().into_iter().flatten().filter_map(child).collect())
}
