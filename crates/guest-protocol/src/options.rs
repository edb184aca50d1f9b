//! What a guest is told on its kernel command line, as `punctual.NAME=VALUE` words.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use crate::Workload;

/// What to do and how: written on the kernel command line by whoever starts a guest
/// ([`fmt::Display`]), read from it by the guest ([`Options::parse`]).
///
/// ```
/// use punctual_guest_protocol::{Options, Workload};
///
/// let options = Options { workload: Workload::Uniform, rate: 20_000, ..Options::default() };
/// let words = options.to_string();
/// assert_eq!(Options::parse(&format!("console=ttyS0 {words}"))?, options);
/// # Ok::<(), punctual_guest_protocol::options::BadOption>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Address of the guest's first network card (`ip=10.1.0.2/24`); no network if not said.
    pub ip: Option<Network>,
    /// Where beacons go (`beacon=10.1.0.1:6000`); no beacon if not said.
    pub beacon: Option<SocketAddrV4>,
    /// What to do (`workload=uniform`).
    pub workload: Workload,
    /// Bytes filled at boot with incompressible data that never changes (`fill=200M`).
    pub fill: u64,
    /// Bytes that the workload writes to (`set=64M`).
    pub set: u64,
    /// Units of work a second (`rate=2000`).
    pub rate: u64,
    /// How much missed work is made up for (`catch-up=50`), in whole milliseconds of it, from 1 on.
    /// A guest that stood still for longer loses the rest, as if its clients had turned away.
    pub catch_up: Duration,
    /// From which all content comes (`seed=1`).
    pub seed: u64,
    /// How the reader reads (`read=both`).
    pub read: ReadMode,
    /// Length of each read in bytes, a multiple of 4 KiB (`read-size=1M`).
    pub read_size: u64,
    /// Bytes a second to each client of the stream (`stream=250K`), sent as 25 frames.
    pub stream: u64,
}

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub address: Ipv4Addr,
    /// Leading bits that all addresses of the network share, 0 to 32.
    pub prefix: u8,
}

/// How the reader reads its disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadMode {
    /// Directly and buffered in turn.
    #[default]
    Both,
    /// Past the guest's page cache (`O_DIRECT`): the disk writes straight into the read's buffer.
    Direct,
    /// Through the guest's page cache.
    Buffered,
}

/// An option that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    /// No option has this name.
    #[error("there is no kernel parameter punctual.{0}: see guests/README.md")]
    Unknown(String),
    /// The value does not fit the option.
    #[error("punctual.{name}={value} cannot be understood: {expected} is expected")]
    Value {
        /// Name of the option.
        name: &'static str,
        /// Its value.
        value: String,
        /// What would have been right.
        expected: &'static str,
    },
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ip: None,
            beacon: None,
            workload: Workload::Idle,
            fill: 0,
            set: 64 << 20,
            rate: 2000,
            catch_up: Duration::from_millis(50),
            seed: 1,
            read: ReadMode::Both,
            read_size: 1 << 20,
            stream: 250_000,
        }
    }
}

impl Options {
    /// Reads the `punctual.` words of a kernel command line; other words are not looked at, and
    /// what is not said has its default.
    ///
    /// # Errors
    ///
    /// [`BadOption`] for the first option that does not exist or whose value does not fit.
    pub fn parse(command_line: &str) -> Result<Self, BadOption> {
        let mut options = Self::default();
        for word in command_line.split_ascii_whitespace() {
            let Some(option) = word.strip_prefix("punctual.") else { continue };
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            options.set_option(name, value)?;
        }
        Ok(options)
    }

    fn set_option(&mut self, name: &str, value: &str) -> Result<(), BadOption> {
        match name {
            "ip" => self.ip = Some(read("ip", value, "ADDRESS/PREFIX")?),
            "beacon" => self.beacon = Some(read("beacon", value, "ADDRESS:PORT")?),
            "workload" => self.workload = read("workload", value, "the name of a workload")?,
            "fill" => self.fill = read_size("fill", value)?,
            "set" => self.set = read_size("set", value)?,
            "rate" => self.rate = read("rate", value, "a number")?,
            "catch-up" => self.catch_up = read_milliseconds("catch-up", value)?,
            "seed" => self.seed = read("seed", value, "a number")?,
            "read" => self.read = read("read", value, "both, direct or buffered")?,
            "read-size" => self.read_size = read_size("read-size", value)?,
            "stream" => self.stream = read_size("stream", value)?,
            _ => return Err(BadOption::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ip, beacon, workload, fill, set, rate, .. } = self;
        let Self { catch_up, seed, read, read_size, stream, .. } = self;
        if let Some(Network { address, prefix }) = ip {
            write!(f, "punctual.ip={address}/{prefix} ")?;
        }
        if let Some(beacon) = beacon {
            write!(f, "punctual.beacon={beacon} ")?;
        }
        write!(f, "punctual.workload={workload} punctual.fill={fill} punctual.set={set} ")?;
        write!(f, "punctual.rate={rate} punctual.catch-up={} ", catch_up.as_millis())?;
        write!(f, "punctual.seed={seed} punctual.read={} ", read.name())?;
        write!(f, "punctual.read-size={read_size} punctual.stream={stream}")
    }
}

impl ReadMode {
    const fn name(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Direct => "direct",
            Self::Buffered => "buffered",
        }
    }
}

impl FromStr for ReadMode {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let modes = [Self::Both, Self::Direct, Self::Buffered];
        modes.into_iter().find(|mode| mode.name() == name).ok_or(())
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let network = Self {
            address: address.parse().map_err(|_| ())?,
            prefix: prefix.parse().map_err(|_| ())?,
        };
        if network.prefix <= 32 { Ok(network) } else { Err(()) }
    }
}

fn read<T: FromStr>(
    name: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<T, BadOption> {
    value.parse().map_err(|_| BadOption::Value { name, value: value.to_owned(), expected })
}

/// A time of at least a millisecond.
fn read_milliseconds(name: &'static str, value: &str) -> Result<Duration, BadOption> {
    let expected = "a number of milliseconds from 1 on";
    let milliseconds: NonZeroU32 = read(name, value, expected)?;
    Ok(Duration::from_millis(milliseconds.get().into()))
}

/// A number of bytes, with K, M or G for 2¹⁰, 2²⁰ and 2³⁰.
fn read_size(name: &'static str, value: &str) -> Result<u64, BadOption> {
    let (digits, shift) = match value.as_bytes().last() {
        Some(b'K') => (&value[..value.len() - 1], 10),
        Some(b'M') => (&value[..value.len() - 1], 20),
        Some(b'G') => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    let number: Option<u64> = digits.parse().ok();
    number.and_then(|number| number.checked_mul(1 << shift)).ok_or_else(|| BadOption::Value {
        name,
        value: value.to_owned(),
        expected: "a number of bytes such as 65536, 64K, 200M or 1G",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_read() {
        let line = "console=ttyS0 punctual.ip=10.9.0.2/24 punctual.beacon=10.9.0.1:6000 \
                    punctual.workload=hot-cold punctual.fill=200M punctual.rate=20000 \
                    punctual.catch-up=5 quiet\n";
        let options = Options::parse(line).unwrap();
        assert_eq!(options.ip, Some(Network { address: Ipv4Addr::new(10, 9, 0, 2), prefix: 24 }));
        assert_eq!(options.beacon, Some("10.9.0.1:6000".parse().unwrap()));
        assert_eq!((options.workload, options.fill), (Workload::HotCold, 200 << 20));
        assert_eq!((options.rate, options.set), (20_000, Options::default().set));
        assert_eq!(options.catch_up, Duration::from_millis(5));
        assert_eq!(Options::parse(&options.to_string()), Ok(options));
    }

    #[test]
    fn mistakes_are_named() {
        let mistake = |line: &str| Options::parse(line).unwrap_err().to_string();
        assert!(mistake("punctual.speed=3").contains("punctual.speed"));
        assert!(mistake("punctual.fill=much").contains("200M"));
        assert!(mistake("punctual.fill=99999999999G").contains("punctual.fill"));
        assert!(mistake("punctual.ip=10.0.0.1/33").contains("ADDRESS/PREFIX"));
        assert!(mistake("punctual.catch-up=0").contains("from 1 on"));
        assert!(mistake("punctual.workload").contains("the name of a workload"));
    }
}
