//! Streaming guests of a scene: real servers, loaded and watched by the client.

use std::fmt;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use punctual_images::{Qemu, StreamingImage};
use punctual_units::Bytes;
use toml::{Table, Value};

use super::guest::GuestSpec;
use super::{Scene, SceneError};
use crate::Subnet;
use crate::client::{Demand, Load, connect};

/// A server that does not answer by then never will; under emulation VLC takes some 15 s.
const BOOT: Duration = Duration::from_secs(120);
/// Where a streaming guest tells which pages its server maps (`guests/streaming/mapped-pages`).
const PAGES_PORT: u16 = 5006;
/// It reads the page tables of the server first, in an interpreted language under emulation.
const PAGES_ANSWER: Duration = Duration::from_secs(60);
/// More than the list of all pages of the largest machine of a lab.
const PAGES_LONGEST: u64 = 16 << 20;

/// What a streaming guest serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// VLC streams a clip of 3.4 Mbit/s over HTTP, over and over.
    Vlc,
    /// redis as a cache of 64 MiB.
    Redis,
    /// nginx serves 500 files of 4 to 256 KiB.
    Nginx,
}

/// A streaming guest to be started: 512 MiB under TCG unless said otherwise.
#[derive(Debug, Clone)]
pub struct ServerSpec {
    /// The machine's name.
    pub name: String,
    /// Which of the lab's guests it is, from 0; its address follows from it.
    pub index: usize,
    /// Its RAM.
    pub memory: Bytes,
    /// What it serves.
    pub service: Service,
    /// The QEMU that runs it.
    pub qemu: Qemu,
    /// `kvm`, `tcg` or `auto`.
    pub accel: String,
}

/// A streaming guest that runs.
#[derive(Debug, Clone)]
pub struct Server {
    /// The machine's name.
    pub name: String,
    /// Its address, wherever it runs.
    pub address: Ipv4Addr,
    /// What it serves.
    pub service: Service,
}

impl Service {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Vlc, Self::Redis, Self::Nginx];

    /// What `punctual.serve` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vlc => "vlc",
            Self::Redis => "redis",
            Self::Nginx => "nginx",
        }
    }

    /// The TCP port that it serves on.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Vlc => 8080,
            Self::Redis => 6379,
            Self::Nginx => 80,
        }
    }

    /// What its clients want of it.
    const fn demand(self) -> Demand {
        match self {
            Self::Vlc => Demand::Stream,
            Self::Redis => Demand::Keys,
            Self::Nginx => Demand::Files,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ServerSpec {
    /// A guest of 512 MiB under TCG, named after what it serves.
    #[must_use]
    pub fn new(service: Service, qemu: Qemu) -> Self {
        Self {
            name: service.name().to_owned(),
            index: 0,
            memory: Bytes::mib(512),
            service,
            qemu,
            accel: "tcg".to_owned(),
        }
    }

    /// The machine's specification.
    fn to_toml(&self, address: Ipv4Addr, image: &StreamingImage) -> Result<String, SceneError> {
        let mut disk = Table::new();
        disk.insert("path".to_owned(), image.disk.display().to_string().into());
        disk.insert("readonly".to_owned(), true.into());
        let mut more = Table::new();
        more.insert("disk".to_owned(), Value::Array(vec![disk.into()]));
        if self.accel == "tcg" {
            // Boots faster than the default, and the servers' programs ask for no more.
            more.insert("cpu".to_owned(), "qemu64".into());
        }
        let guest = GuestSpec {
            memory: self.memory,
            accel: self.accel.clone(),
            more,
            ..GuestSpec::new(&self.name, self.qemu.clone(), Default::default())
        };
        let network = format!("punctual.ip={address}/{}", Subnet::PREFIX);
        guest.to_toml_with(&image.initramfs, &format!("{network} punctual.serve={}", self.service))
    }
}

impl Server {
    /// Where its clients connect.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        (self.address, self.service.port()).into()
    }
}

impl Scene {
    /// Starts a streaming guest on a host and waits until its server takes connections.
    ///
    /// # Errors
    /// It could not be started, or does not answer.
    ///
    /// # Panics
    /// The guest's index is not below [`crate::MOST_GUESTS`].
    pub fn start_server(
        &self,
        host: &str,
        spec: &ServerSpec,
        image: &StreamingImage,
    ) -> Result<Server, SceneError> {
        let address = self.lab().state().subnet.guest(spec.index);
        let address = address.expect("the guest's index is below the number of addresses");
        self.run(host, spec.to_toml(address, image)?)?;
        let server = Server { name: spec.name.clone(), address, service: spec.service };
        let client = &self.lab().client().namespace;
        if client.inside(|| connect(server.socket(), BOOT)).is_err() {
            let machines = self.lab().host(host)?.run_dir.join("daemon/machines");
            return Err(SceneError::Silent {
                guest: spec.name.clone(),
                seconds: BOOT.as_secs(),
                console: machines.join(&spec.name).join("serial.log").display().to_string(),
            });
        }
        Ok(server)
    }

    /// Has so many connections of the client keep a server busy, until the result is dropped.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn load(&self, server: &Server, connections: usize) -> io::Result<Load> {
        Load::start(self.lab(), server.socket(), server.service.demand(), connections)
    }

    /// Which pages of the guest's memory its server maps now, in the words of
    /// `guests/streaming/mapped-pages`. While guests have less than 3 GiB the numbers are those
    /// of the machine's pages.
    ///
    /// # Errors
    /// The guest does not answer, or its server maps nothing: it has ended.
    pub fn mapped_pages(&self, server: &Server) -> io::Result<String> {
        let address = (server.address, PAGES_PORT).into();
        let client = &self.lab().client().namespace;
        let connection = client.inside(|| connect(address, BOOT))?;
        connection.set_read_timeout(Some(PAGES_ANSWER))?;
        let mut text = String::new();
        connection.take(PAGES_LONGEST).read_to_string(&mut text)?;
        let what = match text.lines().next() {
            Some("anonymous 0") => "its server has ended: its serial console tells why",
            Some(line) if line.starts_with("anonymous ") => return Ok(text),
            _ => "it does not say which pages its server maps: rebuild it with `make streaming`",
        };
        Err(io::Error::other(format!("guest `{}`: {what}", server.name)))
    }
}
