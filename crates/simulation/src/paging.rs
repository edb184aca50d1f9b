//! Pages that follow a machine: asked for by whoever waits for one, and in any case in the end.

use std::time::Duration;

use punctual_engine::destination::Event;
use punctual_units::{PageIndex, PageRange, PageSet, Pages};

use crate::fault::Side;
use crate::world::{Action, EFFECT, Place, World};

/// Pages of one answer.
const TOGETHER: usize = 16;
/// When somebody who has not been answered dials again.
const DIAL_AGAIN: Duration = Duration::from_millis(100);

impl World {
    /// Takes these pages away, and has whoever touches one wait for it.
    pub(crate) fn have_paged(&mut self, missing: PageSet) {
        for page in missing.iter() {
            self.memory[page.0 as usize] = 0;
        }
        self.missing = missing;
        self.followed = true;
        self.schedule(EFFECT, Action::Ask);
    }

    /// Asks for the page that is waited for, and for others.
    pub(crate) fn ask_for_pages(&mut self) {
        if self.missing.is_empty() || !self.destination_up {
            return;
        }
        if !self.serving || !self.source_up || !self.is_open() {
            return self.schedule(DIAL_AGAIN, Action::Ask);
        }
        let waited = self.guest.waits_for().into_iter();
        let waited = waited.chain(self.load_waits.then_some(PageIndex(0)));
        let others = self.missing.iter().filter(|page| Some(*page) != self.guest.waits_for());
        let pages: Vec<_> = waited.chain(others).take(TOGETHER).collect();
        let from = if self.is_committed() { &self.left_behind } else { &self.guest.memory };
        let content = pages.iter().map(|page| (*page, from[page.0 as usize])).collect();
        let after = self.round_trip(Pages::new(pages.len() as u64).bytes());
        self.schedule(after, Action::Arrive(content));
    }

    /// They are put into place, unless the way or either side has gone meanwhile.
    pub(crate) fn pages_arrive(&mut self, pages: Vec<(PageIndex, u32)>) {
        let ends = self.destination_up && self.source_up && self.is_open();
        if !ends || !self.is_up(Side::Source) {
            return self.schedule(DIAL_AGAIN, Action::Ask);
        }
        for (page, version) in pages {
            if self.missing.contains(page) {
                // What comes before the guest runs here is looked at when it does.
                let is_right =
                    self.place == Place::Source || version == self.guest.memory[page.0 as usize];
                self.expect(is_right, &format!("page {} followed in an old version", page.0));
                self.memory[page.0 as usize] = version;
                self.missing.remove_range(PageRange::new(page.0, page.0 + 1));
                self.guest.has_come(page);
            }
        }
        if self.load_waits && !self.missing.contains(PageIndex(0)) {
            self.load_waits = false;
            self.schedule(EFFECT, Action::Destination(Event::Loaded { took: EFFECT }));
        }
        self.schedule(Duration::ZERO, Action::Ask);
    }
}
