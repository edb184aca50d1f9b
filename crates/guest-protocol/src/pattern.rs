//! Bytes that look random and can be told again from a seed: what disks, memory and frames hold.

/// An endless sequence of incompressible bytes, of which any part can be had without the rest.
///
/// Byte *i* is byte *i* mod 8 (little-endian) of the [SplitMix64] output for word ⌊*i* / 8⌋.
///
/// ```
/// use punctual_guest_protocol::Pattern;
///
/// let pattern = Pattern::new(7);
/// let mut block = [0; 4096];
/// pattern.fill(8192, &mut block);
/// assert_eq!(pattern.first_wrong(8192, &block), None);
///
/// block[100] ^= 1;
/// let wrong = pattern.first_wrong(8192, &block).expect("one byte was changed");
/// assert_eq!(wrong.position, 8192 + 100);
/// assert_eq!(wrong.expected ^ wrong.found, 1);
/// ```
///
/// [SplitMix64]: https://doi.org/10.1145/2714064.2660195
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

/// A byte that is not what the pattern says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongByte {
    /// Where it stands in the pattern, in bytes.
    pub position: u64,
    /// What it ought to be.
    pub expected: u8,
    /// What it is.
    pub found: u8,
}

const WORD: usize = size_of::<u64>();

impl Pattern {
    /// The pattern of a seed. Different seeds give unrelated patterns.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed: mix(seed) }
    }

    /// The pattern of a numbered part, unrelated to those of the other parts.
    #[must_use]
    pub const fn part(self, number: u64) -> Self {
        Self { seed: mix(self.seed ^ mix(number)) }
    }

    /// Word `index` of the pattern: bytes 8·`index` to 8·`index` + 7.
    #[must_use]
    pub const fn word(self, index: u64) -> u64 {
        mix(self.seed.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    /// Fills `bytes` with the pattern from byte `position` on.
    pub fn fill(self, position: u64, bytes: &mut [u8]) {
        self.each_word(position, bytes.len(), |range, word| {
            bytes[range].copy_from_slice(word);
            None::<()>
        });
    }

    /// Compares `bytes` with the pattern from byte `position` on; the first difference, if any.
    #[must_use]
    pub fn first_wrong(self, position: u64, bytes: &[u8]) -> Option<WrongByte> {
        self.each_word(position, bytes.len(), |range, word| {
            let start = range.start;
            let found = &bytes[range];
            if found == word {
                return None;
            }
            let offset = found.iter().zip(word).position(|(found, expected)| found != expected)?;
            Some(WrongByte {
                position: position + (start + offset) as u64,
                expected: word[offset],
                found: found[offset],
            })
        })
    }

    /// Calls `visit` with each part of a buffer that lies within one word, and what belongs there.
    fn each_word<T>(
        self,
        position: u64,
        length: usize,
        mut visit: impl FnMut(std::ops::Range<usize>, &[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut index = position / WORD as u64;
        let mut skip = (position % WORD as u64) as usize;
        let mut start = 0;
        while start < length {
            let word = self.word(index).to_le_bytes();
            let end = length.min(start + WORD - skip);
            if let Some(result) = visit(start..end, &word[skip..skip + end - start]) {
                return Some(result);
            }
            (index, skip, start) = (index + 1, 0, end);
        }
        None
    }
}

/// The output function of SplitMix64: each bit of the result depends on each bit of `z`.
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_part_is_the_same_as_within_the_whole(seed: u64, start in 0_usize..200, length in 0_usize..200) {
            let pattern = Pattern::new(seed);
            let mut whole = [0; 400];
            pattern.fill(0, &mut whole);
            let mut part = vec![0; length];
            pattern.fill(start as u64, &mut part);
            prop_assert_eq!(&part, &whole[start..start + length]);
            prop_assert_eq!(pattern.first_wrong(start as u64, &part), None);
        }

        #[test]
        fn every_flipped_byte_is_found(seed: u64, start: u32, at in 0_usize..300, flip in 1_u8..) {
            let pattern = Pattern::new(seed);
            let mut bytes = [0; 300];
            pattern.fill(u64::from(start), &mut bytes);
            let expected = bytes[at];
            bytes[at] ^= flip;
            prop_assert_eq!(
                pattern.first_wrong(u64::from(start), &bytes),
                Some(WrongByte { position: u64::from(start) + at as u64, expected, found: bytes[at] })
            );
        }
    }

    #[test]
    fn seeds_and_parts_differ() {
        assert_ne!(Pattern::new(1).word(0), Pattern::new(2).word(0));
        assert_ne!(Pattern::new(0).part(1).word(0), Pattern::new(0).part(2).word(0));
    }

    #[test]
    fn zero_seed_gives_no_zero_words() {
        let pattern = Pattern::new(0).part(1);
        assert!((0..10_000).all(|index| pattern.word(index) != 0));
    }
}
