//! What a daemon needs of memory for itself.
//!
//! Counted is what `/proc/PID/status` calls `RssAnon` (heap and stacks) and `RssFile` (the program
//! itself, of which other processes may have a part in common: so it is rather too much). Not
//! counted is `RssShmem`, pages of files on tmpfs that a process has mapped: the RAM of a guest is
//! such a file, it is there once however many processes map it, and it is there without a daemon
//! too.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use punctual_units::Bytes;

use crate::Process;

/// Between two looks. What comes and goes faster is not seen; the daemon's buffers live as long as
/// a move.
const LOOK: Duration = Duration::from_millis(5);
/// What a daemon may need beside [`SHARE`] of the guest's RAM.
const LIMIT: Bytes = Bytes::mib(64);
/// One part in so many of the guest's RAM.
const SHARE: u64 = 1000;

/// What a daemon may need while it moves a guest with so much RAM.
#[must_use]
pub fn limit(ram: Bytes) -> Bytes {
    LIMIT + Bytes::new(ram.get() / SHARE)
}

/// Looks at a process until it is told to stop.
pub(super) struct Watch {
    seen: Arc<Seen>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    most: AtomicU64,
    ended: AtomicBool,
}

impl Watch {
    pub(super) fn begin(process: &Process) -> Self {
        let seen = Arc::new(Seen::default());
        let path = format!("/proc/{}/status", process.record().id.pid);
        let watcher = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            while !watcher.ended.load(Ordering::Relaxed) {
                let status = fs::read_to_string(&path).unwrap_or_default();
                watcher.most.fetch_max(own(&status).get(), Ordering::Relaxed);
                thread::sleep(LOOK);
            }
        });
        Self { seen, thread }
    }

    /// The most that was seen; zero if the process could not be looked at.
    pub(super) fn end(self) -> Bytes {
        self.seen.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watching thread does not panic");
        Bytes::new(self.seen.most.load(Ordering::Relaxed))
    }
}

fn own(status: &str) -> Bytes {
    let field = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().strip_suffix(" kB")?.parse().ok().map(Bytes::kib)
    };
    field("RssAnon").unwrap_or_default() + field("RssFile").unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_guests_do_not_count() {
        let status = "VmRSS:\t  900 kB\nRssAnon:\t     100 kB\nRssFile:\t      20 kB\n\
                      RssShmem:\t     780 kB\n";
        assert_eq!(own(status), Bytes::kib(120));
        assert_eq!(own(""), Bytes::ZERO);
    }

    #[test]
    fn the_limit_grows_with_the_guest() {
        assert_eq!(limit(Bytes::new(1 << 30)), Bytes::new((64 << 20) + (1 << 30) / 1000));
    }
}
