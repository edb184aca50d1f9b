use std::io;
use std::path::PathBuf;

use punctual_units::{Bytes, PageIndex};
use thiserror::Error;

/// Why a machine's memory could not be opened or made.
#[derive(Debug, Error)]
pub enum RamError {
    /// There must be one file for each region.
    #[error("{files} files of RAM for {regions} regions: give one for each region")]
    FileCount {
        /// Files given.
        files: usize,
        /// Regions of the layout.
        regions: usize,
    },
    /// The file ends before the region does.
    #[error(
        "the file of region `{region}` has {actual} bytes, the region {expected}: \
             it is not the file of this machine's RAM"
    )]
    TooShort {
        /// The region.
        region: String,
        /// The size of the file.
        actual: u64,
        /// The size of the region.
        expected: u64,
    },
    /// The filesystem has too little space for the machine.
    #[error(
        "destination too small: {directory} has {free} free, the machine's RAM needs {need}: \
             free some memory there, or give another directory for RAM files"
    )]
    NoSpace {
        /// Where the files were to be made.
        directory: PathBuf,
        /// What the machine needs there.
        need: Bytes,
        /// What is free there.
        free: Bytes,
    },
    /// The file of a region on hugetlbfs is a whole number of huge pages.
    #[error(
        "the region `{region}` of {size} is not a whole number of {huge_page} pages, \
             which {directory} has: give a directory with smaller pages"
    )]
    HugePage {
        /// The region.
        region: String,
        /// Its size.
        size: Bytes,
        /// Where its file was to be made.
        directory: PathBuf,
        /// The size of the pages there.
        huge_page: Bytes,
    },
    /// A file already exists or cannot be made.
    #[error("RAM file {path}: {action}: {cause}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The file of a region cannot be asked or mapped.
    #[error("the RAM file of region `{region}`: {action}: {cause}")]
    Region {
        /// The region.
        region: String,
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        cause: io::Error,
    },
}

/// Why pages could not be copied.
#[derive(Debug, Error)]
#[error("cannot {action} page {} of the RAM, in region `{region}`: {cause}", page.0)]
pub struct RamIoError {
    /// What was being done, such as `read`.
    pub action: &'static str,
    /// The region.
    pub region: String,
    /// The first page of the run.
    pub page: PageIndex,
    /// What the kernel said. Of kind `WouldBlock` where a socket's time limit has passed, and
    /// `UnexpectedEof` where the other side ended the connection.
    #[source]
    pub cause: io::Error,
}
