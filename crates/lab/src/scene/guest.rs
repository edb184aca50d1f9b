//! Guests of a scene: the Linux machine of `guests/`, as a machine spec and as the client sees it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use punctual_guest_protocol::Options;
use punctual_guest_protocol::options::Network;
use punctual_images::{BASE_ARGUMENTS, Qemu};
use punctual_units::Bytes;
use toml::{Table, Value};

use super::{Scene, SceneError};
use crate::Subnet;
use crate::client::{BeaconReceiver, Control, ControlError, StreamReader};

/// A guest whose kernel takes longer than this under emulation hangs.
const BOOT: Duration = Duration::from_secs(60);

/// A guest to be started.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// The machine's name.
    pub name: String,
    /// Which of the lab's guests it is, from 0; its address follows from it.
    pub index: usize,
    /// Its RAM.
    pub memory: Bytes,
    /// What it does. Address and beacon are filled in.
    pub options: Options,
    /// The QEMU that runs it.
    pub qemu: Qemu,
    /// `kvm`, `tcg` or `auto`.
    pub accel: String,
    /// A disk, on storage that all hosts see.
    pub disk: Option<GuestDisk>,
    /// More lines for the machine's specification.
    pub more: Table,
}

/// A disk of a guest.
#[derive(Debug, Clone)]
pub struct GuestDisk {
    /// The raw image.
    pub path: PathBuf,
    /// QEMU's cache mode.
    pub cache: String,
    /// QEMU's way of input and output.
    pub aio: String,
}

/// A guest that runs, watched by the lab's client.
#[derive(Debug)]
pub struct Guest {
    /// The machine's name.
    pub name: String,
    /// Its address, wherever it runs.
    pub address: Ipv4Addr,
    /// Its beacon.
    pub beacon: BeaconReceiver,
}

impl GuestSpec {
    /// A guest of 512 MiB under TCG that does what `options` say.
    #[must_use]
    pub fn new(name: &str, qemu: Qemu, options: Options) -> Self {
        Self {
            name: name.to_owned(),
            index: 0,
            memory: Bytes::mib(512),
            options,
            qemu,
            accel: "tcg".to_owned(),
            disk: None,
            more: Table::new(),
        }
    }

    /// The machine's specification, its beacon going to `beacon`.
    fn to_toml(&self, address: Ipv4Addr, beacon: &BeaconReceiver) -> Result<String, SceneError> {
        let initrd = punctual_images::initramfs().map_err(|error| image(error.into()))?;
        let options = Options {
            ip: Some(Network { address, prefix: Subnet::PREFIX }),
            beacon: Some(beacon.address()),
            ..self.options.clone()
        };
        self.to_toml_with(&initrd, &options.to_string())
    }

    /// The machine's specification, its kernel being given `initrd` and told `words`.
    pub(super) fn to_toml_with(&self, initrd: &Path, words: &str) -> Result<String, SceneError> {
        let kernel = punctual_images::kernel().map_err(|error| image(error.into()))?;
        let text = |value: &dyn std::fmt::Display| Value::String(value.to_string());
        let env: Table =
            self.qemu.env.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let mut net = Table::new();
        net.insert("bridge".to_owned(), text(&crate::names::BRIDGE));
        let mut spec = self.more.clone();
        // Where QEMU's firmware lies comes first, so that more of the same can be added behind it.
        let mut extra: Vec<Value> = self.qemu.arguments.iter().map(|word| text(word)).collect();
        if let Some(Value::Array(more)) = spec.remove("extra") {
            extra.extend(more);
        }
        spec.insert("extra".to_owned(), Value::Array(extra));
        for (field, value) in [
            ("name", text(&self.name)),
            ("memory", text(&format!("{}KiB", self.memory.get() >> 10))),
            ("accel", text(&self.accel)),
            ("kernel", text(&kernel.display())),
            ("initrd", text(&initrd.display())),
            ("append", text(&format!("{BASE_ARGUMENTS} {words}"))),
            ("binary", text(&self.qemu.binary.display())),
            ("env", Value::Table(env)),
            ("net", Value::Array(vec![Value::Table(net)])),
        ] {
            spec.entry(field).or_insert(value);
        }
        if let Some(disk) = &self.disk {
            let mut table = Table::new();
            table.insert("path".to_owned(), text(&disk.path.display()));
            table.insert("cache".to_owned(), text(&disk.cache));
            table.insert("aio".to_owned(), text(&disk.aio));
            spec.insert("disk".to_owned(), Value::Array(vec![Value::Table(table)]));
        }
        Ok(spec.to_string())
    }
}

pub(super) fn image(error: Box<dyn std::error::Error + Send + Sync>) -> SceneError {
    SceneError::Image(error)
}

impl Scene {
    /// Starts a guest on a host and waits until the client hears its beacon.
    ///
    /// # Errors
    /// It could not be started, or is not heard.
    ///
    /// # Panics
    /// The guest's index is not below [`crate::MOST_GUESTS`].
    pub fn start_guest(&self, host: &str, spec: &GuestSpec) -> Result<Guest, SceneError> {
        let address = self.lab().state().subnet.guest(spec.index);
        let address = address.expect("the guest's index is below the number of addresses");
        let beacon = BeaconReceiver::listen(self.lab(), 0)?;
        self.run(host, spec.to_toml(address, &beacon)?)?;
        if !beacon.wait(BOOT) {
            let machines = self.lab().host(host)?.run_dir.join("daemon/machines");
            return Err(SceneError::Silent {
                guest: spec.name.clone(),
                seconds: BOOT.as_secs(),
                console: machines.join(&spec.name).join("serial.log").display().to_string(),
            });
        }
        Ok(Guest { name: spec.name.clone(), address, beacon })
    }

    /// A connection for questions to a guest.
    ///
    /// # Errors
    /// It does not answer.
    pub fn control(&self, guest: &Guest) -> Result<Control, ControlError> {
        Control::open(self.lab(), guest.address, BOOT)
    }

    /// A stream from a guest, checked frame by frame from now on.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stream(&self, guest: &Guest) -> Result<StreamReader, SceneError> {
        Ok(StreamReader::open(self.lab(), guest.address, BOOT)?)
    }
}
