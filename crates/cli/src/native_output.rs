//! What is known beforehand of a move by QEMU's own migration, as people read it.

use punctual_host::api::{Estimate, Native};
use punctual_units::Bytes;

use crate::output::{milliseconds, seconds};

/// Why QEMU moves it, and what that is expected to take.
pub(crate) fn lines(native: &Native) -> Vec<String> {
    let why = match native.because.as_str() {
        "" => "moved by QEMU's own migration, as asked".to_owned(),
        because => format!("moved by QEMU's own migration: {because}"),
    };
    let mut lines = vec![why];
    lines.extend(native.estimate.as_ref().map(estimated));
    lines
}

fn estimated(estimate: &Estimate) -> String {
    let Estimate { populated, writing, bandwidth, total, downtime } = estimate;
    let Some(writing) = writing else {
        return format!(
            "not traced, and no dirty rate is known: {populated} of memory over {bandwidth}; what \
             it takes cannot be told"
        );
    };
    let about = format!(
        "estimated from a dirty rate, not traced (low confidence): {populated} of memory, {} of it \
         changed in a second, {bandwidth}",
        Bytes::new(writing.get())
    );
    match total.zip(*downtime) {
        Some((total, downtime)) => {
            format!("{about}: total ≈ {}, downtime ≈ {}", seconds(total), milliseconds(downtime))
        }
        None => format!("{about}: no end is seen"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use punctual_units::BytesPerSecond;

    use super::*;

    #[test]
    fn an_estimate_says_how_little_it_is() {
        let estimate = Estimate {
            populated: Bytes::mib(100),
            writing: Some(BytesPerSecond::new(1 << 20)),
            bandwidth: BytesPerSecond::megabits(1000),
            total: Some(Duration::from_millis(900)),
            downtime: Some(Duration::from_millis(12)),
        };
        let because = "the memory `pc.ram` is private to QEMU".to_owned();
        let told = lines(&Native { because, estimate: Some(estimate) }).join("\n");
        for word in ["pc.ram", "not traced (low confidence)", "0.90 s", "12.0 ms"] {
            assert!(told.contains(word), "{told}");
        }
        let never = Estimate { total: None, downtime: None, ..estimate };
        assert!(estimated(&never).ends_with("no end is seen"));
        let unknown = Estimate { writing: None, ..never };
        assert!(estimated(&unknown).contains("cannot be told"));
    }
}
