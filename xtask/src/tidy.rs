//! What a reader of the tree may rely on, checked: short files, named and documented modules, and
//! nothing left half done.

use std::fs;
use std::path::{Path, PathBuf};

const MOST_LINES: usize = 500;
/// Spelled in pieces so that this file does not find itself.
const UNFINISHED: [&str; 5] = [
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ig", "nore"),
];
const SHAPELESS: [&str; 5] = ["utils.rs", "util.rs", "common.rs", "helpers.rs", "misc.rs"];

/// What is untidy in the Rust sources below `root`.
pub(crate) fn findings(root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    for path in sources(root) {
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => findings.extend(of_file(&shown, &text)),
            Err(error) => findings.push(format!("{shown}: cannot be read: {error}")),
        }
    }
    findings
}

/// The Rust sources below `root`, in order.
pub(crate) fn sources(root: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for folder in ["crates", "guests", "xtask", "fuzz"] {
        collect(&root.join(folder), &mut sources);
    }
    sources.sort();
    sources
}

fn of_file(name: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > MOST_LINES {
        findings
            .push(format!("{name}: {lines} lines; split it into parts that each know one thing"));
    }
    if SHAPELESS.iter().any(|shapeless| name.ends_with(&format!("/{shapeless}"))) {
        findings.push(format!("{name}: name the file for what it knows"));
    }
    let is_root = name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs");
    if is_root && !text.trim_start().starts_with("//!") {
        findings.push(format!("{name}: begin with `//!`, saying what the crate is for"));
    }
    for (number, line) in text.lines().enumerate() {
        if let Some(word) = UNFINISHED.iter().find(|word| line.contains(**word)) {
            findings.push(format!("{name}:{}: `{word}` is unfinished or muted", number + 1));
        }
    }
    findings
}

fn collect(folder: &Path, sources: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            collect(&path, sources);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            sources.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_shapeless_and_muted_files_are_found() {
        assert!(of_file("crates/a/src/heat.rs", "fn a() {}\n").is_empty());
        assert_eq!(of_file("crates/a/src/heat.rs", &"\n".repeat(501)).len(), 1);
        assert_eq!(of_file("crates/a/src/utils.rs", "").len(), 1);
        assert_eq!(of_file("crates/a/src/lib.rs", "mod a;").len(), 1);
        let muted = format!("{}]\nfn a() {{}}", UNFINISHED[4]);
        assert_eq!(of_file("crates/a/src/heat.rs", &muted).len(), 1);
    }
}
