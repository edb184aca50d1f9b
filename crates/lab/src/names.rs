//! What a lab and its hosts may be called, and every name that follows from that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The bridge of a host or of the switch, inside its namespace.
pub(crate) const BRIDGE: &str = "br0";
/// A machine's end of the cable to the switch, inside its namespace.
pub(crate) const UPLINK: &str = "uplink";
/// The place that joins the machines of a lab.
pub(crate) const SWITCH: &str = "switch";
/// The place from which a lab is measured.
pub(crate) const CLIENT: &str = "client";

/// The kernel's `IFNAMSIZ` is 16, with the terminating zero.
const LONGEST_INTERFACE: usize = 15;
const LONGEST_LAB: usize = 32;
/// `to-` and the name are an interface of the switch.
const LONGEST_HOST: usize = LONGEST_INTERFACE - 3;

/// Why a name cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{name}` cannot be the name of a {what}: {rule}")]
pub struct NameError {
    name: String,
    what: &'static str,
    rule: &'static str,
}

/// The name of a lab: 1–32 of `a`–`z`, `0`–`9` and inner `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LabName(String);

/// The name of a host: 1–12 of `a`–`z` and `0`–`9`; not `switch` or `client`.
///
/// Without `-`, so that `lab-host` can be read in one way only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl Default for LabName {
    fn default() -> Self {
        Self("punctual".to_owned())
    }
}

impl LabName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace of a place of this lab, as `ip netns` shows it.
    pub(crate) fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.0)
    }
}

impl HostName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The switch's end of the cable to `place`.
pub(crate) fn switch_port(place: &str) -> String {
    format!("to-{place}")
}

/// Whether the kernel takes `name` for a network interface, and `ip` for a plain word.
pub(crate) fn is_interface(name: &str) -> bool {
    (1..=LONGEST_INTERFACE).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

impl FromStr for LabName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let fits = (1..=LONGEST_LAB).contains(&name.len())
            && name.chars().all(|c| is_plain(c) || c == '-')
            && name.starts_with(is_plain)
            && name.ends_with(is_plain);
        let rule = "use 1 to 32 of a-z, 0-9 and, between them, -";
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(NameError { name: name.to_owned(), what: "lab", rule })
        }
    }
}

impl FromStr for HostName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let fits = (1..=LONGEST_HOST).contains(&name.len())
            && name.chars().all(is_plain)
            && ![SWITCH, CLIENT].contains(&name);
        let rule = "use 1 to 12 of a-z and 0-9; `switch` and `client` are taken";
        if fits {
            Ok(Self(name.to_owned()))
        } else {
            Err(NameError { name: name.to_owned(), what: "host", rule })
        }
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(name: String) -> Result<Self, NameError> {
                name.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

as_text!(LabName);
as_text!(HostName);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_would_mean_two_things_are_refused() {
        for wrong in ["", "-x", "x-", "A", "a/b", "a b", &"x".repeat(33)] {
            assert!(wrong.parse::<LabName>().is_err(), "{wrong}");
        }
        for wrong in ["", "switch", "client", "x-y", "..", &"x".repeat(13)] {
            assert!(wrong.parse::<HostName>().is_err(), "{wrong}");
        }
        let error = "client".parse::<HostName>().unwrap_err().to_string();
        assert!(error.contains("`client` cannot be the name of a host"), "{error}");
    }

    #[test]
    fn interfaces() {
        assert!(is_interface("tap-vm0"));
        for wrong in ["", "-tap", "a b", "a/b", "sixteen-letters-"] {
            assert!(!is_interface(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_host_has_a_port_that_the_kernel_takes(name in "[a-z0-9]{1,12}") {
            prop_assume!(name != SWITCH && name != CLIENT);
            let host: HostName = name.parse().unwrap();
            prop_assert!(is_interface(&switch_port(host.as_str())));
        }

        #[test]
        fn no_two_places_share_a_namespace(
            lab in "[a-z][a-z0-9-]{0,5}[a-z]", host in "[a-z0-9]{1,5}",
            other in "[a-z][a-z0-9-]{0,5}[a-z]", guest in "[a-z0-9]{1,5}",
        ) {
            prop_assume!((&lab, &host) != (&other, &guest));
            let (lab, other): (LabName, LabName) = (lab.parse().unwrap(), other.parse().unwrap());
            prop_assert_ne!(lab.namespace(&host), other.namespace(&guest));
        }
    }
}
