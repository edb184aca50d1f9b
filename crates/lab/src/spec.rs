//! What a lab shall be.

use std::collections::BTreeSet;

use punctual_units::BytesPerSecond;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names::{CLIENT, HostName, LabName};
use crate::shaping::{FASTEST, SLOWEST};
use crate::subnet::MOST_HOSTS;

/// A lab to be made: its hosts, its client, and how fast their links are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabSpec {
    /// What the lab is called; all names of namespaces and files follow from it.
    pub name: LabName,
    /// 1 to [`MOST_HOSTS`] hosts with different names.
    pub hosts: Vec<HostSpec>,
    /// Rate of the client's link in either direction; `None` leaves it unshaped.
    pub client_rate: Option<BytesPerSecond>,
    /// Who goes first where a link is shared.
    pub sharing: Sharing,
}

/// A host to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// What the host is called, `a` for example.
    pub name: HostName,
    /// Rate of its link in either direction, Ethernet headers included; `None` leaves it unshaped.
    pub rate: Option<BytesPerSecond>,
}

/// How the traffic of guests and that of hosts (migrations above all) share a shaped link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// One queue, first come, first served: every migration engine is treated alike.
    #[default]
    OneQueue,
    /// What does not come from or go to a host's own address goes first.
    GuestsFirst,
}

/// Why a lab cannot be made as specified.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// No host, or too many.
    #[error("a lab has 1 to {MOST_HOSTS} hosts, not {0}")]
    HostCount(usize),
    /// The same host is named twice.
    #[error("two hosts of the lab are called `{0}`: give each a name of its own")]
    SameName(HostName),
    /// A rate that the kernel cannot shape a link to.
    #[error("the link of `{place}` cannot have {rate}: state {SLOWEST} to {FASTEST}, or no rate")]
    Rate {
        /// Whose link.
        place: String,
        /// What was stated.
        rate: BytesPerSecond,
    },
}

impl LabSpec {
    /// Hosts `a` and `b`, both on links of `rate`, and a client whose link is unshaped.
    #[must_use]
    pub fn two_hosts(name: LabName, rate: Option<BytesPerSecond>) -> Self {
        let host = |name: &str| HostSpec { name: name.parse().expect("a and b are names"), rate };
        let hosts = vec![host("a"), host("b")];
        Self { name, hosts, client_rate: None, sharing: Sharing::OneQueue }
    }

    /// Refuses what could not be made, before anything is.
    ///
    /// # Errors
    /// The number of hosts, their names or the rates cannot be.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.hosts.is_empty() || self.hosts.len() > MOST_HOSTS {
            return Err(SpecError::HostCount(self.hosts.len()));
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = self.hosts.iter().find(|host| !names.insert(&host.name)) {
            return Err(SpecError::SameName(twice.name.clone()));
        }
        let links = self.hosts.iter().map(|host| (host.name.as_str(), host.rate));
        for (place, rate) in links.chain([(CLIENT, self.client_rate)]) {
            rate.map_or(Ok(()), |rate| check_rate(place, rate))?;
        }
        Ok(())
    }
}

/// Refuses a rate that the kernel cannot shape the link of `place` to.
pub(crate) fn check_rate(place: &str, rate: BytesPerSecond) -> Result<(), SpecError> {
    if (SLOWEST..=FASTEST).contains(&rate) {
        return Ok(());
    }
    Err(SpecError::Rate { place: place.to_owned(), rate })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lab_that_could_not_be_made_is_refused() {
        let good = LabSpec::two_hosts(LabName::default(), Some(BytesPerSecond::megabits(100)));
        assert_eq!(good.check(), Ok(()));

        let none = LabSpec { hosts: vec![], ..good.clone() };
        assert_eq!(none.check(), Err(SpecError::HostCount(0)));

        let mut twins = good.clone();
        twins.hosts[1].name = twins.hosts[0].name.clone();
        let error = twins.check().unwrap_err().to_string();
        assert_eq!(error, "two hosts of the lab are called `a`: give each a name of its own");

        let slow = LabSpec { client_rate: Some(BytesPerSecond::new(10)), ..good };
        let error = slow.check().unwrap_err().to_string();
        assert!(
            error.contains("link of `client` cannot have 80 bit/s: state 1 Mbit/s to"),
            "{error}"
        );
    }
}
