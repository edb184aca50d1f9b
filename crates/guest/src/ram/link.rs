use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use punctual_units::MemoryLayout;

use super::{Ram, RamError};

impl Ram {
    /// Gives the files of a machine's memory second names, for another process that is to map the
    /// same memory: for each of `names`, in the order of the layout, the file that is there and its
    /// second name on the same filesystem.
    ///
    /// The memory is there until both names are removed, and counts once. Nothing is left behind by
    /// an error.
    ///
    /// # Errors
    /// A file is not there or too short, or a name is taken or on another filesystem.
    pub fn link(layout: MemoryLayout, names: &[(PathBuf, PathBuf)]) -> Result<Self, RamError> {
        if names.len() != layout.regions().len() {
            return Err(RamError::FileCount {
                files: names.len(),
                regions: layout.regions().len(),
            });
        }
        let mut made = Vec::new();
        let opened = names.iter().map(|(file, name)| {
            let file = link(file, name)?;
            made.push(name);
            Ok(file)
        });
        let opened: Result<Vec<File>, RamError> = opened.collect();
        opened.and_then(|files| Self::open(layout, files)).inspect_err(|_| {
            for name in made {
                // The first error is what the caller has to know.
                let _ = fs::remove_file(name);
            }
        })
    }
}

fn link(file: &Path, name: &Path) -> Result<File, RamError> {
    let failed = |action, cause| RamError::File { path: name.to_owned(), action, cause };
    let open = |path| File::options().read(true).write(true).open(path);
    let first = open(file).map_err(|cause| failed("open the memory", cause))?;
    fs::hard_link(file, name)
        .map_err(|cause| failed("make a second name for the memory", cause))?;
    let second = open(name).and_then(|second| {
        let same = first.metadata()?.ino() == second.metadata()?.ino();
        let other = || std::io::Error::other("the file was replaced meanwhile");
        same.then_some(second).ok_or_else(other)
    });
    second.map_err(|cause| {
        let _ = fs::remove_file(name);
        failed("open it", cause)
    })
}

#[cfg(test)]
mod tests {
    use punctual_units::{Bytes, PAGE_SIZE, PageIndex, PageRange, Region};

    use super::*;

    fn layout(regions: &[&str]) -> MemoryLayout {
        let region = |name: &&str| Region { name: (*name).to_owned(), size: Bytes::mib(1) };
        MemoryLayout::new(regions.iter().map(region).collect()).unwrap()
    }

    #[test]
    fn two_names_are_one_memory_until_both_are_gone() {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = |name: &str| place.path().join(name);
        let first = Ram::create(layout(&["ram0"]), &[path("a")]).unwrap();
        let second = Ram::link(layout(&["ram0"]), &[(path("a"), path("b"))]).unwrap();
        let page = vec![7; PAGE_SIZE.get() as usize];
        first.write(PageIndex(3), &page).unwrap();
        std::fs::remove_file(path("a")).unwrap();
        let mut seen = vec![0; page.len()];
        second.read(PageRange::new(3, 4), &mut seen).unwrap();
        assert_eq!(seen, page);
        let reopened = Ram::open(layout(&["ram0"]), vec![File::open(path("b")).unwrap()]).unwrap();
        assert_eq!(reopened.digest().unwrap(), first.digest().unwrap());
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone_and_nothing_else_is_left() {
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let path = |name: &str| place.path().join(name);
        let both = layout(&["ram0", "ram1"]);
        Ram::create(both.clone(), &[path("a0"), path("a1")]).unwrap();
        std::fs::write(path("b1"), "somebody's").unwrap();
        let names = [(path("a0"), path("b0")), (path("a1"), path("b1"))];
        let error = Ram::link(both, &names).unwrap_err().to_string();
        assert!(error.contains("b1"), "{error}");
        assert!(!path("b0").exists());
        assert_eq!(std::fs::read_to_string(path("b1")).unwrap(), "somebody's");
    }
}
