//! Chance that is the same each time: a hash of what it is about.

/// SplitMix64's finish: each bit of the result hangs on each bit of `number`.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// A number from 0 (included) to 1 (not included).
pub(crate) fn unit(number: u64) -> f64 {
    (mix(number) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A number below `below`.
pub(crate) fn pick(number: u64, below: u64) -> u64 {
    if below == 1 { 0 } else { mix(number) % below }
}
