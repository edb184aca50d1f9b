//! What the guest has done so far: written by the workload and the checks, read by the beacon.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use punctual_guest_protocol::Workload;
use punctual_guest_protocol::control::Failure;

/// How many failures the console shows: it is slow, and one shows as much as a thousand.
const MOST_REPORTED: u64 = 10;

/// Counters that every thread of the guest shares.
#[derive(Debug)]
pub(crate) struct Progress {
    work: AtomicU64,
    check_failures: AtomicU64,
    workload: AtomicU8,
    stream_clients: AtomicU64,
    first_failure: Mutex<Option<Failure>>,
}

impl Progress {
    pub(crate) fn new(workload: Workload) -> Self {
        Self {
            work: AtomicU64::new(0),
            check_failures: AtomicU64::new(0),
            workload: AtomicU8::new(workload.number()),
            stream_clients: AtomicU64::new(0),
            first_failure: Mutex::new(None),
        }
    }

    pub(crate) fn count_work(&self, units: u64) {
        self.work.fetch_add(units, Relaxed);
    }

    pub(crate) fn work(&self) -> u64 {
        self.work.load(Relaxed)
    }

    /// Counts something that must not happen in a sound guest.
    pub(crate) fn count_failure(&self) {
        self.check_failures.fetch_add(1, Relaxed);
    }

    /// Counts a wrong byte, and says so on the console; the first one is kept.
    pub(crate) fn report(&self, failure: Failure) {
        if self.check_failures() < MOST_REPORTED {
            println!("punctual: CHECK FAILED: {failure}");
        }
        self.count_failure();
        let mut first = self.first_failure.lock().unwrap_or_else(|broken| broken.into_inner());
        first.get_or_insert(failure);
    }

    pub(crate) fn check_failures(&self) -> u64 {
        self.check_failures.load(Relaxed)
    }

    pub(crate) fn first_failure(&self) -> Option<Failure> {
        *self.first_failure.lock().unwrap_or_else(|broken| broken.into_inner())
    }

    pub(crate) fn set_workload(&self, workload: Workload) {
        self.workload.store(workload.number(), Relaxed);
    }

    pub(crate) fn workload(&self) -> Workload {
        Workload::from_number(self.workload.load(Relaxed))
            .expect("only numbers of workloads are stored")
    }

    pub(crate) fn client_came(&self) {
        self.stream_clients.fetch_add(1, Relaxed);
    }

    pub(crate) fn client_left(&self) {
        self.stream_clients.fetch_sub(1, Relaxed);
    }

    pub(crate) fn stream_clients(&self) -> u64 {
        self.stream_clients.load(Relaxed)
    }
}
