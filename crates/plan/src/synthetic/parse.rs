use std::str::FromStr;
use std::time::Duration;

use punctual_trace::Content;
use punctual_units::{Bytes, ParseError, Probability, parse};
use thiserror::Error;

use super::{Shape, Synthetic};

/// The keys that every shape knows.
const KEYS: &str = "memory, set, rate, for, zero, first, again, seed";

/// The most that may be asked for, so that a slip does not eat the computer's memory.
const MOST_MEMORY: Bytes = Bytes::mib(4 << 20);
const MOST_WRITES: f64 = 5e7;

/// Why a text describes no workload.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum SyntheticError {
    /// There is no such shape.
    #[error("there is no workload `{0}`: there are {all}", all = names())]
    Name(String),
    /// A part behind the colon is not `key=value`.
    #[error("`{0}` says nothing about a workload: write KEY=VALUE, such as rate=20000")]
    NoPair(String),
    /// The shape has no such property.
    #[error("`{shape}` has no `{key}`: it has {KEYS}{}", more(.shape))]
    Key {
        /// The shape's name.
        shape: &'static str,
        /// What was given.
        key: String,
    },
    /// A quantity that cannot be read.
    #[error("{key}: {cause}")]
    Quantity {
        /// Of what.
        key: String,
        /// Why.
        cause: ParseError,
    },
    /// A number that cannot be read, or is out of its range.
    #[error("{key}: `{value}` is not {range}")]
    Number {
        /// Of what.
        key: String,
        /// What was given.
        value: String,
        /// What would do.
        range: &'static str,
    },
    /// The set does not fit.
    #[error("a set of {set} does not fit into a memory of {memory}")]
    Set {
        /// The set.
        set: Bytes,
        /// The memory.
        memory: Bytes,
    },
    /// More than is sensible.
    #[error("{0}; ask for less")]
    TooMuch(String),
}

fn names() -> String {
    Shape::all().map(|shape| shape.name()).join(", ")
}

fn more(shape: &str) -> &'static str {
    match shape {
        "hot-cold" => ", share",
        "zipf" => ", exponent",
        "phases" => ", busy, quiet",
        _ => "",
    }
}

impl FromStr for Synthetic {
    type Err = SyntheticError;

    fn from_str(text: &str) -> Result<Self, SyntheticError> {
        let (name, rest) = text.split_once(':').unwrap_or((text, ""));
        let shape = Shape::all().into_iter().find(|shape| shape.name() == name.trim());
        let shape = shape.ok_or_else(|| SyntheticError::Name(name.to_owned()))?;
        let mut workload = Self::new(shape);
        for pair in rest.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| SyntheticError::NoPair(pair.to_owned()))?;
            workload.set(key.trim(), value.trim())?;
        }
        workload.check()?;
        Ok(workload)
    }
}

impl Synthetic {
    fn set(&mut self, key: &str, value: &str) -> Result<(), SyntheticError> {
        let name = self.shape.name();
        match (key, &mut self.shape) {
            ("memory", _) => self.memory = size(key, value)?,
            ("set", _) => self.set = size(key, value)?,
            ("rate", _) => {
                self.rate = number(key, value, 0.0..=1e8, "a number of writes a second")?
            }
            ("for", _) => self.duration = time(key, value)?,
            ("zero", _) => self.content.zero = probability(key, value)?,
            ("first", _) => self.content.first = packed(key, value)?,
            ("again", _) => self.content.again = packed(key, value)?,
            ("seed", _) => self.seed = number(key, value, 0.0..=1e15, "a whole number")? as u64,
            ("share", Shape::HotCold { share }) => *share = probability(key, value)?,
            ("exponent", Shape::Zipf { exponent }) => {
                *exponent = number(key, value, 0.0..=5.0, "a number from 0 to 5")?;
            }
            ("busy", Shape::Phases { busy, .. }) => *busy = time(key, value)?,
            ("quiet", Shape::Phases { quiet, .. }) => *quiet = time(key, value)?,
            _ => return Err(SyntheticError::Key { shape: name, key: key.to_owned() }),
        }
        Ok(())
    }

    fn check(&self) -> Result<(), SyntheticError> {
        let (set, memory) = (self.set, self.memory);
        if set > memory || set.pages().get() == 0 {
            return Err(SyntheticError::Set { set, memory });
        }
        if memory > MOST_MEMORY {
            return Err(SyntheticError::TooMuch(format!("{memory} are more than {MOST_MEMORY}")));
        }
        let writes = self.rate * self.duration.as_secs_f64();
        if writes > MOST_WRITES {
            let told = format!("{writes:.0} writes are more than the {MOST_WRITES:.0} of a trace");
            return Err(SyntheticError::TooMuch(told));
        }
        Ok(())
    }
}

fn size(key: &str, value: &str) -> Result<Bytes, SyntheticError> {
    value.parse().map_err(|cause| SyntheticError::Quantity { key: key.to_owned(), cause })
}

fn time(key: &str, value: &str) -> Result<Duration, SyntheticError> {
    let time = parse::duration(value)
        .map_err(|cause| SyntheticError::Quantity { key: key.to_owned(), cause })?;
    let (shortest, longest) = (Duration::from_millis(1), Duration::from_secs(86_400));
    if !(shortest..=longest).contains(&time) {
        return Err(wrong(key, value, "a time from 1ms to 24h"));
    }
    Ok(time)
}

fn packed(key: &str, value: &str) -> Result<f64, SyntheticError> {
    number(key, value, 0.0..=Content::MOST, "a number of bytes from 0 to 8192")
}

fn probability(key: &str, value: &str) -> Result<Probability, SyntheticError> {
    number(key, value, 0.0..=1.0, "a share from 0 to 1").map(Probability::saturating)
}

fn number(
    key: &str,
    value: &str,
    allowed: std::ops::RangeInclusive<f64>,
    range: &'static str,
) -> Result<f64, SyntheticError> {
    value
        .parse()
        .ok()
        .filter(|number| allowed.contains(number))
        .ok_or_else(|| wrong(key, value, range))
}

fn wrong(key: &str, value: &str, range: &'static str) -> SyntheticError {
    SyntheticError::Number { key: key.to_owned(), value: value.to_owned(), range }
}
