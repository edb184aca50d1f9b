use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

fn level(p: f64) -> Probability {
    Probability::new(p).unwrap()
}

type Draw = fn(&mut StdRng) -> f64;

/// Distributions that a downtime might have, all around 1.
const KINDS: [(&str, Draw); 5] = [
    ("narrow", |chance| 1.0 + 0.1 * chance.random::<f64>()),
    ("log-normal", |chance| (0.3 * normal(chance)).exp()),
    ("exponential", |chance| 0.2 - chance.random::<f64>().ln()),
    ("two humps", |chance| {
        (if chance.random::<f64>() < 0.2 { 3.0 } else { 1.0 }) * (0.05 * normal(chance)).exp()
    }),
    ("heavy tail", |chance| chance.random::<f64>().powf(-0.4)),
];

/// A standard normal number, by the polar method of Box and Muller.
fn normal(chance: &mut StdRng) -> f64 {
    let (radius, angle) = (chance.random::<f64>(), chance.random::<f64>());
    (-2.0 * (1.0 - radius).ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// `hits` of `trials` must be within three and a half binomial deviations of `expected`.
fn assert_share(what: &str, hits: u32, trials: u32, expected: f64) {
    let share = f64::from(hits) / f64::from(trials);
    let deviation = (expected * (1.0 - expected) / f64::from(trials)).sqrt();
    assert!((share - expected).abs() < 3.5 * deviation, "{what}: {share} instead of {expected}");
}

#[test]
fn the_rank_holds_as_often_as_it_says_whatever_the_distribution() {
    let mut chance = StdRng::seed_from_u64(1);
    for (kind, draw) in KINDS {
        for (samples, asked) in [(9, 0.5), (19, 0.9), (99, 0.95)] {
            let (mut above, mut below) = (0, 0);
            for _ in 0..2000 {
                let mut seen: Vec<_> = (0..samples).map(|_| draw(&mut chance)).collect();
                seen.sort_by(f64::total_cmp);
                let next = draw(&mut chance);
                above += u32::from(next <= upper(&seen, level(asked)).unwrap());
                below += u32::from(next >= lower(&seen, level(asked)).unwrap());
            }
            // (n + 1)·level is whole here, so the level is met exactly.
            assert_share(kind, above, 2000, asked);
            assert_share(kind, below, 2000, asked);
        }
    }
}

#[test]
fn too_few_samples_vouch_for_nothing() {
    assert_eq!(upper(&[1.0; 98], level(0.99)), None);
    assert_eq!(upper(&[1.0; 99], level(0.99)), Some(1.0));
    assert_eq!((upper(&[], level(0.5)), lower(&[], level(0.5))), (None, None));
    assert_eq!(upper(&[1.0, 2.0], Probability::ONE), None);
    assert_eq!(observed(&[1.0, 2.0, 4.0], level(0.75)), Some(3.0));
    assert_eq!(observed(&[], level(0.5)), None);
}

/// Predictions that are biased and too sure, of machines of very different size: replay draws from
/// `draw`, and what then happens takes `bias` times as long and scatters more.
fn case(draw: Draw, bias: f64, chance: &mut StdRng) -> (Vec<f64>, f64) {
    let size = (5.0 * chance.random::<f64>()).exp();
    let samples = (0..25).map(|_| size * draw(chance)).collect();
    (samples, bias * size * draw(chance) * (0.1 * normal(chance)).exp())
}

#[test]
fn intervals_of_biased_predictions_hold_as_often_as_they_say() {
    for (kind, draw) in KINDS {
        for bias in [0.7, 1.0, 1.4] {
            let mut chance = StdRng::seed_from_u64(2);
            let (mut within, mut at_most, mut median) = (0, 0, 0);
            // Coverage is over histories too: twenty of them, each of 159 outcomes.
            for _ in 0..20 {
                let mut calibration = Calibration::default();
                for _ in 0..159 {
                    let (samples, actual) = case(draw, bias, &mut chance);
                    calibration.push(Forecast::of(&samples).unwrap(), actual);
                }
                for _ in 0..40 {
                    let (samples, actual) = case(draw, bias, &mut chance);
                    let forecast = Forecast::of(&samples).unwrap();
                    let interval = calibration.widen(&forecast, level(0.95)).unwrap();
                    within += u32::from(interval.contains(actual));
                    let most = calibration.at_most(&forecast, level(0.9)).unwrap();
                    at_most += u32::from(actual <= most);
                    median += u32::from(actual <= calibration.median(&forecast));
                }
            }
            // Cases that share a history are not independent: allow for its share of the scatter.
            for (what, hits, expected) in [
                ("95 % interval", within, 0.95_f64),
                ("90 % limit", at_most, 0.9),
                ("median", median, 0.5),
            ] {
                let share = f64::from(hits) / 800.0;
                let deviation =
                    (expected * (1.0 - expected) * (1.0 / 800.0 + 1.0 / (20.0 * 160.0))).sqrt();
                assert!(
                    (share - expected).abs() < 3.5 * deviation,
                    "{kind}, bias {bias}, {what}: {share}"
                );
            }
        }
    }
}

#[test]
fn without_a_past_the_prior_is_wide_and_with_one_it_is_gone() {
    let mut chance = StdRng::seed_from_u64(4);
    let mut calibration = Calibration::default();
    let samples: Vec<f64> = (0..25).map(|n| 100.0 + f64::from(n)).collect();
    let forecast = Forecast::of(&samples).unwrap();
    let first = calibration.widen(&forecast, level(0.95)).unwrap();
    assert!(first.low < 85.0 && first.high > 140.0, "{first:?}");
    let mut hits = 0;
    for _ in 0..400 {
        let actual = 100.0 + 25.0 * chance.random::<f64>();
        hits += u32::from(calibration.widen(&forecast, level(0.95)).unwrap().contains(actual));
        calibration.push(forecast, actual);
    }
    assert!(hits >= 370, "{hits} of 400");
    let last = calibration.widen(&forecast, level(0.95)).unwrap();
    assert!(last.low > 98.0 && last.high < 127.0, "{last:?}");
}

#[test]
fn the_chance_of_keeping_a_limit_agrees_with_the_limit_for_that_chance() {
    let mut calibration = Calibration::default();
    let samples: Vec<f64> = (0..40).map(|n| 30.0 + f64::from(n)).collect();
    let forecast = Forecast::of(&samples).unwrap();
    for n in 0..199 {
        calibration.push(forecast, 35.0 + 0.2 * f64::from(n));
    }
    for asked in [0.5, 0.9, 0.99] {
        let limit = calibration.at_most(&forecast, level(asked)).unwrap();
        let chance = calibration.probability_of_at_most(&forecast, limit * (1.0 + 1e-12));
        assert!((chance.get() - asked).abs() < 0.006, "{asked}: {chance}");
    }
    assert!(calibration.probability_of_at_most(&forecast, 1.0).get() < 0.01);
}

/// Moves that replay foresees without any scatter take twice as long by accident, twice; another,
/// of which replay says that it may take anything, is not foreseen to take for ever because of that.
#[test]
fn one_error_is_not_turned_into_a_thousand() {
    let mut calibration = Calibration::default();
    let exact = Forecast::of(&[16.0; 8]).unwrap();
    (0..2).for_each(|_| calibration.push(exact, 32.0));
    let vague = Forecast::of(&[16.0, 16.0, 16.0, 16.0, 20.0, 90.0, 250.0, 250.0]).unwrap();
    let median = calibration.median(&vague);
    assert!((16.0..24.0).contains(&median), "{median}");
    let most = calibration.at_most(&vague, level(0.99)).unwrap();
    assert!(most < 100.0, "{most}");
}

/// Errors of some milliseconds come on top of an interruption, however long it is.
#[test]
fn small_errors_count_by_their_difference() {
    let mut calibration = Calibration::default();
    let short = Forecast::apart(&[10.0], 100.0).unwrap();
    (0..100).for_each(|_| calibration.push(short, 15.0));
    let long = calibration.median(&Forecast::apart(&[40.0], 100.0).unwrap());
    assert!((45.0..47.0).contains(&long), "{long}");
}

#[test]
fn the_history_is_bounded_survives_a_file_and_knows_its_limits() {
    let mut calibration = Calibration::default();
    let forecast = Forecast::of(&[2.0]).unwrap();
    (0..600).for_each(|n| calibration.push(forecast, f64::from(n)));
    calibration.push(forecast, f64::NAN);
    assert_eq!(calibration.iter().len(), 512);
    assert_eq!(calibration.iter().next().unwrap().actual, 88.0);
    let text = serde_json::to_string(&calibration).unwrap();
    assert_eq!(serde_json::from_str::<Calibration>(&text).unwrap(), calibration);
    assert_eq!(Forecast::of(&[]), None);
    let zero = Forecast::of(&[0.0, 0.0]).unwrap();
    assert_eq!(calibration.widen(&zero, Probability::ONE), None);
    assert!(calibration.widen(&zero, level(0.95)).unwrap().low >= 0.0);
}
