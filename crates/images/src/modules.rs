//! Kernel modules: which ones a guest needs, and in which order they load.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use crate::cpio::Archive;

/// What the guests' devices need. Whatever these lean on comes along.
const NEEDED: [&str; 3] = ["virtio_pci", "virtio_net", "virtio_blk"];

/// A module, ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Module {
    name: String,
    content: Vec<u8>,
}

/// Why the modules cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The kernel has no such module.
    #[error("the kernel in {} has no module {name}; delete it and run `make setup`", directory.display())]
    Absent {
        /// The directory that was searched.
        directory: PathBuf,
        /// The missing module.
        name: String,
    },
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A compressed module cannot be unpacked.
    #[error("{program} cannot unpack {}: {reason}; is it installed? `make setup` does it", path.display())]
    Unpack {
        /// The module.
        path: PathBuf,
        /// The program that was to unpack it.
        program: &'static str,
        /// What went wrong.
        reason: String,
    },
}

/// Adds the needed modules from an unpacked `/lib/modules/VERSION` to an initramfs that has a
/// directory `modules`, and the file `modules/load-order` that lists them, one a line.
pub(crate) fn add_to(archive: &mut Archive, directory: &Path) -> Result<(), ModuleError> {
    let mut order = String::new();
    for Module { name, content } in in_load_order(directory)? {
        archive.file(&format!("modules/{name}.ko"), &content);
        order.push_str(&format!("{name}.ko\n"));
    }
    archive.file("modules/load-order", order.as_bytes());
    Ok(())
}

/// Reads the needed modules from an unpacked `/lib/modules/VERSION`, each after those it leans on.
fn in_load_order(directory: &Path) -> Result<Vec<Module>, ModuleError> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    let builtin_list = directory.join("modules.builtin");
    let builtin = fs::read_to_string(&builtin_list)
        .map_err(|source| ModuleError::Read { path: builtin_list, source })?;
    let shelf = Shelf { directory, files, builtin };
    let mut order = Vec::new();
    for name in NEEDED {
        shelf.add(name, &mut order)?;
    }
    Ok(order)
}

/// The modules of one kernel.
struct Shelf<'a> {
    directory: &'a Path,
    files: Vec<PathBuf>,
    /// Paths of the modules that the kernel itself holds, one a line.
    builtin: String,
}

impl Shelf<'_> {
    /// Adds a module behind those it leans on, unless it is there or the kernel holds it.
    fn add(&self, name: &str, order: &mut Vec<Module>) -> Result<(), ModuleError> {
        let known = order.iter().any(|module| module.name == name);
        if known || self.builtin.lines().any(|path| module_name(Path::new(path)) == name) {
            return Ok(());
        }
        let path = self.files.iter().find(|path| module_name(path) == name).ok_or_else(|| {
            ModuleError::Absent { directory: self.directory.to_owned(), name: name.to_owned() }
        })?;
        let content = read(path)?;
        for other in dependencies(&content) {
            self.add(&other, order)?;
        }
        order.push(Module { name: name.to_owned(), content });
        Ok(())
    }
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<(), ModuleError> {
    let error = |source| ModuleError::Read { path: directory.to_owned(), source };
    for entry in fs::read_dir(directory).map_err(error)? {
        let entry = entry.map_err(error)?;
        if entry.file_type().map_err(error)?.is_dir() {
            collect(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// `virtio_rng` for `…/virtio-rng.ko.xz`: the kernel takes dashes for underscores.
fn module_name(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split_once(".ko").map_or("", |(name, _)| name).replace('-', "_")
}

fn read(path: &Path) -> Result<Vec<u8>, ModuleError> {
    let program = match path.extension().and_then(OsStr::to_str) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => {
            return fs::read(path)
                .map_err(|source| ModuleError::Read { path: path.to_owned(), source });
        }
    };
    let failed = |reason: String| ModuleError::Unpack { path: path.to_owned(), program, reason };
    let output = Command::new(program)
        .args(["--decompress", "--stdout"])
        .arg(path)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}

/// The modules that a module leans on: the entry `depends=` of its `.modinfo` section, in which
/// zero bytes end the entries.
fn dependencies(content: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = content.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let list = content[at + key.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let list = String::from_utf8_lossy(list).replace('-', "_");
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(directory: &Path, path: &str, depends: &str) {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("ELF\0license=GPL\0depends={depends}\0name=x\0")).unwrap();
    }

    #[test]
    fn modules_come_after_what_they_lean_on() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        module(path, "kernel/virtio/virtio_pci.ko", "virtio,virtio_ring");
        module(path, "kernel/virtio/virtio-ring.ko", "virtio");
        module(path, "kernel/virtio/virtio.ko", "");
        module(path, "kernel/net/virtio_net.ko", "virtio-ring,failover");
        module(path, "kernel/block/virtio_blk.ko", "virtio_ring");
        fs::write(path.join("modules.builtin"), "kernel/net/failover.ko\n").unwrap();
        let order = in_load_order(path).unwrap();
        let names: Vec<_> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["virtio", "virtio_ring", "virtio_pci", "virtio_net", "virtio_blk"]);
    }

    #[test]
    fn a_missing_module_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("modules.builtin"), "").unwrap();
        let message = in_load_order(directory.path()).unwrap_err().to_string();
        assert!(message.contains("virtio_pci") && message.contains("make setup"), "{message}");
    }
}
