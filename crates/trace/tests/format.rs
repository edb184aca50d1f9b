//! The file: what is written is read, what is damaged is named, and it is small.

mod samples;

use std::time::Duration;

use proptest::prelude::*;
use punctual_trace::{Trace, TraceError};

use samples::{sample, traces, uniform_writes};

proptest! {
    #[test]
    fn what_is_written_is_read(trace in traces()) {
        prop_assert_eq!(Trace::decode(&trace.encode()), Ok(trace));
    }

    #[test]
    fn a_flipped_bit_is_found(trace in traces(), at: prop::sample::Index, bit in 0..8_u8) {
        let mut file = trace.encode();
        let at = at.index(file.len());
        file[at] ^= 1_u8 << bit;
        let error = Trace::decode(&file).unwrap_err();
        match at {
            0..8 => prop_assert_eq!(error, TraceError::NotATrace),
            8..10 => {
                let found = matches!(error, TraceError::OtherVersion { .. });
                prop_assert!(found, "{error:?}");
            }
            _ => {
                // A changed length of a block may seem to reach behind the end.
                let found = matches!(error, TraceError::Corrupt { .. } | TraceError::Truncated { .. });
                prop_assert!(found, "{error:?}");
            }
        }
    }

    #[test]
    fn bytes_without_sense_are_an_error(bytes: Vec<u8>) {
        prop_assert!(Trace::decode(&bytes).is_err());
    }
}

#[test]
fn every_truncation_says_how_far_it_can_be_read() {
    let trace = uniform_writes(1 << 20, Duration::from_secs(3), 100_000);
    let file = trace.encode();
    let mut seen = Vec::new();
    for length in (0..file.len()).step_by(997).chain(file.len() - 5..file.len()) {
        match Trace::decode(&file[..length]).unwrap_err() {
            TraceError::NotATrace => assert!(length < 8, "{length}"),
            TraceError::Truncated { scans, missing } => {
                let whole = if length < 32 { 32 } else { file.len() };
                assert_eq!(missing, (whole - length) as u64);
                seen.push(scans);
            }
            error => panic!("{length}: {error}"),
        }
    }
    assert!(seen.is_sorted() && seen.first() == Some(&0));
    let last = *seen.last().unwrap();
    assert!(last > 0 && last < trace.scans().len(), "{last}");
}

#[test]
fn small_files_are_checked_at_every_byte() {
    let file = sample().encode();
    for length in 0..file.len() {
        Trace::decode(&file[..length]).unwrap_err();
    }
    for at in 0..file.len() {
        for bits in [1, 0x80, 0xff] {
            let mut file = file.clone();
            file[at] ^= bits;
            Trace::decode(&file).unwrap_err();
        }
    }
    let longer = [&file[..], b"\n"].concat();
    let error = Trace::decode(&longer).unwrap_err();
    assert!(error.to_string().contains("more bytes than its header states"), "{error}");
}

/// The issue asks for less than 20 MB.
#[test]
fn a_minute_of_random_writes_takes_few_megabytes() {
    let trace = uniform_writes(1 << 20, Duration::from_secs(60), 20_000);
    let file = trace.encode();
    let runs: usize = trace.scans().iter().map(|scan| scan.written.len()).sum();
    assert!(runs > 1_000_000, "{runs} runs");
    assert!(file.len() < 3_000_000, "{} bytes", file.len());
    assert_eq!(Trace::decode(&file), Ok(trace));
}

/// Version 1 as it was first written. A file that has been kept must be readable as long as its
/// version is; a change of the format is a new version. It is not compared with what is written
/// now, which LZ4 may pack otherwise.
#[test]
fn the_golden_file_is_read() {
    let golden = include_bytes!("golden.trace");
    assert_eq!(Trace::decode(golden), Ok(sample()));
}
