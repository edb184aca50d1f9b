//! The guest's monotonic clock, and waking at a moment of it.

use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// Time since the guest's kernel started.
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every kernel has this clock").into()
}

/// Sleeps until the clock shows `moment`; returns at once if it has passed.
pub(crate) fn sleep_until(moment: Duration) {
    let moment = TimeSpec::from_duration(moment);
    // A signal may end the sleep early; sleep on, the moment is absolute.
    while clock_nanosleep(ClockId::CLOCK_MONOTONIC, ClockNanosleepFlags::TIMER_ABSTIME, &moment)
        .is_err()
    {}
}
