//! A userfaultfd of another process, by system calls injected into it.
//!
//! The work is done by a process of its own (`surgeon`), so that the other is never left half
//! changed when this program is killed. It is forked twice: nobody has to wait for it, and it
//! ends its work whatever becomes of us.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use super::TraceError;
use super::surgeon::{Failure, Made, Operation, Plan, Step, Wanted, operate};
use super::target::Target;

/// How long a thread may take to stop. It takes microseconds, unless it waits for a disk.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// How long to wait for the surgeon, which answers after [`STOP_WITHIN`] at the latest.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A userfaultfd of a process, and what it took to get it.
#[derive(Debug)]
pub(super) struct Injected {
    pub(super) userfaultfd: OwnedFd,
    /// For how long one thread of the process stood still.
    pub(super) stopped: Duration,
}

/// Makes a userfaultfd in the process `target` and takes it.
///
/// One thread of it stands still for some 0.1 ms; no system call of it is seen to fail.
pub(super) fn userfaultfd(target: &Target) -> Result<Injected, TraceError> {
    userfaultfd_by(target, target.choose_thread()?)
}

/// The same by one certain thread of the process.
pub(super) fn userfaultfd_by(target: &Target, thread: i32) -> Result<Injected, TraceError> {
    match inject(target, thread, Operation::Make(Wanted::Ours))? {
        (Some(userfaultfd), _, stopped) => Ok(Injected { userfaultfd, stopped }),
        (None, ..) => Err(TraceError::Gone { pid: target.pid() }),
    }
}

/// Makes a userfaultfd in the process that stays open there as well as here, so that faults wait
/// even when this program is killed. The number is its descriptor there.
///
/// # Errors
/// Also where the process may answer only the faults of user mode (`Denied`).
pub(crate) fn lasting_userfaultfd(target: &Target) -> Result<(OwnedFd, RawFd), TraceError> {
    match inject(target, target.choose_thread()?, Operation::Make(Wanted::Lasting))? {
        (Some(userfaultfd), there, _) => Ok((userfaultfd, there)),
        (None, ..) => Err(TraceError::Gone { pid: target.pid() }),
    }
}

/// Closes a descriptor in the process.
pub(crate) fn close(target: &Target, descriptor: RawFd) -> Result<(), TraceError> {
    inject(target, target.choose_thread()?, Operation::Close(descriptor)).map(drop)
}

/// Has one thread of the process do something. The result is a descriptor taken over, its number
/// in the process, and for how long the thread stood still.
fn inject(
    target: &Target,
    thread: i32,
    operation: Operation,
) -> Result<(Option<OwnedFd>, RawFd, Duration), TraceError> {
    let tracer = target.status(thread, "TracerPid")?;
    if tracer != 0 {
        return Err(TraceError::AlreadyTraced { pid: target.pid(), tracer });
    }
    let plan = Plan {
        syscall_at: target.syscall_instruction()?,
        suspend_seccomp: target.status(thread, "Seccomp")? != 0,
        thread,
        stop_within: STOP_WITHIN,
        operation,
    };
    let system = |action| move |error: rustix::io::Errno| target.error(action, error.into());
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(system("make a socket pair"))?;
    fork_surgeon(&plan, target.pidfd().as_fd(), theirs)
        .map_err(|cause| target.error("fork", cause))?;
    let answer = receive(&ours).map_err(|cause| match cause.kind() {
        io::ErrorKind::TimedOut => TraceError::NotStopping { pid: target.pid() },
        _ => target.error("wait for the injecting process", cause),
    })?;
    match answer {
        (descriptor, Report { step: Some(Step::Done), number, value }) => {
            Ok((descriptor, number, Duration::from_nanos(value)))
        }
        (_, report) => Err(explain(target, thread, report)),
    }
}

/// What the surgeon reports: how far it got, an error number (done: a descriptor's number in the
/// process), nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Report {
    step: Option<Step>,
    number: i32,
    value: u64,
}

impl Report {
    const LENGTH: usize = 24;

    fn encode(step: Step, number: i32, value: u64) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..8].copy_from_slice(&(step as i64).to_ne_bytes());
        bytes[8..12].copy_from_slice(&number.to_ne_bytes());
        bytes[16..].copy_from_slice(&value.to_ne_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::LENGTH]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, _, _, _, _, value @ ..] = bytes;
        Self {
            step: Step::from_number(i64::from_ne_bytes([a, b, c, d, e, f, g, h])),
            number: i32::from_ne_bytes([i, j, k, l]),
            value: u64::from_ne_bytes(value),
        }
    }
}

fn explain(target: &Target, thread: i32, report: Report) -> TraceError {
    let pid = target.pid();
    let Some(step) = report.step else {
        return TraceError::Gone { pid };
    };
    let cause = io::Error::from_raw_os_error(report.number);
    if report.number == libc::ESRCH || !target.alive() {
        return TraceError::Gone { pid };
    }
    match (step, report.number) {
        (Step::Seize, libc::EPERM) => match target.status(thread, "TracerPid") {
            Ok(tracer) if tracer != 0 => TraceError::AlreadyTraced { pid, tracer },
            _ => TraceError::Permission { pid },
        },
        (Step::Seize, _) => target.error("attach to a thread", cause),
        (Step::Stop, _) => TraceError::NotStopping { pid },
        (Step::SuspendSeccomp, _) => TraceError::Seccomp { pid },
        (Step::Architecture, _) => TraceError::Architecture { pid },
        (Step::Inspect, _) => target.error("read registers", cause),
        (Step::Call, libc::ENOSYS) => TraceError::Kernel { missing: "no userfaultfd" },
        (Step::Call, libc::EPERM | libc::EACCES) => TraceError::Denied { pid },
        (Step::Call, _) => target.error("make or close a userfaultfd", cause),
        (Step::Take | Step::Done, _) => target.error("take the userfaultfd over", cause),
    }
}

/// Waits for the one message. Its end without a message is `UnexpectedEof`.
fn receive(socket: &OwnedFd) -> io::Result<(Option<OwnedFd>, Report)> {
    let timeout = Timespec::try_from(ANSWER_WITHIN).expect("seconds");
    let mut waited_for = [PollFd::new(socket, PollFlags::IN)];
    if poll(&mut waited_for, Some(&timeout))? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut bytes = [0; Report::LENGTH];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes != Report::LENGTH {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok((descriptor, Report::decode(bytes)))
}

/// Starts the surgeon as nobody's child, in a session of its own.
fn fork_surgeon(plan: &Plan, pidfd: BorrowedFd<'_>, socket: OwnedFd) -> io::Result<()> {
    // All signals are held back over the fork, so that no handler of this program runs in the
    // child.
    let mut every = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: the sets are written before they are read.
    unsafe {
        libc::sigfillset(every.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, every.as_ptr(), before.as_mut_ptr());
    }
    // SAFETY: the child makes nothing but system calls and ends by _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        be_surgeon(plan, pidfd.as_raw_fd(), socket.as_raw_fd());
    }
    let failed = io::Error::last_os_error();
    // SAFETY: the set was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut()) };
    if child < 0 {
        return Err(failed);
    }
    // SAFETY: our own child, which ends at once.
    while unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) } < 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
    Ok(())
}

/// The forked child: no allocation, no lock, only system calls.
fn be_surgeon(plan: &Plan, pidfd: RawFd, socket: RawFd) -> ! {
    // SAFETY: system calls on plain numbers. Afterwards 0 is the socket and 1 the pidfd, and all
    // other descriptors are closed here: no port or file of the program stays in use by us. The
    // two are copied out of the way first, in case one of them is 0 or 1.
    unsafe {
        libc::setsid();
        if libc::fork() != 0 {
            libc::_exit(0);
        }
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        // On a busy host the other process would stand still for as long as we wait for a turn.
        // Where it is not allowed, it is only slower.
        let first = libc::sched_param { sched_priority: 1 };
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const first);
        let pidfd = libc::fcntl(pidfd, libc::F_DUPFD, 3);
        let socket = libc::fcntl(socket, libc::F_DUPFD, 3);
        libc::dup2(socket, 0);
        libc::dup2(pidfd, 1);
        libc::syscall(libc::SYS_close_range, 2, libc::c_uint::MAX, 0);
    }
    // SAFETY: made above and open until the end of this process.
    let socket = unsafe { BorrowedFd::borrow_raw(0) };
    match operate(plan, 1) {
        Ok(Made { here, there, stopped }) => {
            let report = Report::encode(Step::Done, there, stopped);
            answer(socket, report, here.as_ref().map(AsFd::as_fd));
        }
        Err(Failure { step, errno }) => answer(socket, Report::encode(step, errno, 0), None),
    }
    // SAFETY: ends this process without any of the program's own clearing up.
    unsafe { libc::_exit(0) }
}

/// Sends the report. Nobody is there any more to be told that it did not arrive.
fn answer(
    socket: BorrowedFd<'_>,
    report: [u8; Report::LENGTH],
    descriptor: Option<BorrowedFd<'_>>,
) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = &descriptor {
        ancillary.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(descriptor)));
    }
    let _ = sendmsg(socket, &[IoSlice::new(&report)], &mut ancillary, SendFlags::NOSIGNAL);
}
