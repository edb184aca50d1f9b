//! What a move would do, before it begins: simulated by the engine itself, predicted, planned.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.
//!
//! - [`Facts`], [`Ask`]: what is known of the hosts and what is asked of the move;
//! - [`Plan`], [`Forecast`], [`Choice`]: what each way of moving would do, and which one is taken;
//! - [`plan()`]: makes a plan; [`predict`]: what one way will take;
//! - [`simulate`]: whole moves by the engine itself, on virtual time;
//! - [`replay`]: a recorded trace as the guest of a simulated move;
//! - [`synthetic`]: workloads that are described rather than recorded;
//! - [`vhpc09`]: the published experiment, repeated.

mod chance;
mod facts;
mod plan;
pub mod predict;
pub mod replay;
pub mod simulate;
pub mod synthetic;
pub mod vhpc09;

pub use facts::{Ask, Facts, Following};
pub use plan::{
    AtMost, Basis, Choice, Exposure, Forecast, Instructions, Plan, PlanError, Reachable, Simulated,
    Way, plan, plan_with, restart_forecast,
};
