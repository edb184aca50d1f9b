//! A lab for one test, gone when the test ends, however it ends.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::ops::Deref;
use std::process::Command;
use std::time::{Duration, Instant};

use punctual_lab::{Lab, LabName, LabSpec};
use punctual_units::BytesPerSecond;

pub(crate) struct TestLab(Option<Lab>);

impl TestLab {
    /// `None`, said aloud, where this machine cannot make a lab. `test` tells the labs of tests
    /// that run at once apart.
    pub(crate) fn up(test: &str, rate: Option<BytesPerSecond>) -> Option<Self> {
        Self::of(&LabSpec::two_hosts(name(test), rate))
    }

    pub(crate) fn of(spec: &LabSpec) -> Option<Self> {
        can_make_labs().then(|| Self(Some(Lab::up(spec).unwrap())))
    }

    pub(crate) fn take(mut self) -> Lab {
        self.0.take().unwrap()
    }
}

impl Deref for TestLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        self.0.as_ref().unwrap()
    }
}

impl Drop for TestLab {
    fn drop(&mut self) {
        if let Some(lab) = self.0.take() {
            lab.down().unwrap();
        }
    }
}

/// Takes a lab down that the test does not hold.
pub(crate) struct TakeDown(pub(crate) LabName);

impl Drop for TakeDown {
    fn drop(&mut self) {
        Lab::take_down(&self.0).unwrap();
    }
}

pub(crate) fn name(test: &str) -> LabName {
    format!("test-{test}-{}", std::process::id()).parse().unwrap()
}

pub(crate) fn can_make_labs() -> bool {
    if !rustix::process::geteuid().is_root() {
        skip("a lab needs root");
        return false;
    }
    // A namespace without a name, that goes with the process.
    match Command::new("unshare").args(["--net", "ip", "link"]).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            skip(&format!("no namespaces: {}", String::from_utf8_lossy(&output.stderr).trim()));
            false
        }
        Err(error) => {
            skip(&format!("cannot look for network namespaces: unshare: {error}"));
            false
        }
    }
}

/// Says so past the test harness, which keeps what passing tests print to itself.
pub(crate) fn skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {reason}");
}

/// Asks until the answer is yes.
pub(crate) fn until(what: &str, mut answer: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !answer() {
        assert!(Instant::now() < deadline, "not in 20 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
