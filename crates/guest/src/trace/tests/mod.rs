//! Tracing of real processes: this test program, started again as one (`victim`).

mod injection;
pub(crate) mod victim;
mod writing;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::*;

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// This program, run as another process; it is killed at the end of the test.
pub(crate) struct Victim {
    pub(crate) child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Victim {
    fn start(role: &str, argument: &str) -> Self {
        Self::start_as("trace::tests::victim::victim", role, argument)
    }

    /// The same by a test of another module, which looks for its role itself.
    pub(crate) fn start_as(test: &str, role: &str, argument: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "-q"])
            .env(victim::ROLE, role)
            .env(victim::ARGUMENT, argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut victim = Self { child, orders, answers };
        victim.expect("ready");
        victim
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn expect(&mut self, wanted: &str) {
        while self.next_line() != wanted {}
    }

    /// What it says next.
    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line).unwrap();
        assert_ne!(length, 0, "the victim ended before it said what was wanted");
        line.trim().to_owned()
    }

    pub(crate) fn order(&mut self, order: &str) {
        self.begin(order);
        self.expect("done");
    }

    /// Gives an order, and does not wait until it is done.
    pub(crate) fn begin(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    /// The thread of this name.
    pub(crate) fn thread(&self, name: &str) -> i32 {
        let mut found = None;
        eventually(name, || {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.pid().as_raw_pid())).unwrap();
            found = tasks.flatten().find_map(|task| {
                let comm = fs::read_to_string(task.path().join("comm")).ok()?;
                (comm.trim() == name).then(|| task.file_name().to_str()?.parse().ok())?
            });
            found.is_some()
        });
        found.unwrap()
    }

    /// How many of its mappings are watched by a userfaultfd for writes.
    fn watched_mappings(&self) -> usize {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps", self.pid().as_raw_pid())).unwrap();
        smaps
            .lines()
            .filter(|line| line.starts_with("VmFlags:"))
            .filter(|line| line.split_whitespace().any(|flag| flag == "uw"))
            .count()
    }

    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid().as_raw_pid())).unwrap().count()
    }

    /// Tells it to end and says how it did.
    pub(crate) fn finish(mut self) -> ExitStatus {
        self.orders = None;
        self.child.wait().unwrap()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
