//! What has to be known of a process before a system call can be injected into it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::TraceError;
use super::maps::{Mapping, mappings};

/// A process that is to be traced.
#[derive(Debug)]
pub(crate) struct Target {
    pid: Pid,
    /// Names the process even when its number has been given to another.
    pidfd: OwnedFd,
}

impl Target {
    pub(crate) fn open(pid: Pid) -> Result<Self, TraceError> {
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { pid, pidfd }),
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => {
                Err(TraceError::Gone { pid: pid.as_raw_pid() })
            }
            Err(error) => Err(system(pid.as_raw_pid(), "open it", error.into())),
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    pub(crate) fn raw(&self) -> Pid {
        self.pid
    }

    pub(crate) fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Whether it still exists.
    pub(crate) fn alive(&self) -> bool {
        const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A pidfd becomes readable when the process ends.
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut ended, Some(&AT_ONCE)).is_ok_and(|ready| ready == 0)
    }

    /// Its mappings, as text for [`mappings`].
    pub(crate) fn maps(&self) -> Result<String, TraceError> {
        self.read_text("maps")
    }

    /// A field of the `status` of one thread, such as `TracerPid`, as a number.
    pub(super) fn status(&self, thread: i32, field: &str) -> Result<i32, TraceError> {
        let status = self.read_text(&format!("task/{thread}/status"))?;
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.trim().parse().ok());
        Ok(value.unwrap_or(0))
    }

    /// The thread to run the system call in: one that sleeps, since it is then inside a system
    /// call, which the kernel restarts, and not inside a restartable sequence (`rseq(2)`), which
    /// would be disturbed. The main thread comes first; it is rarely a processor of the guest.
    pub(super) fn choose_thread(&self) -> Result<i32, TraceError> {
        let pid = self.pid();
        let tasks = fs::read_dir(format!("/proc/{pid}/task"))
            .map_err(|cause| self.error("list its threads", cause))?;
        let mut threads: Vec<i32> =
            tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
        threads.sort_by_key(|thread| *thread != pid);
        let in_state = |wanted: char| {
            threads.iter().find(|thread| self.thread_state(**thread) == Some(wanted)).copied()
        };
        in_state('S')
            .or_else(|| in_state('R'))
            .or_else(|| in_state('T'))
            .ok_or(TraceError::NotStopping { pid })
    }

    fn thread_state(&self, thread: i32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/task/{thread}/stat", self.pid())).ok()?;
        // The name before the state is in parentheses and may have parentheses itself.
        stat[stat.rfind(')')?..].chars().nth(2)
    }

    /// The address of a `syscall` instruction in the process: in its vDSO, or in any other code.
    pub(super) fn syscall_instruction(&self) -> Result<u64, TraceError> {
        const SYSCALL: [u8; 2] = [0x0f, 0x05];
        let maps = self.maps()?;
        let memory = File::open(format!("/proc/{}/mem", self.pid()))
            .map_err(|cause| self.error("open its memory", cause))?;
        let mut code: Vec<Mapping<'_>> =
            mappings(&maps).filter(|mapping| mapping.readable && mapping.executable).collect();
        code.sort_by_key(|mapping| mapping.name != "[vdso]");
        for mapping in code {
            let mut bytes = vec![0; (mapping.end - mapping.start) as usize];
            if memory.read_exact_at(&mut bytes, mapping.start).is_err() {
                continue; // [vsyscall] cannot be read
            }
            if let Some(at) = bytes.windows(SYSCALL.len()).position(|pair| pair == SYSCALL) {
                return Ok(mapping.start + at as u64);
            }
        }
        Err(TraceError::Architecture { pid: self.pid() })
    }

    /// An error of this process; "gone" if that is what it is.
    pub(crate) fn error(&self, action: &'static str, cause: io::Error) -> TraceError {
        let pid = self.pid();
        match cause.raw_os_error() {
            _ if !self.alive() => TraceError::Gone { pid },
            Some(libc::ESRCH) => TraceError::Gone { pid },
            Some(libc::EPERM | libc::EACCES) => TraceError::Permission { pid },
            _ => system(pid, action, cause),
        }
    }

    fn read_text(&self, file: &str) -> Result<String, TraceError> {
        fs::read_to_string(format!("/proc/{}/{file}", self.pid()))
            .map_err(|cause| self.error("read what /proc says of it", cause))
    }
}

fn system(pid: i32, action: &'static str, cause: io::Error) -> TraceError {
    TraceError::System { pid, action, cause }
}
