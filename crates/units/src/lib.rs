//! The words that every room of Punctual speaks: quantities, page sets and memory layouts.
//!
//! This crate is pure: it does no I/O, starts no thread and reads no clock.
//!
//! - [`Bytes`], [`Pages`], [`BytesPerSecond`]: quantities with their arithmetic;
//! - [`Probability`]: a number from 0 to 1;
//! - [`PageIndex`], [`PageRange`], [`PageSet`]: which pages of a machine;
//! - [`RunWriter`], [`RunReader`], [`leb128`]: page sets and numbers in few bytes;
//! - [`MemoryLayout`], [`Region`]: how a machine's pages are spread over its RAM blocks;
//! - [`parse`]: what people write (`512MiB`, `1Gbit`, `50ms`) and how it is shown to them.

mod layout;
pub mod leb128;
mod page_runs;
mod page_set;
mod pages;
pub mod parse;
mod probability;
mod quantity;

pub use layout::{LayoutError, MemoryLayout, Region, RegionIndex, RegionSpan};
pub use page_runs::{MalformedRuns, RunReader, RunWriter};
pub use page_set::{PageSet, Ranges};
pub use pages::{PAGE_SIZE, PageIndex, PageRange};
pub use parse::ParseError;
pub use probability::Probability;
pub use quantity::{Bytes, BytesPerSecond, Pages};
