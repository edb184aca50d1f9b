//! Ten thousand seeded cases.

use std::ops::Range;

use crate::Case;

/// Runs the seeds; those that fail can be run again by hand.
fn run(seeds: Range<u64>) {
    let (mut moved, mut stayed, mut followed, mut faults) = (0, 0, 0, 0);
    let mut failed = vec![];
    let cases = seeds.end - seeds.start;
    for seed in seeds {
        let case = Case::of(seed);
        let verdict = case.run();
        faults += verdict.faults;
        followed += u64::from(verdict.followed);
        *(if verdict.moved { &mut moved } else { &mut stayed }) += 1;
        if !verdict.wrong.is_empty() {
            println!("{case}\n  {}", verdict.wrong.join("\n  "));
            failed.push(format!("punctual chaos --simulated --seed {seed}"));
        }
    }
    println!(
        "{cases} cases, {faults} faults: {moved} moved ({followed} followed), {stayed} stayed"
    );
    assert!(failed.is_empty(), "{} failed: {:#?}", failed.len(), &failed[..failed.len().min(20)]);
    assert!(moved > cases / 10 && stayed > cases / 10, "both ends are reached: {moved} {stayed}");
}

#[test]
fn seeds_to_2500() {
    run(0..2500);
}

#[test]
fn seeds_to_5000() {
    run(2500..5000);
}

#[test]
fn seeds_to_7500() {
    run(5000..7500);
}

#[test]
fn seeds_to_10000() {
    run(7500..10_000);
}
