//! Tasks of the project that need a program: `cargo xtask check`.

fn main() {}
