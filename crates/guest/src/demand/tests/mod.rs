//! Paging of real processes: this test program, started again as one (`victim`).

mod beforehand;
mod death;
mod faults;
mod files;
mod refusals;
mod victim;

use std::fs::{self, File, OpenOptions};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use punctual_units::{Bytes, MemoryLayout, PageIndex, PageRange, PageSet, Pages, Region};

use super::*;
use crate::Ram;
use crate::trace::tests::{Victim, eventually};
use victim::{content, random};

const PAGES: u64 = 2048;
const PAGE: usize = 4096;
/// Long enough for any fault that is to come.
const LONG: Duration = Duration::from_secs(60);
/// How often a thread that answers faults looks whether it is to end.
const SHORT: Duration = Duration::from_millis(20);

fn run(start: u64, end: u64) -> PageRange {
    PageRange::new(start, end)
}

/// RAM in a file, and a process that has mapped it and has not used it.
struct Paged {
    victim: Victim,
    ram: Ram,
    path: PathBuf,
    _directory: Option<tempfile::TempDir>,
}

impl Paged {
    fn start() -> Self {
        Self::start_as("guest")
    }

    fn start_as(role: &str) -> Self {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), all).unwrap();
        let path = directory.path().join("ram");
        File::create_new(&path).unwrap();
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        fs::set_permissions(&path, all).unwrap();
        Self { _directory: Some(directory), ..Self::on(role, path, PAGES) }
    }

    /// In an empty file that exists.
    fn on(role: &str, path: PathBuf, pages: u64) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        file.set_len(Pages::new(pages).bytes().get()).unwrap();
        let ram = open(&path);
        let victim =
            Victim::start_as("demand::tests::victim::victim", role, path.to_str().unwrap());
        Self { victim, ram, path, _directory: None }
    }

    fn all(&self) -> PageSet {
        PageSet::full(self.ram.layout().pages())
    }

    fn some(&self, pages: PageRange) -> PageSet {
        let mut some = PageSet::empty(self.ram.layout().pages());
        some.insert_range(pages);
        some
    }

    fn attach(&self, missing: &PageSet) -> Pager {
        Pager::attach(self.victim.pid(), &self.ram, missing).unwrap()
    }

    fn take_over(&self, missing: &PageSet) -> Pager {
        Pager::take_over(self.victim.pid(), &self.ram, missing).unwrap()
    }

    /// How many of its mappings are watched for missing pages.
    fn watched_mappings(&self) -> usize {
        let pid = self.victim.pid().as_raw_pid();
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
        let flags = smaps.lines().filter(|line| line.starts_with("VmFlags:"));
        flags.filter(|line| line.split_whitespace().any(|flag| flag == "um")).count()
    }
}

fn open(path: &std::path::Path) -> Ram {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let size = Bytes::new(file.metadata().unwrap().len());
    let region = Region { name: "ram0".to_owned(), size };
    Ram::open(MemoryLayout::new(vec![region]).unwrap(), vec![file]).unwrap()
}

/// The content of some pages, as the victim expects it.
fn contents(pages: PageRange) -> Vec<u8> {
    let mut bytes = vec![0; pages.len().bytes().get() as usize];
    for (page, bytes) in pages.iter().zip(bytes.chunks_exact_mut(PAGE)) {
        content(page.0, bytes);
    }
    bytes
}

/// Fills pages as a link would deliver them: those that are zero as such.
fn deliver(pager: &Pager, pages: PageRange) -> Result<u64, DemandError> {
    let bytes = contents(pages);
    if bytes.iter().all(|byte| *byte == 0) {
        return pager.fill_zero(pages).map(Pages::get);
    }
    pager.fill(pages, &bytes).map(Pages::get)
}

/// Answers every fault while `work` is done. The second result is how many there were.
fn while_answered<T>(pager: &Pager, work: impl FnOnce() -> T) -> (T, u64) {
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let mut faults = 0;
            while !end.load(Ordering::Relaxed) {
                let Some(fault) = pager.next_fault(SHORT).unwrap() else { continue };
                deliver(pager, fault.pages).unwrap();
                faults += 1;
            }
            faults
        });
        let done = {
            let _end = End(&end);
            work()
        };
        (done, answers.join().unwrap())
    })
}

/// Ends the answers, also where the test fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Delivers runs of random pages until all is there, and everything once more in the end. The
/// result is how many pages were new.
fn push(pager: &Pager, seed: u64, unit: u64) -> u64 {
    let pages = pager.missing().capacity().get() / unit;
    let mut state = seed;
    let mut new = 0;
    while !pager.missing().is_empty() {
        let start = random(&mut state) % pages;
        let end = (start + 1 + random(&mut state) % 16).min(pages);
        new += deliver(pager, run(start * unit, end * unit)).unwrap();
    }
    assert_eq!(deliver(pager, run(0, pages * unit)).unwrap(), 0, "nothing comes twice");
    new
}

/// Lets the guest work while faults are answered and pages pushed, up to the end of the paging.
fn work_until_finished(paged: &mut Paged, pager: &Pager, unit: u64) {
    let outstanding = pager.missing().len().get();
    let (pushed, faults) = while_answered(pager, || {
        paged.victim.begin("work 4");
        eventually("many faults", || pager.missing().len().get() * 2 < outstanding);
        std::thread::scope(|scope| {
            let pushes = [7, 8].map(|seed| scope.spawn(move || push(pager, seed, unit)));
            paged.victim.expect("done");
            pushes.into_iter().map(|push| push.join().unwrap()).sum::<u64>()
        })
    });
    println!("{outstanding} pages were missing: {pushed} pushed, {faults} faults answered");
    pager.finish().unwrap();
    paged.victim.order("check");
}
