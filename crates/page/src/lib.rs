//! Reports as pages for people: one self-contained HTML file, its plots as inline SVG.
//!
//! Pure: from a report and what the client saw to text. [`migration`], [`trace`] and [`prediction`]
//! are the public face.

mod chart;
mod head;
mod migration;
mod prediction;
mod scatter;
mod trace;
mod trace_map;
mod vhpc09;

pub use chart::ChartError;
pub use migration::{ClientView, migration};
pub use prediction::{PredictionView, Tabular, prediction};
pub use scatter::{Dot, Scatter};
pub use trace::trace;
pub use vhpc09::vhpc09;
