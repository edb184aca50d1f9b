//! Tasks of the project that need a program: `cargo xtask check` is what CI runs before the tests.

mod clock;
mod rooms;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let task = std::env::args().nth(1);
    match task.as_deref() {
        Some("check") => check(&["fmt", "lint", "tidy", "rooms", "clock"]),
        Some(one @ ("fmt" | "lint" | "tidy" | "rooms" | "clock")) => check(&[one]),
        _ => {
            eprintln!("usage: cargo xtask check | fmt | lint | tidy | rooms | clock");
            ExitCode::from(2)
        }
    }
}

/// Runs the named checks, all of them even if one fails, so that one run shows everything.
fn check(names: &[&str]) -> ExitCode {
    let root = root();
    let mut failed = Vec::new();
    for name in names {
        let findings = match *name {
            "fmt" => cargo(&root, &["fmt", "--all", "--check"]),
            "lint" => cargo(
                &root,
                &["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"],
            ),
            "tidy" => tidy::findings(&root),
            "clock" => clock::findings(&root),
            _ => rooms::findings(&root),
        };
        for finding in &findings {
            eprintln!("{name}: {finding}");
        }
        println!("{name}: {}", if findings.is_empty() { "ok" } else { "failed" });
        if !findings.is_empty() {
            failed.push(*name);
        }
    }
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs cargo; a failure is one finding, its details already on the terminal.
fn cargo(root: &Path, arguments: &[&str]) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    match Command::new(cargo).args(arguments).current_dir(root).status() {
        Ok(status) if status.success() => Vec::new(),
        Ok(status) => vec![format!("cargo {} ended with {status}", arguments.join(" "))],
        Err(error) => vec![format!("cargo {} could not be started: {error}", arguments.join(" "))],
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf()
}
