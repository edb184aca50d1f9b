//! Real QEMUs: attach, describe, run, hand over, recover. What this machine cannot run is skipped,
//! and says so.

#![expect(clippy::unwrap_used, reason = "tests")]

mod bench;
mod contract;
mod demand;
mod describe;
mod handover;
mod recover;
mod run;
mod succession;
mod support;
mod taps;
