//! Files that somebody has made to do harm. The checks are those of the fuzz target.

mod checks;

use proptest::prelude::*;

/// The stream of the golden file: about, then three scans.
fn sound() -> Vec<u8> {
    let golden = include_bytes!("../golden.trace");
    let unpacked = u32::from_le_bytes(*golden[32..].first_chunk().expect("a block"));
    let stream = lz4_flex::block::decompress(&golden[32 + 16..], unpacked as usize);
    stream.expect("the golden file is sound")
}

#[test]
fn the_golden_stream_is_taken() {
    // So the mutations below begin at something that is read to its end.
    assert!(checks::stream(3, &sound()));
    assert!(checks::trace(include_bytes!("../golden.trace")));
    assert!(!checks::stream(4, &sound()) && !checks::stream(2, &sound()));
}

proptest! {
    #[test]
    fn changed_streams_with_right_checksums(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        scans in 0_u32..5,
        cut: prop::sample::Index,
    ) {
        let mut stream = sound();
        for (at, byte) in changes {
            let at = at.index(stream.len());
            stream[at] = byte;
        }
        checks::stream(scans, &stream);
        checks::stream(scans, &stream[..cut.index(stream.len()).max(1)]);
    }

    #[test]
    fn anything_with_right_checksums(scans: u32, stream in prop::collection::vec(any::<u8>(), 1..200)) {
        checks::stream(scans, &stream);
    }
}
