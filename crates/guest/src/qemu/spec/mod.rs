//! What a machine shall be, as people write it in TOML.
//!
//! ```toml
//! name = "web"
//! memory = "512MiB"
//! accel = "kvm"
//!
//! [[disk]]
//! path = "/srv/shared/web.qcow2"
//! format = "qcow2"
//!
//! [[net]]
//! bridge = "br0"
//! ```

mod arguments;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use punctual_units::Bytes;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// A machine to be started.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Its name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// Its memory, such as `512MiB`; with NUMA nodes, the sum of theirs.
    #[serde(deserialize_with = "bytes")]
    pub memory: Bytes,
    /// Its virtual processors.
    #[serde(default = "one")]
    pub vcpus: u32,
    /// What it runs on.
    #[serde(default)]
    pub accel: AccelChoice,
    /// QEMU's model of the processor; by default the host's with KVM, `max` otherwise.
    pub cpu: Option<String>,
    /// QEMU's machine type.
    #[serde(default = "pc")]
    pub machine: String,
    /// A kernel to start; a machine without one starts from its disks.
    pub kernel: Option<PathBuf>,
    /// The kernel's first file system.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub append: Option<String>,
    /// Takes RAM from the host's hugetlbfs.
    #[serde(default)]
    pub hugepages: bool,
    /// NUMA nodes, each with a memory backend of its own.
    #[serde(default)]
    pub numa: Vec<NumaNode>,
    /// Disks, in order.
    #[serde(default)]
    pub disk: Vec<DiskSpec>,
    /// Network interfaces, in order.
    #[serde(default)]
    pub net: Vec<NetSpec>,
    /// The QEMU to start.
    #[serde(default = "qemu")]
    pub binary: PathBuf,
    /// Variables that it gets beyond the host's.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// More arguments for QEMU.
    #[serde(default)]
    pub extra: Vec<String>,
}

/// What a machine shall run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelChoice {
    /// The processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
    /// The processor if this host lets it, QEMU's translator otherwise.
    #[default]
    Auto,
}

/// A NUMA node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaNode {
    /// Its memory.
    #[serde(deserialize_with = "bytes")]
    pub memory: Bytes,
    /// Its processors, such as `0-1`.
    pub cpus: Option<String>,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// The image, on storage that every host sees at this path.
    pub path: PathBuf,
    /// Its format.
    #[serde(default = "raw")]
    pub format: String,
    /// QEMU's cache mode, such as `none` or `writeback`.
    pub cache: Option<String>,
    /// QEMU's way of input and output: `threads`, `native` or `io_uring`.
    pub aio: Option<String>,
    /// Never writes to it.
    #[serde(default)]
    pub readonly: bool,
    /// QEMU's device: `virtio-blk-pci` by default.
    pub device: Option<String>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetSpec {
    /// The tap to make; by default named after the machine.
    pub tap: Option<String>,
    /// The bridge to plug it into.
    pub bridge: Option<String>,
    /// The hardware address; by default made from the machine's name.
    pub mac: Option<String>,
}

/// Why a machine spec was not accepted.
#[derive(Debug, Error)]
pub enum SpecError {
    /// It is not such TOML. The text names line and column.
    #[error("the machine spec is not understood: {0}")]
    Toml(#[from] toml::de::Error),
    /// A value makes no sense.
    #[error("the machine spec: `{field}` is {value}: {remedy}")]
    Value {
        /// The field.
        field: String,
        /// What it says.
        value: String,
        /// What to write instead.
        remedy: &'static str,
    },
}

fn one() -> u32 {
    1
}

fn pc() -> String {
    "pc".to_owned()
}

fn raw() -> String {
    "raw".to_owned()
}

fn qemu() -> PathBuf {
    PathBuf::from("qemu-system-x86_64")
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let spec: Self = toml::from_str(text)?;
        spec.check()?;
        Ok(spec)
    }
}

impl Spec {
    fn check(&self) -> Result<(), SpecError> {
        let wrong = |field: &str, value: String, remedy| {
            Err(SpecError::Value { field: field.to_owned(), value, remedy })
        };
        let name = &self.name;
        let fine = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(fine) {
            let remedy = "write 1 to 64 letters, digits, `-`, `_` or `.`, not a dot first";
            return wrong("name", format!("`{name}`"), remedy);
        }
        if self.vcpus == 0 || self.vcpus > 1024 {
            return wrong("vcpus", self.vcpus.to_string(), "write 1 to 1024");
        }
        let whole = |size: Bytes| size > Bytes::ZERO && size.get().is_multiple_of(1 << 20);
        if !whole(self.memory) {
            return wrong("memory", self.memory.to_string(), "write a whole number of MiB");
        }
        if let Some(node) = self.numa.iter().find(|node| !whole(node.memory)) {
            return wrong("numa.memory", node.memory.to_string(), "write a whole number of MiB");
        }
        let nodes: Bytes = self.numa.iter().map(|node| node.memory).sum();
        if !self.numa.is_empty() && nodes != self.memory {
            return wrong("memory", self.memory.to_string(), "write the sum of the NUMA nodes'");
        }
        if self.kernel.is_none() && (self.initrd.is_some() || self.append.is_some()) {
            return wrong("kernel", "missing".to_owned(), "`initrd` and `append` belong to one");
        }
        for tap in self.net.iter().filter_map(|net| net.tap.as_deref()) {
            if tap.is_empty() || tap.len() > 15 || !tap.chars().all(fine) {
                return wrong("net.tap", format!("`{tap}`"), "write 1 to 15 letters or digits");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
