//! Line and point charts as SVG.

use plotters::coord::Shift;
use plotters::prelude::*;
use thiserror::Error;

const SIZE: (u32, u32) = (900, 300);
pub(crate) const INK: RGBColor = RGBColor(60, 64, 72);
pub(crate) const FAINT: RGBColor = RGBColor(226, 229, 234);

/// Colours that stay apart for most kinds of colour blindness (Okabe and Ito, 2008).
pub(crate) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(crate) const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub(crate) const GREEN: RGBColor = RGBColor(0, 158, 115);

/// Why a chart could not be drawn.
#[derive(Debug, Error)]
#[error("the chart `{title}` could not be drawn: {cause}")]
pub struct ChartError {
    title: String,
    cause: String,
}

impl ChartError {
    pub(crate) fn new(title: &str, cause: &impl std::fmt::Display) -> Self {
        Self { title: title.to_owned(), cause: cause.to_string() }
    }
}

/// How the points of a series are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Joined by a line.
    Line,
    /// One dot each.
    Dots,
}

/// One named row of points.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) colour: RGBColor,
    pub(crate) style: Style,
    pub(crate) points: Vec<(f64, f64)>,
}

/// A line across the chart at a value that matters.
pub(crate) enum Mark {
    /// At a place on the horizontal axis, such as the moment of the stop.
    Vertical(f64),
    /// At a height, such as the promised downtime.
    Horizontal(f64, String),
}

/// A chart with its axes starting at the smallest x and at y = 0.
pub(crate) struct Chart<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    pub(crate) series: Vec<Series>,
    pub(crate) marks: Vec<Mark>,
}

impl Chart<'_> {
    /// The chart as one `<svg>` element.
    pub(crate) fn svg(&self) -> Result<String, ChartError> {
        let mut svg = String::new();
        self.draw(&SVGBackend::with_string(&mut svg, SIZE).into_drawing_area())
            .map_err(|error| ChartError::new(self.title, &error))?;
        Ok(svg)
    }

    /// The name of each series and its colour as CSS writes it.
    pub(crate) fn legend(&self) -> Vec<(&str, String)> {
        let entry = |series: &Series| {
            let RGBColor(red, green, blue) = series.colour;
            format!("rgb({red}, {green}, {blue})")
        };
        self.series.iter().map(|series| (series.name.as_str(), entry(series))).collect()
    }

    fn draw(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let ((left, right), top) = self.extent();
        area.fill(&WHITE)?;
        let text = ("sans-serif", 13).into_font().color(&INK);
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(38)
            .y_label_area_size(64)
            .build_cartesian_2d(left..right, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .label_style(text.clone())
            .axis_style(INK)
            .light_line_style(WHITE)
            .bold_line_style(FAINT)
            .draw()?;
        for mark in &self.marks {
            let ends = match mark {
                Mark::Vertical(x) => [(*x, 0.0), (*x, top)],
                Mark::Horizontal(y, _) => [(left, *y), (right, *y)],
            };
            chart.draw_series(DashedLineSeries::new(ends, 5, 4, INK.stroke_width(1)))?;
            if let Mark::Horizontal(y, label) = mark {
                let place = (left + (right - left) * 0.01, y + top * 0.07);
                chart.draw_series([Text::new(label.clone(), place, text.clone())])?;
            }
        }
        for series in &self.series {
            let colour = series.colour;
            let points = series.points.iter().copied();
            match series.style {
                Style::Line => {
                    chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                }
                Style::Dots => {
                    chart.draw_series(points.map(|point| Circle::new(point, 2, colour.filled())))?
                }
            };
        }
        area.present()
    }

    /// The span of x, and the largest y with some room above it.
    fn extent(&self) -> ((f64, f64), f64) {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let left = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let right = points().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
        let marks = self.marks.iter().map(|mark| match mark {
            Mark::Horizontal(y, _) => *y,
            Mark::Vertical(_) => 0.0,
        });
        let top = points().map(|point| point.1).chain(marks).fold(0.0, f64::max);
        let span = if left < right { (left, right) } else { (0.0, 1.0) };
        (span, if top > 0.0 { top * 1.12 } else { 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart<'static> {
        Chart {
            title: "pages",
            x: "time [s]",
            y: "pages",
            series: vec![Series {
                name: "sent & kept".into(),
                colour: BLUE,
                style: Style::Line,
                points,
            }],
            marks: vec![Mark::Vertical(0.5), Mark::Horizontal(3.0, "promised".into())],
        }
    }

    #[test]
    fn axes_and_marks_are_named() {
        let chart = chart(vec![(0.0, 1.0), (1.0, 2.0)]);
        let svg = chart.svg().unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("time [s]") && svg.contains("promised"));
        assert_eq!(chart.legend(), vec![("sent & kept", "rgb(0, 114, 178)".to_owned())]);
    }

    #[test]
    fn no_points_make_an_empty_chart_and_no_failure() {
        assert!(chart(vec![]).svg().is_ok());
        assert!(chart(vec![(1.0, 0.0)]).svg().is_ok());
    }
}
