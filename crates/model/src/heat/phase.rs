use std::time::Duration;

use super::clock::Rate;

/// As much evidence as makes the recent rate count half, as a deviance (twice the logarithm of the
/// likelihood ratio). By chance alone, one page in six shows more.
const EVEN: f32 = 2.0;
/// How long a phase lasts, on average.
const LASTS: f64 = 5.0;

/// How often a page is written, now and in the long run, in writes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Phase {
    pub(super) now: f32,
    pub(super) usual: f32,
}

impl Phase {
    /// A page that has one rate only.
    pub(super) const fn steady(rate: f32) -> Self {
        Self { now: rate, usual: rate }
    }

    /// Weighs what was seen lately (`recent`), the last write being `age` seconds ago, against what is
    /// `usual`.
    ///
    /// Few writes say little: a rate estimated from them alone would be mostly noise. So the usual
    /// rate holds until it explains the recent writes badly. With n = recent·seconds found and
    /// μ = usual·seconds expected, the deviance D = 2(n·ln(n/μ) − (n − μ)) is the evidence against
    /// it, and the recent rate gets the weight D²/(D² + EVEN²).
    pub(super) fn weigh(recent: Rate, usual: Rate, age: f32) -> Self {
        let seconds = recent.seconds.max(age);
        let (found, expected) = (recent.per_second * seconds, usual.per_second * seconds);
        let likelier = if found > 0.0 { found * (recent.ln - usual.ln) } else { 0.0 };
        let deviance = 2.0 * (likelier - found + expected);
        let square = deviance * deviance;
        // Where the usual rate is none, the deviance has no limit.
        let weight = if square < f32::MAX { square / (square + EVEN * EVEN) } else { 1.0 };
        Self {
            now: usual.per_second + weight * (recent.per_second - usual.per_second),
            usual: usual.per_second,
        }
    }
}

/// A stretch of time that begins now, in which a phase may end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outlook {
    /// The part of it that belongs to the present phase, and the part that belongs to others, in
    /// seconds on average.
    present: f64,
    other: f64,
}

impl Outlook {
    /// Phases end at random, once in 5 s on average: of the next t seconds the present one has
    /// 5·(1 − e^(−t/5)).
    pub(super) fn new(time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        let present = -LASTS * (-seconds / LASTS).exp_m1();
        Self { present, other: seconds - present }
    }

    /// The probability that a page is written: 1 − e^(−Λ), Λ = λ_now·present + λ_usual·other.
    pub(super) fn probability(self, phase: Phase) -> f64 {
        let writes = f64::from(phase.now) * self.present + f64::from(phase.usual) * self.other;
        -(-writes).exp_m1()
    }
}
