//! What a page on demand costs whoever waits for it: from the touch of a missing page to its content,
//! by each way that the kernel has to answer (without a network: the content is at hand). And what
//! each page costs that is pushed before anybody asks for it.
//!
//! The three ways are tried within this process. The last line is a `Pager` and another process.
//!
//! `cargo run --release -p punctual-guest --example fault_cost`

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use linux_raw_sys::general as raw;
use punctual_guest::Ram;
use punctual_guest::demand::Pager;
use punctual_guest::trace::Pid;
use punctual_units::{Bytes, MemoryLayout, PAGE_SIZE, PageRange, PageSet, Region};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, UserfaultfdFlags, mmap, munmap, userfaultfd};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const RAM: Bytes = Bytes::mib(64);
const PAGE: usize = PAGE_SIZE.get() as usize;
/// How many pages are pushed at once where many are.
const RUN: usize = 256;
const SHORT: Duration = Duration::from_millis(20);

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path] = &arguments[..]
        && role == "touch"
    {
        return touch_for_another(path.as_ref());
    }
    println!("| way | fault to content, median | p99 | pushed, each of one | each of {RUN} |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, way) in [
        ("pwrite + UFFDIO_WAKE", Way::Write),
        ("UFFDIO_COPY", Way::Copy),
        ("MINOR: pwrite + UFFDIO_CONTINUE", Way::Continue),
    ] {
        let times = Arena::new(way)?.faults()?;
        print(name, times, Arena::new(way)?.push(1), Arena::new(way)?.push(RUN));
    }
    let times = Paged::start()?.faults()?;
    print("Pager, another process", times, Paged::start()?.push(1)?, Paged::start()?.push(RUN)?);
    Ok(())
}

fn print(name: &str, mut times: Vec<Duration>, single: Duration, run: Duration) {
    times.sort();
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("| {name} | {median:.1?} | {p99:.1?} | {single:.2?} | {run:.2?} |");
}

/// How a missing page is filled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Write,
    Copy,
    Continue,
}

mod request {
    use linux_raw_sys::general::{
        uffdio_api, uffdio_continue, uffdio_copy, uffdio_range, uffdio_register,
    };

    nix::ioctl_readwrite!(api, 0xAA, 0x3F, uffdio_api);
    nix::ioctl_readwrite!(register, 0xAA, 0x00, uffdio_register);
    nix::ioctl_read!(wake, 0xAA, 0x02, uffdio_range);
    nix::ioctl_readwrite!(copy, 0xAA, 0x03, uffdio_copy);
    nix::ioctl_readwrite!(proceed, 0xAA, 0x07, uffdio_continue);
}

/// Memory of this process whose pages are missing.
struct Arena {
    way: Way,
    file: File,
    start: usize,
    userfaultfd: OwnedFd,
}

impl Arena {
    fn new(way: Way) -> Outcome<Self> {
        let file = File::from(memfd_create("fault_cost", MemfdFlags::CLOEXEC)?);
        file.set_len(RAM.get())?;
        let start = map(&file)?;
        // SAFETY: nothing is watched yet.
        let userfaultfd =
            unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK)? };
        let minor = if way == Way::Continue { raw::UFFD_FEATURE_MINOR_SHMEM } else { 0 };
        let features = u64::from(raw::UFFD_FEATURE_MISSING_SHMEM | minor);
        let mut api = raw::uffdio_api { api: raw::UFFD_API.into(), features, ioctls: 0 };
        let minor = if way == Way::Continue { raw::UFFDIO_REGISTER_MODE_MINOR } else { 0 };
        let mut register = raw::uffdio_register {
            range: raw::uffdio_range { start: start as u64, len: RAM.get() },
            mode: (raw::UFFDIO_REGISTER_MODE_MISSING | minor).into(),
            ioctls: 0,
        };
        // SAFETY: the structs that the requests read and write.
        unsafe {
            request::api(userfaultfd.as_raw_fd(), &raw mut api)?;
            request::register(userfaultfd.as_raw_fd(), &raw mut register)?;
        }
        Ok(Self { way, file, start, userfaultfd })
    }

    /// How long each page takes whoever touches it.
    fn faults(&self) -> Outcome<Vec<Duration>> {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let toucher = scope.spawn(|| {
                let times = touch_all(self.start);
                ended.store(true, Ordering::Relaxed);
                times
            });
            let content = [7; PAGE];
            let timeout = Timespec::try_from(SHORT)?;
            while !ended.load(Ordering::Relaxed) {
                poll(&mut [PollFd::new(&self.userfaultfd, PollFlags::IN)], Some(&timeout))?;
                let mut message = [0_u8; size_of::<raw::uffd_msg>()];
                if rustix::io::read(&self.userfaultfd, &mut message).is_err() {
                    continue;
                }
                let address = u64::from_ne_bytes(*message[16..].first_chunk().ok_or("a message")?);
                self.answer(address as usize / PAGE * PAGE - self.start, &content)?;
            }
            toucher.join().map_err(|_| "the toucher panicked".into())
        })
    }

    fn answer(&self, offset: usize, content: &[u8]) -> Outcome<()> {
        self.fill(offset, content)?;
        let (start, len) = ((self.start + offset) as u64, content.len() as u64);
        let mut range = raw::uffdio_range { start, len };
        let mut proceed = raw::uffdio_continue { range, mode: 0, mapped: 0 };
        // SAFETY: the structs that the requests read and write.
        unsafe {
            match self.way {
                Way::Copy => 0,
                Way::Write => request::wake(self.userfaultfd.as_raw_fd(), &raw mut range)?,
                Way::Continue => request::proceed(self.userfaultfd.as_raw_fd(), &raw mut proceed)?,
            }
        };
        Ok(())
    }

    fn fill(&self, offset: usize, content: &[u8]) -> Outcome<()> {
        let mut copy = raw::uffdio_copy {
            dst: (self.start + offset) as u64,
            src: content.as_ptr().expose_provenance() as u64,
            len: content.len() as u64,
            mode: 0,
            copy: 0,
        };
        match self.way {
            Way::Write | Way::Continue => self.file.write_all_at(content, offset as u64)?,
            Way::Copy => {
                // SAFETY: the struct that the request reads and writes; it fills memory that
                // nobody has a reference to.
                unsafe { request::copy(self.userfaultfd.as_raw_fd(), &raw mut copy)? };
            }
        }
        Ok(())
    }

    /// What one page costs that is filled before anybody wants it, so many at a time.
    fn push(&self, pages: usize) -> Duration {
        let content = vec![7; pages * PAGE];
        time_for_all(pages, |first| {
            self.fill(first * PAGE, &content).expect("a missing page can be filled");
        })
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; no reference to it was ever made.
        let _ = unsafe { munmap(self.start as *mut _, RAM.get() as usize) };
    }
}

/// A process whose RAM is missing, and its pager.
struct Paged {
    child: Child,
    answers: BufReader<ChildStdout>,
    pager: Pager,
    path: PathBuf,
}

impl Paged {
    fn start() -> Outcome<Self> {
        let path = PathBuf::from(format!("/dev/shm/punctual-example-{}", std::process::id()));
        let layout = MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size: RAM }])?;
        let ram = Ram::create(layout, std::slice::from_ref(&path))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["touch".as_ref(), path.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("stdout is a pipe")?);
        answers.read_line(&mut String::new())?;
        let missing = PageSet::full(ram.layout().pages());
        let pager = Pager::attach(Pid::from_child(&child), &ram, &missing)?;
        Ok(Self { child, answers, pager, path })
    }

    fn faults(mut self) -> Outcome<Vec<Duration>> {
        writeln!(self.child.stdin.as_ref().ok_or("stdin is a pipe")?)?;
        let content = [7; PAGE];
        while !self.pager.missing().is_empty() {
            if let Some(fault) = self.pager.next_fault(SHORT)? {
                self.pager.fill(fault.pages, &content)?;
            }
        }
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let times = line.split_whitespace().map(|time| time.parse().map(Duration::from_nanos));
        let times = times.collect::<Result<_, _>>()?;
        self.pager.finish()?;
        Ok(times)
    }

    fn push(self, pages: usize) -> Outcome<Duration> {
        let content = vec![7; pages * PAGE];
        let each = time_for_all(pages, |first| {
            let run = PageRange::new(first as u64, (first + pages) as u64);
            self.pager.fill(run, &content).expect("a missing page can be filled");
        });
        self.pager.finish()?;
        Ok(each)
    }
}

impl Drop for Paged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn touch_for_another(path: &Path) -> Outcome<()> {
    let start = map(&OpenOptions::new().read(true).write(true).open(path)?)?;
    println!("ready");
    for line in stdin().lock().lines() {
        line?;
        let times: Vec<_> =
            touch_all(start).iter().map(|time| time.as_nanos().to_string()).collect();
        println!("{}", times.join(" "));
        stdout().flush()?;
    }
    Ok(())
}

/// Reads a byte of every page, in an order that looks random, and tells how long each took.
fn touch_all(start: usize) -> Vec<Duration> {
    const STEP: usize = 7919; // a prime
    let pages = RAM.get() as usize / PAGE;
    let touch = |index: usize| {
        let page = index * STEP % pages;
        let begun = Instant::now();
        // SAFETY: a byte of the mapping, which stays until all have been touched.
        black_box(unsafe { ((start + page * PAGE) as *const u8).read_volatile() });
        begun.elapsed()
    };
    (0..pages).map(touch).collect()
}

fn time_for_all(pages: usize, mut push: impl FnMut(usize)) -> Duration {
    let all = RAM.get() as usize / PAGE;
    let begun = Instant::now();
    (0..all).step_by(pages).for_each(&mut push);
    begun.elapsed() / all as u32
}

fn map(file: &File) -> Outcome<usize> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let (anywhere, length) = (std::ptr::null_mut(), RAM.get() as usize);
    // SAFETY: a new mapping at a place that the kernel chooses.
    let start = unsafe { mmap(anywhere, length, access, MapFlags::SHARED, file.as_fd(), 0)? };
    Ok(start.expose_provenance())
}
