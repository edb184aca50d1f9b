//! Medians side by side.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Bench, Contender, Load, Trial};

/// What each contender needed under each load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Loads in rising order, contenders in the order of [`Contender::ALL`].
    pub rows: Vec<Row>,
}

/// One contender under one load.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What the guest did.
    pub load: Load,
    /// Who moved it.
    pub contender: Contender,
    /// How many moves there were.
    pub moves: usize,
    /// How many of them lost the guest.
    pub lost: usize,
    /// Over the moves that did not; `None` if all did.
    pub figures: Option<Figures>,
    /// The medians, divided by the smallest median among QEMU's modes that never lost a guest:
    /// gap, total time, bytes, guest work lost. `None` without such a mode, or where it needs none.
    pub ratios: [Option<f64>; 4],
}

/// What moves needed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// The longest silence at the client, in milliseconds.
    pub gap_ms: Spread,
    /// Command to end, in seconds.
    pub total_s: Spread,
    /// On the source's link, in bytes.
    pub bytes: Spread,
    /// Guest work lost, in seconds of the undisturbed guest.
    pub work_lost_s: Spread,
    /// The longest silence while nothing disturbed the guest, in milliseconds.
    pub baseline_gap_ms: Spread,
}

/// How far figures lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub least: f64,
    /// The middle one; between two, their mean.
    pub median: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len().is_multiple_of(2) {
            f64::midpoint(values[middle - 1], values[middle])
        } else {
            values[middle]
        };
        Some(Self { least, median, most })
    }
}

impl Figures {
    fn of(trials: &[&Trial]) -> Option<Self> {
        let spread =
            |figure: fn(&Trial) -> f64| Spread::of(trials.iter().map(|trial| figure(trial)));
        Some(Self {
            gap_ms: spread(|trial| trial.gap_ms)?,
            total_s: spread(|trial| trial.total_s)?,
            bytes: spread(|trial| trial.bytes.get() as f64)?,
            work_lost_s: spread(|trial| trial.work_lost_s)?,
            baseline_gap_ms: spread(|trial| trial.baseline_gap_ms)?,
        })
    }

    fn medians(&self) -> [f64; 4] {
        [self.gap_ms.median, self.total_s.median, self.bytes.median, self.work_lost_s.median]
    }
}

impl Bench {
    /// The medians of all moves, side by side.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let loads: BTreeSet<Load> = self.trials.iter().map(|trial| trial.load).collect();
        Summary { rows: loads.into_iter().flat_map(|load| self.rows(load)).collect() }
    }

    fn rows(&self, load: Load) -> Vec<Row> {
        let mut rows: Vec<Row> =
            Contender::ALL.iter().filter_map(|contender| self.row(load, *contender)).collect();
        let best: [Option<f64>; 4] = std::array::from_fn(|figure| {
            let sound = |row: &&Row| row.contender != Contender::Punctual && row.lost == 0;
            let medians = rows.iter().filter(sound).filter_map(|row| row.figures);
            medians.map(|figures| figures.medians()[figure]).min_by(f64::total_cmp)
        });
        for row in &mut rows {
            let medians = row.figures.map(|figures| figures.medians());
            row.ratios = std::array::from_fn(|figure| {
                best[figure].filter(|best| *best > 0.0).zip(medians).map(|(b, m)| m[figure] / b)
            });
        }
        rows
    }

    fn row(&self, load: Load, contender: Contender) -> Option<Row> {
        let of_row = |trial: &&Trial| trial.load == load && trial.contender == contender;
        let trials: Vec<&Trial> = self.trials.iter().filter(of_row).collect();
        let sound: Vec<&Trial> =
            trials.iter().copied().filter(|trial| trial.lost.is_none()).collect();
        (!trials.is_empty()).then(|| Row {
            load,
            contender,
            moves: trials.len(),
            lost: trials.len() - sound.len(),
            figures: Figures::of(&sound),
            ratios: [None; 4],
        })
    }
}

#[cfg(test)]
mod tests {
    use punctual_units::Bytes;

    use super::*;

    fn trial(contender: Contender, gap_ms: f64, lost: bool) -> Trial {
        Trial {
            contender,
            load: Load::Idle,
            gap_ms,
            baseline_gap_ms: 1.0,
            total_s: 2.0,
            bytes: Bytes::new(100),
            work_lost_s: 0.0,
            work_rate: 0.0,
            written_pages: 0,
            reported_downtime_ms: None,
            how: None,
            lost: lost.then(|| "gone".to_owned()),
            harmed: None,
        }
    }

    #[test]
    fn ratios_are_to_the_best_mode_of_qemu_that_lost_nothing() {
        use Contender::{Punctual, QemuPostCopy, QemuPreCopy, QemuXbzrle};
        let trials = vec![
            trial(Punctual, 10.0, false),
            trial(Punctual, 30.0, false),
            trial(QemuPreCopy, 40.0, false),
            trial(QemuXbzrle, 80.0, false),
            trial(QemuPostCopy, 1.0, false),
            trial(QemuPostCopy, 1.0, true),
        ];
        let bench = Bench {
            rate: None,
            round_trip_ms: None,
            downtime_ms: 30.0,
            within_s: 60.0,
            qemu: "10".to_owned(),
            trials,
        };
        let rows = bench.summary().rows;
        assert_eq!(rows.len(), 4);
        assert_eq!((rows[0].contender, rows[0].ratios[0]), (Punctual, Some(0.5)));
        assert_eq!((rows[2].contender, rows[2].ratios[0]), (QemuXbzrle, Some(2.0)));
        assert_eq!((rows[3].moves, rows[3].lost), (2, 1));
        assert_eq!(rows[0].ratios[3], None, "nothing can be compared with no work lost");
        let gap = rows[0].figures.unwrap().gap_ms;
        assert_eq!((gap.least, gap.median, gap.most), (10.0, 20.0, 30.0));
    }
}
