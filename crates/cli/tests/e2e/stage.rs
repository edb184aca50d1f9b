//! Two hosts and a client for one test, and the command `punctual` on them.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use punctual_engine::{Phase, Progress};
use punctual_host::api::Migration;
use punctual_images::{Qemu, QemuChoice};
use punctual_lab::scene::{GuestSpec, Scene, start_daemon};
use punctual_lab::{LabHost, LabName, LabSpec, Process, census};
use punctual_units::{Bytes, BytesPerSecond};
use serde_json::Value;
use toml::Table;

use crate::skip::{can_play, find};
use crate::told::{Begun, DONE, Told};
use crate::watched::Watched;

/// The command under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_punctual");
/// A Gigabit link.
pub(crate) const GIGABIT: u64 = 1000;
/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// One lab at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test has a lab, and keeps others from having one.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A lab with hosts `a` and `b`, each with a daemon, and a client.
pub(crate) struct Stage {
    scene: Option<Scene>,
    name: LabName,
    /// Daemons that were not started by the scene.
    others: Vec<(String, Process)>,
    scratch: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    /// Makes it, the links having so many megabits a second. `None`, said aloud, where this
    /// computer cannot.
    pub(crate) fn set(test: &str, megabits: u64) -> Option<Self> {
        let turn = turn();
        if !can_play() {
            return None;
        }
        let name: LabName = format!("e2e-{test}-{}", std::process::id()).parse().unwrap();
        assert_eq!(census::of_name(name.as_str()).unwrap(), Vec::<String>::new());
        let rate = Some(BytesPerSecond::megabits(megabits));
        let spec = LabSpec::two_hosts(name.clone(), rate);
        let scene = Some(Scene::set_up(&spec, Path::new(PROGRAM)).unwrap());
        let scratch = tempfile::Builder::new().prefix(name.as_str()).tempdir_in("/run").unwrap();
        Some(Self { scene, name, others: Vec::new(), scratch, _turn: turn })
    }

    pub(crate) fn scene(&self) -> &Scene {
        self.scene.as_ref().unwrap()
    }

    pub(crate) fn host(&self, name: &str) -> &LabHost {
        self.scene().lab().host(name).unwrap()
    }

    /// A directory that goes with the lab.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The lab's name, which everything that belongs to it should bear.
    pub(crate) fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Starts a guest on host `a` and watches it.
    pub(crate) fn start(&self, spec: &GuestSpec) -> Watched {
        self.start_on("a", spec)
    }

    /// Starts a guest on a host and watches it.
    pub(crate) fn start_on(&self, host: &str, spec: &GuestSpec) -> Watched {
        let guest = self.scene().start_guest(host, spec).unwrap();
        Watched::new(self.scene(), guest)
    }

    /// Runs `punctual` on a host to its end.
    pub(crate) fn run(&self, host: &str, words: &[&str]) -> Told {
        self.command(host, words).output().unwrap().into()
    }

    /// Starts `punctual` on a host.
    pub(crate) fn begin(&self, host: &str, words: &[&str]) -> Begun {
        let mut command = self.command(host, words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Begun(command.spawn().unwrap())
    }

    /// Moves a machine without a look at it, comparing digests, and expects that it succeeds and that nothing of it is
    /// left where it was. Returns the report.
    #[track_caller]
    pub(crate) fn migrate(&self, machine: &str, from: &str, to: &str, more: &[&str]) -> Value {
        let report = self.hand_over(machine, from, to, more);
        self.expect_bare(from);
        report
    }

    /// The same where something else stays behind.
    #[track_caller]
    pub(crate) fn hand_over(&self, machine: &str, from: &str, to: &str, more: &[&str]) -> Value {
        let words = ["migrate", machine, "--to", to, "--verify", "--json", "--look", "0"];
        let report = self.run(from, &[&words[..], more].concat()).expect(DONE).json();
        assert_eq!(report["outcome"], "completed", "{report}");
        assert_eq!(report["ram_digest_equal"], true, "{report}");
        self.expect_at(machine, to);
        report
    }

    /// That the machine runs on this host.
    #[track_caller]
    pub(crate) fn expect_at(&self, machine: &str, host: &str) {
        let details = self.run(host, &["show", machine, "--json"]).expect(DONE).json();
        assert_eq!(details["state"], "running", "{details}");
        assert_eq!(details["migration"], Value::Null, "{details}");
    }

    /// That no machine has anything on this host, now or soon: what has failed there is removed
    /// after the other host has heard of it.
    #[track_caller]
    pub(crate) fn expect_bare(&self, host: &str) {
        let deadline = Instant::now() + PATIENCE;
        // One look decides, not two: what a dead source has offered may begin, and come to nothing,
        // only after a first one.
        loop {
            let left = self.left(host);
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "is left on host {host}: {left:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// That no machine has anything on this host, now.
    #[track_caller]
    pub(crate) fn expect_nothing(&self, host: &str) {
        assert_eq!(self.left(host), Vec::<String>::new(), "is left on host {host}");
    }

    /// What machines have on this host: files, processes, places in the list.
    fn left(&self, host: &str) -> Vec<String> {
        let mut left = census::of_machines(self.host(host), Path::new(PROGRAM)).unwrap();
        let listed = self.run(host, &["list", "--json"]).expect(DONE).json();
        left.extend(listed.as_array().unwrap().iter().map(|machine| format!("listed: {machine}")));
        left
    }

    /// Waits until a machine stands so on a host.
    #[track_caller]
    pub(crate) fn wait_for_state(&self, host: &str, machine: &str, state: &str) {
        until(state, || {
            let details = self.run(host, &["show", machine, "--json"]);
            details.code == Some(DONE) && details.json()["state"] == state
        });
    }

    /// Waits until pages of a machine are being copied.
    pub(crate) fn wait_for_copying(&self, host: &str, machine: &str) {
        self.wait_until(host, machine, "pages are copied", |progress| {
            progress.phase == Phase::Copying && progress.sent.get() > 0
        });
    }

    /// Waits until the migration of a machine has come so far.
    #[track_caller]
    pub(crate) fn wait_until(
        &self,
        host: &str,
        machine: &str,
        what: &str,
        mut so_far: impl FnMut(&Progress) -> bool,
    ) {
        until_said(|| {
            let migrations =
                self.scene().ask(host, |daemon| async move { daemon.migrations().await }).unwrap();
            let of_it = |migration: &&Migration| migration.machine == machine;
            let goes_on = migrations.iter().filter(of_it).find(|found| !found.has_ended());
            if goes_on.and_then(|found| found.progress.as_ref()).is_some_and(&mut so_far) {
                return Ok(());
            }
            let last = goes_on.or_else(|| migrations.iter().rfind(of_it));
            Err(format!("{what}; but {last:#?}"))
        });
    }

    /// Kills the daemon of a host as a crash would.
    pub(crate) fn kill_daemon(&self, host: &str) {
        self.scene().daemon(host).kill().unwrap();
    }

    /// Starts the daemon of a host again.
    pub(crate) fn start_daemon(&mut self, host: &str) {
        self.scene.as_mut().unwrap().start_daemon(host).unwrap();
    }

    /// Starts the daemon of a host again, in a mount namespace of its own that `script` has
    /// changed first: that host sees other files than the rest of the computer.
    pub(crate) fn disguise(&mut self, host: &str, script: &str) {
        let inner = self.scratch().join(format!("inside-{host}"));
        write_script(&inner, &format!("set -e\n{script}\nexec {PROGRAM} \"$@\""));
        self.restart_by(host, &format!("exec unshare --mount {} \"$@\"", inner.display()));
    }

    /// Starts the daemon of a host again, with other words on its command line: `script` changes
    /// the shell's arguments.
    pub(crate) fn restart_with(&mut self, host: &str, script: &str) {
        self.restart_by(host, &format!("set -e\n{script}\nexec {PROGRAM} \"$@\""));
    }

    /// Ends the daemon of a host and starts it again by a script.
    fn restart_by(&mut self, host: &str, script: &str) {
        self.end_daemon(host);
        let program = self.scratch().join(format!("punctual-{host}"));
        write_script(&program, script);
        let daemon = start_daemon(self.scene().lab(), host, &program).unwrap();
        self.others.push((host.to_owned(), daemon));
    }

    fn end_daemon(&mut self, host: &str) {
        self.scene().daemon(host).end().unwrap();
        for (_, daemon) in self.others.extract_if(.., |(place, _)| place == host) {
            daemon.end().unwrap();
        }
    }

    /// Pulls the cable of host `b` (`down`), or plugs it in (`up`).
    pub(crate) fn set_cable(&self, state: &str) {
        let mut ip = Command::new("ip");
        ip.args(["link", "set", "to-b", state]);
        assert!(self.scene().lab().exec("switch", ip).unwrap().success());
    }

    /// Gives the links of both hosts another rate, in megabits a second.
    pub(crate) fn set_link(&self, megabits: u64) {
        self.scene().lab().set_rates(BytesPerSecond::megabits(megabits)).unwrap();
    }

    /// Ends the test: takes the lab down and expects that nothing of it is left.
    pub(crate) fn strike(mut self) {
        let scene = self.scene.take().unwrap();
        scene.take_down().unwrap();
        std::fs::remove_dir_all(self.scratch()).unwrap();
        assert_eq!(census::of_name(self.name()).unwrap(), Vec::<String>::new());
    }

    fn command(&self, host: &str, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(words);
        self.scene().lab().enter(host, &mut command).unwrap();
        command
    }
}

/// Where a test has failed, the daemons' logs tell why.
impl Drop for Stage {
    fn drop(&mut self) {
        let Some(scene) = &self.scene else { return };
        for host in scene.lab().hosts() {
            let log: PathBuf = host.log_dir.join("punctual.log");
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            eprintln!("--- daemon of host {}\n{text}", host.name);
        }
    }
}

/// A guest of 256 MiB under TCG, of which less than a half holds anything.
pub(crate) fn guest(options: punctual_guest_protocol::Options) -> GuestSpec {
    guest_of(&find(QemuChoice::Installed).unwrap(), options)
}

/// The same under a certain QEMU.
pub(crate) fn guest_of(qemu: &Qemu, options: punctual_guest_protocol::Options) -> GuestSpec {
    let mut more = Table::new();
    // Boots faster than the default.
    more.insert("cpu".to_owned(), "qemu64".into());
    GuestSpec { memory: Bytes::mib(256), more, ..GuestSpec::new("web", qemu.clone(), options) }
}

/// Asks until the answer is yes.
#[track_caller]
pub(crate) fn until(what: &str, mut answer: impl FnMut() -> bool) {
    until_said(|| if answer() { Ok(()) } else { Err(what) });
}

/// Asks until the answer is yes; each no says what is awaited.
#[track_caller]
fn until_said<W: Display>(mut answer: impl FnMut() -> Result<(), W>) {
    let deadline = Instant::now() + PATIENCE;
    while let Err(what) = answer() {
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn write_script(path: &Path, lines: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).unwrap();
}
