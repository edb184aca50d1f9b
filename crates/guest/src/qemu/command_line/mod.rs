//! QEMU's command line: read from a running machine, written for another host.
//!
//! Parsing and printing are inverse to each other, so what is not understood stays as it was.

mod options;
mod places;
mod ports;
mod relocate;

pub use options::Options;
pub(crate) use options::escape;
pub use relocate::{Dimm, PerHost, Relocated, relocate};

/// The arguments of a QEMU, without the program itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CommandLine {
    /// In their order, which matters: devices get their addresses by it.
    pub arguments: Vec<Argument>,
}

/// One option with its value, or a disk image named without an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The option as written, such as `-device` or `--device`; empty for a bare disk image.
    pub flag: String,
    /// Its value.
    pub value: Option<String>,
}

/// Options that take no value (QEMU 7.2 to 10.0, `qemu-options.hx`).
const WITHOUT_VALUE: &[&str] = &[
    "S",
    "alt-grab",
    "ctrl-grab",
    "daemonize",
    "enable-kvm",
    "enable-sync-profile",
    "full-screen",
    "h",
    "help",
    "mem-prealloc",
    "no-acpi",
    "no-fd-bootchk",
    "no-hpet",
    "no-quit",
    "no-reboot",
    "no-shutdown",
    "no-user-config",
    "nodefaults",
    "nographic",
    "nouserconfig",
    "old-param",
    "only-migratable",
    "portrait",
    "preconfig",
    "s",
    "semihosting",
    "singlestep",
    "snapshot",
    "usb",
    "version",
    "win2k-hack",
    "xen-attach",
    "xen-domid-restrict",
];

impl Argument {
    /// An option with a value.
    #[must_use]
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { flag: format!("-{name}"), value: Some(value.into()) }
    }

    /// An option that has none.
    #[must_use]
    pub fn flag(name: &str) -> Self {
        Self { flag: format!("-{name}"), value: None }
    }

    /// The option's name without its dashes.
    #[must_use]
    pub fn name(&self) -> &str {
        option_name(&self.flag).unwrap_or("")
    }

    /// The value's parts.
    #[must_use]
    pub fn options(&self) -> Options {
        Options::parse(self.value.as_deref().unwrap_or(""))
    }
}

/// QEMU takes one dash or two.
fn option_name(word: &str) -> Option<&str> {
    let name = word.strip_prefix('-')?;
    Some(name.strip_prefix('-').unwrap_or(name))
}

impl CommandLine {
    /// Reads the words behind the program's name.
    #[must_use]
    pub fn parse<I, S>(words: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let mut words = words.into_iter().map(Into::into);
        let mut arguments = Vec::new();
        while let Some(word) = words.next() {
            let argument = match option_name(&word) {
                None => Argument { flag: String::new(), value: Some(word) },
                Some(name) if WITHOUT_VALUE.contains(&name) => Argument { flag: word, value: None },
                Some(_) => Argument { flag: word, value: words.next() },
            };
            arguments.push(argument);
        }
        Self { arguments }
    }

    /// The words again.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::with_capacity(2 * self.arguments.len());
        for argument in &self.arguments {
            if !argument.flag.is_empty() {
                words.push(argument.flag.clone());
            }
            words.extend(argument.value.clone());
        }
        words
    }

    /// Every occurrence of an option, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Argument> {
        self.arguments.iter().filter(move |argument| argument.name() == name)
    }

    /// Whether an option occurs.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }

    /// Adds an argument at the end.
    pub fn push(&mut self, argument: Argument) {
        self.arguments.push(argument);
    }
}

#[cfg(test)]
mod tests;
