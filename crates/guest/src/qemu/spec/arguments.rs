//! From a spec to the command line.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use punctual_units::Bytes;

use super::{AccelChoice, Spec};
use crate::qemu::command_line::{Argument, CommandLine, escape};
use crate::qemu::describe::Accel;
use crate::qemu::plan::{Places, Plan, RamFile};
use crate::qemu::tap::Tap;

impl Spec {
    /// The plan for starting the machine on a host that runs it by `accel`
    /// ([`Spec::accel_here`]).
    #[must_use]
    pub fn plan(&self, places: &Places, accel: Accel) -> Plan {
        let directory = places.directory(&self.name);
        let monitor = directory.join("qmp.sock");
        let ram: Vec<RamFile> = self
            .backends()
            .into_iter()
            .map(|(region, size)| RamFile {
                path: places.ram_file(&self.name, &region, self.hugepages),
                region,
                size,
                shared: None,
            })
            .collect();
        let taps = self.taps();
        let mut line = CommandLine::default();
        let mut add = |name: &str, value: String| line.push(Argument::new(name, value));
        add("name", format!("{},debug-threads=on", escape(&self.name)));
        self.add_processor(accel, &mut add);
        self.add_memory(&ram, &mut add);
        self.add_kernel(&mut add);
        self.add_disks(&mut add);
        self.add_nics(&taps, &mut add);
        add("display", "none".to_owned());
        add("qmp", format!("unix:{},server=on,wait=off", path(&monitor)));
        let serial = path(&directory.join("serial.log"));
        add("chardev", format!("file,id=serial0,path={serial},append=on"));
        add("serial", "chardev:serial0".to_owned());
        line.push(Argument::flag("nodefaults"));
        line.push(Argument::flag("no-user-config"));
        let mut arguments = line.words();
        arguments.extend(self.extra.iter().cloned());
        Plan {
            machine: self.name.clone(),
            binary: self.binary.clone(),
            arguments,
            environment: self.env.clone(),
            working_directory: "/".into(),
            directory,
            monitor,
            ram,
            taps,
        }
    }

    /// What the machine runs on here: `auto` means KVM where this process may open it.
    #[must_use]
    pub fn accel_here(&self) -> Accel {
        let kvm = || std::fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
        match self.accel {
            AccelChoice::Kvm => Accel::Kvm,
            AccelChoice::Tcg => Accel::Tcg,
            AccelChoice::Auto if kvm() => Accel::Kvm,
            AccelChoice::Auto => Accel::Tcg,
        }
    }

    /// The memory backends: one, or one for each NUMA node.
    fn backends(&self) -> Vec<(String, Bytes)> {
        if self.numa.is_empty() {
            return vec![("ram0".to_owned(), self.memory)];
        }
        let nodes = self.numa.iter().enumerate();
        nodes.map(|(index, node)| (format!("ram{index}"), node.memory)).collect()
    }

    fn taps(&self) -> Vec<Tap> {
        let nets = self.net.iter().enumerate();
        nets.map(|(index, net)| {
            let made = || format!("{}-t{index}", short(&self.name));
            Tap { name: net.tap.clone().unwrap_or_else(made), bridge: net.bridge.clone() }
        })
        .collect()
    }

    fn add_processor(&self, accel: Accel, add: &mut impl FnMut(&str, String)) {
        let memory = if self.numa.is_empty() { ",memory-backend=ram0" } else { "" };
        add("machine", format!("{}{memory}", self.machine));
        add("accel", accel.name().to_owned());
        let default = match accel {
            Accel::Kvm => "host",
            Accel::Tcg => "max",
        };
        add("cpu", self.cpu.clone().unwrap_or_else(|| default.to_owned()));
        add("smp", self.vcpus.to_string());
    }

    fn add_memory(&self, ram: &[RamFile], add: &mut impl FnMut(&str, String)) {
        add("m", format!("{}M", self.memory.get() >> 20));
        for file in ram {
            let (id, size, place) = (&file.region, file.size.get(), path(&file.path));
            add(
                "object",
                format!("memory-backend-file,id={id},size={size},mem-path={place},share=on"),
            );
        }
        for (index, node) in self.numa.iter().enumerate() {
            let cpus = node.cpus.as_ref().map(|cpus| format!(",cpus={cpus}")).unwrap_or_default();
            add("numa", format!("node,nodeid={index},memdev=ram{index}{cpus}"));
        }
    }

    fn add_kernel(&self, add: &mut impl FnMut(&str, String)) {
        // These three are plain values: commas in them mean nothing to QEMU.
        if let Some(kernel) = &self.kernel {
            add("kernel", kernel.to_string_lossy().into_owned());
        }
        if let Some(initrd) = &self.initrd {
            add("initrd", initrd.to_string_lossy().into_owned());
        }
        if let Some(append) = &self.append {
            add("append", append.clone());
        }
    }

    fn add_disks(&self, add: &mut impl FnMut(&str, String)) {
        for (index, disk) in self.disk.iter().enumerate() {
            let mut drive = format!(
                "file={},format={},if=none,id=disk{index}",
                path(&disk.path),
                escape(&disk.format)
            );
            for (key, value) in [("cache", &disk.cache), ("aio", &disk.aio)] {
                if let Some(value) = value {
                    drive += &format!(",{key}={}", escape(value));
                }
            }
            if disk.readonly {
                drive += ",readonly=on";
            }
            add("drive", drive);
            let device = disk.device.as_deref().unwrap_or("virtio-blk-pci");
            add("device", format!("{device},drive=disk{index},id=blk{index}"));
        }
    }

    fn add_nics(&self, taps: &[Tap], add: &mut impl FnMut(&str, String)) {
        for (index, (net, tap)) in self.net.iter().zip(taps).enumerate() {
            let name = &tap.name;
            add("netdev", format!("tap,id=net{index},ifname={name},script=no,downscript=no"));
            let mac = net.mac.clone().unwrap_or_else(|| mac(&self.name, index));
            // Without a ROM to start from the network, which would be a part of the state to move.
            let device =
                format!("virtio-net-pci,netdev=net{index},id=nic{index},mac={mac},romfile=");
            add("device", device);
        }
    }
}

fn path(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

/// A hardware address of QEMU's prefix that is the same whenever the machine starts.
fn mac(machine: &str, index: usize) -> String {
    let hash = xxhash_rust::xxh3::xxh3_64(format!("{machine}/{index}").as_bytes()).to_le_bytes();
    format!("52:54:00:{:02x}:{:02x}:{:02x}", hash[0], hash[1], hash[2])
}

/// A machine's name within the 11 letters that the names of its taps leave for it. Two long names
/// that begin alike stay apart.
fn short(name: &str) -> String {
    const LONGEST: usize = 11;
    if name.chars().count() <= LONGEST {
        return name.to_owned();
    }
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    let begin: String = name.chars().take(LONGEST - 5).collect();
    format!("{begin}{:05x}", hash.finish() & 0xf_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_of_long_names_that_begin_alike_have_names_of_their_own() {
        assert_eq!(short("web"), "web");
        let (one, other) = (short("uniform-2000"), short("uniform-20000"));
        assert!(one != other && one.len() == 11 && other.starts_with("unifor"), "{one}, {other}");
    }
}
