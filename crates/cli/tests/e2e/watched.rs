//! A guest under the eyes of the client.

use std::time::{Duration, Instant};

use punctual_guest_protocol::Workload;
use punctual_guest_protocol::control::Status;
use punctual_lab::client::{Control, Kind, StreamReader};
use punctual_lab::scene::{Guest, Scene};

use crate::stage::until;

/// A guest that must not be silent for longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A guest, its beacon, and two TCP connections to it that must outlive each move: a stream, and
/// one for questions.
pub(crate) struct Watched {
    guest: Guest,
    stream: StreamReader,
    control: Control,
}

impl Watched {
    pub(crate) fn new(scene: &Scene, guest: Guest) -> Self {
        // Opens when the guest's memory is filled.
        let control = scene.control(&guest).unwrap();
        let stream = scene.stream(&guest).unwrap();
        let mut watched = Self { guest, stream, control };
        watched.expect_well();
        watched
    }

    /// Has the guest do something else.
    pub(crate) fn set(&mut self, workload: Workload, rate: u64) {
        self.control.workload(workload, Some(rate), None).unwrap();
    }

    pub(crate) fn status(&mut self) -> Status {
        self.control.status().unwrap()
    }

    /// That the guest goes on, that all of its memory is as it should be, and that its client has
    /// noticed nothing but pauses.
    #[track_caller]
    pub(crate) fn expect_well(&mut self) {
        let check = self.control.check().unwrap();
        assert!(check.ok, "{check:?}");
        let status = self.status();
        assert_eq!((status.check_failures, &status.first_failure), (0, &None));
        assert_eq!(status.stream_clients, 1);

        assert!(self.guest.beacon.wait(PATIENCE), "the guest has fallen silent");
        let signs = self.guest.beacon.signs();
        assert_eq!(signs.restarted, None, "the guest was started anew");
        assert_eq!((signs.check_failures, signs.foreign, &signs.failed), (0, 0, &None));
        let twice = self.guest.beacon.arrivals(|arrivals| {
            arrivals.iter().filter(|arrival| arrival.kind == Kind::Duplicate).count()
        });
        assert_eq!(twice, 0, "beacons that came twice: the guest ran twice");

        let now = Instant::now();
        until("a new frame of the stream", || {
            assert_eq!(self.stream.end(), None);
            self.stream.arrivals(|arrivals| arrivals.newest().is_some_and(|frame| frame.at > now))
        });
    }
}
