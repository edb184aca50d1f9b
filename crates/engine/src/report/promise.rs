use serde::{Deserialize, Serialize};

use super::{Measured, Promised};

/// What became of a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Promise {
    /// The machine runs at the destination; the interruption and the whole move took no longer
    /// than was promised, the time for digests aside, which come on top of both.
    Kept,
    /// One of the two took longer, or the guest was stopped and the move failed.
    Broken,
    /// The promise could not be kept, so the guest was never stopped: the move was refused before
    /// anything moved, or given up while the guest ran.
    Refused,
}

impl Promise {
    /// Of a move that was completed.
    #[must_use]
    pub fn completed(promised: &Promised, measured: &Measured) -> Self {
        let verify = measured.phases.verify;
        let in_time = measured.total <= promised.total + verify
            && measured.downtime.is_some_and(|downtime| downtime <= promised.downtime + verify);
        if in_time { Self::Kept } else { Self::Broken }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Phases;

    #[test]
    fn both_times_count() {
        let ms = Duration::from_millis;
        let promised = Promised { downtime: ms(50), total: ms(1000) };
        let completed = |downtime, total| {
            let measured = Measured { downtime, total, ..Measured::default() };
            Promise::completed(&promised, &measured)
        };
        assert_eq!(completed(Some(ms(50)), ms(1000)), Promise::Kept);
        assert_eq!(completed(Some(ms(51)), ms(500)), Promise::Broken);
        assert_eq!(completed(Some(ms(20)), ms(1001)), Promise::Broken);
    }

    #[test]
    fn digests_come_on_top() {
        let ms = Duration::from_millis;
        let promised = Promised { downtime: ms(50), total: ms(1000) };
        let phases = Phases { verify: ms(400), ..Phases::default() };
        let mut measured =
            Measured { downtime: Some(ms(450)), total: ms(1300), phases, ..Measured::default() };
        assert_eq!(Promise::completed(&promised, &measured), Promise::Kept);
        measured.downtime = Some(ms(451));
        assert_eq!(Promise::completed(&promised, &measured), Promise::Broken);
    }
}
