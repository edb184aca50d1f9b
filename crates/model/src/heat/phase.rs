use std::time::Duration;

/// As much evidence as makes it even whether a page's rate has changed, as a deviance (twice the
/// logarithm of the likelihood ratio): by chance it is exceeded once in 70 times.
const EVEN: f64 = 6.0;
/// How long a phase lasts, on average.
const LASTS: f64 = 5.0;

/// How often a page is written, now and in the long run, in writes a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Phase {
    pub(super) now: f64,
    pub(super) usual: f64,
}

impl Phase {
    /// A page that has one rate only.
    pub(super) const fn steady(rate: f64) -> Self {
        Self { now: rate, usual: rate }
    }

    /// Weighs what the last `seconds` showed (`recent`) against what is `usual`.
    ///
    /// Few writes say little: a rate estimated from them alone would be mostly noise. So the usual
    /// rate holds until it explains the recent writes badly. With n = recent·seconds found and
    /// μ = usual·seconds expected, the deviance D = 2(n·ln(n/μ) − (n − μ)) is the evidence against
    /// it, and the recent rate gets the weight D²/(D² + 6²).
    pub(super) fn weigh(recent: f64, usual: f64, seconds: f64) -> Self {
        if usual <= 0.0 {
            return Self::steady(recent);
        }
        let ratio = recent / usual;
        let bent = if ratio > 0.0 { ratio * ratio.ln() - ratio + 1.0 } else { 1.0 };
        let deviance = 2.0 * usual * seconds * bent;
        let square = deviance * deviance;
        let weight = square / (square + EVEN * EVEN);
        Self { now: usual + weight * (recent - usual), usual }
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
        -(-(phase.now * self.present + phase.usual * self.other)).exp_m1()
    }
}
