//! Which room may lean on which: the arrows of ARCHITECTURE.md, checked against the manifests.

use std::fs;
use std::path::Path;

/// Crates that only compute. They may lean on each other and on crates that do no I/O.
const PURE: [&str; 9] = [
    "units",
    "wire",
    "guest-protocol",
    "model",
    "trace",
    "snapshot",
    "plan",
    "protocol",
    "simulation",
];

/// What would give a pure crate a clock, a thread, a socket or a system call.
const IMPURE: [&str; 9] =
    ["tokio", "nix", "rustix", "libc", "axum", "linux-raw-sys", "tempfile", "socket2", "mio"];

/// Each room and the rooms of the project that its code (not its tests) may lean on.
const MAY_USE: &[(&str, &[&str])] = &[
    ("units", &[]),
    ("wire", &["units"]),
    ("model", &["units"]),
    ("trace", &["units"]),
    ("snapshot", &["units", "wire"]),
    ("guest-protocol", &[]),
    ("link", &["units", "wire"]),
    ("guest", &["units"]),
    ("engine", &["units", "wire", "model", "guest", "link"]),
    ("plan", &["units", "wire", "model", "trace", "engine"]),
    ("protocol", &["units", "wire", "model", "engine"]),
    ("simulation", &["units", "wire", "model", "engine"]),
    ("host", &["units", "wire", "model", "trace", "snapshot", "guest", "link", "engine", "plan"]),
    ("page", &["units", "model", "trace", "engine", "plan"]),
    ("images", &["guest-protocol"]),
    (
        "lab",
        &[
            "units",
            "wire",
            "model",
            "trace",
            "guest",
            "engine",
            "plan",
            "simulation",
            "host",
            "page",
            "images",
            "guest-protocol",
        ],
    ),
    (
        "cli",
        &[
            "units",
            "wire",
            "model",
            "trace",
            "guest",
            "engine",
            "plan",
            "simulation",
            "host",
            "page",
            "lab",
            "images",
            "guest-protocol",
        ],
    ),
];

/// Where a manifest breaks the plan.
pub(crate) fn findings(root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for entry in fs::read_dir(root.join("crates")).into_iter().flatten().flatten() {
        let room = entry.file_name().to_string_lossy().into_owned();
        match fs::read_to_string(entry.path().join("Cargo.toml")) {
            Ok(manifest) => findings.extend(of_manifest(&room, &manifest)),
            Err(error) => findings.push(format!("crates/{room}: no manifest: {error}")),
        }
    }
    findings.sort();
    findings
}

fn of_manifest(room: &str, manifest: &str) -> Vec<String> {
    let Some((_, may_use)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
        return vec![format!("crates/{room}: not in the plan of rooms; add it to ARCHITECTURE.md")];
    };
    dependencies(manifest)
        .filter_map(|dependency| match dependency.strip_prefix("punctual-") {
            Some(other) if !may_use.contains(&other) => {
                Some(format!("crates/{room} leans on `{other}`, which lies later in the plan"))
            }
            None if PURE.contains(&room) && IMPURE.contains(&dependency) => {
                Some(format!("crates/{room} is pure, `{dependency}` is not"))
            }
            _ => None,
        })
        .collect()
}

/// The names under `[dependencies]`.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['=', '.']).next().map(str::trim))
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_arrow_is_found() {
        let manifest = "[dependencies]\npunctual-guest = { workspace = true }\n[dev-dependencies]\nnix = \"1\"\n";
        assert_eq!(of_manifest("engine", manifest), Vec::<String>::new());
        assert_eq!(of_manifest("units", manifest).len(), 1);
        assert_eq!(of_manifest("wire", "[dependencies]\nnix = \"1\"\n").len(), 1);
        assert_eq!(of_manifest("cellar", manifest).len(), 1);
    }
}
