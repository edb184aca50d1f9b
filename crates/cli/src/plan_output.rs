//! A plan as people read it.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use punctual_plan::{Choice, Exposure, Forecast, Plan};
use punctual_units::Probability;

use crate::output::{milliseconds, seconds};

/// A row for each way: the median, and what is not exceeded with the confidence asked for.
pub(crate) fn table(plan: &Plan) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    let level = format!("≤ {}", percent(plan.ask.confidence));
    table.set_header([
        "WAY",
        "MODE",
        "DOWNTIME",
        &level,
        "TOTAL",
        &level,
        "TWO HOSTS",
        "ON THE WIRE",
        "KEPT",
    ]);
    for forecast in &plan.ways {
        table.add_row(row(forecast));
    }
    for number in 2..=8 {
        let column = table.column_mut(number).expect("the table has nine columns");
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(forecast: &Forecast) -> [String; 9] {
    let none = || "-".to_owned();
    let predicted = forecast.predicted.as_ref();
    let at_most = forecast.at_most.as_ref();
    [
        forecast.way.to_string(),
        forecast.way.mode().to_string(),
        predicted.map_or_else(none, |predicted| milliseconds(predicted.downtime.p50)),
        at_most.map_or_else(none, |most| milliseconds(most.downtime)),
        predicted.map_or_else(none, |predicted| seconds(predicted.total.p50)),
        at_most.map_or_else(none, |most| seconds(most.total)),
        forecast.exposure.map_or_else(none, |exposure| seconds(exposure.p50)),
        predicted.map_or_else(none, |predicted| predicted.wire_bytes.to_string()),
        match forecast.excluded {
            None => percent(forecast.keeps),
            Some(_) => format!("({})", percent(forecast.keeps)),
        },
    ]
}

/// What there is to say below the table.
pub(crate) fn notes(plan: &Plan) -> Vec<String> {
    let basis = &plan.basis;
    let mut notes = vec![format!(
        "asked: {} of interruption within {}, kept in {} of moves; traced for {}, link {}",
        milliseconds(plan.ask.downtime),
        seconds(plan.ask.within),
        percent(plan.ask.confidence),
        seconds(basis.trace),
        basis.bandwidth,
    )];
    let remarks = plan.ways.iter().flat_map(|forecast| {
        let excluded = forecast.excluded.iter().map(|reason| format!("left out: {reason}"));
        let exposed = forecast.exposure.iter().map(exposure);
        let remarks = excluded.chain(exposed).chain(forecast.remarks.iter().cloned());
        remarks.map(move |remark| format!("{}: {remark}", forecast.way))
    });
    notes.extend(remarks);
    notes.extend(basis.assumed.iter().map(|sentence| format!("assumed: {sentence}")));
    if let Some(rate) = plan.cheapest_bandwidth {
        notes.push(format!("least bandwidth that keeps it: {rate}"));
    }
    notes.push(match &plan.choice {
        Choice::Take { way, why } => format!("take `{way}`: {why}"),
        Choice::None { why, .. } => format!("refused: {why}"),
    });
    notes
}

/// How long a machine would depend on two hosts.
fn exposure(exposure: &Exposure) -> String {
    format!(
        "the machine depends on two hosts for {} (99 %: {}, 95 %: {} to {})",
        seconds(exposure.p50),
        seconds(exposure.p99),
        seconds(exposure.low),
        seconds(exposure.high),
    )
}

/// What a move is expected to take, in one line.
pub(crate) fn in_a_line(forecast: &Forecast, confidence: Probability) -> String {
    let Forecast { way, keeps, predicted, at_most, exposure, .. } = forecast;
    let Some((predicted, most)) = predicted.as_ref().zip(at_most.as_ref()) else {
        return format!("predicted by `{way}`: it would not come to its end");
    };
    let level = percent(confidence);
    let depends = exposure.map_or_else(String::new, |exposure| {
        format!(", on two hosts for {}", seconds(exposure.p50))
    });
    format!(
        "predicted by `{way}`: downtime {} (≤ {} with {level}), total {} (≤ {}){depends}, {}, kept \
         in {}",
        milliseconds(predicted.downtime.p50),
        milliseconds(most.downtime),
        seconds(predicted.total.p50),
        seconds(most.total),
        predicted.wire_bytes,
        percent(*keeps),
    )
}

/// A probability without more digits than it has.
pub(crate) fn percent(probability: Probability) -> String {
    let tenths = (probability.get() * 1000.0).round() / 10.0;
    format!("{tenths} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probability_has_no_idle_digits() {
        let shown = |number| percent(Probability::saturating(number));
        assert_eq!([shown(1.0), shown(0.99), shown(0.999)], ["100 %", "99 %", "99.9 %"]);
        assert_eq!(shown(2.0 / 3.0), "66.7 %");
    }
}
