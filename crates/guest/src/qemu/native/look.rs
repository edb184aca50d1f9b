use std::time::Duration;

use punctual_units::{Bytes, BytesPerSecond, Pages};
use serde_json::Value;

/// What QEMU says of a migration that goes on (`query-migrate`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Its status, such as `active`.
    pub status: String,
    /// What QEMU has put into the stream.
    pub sent: Bytes,
    /// Pages in it, counted each time, zero pages included.
    pub pages: Pages,
    /// What is missing or old at the destination, as QEMU last counted.
    pub remaining: Bytes,
    /// How often it has gone over the memory.
    pub passes: u32,
    /// The rate of the stream lately; zero before it is known.
    pub rate: BytesPerSecond,
    /// How much memory the guest lately wrote in a second, each page counted once a pass; zero
    /// before it is known.
    pub writing: BytesPerSecond,
    /// By how much QEMU slows the guest's processors down, in percent.
    pub throttled: u8,
}

impl Look {
    pub(super) fn read(answer: &Value) -> Self {
        let ram = &answer["ram"];
        let number = |field: &str| ram[field].as_u64().unwrap_or(0);
        let page_size = number("page-size");
        // In megabits of a second; the only figure that is no integer.
        let rate = ram["mbps"].as_f64().filter(|rate| rate.is_finite()).unwrap_or(0.0);
        let throttled = answer["cpu-throttle-percentage"].as_u64().unwrap_or(0);
        Self {
            status: answer["status"].as_str().unwrap_or("none").to_owned(),
            sent: Bytes::new(number("transferred")),
            pages: Pages::new(number("normal") + number("duplicate")),
            remaining: Bytes::new(number("remaining")),
            passes: u32::try_from(number("dirty-sync-count")).unwrap_or(u32::MAX),
            rate: BytesPerSecond::new((rate * 125_000.0).max(0.0) as u64),
            writing: BytesPerSecond::new(number("dirty-pages-rate").saturating_mul(page_size)),
            throttled: u8::try_from(throttled).unwrap_or(100),
        }
    }

    /// How long what remains takes at the rate of lately; `None` before that is known.
    #[must_use]
    pub fn left(&self) -> Option<Duration> {
        (self.rate != BytesPerSecond::ZERO).then(|| self.rate.time_for(self.remaining))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What QEMU 10.0.2 answered.
    #[test]
    fn the_answer_of_a_migration_under_way() {
        let look = Look::read(&json!({
            "expected-downtime": 300, "status": "active", "setup-time": 29, "total-time": 95,
            "cpu-throttle-percentage": 20,
            "ram": {"total": 268_967_936, "dirty-sync-count": 2, "pages-per-second": 0,
                "page-size": 4096, "remaining": 12_500_000, "mbps": 141.184,
                "transferred": 1_058_136, "duplicate": 65_552, "dirty-pages-rate": 1000,
                "normal-bytes": 466_944, "normal": 114},
        }));
        assert_eq!(look.status, "active");
        assert_eq!((look.passes, look.pages), (2, Pages::new(65_666)));
        assert_eq!(look.rate, BytesPerSecond::new(17_648_000));
        assert_eq!(look.writing, BytesPerSecond::new(4_096_000));
        assert_eq!(look.throttled, 20);
        assert!(look.left().is_some_and(|left| left.as_millis() == 708), "{:?}", look.left());
    }

    #[test]
    fn nothing_is_known_before_it_has_begun() {
        let look = Look::read(&json!({}));
        assert_eq!((look.status.as_str(), look.left()), ("none", None));
    }
}
