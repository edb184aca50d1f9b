use std::sync::LazyLock;

/// So many codes make a factor of two.
const PER_OCTAVE: f32 = 1024.0;
/// The code of the count 1; smaller counts reach down to 2⁻⁴⁰, larger up to 2²⁴.
const ONE: u16 = 40 * 1024;

/// A decayed count, in 16 bits on a logarithmic scale: steps of 0.07 %, code 0 for none.
///
/// A step is coarser than what a single interval adds to a large count. Rounding to the nearest code
/// would then lose it every time, so codes are rounded up or down by chance: right on average.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Count(u16);

/// What adding one adds to each code.
static ONE_MORE: LazyLock<Vec<f32>> = LazyLock::new(|| {
    (0..=u16::MAX)
        .map(|code| {
            let count = if code == 0 { 0.0 } else { Count(code).get() };
            ((count + 1.0).log2() as f32 * PER_OCTAVE + f32::from(ONE)) - f32::from(code)
        })
        .collect()
});

impl Count {
    pub(super) const fn from_code(code: u16) -> Self {
        Self(code)
    }

    pub(super) const fn code(self) -> u16 {
        self.0
    }

    pub(super) fn get(self) -> f64 {
        if self.0 == 0 {
            return 0.0;
        }
        ((f64::from(self.0) - f64::from(ONE)) / f64::from(PER_OCTAVE)).exp2()
    }

    /// The count after a decay by so many codes.
    pub(super) fn decayed(self, codes: f32) -> Self {
        Self((f32::from(self.0) - codes).max(0.0) as u16)
    }

    /// The count after a decay by so many codes, and one more; `coin` is from 0 to 1.
    pub(super) fn plus_one(self, codes: f32, coin: f32) -> Self {
        let decayed = (f32::from(self.0) - codes).max(0.0);
        // A part of a code matters to the sum: it is kept until the coin decides.
        let sum = decayed + ONE_MORE[decayed as usize];
        Self((sum + coin) as u16)
    }
}

/// A number from 0 to 1 that looks like chance and follows from `seed` alone. Source: the finaliser
/// of SplitMix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
pub(super) fn coin(seed: u64) -> f32 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ mixed >> 31) >> 40) as f32 / (1u32 << 24) as f32
}

/// How many codes a count loses in each millisecond if half of it is forgotten in `half_life`.
pub(super) fn codes_per_ms(half_life: std::time::Duration) -> f32 {
    PER_OCTAVE / (half_life.as_secs_f32() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_count_grows_by_what_is_added_on_average() {
        // Decay and addition that both are a fraction of a code: the balance is at 1/0.0005 = 2000.
        let codes = -(1.0f32 - 0.0005).log2() * PER_OCTAVE;
        let mut count = Count::from_code(0);
        let mut sum = 0.0;
        for step in 0..40_000u64 {
            count = count.plus_one(codes, coin(step));
            sum += if step >= 20_000 { count.get() } else { 0.0 };
        }
        let mean = sum / 20_000.0;
        assert!((1940.0..2060.0).contains(&mean), "{mean}");
    }

    #[test]
    fn small_counts_are_exact_to_a_tenth_of_a_percent() {
        let mut count = Count::from_code(0);
        for n in 1..50 {
            count = count.plus_one(0.0, 0.5);
            assert!((count.get() / f64::from(n) - 1.0).abs() < 2e-3, "{n}: {}", count.get());
        }
        assert!((count.decayed(PER_OCTAVE).get() / count.get() - 0.5).abs() < 1e-3);
        assert_eq!(count.decayed(1e9).get(), 0.0);
    }

    #[test]
    fn the_coin_is_fair() {
        let mean = (0..10_000).map(coin).sum::<f32>() / 10_000.0;
        assert!((0.49..0.51).contains(&mean), "{mean}");
    }
}
