//! Slows down threads of a process from outside: the processors of a machine that writes faster
//! than its pages can be sent.
//!
//! Each thread gets a control group of its own, next below the one that it is in, whose share of a
//! processor is limited (CFS bandwidth control: Linux's `admin-guide/cgroup-v2.rst`, "CPU", and
//! `scheduler/sched-bwc.rst`). Whatever limited the process before goes on to do so. Threads are
//! moved one by one, which hierarchies of version 1 allow, and those of version 2 in groups that
//! are `threaded`.
//!
//! The groups are named after the process. So whoever comes later finds them and takes them away:
//! a guest whose daemon was killed stays slow until the daemon is started again, and no longer.

mod group;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::PathBuf;

use punctual_units::Probability;
use thiserror::Error;

use group::Hierarchy;

/// Why threads could not be slowed down.
#[derive(Debug, Error)]
#[error("throttle-unavailable: {doing}: {cause}; {remedy}")]
pub struct ThrottleError {
    /// What was being done.
    doing: String,
    /// What the kernel said.
    cause: io::Error,
    /// What helps.
    remedy: &'static str,
}

impl ThrottleError {
    fn new(doing: impl Into<String>, cause: io::Error) -> Self {
        let remedy = "mount the cpu controller of control groups where the daemon may write to it, \
                      or choose another way (--on-miss)";
        Self { doing: doing.into(), cause, remedy }
    }
}

/// Threads that can be slowed down. They run freely again when this is dropped.
#[derive(Debug)]
pub struct Throttle {
    hierarchy: Hierarchy,
    process: u32,
    /// The group that the threads came from.
    home: PathBuf,
    groups: Vec<PathBuf>,
}

impl Throttle {
    /// The smallest share of a processor that a thread is left with.
    pub const LEAST: f64 = 0.05;

    /// Takes these threads of a process, which run on freely at first. It costs some milliseconds
    /// a thread: the kernel waits until no processor is about to fork.
    ///
    /// # Errors
    /// There is no controller, or it may not be used; nothing has changed then.
    pub fn take(process: u32, threads: &[u32]) -> Result<Self, ThrottleError> {
        let hierarchy = Hierarchy::find()?;
        let home = hierarchy.home(process)?;
        hierarchy.sweep(&home);
        let mut taken = Self { hierarchy, process, home, groups: Vec::new() };
        for thread in threads {
            let name = group::name(process, Some(*thread));
            // Dropped on failure, which takes back what was done so far.
            let group = taken.hierarchy.make(&taken.home, &name)?;
            taken.groups.push(group.clone());
            taken.hierarchy.put(*thread, &group)?;
        }
        Ok(taken)
    }

    /// Leaves each thread this share of the time of one processor, at least [`Throttle::LEAST`];
    /// 1 is all that it can use. Returns the share as the kernel keeps it.
    ///
    /// # Errors
    /// The kernel does not take it, such as where a group above allows less.
    pub fn leave(&self, share: Probability) -> Result<Probability, ThrottleError> {
        let share = Probability::saturating(share.get().clamp(Self::LEAST, 1.0));
        for group in &self.groups {
            self.hierarchy.limit(group, share)?;
        }
        Ok(share)
    }

    /// Does the same for whoever holds a machine: takes its threads the first time, and gives up
    /// the hold where they are to run freely.
    ///
    /// # Errors
    /// As [`Throttle::take`] and [`Throttle::leave`], or the threads are not known.
    pub fn hold(
        held: &mut Option<Self>,
        process: u32,
        threads: impl FnOnce() -> io::Result<Vec<u32>>,
        share: Probability,
    ) -> Result<Probability, ThrottleError> {
        if share.get() >= 1.0 {
            *held = None;
            return Ok(Probability::ONE);
        }
        if held.is_none() {
            let failed = |cause| ThrottleError::new("list the processors", cause);
            *held = Some(Self::take(process, &threads().map_err(failed)?)?);
        }
        held.as_ref().map_or(Ok(Probability::ONE), |throttle| throttle.leave(share))
    }

    /// Lets the threads run freely at once, and keeps them: what is left to do takes longer than
    /// somebody who waits for them has time for.
    pub fn lift(held: &Option<Self>) {
        let Some(throttle) = held else { return };
        if let Err(error) = throttle.leave(Probability::ONE) {
            tracing::warn!(process = throttle.process, %error, "its processors stay slow");
        }
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        if let Err(error) = self.hierarchy.release(&self.home, self.process) {
            let process = self.process;
            tracing::error!(process, %error, "its processors could not be let run freely");
        }
    }
}

/// Lets all threads of a process run freely that somebody has slowed down who is gone. Whether
/// there were any.
///
/// # Errors
/// The process is gone, or the kernel does not let go of its threads.
pub fn undo(process: u32) -> Result<bool, ThrottleError> {
    // Where nothing can be slowed down nothing was.
    let Ok(hierarchy) = Hierarchy::find() else { return Ok(false) };
    let home = hierarchy.home(process)?;
    hierarchy.release(&home, process)
}

/// The threads of a process other than its first.
///
/// # Errors
/// The process is gone.
pub fn other_threads(process: u32) -> io::Result<Vec<u32>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task"))?;
    let numbers = tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(|thread| *thread != process).collect())
}
