//! What can be told of memory that nobody else can map: how much of it is in use, and how fast it
//! is written, by samples.

use std::fs;
use std::time::{Duration, Instant};

use punctual_units::{Bytes, BytesPerSecond};
use serde_json::json;

use crate::qemu::describe::{Backend, Description};
use crate::qemu::qmp::{Qmp, QmpError};

/// How long QEMU samples the memory for: whole seconds are all that it takes.
const SAMPLED: Duration = Duration::from_secs(1);
/// How many pages of a GiB it looks at: 16 MiB to be hashed twice.
const SAMPLES: u32 = 4096;
/// What QEMU leaves out when it samples (`MIN_RAMBLOCK_SIZE` in its `migration/dirtyrate.h`).
const UNSAMPLED: Bytes = Bytes::mib(128);
/// How long it may take beyond that.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at whether it is done.
const LOOK: Duration = Duration::from_millis(20);

/// How much of the memory a guest changes in a second, by samples of its pages before and behind
/// one (`calc-dirty-rate`); `None` where QEMU cannot tell. Blocks for that second. The guest runs
/// on.
pub(super) fn writing(
    qmp: &Qmp,
    machine: &Description,
) -> Result<Option<BytesPerSecond>, QmpError> {
    if machine.memory.iter().all(|backend| backend.size < UNSAMPLED) {
        return Ok(None);
    }
    let ask = json!({
        "calc-time": SAMPLED.as_secs(), "mode": "page-sampling", "sample-pages": SAMPLES,
    });
    match qmp.execute("calc-dirty-rate", ask) {
        // It is being measured for somebody else, or was left out when QEMU was built.
        Err(QmpError::Command(_)) => return Ok(None),
        asked => drop(asked?),
    }
    let deadline = Instant::now() + SAMPLED + PATIENCE;
    std::thread::sleep(SAMPLED);
    while Instant::now() < deadline {
        let answer = qmp.execute("query-dirty-rate", json!({}))?;
        if answer["status"] == "measured" {
            // In MiB a second, -1 where there is none (QEMU's `migration/dirtyrate.c`).
            let rate = answer["dirty-rate"].as_u64();
            return Ok(rate.map(|mebibytes| BytesPerSecond::new(mebibytes << 20)));
        }
        std::thread::sleep(LOOK);
    }
    Ok(None)
}

/// How much of the memory is in use, by what the kernel has given the process for it.
pub(super) fn populated(machine: &Description) -> Bytes {
    let smaps = format!("/proc/{}/smaps", machine.program.pid);
    let smaps = fs::read_to_string(smaps).unwrap_or_default();
    let of = |backend: &Backend| resident(&smaps, backend.size).unwrap_or(backend.size);
    machine.memory.iter().map(of).sum()
}

/// What is resident of a mapping of exactly this size; of several the fullest.
fn resident(smaps: &str, size: Bytes) -> Option<Bytes> {
    let amount = |line: &str, field: &str| {
        let text = line.strip_prefix(field)?.trim().strip_suffix("kB")?;
        text.trim().parse().ok().map(Bytes::kib)
    };
    let mut found = false;
    let mut most = None;
    for line in smaps.lines() {
        if let Some(mapped) = amount(line, "Size:") {
            found = mapped == size;
        } else if let Some(rss) = amount(line, "Rss:").filter(|_| found) {
            most = most.max(Some(rss));
        }
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mapping_of_the_memory_is_known_by_its_size() {
        let smaps = "\
7f0000000000-7f0010000000 rw-p 00000000 00:00 0
Size:             262144 kB
KernelPageSize:        4 kB
Rss:              120000 kB
Pss:              120000 kB
7f1000000000-7f1000001000 rw-p 00000000 00:00 0
Size:                  4 kB
Rss:                   4 kB
";
        assert_eq!(resident(smaps, Bytes::mib(256)), Some(Bytes::kib(120_000)));
        assert_eq!(resident(smaps, Bytes::mib(128)), None);
    }
}
