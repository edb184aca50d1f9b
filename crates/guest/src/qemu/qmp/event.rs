use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

/// A place in the stream of events of one monitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(super) u64);

/// Something that QEMU reported by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its name, such as `STOP`.
    pub name: String,
    /// What it says.
    pub data: Value,
    /// When it happened, on this host's monotonic clock.
    pub at: Instant,
}

impl Event {
    /// Reads an event's line, received at `now`; `None` if the line is not an event.
    pub(super) fn read(line: &Value, now: Instant, wall: SystemTime) -> Option<Self> {
        let name = line.get("event")?.as_str()?.to_owned();
        let data = line.get("data").cloned().unwrap_or(Value::Null);
        let at = happened(line.get("timestamp"), now, wall).unwrap_or(now);
        Some(Self { name, data, at })
    }

    /// The status that a `MIGRATION` event reports.
    #[must_use]
    pub fn migration_status(&self) -> Option<&str> {
        (self.name == "MIGRATION").then(|| self.data.get("status")?.as_str()).flatten()
    }
}

/// QEMU stamps events with the wall clock, in microseconds. A clock that was set between the event
/// and now gives a wrong age: one of more than a second is not believed.
fn happened(stamp: Option<&Value>, now: Instant, wall: SystemTime) -> Option<Instant> {
    let seconds = stamp?.get("seconds")?.as_u64()?;
    let micros = stamp?.get("microseconds")?.as_u64()?;
    let since_epoch = Duration::from_secs(seconds) + Duration::from_micros(micros);
    let age = wall.duration_since(UNIX_EPOCH.checked_add(since_epoch)?).unwrap_or_default();
    (age < Duration::from_secs(1)).then(|| now.checked_sub(age)).flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_stamp_becomes_a_moment_of_the_monotonic_clock() {
        let wall = UNIX_EPOCH + Duration::from_secs(1000);
        let now = Instant::now();
        let line = json!({"event": "STOP", "timestamp": {"seconds": 999, "microseconds": 995_000}});
        let event = Event::read(&line, now, wall).unwrap();
        assert_eq!(now - event.at, Duration::from_millis(5));
    }

    #[test]
    fn a_stamp_from_a_clock_that_was_set_is_not_believed() {
        let wall = UNIX_EPOCH + Duration::from_secs(1000);
        let now = Instant::now();
        for seconds in [0, 2000] {
            let line = json!({"event": "X", "timestamp": {"seconds": seconds, "microseconds": 0}});
            assert_eq!(Event::read(&line, now, wall).unwrap().at, now);
        }
    }
}
