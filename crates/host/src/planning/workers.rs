//! Threads that simulate moves.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use punctual_plan::predict::Workers;

/// So many at most: a plan shall not take a host's processors from its machines.
const MOST: usize = 4;

/// As many threads as there are processors, up to four, for each set of jobs.
#[derive(Debug, Clone, Copy)]
pub struct Threads;

impl Workers for Threads {
    fn each(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= jobs {
                    return;
                }
                job(number);
            }
        };
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        thread::scope(|scope| {
            // This thread works, too.
            for _ in 1..processors.min(MOST).min(jobs) {
                // One that cannot be had is done without.
                let _ = thread::Builder::new().name("plan".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn each_job_is_done_once() {
        for jobs in [0, 1, 2, 100] {
            let done = Mutex::new(Vec::new());
            Threads.each(jobs, &|number| done.lock().unwrap().push(number));
            let mut done = done.into_inner().unwrap();
            done.sort_unstable();
            assert_eq!(done, (0..jobs).collect::<Vec<_>>());
        }
    }
}
