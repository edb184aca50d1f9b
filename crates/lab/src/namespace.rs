//! Doing things inside a network namespace that has a name under `/run/netns`.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

/// A named network namespace; `ip netns` shows it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Namespace(String);

/// What tells one namespace of the kernel from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Namespace {
    pub(crate) fn new(name: String) -> Self {
        Self(name)
    }

    /// The name, as `ip netns` takes it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The file that keeps the namespace alive.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.0)
    }

    /// Runs `work` on a thread inside the namespace and waits for it.
    ///
    /// A socket that `work` makes stays in the namespace, whichever thread uses it later.
    ///
    /// # Errors
    /// The namespace is gone, this process may not enter it, or `work` failed.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        let namespace = self.open()?;
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                join(namespace.as_fd())?;
                work()
            });
            worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Makes the process that `command` will start a member of the namespace.
    ///
    /// # Errors
    /// The namespace is gone.
    pub fn enter(&self, command: &mut Command) -> io::Result<()> {
        let namespace = self.open()?;
        // SAFETY: between fork and exec `join` makes a single system call on a descriptor that was
        // opened before, and allocates nothing.
        unsafe { command.pre_exec(move || join(namespace.as_fd())) };
        Ok(())
    }

    /// The namespace as the kernel knows it; `None` if the name is gone, or is a mere file that
    /// was left without a namespace.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let own = fs::metadata("/proc/self/ns/net").ok()?;
        let metadata = fs::metadata(self.path()).ok()?;
        (metadata.dev() == own.dev()).then(|| Identity::of(&metadata))
    }

    fn open(&self) -> io::Result<File> {
        File::open(self.path()).map_err(|error| {
            let name = &self.0;
            io::Error::new(error.kind(), format!("cannot open network namespace {name}: {error}"))
        })
    }
}

/// Moves the calling thread into the namespace.
fn join(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?)
}

impl Identity {
    /// The namespace that a process is in; `None` once it has ended.
    pub(crate) fn of_process(pid: u32) -> Option<Self> {
        fs::metadata(format!("/proc/{pid}/ns/net")).ok().map(|metadata| Self::of(&metadata))
    }

    fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}
