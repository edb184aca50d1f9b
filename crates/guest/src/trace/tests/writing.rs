use std::fs::OpenOptions;
use std::path::Path;

use punctual_units::{Bytes, MemoryLayout, PageRange, PageSet, Pages, Region};

use super::*;
use crate::Ram;

const PAGES: u64 = 2048;

fn layout(pages: u64) -> MemoryLayout {
    let size = Pages::new(pages).bytes();
    MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size }]).unwrap()
}

pub(super) fn create(path: &Path, pages: u64) -> Ram {
    let ram = Ram::create(layout(pages), &[path.to_owned()]).unwrap();
    std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    ram
}

pub(super) fn open(path: &Path) -> Ram {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let size = Bytes::new(file.metadata().unwrap().len());
    Ram::open(layout(size.pages().get()), vec![file]).unwrap()
}

/// A traced process that has mapped RAM of its own.
struct Traced {
    victim: Victim,
    tracer: Tracer,
    ram: Ram,
    _directory: tempfile::TempDir,
}

impl Traced {
    fn start(role: &str, first: &[&str]) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), permissions).unwrap();
        let path = directory.path().join("ram");
        let ram = create(&path, PAGES);
        let mut victim = Victim::start(role, path.to_str().unwrap());
        first.iter().for_each(|order| victim.order(order));
        let tracer = Tracer::attach(victim.pid(), &ram).unwrap();
        Self { victim, tracer, ram, _directory: directory }
    }

    fn order(&mut self, order: &str) {
        self.victim.order(order);
    }

    fn collect_among(&mut self, pages: &[PageRange]) -> Vec<PageRange> {
        let mut among = PageSet::empty(self.ram.layout().pages());
        pages.iter().for_each(|run| among.insert_range(*run));
        let mut written = PageSet::empty(self.ram.layout().pages());
        self.tracer.collect_among(&among, &mut written).unwrap();
        written.ranges().collect()
    }

    fn collect(&mut self) -> Vec<PageRange> {
        let mut written = PageSet::empty(self.ram.layout().pages());
        self.tracer.collect(&mut written).unwrap();
        written.ranges().collect()
    }
}

fn run(start: u64, end: u64) -> PageRange {
    PageRange::new(start, end)
}

#[test]
fn exactly_what_is_written_is_reported_once() {
    let mut traced = Traced::start("writer", &["write 0 700"]);
    assert_eq!(traced.collect(), [], "written before the tracing began");
    traced.order("write 5 6"); // populated
    traced.order("write 699 703"); // populated and not
    traced.order("write 2047 2048"); // never touched before
    assert_eq!(traced.collect(), [run(5, 6), run(699, 703), run(2047, 2048)]);
    assert_eq!(traced.collect(), []);
    traced.order("write 5 6");
    assert_eq!(traced.collect(), [run(5, 6)]);
}

#[test]
fn a_second_mapping_is_traced_as_well() {
    let mut traced = Traced::start("writer", &["write 1024 1030"]);
    traced.order("again 1024 1026");
    traced.order("again 2047 2048");
    assert_eq!(traced.collect(), [run(1024, 1026), run(2047, 2048)]);
}

#[test]
fn what_the_kernel_writes_for_the_process_is_seen() {
    let mut traced = Traced::start("writer", &["write 0 20"]);
    traced.order("read 10 30");
    assert_eq!(traced.collect(), [run(10, 30)]);
}

#[test]
fn a_process_without_privileges_is_traced_too() {
    let mut traced = Traced::start("nobody", &["write 0 20"]);
    traced.order("read 10 30");
    traced.order("write 100 101");
    assert_eq!(traced.collect(), [run(10, 30), run(100, 101)]);
}

#[test]
fn pages_looked_for_are_reported_and_far_ones_stay() {
    let mut traced = Traced::start("writer", &["write 0 700"]);
    for written in ["write 5 6", "write 8 9", "write 300 310", "write 2047 2048"] {
        traced.order(written);
    }
    assert_eq!(traced.collect_among(&[run(100, 101), run(600, 700)]), []);
    assert_eq!(traced.collect_among(&[run(302, 304)]), [run(302, 304)]);
    assert_eq!(traced.collect_among(&[run(302, 304)]), []);
    // What lies between two pages that are looked for may come along.
    assert_eq!(traced.collect_among(&[run(5, 6), run(8, 9)]), [run(5, 6), run(8, 9)]);
    assert_eq!(traced.collect(), [run(300, 302), run(304, 310), run(2047, 2048)]);
    traced.order("write 2047 2048");
    assert_eq!(traced.collect_among(&[run(0, 2048)]), [run(2047, 2048)]);
    assert_eq!(traced.collect_among(&[]), []);
}

#[test]
fn a_tracer_that_begins_anew_forgets_and_injects_nothing() {
    let Traced { mut victim, tracer, ram, _directory } = Traced::start("writer", &["write 0 20"]);
    victim.order("write 4 9");
    let (stopped, files) = (tracer.stopped(), victim.open_files());
    let mut tracer = tracer.begin_anew(&ram).unwrap();
    // Another injection would have taken another time.
    assert_eq!((tracer.stopped(), victim.open_files()), (stopped, files));
    victim.order("write 6 7");
    let mut written = PageSet::empty(ram.layout().pages());
    tracer.collect(&mut written).unwrap();
    assert_eq!(written.ranges().collect::<Vec<_>>(), [run(6, 7)]);
}

#[test]
fn a_page_written_and_dropped_from_the_page_table_is_seen() {
    let mut traced = Traced::start("writer", &["write 0 20"]);
    traced.order("write 7 9");
    traced.order("zap 0 20");
    let found = traced.collect();
    assert!(found.iter().any(|run| run.start.0 <= 7 && run.end.0 >= 9), "{found:?}");
    traced.order("write 3 4");
    let found = traced.collect();
    assert!(found.iter().any(|run| run.start.0 <= 3 && run.end.0 >= 4), "{found:?}");
}

#[test]
fn memory_given_back_is_told_by_the_file_only() {
    let mut traced = Traced::start("writer", &["write 0 20"]);
    traced.order("punch 4 6");
    let found = traced.collect();
    let populated: Vec<_> = traced.ram.populated().unwrap().ranges().collect();
    assert_eq!(populated, [run(0, 4), run(6, 20)]);
    println!("a page given back is {}", if found.is_empty() { "not reported" } else { "reported" });
    traced.order("write 5 6");
    assert!(traced.collect().contains(&run(5, 6)));
}

#[test]
fn more_runs_than_one_scan_returns_are_all_found() {
    let mut traced = Traced::start("writer", &["write 0 2048"]);
    for page in (0..PAGES).step_by(2) {
        traced.order(&format!("write {page} {}", page + 1));
    }
    assert_eq!(traced.collect().len() as u64, PAGES / 2);
}

#[test]
fn the_end_of_a_tracer_leaves_nothing() {
    let Traced { mut victim, tracer, ram, _directory } = Traced::start("writer", &["write 0 20"]);
    assert_eq!(victim.watched_mappings(), 2);
    let second = Tracer::attach(victim.pid(), &ram).unwrap_err();
    assert!(matches!(second, TraceError::AlreadyWatched { .. }), "{second}");
    drop(tracer);
    assert_eq!(victim.watched_mappings(), 0);
    let files = victim.open_files();
    let again = Tracer::attach(victim.pid(), &ram).unwrap();
    assert_eq!(victim.open_files(), files, "a descriptor stayed open");
    drop(again);
    victim.order("write 0 2048");
    assert!(victim.finish().success());
}

#[test]
fn a_tracer_that_is_killed_leaves_nothing() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("ram");
    create(&path, PAGES);
    let mut victim = Victim::start("writer", path.to_str().unwrap());
    victim.order("write 0 20");
    let argument = format!("{} {}", victim.pid().as_raw_pid(), path.display());
    for killing in 0..25 {
        let tracer = Victim::start("tracer", &argument);
        eventually("traced", || victim.watched_mappings() > 0);
        // Killed at some moment of its endless attaching and detaching.
        let pause = std::time::Duration::from_micros(killing * 97 % 1900);
        let moment = std::time::Instant::now() + pause;
        while std::time::Instant::now() < moment {}
        drop(tracer);
        victim.order("write 0 30");
        eventually("not watched any more", || victim.watched_mappings() == 0);
    }
    assert!(victim.finish().success());
}

#[test]
fn the_end_of_the_process_is_told() {
    let mut traced = Traced::start("writer", &["write 0 20"]);
    traced.order("write 4 5");
    traced.victim.child.kill().unwrap();
    traced.victim.child.wait().unwrap();
    let mut written = PageSet::empty(traced.ram.layout().pages());
    let error = traced.tracer.collect(&mut written).unwrap_err();
    assert!(matches!(error, TraceError::Gone { .. }), "{error}");
}

#[test]
fn ram_that_the_process_has_not_mapped_is_refused_by_name() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("ram");
    let other = create(&directory.path().join("other"), PAGES);
    create(&path, PAGES);
    let victim = Victim::start("writer", path.to_str().unwrap());
    let error = Tracer::attach(victim.pid(), &other).unwrap_err();
    assert!(error.to_string().contains("`ram0`"), "{error}");
    assert!(matches!(error, TraceError::NotMapped { .. }), "{error}");
}

#[test]
fn huge_pages_are_traced() {
    let (ram, file) = match crate::ram::tests::huge_memory(8) {
        Ok(made) => made,
        Err(reason) => return println!("SKIP: {reason}"),
    };
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&file);
    let path = format!("/proc/{}/fd/{descriptor}", std::process::id());
    let mut victim = Victim::start("writer", &path);
    victim.order("write 0 1");
    let mut tracer = Tracer::attach(victim.pid(), &ram).unwrap();
    let mut collect = || {
        let mut written = PageSet::empty(ram.layout().pages());
        tracer.collect(&mut written).unwrap();
        written.ranges().collect::<Vec<_>>()
    };
    assert_eq!(collect(), []);
    victim.order("write 700 701");
    victim.order("write 3 4");
    assert_eq!(collect(), [run(0, 1024)], "two whole huge pages");
    victim.order("again 2048 2049");
    assert_eq!(collect(), [run(2048, 2560)]);
    assert_eq!(collect(), []);
    victim.order("again 2048 2049");
    let mut among = PageSet::empty(ram.layout().pages());
    among.insert_range(run(2100, 2101));
    let mut written = PageSet::empty(ram.layout().pages());
    tracer.collect_among(&among, &mut written).unwrap();
    assert_eq!(written.ranges().collect::<Vec<_>>(), [run(2048, 2560)]);
}

/// A tmpfs of transparent huge pages, unmounted at the end of the test.
struct HugeMount(tempfile::TempDir);

impl HugeMount {
    fn new() -> Result<Self, String> {
        use nix::mount::{MsFlags, mount};
        let directory = tempfile::tempdir().unwrap();
        let options = Some("huge=always,size=64m");
        mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), options)
            .map_err(|error| format!("a tmpfs with huge=always cannot be mounted: {error}"))?;
        Ok(Self(directory))
    }
}

impl Drop for HugeMount {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn transparent_huge_pages_are_traced_page_by_page() {
    let mount = match HugeMount::new() {
        Ok(mount) => mount,
        Err(reason) => return println!("SKIP: {reason}"),
    };
    let path = mount.0.path().join("ram");
    let ram = create(&path, PAGES);
    let mut victim = Victim::start("writer", path.to_str().unwrap());
    victim.order("write 0 2048");
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", victim.pid().as_raw_pid())).unwrap();
    let huge = |line: &&str| line.starts_with("ShmemPmdMapped:") && !line.contains(" 0 kB");
    if smaps.lines().filter(huge).count() == 0 {
        return println!("SKIP: the kernel gave no huge pages");
    }
    let mut tracer = Tracer::attach(victim.pid(), &ram).unwrap();
    let mut collect = || {
        let mut written = PageSet::empty(ram.layout().pages());
        tracer.collect(&mut written).unwrap();
        written.ranges().collect::<Vec<_>>()
    };
    assert_eq!(collect(), []);
    victim.order("write 700 701");
    assert_eq!(collect(), [run(700, 701)]);
    victim.order("again 1600 1700");
    assert_eq!(collect(), [run(1600, 1700)]);
    assert_eq!(collect(), []);
}
