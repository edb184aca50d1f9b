use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::text;
use crate::qemu::qmp::{Qmp, QmpError};

/// A machine's connection to a tap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The id of the netdev.
    pub netdev: String,
    /// The tap; `None` where its descriptor was passed in.
    pub tap: Option<String>,
    /// The guest's hardware address on it.
    pub mac: Option<String>,
    /// The bridge that the tap is a port of.
    pub bridge: Option<String>,
}

/// Asks for the taps. QMP has no command for it, so the human monitor's is read.
pub(super) fn of(qmp: &Qmp) -> Result<Vec<Nic>, QmpError> {
    let command = json!({ "command-line": "info network" });
    let mut nics = read(&text(&qmp.execute("human-monitor-command", command)?));
    for nic in &mut nics {
        nic.bridge = nic.tap.as_deref().and_then(bridge_of);
    }
    Ok(nics)
}

/// What QEMU calls the guest's network cards, whatever they are connected to.
pub(in crate::qemu) fn names(qmp: &Qmp) -> Result<Vec<String>, QmpError> {
    let command = json!({ "command-line": "info network" });
    Ok(read_names(&text(&qmp.execute("human-monitor-command", command)?)))
}

fn read_names(info: &str) -> Vec<String> {
    let card = |line: &str| {
        let (name, facts) = line.trim().trim_start_matches("\\ ").split_once(": ")?;
        facts.split(',').any(|fact| fact == "type=nic").then(|| name.to_owned())
    };
    let mut names: Vec<String> = info.lines().filter_map(card).collect();
    // The queues of one card are told one by one.
    names.dedup();
    names
}

/// Reads lines such as these, of which the first belongs to the guest's side:
/// `n0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01` and, below it,
/// ` \ net0: index=0,type=tap,ifname=tap0,script=no,downscript=no`.
fn read(info: &str) -> Vec<Nic> {
    let mut nics: Vec<Nic> = Vec::new();
    let mut mac = None;
    for line in info.lines() {
        let Some((name, facts)) = line.trim().trim_start_matches("\\ ").split_once(": ") else {
            continue;
        };
        let fact = |key: &str| {
            let facts = facts.split(',').filter_map(|fact| fact.split_once('='));
            facts.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).next()
        };
        match fact("type").as_deref() {
            Some("nic") => mac = fact("macaddr"),
            // The queues of one netdev are told one by one.
            Some("tap") if !nics.iter().any(|nic| nic.netdev == name) => nics.push(Nic {
                netdev: name.to_owned(),
                tap: fact("ifname"),
                mac: mac.clone(),
                bridge: None,
            }),
            _ => {}
        }
    }
    nics
}

/// The bridge of an interface of this network namespace.
fn bridge_of(tap: &str) -> Option<String> {
    let told = Command::new("ip").args(["-json", "link", "show", "dev", tap]).output().ok()?;
    let links: Value = serde_json::from_slice(&told.stdout).ok()?;
    Some(links[0]["master"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_and_their_guests_addresses() {
        let info = "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:00:00:01\r\n \
            \\ net0: index=0,type=tap,ifname=tap7,script=no,downscript=no\r\n\
            n1: index=0,type=nic,model=e1000,macaddr=52:54:00:00:00:02\r\n \
            \\ net1: index=0,type=user,net=10.0.2.0,restrict=off\r\n\
            n2: index=0,type=nic,model=e1000,macaddr=52:54:00:00:00:03\r\n \
            \\ net2: index=0,type=tap,fd=21\r\n";
        let nics = read(info);
        assert_eq!(nics.len(), 2);
        assert_eq!(read_names(info), ["virtio-net-pci.0", "n1", "n2"]);
        assert_eq!(nics[0].tap.as_deref(), Some("tap7"));
        assert_eq!(nics[0].mac.as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!((nics[1].netdev.as_str(), &nics[1].tap), ("net2", &None));
    }
}
