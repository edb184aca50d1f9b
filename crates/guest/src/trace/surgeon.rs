//! The process that stops a thread, runs a few system calls in it and puts everything back.
//!
//! It is a forked child of a program with many threads: nothing here may allocate or take a lock,
//! so all of it is plain system calls (`signal-safety(7)`).
//!
//! ```text
//!  seize ─► interrupt ─► stopped ─► userfaultfd ─► pidfd_getfd ─► close ─► interrupt ─► restore ─► detach
//!  └─ until here the death of this process changes nothing ┘      └─ from here to the end it must live ─┘
//! ```
//!
//! System calls are run from stop to stop by `PTRACE_SYSCALL` rather than by single steps, which
//! end in a SIGTRAP that would reset a handler of the program. The registers are put back in an
//! event stop, that is inside the kernel's handling of signals: there a system call in flight is
//! restarted as if nothing had been (`ptrace(2)`, `restart_syscall(2)`).

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_long, c_void, user_regs_struct};

/// What to do, prepared before the fork.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// The thread to do it in.
    pub(super) thread: i32,
    /// The address of a `syscall` instruction there.
    pub(super) syscall_at: u64,
    /// Whether a seccomp filter has to be suspended.
    pub(super) suspend_seccomp: bool,
    /// How long the thread may take to stop.
    pub(super) stop_within: Duration,
    /// What to do there.
    pub(super) operation: Operation,
}

/// What is done in the stopped thread.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    /// Makes a userfaultfd and takes it over.
    Make(Wanted),
    /// Closes a descriptor of the process.
    Close(RawFd),
}

/// What kind of userfaultfd is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is closed in the process again, so that it ends with us. One that answers only faults
    /// of user mode will do, where the kernel gives no other.
    Ours,
    /// It stays open in the process as well, so that faults go on waiting when we end; and it
    /// answers the faults of the kernel, or is not made.
    Lasting,
}

/// What the work gave.
#[derive(Debug)]
pub(super) struct Made {
    /// The userfaultfd, if one was wanted.
    pub(super) here: Option<OwnedFd>,
    /// Its number in the process, or the number that was closed.
    pub(super) there: RawFd,
    /// For how many nanoseconds the thread was stopped.
    pub(super) stopped: u64,
}

/// How far the work got. The numbers go through a socket between two copies of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub(super) enum Step {
    Seize = 1,
    SuspendSeccomp,
    Stop,
    Inspect,
    Architecture,
    Call,
    Take,
    Done,
}

impl Step {
    pub(super) fn from_number(number: i64) -> Option<Self> {
        use Step::{Architecture, Call, Done, Inspect, Seize, Stop, SuspendSeccomp, Take};
        [Seize, SuspendSeccomp, Stop, Inspect, Architecture, Call, Take, Done]
            .into_iter()
            .find(|step| *step as i64 == number)
    }
}

/// Where the work failed, and the kernel's error number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: i32,
}

/// The selector of 64-bit code in user space (`__USER_CS`).
const USER_CODE_64: u64 = 0x33;
/// The length of a `syscall` instruction.
const SYSCALL_LENGTH: u64 = 2;
const ALL_SIGNALS: u64 = u64::MAX;

/// Does what `plan` says to the process of `pidfd`.
pub(super) fn operate(plan: &Plan, pidfd: RawFd) -> Result<Made, Failure> {
    let thread = Thread { id: plan.thread };
    thread.order(libc::PTRACE_SEIZE, libc::PTRACE_O_TRACESYSGOOD).at(Step::Seize)?;
    let begun = nanoseconds();
    thread.stop(plan.stop_within).at(Step::Stop)?;
    if plan.suspend_seccomp {
        let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_SUSPEND_SECCOMP;
        thread.order(libc::PTRACE_SETOPTIONS, options).at(Step::SuspendSeccomp)?;
    }
    let saved = Saved::of(thread).at(Step::Inspect)?;
    if saved.registers.cs != USER_CODE_64 {
        return Err(Failure { step: Step::Architecture, errno: 0 });
    }
    thread.set_signal_mask(ALL_SIGNALS).at(Step::Inspect)?;
    let run = |number, argument| {
        let result = saved.call(thread, plan.syscall_at, number, argument);
        result.and_then(|value| if value < 0 { Err(-value as i32) } else { Ok(value as RawFd) })
    };
    let done = match plan.operation {
        Operation::Make(wanted) => take(run, wanted, pidfd),
        Operation::Close(there) => {
            run(libc::SYS_close, there as u64).at(Step::Call).map(|_| (None, there))
        }
    };
    saved.restore(thread);
    let (here, there) = done?;
    Ok(Made { here, there, stopped: nanoseconds() - begun })
}

/// Makes a userfaultfd in the stopped thread and takes it over. It stays open there only if all
/// went well and it is to last.
fn take(
    run: impl Fn(c_long, u64) -> Result<RawFd, i32>,
    wanted: Wanted,
    pidfd: RawFd,
) -> Result<(Option<OwnedFd>, RawFd), Failure> {
    const FLAGS: u64 = (libc::O_CLOEXEC | libc::O_NONBLOCK) as u64;
    // A process without CAP_SYS_PTRACE gets only one that answers no faults of the kernel. With
    // WP_ASYNC the kernel answers all of them itself, so it serves a tracer as well.
    const USER_MODE_ONLY: u64 = linux_raw_sys::general::UFFD_USER_MODE_ONLY as u64;

    let there = match (run(libc::SYS_userfaultfd, FLAGS), wanted) {
        (Err(libc::EPERM), Wanted::Ours) => run(libc::SYS_userfaultfd, FLAGS | USER_MODE_ONLY),
        (other, _) => other,
    };
    let there = there.at(Step::Call)?;
    // SAFETY: no memory is passed.
    let here = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd, there, 0) };
    let taken = if here < 0 { Err(errno()) } else { Ok(here as RawFd) };
    if wanted == Wanted::Ours || taken.is_err() {
        run(libc::SYS_close, there as u64).at(Step::Call)?;
    }
    // SAFETY: a descriptor that the kernel has just made for us alone.
    taken.at(Step::Take).map(|here| (Some(unsafe { OwnedFd::from_raw_fd(here) }), there))
}

/// What has to be put back.
struct Saved {
    registers: user_regs_struct,
    signal_mask: u64,
}

impl Saved {
    fn of(thread: Thread) -> Result<Self, i32> {
        let mut saved = Self { registers: thread.registers()?, signal_mask: thread.signal_mask()? };
        saved.restart_what_would_see_eintr();
        Ok(saved)
    }

    /// Some system calls end with EINTR by a mere stop, though no signal was caught
    /// (`signal(7)`, "Interruption of system calls by stop signals"). They have done nothing so
    /// far, so they are begun again.
    fn restart_what_would_see_eintr(&mut self) {
        let registers = &mut self.registers;
        let begun_again = matches!(
            registers.orig_rax as c_long,
            libc::SYS_epoll_wait
                | libc::SYS_epoll_pwait
                | libc::SYS_epoll_pwait2
                | libc::SYS_semop
                | libc::SYS_semtimedop
                | libc::SYS_rt_sigtimedwait
                | libc::SYS_io_getevents
                | libc::SYS_io_uring_enter
                | libc::SYS_read
        );
        if begun_again && registers.rax as i64 == -i64::from(libc::EINTR) {
            registers.rax = registers.orig_rax;
            registers.rip -= SYSCALL_LENGTH;
        }
    }

    /// Runs one system call of one argument in the stopped thread.
    fn call(&self, thread: Thread, at: u64, number: c_long, argument: u64) -> Result<i64, i32> {
        let mut registers = self.registers;
        registers.rip = at;
        registers.rax = number as u64;
        registers.orig_rax = u64::MAX; // there is no call in flight that could be restarted
        registers.rdi = argument;
        thread.set_registers(&registers)?;
        thread.run_to(libc::PTRACE_SYSCALL, Stop::Call)?; // at its begin
        thread.run_to(libc::PTRACE_SYSCALL, Stop::Call)?; // at its end
        Ok(thread.registers()?.rax as i64)
    }

    /// Puts all back and lets the thread go. An error means that the thread is gone.
    fn restore(&self, thread: Thread) {
        let _ = thread
            .order(libc::PTRACE_INTERRUPT, 0)
            .and_then(|()| thread.run_to(libc::PTRACE_CONT, Stop::Event));
        let _ = thread.set_registers(&self.registers);
        let _ = thread.set_signal_mask(self.signal_mask);
        let _ = thread.order(libc::PTRACE_DETACH, 0);
    }
}

/// Why a thread stands still.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// By `PTRACE_INTERRUPT`, or with its whole process (`SIGSTOP`).
    Event,
    /// At the begin or the end of a system call.
    Call,
    /// A signal is about to be delivered.
    Signal(c_int),
}

/// A thread that this process traces.
#[derive(Clone, Copy)]
struct Thread {
    id: i32,
}

impl Thread {
    /// A request with a number.
    fn order(self, request: impl Into<c_long>, number: c_int) -> Result<(), i32> {
        self.request(request, 0, std::ptr::without_provenance_mut(number as usize))
    }

    /// A request with a place for what is read or written.
    fn request(
        self,
        request: impl Into<c_long>,
        size: usize,
        data: *mut c_void,
    ) -> Result<(), i32> {
        // SAFETY: `data` is a plain number, or points to a live value that has the size which the
        // request reads or writes.
        let result =
            unsafe { libc::syscall(libc::SYS_ptrace, request.into(), self.id, size, data) };
        if result == -1 { Err(errno()) } else { Ok(()) }
    }

    /// Stops the thread, in time or not at all.
    fn stop(self, within: Duration) -> Result<(), i32> {
        self.order(libc::PTRACE_INTERRUPT, 0)?;
        let deadline = nanoseconds() + within.as_nanos() as u64;
        loop {
            match self.wait(Some(deadline))? {
                Stop::Signal(signal) => {
                    self.order(libc::PTRACE_CONT, signal)?;
                }
                Stop::Event => return Ok(()),
                Stop::Call => self.order(libc::PTRACE_CONT, 0)?,
            }
        }
    }

    /// Lets the thread run by `request` until the wanted stop. A signal that comes between
    /// (only SIGSTOP can) is passed on.
    fn run_to(self, request: u32, wanted: Stop) -> Result<(), i32> {
        let mut signal = 0;
        loop {
            self.order(request, signal)?;
            match self.wait(None)? {
                stop if stop == wanted => return Ok(()),
                Stop::Signal(other) => signal = other,
                Stop::Event | Stop::Call => signal = 0,
            }
        }
    }

    /// Waits for the next stop, until `deadline` in nanoseconds.
    fn wait(self, deadline: Option<u64>) -> Result<Stop, i32> {
        let patience = if deadline.is_some() { libc::WNOHANG } else { 0 };
        let status = loop {
            let mut status = 0;
            // SAFETY: `status` outlives the call.
            match unsafe { libc::waitpid(self.id, &raw mut status, libc::__WALL | patience) } {
                0 => await_child(deadline.unwrap_or(0))?,
                -1 if errno() == libc::EINTR => {}
                -1 => return Err(errno()),
                _ => break status,
            }
        };
        if !libc::WIFSTOPPED(status) {
            return Err(libc::ESRCH);
        }
        Ok(match (status >> 16, libc::WSTOPSIG(status)) {
            (libc::PTRACE_EVENT_STOP, _) => Stop::Event,
            (_, signal) if signal == libc::SIGTRAP | 0x80 => Stop::Call,
            (_, signal) => Stop::Signal(signal),
        })
    }

    fn registers(self) -> Result<user_regs_struct, i32> {
        // SAFETY: a struct of plain numbers.
        let mut registers: user_regs_struct = unsafe { std::mem::zeroed() };
        self.request(libc::PTRACE_GETREGS, 0, (&raw mut registers).cast())?;
        Ok(registers)
    }

    fn set_registers(self, registers: &user_regs_struct) -> Result<(), i32> {
        self.request(libc::PTRACE_SETREGS, 0, std::ptr::from_ref(registers).cast_mut().cast())
    }

    fn signal_mask(self) -> Result<u64, i32> {
        let mut mask = 0_u64;
        self.request(libc::PTRACE_GETSIGMASK, size_of::<u64>(), (&raw mut mask).cast())?;
        Ok(mask)
    }

    fn set_signal_mask(self, mut mask: u64) -> Result<(), i32> {
        self.request(libc::PTRACE_SETSIGMASK, size_of::<u64>(), (&raw mut mask).cast())
    }
}

/// Says at which step an error number came.
trait At<T> {
    fn at(self, step: Step) -> Result<T, Failure>;
}

impl<T> At<T> for Result<T, i32> {
    fn at(self, step: Step) -> Result<T, Failure> {
        self.map_err(|errno| Failure { step, errno })
    }
}

/// Sleeps until a child has something to report, or until `deadline`. SIGCHLD must be blocked and
/// have its default action.
fn await_child(deadline: u64) -> Result<(), i32> {
    let rest = deadline.saturating_sub(nanoseconds());
    if rest == 0 {
        return Err(libc::ETIMEDOUT);
    }
    let rest = libc::timespec {
        tv_sec: (rest / 1_000_000_000) as i64,
        tv_nsec: (rest % 1_000_000_000) as i64,
    };
    // SAFETY: the set is made by sigemptyset before it is used, and all pointers are to locals.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const rest);
    }
    Ok(())
}

/// The monotonic clock.
fn nanoseconds() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn errno() -> i32 {
    // SAFETY: the address of this thread's error number, which lives as long as the thread.
    unsafe { *libc::__errno_location() }
}
