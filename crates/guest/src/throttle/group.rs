use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use punctual_units::Probability;

use super::ThrottleError;

/// How often a share is dealt out, in microseconds. The kernel deals out at least 1 ms, so this is
/// what lets a share be as small as a twentieth.
const PERIOD: u64 = 20_000;
/// The least that the kernel deals out, in microseconds.
const LEAST: u64 = 1_000;
/// What the names of our groups begin with.
const PREFIX: &str = "punctual-slowed-";
/// So often the threads of a group are moved out until none is left: each may have made new ones.
const TRIES: usize = 100;

/// The name of the group of a thread, or what those of a process begin with.
pub(super) fn name(process: u32, thread: Option<u32>) -> String {
    let thread = thread.map(|thread| thread.to_string()).unwrap_or_default();
    format!("{PREFIX}{process}-{thread}")
}

/// The two kinds of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The hierarchy of control groups that has the CPU controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    pub(super) version: Version,
    /// Where it is mounted, ...
    pub(super) mount: PathBuf,
    /// ... and which of its groups is there.
    pub(super) root: PathBuf,
}

impl Hierarchy {
    pub(super) fn find() -> Result<Self, ThrottleError> {
        let doing = "find the cpu controller";
        let mounts = fs::read_to_string("/proc/self/mountinfo")
            .map_err(|cause| ThrottleError::new(doing, cause))?;
        let none = || ThrottleError::new(doing, io::ErrorKind::NotFound.into());
        Self::among(&mounts).ok_or_else(none)
    }

    /// The one among what is mounted (`proc_pid_mountinfo(5)`): a hierarchy of version 1 that has
    /// the controller, since that of version 2 lacks it then.
    pub(super) fn among(mounts: &str) -> Option<Self> {
        let hierarchies = mounts.lines().filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let mut filesystem = filesystem.split(' ');
            let version = match filesystem.next()? {
                "cgroup" if filesystem.nth(1)?.split(',').any(|option| option == "cpu") => {
                    Version::One
                }
                "cgroup2" => Version::Two,
                _ => return None,
            };
            let mut fields = mount.split(' ').skip(3);
            let (root, mount) = (fields.next()?.into(), fields.next()?.into());
            Some(Self { version, mount, root })
        });
        let mut all: Vec<_> = hierarchies.collect();
        all.sort_by_key(|hierarchy| hierarchy.version == Version::Two);
        all.into_iter().next()
    }

    /// The group of a process, by its first thread.
    pub(super) fn home(&self, process: u32) -> Result<PathBuf, ThrottleError> {
        let doing = || format!("find the control group of process {process}");
        let failed = |cause| ThrottleError::new(doing(), cause);
        let groups =
            fs::read_to_string(format!("/proc/{process}/task/{process}/cgroup")).map_err(failed)?;
        let group = self.group_among(&groups);
        group.ok_or_else(|| failed(io::ErrorKind::NotFound.into()))
    }

    /// The directory of the group that a process is in (`cgroups(7)`, "/proc files").
    pub(super) fn group_among(&self, groups: &str) -> Option<PathBuf> {
        let paths = groups.lines().filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let ours = match self.version {
                Version::One => controllers.split(',').any(|controller| controller == "cpu"),
                Version::Two => controllers.is_empty(),
            };
            ours.then_some(path)
        });
        let path = Path::new(paths.into_iter().next()?);
        // What lies above what is mounted is no place that can be reached.
        let below = path.strip_prefix(&self.root).ok()?;
        let above = |part| part == std::path::Component::ParentDir;
        (!below.components().any(above)).then(|| self.mount.join(below))
    }

    fn threads(&self, group: &Path) -> PathBuf {
        group.join(match self.version {
            Version::One => "tasks",
            Version::Two => "cgroup.threads",
        })
    }

    pub(super) fn make(&self, home: &Path, name: &str) -> Result<PathBuf, ThrottleError> {
        let group = home.join(name);
        let failed =
            |cause| ThrottleError::new(format!("make the group {}", group.display()), cause);
        match fs::create_dir(&group) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(cause));
            }
            _ => {}
        }
        if self.version == Version::Two {
            let prepared = write(&group.join("cgroup.type"), "threaded")
                .and_then(|()| write(&home.join("cgroup.subtree_control"), "+cpu"));
            prepared.map_err(|cause| {
                let _ = fs::remove_dir(&group);
                failed(cause)
            })?;
        }
        Ok(group)
    }

    pub(super) fn put(&self, thread: u32, group: &Path) -> Result<(), ThrottleError> {
        let put = write(&self.threads(group), &thread.to_string());
        let doing = || format!("move thread {thread} to the group {}", group.display());
        put.map_err(|cause| ThrottleError::new(doing(), cause))
    }

    pub(super) fn limit(&self, group: &Path, share: Probability) -> Result<(), ThrottleError> {
        let quota = ((share.get() * PERIOD as f64) as u64).max(LEAST);
        let all = share.get() >= 1.0;
        let limited = match self.version {
            Version::One => {
                write(&group.join("cpu.cfs_period_us"), &PERIOD.to_string()).and_then(|()| {
                    let quota = if all { "-1".to_owned() } else { quota.to_string() };
                    write(&group.join("cpu.cfs_quota_us"), &quota)
                })
            }
            Version::Two => {
                let quota = if all { "max".to_owned() } else { quota.to_string() };
                write(&group.join("cpu.max"), &format!("{quota} {PERIOD}"))
            }
        };
        let doing = || format!("limit the group {} to {:.2}", group.display(), share.get());
        limited.map_err(|cause| ThrottleError::new(doing(), cause))
    }

    /// Moves all threads of a process that are in groups of ours back to where they came from, and
    /// removes the groups. Whether there were any.
    pub(super) fn release(&self, home: &Path, process: u32) -> Result<bool, ThrottleError> {
        let groups = ours(home, &name(process, None));
        for group in &groups {
            // They run freely from here on, however long it takes to move them.
            self.limit(group, Probability::saturating(1.0))?;
        }
        for group in &groups {
            self.empty(group, home).map_err(|cause| {
                ThrottleError::new(format!("dissolve the group {}", group.display()), cause)
            })?;
        }
        if self.version == Version::Two && !groups.is_empty() && ours(home, "").is_empty() {
            // Refused where somebody else needs it.
            let _ = write(&home.join("cgroup.subtree_control"), "-cpu");
        }
        Ok(!groups.is_empty())
    }

    fn empty(&self, group: &Path, home: &Path) -> io::Result<()> {
        for _ in 0..TRIES {
            for thread in fs::read_to_string(self.threads(group))?.lines() {
                match write(&self.threads(home), thread) {
                    // It has ended.
                    Err(cause) if cause.raw_os_error() == Some(libc::ESRCH) => {}
                    moved => moved?,
                }
            }
            match fs::remove_dir(group) {
                Err(cause) if cause.raw_os_error() == Some(libc::EBUSY) => {}
                removed => return removed,
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Removes what is left of processes that have ended.
    pub(super) fn sweep(&self, home: &Path) {
        for group in ours(home, PREFIX) {
            let name = group.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let process = name.trim_start_matches(PREFIX).split('-').next().unwrap_or_default();
            if !Path::new("/proc").join(process).exists() {
                // It may be another daemon's that sweeps as well.
                let _ = fs::remove_dir(group);
            }
        }
    }
}

/// The groups in `home` whose names begin so.
fn ours(home: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home) else { return Vec::new() };
    let directories = entries.filter_map(Result::ok).filter(|entry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix))
    });
    directories.map(|entry| entry.path()).collect()
}

/// Writes to a file of the kernel's, which must be there.
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::OpenOptions::new().write(true).open(path).and_then(|mut file| {
        use std::io::Write as _;
        file.write_all(text.as_bytes())
    })
}
