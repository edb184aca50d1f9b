use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::qemu::command_line::CommandLine;

/// The variables that decide which QEMU code runs.
const KEPT: &[&str] = &["LD_LIBRARY_PATH", "LD_PRELOAD", "QEMU_MODULE_DIR"];

/// The process of a running machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its number on its host.
    pub pid: u32,
    /// The program file.
    pub binary: PathBuf,
    /// Its arguments, without the program.
    pub arguments: Vec<String>,
    /// The variables of its environment that decide which code runs.
    pub environment: BTreeMap<String, String>,
    /// Its working directory, to which relative paths in its arguments refer.
    pub directory: PathBuf,
}

/// Why a process is not taken for a machine.
#[derive(Debug, Error)]
pub enum ProgramError {
    /// Its `/proc` directory could not be read.
    #[error("process {pid}: cannot read {what}: {cause}; run as root on the machine's host")]
    Proc {
        /// The process.
        pid: u32,
        /// What was read.
        what: &'static str,
        /// The cause.
        cause: io::Error,
    },
    /// Something else made the monitor's socket.
    #[error(
        "the monitor's socket belongs to process {pid} ({}), which is not QEMU: a manager passed it in; give QEMU a -qmp socket of its own", binary.display()
    )]
    NotQemu {
        /// The process.
        pid: u32,
        /// Its program.
        binary: PathBuf,
    },
    /// Its arguments are not text.
    #[error("process {pid}: an argument is not UTF-8: `{argument}`; rename that file")]
    NotText {
        /// The process.
        pid: u32,
        /// The argument, as far as it can be shown.
        argument: String,
    },
}

impl Program {
    /// Reads what `/proc` says of a process.
    ///
    /// # Errors
    /// It is not QEMU, or may not be read.
    pub fn of(pid: u32) -> Result<Self, ProgramError> {
        let fail = |what| move |cause| ProgramError::Proc { pid, what, cause };
        let place = PathBuf::from(format!("/proc/{pid}"));
        let binary = fs::read_link(place.join("exe")).map_err(fail("exe"))?;
        let binary = without_deleted(binary);
        let is_qemu = |name: &std::ffi::OsStr| name.to_string_lossy().contains("qemu");
        let words = fs::read(place.join("cmdline")).map_err(fail("cmdline"))?;
        let mut words = texts(pid, &words)?.into_iter();
        let called = words.next().unwrap_or_default();
        if !binary.file_name().is_some_and(is_qemu) && !called.contains("qemu") {
            return Err(ProgramError::NotQemu { pid, binary });
        }
        let environment = fs::read(place.join("environ")).map_err(fail("environ"))?;
        Ok(Self {
            pid,
            binary,
            arguments: words.collect(),
            environment: kept(&environment),
            directory: fs::read_link(place.join("cwd")).map_err(fail("cwd"))?,
        })
    }

    /// Its arguments, parsed.
    #[must_use]
    pub fn command_line(&self) -> CommandLine {
        CommandLine::parse(self.arguments.clone())
    }
}

/// The kernel marks the name of a program that was replaced while it runs.
fn without_deleted(path: PathBuf) -> PathBuf {
    match path.to_str().and_then(|path| path.strip_suffix(" (deleted)")) {
        Some(path) => PathBuf::from(path),
        None => path,
    }
}

/// Texts that each end with a zero byte.
fn texts(pid: u32, bytes: &[u8]) -> Result<Vec<String>, ProgramError> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let text = |word: &[u8]| {
        String::from_utf8(word.to_vec()).map_err(|error| ProgramError::NotText {
            pid,
            argument: String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    };
    bytes.split(|byte| *byte == 0).map(text).collect()
}

fn kept(environment: &[u8]) -> BTreeMap<String, String> {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .filter(|(name, _)| KEPT.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_with_zero_bytes_and_may_be_empty() {
        assert_eq!(texts(1, b"qemu\0-name\0\0").unwrap(), ["qemu", "-name", ""]);
        let error = texts(1, b"qemu\0/srv/\xff.img\0").unwrap_err().to_string();
        assert!(error.contains("rename that file"), "{error}");
    }

    #[test]
    fn only_what_decides_the_code_is_kept() {
        let kept = kept(b"HOME=/root\0LD_LIBRARY_PATH=/a:/b=c\0nonsense\0");
        assert_eq!(kept, BTreeMap::from([("LD_LIBRARY_PATH".to_owned(), "/a:/b=c".to_owned())]));
    }

    #[test]
    fn another_program_is_not_taken_for_qemu() {
        let error = Program::of(std::process::id()).map(|_| ()).unwrap_err();
        assert!(matches!(error, ProgramError::NotQemu { .. }), "{error}");
    }
}
