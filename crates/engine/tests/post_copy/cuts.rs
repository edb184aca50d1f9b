//! The link is cut in the middle of anything.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use punctual_engine::post_copy::Link;
use punctual_units::BytesPerSecond;
use punctual_wire::PageLine;

use crate::noise::next;
use crate::whole::{LONG, Scene};

/// Cuts one line or both, at any moment, over and over: every page comes, and is right.
fn cut_over_and_over(seed: u64) {
    let rate = Some(BytesPerSecond::megabits(120));
    let scene = Scene::paced(3000, &[(0, 2000), (2100, 2101), (2500, 3000)], true, rate);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut seed = seed;
            while !done.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_micros(next(&mut seed) % 25_000));
                match next(&mut seed) % 4 {
                    0 => scene.road.cut(|line| line == PageLine::Faults),
                    1 => scene.road.cut(|line| line == PageLine::Push),
                    2 => scene.road.cut(|_| true),
                    // Both ends lose it at once.
                    _ => {}
                }
                // Dialled at once: nobody waits here for two seconds.
                scene.serving.redirect(scene.road.dial());
            }
        });
        scene.reading(3, 60, || scene.serving.begin(None));
        scene.depending.wait(LONG).expect("it is whole within a minute").unwrap();
        done.store(true, Ordering::SeqCst);
    });
    let faults = scene.whole();
    assert!(faults.count <= scene.machine.faults(), "{faults:?}");
    // The last word may be lost, too; then it is said again.
    while scene.depending.state().link != Link::Up {
        thread::yield_now();
    }
    scene.depending.tell_whole();
    if let Some(served) = scene.serving.wait(Duration::from_secs(5)) {
        let served = served.unwrap();
        assert!(served.recoveries > 0, "{served:?}");
        assert_eq!(served.digest_equal, Some(true));
    }
}

#[test]
fn cuts_lose_and_change_nothing() {
    for seed in 1..=8 {
        cut_over_and_over(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
    }
}

#[test]
fn a_lost_link_is_dialled_again_by_itself() {
    let rate = Some(BytesPerSecond::megabits(100));
    let scene = Scene::paced(2000, &[(0, 2000)], true, rate);
    scene.serving.begin(None);
    scene.machine.touch(1999).unwrap();
    scene.road.refuse(true);
    scene.road.cut(|_| true);
    while scene.depending.state().link == Link::Up || scene.serving.state().link == Link::Up {
        thread::yield_now();
    }
    // Somebody waits while there is no link.
    thread::scope(|scope| {
        let reader = scope.spawn(|| scene.machine.touch(1000).unwrap());
        while scene.depending.state().waiting == 0 && !scene.machine.is_there(1000) {
            thread::yield_now();
        }
        scene.road.refuse(false);
        assert_eq!(reader.join().unwrap(), crate::machine::content(&scene.ram, 1000));
    });
    scene.whole();
    let state = scene.depending.state();
    assert_eq!((state.link, state.recoveries), (Link::Up, 1));
    scene.depending.tell_whole();
    let served = scene.serving.wait(LONG).unwrap().unwrap();
    assert_eq!((served.digest_equal, served.recoveries), (Some(true), 1));
}
