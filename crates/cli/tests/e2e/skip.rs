//! What a machine must have for these tests, and saying so where it has not.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use punctual_images::{Qemu, QemuChoice, qemu};

/// Whether labs can be made and guests be booted; says so where not.
pub(crate) fn can_play() -> bool {
    let reason = missing();
    if let Some(reason) = &reason {
        skip(reason);
    }
    reason.is_none()
}

/// The QEMU to use, or `None`, said aloud, where there is none.
pub(crate) fn find(choice: QemuChoice) -> Option<Qemu> {
    qemu(choice).inspect_err(skip).ok()
}

/// Says past the test harness, which keeps what passing tests print to itself, that this test, or
/// a part of it, is left out.
pub(crate) fn skip(reason: &(impl std::fmt::Display + ?Sized)) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIP {test}: {reason}");
}

fn missing() -> Option<String> {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("a lab needs root".to_owned());
    }
    // A namespace without a name, that goes with the process.
    match Command::new("unshare").args(["--net", "--mount", "ip", "link"]).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            return Some(format!("no namespaces: {}", reason.trim()));
        }
        Err(error) => return Some(format!("cannot look for namespaces: unshare: {error}")),
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("there is no /dev/net/tun, from which guests get their network".to_owned());
    }
    if let Err(error) = qemu(QemuChoice::Installed) {
        return Some(error.to_string());
    }
    punctual_images::kernel().err().map(|error| error.to_string())
}
