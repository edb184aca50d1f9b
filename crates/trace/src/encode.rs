use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use punctual_units::{PageRange, leb128};

use crate::format::{BLOCK, BlockHead, DIRECT_IO, HEADER, Header};
use crate::{About, Scan, Trace};

impl Trace {
    /// The trace as a file, see `docs/trace-format.md`.
    ///
    /// A scan takes some 5 bytes, and 2 bytes for each run: a minute of a 4 GiB machine with 20,000
    /// random writes a second some 2.5 MB. Takes time and memory in proportion to the result.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut stream = Stream::new();
        stream.about(self.about());
        let mut before = 0;
        for scan in self.scans() {
            let at = nanoseconds(scan);
            stream.varint(at - before);
            stream.runs(&scan.written);
            before = at;
        }
        stream.flush();
        let mut file = stream.file;
        let scans = u32::try_from(self.scans().len()).expect("at most MOST_SCANS");
        let header = Header { scans, length: file.len() as u64 };
        file[..HEADER].copy_from_slice(&header.write());
        file
    }
}

fn nanoseconds(scan: &Scan) -> u64 {
    u64::try_from(scan.at.as_nanos()).expect("at most a year")
}

/// What is written goes into blocks, and these into the file.
struct Stream {
    file: Vec<u8>,
    block: Vec<u8>,
    /// The number of the block.
    number: u64,
    packed: Vec<u8>,
    table: CompressTable,
}

impl Stream {
    fn new() -> Self {
        Self {
            file: vec![0; HEADER],
            block: Vec::with_capacity(BLOCK),
            number: 0,
            packed: vec![0; get_maximum_output_size(BLOCK)],
            table: CompressTable::large(),
        }
    }

    fn about(&mut self, about: &About) {
        self.text(&about.machine);
        self.varint(about.layout.regions().len() as u64);
        for region in about.layout.regions() {
            self.text(&region.name);
            self.varint(region.size.pages().get());
        }
        self.byte(if about.direct_io { DIRECT_IO } else { 0 });
        self.varint(about.recorded_at);
        self.number(about.guest_cost.get());
        self.number(about.content.zero.get());
        self.number(about.content.first);
        self.number(about.content.again);
        let populated: Vec<PageRange> = about.populated.ranges().collect();
        self.runs(&populated);
    }

    /// How many runs, and for each the distance from the end of the one before, doubled, plus one if
    /// it has more than one page; then how many more than two it has.
    fn runs(&mut self, runs: &[PageRange]) {
        self.varint(runs.len() as u64);
        let mut free = 0;
        for run in runs {
            let (gap, pages) = (run.start.0 - free, run.len().get());
            self.varint(gap << 1 | u64::from(pages > 1));
            if pages > 1 {
                self.varint(pages - 2);
            }
            free = run.end.0;
        }
    }

    fn text(&mut self, text: &str) {
        self.varint(text.len() as u64);
        for byte in text.bytes() {
            self.byte(byte);
        }
    }

    fn number(&mut self, number: f64) {
        for byte in number.to_le_bytes() {
            self.byte(byte);
        }
    }

    fn varint(&mut self, number: u64) {
        leb128::write(number, |byte| self.byte(byte));
    }

    fn byte(&mut self, byte: u8) {
        self.block.push(byte);
        if self.block.len() == BLOCK {
            self.flush();
        }
    }

    /// Ends the block. One that LZ4 makes no smaller stays as it is.
    fn flush(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let packed = compress_into_with_table(&self.block, &mut self.packed, &mut self.table)
            .expect("room for the largest block");
        let payload =
            if packed < self.block.len() { &self.packed[..packed] } else { &self.block[..] };
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("at most BLOCK");
        let mut head =
            BlockHead { unpacked: length(&self.block), packed: length(payload), checksum: 0 };
        head.checksum = head.checksum_of(self.number, payload);
        self.file.extend_from_slice(&head.write());
        self.file.extend_from_slice(payload);
        self.block.clear();
        self.number += 1;
    }
}
