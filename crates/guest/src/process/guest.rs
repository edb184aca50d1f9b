//! The guest inside the process: its memory, its threads, its own check.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use punctual_units::PAGE_SIZE;
use rustix::mm::{MapFlags, ProtFlags, mmap};

use super::state::{DeviceState, SAVES_AT, base_content, counter_at, random};

const PAGE: usize = PAGE_SIZE.get() as usize;
const THREADS: u64 = 2;
/// How often a thread does what has become due.
const TICK: Duration = Duration::from_millis(1);

/// The memory as the process has mapped it, for as long as the process lives.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// Start and number of pages of each region.
    regions: Vec<(NonNull<u8>, u64)>,
}

// SAFETY: plain memory of the process; it is only touched by volatile accesses through pointers.
unsafe impl Send for Memory {}
// SAFETY: as above; two threads never write the same page.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn map(files: &[File]) -> io::Result<Self> {
        let regions = files.iter().map(|file| {
            let length = file.metadata()?.len();
            let access = ProtFlags::READ | ProtFlags::WRITE;
            let anywhere = std::ptr::null_mut();
            // SAFETY: a new mapping at a place that the kernel chooses; it is never unmapped.
            let start = unsafe {
                mmap(anywhere, length as usize, access, MapFlags::SHARED, file.as_fd(), 0)?
            };
            let start = NonNull::new(start.cast()).expect("nothing is mapped at address 0");
            Ok((start, length / PAGE_SIZE.get()))
        });
        Ok(Self { regions: regions.collect::<io::Result<_>>()? })
    }

    pub(super) fn pages(&self) -> u64 {
        self.regions.iter().map(|(_, pages)| pages).sum()
    }

    fn byte(&self, page: u64, offset: usize) -> *mut u8 {
        assert!(offset < PAGE, "a byte of a page");
        let mut rest = page;
        for (start, pages) in &self.regions {
            if rest < *pages {
                // SAFETY: inside of this region's mapping.
                return unsafe { start.as_ptr().add(rest as usize * PAGE + offset) };
            }
            rest -= pages;
        }
        panic!("page {page} is behind the end of the memory");
    }

    fn read(&self, page: u64, offset: usize) -> u8 {
        // SAFETY: a byte of the mapping, as `byte` has checked.
        unsafe { self.byte(page, offset).read_volatile() }
    }

    fn write(&self, page: u64, offset: usize, value: u8) {
        // SAFETY: a byte of the mapping, as `byte` has checked.
        unsafe { self.byte(page, offset).write_volatile(value) }
    }

    /// Counts one byte up. What it holds is what counts, right or wrong.
    fn count_up(&self, page: u64, offset: usize) {
        self.write(page, offset, self.read(page, offset).wrapping_add(1));
    }
}

/// What is shared by the threads.
#[derive(Debug)]
pub(super) struct Guest {
    memory: Memory,
    /// Read-locked by a thread for one tick: who has the write lock has stopped the guest.
    gate: Arc<RwLock<()>>,
    seed: u64,
    workload: super::Workload,
    generators: Vec<AtomicU64>,
    writes: Vec<AtomicU64>,
    saves: AtomicU8,
    counters: Vec<AtomicU8>,
}

impl Guest {
    /// A guest as it is before its first write, with its memory filled.
    pub(super) fn begin(memory: Memory, seed: u64, workload: super::Workload) -> Self {
        let mut content = [0; PAGE];
        for page in 0..memory.pages() {
            base_content(seed, page, &mut content);
            if content.iter().all(|byte| *byte == 0) {
                continue; // stays a hole
            }
            for (offset, byte) in content.iter().enumerate() {
                memory.write(page, offset, *byte);
            }
            memory.write(page, counter_at(page), 0);
        }
        memory.write(0, SAVES_AT, 0);
        let pages = memory.pages() as usize;
        let state = DeviceState {
            seed,
            workload,
            generators: (1..=THREADS).map(|thread| seed.wrapping_mul(thread) | 1).collect(),
            writes: vec![0; THREADS as usize],
            saves: 0,
            counters: vec![0; pages],
        };
        Self::load(memory, state)
    }

    /// A guest that has been somewhere else before.
    pub(super) fn load(memory: Memory, state: DeviceState) -> Self {
        Self {
            memory,
            gate: Arc::default(),
            seed: state.seed,
            workload: state.workload,
            generators: state.generators.into_iter().map(AtomicU64::new).collect(),
            writes: state.writes.into_iter().map(AtomicU64::new).collect(),
            saves: AtomicU8::new(state.saves),
            counters: state.counters.into_iter().map(AtomicU8::new).collect(),
        }
    }

    /// The lock that stops the guest while it is held for writing.
    pub(super) fn gate(&self) -> Arc<RwLock<()>> {
        Arc::clone(&self.gate)
    }

    /// The state, and a mark in the memory that it has been saved. The guest must be stopped.
    pub(super) fn save(&self) -> DeviceState {
        self.memory.count_up(0, SAVES_AT);
        self.saves.fetch_add(1, Ordering::Relaxed);
        let numbers =
            |list: &[AtomicU64]| list.iter().map(|number| number.load(Ordering::Relaxed)).collect();
        DeviceState {
            seed: self.seed,
            workload: self.workload,
            generators: numbers(&self.generators),
            writes: numbers(&self.writes),
            saves: self.saves.load(Ordering::Relaxed),
            counters: self.counters.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
        }
    }

    pub(super) fn writes(&self) -> u64 {
        self.writes.iter().map(|writes| writes.load(Ordering::Relaxed)).sum()
    }

    /// The first byte that is not as the guest left it. The guest must be stopped.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut expected = [0; PAGE];
        for page in 0..self.memory.pages() {
            base_content(self.seed, page, &mut expected);
            expected[counter_at(page)] = self.counters[page as usize].load(Ordering::Relaxed);
            if page == 0 {
                expected[SAVES_AT] = self.saves.load(Ordering::Relaxed);
            }
            for (offset, byte) in expected.iter().enumerate() {
                let found = self.memory.read(page, offset);
                if found != *byte {
                    return Err(format!("page {page} byte {offset} is {found}, not {byte}"));
                }
            }
        }
        Ok(())
    }

    /// Lets the threads work for the rest of the process's life, while the gate is open.
    pub(super) fn run(self: &Arc<Self>) {
        for thread in 0..THREADS {
            let guest = Arc::clone(self);
            std::thread::spawn(move || guest.work(thread));
        }
    }

    fn work(&self, thread: u64) -> ! {
        let begun = Instant::now();
        let rate = self.workload.writes_per_second() as f64 / THREADS as f64;
        let mut done = 0;
        loop {
            {
                let _open = self.gate.read();
                let due = (begun.elapsed().as_secs_f64() * rate) as u64;
                // After a long stop the guest goes on at its pace and makes up for nothing.
                done = done.max(due.saturating_sub(1 + (rate * TICK.as_secs_f64() * 20.0) as u64));
                while done < due {
                    self.write_once(thread);
                    done += 1;
                }
            }
            std::thread::sleep(TICK);
        }
    }

    fn write_once(&self, thread: u64) {
        let generator = &self.generators[thread as usize];
        let mut state = generator.load(Ordering::Relaxed);
        let drawn = random(&mut state);
        generator.store(state, Ordering::Relaxed);
        // Each thread has pages of its own, every second one.
        let page = self.workload.page(drawn, self.memory.pages() / THREADS) * THREADS + thread;
        self.memory.count_up(page, counter_at(page));
        self.counters[page as usize].fetch_add(1, Ordering::Relaxed);
        self.writes[thread as usize].fetch_add(1, Ordering::Relaxed);
    }
}
