use std::time::Duration;

use punctual_units::Bytes;
use serde::{Deserialize, Serialize};

/// What a move was expected to take, before it began.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    /// The interruption.
    #[serde(rename = "downtime_ms", with = "quantiles_in_milliseconds")]
    pub downtime: Quantiles,
    /// From the offer to the machine running at the destination.
    #[serde(rename = "total_s", with = "quantiles_in_seconds")]
    pub total: Quantiles,
    /// What the source would put on the connection.
    pub wire_bytes: Bytes,
    /// Where both would lie with a probability of 0.95.
    pub interval95: Intervals,
}

/// Two points of a distribution of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    /// The median.
    pub p50: Duration,
    /// What is exceeded once in a hundred times.
    pub p99: Duration,
}

/// Intervals that hold what is measured with one probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervals {
    /// That of the interruption.
    #[serde(rename = "downtime_ms", with = "interval_in_milliseconds")]
    pub downtime: Interval,
    /// That of the whole move.
    #[serde(rename = "total_s", with = "interval_in_seconds")]
    pub total: Interval,
}

/// An interval of times, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    /// The shortest.
    pub low: Duration,
    /// The longest.
    pub high: Duration,
}

impl Interval {
    /// Whether a time lies inside.
    #[must_use]
    pub fn contains(&self, time: Duration) -> bool {
        (self.low..=self.high).contains(&time)
    }
}

/// A pair of times in JSON, as numbers in the unit that the field's name ends with.
macro_rules! pair_of_times {
    ($module:ident, $pair:ident { $first:ident, $second:ident }, $unit:literal) => {
        mod $module {
            use serde::{Deserialize, Serialize};

            use super::{Duration, $pair};

            #[derive(Serialize, Deserialize)]
            struct Numbers {
                #[serde(with = $unit)]
                $first: Duration,
                #[serde(with = $unit)]
                $second: Duration,
            }

            pub(super) fn serialize<S: serde::Serializer>(
                pair: &$pair,
                serializer: S,
            ) -> Result<S::Ok, S::Error> {
                let $pair { $first, $second } = *pair;
                Numbers { $first, $second }.serialize(serializer)
            }

            pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
                deserializer: D,
            ) -> Result<$pair, D::Error> {
                let Numbers { $first, $second } = Numbers::deserialize(deserializer)?;
                Ok($pair { $first, $second })
            }
        }
    };
}

pair_of_times!(quantiles_in_milliseconds, Quantiles { p50, p99 }, "crate::times::in_milliseconds");
pair_of_times!(quantiles_in_seconds, Quantiles { p50, p99 }, "crate::times::in_seconds");
pair_of_times!(interval_in_milliseconds, Interval { low, high }, "crate::times::in_milliseconds");
pair_of_times!(interval_in_seconds, Interval { low, high }, "crate::times::in_seconds");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_have_the_names_that_are_promised_to_programs() {
        let ms = Duration::from_millis;
        let predicted = Predicted {
            downtime: Quantiles { p50: ms(20), p99: ms(45) },
            total: Quantiles { p50: ms(2500), p99: ms(4000) },
            wire_bytes: Bytes::new(7),
            interval95: Intervals {
                downtime: Interval { low: ms(12), high: ms(48) },
                total: Interval { low: ms(2000), high: ms(4500) },
            },
        };
        let json = serde_json::to_value(predicted).unwrap();
        let expected = serde_json::json!({
            "downtime_ms": { "p50": 20.0, "p99": 45.0 },
            "total_s": { "p50": 2.5, "p99": 4.0 },
            "wire_bytes": 7,
            "interval95": {
                "downtime_ms": { "low": 12.0, "high": 48.0 },
                "total_s": { "low": 2.0, "high": 4.5 },
            },
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Predicted>(json).unwrap(), predicted);
        assert!(predicted.interval95.downtime.contains(ms(48)));
        assert!(!predicted.interval95.downtime.contains(ms(49)));
    }
}
