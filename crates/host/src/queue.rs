//! Which migrations from this host may go on, and which wait for their turn.
//!
//! ```text
//!  migrate ──► waiting ──turn──► moving ──► ended
//!                 ▲                 │ the destination has no room: it keeps its place
//!                 └─────────────────┘
//! ```
//!
//! Whoever came first goes first, but for those that wait for a link others use: who goes elsewhere
//! overtakes them. Nothing of this is kept: a daemon that is started again finds the machines at home.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::api::{Id, Migration};
use crate::config::Caps;

/// Between two looks at whether whoever waits still wants to.
const LOOK: Duration = Duration::from_millis(50);

/// The migrations from this host that wait or go on.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    places: Mutex<Vec<Place>>,
    changed: Condvar,
}

/// A migration in the queue, or on its way. They stand in the order in which they came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    id: Id,
    /// The address that it goes to.
    link: String,
    moves: bool,
}

/// What is before a migration that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ahead {
    /// Those that move.
    pub(crate) moving: Vec<Id>,
    /// Those that wait, the first to go first.
    pub(crate) waiting: Vec<Id>,
}

/// The place of a migration, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    queue: &'a Queue,
    id: Id,
}

impl Queue {
    /// Takes the last place for a migration to the host at `link`.
    pub(crate) fn enter(&self, id: Id, link: &str) -> Turn<'_> {
        self.lock().push(Place { id, link: link.to_owned(), moves: false });
        Turn { queue: self, id }
    }

    /// How many are on their way, over whatever link.
    pub(crate) fn moving(&self) -> usize {
        self.lock().iter().filter(|place| place.moves).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().expect("no thread panics while it holds the queue")
    }
}

impl Turn<'_> {
    /// Waits for its turn, and tells now and then what is before it. Returns whether it may go on:
    /// `waits` says no to that when it is not to wait any longer.
    pub(crate) fn wait(&self, caps: Caps, mut waits: impl FnMut(&Ahead) -> bool) -> bool {
        let mut places = self.queue.lock();
        loop {
            if may_move(&places, self.id, caps) {
                let place = places.iter_mut().find(|place| place.id == self.id);
                place.expect("it has its place until it is dropped").moves = true;
                return true;
            }
            let ahead = ahead(&places, self.id);
            drop(places);
            if !waits(&ahead) {
                return false;
            }
            places = self.queue.lock();
            let waited = self.queue.changed.wait_timeout(places, LOOK);
            (places, _) = waited.expect("no thread panics while it holds the queue");
        }
    }

    /// Waits again, at the place that it had.
    pub(crate) fn step_back(&self) {
        if let Some(place) = self.queue.lock().iter_mut().find(|place| place.id == self.id) {
            place.moves = false;
        }
        self.queue.changed.notify_all();
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.lock().retain(|place| place.id != self.id);
        self.queue.changed.notify_all();
    }
}

/// Whether a migration that waits may go on: none before it could, and there is room for it.
fn may_move(places: &[Place], id: Id, caps: Caps) -> bool {
    let mut moving: Vec<&str> =
        places.iter().filter(|place| place.moves).map(|place| place.link.as_str()).collect();
    for place in places.iter().filter(|place| !place.moves) {
        if moving.len() >= caps.outgoing {
            return false;
        }
        let here = moving.iter().filter(|link| **link == place.link).count();
        let fits = here < caps.per_link;
        if place.id == id {
            return fits;
        }
        if fits {
            // It goes first, as soon as its thread looks.
            moving.push(&place.link);
        }
    }
    false
}

fn ahead(places: &[Place], id: Id) -> Ahead {
    let ids = |moves: bool| {
        let before = places.iter().take_while(move |place| moves || place.id != id);
        before.filter(move |place| place.moves == moves).map(|place| place.id).collect()
    };
    Ahead { moving: ids(true), waiting: ids(false) }
}

/// When a migration is likely to begin, if `moving` are over after these times, those that wait
/// before it take so long each, and `slots` move at a time; `None` where one of the times is not known.
pub(crate) fn starts_in(
    moving: &[Option<Duration>],
    waiting: &[Option<Duration>],
    slots: usize,
) -> Option<Duration> {
    let mut free: Vec<Duration> = moving.iter().copied().collect::<Option<_>>()?;
    free.resize(free.len().max(slots), Duration::ZERO);
    for takes in waiting {
        let first = free.iter_mut().min()?;
        *first += (*takes)?;
    }
    free.sort_unstable();
    // With more on their way than there are slots, the first to end makes no room.
    free.get(free.len().checked_sub(slots)?).copied()
}

/// How long a migration that is under way will still take, by its own word or by what was foretold.
pub(crate) fn left_of(migration: &Migration) -> Option<Duration> {
    let progress = migration.progress.as_ref();
    let told = progress.and_then(|progress| progress.ends_in);
    told.or_else(|| {
        let elapsed = progress.map_or(Duration::ZERO, |progress| progress.elapsed);
        Some(takes(migration)?.saturating_sub(elapsed))
    })
}

/// How long a migration will take in all, by what was foretold.
pub(crate) fn takes(migration: &Migration) -> Option<Duration> {
    Some(migration.forecast.as_ref()?.predicted?.total.p50)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn id(number: u128) -> Id {
        punctual_wire::MigrationId(number).into()
    }

    fn place(number: u128, link: &str, moves: bool) -> Place {
        Place { id: id(number), link: link.to_owned(), moves }
    }

    const CAPS: Caps = Caps { outgoing: 2, incoming: 2, per_link: 1 };

    #[test]
    fn who_came_first_goes_first_unless_its_link_is_taken() {
        let places =
            [place(1, "b", true), place(2, "b", false), place(3, "c", false), place(4, "c", false)];
        assert!(!may_move(&places, id(2), CAPS), "one at a time over a link");
        assert!(may_move(&places, id(3), CAPS) && !may_move(&places, id(4), CAPS));
        let wider = Caps { per_link: 2, ..CAPS };
        assert!(may_move(&places, id(2), wider) && !may_move(&places, id(3), wider));
        let ahead = ahead(&places, id(3));
        assert_eq!((ahead.moving, ahead.waiting), (vec![id(1)], vec![id(2)]));
    }

    #[test]
    fn the_start_follows_from_what_is_before() {
        let seconds = |times: &[u64]| -> Vec<_> {
            times.iter().map(|time| Some(Duration::from_secs(*time))).collect()
        };
        let second = |time| Some(Duration::from_secs(time));
        assert_eq!(starts_in(&seconds(&[5]), &[], 1), second(5));
        assert_eq!(starts_in(&seconds(&[5]), &seconds(&[10]), 1), second(15));
        assert_eq!(starts_in(&seconds(&[5, 8]), &seconds(&[10]), 2), second(8));
        assert_eq!(starts_in(&seconds(&[5, 8]), &[], 1), second(8), "both have to end");
        assert_eq!(starts_in(&seconds(&[]), &[], 1), second(0));
        assert_eq!(starts_in(&[None], &[], 1), None);
    }

    #[test]
    fn a_place_is_left_when_nobody_waits_any_more() {
        let queue = Arc::new(Queue::default());
        let one = Caps { outgoing: 1, incoming: 1, per_link: 1 };
        let first = queue.enter(id(1), "b");
        assert!(first.wait(one, |_| panic!("it does not wait")));
        let second = queue.enter(id(2), "b");
        assert!(!second.wait(one, |ahead| {
            assert_eq!(ahead.moving, [id(1)]);
            false
        }));
        drop(second);
        let waits = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.enter(id(3), "b").wait(one, |_| true)
        });
        drop(first);
        assert!(waits.join().unwrap());
        assert_eq!(queue.moving(), 0, "its place went with its turn");
    }
}
