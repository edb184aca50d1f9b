//! Everything that the guest works on, and what may be asked of it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use punctual_guest_protocol::control::{CheckReport, Failure, Reply, Request, Status};
use punctual_guest_protocol::{Options, Pattern, Workload};

use crate::clock;
use crate::memory::{Fill, PAGE, Set};
use crate::pace::{Meter, Pace};
use crate::progress::Progress;
use crate::workload::{self, CannotWork, Work};

/// Numbers of the parts of the guest's pattern.
pub(crate) mod part {
    pub(crate) const SET: u64 = 1;
    pub(crate) const FILL: u64 = 2;
    pub(crate) const CHOICE: u64 = 3;
    pub(crate) const TABLE: u64 = 4;
    pub(crate) const STREAM: u64 = 5;
}

/// Why a guest cannot hold what it is to hold.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CannotBuild {
    #[error(
        "{bytes} bytes of {what} do not fit into memory: {source}; give the guest more RAM or say a smaller punctual.{what}"
    )]
    Memory { what: &'static str, bytes: u64, source: nix::Error },
    #[error(transparent)]
    Work(#[from] CannotWork),
}

/// The guest's memory and what is done with it.
pub(crate) struct World {
    options: Options,
    progress: Arc<Progress>,
    set: Set,
    fill: Fill,
    workload: Workload,
    work: Box<dyn Work>,
    /// Pages of the set that the workload uses.
    used: usize,
    pace: Pace,
    meter: Meter,
}

impl World {
    /// Fills memory and makes the workload ready.
    pub(crate) fn build(options: &Options, progress: Arc<Progress>) -> Result<Self, CannotBuild> {
        let error = |what, bytes| move |source| CannotBuild::Memory { what, bytes, source };
        let pattern = Pattern::new(options.seed);
        let set =
            Set::new(options.set, pattern.part(part::SET)).map_err(error("set", options.set))?;
        let fill = Fill::new(options.fill, pattern.part(part::FILL))
            .map_err(error("fill", options.fill))?;
        let used = set.pages();
        let work = workload::make(options.workload, used, options)?;
        let now = clock::now();
        Ok(Self {
            options: options.clone(),
            progress,
            set,
            fill,
            workload: options.workload,
            work,
            used,
            pace: Pace::new(options.rate, options.catch_up, now),
            meter: Meter::new(now),
        })
    }

    /// Does what has become due.
    pub(crate) fn work(&mut self, now: Duration) {
        let due = self.pace.take_due(now);
        let done = self.work.work(&mut self.set, due, now);
        match done {
            Ok(done) => {
                self.progress.count_work(done);
                self.meter.count(done, now);
            }
            Err(failure) => self.progress.report(failure),
        }
    }

    /// Whether there is nothing to do until a command comes.
    pub(crate) fn rests(&self) -> bool {
        self.workload == Workload::Idle || self.pace.rate() == 0
    }

    /// Carries out a command.
    pub(crate) fn answer(&mut self, request: &Request) -> Reply {
        match *request {
            Request::Status => Reply::Status(self.status()),
            Request::Check => Reply::Check(self.check()),
            Request::Rate { rate } => {
                self.pace.change(rate, clock::now());
                Reply::Done
            }
            Request::Workload { name, rate, set } => self.change(name, rate, set),
            Request::Locate { page } => self.locate(page),
        }
    }

    fn change(&mut self, workload: Workload, rate: Option<u64>, set: Option<u64>) -> Reply {
        let used = match set {
            None => self.used,
            Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX).div_ceil(PAGE),
        };
        if used > self.set.pages() {
            let most = self.set.pages() * PAGE;
            let message = format!(
                "the set has {most} bytes: ask for less, or boot with a larger punctual.set"
            );
            return Reply::Error { message };
        }
        match workload::make(workload, used, &self.options) {
            Err(error) => Reply::Error { message: error.to_string() },
            Ok(work) => {
                (self.workload, self.work, self.used) = (workload, work, used);
                self.pace.change(rate.unwrap_or(self.pace.rate()), clock::now());
                self.progress.set_workload(workload);
                Reply::Done
            }
        }
    }

    fn locate(&self, page: u64) -> Reply {
        let page = usize::try_from(page).unwrap_or(usize::MAX);
        match self.set.physical_address(page) {
            Some(address) => Reply::Page { address },
            None => Reply::Error { message: format!("the set has {} pages", self.set.pages()) },
        }
    }

    fn check(&self) -> CheckReport {
        match self.check_all() {
            Ok(pages) => CheckReport { ok: true, pages_checked: pages, wrong: None },
            Err((pages, failure)) => {
                self.progress.report(failure);
                CheckReport { ok: false, pages_checked: pages + failure.page, wrong: Some(failure) }
            }
        }
    }

    /// Pages that were checked; with a wrong byte, those of the places before it.
    fn check_all(&self) -> Result<u64, (u64, Failure)> {
        let set = self.set.pages() as u64;
        let fill = set + self.fill.pages() as u64;
        self.set.check().map_err(|failure| (0, failure))?;
        self.fill.check().map_err(|failure| (set, failure))?;
        let own = self.work.check().map_err(|failure| (fill, failure))?;
        Ok(fill + own)
    }

    fn status(&self) -> Status {
        Status {
            workload: self.workload,
            rate: self.pace.rate(),
            achieved_rate: self.meter.rate(),
            work: self.progress.work(),
            set_pages: self.used as u64,
            fill_pages: self.fill.pages() as u64,
            disk_bytes_checked: self.work.disk_bytes_checked(),
            stream_clients: self.progress.stream_clients(),
            check_failures: self.progress.check_failures(),
            first_failure: self.progress.first_failure(),
            uptime_seconds: clock::now().as_secs_f64(),
        }
    }
}

/// The world stays usable after a panic: the panic itself has been reported.
pub(crate) fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(|broken| broken.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(workload: Workload) -> World {
        let options = Options {
            workload,
            set: 64 * PAGE as u64,
            fill: 32 * PAGE as u64,
            ..Options::default()
        };
        World::build(&options, Arc::new(Progress::new(workload))).unwrap()
    }

    #[test]
    fn every_memory_workload_passes_its_own_check() {
        for workload in Workload::ALL {
            if workload == Workload::Reader {
                continue;
            }
            let mut world = world(workload);
            let start = clock::now();
            for millisecond in 1..3000 {
                world.work(start + Duration::from_millis(millisecond));
            }
            let report = world.check();
            assert!(report.ok, "{workload}: {report:?}");
            assert!(report.pages_checked >= 96, "{workload}: {report:?}");
            if workload != Workload::Idle {
                assert!(world.progress.work() > 0, "{workload} did nothing");
            }
        }
    }

    #[test]
    fn workloads_change_at_run_time() {
        let mut world = world(Workload::Idle);
        let request =
            Request::Workload { name: Workload::Sweep, rate: Some(9), set: Some(8 * PAGE as u64) };
        assert_eq!(world.answer(&request), Reply::Done);
        let status = world.status();
        assert_eq!((status.workload, status.rate, status.set_pages), (Workload::Sweep, 9, 8));
        let too_large = Request::Workload { name: Workload::Sweep, rate: None, set: Some(1 << 40) };
        assert!(matches!(world.answer(&too_large), Reply::Error { .. }));
    }
}
