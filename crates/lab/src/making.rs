//! How a lab is put together.
//!
//! ```text
//!   namespace LAB-a                    namespace LAB-switch                 namespace LAB-b
//!  ┌───────────────────────┐          ┌────────────────────┐          ┌───────────────────────┐
//!  │ taps of guests ─ br0 ─ uplink ════ to-a ── br0 ── to-b ════ uplink ─ br0 ─ taps of guests │
//!  │            10.213.N.1 │          │          │         │          │ 10.213.N.2            │
//!  └───────────────────────┘          └──────── to-client ─┘          └───────────────────────┘
//!                                               ║
//!                        namespace LAB-client  uplink 10.213.N.100
//! ```
//!
//! A cable (`═`) is shaped at both ends, each sending at the link's rate. The bridges keep the
//! kernel's ageing: a frame from a moved guest is what moves its address to another port, and it
//! does so at once whatever the ageing; without any, every frame would be flooded to all links.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use punctual_units::BytesPerSecond;
use thiserror::Error;

use crate::iproute::{self, Batch, NetworkError, Tool};
use crate::names::{BRIDGE, CLIENT, UPLINK, switch_port};
use crate::namespace::Namespace;
use crate::shaping::{Field, Shaper};
use crate::spec::Sharing;
use crate::state::{LabHost, LabState};
use crate::subnet::Subnet;

/// Why a part of a lab could not be made.
#[derive(Debug, Error)]
pub enum MakeError {
    /// The kernel's network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A directory of the lab.
    #[error("cannot make the directory {}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A bridge does not let frames through.
    #[error("port {port} of the bridge in network namespace {namespace} stays closed; try again")]
    Closed {
        /// Where.
        namespace: String,
        /// Which.
        port: String,
    },
    /// A setting of a namespace.
    #[error("cannot set up network namespace {namespace}: {source}")]
    Namespace {
        /// Which.
        namespace: String,
        /// Why not.
        source: io::Error,
    },
}

/// How long a port may take to open after its cable was plugged in.
const OPENING: Duration = Duration::from_secs(10);

/// The end of a cable that is not at the switch, and what is known of it.
struct Station<'a> {
    place: &'a str,
    namespace: &'a Namespace,
    address: Ipv4Addr,
    rate: Option<BytesPerSecond>,
    sharing: Sharing,
}

/// Makes all that `state` names.
pub(crate) fn make(state: &LabState) -> Result<(), MakeError> {
    for host in &state.hosts {
        directories(host)?;
    }
    let stations: Vec<_> = stations(state).collect();
    namespaces(state)?;
    switch_bridge(state)?;
    cables(state, &stations)?;
    for host in &state.hosts {
        host_bridge(host, state.subnet)?;
    }
    client_address(state)?;
    switch_ports(state, &stations)?;
    for station in &stations {
        shape(state, station)?;
    }
    state.namespaces().try_for_each(until_open)
}

fn stations(state: &LabState) -> impl Iterator<Item = Station<'_>> {
    let hosts = state.hosts.iter().map(|host| Station {
        place: host.name.as_str(),
        namespace: &host.namespace,
        address: host.address,
        rate: host.rate,
        sharing: state.sharing,
    });
    let client = &state.client;
    hosts.chain([Station {
        place: CLIENT,
        namespace: &client.namespace,
        address: client.address,
        rate: client.rate,
        // All that passes here is for the client.
        sharing: Sharing::OneQueue,
    }])
}

fn directories(host: &LabHost) -> Result<(), MakeError> {
    for path in [&host.run_dir, &host.log_dir, &host.ram_dir] {
        fs::create_dir_all(path)
            .map_err(|source| MakeError::Directory { path: path.clone(), source })?;
    }
    Ok(())
}

fn namespaces(state: &LabState) -> Result<(), MakeError> {
    let mut ip = Batch::new(Tool::Ip, None);
    for namespace in state.namespaces() {
        ip.add(format!("netns add {}", namespace.name()));
    }
    ip.run()?;
    for namespace in state.namespaces() {
        namespace.inside(quiet).map_err(|source| MakeError::Namespace {
            namespace: namespace.name().to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Keeps what nobody asked for off the links: address discovery, and a packet filter's detours.
fn quiet() -> io::Result<()> {
    let settings = [
        ("net/ipv6/conf/all/disable_ipv6", "1"),
        ("net/ipv6/conf/default/disable_ipv6", "1"),
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-arptables", "0"),
    ];
    for (name, value) in settings {
        match fs::write(format!("/proc/sys/{name}"), value) {
            // A kernel without the feature has no need of the setting.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            written => written?,
        }
    }
    Ok(())
}

fn cables(state: &LabState, stations: &[Station<'_>]) -> Result<(), NetworkError> {
    let mut ip = Batch::new(Tool::Ip, None);
    let switch = state.switch.name();
    for station in stations {
        let (namespace, port) = (station.namespace.name(), switch_port(station.place));
        ip.add(format!(
            "link add {UPLINK} netns {namespace} type veth peer name {port} netns {switch}"
        ));
    }
    ip.run()
}

fn host_bridge(host: &LabHost, subnet: Subnet) -> Result<(), NetworkError> {
    let mut ip = Batch::new(Tool::Ip, Some(host.namespace.name()));
    ip.add("link set dev lo up");
    add_bridge(&format!("address {}", subnet.hardware(host.index)), &mut ip);
    if let Some(shaper) = uplink_shaper(host.address, host.rate) {
        shaper.shorten_trains(&mut ip);
    }
    plug(UPLINK, &mut ip);
    ip.add(format!("address add {}/{} dev {BRIDGE}", host.address, Subnet::PREFIX));
    ip.run()
}

fn client_address(state: &LabState) -> Result<(), NetworkError> {
    let client = &state.client;
    let mut ip = Batch::new(Tool::Ip, Some(client.namespace.name()));
    ip.add("link set dev lo up");
    if let Some(shaper) = uplink_shaper(client.address, client.rate) {
        shaper.shorten_trains(&mut ip);
    }
    ip.add(format!("link set dev {UPLINK} up"));
    ip.add(format!("address add {}/{} dev {UPLINK}", client.address, Subnet::PREFIX));
    ip.run()
}

/// Made before the cables, so that no port has the number of the interface at the cable's other
/// end: the kernel takes such a one for an ordinary card, and lets its port wait for a second.
fn switch_bridge(state: &LabState) -> Result<(), NetworkError> {
    let mut ip = Batch::new(Tool::Ip, Some(state.switch.name()));
    add_bridge("", &mut ip);
    ip.run()
}

fn switch_ports(state: &LabState, stations: &[Station<'_>]) -> Result<(), NetworkError> {
    let mut ip = Batch::new(Tool::Ip, Some(state.switch.name()));
    for station in stations {
        if let Some(shaper) = port_shaper(station) {
            shaper.shorten_trains(&mut ip);
        }
        plug(&switch_port(station.place), &mut ip);
    }
    ip.run()
}

fn add_bridge(options: &str, ip: &mut Batch) {
    ip.add(format!(
        "link add {BRIDGE} {options} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
    ));
    ip.add(format!("link set dev {BRIDGE} up"));
}

/// Makes an interface a port of the bridge of its namespace.
pub(crate) fn plug(interface: &str, ip: &mut Batch) {
    ip.add(format!("link set dev {interface} master {BRIDGE} up"));
}

fn shape(state: &LabState, station: &Station<'_>) -> Result<(), NetworkError> {
    let ends = [
        (station.namespace, uplink_shaper(station.address, station.rate)),
        (&state.switch, port_shaper(station)),
    ];
    for (namespace, shaper) in ends {
        if let Some(shaper) = shaper {
            let mut tc = Batch::new(Tool::Tc, Some(namespace.name()));
            shaper.apply(station.sharing, &mut tc);
            tc.run()?;
        }
    }
    Ok(())
}

/// Gives the links that `state` has rates for those rates, while they are in use. Links without one
/// are left alone.
pub(crate) fn reshape(state: &LabState) -> Result<(), NetworkError> {
    for station in stations(state) {
        let (Some(uplink), Some(port)) =
            (uplink_shaper(station.address, station.rate), port_shaper(&station))
        else {
            continue;
        };
        for (namespace, shaper) in [(station.namespace, uplink), (&state.switch, port)] {
            let mut ip = Batch::new(Tool::Ip, Some(namespace.name()));
            shaper.shorten_trains(&mut ip);
            if namespace == station.namespace && station.place != CLIENT {
                shaper.shorten_trains_of(BRIDGE, &mut ip);
            }
            ip.run()?;
            let mut tc = Batch::new(Tool::Tc, Some(namespace.name()));
            shaper.change(station.sharing, &mut tc);
            tc.run()?;
        }
    }
    Ok(())
}

/// Waits until every port of the namespace's bridge lets frames through.
fn until_open(namespace: &Namespace) -> Result<(), MakeError> {
    let deadline = Instant::now() + OPENING;
    loop {
        let interfaces = iproute::interfaces(namespace.name())?;
        let Some(closed) = interfaces.iter().find(|interface| interface.is_closed_port()) else {
            return Ok(());
        };
        if Instant::now() > deadline {
            let (namespace, port) = (namespace.name().to_owned(), closed.name.clone());
            return Err(MakeError::Closed { namespace, port });
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn uplink_shaper(address: Ipv4Addr, rate: Option<BytesPerSecond>) -> Option<Shaper> {
    let own = (Field::Source, address);
    rate.map(|rate| Shaper { interface: UPLINK.to_owned(), rate, own })
}

fn port_shaper(station: &Station<'_>) -> Option<Shaper> {
    let own = (Field::Destination, station.address);
    station.rate.map(|rate| Shaper { interface: switch_port(station.place), rate, own })
}
