//! A guest under the eyes of the client, in tests.

use punctual_guest_protocol::Workload;
use punctual_guest_protocol::control::Status;
use punctual_lab::scene::{Guest, Scene, Witness};

/// A guest whose client must notice nothing but pauses.
pub(crate) struct Watched(Witness);

impl Watched {
    pub(crate) fn new(scene: &Scene, guest: Guest) -> Self {
        let mut watched = Self(Witness::new(scene, guest).unwrap());
        watched.expect_well();
        watched
    }

    /// Has the guest do something else.
    pub(crate) fn set(&mut self, workload: Workload, rate: u64) {
        self.0.set(workload, rate).unwrap();
    }

    pub(crate) fn status(&mut self) -> Status {
        self.0.status().unwrap()
    }

    /// That the guest goes on, that all of its memory is as it should be, and that its client has
    /// noticed nothing but pauses.
    #[track_caller]
    pub(crate) fn expect_well(&mut self) {
        assert_eq!(self.0.complaints(), Vec::<String>::new());
    }
}
