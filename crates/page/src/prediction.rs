//! The page of a benchmark of predictions.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::chart::ChartError;
use crate::head::head;
use crate::scatter::Scatter;

/// What a benchmark of predictions found, as it is to be shown.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionView {
    /// What was done: one sentence each.
    pub about: Vec<String>,
    /// The figures, and the moves.
    pub tables: Vec<Tabular>,
    /// What was predicted against what was measured.
    pub plots: Vec<Scatter>,
}

/// A table of texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tabular {
    /// What it shows.
    pub title: String,
    /// The names of its columns.
    pub header: Vec<String>,
    /// As many texts each as there are columns.
    pub rows: Vec<Vec<String>>,
}

/// The page of a benchmark of predictions: what was done, the plots, and the tables.
///
/// # Errors
/// A plot could not be drawn.
pub fn prediction(view: &PredictionView) -> Result<String, ChartError> {
    let title = "Predicted and measured";
    let plots = view.plots.iter().map(plot).collect::<Result<Vec<_>, _>>()?;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body.wide {
                header { h1 { (title) } }
                @for sentence in &view.about { p { (sentence) } }
                div.pair { @for plot in plots { (plot) } }
                p.note {
                    "Each dot is a move, by the median that was predicted for it and by what was measured; the "
                    "line through it is the interval that should hold what is measured 95 times in 100. What is "
                    "on the dashed diagonal came as predicted."
                }
                @for table in &view.tables { (tabular(table)) }
            }
        }
    };
    Ok(page.into_string())
}

fn plot(scatter: &Scatter) -> Result<Markup, ChartError> {
    let svg = scatter.svg()?;
    Ok(html! {
        section {
            h2 { (scatter.title) }
            ul.legend {
                @for (name, colour) in scatter.legend() {
                    li { span.swatch style=(format!("background: {colour}")) {} (name) }
                }
            }
            (PreEscaped(svg))
        }
    })
}

fn tabular(table: &Tabular) -> Markup {
    html! {
        section {
            h2 { (table.title) }
            div.scroll {
                table.dense {
                    tr { @for name in &table.header { th { (name) } } }
                    @for row in &table.rows {
                        tr {
                            @for (column, text) in row.iter().enumerate() {
                                @if column == 0 { th { (text) } } @else { td { (text) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scatter::Dot;

    #[test]
    fn shows_plots_and_tables() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let dot = Dot { predicted: 4.0, interval: 3.0..5.0, measured: 4.5 };
        let scatter = |title: &str| Scatter {
            title: title.to_owned(),
            unit: "s".to_owned(),
            series: vec![("<idle>".to_owned(), vec![dot.clone()])],
        };
        let view = PredictionView {
            about: vec!["72 moves.".to_owned()],
            tables: vec![Tabular {
                title: "moves".to_owned(),
                header: texts(&["move", "total"]),
                rows: vec![texts(&["1", "4.5 s"])],
            }],
            plots: vec![scatter("total time"), scatter("downtime")],
        };
        let page = prediction(&view).unwrap();
        for expected in ["72 moves.", "<td>4.5 s</td>", "&lt;idle&gt;", "total time"] {
            assert!(page.contains(expected), "{expected}");
        }
        assert_eq!(page.matches("<svg").count(), 2);
    }
}
