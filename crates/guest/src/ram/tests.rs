use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use punctual_units::{Bytes, MemoryLayout, PageIndex, PageRange, Pages, Region};

use super::{Ram, RamDigest, RamError};

fn layout(sizes: &[(&str, u64)]) -> MemoryLayout {
    let region = |(name, pages): &(&str, u64)| Region {
        name: (*name).to_owned(),
        size: Pages::new(*pages).bytes(),
    };
    MemoryLayout::new(sizes.iter().map(region).collect()).unwrap()
}

fn two_regions() -> Ram {
    Ram::in_memory(layout(&[("ram0", 16), ("dimm1", 48)])).unwrap()
}

fn pages(start: u64, end: u64) -> PageRange {
    PageRange::new(start, end)
}

#[test]
fn what_is_written_across_regions_is_read_again() {
    let ram = two_regions();
    let bytes: Vec<u8> = (0..4 * 4096).map(|at: usize| (at / 13) as u8).collect();
    ram.write(PageIndex(14), &bytes).unwrap();
    ram.write_at(PageIndex(15), Bytes::new(4000), &[7; 96]).unwrap();
    let mut found = vec![0; bytes.len()];
    ram.read(pages(14, 18), &mut found).unwrap();
    assert_eq!(found[..4096 + 4000], bytes[..4096 + 4000]);
    assert_eq!(found[4096 + 4000..2 * 4096], [7; 96]);
    assert_eq!(found[2 * 4096..], bytes[2 * 4096..]);
    assert!(ram.is_zero(PageIndex(13)).unwrap());
    assert!(!ram.is_zero(PageIndex(14)).unwrap());
}

#[test]
fn only_what_holds_memory_is_populated() {
    let ram = two_regions();
    assert!(ram.populated().unwrap().is_empty());
    ram.write(PageIndex(15), &[1; 2 * 4096]).unwrap();
    ram.write(PageIndex(63), &[0; 4096]).unwrap();
    let mut unread = vec![9; 4096];
    ram.read(pages(40, 41), &mut unread).unwrap();
    assert_eq!(unread, [0; 4096], "a hole is zero");
    ram.reserve(pages(30, 34)).unwrap();
    let found: Vec<_> = ram.populated().unwrap().ranges().collect();
    assert_eq!(found, [pages(15, 17), pages(63, 64)]);
    ram.punch(pages(16, 64)).unwrap();
    let found: Vec<_> = ram.populated().unwrap().ranges().collect();
    assert_eq!(found, [pages(15, 16)]);
}

#[test]
fn holes_and_zeros_digest_alike_and_places_matter() {
    let (ram, other) = (two_regions(), two_regions());
    assert_eq!(ram.digest().unwrap(), RamDigest::default());
    for page in [3, 15, 16, 40, 63] {
        ram.write(PageIndex(page), &[page as u8; 4096]).unwrap();
        other.write(PageIndex(page), &[page as u8; 4096]).unwrap();
    }
    ram.write(PageIndex(20), &[0; 8 * 4096]).unwrap();
    assert_eq!(ram.digest().unwrap(), other.digest().unwrap());
    other.write_at(PageIndex(40), Bytes::new(4095), &[41]).unwrap();
    assert_ne!(ram.digest().unwrap(), other.digest().unwrap());
    other.write(PageIndex(40), &[0; 4096]).unwrap();
    other.write(PageIndex(41), &[40; 4096]).unwrap();
    assert_ne!(ram.digest().unwrap(), other.digest().unwrap(), "the same page elsewhere");
}

#[test]
fn pages_go_through_a_socket() {
    let (ram, other) = (two_regions(), two_regions());
    for page in 0..64 {
        ram.write(PageIndex(page), &[page as u8 + 1; 4096]).unwrap();
    }
    let (near, far) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| ram.send(pages(2, 62), near.as_fd()).unwrap());
        let mut buffer = vec![0; 10_000];
        other.receive(pages(2, 62), far.as_fd(), &mut buffer).unwrap();
    });
    ram.punch(pages(0, 2)).unwrap();
    ram.punch(pages(62, 64)).unwrap();
    assert_eq!(ram.digest().unwrap(), other.digest().unwrap());
}

#[test]
fn a_connection_that_ends_is_told_with_the_region() {
    let ram = two_regions();
    let (mut near, far) = UnixStream::pair().unwrap();
    near.write_all(&[1; 5000]).unwrap();
    drop(near);
    let error = ram.receive(pages(20, 24), far.as_fd(), &mut [0; 4096]).unwrap_err();
    assert_eq!(error.cause.kind(), std::io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("page 20 of the RAM, in region `dimm1`"), "{error}");
}

#[test]
fn files_are_made_sparse_and_once() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    let small = layout(&[("ram0", 16), ("dimm1", 48)]);
    let ram = Ram::create(small.clone(), &paths).unwrap();
    assert!(ram.populated().unwrap().is_empty());
    assert_eq!(std::fs::metadata(&paths[1]).unwrap().len(), 48 * 4096);
    std::fs::remove_file(&paths[0]).unwrap();
    let error = Ram::create(small, &paths).unwrap_err();
    assert!(matches!(&error, RamError::File { path, .. } if *path == paths[1]), "{error}");
    assert!(!paths[0].exists(), "what had been made is removed again");
}

#[test]
fn a_destination_that_is_too_small_says_what_it_needs() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let large = layout(&[("ram0", 1 << 32), ("dimm1", 1 << 32)]);
    let paths = ["a", "b"].map(|name| directory.path().join(name));
    let error = Ram::create(large, &paths).unwrap_err();
    assert!(matches!(error, RamError::NoSpace { need, .. } if need == Bytes::mib(1 << 25)));
    assert!(error.to_string().starts_with("destination too small: /dev/shm/"), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn files_of_another_machine_are_refused() {
    let file = || tempfile::tempfile_in("/dev/shm").unwrap();
    let none = Ram::open(layout(&[("ram0", 16)]), vec![]).unwrap_err();
    assert!(matches!(none, RamError::FileCount { files: 0, regions: 1 }));
    let short = Ram::open(layout(&[("ram0", 16)]), vec![file()]).unwrap_err();
    assert!(matches!(short, RamError::TooShort { .. }), "{short}");
}

/// Memory of huge pages, or a reason why there is none.
pub(crate) fn huge_memory(pages: u64) -> Result<(Ram, std::fs::File), String> {
    use rustix::fs::{MemfdFlags, memfd_create};
    let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    let free: u64 = free.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if free < pages {
        return Err(format!("{pages} free huge pages are needed (sysctl vm.nr_hugepages)"));
    }
    let file = memfd_create("huge", MemfdFlags::CLOEXEC | MemfdFlags::HUGETLB);
    let file = std::fs::File::from(file.map_err(|error| error.to_string())?);
    file.set_len(pages * (2 << 20)).unwrap();
    let ram = Ram::open(layout(&[("ram0", pages * 512)]), vec![file.try_clone().unwrap()]);
    Ok((ram.map_err(|error| error.to_string())?, file))
}

#[test]
fn huge_pages_are_read_written_sent_and_received() {
    let (ram, _file) = match huge_memory(4) {
        Ok(made) => made,
        Err(reason) => return println!("SKIP: {reason}"),
    };
    let other = Ram::in_memory(ram.layout().clone()).unwrap();
    ram.write(PageIndex(700), &[5; 3 * 4096]).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| ram.send(pages(690, 710), near.as_fd()).unwrap());
        other.receive(pages(690, 710), far.as_fd(), &mut [0; 8192]).unwrap();
    });
    assert_eq!(ram.digest().unwrap(), other.digest().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| other.send(pages(690, 710), near.as_fd()).unwrap());
        ram.receive(pages(1690, 1710), far.as_fd(), &mut [0; 8192]).unwrap();
    });
    assert!(!ram.is_zero(PageIndex(1701)).unwrap());
    assert_eq!(ram.populated().unwrap().len(), Pages::new(2048));
}
