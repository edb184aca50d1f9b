use std::io;

use thiserror::Error;

/// Why a process cannot be traced. Nothing has changed in it.
#[derive(Debug, Error)]
pub enum TraceError {
    /// There is no such process, or it ended meanwhile.
    #[error("process {pid} is gone")]
    Gone {
        /// The process.
        pid: i32,
    },
    /// The kernel does not let this process touch the other.
    #[error(
        "not permitted to trace process {pid}: run as root or with CAP_SYS_PTRACE \
             (with Yama, /proc/sys/kernel/yama/ptrace_scope must be below 3)"
    )]
    Permission {
        /// The process.
        pid: i32,
    },
    /// A debugger or another tracer is attached to it.
    #[error(
        "process {pid} is being traced by thread {tracer} (a debugger or strace): end that first"
    )]
    AlreadyTraced {
        /// The process.
        pid: i32,
        /// Who traces it.
        tracer: i32,
    },
    /// Some other user of userfaultfd watches the RAM.
    #[error(
        "the RAM of process {pid} is already watched through another userfaultfd (a migration, \
             a snapshot or another Punctual): wait for its end"
    )]
    AlreadyWatched {
        /// The process.
        pid: i32,
    },
    /// Not a 64-bit x86 process.
    #[error("process {pid} is not a 64-bit x86 process, the only kind that can be traced so far")]
    Architecture {
        /// The process.
        pid: i32,
    },
    /// The process has a seccomp filter that cannot be suspended.
    #[error(
        "process {pid} has a seccomp filter, and it cannot be suspended for the one system \
             call needed: run Punctual as root and outside of a sandbox, or start QEMU without -sandbox"
    )]
    Seccomp {
        /// The process.
        pid: i32,
    },
    /// No thread of the process could be stopped.
    #[error(
        "no thread of process {pid} stopped in time (it may wait for a disk that does not \
             answer): try again"
    )]
    NotStopping {
        /// The process.
        pid: i32,
    },
    /// The kernel has no userfaultfd, or one without what is needed.
    #[error(
        "the kernel cannot trace writes ({missing}): Linux 6.7 or newer with \
             CONFIG_USERFAULTFD and CONFIG_PTE_MARKER_UFFD_WP is needed"
    )]
    Kernel {
        /// What it lacks.
        missing: &'static str,
    },
    /// userfaultfd is denied to the process.
    #[error("process {pid} may not use userfaultfd: an LSM or container policy denies it")]
    Denied {
        /// The process.
        pid: i32,
    },
    /// The RAM is not, or not as shared memory, mapped in the process.
    #[error(
        "process {pid} has not mapped all of the RAM region `{region}` as shared memory that \
             it can write (QEMU: memory-backend-file or -memfd with share=on)"
    )]
    NotMapped {
        /// The process.
        pid: i32,
        /// The region.
        region: String,
    },
    /// Something the kernel is not known to answer.
    #[error("tracing process {pid}: {action}: {cause}")]
    System {
        /// The process.
        pid: i32,
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        #[source]
        cause: io::Error,
    },
}
