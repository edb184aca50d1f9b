//! Reports as pages for people: one self-contained HTML file, its plots as inline SVG.
//!
//! Pure: from a report and what the client saw to text. [`migration`] and [`trace`] are the public face.

mod chart;
mod migration;
mod trace;
mod trace_map;

pub use chart::ChartError;
pub use migration::{ClientView, migration};
pub use trace::trace;
