//! Processes that belong to a lab, told apart from later ones that got the same number.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// How long a process has to end by itself when it is asked to, before it is killed.
pub(crate) const GRACE: Duration = Duration::from_secs(3);
/// How long the kernel may take to end a killed process: its memory is given back first.
const KILLED: Duration = Duration::from_secs(10);

/// A process, whatever becomes of its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process's number.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did (`/proc/PID/stat`, field 22).
    pub started: u64,
}

/// What a lab remembers of a process that it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// Which process.
    #[serde(flatten)]
    pub id: ProcessId,
    /// What it is called in the lab, and its log.
    pub name: String,
    /// Where it runs: a host, `client` or `switch`.
    pub place: String,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A process in the background of a lab.
///
/// It runs on when this value is dropped and when the program that started it ends; the lab ends
/// it at [`Lab::down`](crate::Lab::down).
#[derive(Debug, Clone)]
pub struct Process {
    record: ProcessRecord,
    ended: Arc<OnceLock<ExitStatus>>,
}

impl ProcessId {
    /// The process that has the number `pid` now; `None` if none has, or it has ended.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let (state, started) = read_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
        (!matches!(state, 'Z' | 'X')).then_some(Self { pid, started })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends it a signal. Tells whether it is there to be sent one.
    pub(crate) fn send(self, number: Signal) -> io::Result<bool> {
        let Some(process) = self.open()? else { return Ok(false) };
        signal(&process, number)?;
        Ok(true)
    }

    /// A descriptor that means this process and no later one; `None` if it is gone.
    fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid.cast_signed()) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // Only now is the number held: ask again whose it is.
            Ok(process) => Ok(self.is_running().then_some(process)),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Process {
    /// Watches over a child that was just started, so that it does not stay as a zombie.
    pub(crate) fn watch(record: ProcessRecord, mut child: Child) -> Self {
        let ended = Arc::new(OnceLock::new());
        let watcher = Arc::clone(&ended);
        thread::spawn(move || {
            if let Ok(status) = child.wait() {
                let _ = watcher.set(status);
            }
        });
        Self { record, ended }
    }

    /// Which process it is, and where its output goes.
    #[must_use]
    pub fn record(&self) -> &ProcessRecord {
        &self.record
    }

    /// How it ended; `None` while it runs.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.ended.get().copied()
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.record.id.is_running()
    }

    /// Ends it: `SIGTERM`, and `SIGKILL` 3 s later. Blocks until it is gone.
    ///
    /// # Errors
    /// The kernel does not let it be signalled.
    pub fn end(&self) -> io::Result<()> {
        end_all(&[self.record.id], GRACE).map(drop)
    }

    /// Kills it at once, as a crash would. Blocks until it is gone.
    ///
    /// # Errors
    /// The kernel does not let it be signalled.
    pub fn kill(&self) -> io::Result<()> {
        end_all(&[self.record.id], Duration::ZERO).map(drop)
    }
}

/// Asks all to end, kills those that do not within `grace` (at once if that is zero), and returns
/// when they are gone. Those that had to be ended are returned.
pub(crate) fn end_all(processes: &[ProcessId], grace: Duration) -> io::Result<Vec<ProcessId>> {
    let mut running = Vec::new();
    for id in processes {
        running.extend(id.open()?.map(|process| (*id, process)));
    }
    let ended = running.iter().map(|(id, _)| *id).collect();
    for (number, patience) in [(Signal::TERM, grace), (Signal::KILL, KILLED)] {
        if patience.is_zero() {
            continue;
        }
        for (_, process) in &running {
            signal(process, number)?;
        }
        let deadline = Instant::now() + patience;
        let mut left = Vec::new();
        for (id, process) in running {
            if !gone_by(&process, deadline)? {
                left.push((id, process));
            }
        }
        running = left;
    }
    match running.first() {
        None => Ok(ended),
        Some((ProcessId { pid, .. }, _)) => {
            let time = KILLED.as_secs();
            Err(io::Error::other(format!("process {pid} was killed and has not ended in {time} s")))
        }
    }
}

fn signal(process: &OwnedFd, number: Signal) -> io::Result<()> {
    match pidfd_send_signal(process, number) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A descriptor of a process becomes readable when the process ends.
fn gone_by(process: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("patience is seconds, not centuries");
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The state and the start time in a line of `/proc/PID/stat`. The program's name, in brackets, may
/// hold anything, brackets and spaces too.
fn read_stat(line: &str) -> Option<(char, u64)> {
    let after_name = line.rsplit_once(')')?.1;
    let mut fields = after_name.split_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is field 3 of proc_pid_stat(5), the start time field 22.
    let started = fields.nth(22 - 4)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_mislead() {
        let rest = "S 1 2 3 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 98765 13 14";
        assert_eq!(read_stat(&format!("42 (a) b) {rest}")), Some(('S', 98765)));
        assert_eq!(read_stat("42 (a"), None);
        assert_eq!(read_stat("42 (a) S 1"), None);
    }

    #[test]
    fn only_the_process_that_was_meant_is_ended() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        let earlier = ProcessId { started: id.started - 1, ..id };
        assert!(end_all(&[earlier], GRACE).unwrap().is_empty(), "another had this number");
        assert!(id.is_running());

        assert_eq!(end_all(&[earlier, id], GRACE).unwrap(), [id]);
        assert!(!id.is_running(), "a zombie does not run");
        child.wait().unwrap();
        assert!(end_all(&[id], GRACE).unwrap().is_empty());
    }

    #[test]
    fn what_does_not_listen_is_killed() {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; exec sleep 60"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
        let id = ProcessId::of(child.id()).unwrap();
        assert_eq!(end_all(&[id], Duration::from_millis(20)).unwrap(), [id]);
        child.wait().unwrap();
    }
}
