use std::collections::BTreeSet;
use std::process::Command;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A tap that a machine gets on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tap {
    /// Its name, at most 15 letters.
    pub name: String,
    /// The bridge that it becomes a port of.
    pub bridge: Option<String>,
}

/// Why a tap could not be made or removed.
#[derive(Debug, Error)]
#[error(
    "the tap `{tap}`: `{command}` says: {said}; check that the bridge exists and that the name is free (ip link)"
)]
pub struct TapError {
    /// The tap.
    pub tap: String,
    /// What was run.
    pub command: String,
    /// What it said.
    pub said: String,
}

impl Tap {
    /// Makes it, plugs it into its bridge and sets it up. Nothing is left of it on an error.
    ///
    /// # Errors
    /// The name is taken, the bridge is missing, or this may not be done.
    pub fn create(&self) -> Result<(), TapError> {
        self.ip(&["tuntap", "add", "dev", &self.name, "mode", "tap"])?;
        let mut set = vec!["link", "set", "dev", &self.name, "up"];
        if let Some(bridge) = &self.bridge {
            set.extend(["master", bridge]);
        }
        self.ip(&set).inspect_err(|_| {
            let _ = self.remove();
        })
    }

    /// Removes it.
    ///
    /// # Errors
    /// It does not exist, or this may not be done.
    pub fn remove(&self) -> Result<(), TapError> {
        self.ip(&["link", "del", "dev", &self.name])
    }

    /// Whether an interface of its name exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.ip(&["link", "show", "dev", &self.name]).is_ok()
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), TapError> {
        let error = |said| TapError {
            tap: self.name.clone(),
            command: format!("ip {}", arguments.join(" ")),
            said,
        };
        let done = Command::new("ip").args(arguments).output();
        let done = done.map_err(|cause| error(cause.to_string()))?;
        if done.status.success() {
            return Ok(());
        }
        Err(error(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
    }
}

/// A name that is not in `taken`: `wanted`, or the same with a number.
pub(super) fn free_name(wanted: &str, taken: &BTreeSet<String>) -> String {
    const LONGEST: usize = 15;
    let numbered = (2..).map(|number: u32| {
        let number = number.to_string();
        let kept: String = wanted.chars().take(LONGEST - 1 - number.len()).collect();
        format!("{kept}-{number}")
    });
    std::iter::once(wanted.to_owned())
        .chain(numbered)
        .find(|name| !taken.contains(name))
        .expect("there are more numbers than interfaces")
}

/// The names of the interfaces in this network namespace; none if `ip` cannot be run.
#[must_use]
pub fn interfaces() -> BTreeSet<String> {
    let told = Command::new("ip").args(["-json", "link", "show"]).output();
    let links =
        told.ok().and_then(|told| serde_json::from_slice::<serde_json::Value>(&told.stdout).ok());
    let links = links.unwrap_or_default();
    links
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|link| Some(link["ifname"].as_str()?.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_a_number_and_stays_short() {
        let taken = ["tap0", "tap0-2", "fifteen-letters"].map(ToOwned::to_owned).into();
        assert_eq!(free_name("tap1", &taken), "tap1");
        assert_eq!(free_name("tap0", &taken), "tap0-3");
        assert_eq!(free_name("fifteen-letters", &taken), "fifteen-lette-2");
    }
}
