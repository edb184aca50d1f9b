use std::collections::BTreeMap;
use std::path::PathBuf;

use punctual_units::Bytes;
use serde::{Deserialize, Serialize};

use super::options::escape;
use super::places::Places;
use super::{Argument, CommandLine, Options};

/// A memory module that was plugged into the running machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimm {
    /// The device's id.
    pub id: String,
    /// Its memory backend's id.
    pub memdev: String,
    /// Its size.
    pub size: Bytes,
    /// Its address in the guest.
    pub addr: u64,
    /// Its slot.
    pub slot: u64,
    /// Its NUMA node.
    pub node: u64,
}

/// What another host gives a machine in place of what it has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerHost {
    /// Where the machine's sockets and logs go.
    pub directory: PathBuf,
    /// The monitor's socket at the present host: the new host's takes its place.
    pub monitor: PathBuf,
    /// The file of each memory backend, by its id.
    pub ram: BTreeMap<String, PathBuf>,
    /// The machine type with its version, such as `pc-i440fx-7.2`.
    pub machine_type: String,
    /// `kvm` or `tcg`: what the machine runs on now.
    pub accel: String,
    /// The tap of each `-netdev tap`, by the netdev's id.
    pub taps: BTreeMap<String, String>,
    /// Memory modules that the command line does not know.
    pub dimms: Vec<Dimm>,
}

/// A command line for another host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocated {
    /// The arguments.
    pub command_line: CommandLine,
    /// The monitor that Punctual uses.
    pub monitor: PathBuf,
    /// Every socket and log that the arguments name in the machine's directory.
    pub files: Vec<PathBuf>,
}

/// Writes the command line of a running machine for another host, where it waits for its state.
///
/// Replaced: RAM files, sockets that QEMU makes, logs, the pid file, taps; the machine type gets
/// its version and the accelerator is the one in use; the machine neither runs nor goes to the
/// background by itself. All else stays as it is.
#[must_use]
pub fn relocate(running: &CommandLine, host: &PerHost) -> Relocated {
    let mut places = Places::new(host);
    let mut arguments: Vec<_> = running
        .arguments
        .iter()
        .filter_map(|argument| rewrite(argument, host, &mut places))
        .collect();
    if !running.has("machine") && !running.has("M") {
        arguments.push(Argument::new("machine", &host.machine_type));
    }
    arguments.extend(host.dimms.iter().flat_map(|dimm| plug(dimm, host)));
    if !places.monitor_is_named {
        let path = escape(&places.monitor.to_string_lossy());
        arguments.push(Argument::new("qmp", format!("unix:{path},server=on,wait=off")));
    }
    arguments.push(Argument::flag("S"));
    arguments.push(Argument::new("incoming", "defer"));
    Relocated {
        command_line: CommandLine { arguments },
        monitor: places.monitor.clone(),
        files: places.files(),
    }
}

/// The argument for the new host; `None` for one that it has no use for.
fn rewrite(argument: &Argument, host: &PerHost, places: &mut Places<'_>) -> Option<Argument> {
    let value = argument.value.as_deref();
    let mut options = argument.options();
    match argument.name() {
        "S" | "daemonize" | "incoming" | "loadvm" => return None,
        "accel" if options.kind("accel") != Some(&host.accel) => return None,
        "D" | "pidfile" => {
            let value = value.map(|path| places.local(path));
            return Some(Argument { flag: argument.flag.clone(), value });
        }
        "machine" | "M" => give_version(&mut options, host),
        "object" => give_file(&mut options, host),
        "netdev" | "nic" | "net" => give_tap(&mut options, host),
        "chardev" => places.chardev(&mut options),
        "qmp" | "qmp-pretty" | "monitor" | "serial" | "parallel" | "debugcon" => {
            places.short_chardev(&mut options);
        }
        "vnc" => places.vnc(&mut options),
        "spice" if options.is_on("unix") => places.move_path(&mut options, "addr"),
        _ => return Some(argument.clone()),
    }
    // What is not changed stays as it was written, also where it can be written in several ways.
    let unchanged = options == argument.options();
    let value = if unchanged { argument.value.clone() } else { Some(options.to_string()) };
    Some(Argument { flag: argument.flag.clone(), value })
}

fn give_version(options: &mut Options, host: &PerHost) {
    options.set_kind("type", &host.machine_type);
    if options.has("accel") {
        options.set("accel", &host.accel);
    }
}

fn give_file(options: &mut Options, host: &PerHost) {
    if let Some(file) = options.get("id").and_then(|id| host.ram.get(id)) {
        options.set("mem-path", &file.to_string_lossy());
    }
}

fn give_tap(options: &mut Options, host: &PerHost) {
    if options.kind("type") == Some("tap")
        && let Some(tap) = options.get("id").and_then(|id| host.taps.get(id))
    {
        options.set("ifname", tap);
        options.set("script", "no");
        options.set("downscript", "no");
    }
}

/// The arguments that give a machine from its start what was plugged in here.
fn plug(dimm: &Dimm, host: &PerHost) -> [Argument; 2] {
    let Dimm { id, memdev, size, addr, slot, node } = dimm;
    let size = size.get();
    let object = match host.ram.get(memdev) {
        Some(file) => {
            let file = escape(&file.to_string_lossy());
            format!("memory-backend-file,id={memdev},size={size},mem-path={file},share=on")
        }
        None => format!("memory-backend-ram,id={memdev},size={size}"),
    };
    let device = format!("pc-dimm,id={id},memdev={memdev},addr={addr:#x},slot={slot},node={node}");
    [Argument::new("object", object), Argument::new("device", device)]
}
