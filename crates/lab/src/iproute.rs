//! The one place that changes the kernel's network: by `ip` and `tc` of iproute2.
//!
//! Both read many commands at once (`-batch`), so a place of the lab is set up by one process and
//! an error still names the single command that failed.

use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use thiserror::Error;

/// Why the kernel's network could not be changed or read.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// `ip` or `tc` cannot be run.
    #[error("cannot run `{program}`: {source}; install the package iproute2")]
    NotRun {
        /// `ip` or `tc`.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A command was refused.
    #[error("`{command}` failed in {place}: {message}")]
    Refused {
        /// The command as it could be typed.
        command: String,
        /// Which namespace.
        place: String,
        /// What iproute2 said.
        message: String,
    },
}

/// `ip` or `tc`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tool {
    Ip,
    Tc,
}

impl Tool {
    fn name(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Tc => "tc",
        }
    }
}

/// Commands that one process carries out in one namespace, ending at the first that fails.
#[derive(Debug)]
pub(crate) struct Batch {
    tool: Tool,
    /// `None` is the namespace that Punctual itself runs in.
    namespace: Option<String>,
    commands: Vec<String>,
}

impl Batch {
    pub(crate) fn new(tool: Tool, namespace: Option<&str>) -> Self {
        Self { tool, namespace: namespace.map(str::to_owned), commands: Vec::new() }
    }

    pub(crate) fn add(&mut self, command: impl Into<String>) -> &mut Self {
        let command = command.into();
        debug_assert!(!command.contains('\n'), "a line is a command: {command}");
        self.commands.push(command);
        self
    }

    pub(crate) fn run(&self) -> Result<(), NetworkError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let output = self.feed().map_err(|source| self.not_run(source))?;
        if output.status.success() { Ok(()) } else { Err(self.refused(&output)) }
    }

    fn feed(&self) -> io::Result<Output> {
        let mut child = tool(self.tool, self.namespace.as_deref())
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut text = self.commands.join("\n");
        text.push('\n');
        // A batch that ends at an error may not read the rest: its own message is the better one.
        let _ = child.stdin.take().expect("stdin is piped").write_all(text.as_bytes());
        child.wait_with_output()
    }

    fn not_run(&self, source: io::Error) -> NetworkError {
        NetworkError::NotRun { program: self.tool.name(), source }
    }

    fn refused(&self, output: &Output) -> NetworkError {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = failed_line(&text).and_then(|line| self.commands.get(line.checked_sub(1)?));
        let command = match line {
            Some(command) => format!("{} {command}", self.tool.name()),
            None => format!("{} -batch", self.tool.name()),
        };
        NetworkError::Refused {
            command,
            place: show_place(self.namespace.as_deref()),
            message: message(&text),
        }
    }
}

/// An interface of a namespace.
#[derive(Debug, Deserialize)]
pub(crate) struct Interface {
    #[serde(rename = "ifname")]
    pub(crate) name: String,
    #[serde(default, rename = "linkinfo")]
    kind: Kind,
}

#[derive(Debug, Default, Deserialize)]
struct Kind {
    #[serde(default, rename = "info_slave_data")]
    port: Port,
}

#[derive(Debug, Default, Deserialize)]
struct Port {
    #[serde(default)]
    state: Option<String>,
}

impl Interface {
    /// Whether it is a port of a bridge that lets nothing through, as it does for a moment after
    /// its cable was plugged in.
    pub(crate) fn is_closed_port(&self) -> bool {
        self.kind.port.state.as_deref().is_some_and(|state| state != "forwarding")
    }
}

/// The interfaces of a namespace but its loopback.
pub(crate) fn interfaces(namespace: &str) -> Result<Vec<Interface>, NetworkError> {
    let output = tool(Tool::Ip, Some(namespace))
        .args(["-details", "-json", "link", "show"])
        .output()
        .map_err(|source| NetworkError::NotRun { program: "ip", source })?;
    let refused = |message| NetworkError::Refused {
        command: "ip -details -json link show".to_owned(),
        place: show_place(Some(namespace)),
        message,
    };
    if !output.status.success() {
        return Err(refused(message(&String::from_utf8_lossy(&output.stderr))));
    }
    let mut interfaces: Vec<Interface> =
        serde_json::from_slice(&output.stdout).map_err(|error| refused(error.to_string()))?;
    interfaces.retain(|interface| interface.name != "lo");
    Ok(interfaces)
}

fn tool(tool: Tool, namespace: Option<&str>) -> Command {
    let mut command = Command::new(tool.name());
    if let Some(namespace) = namespace {
        command.args(["-netns", namespace]);
    }
    // Messages are read: they shall not depend on the user's language.
    command.env("LC_ALL", "C");
    command
}

fn show_place(namespace: Option<&str>) -> String {
    namespace.map_or_else(
        || "the machine's own network namespace".to_owned(),
        |name| format!("network namespace {name}"),
    )
}

/// The number of the line, counted from 1, at which a batch ended.
fn failed_line(stderr: &str) -> Option<usize> {
    let line = stderr.lines().find_map(|line| line.strip_prefix("Command failed "))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

fn message(stderr: &str) -> String {
    let lines: Vec<_> = stderr
        .lines()
        .map(|line| line.trim().trim_start_matches("Error: ").trim_end_matches('.'))
        .filter(|line| !line.is_empty() && !line.starts_with("Command failed "))
        .collect();
    if lines.is_empty() { "no reason given".to_owned() } else { lines.join("; ") }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_failed_batch_names_the_command() {
        let mut batch = Batch::new(Tool::Ip, Some("punctual-a"));
        batch.add("link set lo up").add("link set uplink up");
        let output = Output {
            status: ExitStatus::from_raw(256),
            stdout: vec![],
            stderr: b"Cannot find device \"uplink\"\nCommand failed -:2\n".to_vec(),
        };
        assert_eq!(
            batch.refused(&output).to_string(),
            "`ip link set uplink up` failed in network namespace punctual-a: \
             Cannot find device \"uplink\""
        );
    }

    #[test]
    fn a_port_is_closed_until_it_forwards() {
        // Shortened from iproute2 6.1: the ports of a bridge, and the bridge.
        let links = r#"[
            {"ifname":"to-a","linkinfo":{"info_kind":"veth","info_slave_kind":"bridge",
             "info_slave_data":{"state":"disabled","priority":32}}},
            {"ifname":"to-b","linkinfo":{"info_slave_data":{"state":"forwarding"}}},
            {"ifname":"br0","linkinfo":{"info_kind":"bridge","info_data":{"stp_state":0}}},
            {"ifname":"eth0"}]"#;
        let links: Vec<Interface> = serde_json::from_str(links).unwrap();
        let closed: Vec<_> = links.iter().filter(|link| link.is_closed_port()).collect();
        assert_eq!(closed.len(), 1);
        assert_eq!(closed[0].name, "to-a");
    }

    #[test]
    fn a_message_that_is_not_understood_is_still_shown() {
        assert_eq!(failed_line("Command failed -:x"), None);
        assert_eq!(failed_line(""), None);
        assert_eq!(message("\n"), "no reason given");
        assert_eq!(message("Error: Exclusivity flag on.\n"), "Exclusivity flag on");
    }
}
