//! What was predicted against what was measured, on logarithmic axes, as SVG.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::combinators::WithKeyPoints;
use plotters::prelude::*;

use crate::chart::{BLUE, ChartError, FAINT, GREEN, INK, ORANGE};

const SIZE: (u32, u32) = (560, 480);
/// Of the series, in their order; one more begins anew.
const COLOURS: [RGBColor; 4] = [BLUE, ORANGE, GREEN, RGBColor(204, 121, 167)];

/// One move.
#[derive(Debug, Clone, PartialEq)]
pub struct Dot {
    /// The predicted median.
    pub predicted: f64,
    /// What should hold what is measured 95 times in 100.
    pub interval: Range<f64>,
    /// What was measured.
    pub measured: f64,
}

/// Predictions of one quantity. What is on the diagonal came as predicted; a line through a dot is
/// its interval, and crosses the diagonal if the interval held what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    /// What was predicted.
    pub title: String,
    /// The unit of all numbers.
    pub unit: String,
    /// Series of dots with their names, drawn in colours of their own. Numbers that are not above
    /// zero have no place on the axes and are left out.
    pub series: Vec<(String, Vec<Dot>)>,
}

impl Scatter {
    /// The plot as one `<svg>` element.
    pub(crate) fn svg(&self) -> Result<String, ChartError> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())
            .map_err(|error| ChartError::new(&self.title, &error))?;
        Ok(svg)
    }

    /// The name of each series and its colour as CSS writes it.
    pub(crate) fn legend(&self) -> impl Iterator<Item = (&str, String)> {
        self.series.iter().zip(COLOURS.iter().cycle()).map(|((name, _), colour)| {
            let RGBColor(red, green, blue) = colour;
            (name.as_str(), format!("rgb({red}, {green}, {blue})"))
        })
    }

    fn draw(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let span = self.span();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(axis(&span), axis(&span))?;
        chart
            .configure_mesh()
            .x_desc(format!("predicted [{}]", self.unit))
            .y_desc(format!("measured [{}]", self.unit))
            .label_style(("sans-serif", 13).into_font().color(&INK))
            .x_label_formatter(&|number| plain(*number))
            .y_label_formatter(&|number| plain(*number))
            .axis_style(INK)
            .light_line_style(WHITE)
            .bold_line_style(FAINT)
            .draw()?;
        let diagonal = [(span.start, span.start), (span.end, span.end)];
        chart.draw_series(DashedLineSeries::new(diagonal, 5, 4, INK.stroke_width(1)))?;
        for ((_, dots), colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let dots = || dots.iter().filter(|dot| dot.is_positive());
            chart.draw_series(dots().map(|dot| {
                let ends = [dot.interval.start, dot.interval.end];
                let ends = ends.map(|end| (end.clamp(span.start, span.end), dot.measured));
                PathElement::new(ends, colour.mix(0.35).stroke_width(1))
            }))?;
            chart.draw_series(
                dots().map(|dot| Circle::new((dot.predicted, dot.measured), 3, colour.filled())),
            )?;
        }
        area.present()
    }

    /// From below the least to above the most that was predicted or measured, on both axes: a dot
    /// on the diagonal shall be one that came as predicted.
    fn span(&self) -> Range<f64> {
        const ROOM: f64 = 1.3;
        let dots = self.series.iter().flat_map(|(_, dots)| dots);
        let numbers =
            dots.filter(|dot| dot.is_positive()).flat_map(|dot| [dot.predicted, dot.measured]);
        let (least, most) = numbers.fold((f64::INFINITY, 0.0), |(least, most), number: f64| {
            (number.min(least), number.max(most))
        });
        if most > 0.0 { least / ROOM..most * ROOM } else { 1.0..10.0 }
    }
}

/// An axis with its numbers at 1, 2, 3, 5 and 7 times the powers of ten.
fn axis(span: &Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    let (first, last) = (span.start.log10().floor() as i32, span.end.log10().ceil() as i32);
    let powers = (first..=last).map(|power| 10_f64.powi(power));
    let numbers = powers.flat_map(|power| [1.0, 2.0, 3.0, 5.0, 7.0].map(|times| times * power));
    let numbers = numbers.filter(|number| span.contains(number)).collect();
    span.clone().log_scale().with_key_points(numbers)
}

impl Dot {
    fn is_positive(&self) -> bool {
        let Self { predicted, measured, .. } = self;
        predicted.is_finite() && measured.is_finite() && *predicted > 0.0 && *measured > 0.0
    }
}

/// A number with no more digits than it needs.
fn plain(number: f64) -> String {
    let rounded = format!("{number:.2}");
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scatter(dots: Vec<Dot>) -> Scatter {
        let (title, unit) = ("total time".to_owned(), "s".to_owned());
        Scatter { title, unit, series: vec![("100 Mbit/s".to_owned(), dots)] }
    }

    #[test]
    fn both_axes_have_one_span() {
        let dot = |predicted, measured| Dot { predicted, interval: 1.0..50.0, measured };
        let scatter = scatter(vec![dot(2.0, 13.0), dot(0.0, 1000.0), dot(4.0, f64::NAN)]);
        let span = scatter.span();
        assert!((span.start - 2.0 / 1.3).abs() < 1e-9 && (span.end - 16.9).abs() < 1e-9);
        let svg = scatter.svg().unwrap();
        assert_eq!(svg.matches("<circle").count(), 1, "what has no logarithm is left out");
        assert!(svg.contains("predicted [s]") && svg.contains("measured [s]"));
        assert_eq!(scatter.legend().count(), 1);
    }

    #[test]
    fn no_dots_make_an_empty_plot_and_no_failure() {
        assert!(scatter(vec![]).svg().is_ok());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.25, 1.0, 10.0, 300.0].map(plain), ["0.25", "1", "10", "300"]);
    }
}
