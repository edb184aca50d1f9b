//! The page of one move.

use std::time::Duration;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use punctual_engine::report::{Ending, Measured, Phases, Promise, Quantiles, Report};
use punctual_units::PAGE_SIZE;

use crate::chart::{BLUE, Chart, ChartError, GREEN, Mark, ORANGE, Series, Style};
use crate::head::head;

/// What a client of the machine saw around the handover.
#[derive(Debug, Clone, Default)]
pub struct ClientView {
    /// For each datagram that arrived: the time since the move began, in seconds (negative before
    /// it), and the silence before it, in milliseconds.
    pub arrivals: Vec<(f64, f64)>,
    /// The longest silence without a move.
    pub baseline_gap: Duration,
}

/// The page of one move: the table of what was promised and measured, where the downtime went,
/// the course of the copy and, where a client looked on, what it saw.
///
/// # Errors
/// A chart could not be drawn.
pub fn migration(report: &Report, client: Option<&ClientView>) -> Result<String, ChartError> {
    let title = format!("{}: {} to {}", report.machine, report.from, report.to);
    let course = drawn(&course(report))?;
    let arrivals = client.map(|client| drawn(&arrivals(report, client))).transpose()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(&title))
            body {
                header {
                    h1 { (title) }
                    p.outcome.(ending(report.outcome)) { (ending(report.outcome)) }
                    @if !report.reason.is_empty() { p { (report.reason) } }
                }
                section {
                    h2 { "Promised, predicted and measured" }
                    (summary(report, client))
                }
                @if report.measured.downtime.is_some() {
                    section {
                        h2 { "Where the downtime went" }
                        (phases(&report.measured.phases))
                    }
                }
                section {
                    h2 { "Pages written and sent" }
                    (course)
                    p.note { "The dashed line is the moment at which the guest stopped." }
                }
                @if let Some(arrivals) = arrivals {
                    section {
                        h2 { "Silence at the client" }
                        (arrivals)
                        p.note {
                            "Each dot is a datagram of the guest's 1 kHz beacon: when it came, and how long "
                            "nothing had come before it."
                        }
                    }
                }
            }
        }
    };
    Ok(page.into_string())
}

fn ending(outcome: Ending) -> &'static str {
    match outcome {
        Ending::Completed => "completed",
        Ending::Refused => "refused",
        Ending::Cancelled => "cancelled",
        Ending::Failed => "failed",
    }
}

fn summary(report: &Report, client: Option<&ClientView>) -> Markup {
    let measured = &report.measured;
    let verify = measured.phases.verify;
    let downtime = measured.downtime.map_or_else(
        || "never stopped".to_owned(),
        |downtime| milliseconds(downtime.saturating_sub(verify)),
    );
    let digest = match report.ram_digest_equal {
        Some(true) => "equal on both hosts",
        Some(false) => "DIFFERENT",
        None => "not asked for",
    };
    html! {
        table {
            tr { th {} td { "promised" } td { "predicted" } td { "measured" } }
            tr {
                th { "downtime, as the engine saw it" }
                td { (milliseconds(report.promised.downtime)) }
                td { @if let Some(predicted) = &report.predicted { (span(predicted.downtime, milliseconds)) } }
                td { (downtime) }
            }
            @if !verify.is_zero() {
                tr {
                    th { "on top of it, computing the RAM digests" }
                    td {} td {} td { (milliseconds(verify)) }
                }
            }
            @if let Some(gap) = measured.client_gap {
                tr {
                    th { "longest silence, as the client saw it" }
                    td {} td {} td { (milliseconds(gap)) }
                }
            }
            @if let Some(client) = client {
                tr {
                    th { "longest silence without a move" }
                    td {} td {} td { (milliseconds(client.baseline_gap)) }
                }
            }
            tr {
                th { "total time" }
                td { (seconds(report.promised.total)) }
                td { @if let Some(predicted) = &report.predicted { (span(predicted.total, seconds)) } }
                td { (seconds(measured.total)) }
            }
            tr {
                th { "bytes on the wire" }
                td {}
                td { @if let Some(predicted) = &report.predicted { (predicted.wire_bytes) } }
                td { (measured.wire_bytes) }
            }
            @if let Some(promise) = report.promise {
                tr { th { "promise" } td {} td {} td { (kept(promise)) } }
            }
            @if let Some(planned) = measured.planned {
                tr { th { "looking beforehand, not in the total" } td {} td {} td { (seconds(planned)) } }
            }
            tr { th { "mode" } td {} td {} td { (report.mode) } }
            tr { th { "policy" } td {} td {} td { (report.policy) } }
            (exposure(measured))
            (slowed(measured))
            tr { th { "pages sent" } td {} td {} td { (measured.pages_sent.get()) } }
            tr { th { "rounds" } td {} td {} td { (measured.rounds) } }
            tr { th { "RAM digest" } td {} td {} td { (digest) } }
        }
    }
}

/// How long the machine depended on two hosts, where it did.
fn exposure(measured: &Measured) -> Markup {
    html! {
        @if let Some(tail) = &measured.post_copy {
            tr { th { "time that it depended on two hosts" } td {} td {} td { (seconds(tail.dependence)) } }
            tr { th { "pages that followed it" } td {} td {} td { (tail.missing.get()) } }
            tr {
                th { "waits for a page" }
                td {} td {}
                td {
                    (tail.faults)
                    @if tail.faults > 0 {
                        ", median " (milliseconds(tail.fault_median))
                        ", 99 %: " (milliseconds(tail.fault_p99))
                    }
                }
            }
            @if tail.recoveries > 0 {
                tr { th { "link lost and back meanwhile" } td {} td {} td { (tail.recoveries) } }
            }
        }
    }
}

/// What was done about a promise that was out of reach, where it was.
fn slowed(measured: &Measured) -> Markup {
    html! {
        @if let Some(missed) = &measured.missed {
            tr { th { "on the miss" } td {} td {} td { (missed.did) " after " (seconds(missed.at)) } }
        }
        @if let Some(throttled) = &measured.throttled {
            tr {
                th { "guest slowed down" }
                td {} td {}
                td {
                    "to " (format!("{:.0}", throttled.share.get() * 100.0)) " % for " (seconds(throttled.time))
                    ", " (seconds(throttled.lost)) " of work lost"
                }
            }
        }
    }
}

fn kept(promise: Promise) -> &'static str {
    match promise {
        Promise::Kept => "kept",
        Promise::Broken => "BROKEN",
        Promise::Refused => "refused",
    }
}

/// A median, and what is exceeded once in a hundred times.
fn span(quantiles: Quantiles, shown: fn(Duration) -> String) -> String {
    format!("{} (99 %: {})", shown(quantiles.p50), shown(quantiles.p99))
}

/// The parts of the downtime as one bar, each as wide as it was long.
fn phases(phases: &Phases) -> Markup {
    let parts = [
        ("stop", phases.stop),
        ("final copy", phases.final_copy),
        ("device state", phases.device_state),
        ("verify", phases.verify),
        ("commit", phases.commit),
        ("resume", phases.resume),
    ];
    let sum = phases.sum().as_secs_f64().max(f64::MIN_POSITIVE);
    html! {
        div.bar {
            @for (index, (name, time)) in parts.iter().enumerate() {
                @if !time.is_zero() {
                    span.(format!("part{index}"))
                        style=(format!("flex-grow: {:.4}", time.as_secs_f64() / sum))
                        title=(format!("{name}: {}", milliseconds(*time))) {}
                }
            }
        }
        ul.legend {
            @for (index, (name, time)) in parts.iter().enumerate() {
                @if !time.is_zero() {
                    li { span.swatch.(format!("part{index}")) {} (name) " " b { (milliseconds(*time)) } }
                }
            }
        }
    }
}

/// A chart under the names of its series.
pub(crate) fn drawn(chart: &Chart<'_>) -> Result<Markup, ChartError> {
    let svg = chart.svg()?;
    Ok(html! {
        ul.legend {
            @for (name, colour) in chart.legend() {
                li { span.swatch style=(format!("background: {colour}")) {} (name) }
            }
        }
        (PreEscaped(svg))
    })
}

/// Dirty pages, and what was written and sent in all, over time, with a line at the stop.
fn course(report: &Report) -> Chart<'static> {
    let mebibytes = |pages: u64| (pages * PAGE_SIZE.get()) as f64 / f64::from(1 << 20);
    let mut written = 0;
    let mut lines = [Vec::new(), Vec::new(), Vec::new()];
    for sample in &report.samples {
        let at = sample.at.as_secs_f64();
        written += sample.written.get();
        lines[0].push((at, sample.sent.get() as f64 / f64::from(1 << 20)));
        lines[1].push((at, mebibytes(written)));
        lines[2].push((at, mebibytes(sample.dirty.get())));
    }
    let [sent, written, dirty] = lines;
    let measured = &report.measured;
    let followed = measured.post_copy.map_or(Duration::ZERO, |tail| tail.dependence);
    let running = measured.total.saturating_sub(followed);
    let stopped = measured.downtime.map(|downtime| running.saturating_sub(downtime).as_secs_f64());
    let series = |name: &str, colour, points| Series {
        name: name.to_owned(),
        colour,
        style: Style::Line,
        points,
    };
    Chart {
        title: "pages written and sent",
        x: "time since the move began [s]",
        y: "MiB",
        series: vec![
            series("sent", BLUE, sent),
            series("written by the guest", ORANGE, written),
            series("still to send", GREEN, dirty),
        ],
        marks: stopped.map(Mark::Vertical).into_iter().collect(),
    }
}

/// The silences around the handover, with the promise as a line.
fn arrivals(report: &Report, client: &ClientView) -> Chart<'static> {
    /// How much is shown on either side of the longest silence, in seconds.
    const AROUND: f64 = 0.5;
    let handover = client
        .arrivals
        .iter()
        .filter(|(at, _)| *at >= 0.0)
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0.0, |(at, _)| *at);
    let points: Vec<_> =
        client.arrivals.iter().filter(|(at, _)| (at - handover).abs() <= AROUND).copied().collect();
    let promised = report.promised.downtime;
    Chart {
        title: "silence at the client",
        x: "time since the move began [s]",
        y: "silence [ms]",
        series: vec![Series {
            name: "time since the datagram before".to_owned(),
            colour: BLUE,
            style: Style::Dots,
            points,
        }],
        marks: vec![Mark::Horizontal(
            promised.as_secs_f64() * 1e3,
            format!("promised: {}", milliseconds(promised)),
        )],
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use punctual_engine::report::{
        Engine, Holder, Mode, Policy, PostCopy, Promised, Sample, Throttled,
    };
    use punctual_units::{Bytes, Pages, Probability};

    use super::*;

    fn report() -> Report {
        Report {
            machine: "<web>".to_owned(),
            from: "a".to_owned(),
            to: "b".to_owned(),
            engine: Engine::External,
            mode: Mode::PreCopy,
            policy: Policy::PreCopy,
            promised: Promised {
                downtime: Duration::from_millis(50),
                total: Duration::from_secs(60),
            },
            predicted: None,
            measured: Measured {
                downtime: Some(Duration::from_millis(12)),
                phases: Phases {
                    stop: Duration::from_millis(3),
                    resume: Duration::from_millis(9),
                    ..Phases::default()
                },
                ..Measured::default()
            },
            ram_digest_equal: Some(true),
            outcome: Ending::Completed,
            promise: None,
            owner: Holder::Destination,
            reason: String::new(),
            codes: vec![],
            samples: (0..4)
                .map(|tick| Sample {
                    at: Duration::from_millis(tick * 100),
                    round: 1,
                    written: Pages::new(3),
                    dirty: Pages::new(40 - tick * 10),
                    sent: Bytes::mib(tick),
                })
                .collect(),
        }
    }

    #[test]
    fn shows_what_was_promised_and_measured() {
        let client = ClientView {
            arrivals: vec![(-0.1, 1.0), (0.2, 14.0), (0.3, 1.0), (9.0, 77.0)],
            baseline_gap: Duration::from_millis(4),
        };
        let page = migration(&report(), Some(&client)).unwrap();
        for expected in ["50.0 ms", "12.0 ms", "4.0 ms", "equal on both hosts", "&lt;web&gt;"] {
            assert!(page.contains(expected), "{expected}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
        assert!(!page.contains("verify"), "phases that took no time are left out");
    }

    #[test]
    fn what_followed_and_what_was_slowed_down_is_told() {
        let mut report = report();
        report.mode = Mode::Hybrid;
        let page = migration(&report, None).unwrap();
        assert!(!page.contains("two hosts") && !page.contains("slowed"));
        report.measured.post_copy = Some(PostCopy {
            missing: Pages::new(4711),
            dependence: Duration::from_millis(1500),
            faults: 12,
            fault_median: Duration::from_micros(300),
            ..PostCopy::default()
        });
        report.measured.throttled = Some(Throttled {
            share: Probability::saturating(0.35),
            time: Duration::from_secs(2),
            lost: Duration::from_millis(1300),
        });
        let page = migration(&report, None).unwrap();
        for expected in ["hybrid", "1.50 s", "4711", "12, median 0.3 ms", "to 35 % for 2.00 s"] {
            assert!(page.contains(expected), "{expected}");
        }
    }

    #[test]
    fn a_refused_move_has_a_page_too() {
        let refused = Report {
            outcome: Ending::Refused,
            reason: "no room".to_owned(),
            measured: Measured::default(),
            samples: vec![],
            ..report()
        };
        let page = migration(&refused, None).unwrap();
        assert!(page.contains("no room") && page.contains("never stopped"));
    }
}
