//! What the test program does when it is started again as a process to be traced.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Tracer;
use crate::Ram;

pub(crate) const ROLE: &str = "PUNCTUAL_TEST_ROLE";
pub(crate) const ARGUMENT: &str = "PUNCTUAL_TEST_ARGUMENT";
/// How long each system call waits; so long is one round of a victim.
const WAIT: Duration = Duration::from_millis(50);
const PAGE: usize = 4096;

static END: AtomicBool = AtomicBool::new(false);

/// Other tests start it as a process of its own, with a role; among them it has none and ends.
#[test]
fn victim() {
    let argument = std::env::var(ARGUMENT).unwrap_or_default();
    match std::env::var(ROLE).as_deref() {
        Ok("waiter") => wait_in_every_way(),
        Ok("writer") => write_by_order(&argument),
        Ok("nobody") => {
            // SAFETY: plain system calls on this process alone.
            unsafe {
                assert_eq!(libc::setgid(65534), 0);
                assert_eq!(libc::setuid(65534), 0);
                libc::prctl(libc::PR_SET_DUMPABLE, 1);
            }
            write_by_order(&argument);
        }
        Ok("sandboxed") => {
            deny_userfaultfd();
            write_by_order(&argument);
        }
        Ok("tracer") => trace_for_ever(&argument),
        _ => {}
    }
}

/// Threads in system calls that wait. Each must end by its time and not by EINTR.
fn wait_in_every_way() {
    catch_signals();
    let spawn = |name: &str, wait: fn() -> i64, ends_by_itself: bool| {
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while !END.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let result = wait();
                    let error = std::io::Error::last_os_error();
                    let interrupted = result == -1 && error.raw_os_error() == Some(libc::EINTR);
                    let name = std::thread::current();
                    assert!(!interrupted, "{name:?} saw EINTR");
                    let early = ends_by_itself && begun.elapsed() < WAIT - Duration::from_millis(1);
                    assert!(!early, "{name:?} returned {result} ({error}) too early");
                }
            })
            .unwrap()
    };
    let threads = [
        spawn("ppoll", ppoll, true),
        spawn("nanosleep", nanosleep, true),
        spawn("futex", futex, true),
        spawn("epoll", epoll, true),
        spawn("pipe", read_pipe, false),
        spawn("compute", compute, false),
    ];
    println!("ready");
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).unwrap();
    END.store(true, Ordering::Relaxed);
    for thread in threads {
        if thread.join().is_err() {
            std::process::exit(3);
        }
    }
}

fn timespec() -> libc::timespec {
    libc::timespec { tv_sec: 0, tv_nsec: WAIT.as_nanos() as i64 }
}

fn ppoll() -> i64 {
    let time = timespec();
    // SAFETY: no descriptors, a time that outlives the call.
    let result = unsafe { libc::ppoll(std::ptr::null_mut(), 0, &raw const time, std::ptr::null()) };
    result.into()
}

fn nanosleep() -> i64 {
    let time = timespec();
    // SAFETY: a time that outlives the call.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) }.into()
}

fn futex() -> i64 {
    let (word, time) = (0_u32, timespec());
    let wait = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: a word and a time that outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_futex, &raw const word, wait, 0, &raw const time) };
    let error = std::io::Error::last_os_error().raw_os_error();
    if result == -1 && error == Some(libc::ETIMEDOUT) { 0 } else { result }
}

fn epoll() -> i64 {
    // SAFETY: one event that outlives the call, and a descriptor closed once.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let result = libc::epoll_wait(epoll, &raw mut event, 1, WAIT.as_millis() as i32);
        let error = *libc::__errno_location();
        libc::close(epoll);
        *libc::__errno_location() = error;
        result.into()
    }
}

fn read_pipe() -> i64 {
    let (reader, writer) = std::io::pipe().unwrap();
    let later = std::thread::spawn(move || {
        std::thread::sleep(WAIT);
        drop(writer);
    });
    let mut byte = 0_u8;
    // SAFETY: one byte that outlives the call.
    let result = unsafe { libc::read(reader.as_raw_fd(), (&raw mut byte).cast(), 1) };
    later.join().unwrap();
    result as i64
}

/// Arithmetic whose result shows a register that was lost.
fn compute() -> i64 {
    let chain = |seed: u64| {
        let (mut whole, mut broken) = (seed, seed as f64);
        for step in 0..200_000_u64 {
            whole = whole.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step);
            broken = broken.mul_add(0.5, step as f64).sqrt();
        }
        (whole, broken.to_bits())
    };
    assert_eq!(chain(7), chain(std::hint::black_box(7)), "a register was lost");
    0
}

/// A handler that must go on being called, and a mask that must stay.
fn catch_signals() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing; the timer is this process's own.
    unsafe {
        libc::signal(libc::SIGTRAP, nothing as *const () as libc::sighandler_t);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Maps the file and writes into it as told: `write A B`, `read A B` (the kernel writes),
/// `punch A B`, `zap A B`.
fn write_by_order(path: &str) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    // The file is seen twice: as a whole, and its second half once more.
    let whole = map(&file, 0, length);
    let again = map(&file, length / 2, length / 2);
    let source = File::open("/proc/self/exe").unwrap();
    println!("ready");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let [order, from, to] = words[..] else { panic!("{line}") };
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let range = (from * PAGE, (to - from) * PAGE);
        // SAFETY: inside of the mapping; nothing else is kept there.
        unsafe {
            match order {
                "write" => (from..to).for_each(|page| touch(whole.add(page * PAGE + page % PAGE))),
                "again" => (from..to).for_each(|page| touch(again.add(page * PAGE - length / 2))),
                "read" => {
                    let into = whole.add(range.0).cast();
                    let got = libc::pread(source.as_raw_fd(), into, range.1, 0);
                    assert_eq!(got, range.1 as isize);
                }
                "punch" => {
                    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                    let (at, length) = (range.0 as i64, range.1 as i64);
                    assert_eq!(libc::fallocate(file.as_raw_fd(), how, at, length), 0);
                }
                "zap" => {
                    let at = whole.add(range.0).cast();
                    assert_eq!(libc::madvise(at, range.1, libc::MADV_DONTNEED), 0);
                }
                _ => panic!("{line}"),
            }
        }
        println!("done");
    }
    let _ = source.read_at(&mut [0], 0);
}

fn map(file: &File, offset: usize, length: usize) -> *mut u8 {
    // SAFETY: a new mapping at a place that the kernel chooses.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            offset as i64,
        )
    };
    assert_ne!(address, libc::MAP_FAILED);
    address.cast()
}

unsafe fn touch(byte: *mut u8) {
    // SAFETY: the caller names a byte of its mapping.
    unsafe { byte.write_volatile(byte.read_volatile().wrapping_add(1)) }
}

/// A filter that kills whoever calls userfaultfd.
fn deny_userfaultfd() {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut steps = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_userfaultfd as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let filter = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: a filter that outlives the call; it binds this process alone.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
        let set = libc::SECCOMP_SET_MODE_FILTER;
        assert_eq!(libc::syscall(libc::SYS_seccomp, set, flags, &raw const filter), 0);
    }
}

/// Begins and ends to trace the process `PID FILE` until it is killed.
fn trace_for_ever(argument: &str) {
    let (pid, path) = argument.split_once(' ').unwrap();
    let pid = super::Pid::from_raw(pid.parse().unwrap()).unwrap();
    let ram: Ram = super::writing::open(path.as_ref());
    println!("ready");
    loop {
        match Tracer::attach(pid, &ram) {
            Ok(tracer) => println!("stopped for {:?}", tracer.stopped()),
            Err(error) => println!("{error}"),
        }
    }
}
