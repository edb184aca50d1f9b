//! What must hold for any input; the fuzz target runs the same.

use punctual_trace::Trace;

/// No panic; what is taken keeps its promises and gives itself when written and read again.
/// Whether it was taken.
pub(crate) fn trace(input: &[u8]) -> bool {
    let Ok(trace) = Trace::decode(input) else { return false };
    let again = Trace::new(trace.about().clone(), trace.scans().to_vec());
    assert_eq!(again.as_ref(), Ok(&trace));
    assert_eq!(Trace::decode(&trace.encode()).as_ref(), Ok(&trace));
    true
}

/// The same for a file whose checksums are right: without this hardly any input gets behind them.
/// `input` is the stream of one block that states `scans` scans.
pub(crate) fn stream(scans: u32, input: &[u8]) -> bool {
    let head = |bytes: &[u8]| u32::try_from(bytes.len()).expect("inputs are small").to_le_bytes();
    let mut hasher = xxhash_rust::xxh3::Xxh3::with_seed(0);
    [&head(input)[..], &head(input), input].iter().for_each(|part| hasher.update(part));
    let mut file = b"PNTRAC\r\n\x01\0\0\0".to_vec();
    file.extend(scans.to_le_bytes());
    file.extend((32 + 16 + input.len() as u64).to_le_bytes());
    file.extend(xxhash_rust::xxh3::xxh3_64(&file).to_le_bytes());
    file.extend([head(input), head(input)].concat());
    file.extend(hasher.digest().to_le_bytes());
    file.extend(input);
    trace(&file)
}
