//! How long it takes until a process can be paged on demand: a part of the interruption of a move by
//! post-copy. First nothing of the RAM has been copied, then all of it, of which some is out of date
//! and has to be taken away.
//!
//! `cargo run --release -p punctual-guest --example paging_begins [DIRECTORY]`
//!
//! DIRECTORY (`/dev/shm`) is on a tmpfs; one that is mounted with `huge=within_size` shows what taking
//! single pages out of huge ones costs.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, stdin};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use punctual_guest::Ram;
use punctual_guest::demand::{Beforehand, Demand, Record};
use punctual_guest::trace::Pid;
use punctual_units::{
    Bytes, MemoryLayout, PAGE_SIZE, PageIndex, PageRange, PageSet, Pages, Region,
};
use rustix::mm::{MapFlags, ProtFlags, mmap};

type Outcome<T> = Result<T, Box<dyn Error>>;

const RAM: Bytes = Bytes::mib(512);
const STALE: u64 = 20_000;
const RUNS: usize = 5;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path] = &arguments[..]
        && role == "hold"
    {
        return hold(path.as_ref());
    }
    let place = PathBuf::from(arguments.first().map_or("/dev/shm", String::as_str));
    println!("| missing of {RAM} | copied | to begin | taken away before | and to begin then |");
    println!("| --- | --- | ---: | ---: | ---: |");
    row(&place, "all", "nothing", &PageSet::full(RAM.pages()), false)?;
    row(&place, "all", "all", &PageSet::full(RAM.pages()), true)?;
    for run in [1, 16] {
        let name = format!("{STALE} pages in runs of {run}");
        row(&place, &name, "all", &scattered(run), true)?;
    }
    Ok(())
}

/// Prints medians.
fn row(place: &Path, name: &str, copied: &str, missing: &PageSet, populated: bool) -> Outcome<()> {
    let mut times: [Vec<Duration>; 3] = Default::default();
    for _ in 0..RUNS {
        let (_, at_once) = Machine::start(place, populated)?.begin(missing, false)?;
        let (punched, then) = Machine::start(place, populated)?.begin(missing, true)?;
        times.iter_mut().zip([at_once, punched, then]).for_each(|(all, time)| all.push(time));
    }
    times.iter_mut().for_each(|all| all.sort());
    let [at_once, punched, then] = times.map(|all| all[RUNS / 2]);
    println!("| {name} | {copied} | {at_once:.1?} | {punched:.1?} | {then:.1?} |");
    Ok(())
}

/// As many pages as are stale, in runs of `run` that lie anywhere.
fn scattered(run: u64) -> PageSet {
    let mut chosen = PageSet::empty(RAM.pages());
    let mut state = 1_u64;
    while chosen.len() < Pages::new(STALE) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let start = (state >> 33) % (RAM.pages().get() / run) * run;
        chosen.insert_range(PageRange::new(start, start + run));
    }
    chosen
}

/// A process that has mapped RAM and does nothing.
struct Machine {
    child: Child,
    ram: Ram,
    path: PathBuf,
    record: PathBuf,
}

impl Machine {
    fn start(place: &Path, populated: bool) -> Outcome<Self> {
        let path = place.join(format!("punctual-example-{}", std::process::id()));
        let record = path.with_extension("missing");
        let layout = MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size: RAM }])?;
        let ram = Ram::create(layout, std::slice::from_ref(&path))?;
        if populated {
            let content = vec![7; Bytes::mib(1).get() as usize];
            for start in (0..RAM.pages().get()).step_by(content.len() / PAGE_SIZE.get() as usize) {
                ram.write(PageIndex(start), &content)?;
            }
        }
        let mut child = Command::new(std::env::current_exe()?)
            .args(["hold".as_ref(), path.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut answers = BufReader::new(child.stdout.take().ok_or("stdout is a pipe")?);
        answers.read_line(&mut String::new())?;
        Ok(Self { child, ram, path, record })
    }

    /// How long it takes to take the pages away before, if so, and to begin.
    fn begin(&self, missing: &PageSet, before: bool) -> Outcome<(Duration, Duration)> {
        let started = Instant::now();
        let (pid, record) = (Pid::from_child(&self.child), Record::at(&self.record));
        let mut beforehand = Beforehand::new(missing.capacity());
        if before {
            beforehand.forget("it", pid, &self.ram, missing)?;
        }
        let punched = started.elapsed();
        let started = Instant::now();
        let paged = beforehand.begin("it", pid, &self.ram, missing, record)?;
        let begun = started.elapsed();
        assert_eq!(paged.missing(), *missing);
        Ok((punched, begun))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.record);
    }
}

fn hold(path: &Path) -> Outcome<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    let (anywhere, length) = (std::ptr::null_mut(), RAM.get() as usize);
    // SAFETY: a new mapping at a place that the kernel chooses.
    unsafe { mmap(anywhere, length, access, MapFlags::SHARED, file.as_fd(), 0)? };
    println!("ready");
    stdin().lines().for_each(drop);
    Ok(())
}
