//! What tracing costs the traced process: how much of its work is lost at 20,000 single-byte writes
//! a second to random pages of 64 MiB (the goal of the project: less than 5 %), how long a scan of
//! 512 MiB takes, and how long a look for 600 pages of them, together and scattered.
//!
//! A thread counts steps of arithmetic per second of processor time, and writes on time. Windows
//! with and without a tracer alternate.
//!
//! `cargo run --release -p punctual-guest --example tracing_cost [WRITES-PER-SECOND]`

use std::error::Error;
use std::fs::OpenOptions;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use punctual_guest::Ram;
use punctual_guest::trace::{Pid, Tracer};
use punctual_units::{Bytes, MemoryLayout, PAGE_SIZE, PageIndex, PageSet, Region};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const RAM: Bytes = Bytes::mib(512);
const WRITTEN: Bytes = Bytes::mib(64);
/// How many pages are looked for, and how far apart they lie if they are scattered over all.
const LOOKED_FOR: u64 = 600;
const RUN_OF_PAGES: u64 = RAM.get() / PAGE_SIZE.get() / LOOKED_FOR;
const WINDOW: Duration = Duration::from_millis(400);
const WINDOWS: usize = 9;
const PERIODS: [Duration; 3] =
    [Duration::from_millis(10), Duration::from_millis(50), Duration::from_millis(200)];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, path, rate] = &arguments[..]
        && role == "write"
    {
        return write(path.as_ref(), rate.parse()?);
    }
    let rate = arguments.first().map_or("20000", String::as_str);
    let mut writer = Writer::start(rate)?;
    println!("{rate} writes/s over {WRITTEN}, {RAM} traced, medians of {WINDOWS} windows:");
    for period in PERIODS {
        let (mut lost, mut scans, mut attached) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..WINDOWS {
            let free = writer.window()?;
            let begun = Instant::now();
            let tracer = Tracer::attach(Pid::from_child(&writer.child), &writer.ram)?;
            attached.push(begun.elapsed());
            let (traced, mut times) = writer.traced_window(tracer, period)?;
            lost.push(1.0 - traced / free);
            scans.append(&mut times);
        }
        lost.sort_by(f64::total_cmp);
        scans.sort();
        attached.sort();
        println!(
            "scan every {period:>5.0?}: {:5.2} % of its work lost, a scan takes {:.2?} (longest \
             {:.2?}), to attach {:.1?}",
            100.0 * lost[lost.len() / 2],
            scans[scans.len() / 2],
            scans[scans.len() - 1],
            attached[attached.len() / 2],
        );
    }
    for (what, step) in [("together", 1), ("scattered", RUN_OF_PAGES)] {
        let mut times = writer.looks(step)?;
        times.sort();
        println!(
            "a look for {LOOKED_FOR} pages {what}: {:.2?} (longest {:.2?})",
            times[times.len() / 2],
            times[times.len() - 1],
        );
    }
    Ok(())
}

/// The traced process, as seen from the tracing one.
struct Writer {
    child: Child,
    answers: BufReader<ChildStdout>,
    ram: Ram,
    path: PathBuf,
}

impl Writer {
    fn start(rate: &str) -> Outcome<Self> {
        let path = PathBuf::from(format!("/dev/shm/punctual-example-{}", std::process::id()));
        let layout = MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size: RAM }])?;
        let ram = Ram::create(layout, std::slice::from_ref(&path))?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["write".as_ref(), path.as_os_str(), rate.as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(child.stdout.take().ok_or("stdout is a pipe")?);
        Ok(Self { child, answers, ram, path })
    }

    /// Lets it work for a while: steps per second of processor time.
    fn window(&mut self) -> Outcome<f64> {
        writeln!(self.child.stdin.as_ref().ok_or("stdin is a pipe")?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }

    /// Looks for pages of which each lies `step` behind the one before, while it works.
    fn looks(&mut self, step: u64) -> Outcome<Vec<Duration>> {
        let mut tracer = Tracer::attach(Pid::from_child(&self.child), &self.ram)?;
        let mut pages = PageSet::empty(self.ram.layout().pages());
        for page in 0..LOOKED_FOR {
            pages.insert(PageIndex(page * step));
        }
        let mut written = PageSet::empty(self.ram.layout().pages());
        std::thread::scope(|scope| {
            let looker = scope.spawn(|| -> Outcome<Vec<Duration>> {
                let mut times = Vec::new();
                for _ in 0..WINDOW.as_millis() / PERIODS[0].as_millis() {
                    std::thread::sleep(PERIODS[0]);
                    let begun = Instant::now();
                    tracer.collect_among(&pages, &mut written)?;
                    times.push(begun.elapsed());
                }
                Ok(times)
            });
            self.window()?;
            looker.join().map_err(|_| "the looker panicked")?
        })
    }

    fn traced_window(
        &mut self,
        mut tracer: Tracer,
        period: Duration,
    ) -> Outcome<(f64, Vec<Duration>)> {
        let mut written = PageSet::empty(self.ram.layout().pages());
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let scanner = scope.spawn(|| -> Outcome<Vec<Duration>> {
                let mut times = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    std::thread::sleep(period);
                    let begun = Instant::now();
                    tracer.collect(&mut written)?;
                    times.push(begun.elapsed());
                    written.clear();
                }
                Ok(times)
            });
            let speed = self.window();
            ended.store(true, Ordering::Relaxed);
            let times = scanner.join().map_err(|_| "the scanner panicked")??;
            Ok((speed?, times))
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The traced process: fills its memory, and works for a window at each line of input.
fn write(path: &Path, rate: f64) -> Outcome<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = RAM.get() as usize;
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping at a place that the kernel chooses.
    let memory =
        unsafe { mmap(std::ptr::null_mut(), length, access, MapFlags::SHARED, file.as_fd(), 0)? }
            .cast::<u8>();
    // SAFETY: `at` is inside of the mapping, which this thread alone writes.
    let touch = |at: usize| unsafe { memory.add(at % length).write_volatile(at as u8 | 1) };
    (0..length).step_by(PAGE_SIZE.get() as usize).for_each(touch);
    let mut random = 1_u64;
    for line in stdin().lock().lines() {
        line?;
        let (begun, used) = (Instant::now(), thread_time());
        let (mut steps, mut done) = (0_u64, 0_u64);
        while begun.elapsed() < WINDOW {
            while (done as f64) < begun.elapsed().as_secs_f64() * rate {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                touch((random >> 20) as usize % WRITTEN.get() as usize);
                done += 1;
            }
            steps += work();
        }
        println!("{}", steps as f64 / (thread_time() - used).as_secs_f64());
        stdout().flush()?;
    }
    Ok(())
}

/// Some microseconds of arithmetic.
fn work() -> u64 {
    const STEPS: u64 = 4000;
    black_box((0..STEPS).fold(1_u64, |value, step| {
        value.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(step)
    }));
    STEPS
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
