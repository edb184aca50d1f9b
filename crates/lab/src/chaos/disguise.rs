//! Daemons that see another clock, and a disk that takes nothing more.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::proxy::NOISY_PORT;
use crate::{Lab, LabHost};

/// What a daemon is given in place of some functions of its C library.
const HOST: &str = include_str!("host.c");
/// Where the clock's offset stands in a host's file, and whether its disk is full.
const CLOCK: u64 = 0;
const DISK: u64 = 8;

/// The program that the daemons of a lab run in place of `punctual`: it is `punctual` with the
/// clock and the disk of its host, and it knows each host by a noisy name too.
///
/// A log keeps room ahead of its end, so that a disk that is merely full does not stop it at once.
/// This one fails each write below the state directory with `ENOSPC`, as storage does that promised
/// more than it has.
#[derive(Debug)]
pub(super) struct Disguise {
    directory: PathBuf,
}

/// The name by which a host is reached through somebody who turns bits around.
pub(super) fn noisy(host: &str) -> String {
    format!("{host}-noisy")
}

impl Disguise {
    /// Makes it, of files that go with the lab. Needs a C compiler, as building Punctual does.
    pub(super) fn make(lab: &Lab, program: &Path) -> io::Result<Self> {
        let first = lab.hosts().first().expect("a lab has a host");
        let directory = first.run_dir.join("disguise");
        fs::create_dir_all(&directory)?;
        let disguise = Self { directory };
        disguise.compile()?;
        for host in lab.hosts() {
            fs::write(disguise.control(host), [0; 16])?;
        }
        disguise.write_program(lab, program)?;
        Ok(disguise)
    }

    pub(super) fn program(&self) -> PathBuf {
        self.directory.join("punctual")
    }

    /// Sets the wall clock of a host off by this much, forward or back.
    pub(super) fn set_clock(&self, host: &LabHost, ahead: bool, by: Duration) -> io::Result<()> {
        let by = i64::try_from(by.as_nanos()).map_err(io::Error::other)?;
        self.set(host, CLOCK, if ahead { by } else { -by })
    }

    /// Has the disk under a host's log take nothing more, or take it again.
    pub(super) fn set_disk(&self, host: &LabHost, full: bool) -> io::Result<()> {
        self.set(host, DISK, i64::from(full))
    }

    fn set(&self, host: &LabHost, at: u64, number: i64) -> io::Result<()> {
        let control = File::options().write(true).open(self.control(host))?;
        control.write_all_at(&number.to_ne_bytes(), at)
    }

    fn control(&self, host: &LabHost) -> PathBuf {
        self.directory.join(host.name.as_str())
    }

    fn library(&self) -> PathBuf {
        self.directory.join("host.so")
    }

    fn compile(&self) -> io::Result<()> {
        let source = self.directory.join("host.c");
        fs::write(&source, HOST)?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-shared", "-fPIC", "-o"]).arg(self.library()).arg(&source);
        let output = compiler.arg("-ldl").output()?;
        if output.status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("cc cannot build {}: {why}", source.display())))
    }

    fn write_program(&self, lab: &Lab, program: &Path) -> io::Result<()> {
        let mut script = File::create(self.program())?;
        writeln!(script, "#!/bin/sh\ncase $PUNCTUAL_HOST in")?;
        for host in lab.hosts() {
            let (control, disk) = (self.control(host), host.run_dir.join("state"));
            let (control, disk) = (control.display(), disk.display());
            let name = &host.name;
            writeln!(script, "{name}) control={control} disk={disk}/;;")?;
        }
        let peers = lab.hosts().iter().map(|host| {
            format!("--peer {}={}:{NOISY_PORT}", noisy(host.name.as_str()), host.address)
        });
        let peers: Vec<_> = peers.collect();
        writeln!(
            script,
            "esac\nexport PUNCTUAL_LAB_CONTROL=$control PUNCTUAL_LAB_DISK=$disk\n\
             export LD_PRELOAD={}\nexec {} \"$@\" {}",
            self.library().display(),
            program.display(),
            peers.join(" ")
        )?;
        script.set_permissions(fs::Permissions::from_mode(0o700))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for 10 ms, by a clock that it asks first, as QEMU does.
    const WAIT: &str = "
        #include <pthread.h>
        #include <sys/time.h>
        int main(void) {
          pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
          pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
          struct timeval now;
          gettimeofday(&now, NULL);
          long end = now.tv_usec + 10000;
          struct timespec deadline = {now.tv_sec + end / 1000000, end % 1000000 * 1000};
          pthread_mutex_lock(&mutex);
          while (!pthread_cond_timedwait(&condition, &mutex, &deadline)) {}
          return 0;
        }";

    #[test]
    fn who_waits_by_a_clock_that_is_ahead_waits_no_longer() {
        let directory = tempfile::tempdir().unwrap();
        let disguise = Disguise { directory: directory.path().to_owned() };
        disguise.compile().unwrap();
        let control = directory.path().join("control");
        let ahead: i64 = 3_600_000_000_000;
        fs::write(&control, [ahead.to_ne_bytes(), [0; 8]].concat()).unwrap();
        let (source, program) = (directory.path().join("wait.c"), directory.path().join("wait"));
        fs::write(&source, WAIT).unwrap();
        let built =
            Command::new("cc").arg(&source).arg("-o").arg(&program).arg("-pthread").status();
        assert!(built.unwrap().success());
        // It would wait for an hour.
        let mut waiting = Command::new("timeout");
        waiting.arg("60").arg(&program).env("PUNCTUAL_LAB_CONTROL", &control);
        let ended = waiting.env("LD_PRELOAD", disguise.library()).status().unwrap();
        assert!(ended.success(), "{ended}");
    }
}
