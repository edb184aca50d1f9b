use std::path::PathBuf;

use punctual_units::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text;
use crate::qemu::command_line::{Argument, CommandLine};
use crate::qemu::qmp::{Qmp, QmpError};

/// An image file or block device that QEMU has open, backing files too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// QEMU's block driver: `file`, `host_device`, or one that reaches over the network.
    pub driver: String,
    /// The file, as QEMU names it.
    pub path: PathBuf,
    /// Its size.
    pub size: Bytes,
    /// Whether QEMU only reads it.
    pub read_only: bool,
    /// Whether QEMU goes around the page cache (`cache=none`, `cache.direct=on`).
    pub direct: bool,
    /// Whether it took the place of what the command line names, by a snapshot, a mirror or a
    /// changed medium.
    pub replaced: bool,
}

impl Disk {
    /// Whether it is a file or device of the host, that can be opened there.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.driver.as_str(), "file" | "host_device")
    }
}

/// Drivers that lie upon another node, and so have no data of their own.
const UPPER: &[&str] = &[
    "raw",
    "qcow2",
    "qcow",
    "qed",
    "vmdk",
    "vdi",
    "vpc",
    "vhdx",
    "luks",
    "throttle",
    "copy-on-read",
    "blkdebug",
    "blkverify",
    "null-co",
    "null-aio",
    "preallocate",
    "copy-before-write",
    "vvfat",
    "parallels",
    "bochs",
    "cloop",
    "dmg",
    "quorum",
    "compress",
    "snapshot-access",
    "replication",
];

/// Asks for the disks.
pub(super) fn of(qmp: &Qmp, line: &CommandLine) -> Result<Vec<Disk>, QmpError> {
    let nodes = qmp.execute("query-named-block-nodes", json!({ "flat": true }))?;
    let devices = qmp.execute("query-block", json!({}))?;
    Ok(read(&nodes, &devices, line))
}

fn read(nodes: &Value, devices: &Value, line: &CommandLine) -> Vec<Disk> {
    let tops: Vec<String> = devices
        .as_array()
        .into_iter()
        .flatten()
        .map(|device| text(&device["inserted"]["file"]))
        .filter(|file| !file.is_empty())
        .collect();
    let named = |file: &str| {
        let options = line.arguments.iter().map(Argument::options);
        let texts: Vec<_> = options.collect();
        texts.iter().any(|options| options.texts().contains(&file))
    };
    let disk = |node: &Value| {
        let driver = node["drv"].as_str()?.to_owned();
        let file = node["file"].as_str()?;
        (!UPPER.contains(&driver.as_str())).then(|| Disk {
            size: Bytes::new(node["image"]["virtual-size"].as_u64().unwrap_or(0)),
            read_only: node["ro"] == true,
            direct: node["cache"]["direct"] == true,
            replaced: tops.iter().any(|top| top == file) && !named(file),
            path: PathBuf::from(file),
            driver,
        })
    };
    nodes.as_array().into_iter().flatten().filter_map(disk).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(driver: &str, file: &str, direct: bool) -> Value {
        json!({"drv": driver, "file": file, "ro": false, "node-name": "n",
            "cache": {"no-flush": false, "direct": direct, "writeback": true},
            "image": {"virtual-size": 1_048_576, "filename": file, "format": driver}})
    }

    #[test]
    fn files_are_found_beneath_formats() {
        let line = CommandLine::parse(["-drive", "file=/srv/a,,b.qcow2,if=virtio"]);
        let nodes = json!([
            node("qcow2", "/srv/a,b.qcow2", true),
            node("file", "/srv/a,b.qcow2", true),
            node("file", "/srv/base.img", true)
        ]);
        let devices = json!([{"device": "cd0"}, {"device": "virtio0", "inserted": {"file": "/srv/a,b.qcow2"}}]);
        let disks = read(&nodes, &devices, &line);
        assert_eq!(disks.len(), 2);
        assert!(disks.iter().all(|disk| disk.direct && disk.is_local() && !disk.replaced));
    }

    #[test]
    fn a_live_snapshot_took_the_place_of_what_the_command_line_names() {
        let line = CommandLine::parse(["-drive", "file=/srv/a.img,if=virtio"]);
        let nodes = json!([
            node("qcow2", "/srv/snap.qcow2", false),
            node("file", "/srv/snap.qcow2", false),
            node("file", "/srv/a.img", false)
        ]);
        let devices = json!([{"device": "virtio0", "inserted": {"file": "/srv/snap.qcow2"}}]);
        let replaced: Vec<_> =
            read(&nodes, &devices, &line).into_iter().map(|disk| disk.replaced).collect();
        assert_eq!(replaced, [true, false]);
    }
}
