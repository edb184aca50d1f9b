//! QEMU's own migration, as its operators run it: a second QEMU waits at the destination, the first
//! sends itself there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use punctual_guest::qemu::migration::{is_over, set, status};
use punctual_guest::qemu::qmp::{Qmp, QmpError};
use punctual_host::api::MachineDetails;
use punctual_images::Qemu;
use serde_json::json;

use super::contender::Contender;
use super::trial::TrialError;
use crate::scene::Scene;
use crate::{LabHost, Process};

/// The port on which the QEMU at the destination waits.
const PORT: u16 = 4444;
/// Bytes of pages that xbzrle remembers: enough for every page that the benchmark's guests write.
const XBZRLE_CACHE: u64 = 256 << 20;
/// Connections of multifd.
const CHANNELS: u64 = 4;
/// Rounds of pre-copy before post-copy.
const SYNCS: u64 = 2;
/// Between two looks at a migration that has no event for what is waited for.
const LOOK: Duration = Duration::from_millis(5);
/// A QEMU that has not opened its monitor by then never will.
const START: Duration = Duration::from_secs(10);

/// A QEMU that waits at host `b` for the machine of host `a`.
pub(super) struct Waiting {
    process: Process,
    source: Qmp,
    destination: Qmp,
    uri: String,
    contender: Contender,
    /// Directories for its sockets and logs, made for it.
    made: BTreeSet<PathBuf>,
}

/// The monitor that the benchmark speaks to, beside the daemon's.
pub(super) fn monitor(host: &LabHost, guest: &str) -> PathBuf {
    host.run_dir.join(monitor_name(guest))
}

fn monitor_name(guest: &str) -> String {
    format!("{guest}-bench.qmp")
}

/// The arguments of a machine that runs, whether it was started or came from a file.
fn running(command_line: &[String]) -> Vec<String> {
    let mut words = command_line.iter().skip(1);
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-S" => {}
            "-incoming" => drop(words.next()),
            _ => kept.push(word.clone()),
        }
    }
    kept
}

/// Where that monitor's socket is: a machine from a file has it in a directory of its own.
fn ours(arguments: &[String], guest: &str) -> Result<String, TrialError> {
    let name = monitor_name(guest);
    let path = |argument: &String| {
        let path = argument.strip_prefix("unix:")?.split(',').next()?;
        path.ends_with(&name).then(|| path.to_owned())
    };
    let none = || TrialError::Native(format!("the machine has no monitor {name}"));
    arguments.iter().find_map(path).ok_or_else(none)
}

impl Waiting {
    /// Starts the second QEMU with the first one's command line, as its operators do.
    pub(super) fn start(
        scene: &Scene,
        machine: &MachineDetails,
        qemu: &Qemu,
        contender: Contender,
    ) -> Result<Self, TrialError> {
        let lab = scene.lab();
        let (a, b) = (lab.host("a")?, lab.host("b")?);
        let name = &machine.summary.name;
        let directories = machine.command_line.iter().filter_map(|argument| {
            let path = argument.split(',').find_map(|part| part.split_once('/'))?.1;
            Path::new(&there(&format!("/{path}"), a, b)).parent().map(Path::to_owned)
        });
        let made: BTreeSet<PathBuf> =
            directories.filter(|path| path.starts_with(&b.run_dir) && !path.exists()).collect();
        made.iter().try_for_each(fs::create_dir_all)?;
        fs::create_dir_all(&b.ram_dir)?;
        lab.tap("b", &tap(name))?;

        let mut command = Command::new(&qemu.binary);
        command.envs(&qemu.env);
        let arguments = running(&machine.command_line);
        command.args(arguments.iter().map(|argument| there(argument, a, b)));
        command.args(["-incoming", "defer"]);
        let process = lab.spawn("b", &format!("qemu-{name}"), command)?;
        let ours = ours(&arguments, name)?;
        let destination = connect(Path::new(&there(&ours, a, b)), &process)?;
        let uri = format!("tcp:{}:{PORT}", b.address);
        Ok(Self {
            process,
            source: Qmp::connect(Path::new(&ours))?,
            destination,
            uri,
            contender,
            made,
        })
    }

    /// Moves the machine; returns when it runs at the destination and needs the source no more.
    pub(super) fn migrate(&self, downtime: Duration, within: Duration) -> Result<(), TrialError> {
        let on = self.contender.capabilities();
        let mut parameters = json!({
            "max-bandwidth": 1_u64 << 40,
            "downtime-limit": u64::try_from(downtime.as_millis()).unwrap_or(u64::MAX),
        });
        match self.contender {
            Contender::QemuXbzrle => parameters["xbzrle-cache-size"] = XBZRLE_CACHE.into(),
            Contender::QemuMultifd => parameters["multifd-channels"] = CHANNELS.into(),
            _ => {}
        }
        for side in [&self.destination, &self.source] {
            set(side, on, &parameters)?;
        }
        self.destination.execute("migrate-incoming", json!({ "uri": self.uri }))?;
        self.source.execute("migrate", json!({ "uri": self.uri }))?;
        self.see_through(Instant::now() + within)
    }

    fn see_through(&self, deadline: Instant) -> Result<(), TrialError> {
        let mut switched = self.contender != Contender::QemuPostCopy;
        loop {
            let status = status(&self.source)?;
            if status == "completed" && self.runs_there()? {
                return Ok(());
            }
            if is_over(&status) && status != "completed" {
                return Err(TrialError::Native(format!("QEMU's migration is {status}")));
            }
            if Instant::now() > deadline {
                self.give_up();
                return Err(TrialError::Native(format!("still {status} when time was up")));
            }
            if !switched && self.syncs()? >= SYNCS {
                self.source.execute("migrate-start-postcopy", json!({}))?;
                switched = true;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// The guest stays where it is, as fast as it was. What has begun post-copy cannot be given up.
    fn give_up(&self) {
        let _ = self.source.execute("migrate_cancel", json!({}));
    }

    fn runs_there(&self) -> Result<bool, QmpError> {
        let answer = self.destination.execute("query-status", json!({}))?;
        Ok(answer["status"] == "running")
    }

    fn syncs(&self) -> Result<u64, QmpError> {
        let answer = self.source.execute("query-migrate", json!({}))?;
        Ok(answer["ram"]["dirty-sync-count"].as_u64().unwrap_or(0))
    }

    /// The downtime that QEMU itself reports, if it came to one.
    pub(super) fn reported_downtime(&self) -> Option<Duration> {
        let answer = self.source.execute("query-migrate", json!({})).ok()?;
        answer["downtime"].as_u64().map(Duration::from_millis)
    }

    /// Ends the second QEMU and removes what it had.
    pub(super) fn end(self, scene: &Scene, guest: &str) -> Result<(), TrialError> {
        self.process.kill()?;
        scene.lab().remove_tap("b", &tap(guest))?;
        self.made.iter().try_for_each(fs::remove_dir_all)?;
        for entry in fs::read_dir(&scene.lab().host("b")?.ram_dir)?.flatten() {
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The tap that a machine without a stated one gets.
fn tap(guest: &str) -> String {
    format!("{guest}-t0")
}

/// An argument of host `a`, at host `b`.
fn there(argument: &str, a: &LabHost, b: &LabHost) -> String {
    let moved = |text: &str, from: &Path, to: &Path| {
        text.replace(&*from.to_string_lossy(), &to.to_string_lossy())
    };
    moved(&moved(argument, &a.run_dir, &b.run_dir), &a.ram_dir, &b.ram_dir)
}

fn connect(monitor: &Path, process: &Process) -> Result<Qmp, TrialError> {
    let deadline = Instant::now() + START;
    loop {
        match Qmp::connect(monitor) {
            Ok(qmp) => return Ok(qmp),
            Err(error) if !process.is_running() || Instant::now() > deadline => {
                let log = process.record().log.display();
                return Err(TrialError::Native(format!("{error}; see {log}")));
            }
            Err(_) => std::thread::sleep(LOOK),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_from_a_file_is_started_like_any_other() {
        let words = "qemu -m 512 -qmp unix:/run/m/x-bench.qmp,server=on -S -incoming defer -name x";
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let arguments = running(&words);
        assert_eq!(arguments.join(" "), "-m 512 -qmp unix:/run/m/x-bench.qmp,server=on -name x");
        assert_eq!(ours(&arguments, "x").unwrap(), "/run/m/x-bench.qmp");
        assert!(ours(&arguments, "y").is_err());
    }
}
