//! Quantities as people write them, and as they are shown.
//!
//! Sizes: `4096`, `64KiB`, `512MiB`, `4GiB` (powers of 2; `K`, `M`, `G` mean the same, as in QEMU)
//! and `MB`, `GB` (powers of 10). Rates: `100Mbit`, `1Gbit`, `125MB/s`, `118MiB/s`. Times: `500us`,
//! `50ms`, `1.5s`, `2min`.

use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

use crate::{Bytes, BytesPerSecond};

/// Why a quantity could not be understood; the text says what would be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a {quantity}: write {examples}")]
pub struct ParseError {
    text: String,
    quantity: &'static str,
    examples: &'static str,
}

struct Scale {
    quantity: &'static str,
    examples: &'static str,
    /// Unit in lower case, and how much of the base unit it is.
    units: &'static [(&'static str, f64)],
}

const SIZE: Scale = Scale {
    quantity: "size",
    examples: "for example 512MiB or 4GiB",
    units: &[
        ("", 1.0),
        ("b", 1.0),
        ("k", 1024.0),
        ("kib", 1024.0),
        ("kb", 1e3),
        ("m", 1_048_576.0),
        ("mib", 1_048_576.0),
        ("mb", 1e6),
        ("g", 1_073_741_824.0),
        ("gib", 1_073_741_824.0),
        ("gb", 1e9),
        ("t", 1_099_511_627_776.0),
        ("tib", 1_099_511_627_776.0),
    ],
};

const RATE: Scale = Scale {
    quantity: "rate",
    examples: "for example 100Mbit, 1Gbit or 125MB/s",
    units: &[
        ("bit", 0.125),
        ("kbit", 125.0),
        ("mbit", 125e3),
        ("gbit", 125e6),
        ("bit/s", 0.125),
        ("kbit/s", 125.0),
        ("mbit/s", 125e3),
        ("gbit/s", 125e6),
        ("b/s", 1.0),
        ("kb/s", 1e3),
        ("mb/s", 1e6),
        ("gb/s", 1e9),
        ("kib/s", 1024.0),
        ("mib/s", 1_048_576.0),
        ("gib/s", 1_073_741_824.0),
    ],
};

const TIME: Scale = Scale {
    quantity: "time",
    examples: "for example 50ms, 1.5s or 2min",
    units: &[("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("min", 60.0), ("h", 3600.0)],
};

impl Scale {
    fn read(&self, text: &str) -> Result<f64, ParseError> {
        let error = || ParseError {
            text: text.to_owned(),
            quantity: self.quantity,
            examples: self.examples,
        };
        let trimmed = text.trim();
        let unit_at = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(unit_at);
        let number: f64 = number.replace('_', "").parse().map_err(|_| error())?;
        let unit = unit.trim().to_lowercase();
        let scale = self.units.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1;
        let value = number * scale;
        // Beyond 2⁵³ a double no longer counts single bytes.
        if value.is_finite() && value < 9.0e15 { Ok(value) } else { Err(error()) }
    }
}

impl FromStr for Bytes {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        SIZE.read(text).map(|value| Self::new(value.round() as u64))
    }
}

impl FromStr for BytesPerSecond {
    type Err = ParseError;

    /// Zero is no rate: nothing would ever arrive.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let value = RATE.read(text)?.round() as u64;
        if value == 0 {
            return Err(ParseError {
                text: text.to_owned(),
                quantity: RATE.quantity,
                examples: RATE.examples,
            });
        }
        Ok(Self::new(value))
    }
}

/// Reads a time such as `50ms` or `1.5s`.
///
/// # Errors
/// The text is no number with a unit of time.
///
/// ```
/// # use std::time::Duration;
/// assert_eq!(punctual_units::parse::duration("50ms")?, Duration::from_millis(50));
/// # Ok::<(), punctual_units::ParseError>(())
/// ```
pub fn duration(text: &str) -> Result<Duration, ParseError> {
    TIME.read(text).map(Duration::from_secs_f64)
}

/// A size with the largest binary unit that leaves a number of at least 1, such as `2.5 GiB`.
pub(crate) fn show_bytes(bytes: Bytes) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes.get() as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    show(value, UNITS[unit])
}

/// A rate in bits a second with a decimal unit, such as `940 Mbit/s`.
pub(crate) fn show_rate(rate: BytesPerSecond) -> String {
    const UNITS: [&str; 4] = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"];
    let mut value = rate.bits() as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    show(value, UNITS[unit])
}

fn show(value: f64, unit: &str) -> String {
    let digits = usize::from(value.fract() >= 0.05 && value < 100.0);
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!("512MiB".parse(), Ok(Bytes::mib(512)));
        assert_eq!("512M".parse(), Ok(Bytes::mib(512)));
        assert_eq!("4 GiB".parse(), Ok(Bytes::mib(4096)));
        assert_eq!("1.5k".parse(), Ok(Bytes::new(1536)));
        for wrong in ["", "MiB", "12parsecs", "-1M", "1e99G", "99999999999G"] {
            assert!(wrong.parse::<Bytes>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!("1Gbit".parse(), Ok(BytesPerSecond::megabits(1000)));
        assert_eq!("100Mbit/s".parse(), Ok(BytesPerSecond::megabits(100)));
        assert_eq!("125MB/s".parse(), Ok(BytesPerSecond::megabits(1000)));
        let error = "0Gbit".parse::<BytesPerSecond>().unwrap_err().to_string();
        assert_eq!(error, "`0Gbit` is not a rate: write for example 100Mbit, 1Gbit or 125MB/s");
    }

    #[test]
    fn times() {
        assert_eq!(duration("500us"), Ok(Duration::from_micros(500)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert!(duration("50").is_err(), "a bare number could be seconds or milliseconds");
    }

    #[test]
    fn shown_as_people_read_them() {
        assert_eq!(Bytes::mib(512).to_string(), "512 MiB");
        assert_eq!(Bytes::new(1536).to_string(), "1.5 KiB");
        assert_eq!(BytesPerSecond::megabits(1000).to_string(), "1 Gbit/s");
        assert_eq!(Bytes::ZERO.to_string(), "0 B");
    }
}
