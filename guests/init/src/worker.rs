//! The thread that does the work.

use std::sync::Mutex;

use crate::world::{World, lock};
use crate::{clock, pace};

/// Does what is due, every millisecond, for ever.
pub(crate) fn work(world: &Mutex<World>) {
    loop {
        let resting = {
            let mut world = lock(world);
            world.work(clock::now());
            world.rests()
        };
        // An idle guest is to be idle: it looks only now and then for a new command.
        let ticks = if resting { 100 } else { 1 };
        let mut moment = clock::now();
        for _ in 0..ticks {
            moment = pace::next_tick(moment);
        }
        clock::sleep_until(moment);
    }
}
