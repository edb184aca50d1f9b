use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use punctual_units::{Bytes, MemoryLayout, Region};
use rustix::fs::{MemfdFlags, StatFs, memfd_create, statfs};

use super::region::HUGETLBFS;
use super::space::free;
use super::{Ram, RamError};

impl Ram {
    /// Makes the files of a machine that is to arrive, one at each of `paths` in the order of the
    /// layout: all zero, without memory of their own yet (on hugetlbfs: reserved).
    ///
    /// Nothing is left behind by an error. Who made the files removes them.
    ///
    /// # Errors
    /// The space for all of them is not free, a file exists already, or it cannot be made.
    pub fn create(layout: MemoryLayout, paths: &[PathBuf]) -> Result<Self, RamError> {
        if paths.len() != layout.regions().len() {
            return Err(RamError::FileCount {
                files: paths.len(),
                regions: layout.regions().len(),
            });
        }
        check_space(&layout, paths)?;
        let mut made = Made { paths: Vec::new() };
        let mut files = Vec::new();
        for (path, region) in paths.iter().zip(layout.regions()) {
            let failed = |action, cause| RamError::File { path: path.clone(), action, cause };
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|cause| failed("make it", cause))?;
            made.paths.push(path);
            file.set_len(region.size.get()).map_err(|cause| failed("set its size", cause))?;
            files.push(file);
        }
        let ram = Self::open(layout, files)?;
        made.paths.clear();
        Ok(ram)
    }

    /// Memory in files that have no name and end with this value: for machines in tests.
    ///
    /// # Errors
    /// The kernel cannot make a `memfd_create(2)` file.
    pub fn in_memory(layout: MemoryLayout) -> Result<Self, RamError> {
        let files = layout.regions().iter().map(anonymous).collect::<Result<_, _>>()?;
        Self::open(layout, files)
    }
}

fn anonymous(region: &Region) -> Result<File, RamError> {
    let failed = |action, cause| RamError::Region { region: region.name.clone(), action, cause };
    let file = memfd_create(region.name.as_str(), MemfdFlags::CLOEXEC)
        .map_err(|error| failed("make it in memory", error.into()))?;
    let file = File::from(file);
    file.set_len(region.size.get()).map_err(|cause| failed("set its size", cause))?;
    Ok(file)
}

/// Files made so far, removed again unless all of them have been made.
struct Made<'a> {
    paths: Vec<&'a PathBuf>,
}

impl Drop for Made<'_> {
    fn drop(&mut self) {
        for path in &self.paths {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Whether each filesystem has room for all regions that go there. This is a look, not a
/// reservation: who fills the filesystem afterwards makes a later write fail.
fn check_space(layout: &MemoryLayout, paths: &[PathBuf]) -> Result<(), RamError> {
    let mut needs: Vec<(PathBuf, StatFs, Bytes)> = Vec::new();
    for (path, region) in paths.iter().zip(layout.regions()) {
        let directory = directory(path);
        let system = statfs(&directory).map_err(|error| RamError::File {
            path: path.clone(),
            action: "look at its directory",
            cause: error.into(),
        })?;
        check_huge_page(&directory, &system, region)?;
        match needs.iter_mut().find(|(known, ..)| same_filesystem(known, &directory)) {
            Some((_, _, need)) => *need += region.size,
            None => needs.push((directory, system, region.size)),
        }
    }
    for (directory, system, need) in needs {
        if let Some(free) = free(&system).filter(|free| need > *free) {
            return Err(RamError::NoSpace { directory, need, free });
        }
    }
    Ok(())
}

fn check_huge_page(directory: &Path, system: &StatFs, region: &Region) -> Result<(), RamError> {
    let huge_page = Bytes::new(system.f_bsize as u64);
    if system.f_type == HUGETLBFS && !region.size.get().is_multiple_of(huge_page.get()) {
        return Err(RamError::HugePage {
            region: region.name.clone(),
            size: region.size,
            directory: directory.to_owned(),
            huge_page,
        });
    }
    Ok(())
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn same_filesystem(a: &Path, b: &Path) -> bool {
    let device = |path| -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt;
        Ok(std::fs::metadata(path)?.dev())
    };
    matches!((device(a), device(b)), (Ok(a), Ok(b)) if a == b)
}
