use super::super::inject::{userfaultfd, userfaultfd_by};
use super::super::target::Target;
use super::*;

#[test]
fn no_system_call_in_flight_is_disturbed() {
    let victim = Victim::start("waiter", "");
    let target = Target::open(victim.pid()).unwrap();
    let files = victim.open_files();
    let mut stops = Vec::new();
    for _ in 0..40 {
        for name in ["ppoll", "nanosleep", "futex", "epoll", "pipe", "compute"] {
            let injected = userfaultfd_by(&target, victim.thread(name)).unwrap();
            stops.push(injected.stopped);
        }
    }
    stops.sort();
    let (median, longest) = (stops[stops.len() / 2], stops[stops.len() - 1]);
    println!("a thread stood still for {median:?} (median), {longest:?} (longest)");
    let pipes_of_its_own = 8;
    assert!(victim.open_files() <= files + pipes_of_its_own, "a descriptor stayed open");
    assert!(victim.finish().success());
}

#[test]
fn signal_masks_and_handlers_stay() {
    let victim = Victim::start("waiter", "");
    let target = Target::open(victim.pid()).unwrap();
    let signals = |thread: i32| -> Vec<String> {
        let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
        status
            .lines()
            .filter(|line| line.starts_with("Sig") && !line.starts_with("SigQ"))
            .map(str::to_owned)
            .collect()
    };
    for name in ["ppoll", "epoll", "futex"] {
        let thread = victim.thread(name);
        let before = signals(thread);
        userfaultfd_by(&target, thread).unwrap();
        assert_eq!(signals(thread), before, "{name}");
    }
    assert!(victim.finish().success());
}

#[test]
fn a_stopped_process_can_be_traced_and_stays_stopped() {
    // Its thread in epoll_wait complains when it goes on: that EINTR is the kernel's (signal(7)).
    let victim = Victim::start("waiter", "");
    let target = Target::open(victim.pid()).unwrap();
    let pid = victim.pid();
    let state = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap();
        stat[stat.rfind(')').unwrap()..].chars().nth(2).unwrap()
    };
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    eventually("stopped", || state() == 'T');
    userfaultfd(&target).unwrap();
    eventually("stopped again", || state() == 'T');
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    eventually("running", || state() != 'T');
    drop(victim);
}

#[test]
fn a_process_under_a_debugger_is_refused_by_name() {
    let victim = Victim::start("waiter", "");
    let target = Target::open(victim.pid()).unwrap();
    let pid = nix::unistd::Pid::from_raw(victim.pid().as_raw_pid());
    nix::sys::ptrace::seize(pid, nix::sys::ptrace::Options::empty()).unwrap();
    let error = userfaultfd_by(&target, target.pid()).unwrap_err();
    let me = rustix::thread::gettid().as_raw_pid();
    assert!(matches!(error, TraceError::AlreadyTraced { tracer, .. } if tracer == me), "{error}");
}

#[test]
fn a_process_that_ended_is_gone() {
    let mut victim = Victim::start("waiter", "");
    let target = Target::open(victim.pid()).unwrap();
    victim.child.kill().unwrap();
    victim.child.wait().unwrap();
    let error = userfaultfd(&target).unwrap_err();
    assert!(matches!(error, TraceError::Gone { .. }), "{error}");
    assert!(matches!(Target::open(victim.pid()), Err(TraceError::Gone { .. })));
}

#[test]
fn a_seccomp_filter_that_would_kill_does_not() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("ram");
    let ram = super::writing::create(&path, 64);
    let mut victim = Victim::start("sandboxed", path.to_str().unwrap());
    let tracer = match Tracer::attach(victim.pid(), &ram) {
        Err(TraceError::Seccomp { .. }) => {
            println!("SKIP: a seccomp filter can be suspended only with CAP_SYS_ADMIN");
            return;
        }
        other => other.unwrap(),
    };
    victim.order("write 3 4");
    drop(tracer);
    assert!(victim.finish().success());
}
