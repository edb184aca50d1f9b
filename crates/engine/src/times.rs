//! Times in JSON: numbers, in the unit that a field's name ends with. For `#[serde(with = …)]`.

use std::time::Duration;

/// `Duration` as a number of milliseconds.
pub mod in_milliseconds {
    use std::time::Duration;

    use serde::Deserialize;

    /// Writes the number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: serde::Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(super::rounded(time.as_secs_f64() * 1e3))
    }

    /// Reads the number.
    ///
    /// # Errors
    /// It is no number, negative, or more than a `Duration` holds.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        super::checked(f64::deserialize(deserializer)? / 1e3)
    }
}

/// `Option<Duration>` as a number of milliseconds or null.
pub mod in_milliseconds_if_any {
    use std::time::Duration;

    use serde::Deserialize;

    /// Writes the number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: serde::Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::in_milliseconds::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the number.
    ///
    /// # Errors
    /// It is no number, negative, or more than a `Duration` holds.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(deserializer)?
            .map(|milliseconds| super::checked(milliseconds / 1e3))
            .transpose()
    }
}

/// `Option<Duration>` as a number of seconds or null.
pub mod in_seconds_if_any {
    use std::time::Duration;

    use serde::Deserialize;

    /// Writes the number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: serde::Serializer>(
        time: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => super::in_seconds::serialize(time, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads the number.
    ///
    /// # Errors
    /// It is no number, negative, or more than a `Duration` holds.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(deserializer)?.map(super::checked).transpose()
    }
}

/// `Duration` as a number of seconds.
pub mod in_seconds {
    use std::time::Duration;

    use serde::Deserialize;

    /// Writes the number.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: serde::Serializer>(
        time: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(super::rounded(time.as_secs_f64()))
    }

    /// Reads the number.
    ///
    /// # Errors
    /// It is no number, negative, or more than a `Duration` holds.
    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        super::checked(f64::deserialize(deserializer)?)
    }
}

/// Six digits after the point: a nanosecond in milliseconds, a microsecond in seconds.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn checked<E: serde::de::Error>(seconds: f64) -> Result<Duration, E> {
    Duration::try_from_secs_f64(seconds).map_err(E::custom)
}
