//! Numbers that look random, the same for the same seed.

/// The next of them (xorshift).
pub(crate) fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

/// A page that nothing can compress.
pub(crate) fn noise(seed: &mut u64) -> Vec<u8> {
    (0..512).flat_map(|_| next(seed).to_le_bytes()).collect()
}
