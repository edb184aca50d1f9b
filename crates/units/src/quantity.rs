use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{PAGE_SIZE, parse};

macro_rules! count {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// None at all.
            pub const ZERO: Self = Self(0);

            /// The quantity of this number.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }

            /// The difference, or zero where `other` is larger.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(quantities: I) -> Self {
                quantities.fold(Self::ZERO, Add::add)
            }
        }
    };
}

count! {
    /// A number of bytes.
    Bytes
}
count! {
    /// A number of pages of [`PAGE_SIZE`].
    Pages
}
count! {
    /// A rate of transfer, in bytes per second.
    BytesPerSecond
}

impl Bytes {
    /// `number` times 2¹⁰ bytes.
    #[must_use]
    pub const fn kib(number: u64) -> Self {
        Self(number << 10)
    }

    /// `number` times 2²⁰ bytes.
    #[must_use]
    pub const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// How many pages hold these bytes, the last perhaps in part.
    #[must_use]
    pub const fn pages(self) -> Pages {
        Pages(self.0.div_ceil(PAGE_SIZE.0))
    }

    /// Whether these bytes fill whole pages.
    #[must_use]
    pub const fn is_page_aligned(self) -> bool {
        self.0.is_multiple_of(PAGE_SIZE.0)
    }

    /// The rate at which these bytes pass in `time`; `None` for no time.
    #[must_use]
    pub fn per(self, time: Duration) -> Option<BytesPerSecond> {
        (!time.is_zero()).then(|| BytesPerSecond((self.0 as f64 / time.as_secs_f64()) as u64))
    }
}

impl Pages {
    /// How many bytes these pages have.
    #[must_use]
    pub const fn bytes(self) -> Bytes {
        Bytes(self.0 * PAGE_SIZE.0)
    }
}

impl BytesPerSecond {
    /// `number` times 10⁶ bits a second, the unit in which links are sold.
    #[must_use]
    pub const fn megabits(number: u64) -> Self {
        Self(number * 125_000)
    }

    /// The rate in bits a second.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0 * 8
    }

    /// The time that `bytes` take at this rate; [`Duration::MAX`] at rate zero.
    #[must_use]
    pub fn time_for(self, bytes: Bytes) -> Duration {
        Duration::try_from_secs_f64(bytes.0 as f64 / self.0 as f64).unwrap_or(if bytes.0 == 0 {
            Duration::ZERO
        } else {
            Duration::MAX
        })
    }

    /// The bytes that pass in `time` at this rate.
    #[must_use]
    pub fn bytes_in(self, time: Duration) -> Bytes {
        Bytes((self.0 as f64 * time.as_secs_f64()) as u64)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&parse::show_bytes(*self))
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} pages", self.0))
    }
}

impl fmt::Display for BytesPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&parse::show_rate(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gigabit_moves_a_page_in_33_microseconds() {
        let page = BytesPerSecond::megabits(1000).time_for(PAGE_SIZE);
        assert_eq!(page, Duration::from_nanos(32_768));
    }

    #[test]
    fn rate_zero_never_ends_and_nothing_takes_no_time() {
        assert_eq!(BytesPerSecond::ZERO.time_for(Bytes::new(1)), Duration::MAX);
        assert_eq!(BytesPerSecond::ZERO.time_for(Bytes::ZERO), Duration::ZERO);
        assert_eq!(Bytes::new(1).per(Duration::ZERO), None);
    }

    #[test]
    fn a_part_of_a_page_takes_a_page() {
        assert_eq!(Bytes::new(4097).pages(), Pages::new(2));
        assert!(!Bytes::new(4097).is_page_aligned());
    }
}
