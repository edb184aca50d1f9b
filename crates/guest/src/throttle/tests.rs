use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::group::Version;
use super::*;

/// As systemd leaves a machine with both kinds, and one with the second kind alone.
const HYBRID: &str = "\
30 23 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/cpuset rw,nosuid shared:11 - cgroup cgroup rw,cpuset
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
";
const UNIFIED: &str = "\
30 23 0:26 /pod /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw
";

#[test]
fn the_controller_is_found_in_either_kind_of_hierarchy() {
    let hybrid = Hierarchy::among(HYBRID).unwrap();
    let mount = Path::new("/sys/fs/cgroup/cpu,cpuacct");
    assert_eq!((hybrid.version, hybrid.mount.as_path()), (Version::One, mount));
    let groups = "9:cpuset:/\n4:cpu,cpuacct:/machine/web\n0::/user.slice\n";
    assert_eq!(hybrid.group_among(groups), Some(mount.join("machine/web")));

    let unified = Hierarchy::among(UNIFIED).unwrap();
    assert_eq!(unified.version, Version::Two);
    let group = unified.group_among("0::/pod/machine\n");
    assert_eq!(group, Some("/sys/fs/cgroup/machine".into()));
    for outside in ["0::/elsewhere\n", "0::/pod/../above\n", "1:cpu:/pod\n"] {
        assert_eq!(unified.group_among(outside), None, "{outside}");
    }
    assert_eq!(Hierarchy::among("30 23 0:26 / /sys rw - sysfs sysfs rw\n"), None);
}

/// A thread of this process that works without pause.
struct Busy {
    thread: u32,
    end: Arc<AtomicBool>,
    handle: Option<thread::JoinHandle<()>>,
}

impl Busy {
    fn start() -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let (say, hear) = mpsc::channel();
        let ended = Arc::clone(&end);
        let handle = thread::spawn(move || {
            say.send(rustix::thread::gettid().as_raw_nonzero().get() as u32).unwrap();
            while !ended.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        Self { thread: hear.recv().unwrap(), end, handle: Some(handle) }
    }

    fn groups(&self) -> String {
        fs::read_to_string(format!("/proc/self/task/{}/cgroup", self.thread)).unwrap()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = self.handle.take().map(thread::JoinHandle::join);
    }
}

/// What is undone is undone for the whole process, so one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a thread of this process, unless this machine cannot.
fn taken(thread: u32) -> Option<Throttle> {
    match Throttle::take(std::process::id(), &[thread]) {
        Ok(throttle) => Some(throttle),
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}

/// How often the kernel has made a group wait.
fn throttled(group: &Path) -> u64 {
    let statistics = fs::read_to_string(group.join("cpu.stat")).unwrap();
    let line = statistics.lines().find_map(|line| line.strip_prefix("nr_throttled "));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn a_thread_is_slowed_down_and_set_free() {
    let _alone = alone();
    let (busy, idle) = (Busy::start(), Busy::start());
    let (before, others) = (busy.groups(), idle.groups());
    let Some(throttle) = taken(busy.thread) else { return };
    assert_ne!(busy.groups(), before);
    assert_eq!(idle.groups(), others, "it is this thread's alone");
    let group = throttle.groups[0].clone();

    let least = Probability::saturating(Throttle::LEAST);
    assert_eq!(throttle.leave(least).unwrap(), least);
    let patience = Instant::now() + Duration::from_secs(30);
    while throttled(&group) == 0 {
        assert!(Instant::now() < patience, "the kernel lets it run");
        thread::yield_now();
    }
    // Less than the kernel can deal out is as little as it can.
    assert_eq!(throttle.leave(Probability::saturating(0.0)).unwrap(), least);
    throttle.leave(Probability::saturating(1.0)).unwrap();

    throttle.leave(Probability::saturating(0.5)).unwrap();
    drop(throttle);
    assert_eq!(busy.groups(), before);
    assert!(!group.exists());
}

#[test]
fn what_somebody_left_who_is_gone_is_undone() {
    let _alone = alone();
    let busy = Busy::start();
    let before = busy.groups();
    let Some(throttle) = taken(busy.thread) else { return };
    throttle.leave(Probability::saturating(0.5)).unwrap();
    let group = throttle.groups[0].clone();
    // As if the daemon had been killed.
    std::mem::forget(throttle);
    assert!(undo(std::process::id()).unwrap());
    assert_eq!(busy.groups(), before);
    assert!(!group.exists());
    assert!(!undo(std::process::id()).unwrap());
}

#[test]
fn a_thread_that_is_gone_is_an_error_that_leaves_nothing() {
    let _alone = alone();
    let gone = {
        let busy = Busy::start();
        busy.thread
    };
    match Throttle::take(std::process::id(), &[gone]) {
        Ok(_) => panic!("there is no such thread"),
        Err(error) => assert!(error.to_string().contains("throttle-unavailable"), "{error}"),
    }
    assert!(!undo(std::process::id()).unwrap());
}
