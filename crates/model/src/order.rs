//! In which order pages are sent, so that as few as possible are written again after they were sent.
//!
//! Of n pages the one that is sent in slot j can be written in m = n + 1 − j slots until the round
//! ends, its own included: it stays clean with probability (1 − π)^m. The best order maximises the sum
//! of these, which is an assignment of pages to slots.

mod best;
mod legs;
#[cfg(test)]
mod tests;

pub use best::{best, expected_clean};
pub use legs::{Legs, coldest, legs};
