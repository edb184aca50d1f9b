use std::fs;

use punctual_units::PageIndex;

use super::*;
use crate::demand::{Beforehand, Demand, Record};
use crate::trace::Pid;

/// The userfaultfds that a process has open.
fn userfaultfds(pid: Pid) -> usize {
    let entries = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).unwrap();
    let links = entries.map(|entry| fs::read_link(entry.unwrap().path()));
    links
        .filter(|link| link.as_ref().is_ok_and(|to| to.ends_with("anon_inode:[userfaultfd]")))
        .count()
}

#[test]
fn what_was_made_beforehand_is_what_watches() {
    let mut paged = Paged::start();
    let (pid, directory) = (paged.victim.pid(), tempfile::tempdir().unwrap());
    let record = Record::at(directory.path().join("missing"));
    paged.ram.write(PageIndex(10), &contents(run(3, 5))).unwrap();
    let mut beforehand = Beforehand::new(paged.ram.layout().pages());
    for page in [10, 11] {
        beforehand.forget("it", pid, &paged.ram, &paged.some(run(page, page + 1))).unwrap();
        assert_eq!((userfaultfds(pid), paged.watched_mappings()), (1, 0), "nothing waits yet");
    }
    let missing = paged.some(run(10, 40));
    let demand = beforehand.begin("it", pid, &paged.ram, &missing, record.clone()).unwrap();
    assert_eq!((userfaultfds(pid), demand.missing()), (1, missing));
    assert!(paged.watched_mappings() > 0 && record.exists());
    drop(beforehand);
    assert_eq!(userfaultfds(pid), 1, "it is in use");
    demand.fill(run(10, 40), &contents(run(10, 40))).unwrap();
    demand.finish().unwrap();
    assert_eq!((userfaultfds(pid), paged.watched_mappings()), (0, 0));
    paged.victim.order("touch 10 40");
}

#[test]
fn what_was_made_for_nothing_is_closed() {
    let paged = Paged::start();
    let pid = paged.victim.pid();
    let mut beforehand = Beforehand::new(paged.ram.layout().pages());
    beforehand.forget("it", pid, &paged.ram, &paged.some(run(10, 11))).unwrap();
    assert_eq!(userfaultfds(pid), 1);
    drop(beforehand);
    assert_eq!(userfaultfds(pid), 0);
}
