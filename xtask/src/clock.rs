//! That nothing is decided by the wall clock, which operators and time services set as they like:
//! it is asked in few places, each of which is listed here with what it is asked for.

use std::fs;
use std::path::Path;

use crate::tidy;

/// How the wall clock is asked. Spelled in pieces so that this file does not find itself.
const ASKED: [&str; 4] = [
    concat!("SystemTime", "::now"),
    concat!("CLOCK_", "REALTIME"),
    concat!("ClockId::", "Realtime"),
    concat!("UNIX_EPOCH", ".elapsed"),
];

/// Who may ask it, and what for.
const MAY_ASK: &[(&str, &str)] = &[
    (
        "crates/cli/src/commands/bench_predict/mod.rs",
        "a seed that nobody has chosen is drawn from it",
    ),
    (
        "crates/guest/src/qemu/qmp/inbox.rs",
        "QEMU stamps its events with it: their age, believed below a second, is taken from the \
         monotonic clock",
    ),
    (
        "crates/host/src/planning/mod.rs",
        "how old a plan or a kept trace is, which outlive the daemon: the mark of the process, not \
         the age, says whether they are of this machine",
    ),
    ("crates/host/src/suspended/disks.rs", "a test sets the time of a file"),
    ("crates/host/src/suspended/mod.rs", "a snapshot says when it was taken"),
    ("crates/host/src/traces/recording.rs", "a trace says when it was recorded"),
    (
        "crates/lab/src/client/beacon.rs",
        "the kernel stamps what arrives with it: the age is taken from the monotonic clock",
    ),
];

/// Sources below `root` that ask the wall clock and may not, and entries of the list that are old.
pub(crate) fn findings(root: &Path) -> Vec<String> {
    let mut findings = Vec::new();
    let mut asking = Vec::new();
    for path in tidy::sources(root) {
        let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        match fs::read_to_string(&path) {
            Ok(text) => {
                let found = of_file(&name, &text);
                if !found.is_empty() {
                    asking.push(name.clone());
                }
                findings.extend(found.into_iter().filter(|_| !may_ask(&name)));
            }
            Err(error) => findings.push(format!("{name}: cannot be read: {error}")),
        }
    }
    let old = MAY_ASK.iter().filter(|(name, _)| !asking.iter().any(|asks| asks == name));
    findings.extend(old.map(|(name, what)| {
        format!("{name}: does not ask the wall clock ({what}); take it off the list")
    }));
    findings
}

fn of_file(name: &str, text: &str) -> Vec<String> {
    let asks = |line: &str| ASKED.iter().find(|asked| line.contains(**asked));
    let lines = text.lines().enumerate();
    let asking = lines.filter_map(|(number, line)| Some((number + 1, asks(line)?)));
    let finding = |(number, asked): (usize, &&str)| {
        format!(
            "{name}:{number}: `{asked}` may jump: decide by the monotonic clock, or say in \
             xtask/src/clock.rs what it is shown or written for"
        )
    };
    asking.map(finding).collect()
}

fn may_ask(name: &str) -> bool {
    MAY_ASK.iter().any(|(listed, _)| *listed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_by_the_wall_clock_is_found() {
        let asks = format!("fn late() -> bool {{\n    {}() > deadline\n}}\n", ASKED[0]);
        let found = of_file("crates/engine/src/rule/mod.rs", &asks);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("crates/engine/src/rule/mod.rs:2: "), "{found:?}");
        assert!(of_file("crates/a/src/b.rs", "let now = Instant::now();").is_empty());
    }

    #[test]
    fn only_those_on_the_list_may_ask_and_the_list_is_not_old() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert_eq!(findings(root), Vec::<String>::new());
        let empty = tempdir();
        fs::create_dir_all(empty.join("crates/engine/src")).unwrap();
        fs::write(empty.join("crates/engine/src/times.rs"), format!("{}()", ASKED[0])).unwrap();
        let found = findings(&empty);
        fs::remove_dir_all(&empty).unwrap();
        assert_eq!(found.len(), 1 + MAY_ASK.len(), "{found:?}");
    }

    fn tempdir() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("punctual-xtask-clock-{}", std::process::id()))
    }
}
