use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs, io};

use serde::Deserialize;

use crate::cache::{CacheError, describe};

/// Which QEMU is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QemuChoice {
    /// The installed one; without it the oldest that the cache has.
    Installed,
    /// 7.2, the oldest that Punctual serves.
    Seven,
    /// 10, whose own migration is the benchmark's measure.
    Ten,
}

/// A QEMU system emulator that can be started.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Qemu {
    /// The program itself, no wrapper.
    pub binary: PathBuf,
    /// Its version, such as `7.2.22`.
    pub version: String,
    /// Arguments that must come first: where its firmware is. None for an installed QEMU.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// What must be added to its environment. Nothing for an installed QEMU.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl Qemu {
    /// A command that starts this QEMU, to be given the machine's arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments).envs(&self.env);
        command
    }

    /// Writes a program that is this QEMU, for whoever knows of nothing but programs: a script that
    /// sets its environment and puts its own arguments first.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_program(&self, path: &Path) -> io::Result<()> {
        let set = |(name, value): (&String, &String)| format!("export {name}='{value}'\n");
        let environment: String = self.env.iter().map(set).collect();
        let arguments: Vec<_> = self.arguments.iter().map(|word| format!("'{word}'")).collect();
        let (binary, arguments) = (self.binary.display(), arguments.join(" "));
        let script = format!("#!/bin/sh\n{environment}exec '{binary}' {arguments} \"$@\"\n");
        fs::write(path, script)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    }
}

/// Why there is no such QEMU.
#[derive(Debug, thiserror::Error)]
#[error("{choice} is neither installed nor in the cache: {source}")]
pub struct QemuError {
    choice: QemuChoice,
    source: CacheError,
}

impl fmt::Display for QemuChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Installed => "QEMU",
            Self::Seven => "QEMU 7.2",
            Self::Ten => "QEMU 10",
        })
    }
}

impl QemuChoice {
    /// The series, as the cache's directories are called, in the order of preference.
    const fn series(self) -> &'static [&'static str] {
        match self {
            Self::Installed => &["7.2", "10"],
            Self::Seven => &["7.2"],
            Self::Ten => &["10"],
        }
    }

    fn accepts(self, version: &str) -> bool {
        self == Self::Installed
            || self.series().iter().any(|series| {
                version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
            })
    }
}

/// Finds a QEMU: the installed one if it is of the wanted series, else the one in the cache.
///
/// Starts the installed one once to ask for its version.
///
/// # Errors
///
/// [`QemuError`] if there is none; `make setup` fetches it.
pub fn qemu(choice: QemuChoice) -> Result<Qemu, QemuError> {
    if let Some(installed) = installed().filter(|found| choice.accepts(&found.version)) {
        return Ok(installed);
    }
    let mut first_missing = None;
    for series in choice.series() {
        match describe(&format!("qemu/{series}/qemu.toml")) {
            Ok(found) => return Ok(found),
            Err(missing) => first_missing = first_missing.or(Some(missing)),
        }
    }
    let source = first_missing.expect("each choice has a series that was looked for");
    Err(QemuError { choice, source })
}

fn installed() -> Option<Qemu> {
    let binary = env::split_paths(&env::var_os("PATH")?)
        .map(|directory| directory.join("qemu-system-x86_64"))
        .find(|path| path.is_file())?;
    let version = version_of(&binary)?;
    Some(Qemu { binary, version, arguments: Vec::new(), env: BTreeMap::new() })
}

fn version_of(binary: &Path) -> Option<String> {
    let output = Command::new(binary).arg("--version").output().ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

fn parse_version(text: &str) -> Option<String> {
    let (version, _) = text.strip_prefix("QEMU emulator version ")?.split_once([' ', '\n'])?;
    Some(version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_chosen() {
        let text = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\nCopyright (c)\n";
        let version = parse_version(text).unwrap();
        assert_eq!(version, "7.2.22");
        assert!(QemuChoice::Seven.accepts(&version) && !QemuChoice::Ten.accepts(&version));
        assert!(QemuChoice::Ten.accepts("10.0.2") && !QemuChoice::Ten.accepts("100.1"));
        assert!(QemuChoice::Installed.accepts("8.2.1"));
        assert_eq!(parse_version("something else"), None);
    }
}
