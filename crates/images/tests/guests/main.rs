//! The test guests themselves, booted: each does its work and finds every byte that is changed
//! behind its back.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on is to fail where it stands")]

mod bare_metal;
mod linux;
mod machine;
