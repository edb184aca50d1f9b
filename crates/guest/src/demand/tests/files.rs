//! What kinds of files do: pages that are there already, huge pages.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::*;

/// Attaches to a process that has used all of its RAM, of which `missing` is out of date.
fn stale_pages_fault_again(mut paged: Paged, missing: PageRange, inside: PageRange) {
    let all = run(0, paged.ram.layout().pages().get());
    paged.ram.write(PageIndex(0), &contents(all)).unwrap();
    paged.victim.order("check");
    paged.victim.order(&format!("spoil {} {}", missing.start.0, missing.end.0));
    let pager = paged.attach(&paged.some(missing));
    let mut there = paged.ram.populated().unwrap();
    there.intersect(&paged.some(missing));
    assert!(there.is_empty(), "{there:?} is still there");
    paged.victim.order(&format!("touch {} {}", 0, missing.start.0));
    paged.victim.order(&format!("touch {} {}", missing.end.0, all.end.0));
    assert_eq!(pager.next_fault(Duration::ZERO).unwrap(), None, "only missing pages fault");
    paged.victim.begin(&format!("touch {} {}", inside.start.0, inside.end.0));
    for page in inside.iter() {
        let fault = pager.next_fault(LONG).unwrap().unwrap();
        assert_eq!(fault.pages.start, page);
        deliver(&pager, fault.pages).unwrap();
    }
    paged.victim.expect("done");
    work_until_finished(&mut paged, &pager, 1);
}

#[test]
fn pages_that_are_out_of_date_are_taken_out_and_fault_again() {
    stale_pages_fault_again(Paged::start(), run(100, 300), run(150, 155));
}

#[test]
fn pages_that_were_only_reserved_fault_as_well() {
    let mut paged = Paged::start();
    paged.ram.reserve(run(0, 64)).unwrap();
    let pager = paged.attach(&paged.all());
    paged.victim.begin("touch 7 8");
    assert_eq!(pager.next_fault(LONG).unwrap().unwrap().pages, run(7, 8));
    deliver(&pager, run(0, PAGES)).unwrap();
    paged.victim.expect("done");
}

/// A file on a mount of its own that has no place in the file system and ends with its descriptor.
fn detached(options: &[(&CStr, &CStr)], kind: &CStr) -> Option<(OwnedFd, PathBuf)> {
    const SET_STRING: libc::c_uint = 1;
    const CREATE: libc::c_uint = 6;
    let null = std::ptr::null::<libc::c_char>();
    let owned = |number: i64| {
        // SAFETY: a descriptor that the kernel has just made for us alone.
        (number >= 0).then(|| unsafe { OwnedFd::from_raw_fd(number as i32) })
    };
    // SAFETY: strings that outlive the calls.
    let (mount, file) = unsafe {
        let context = owned(libc::syscall(libc::SYS_fsopen, kind.as_ptr(), 0))?;
        let number = context.as_raw_fd();
        for (key, value) in options {
            let (key, value) = (key.as_ptr(), value.as_ptr());
            if libc::syscall(libc::SYS_fsconfig, number, SET_STRING, key, value, 0) != 0 {
                return None;
            }
        }
        if libc::syscall(libc::SYS_fsconfig, number, CREATE, null, null, 0) != 0 {
            return None;
        }
        let mount = owned(libc::syscall(libc::SYS_fsmount, number, 0, 0))?;
        let flags = libc::O_RDWR | libc::O_CREAT;
        let name = c"ram".as_ptr();
        let file = owned(libc::openat(mount.as_raw_fd(), name, flags, 0o600).into())?;
        (mount, file)
    };
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    drop(mount);
    Some((file, path.into()))
}

#[test]
fn where_memory_ends_the_page_is_missing_still_and_can_be_filled_later() {
    const ROOM: u64 = 16;
    let room = c"64k";
    let Some((_file, path)) = detached(&[(c"size", room)], c"tmpfs") else {
        println!("SKIP: no tmpfs can be mounted here");
        return;
    };
    let mut paged = Paged::on("guest", path, 64);
    let pager = paged.attach(&paged.all());
    paged.victim.begin("touch 40 41");
    let needed = pager.next_fault(LONG).unwrap().unwrap().pages;
    let error = pager.fill(run(0, 40), &contents(run(0, 40))).unwrap_err();
    assert!(matches!(error, DemandError::NoMemory { .. }), "{error}");
    assert_eq!(pager.missing(), paged.some(run(ROOM, 64)));
    assert!(matches!(deliver(&pager, needed), Err(DemandError::NoMemory { .. })));
    assert_eq!(pager.waited_for(), paged.some(needed));
    paged.ram.punch(run(0, 1)).unwrap(); // makes room
    assert_eq!(deliver(&pager, needed).unwrap(), 1);
    paged.victim.expect("done");
}

fn on_huge_tmpfs() -> Option<(OwnedFd, Paged)> {
    let Some((file, path)) = detached(&[(c"huge", c"within_size")], c"tmpfs") else {
        println!("SKIP: no tmpfs with huge pages can be mounted here");
        return None;
    };
    Some((file, Paged::on("guest", path, PAGES)))
}

#[test]
fn on_huge_pages_stale_pages_are_taken_out_one_by_one() {
    let Some((_file, paged)) = on_huge_tmpfs() else { return };
    stale_pages_fault_again(paged, run(100, 300), run(150, 155));
    let Some((_file, paged)) = on_huge_tmpfs() else { return };
    stale_pages_fault_again(paged, run(511, 1025), run(511, 514));
}

#[test]
fn on_huge_pages_one_page_is_filled_without_its_neighbours() {
    let Some((_file, mut paged)) = on_huge_tmpfs() else { return };
    let pager = paged.attach(&paged.all());
    deliver(&pager, run(5, 6)).unwrap();
    assert_eq!(paged.ram.populated().unwrap().ranges().collect::<Vec<_>>(), [run(5, 6)]);
    paged.victim.begin("merge");
    assert_eq!(paged.victim.next_line(), "not merged");
    paged.victim.expect("done");
    paged.victim.begin("touch 6 7");
    assert_eq!(pager.next_fault(LONG).unwrap().unwrap().pages, run(6, 7));
    deliver(&pager, run(6, 7)).unwrap();
    paged.victim.expect("done");
    work_until_finished(&mut paged, &pager, 1);
    paged.victim.begin("merge");
    println!("afterwards: {}", paged.victim.next_line());
}

fn on_hugetlbfs(pages: u64) -> Option<(OwnedFd, Paged)> {
    let free = |name: &str| -> u64 {
        let pool = "/sys/kernel/mm/hugepages/hugepages-2048kB";
        let number = fs::read_to_string(format!("{pool}/{name}")).unwrap_or_default();
        number.trim().parse().unwrap_or(0)
    };
    let mounted = detached(&[(c"pagesize", c"2M")], c"hugetlbfs");
    // Another test may use as many at the same time.
    let needed = 2 * pages / 512;
    let Some((file, path)) =
        mounted.filter(|_| free("free_hugepages") + free("nr_overcommit_hugepages") >= needed)
    else {
        println!("SKIP: {needed} free huge pages of 2 MiB are needed (sysctl vm.nr_hugepages)");
        return None;
    };
    Some((file, Paged::on("guest", path, pages)))
}

#[test]
fn on_hugetlbfs_whole_host_pages_are_missing() {
    const HOST_PAGE: u64 = 512;
    let Some((_file, mut paged)) = on_hugetlbfs(4 * HOST_PAGE) else { return };
    paged.ram.write(PageIndex(0), &contents(run(0, 4 * HOST_PAGE))).unwrap();
    paged.victim.order("check");
    paged.victim.order("spoil 600 601");
    let pager = paged.attach(&paged.some(run(600, 601)));
    assert_eq!(pager.missing(), paged.some(run(512, 1024)));
    let error = pager.fill(run(600, 601), &contents(run(600, 601))).unwrap_err();
    assert!(matches!(error, DemandError::PartOfHostPage { .. }), "{error}");
    paged.victim.begin("touch 700 701");
    assert_eq!(pager.next_fault(LONG).unwrap().unwrap().pages, run(512, 1024));
    drop(pager);
    let pager = paged.take_over(&paged.some(run(600, 601)));
    assert_eq!(pager.next_fault(LONG).unwrap().unwrap().pages, run(512, 1024));
    assert_eq!(deliver(&pager, run(0, 1024)).unwrap(), 512);
    paged.victim.expect("done");
    // What a former pager has filled is found when it is filled again.
    drop(pager);
    let pager = paged.take_over(&paged.some(run(600, 601)));
    assert_eq!(pager.missing().len(), Pages::new(512));
    paged.victim.order("work 2");
    deliver(&pager, run(512, 1024)).unwrap();
    pager.finish().unwrap();
    paged.victim.order("check");
    let pager = paged.attach(&paged.all());
    assert_eq!(pager.fill_zero(run(0, 512)).unwrap(), Pages::new(512));
    let ((), faults) = while_answered(&pager, || paged.victim.order("touch 3 4"));
    assert_eq!(faults, 0, "a hole that is zero is answered here");
    deliver(&pager, run(512, 4 * HOST_PAGE)).unwrap();
    pager.finish().unwrap();
}

#[test]
fn on_hugetlbfs_a_guest_at_work_finds_every_byte() {
    const HOST_PAGE: u64 = 512;
    let Some((_file, mut paged)) = on_hugetlbfs(4 * HOST_PAGE) else { return };
    let pager = paged.attach(&paged.all());
    work_until_finished(&mut paged, &pager, HOST_PAGE);
}
