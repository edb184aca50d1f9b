use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process held by descriptor: its number cannot come to mean another one.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    fd: OwnedFd,
}

impl Process {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Self { pid, fd: pidfd_open(pid, PidfdFlags::empty())? })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Its number, as system calls take it.
    #[must_use]
    pub fn raw(&self) -> Pid {
        self.pid
    }

    /// Waits for its end; says whether it came in time.
    ///
    /// # Errors
    /// The kernel could not wait.
    pub fn wait_end(&self, timeout: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], Some(&left)) {
                Ok(ended) => return Ok(ended > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(cause) => return Err(cause.into()),
            }
        }
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self.wait_end(Duration::ZERO), Ok(false))
    }

    /// Kills it and waits for its end. No harm if it has ended.
    ///
    /// # Errors
    /// It may not be killed, or did not end within 10 s.
    pub fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(&self.fd, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(cause) => return Err(cause.into()),
        }
        if self.wait_end(Duration::from_secs(10))? {
            return Ok(());
        }
        Err(io::Error::other(format!("process {} was killed and does not end", self.pid())))
    }
}
