use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use punctual_units::{Bytes, PAGE_SIZE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{children, text};
use crate::qemu::command_line::{CommandLine, Dimm};
use crate::qemu::qmp::{Qmp, QmpError};

/// The kernel's mark of a file on hugetlbfs (`statfs(2)`).
const HUGETLBFS_MAGIC: i64 = 0x9584_58f6;

/// One memory backend of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its id, by which both hosts know it.
    pub id: String,
    /// Its QEMU type, such as `memory-backend-file`.
    pub kind: String,
    /// Its size.
    pub size: Bytes,
    /// Whether its writes reach the file.
    pub share: bool,
    /// Whether QEMU empties its file when it ends.
    #[serde(default)]
    pub discarded: bool,
    /// The file that holds it, if it has a name that still leads to what QEMU has mapped.
    pub path: Option<PathBuf>,
    /// The size of its pages on the host, of hugetlbfs or the ordinary ones.
    pub page_size: Bytes,
}

/// A memory module, from the command line or plugged in.
pub(super) struct PluggedDimm {
    pub dimm: Dimm,
    pub hotplugged: bool,
}

/// The memory modules: `query-memory-devices`.
pub(super) fn plugged(qmp: &Qmp) -> Result<Vec<PluggedDimm>, QmpError> {
    let answer = qmp.execute("query-memory-devices", json!({}))?;
    Ok(answer.as_array().into_iter().flatten().filter_map(read_dimm).collect())
}

fn read_dimm(entry: &Value) -> Option<PluggedDimm> {
    let data = (entry["type"] == "dimm").then(|| &entry["data"])?;
    Some(PluggedDimm {
        dimm: Dimm {
            id: data["id"].as_str()?.to_owned(),
            memdev: data["memdev"].as_str()?.rsplit('/').next()?.to_owned(),
            size: Bytes::new(data["size"].as_u64()?),
            addr: data["addr"].as_u64()?,
            slot: data["slot"].as_u64()?,
            node: data["node"].as_u64().unwrap_or(0),
        },
        hotplugged: data["hotplugged"] == true,
    })
}

/// The backends of the machine: the boot memory first, then those of the command line and of
/// memory modules by their ids, so that both hosts number pages alike.
pub(super) fn backends(
    qmp: &Qmp,
    line: &CommandLine,
    dimms: &[PluggedDimm],
    pid: u32,
) -> Result<Vec<Backend>, QmpError> {
    let boot = qmp.property("/machine", "memory-backend")?;
    let boot = boot.as_ref().and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let mut in_use: BTreeSet<String> = line
        .all("object")
        .filter_map(|object| Some(object.options().get("id")?.to_owned()))
        .collect();
    in_use.extend(dimms.iter().map(|dimm| dimm.dimm.memdev.clone()));
    in_use.extend(boot.map(ToOwned::to_owned));

    let mut backends = Vec::new();
    for (id, kind) in children(qmp, "/objects")? {
        if kind.starts_with("memory-backend-") && in_use.contains(&id) {
            backends.push(backend(qmp, id, kind, pid)?);
        }
    }
    backends.sort_by_key(|backend| (Some(backend.id.as_str()) != boot, backend.id.clone()));
    Ok(backends)
}

fn backend(qmp: &Qmp, id: String, kind: String, pid: u32) -> Result<Backend, QmpError> {
    let path = format!("/objects/{id}");
    let property = |name| qmp.property(&path, name);
    let size = property("size")?.and_then(|size| size.as_u64()).unwrap_or(0);
    let share = property("share")? == Some(Value::Bool(true));
    let discarded = property("discard-data")? == Some(Value::Bool(true));
    let file = property("mem-path")?.map(|file| PathBuf::from(text(&file)));
    let file = file.filter(|file| is_mapped(pid, file));
    let page_size = file.as_deref().map_or(PAGE_SIZE, page_size);
    Ok(Backend { id, kind, size: Bytes::new(size), share, discarded, path: file, page_size })
}

/// Whether the name leads to a file that the process has mapped: it could be a directory, in which
/// QEMU made a file without a name, or have been replaced since.
fn is_mapped(pid: u32, file: &Path) -> bool {
    let Ok(found) = fs::metadata(file) else { return false };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    found.is_file() && maps.lines().any(|line| maps_inode(line) == Some(found.ino()))
}

/// The inode in a line `START-END PERMISSIONS OFFSET DEVICE INODE PATH` of `/proc/PID/maps`.
fn maps_inode(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let inode = words.nth(4)?.parse().ok()?;
    words.next().filter(|path| path.starts_with('/')).map(|_| inode)
}

fn page_size(file: &Path) -> Bytes {
    match rustix::fs::statfs(file) {
        Ok(found) if found.f_type == HUGETLBFS_MAGIC => Bytes::new(found.f_bsize.unsigned_abs()),
        _ => PAGE_SIZE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inode_of_a_line_of_maps() {
        let line = "7f0000000000-7f0010000000 rw-s 00000000 00:1c 3841       /dev/shm/web.ram";
        assert_eq!(maps_inode(line), Some(3841));
        assert_eq!(maps_inode("7f00-7f01 rw-p 00000000 00:00 0"), None);
        assert_eq!(maps_inode("7f00-7f01 rw-p 00000000 00:00 0    [heap]"), None);
    }

    #[test]
    fn a_plugged_module() {
        let entry = json!({"type": "dimm", "data": {"memdev": "/objects/mem1", "hotplugged": true,
            "addr": 4_294_967_296_u64, "hotpluggable": true, "size": 134_217_728, "slot": 0,
            "node": 0, "id": "dimm1"}});
        let found = read_dimm(&entry).unwrap();
        assert!(found.hotplugged);
        assert_eq!((found.dimm.memdev.as_str(), found.dimm.addr), ("mem1", 1 << 32));
        assert!(read_dimm(&json!({"type": "virtio-mem", "data": {}})).is_none());
    }
}
