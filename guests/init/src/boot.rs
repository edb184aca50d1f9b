//! Bringing the guest up: file systems, kernel modules, and what the kernel was told.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};

/// The initramfs lists here, one path a line, the modules to load, in order.
const MODULE_LIST: &str = "/modules/load-order";

/// Why the guest does not come up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error("{file_system} could not be mounted: {source}")]
    Mount { file_system: &'static str, source: nix::Error },
    #[error("{path} could not be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the kernel does not take the module {path}: {source}")]
    Module { path: PathBuf, source: nix::Error },
}

/// Mounts `/proc`, `/sys` and `/dev`.
pub(crate) fn mount_file_systems() -> Result<(), BootError> {
    for (file_system, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
        mount(None::<&str>, target, Some(file_system), MsFlags::empty(), None::<&str>)
            .map_err(|source| BootError::Mount { file_system, source })?;
    }
    Ok(())
}

/// What the kernel was told when it was started.
pub(crate) fn command_line() -> Result<String, BootError> {
    read("/proc/cmdline")
}

/// Loads the modules that the initramfs brings.
pub(crate) fn load_modules() -> Result<(), BootError> {
    for name in read(MODULE_LIST)?.lines() {
        let path = Path::new("/modules").join(name);
        let file =
            File::open(&path).map_err(|source| BootError::Read { path: path.clone(), source })?;
        match finit_module(&file, c"", ModuleInitFlags::empty()) {
            Ok(()) | Err(nix::Error::EEXIST) => {}
            Err(source) => return Err(BootError::Module { path, source }),
        }
    }
    Ok(())
}

/// A random number that this run of the guest keeps.
pub(crate) fn boot_number() -> Result<u64, BootError> {
    let path = "/proc/sys/kernel/random/boot_id";
    let digits: String = read(path)?.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    u64::from_str_radix(&digits, 16).map_err(|error| BootError::Read {
        path: path.into(),
        source: io::Error::new(io::ErrorKind::InvalidData, error),
    })
}

/// Ends the guest.
pub(crate) fn power_off() -> ! {
    match reboot(RebootMode::RB_POWER_OFF) {
        Ok(never) => {
            let never: Infallible = never;
            match never {}
        }
        // The kernel panics when init ends, which ends the guest too.
        Err(_) => std::process::exit(1),
    }
}

fn read(path: &str) -> Result<String, BootError> {
    fs::read_to_string(path).map_err(|source| BootError::Read { path: path.into(), source })
}
