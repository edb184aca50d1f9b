// What must hold for any input, shared by the fuzz targets and the tests on stable.

use std::convert::Infallible;

use punctual_units::{MemoryLayout, PageIndex, PageRange, Pages, Region};
use punctual_wire::pages::{Decoder, PageSink, RawPages};
use punctual_wire::{
    DestinationMessage, HEADER_LENGTH, Header, Message, SourceMessage, Version, Versions, decode,
    encode,
};

/// The pages of the regions of a machine.
const REGIONS: [u64; 2] = [37, 64];

/// The first byte tells the version; then a header and a payload.
pub(crate) fn frame(input: &[u8]) {
    let Some((version, input)) = input.split_first() else { return };
    let Some((header, payload)) = input.split_first_chunk::<HEADER_LENGTH>() else { return };
    let version = Version(u16::from(*version));
    let Ok(read) = Header::read(header, version) else { return };
    assert!(read.length <= read.kind.limit());
    if read.check(payload).is_ok() {
        assert_eq!(Header::write(version, read.kind, payload).as_ref(), Ok(header));
    }
}

/// The first byte tells who speaks; then a message, a `Hello`, or which raw pages follow.
pub(crate) fn message(input: &[u8]) {
    match input.split_first() {
        Some((0, payload)) => again::<SourceMessage>(payload),
        Some((1, payload)) => again::<DestinationMessage>(payload),
        Some((2, payload)) => {
            if let Ok(versions) = Versions::from_hello(payload) {
                assert_eq!(versions.to_hello()[..], payload[..4]);
            }
        }
        Some((_, payload)) => {
            if let Ok(raw) = RawPages::from_payload(payload, &layout()) {
                assert_eq!(raw.to_payload(), payload);
                assert_eq!(layout().spans(raw.pages()).count(), 1);
            }
        }
        None => {}
    }
}

fn again<M: Message + PartialEq + std::fmt::Debug>(payload: &[u8]) {
    let Ok(message) = decode::<M>(payload) else { return };
    let mut encoded = Vec::new();
    encode(&message, &mut encoded).expect("what was decoded is within the limit");
    assert_eq!(decode::<M>(&encoded).as_ref(), Ok(&message));
}

/// The payload of packed pages.
pub(crate) fn pages(input: &[u8]) {
    let mut witness = Witness(layout());
    // Whether it is malformed or not: the witness looks at what is put in place.
    let _ = Decoder::new(layout()).decode(input, &mut witness);
}

fn layout() -> MemoryLayout {
    let region = |(index, pages): (usize, &u64)| Region {
        name: format!("ram{index}"),
        size: Pages::new(*pages).bytes(),
    };
    MemoryLayout::new(REGIONS.iter().enumerate().map(region).collect()).expect("a layout")
}

/// Checks that all is inside one region.
struct Witness(MemoryLayout);

impl PageSink for Witness {
    type Error = Infallible;

    fn write(&mut self, page: PageIndex, offset: usize, bytes: &[u8]) -> Result<(), Infallible> {
        const PAGE: usize = 4096;
        assert!(!bytes.is_empty());
        assert!(offset + bytes.len() <= PAGE || (offset == 0 && bytes.len().is_multiple_of(PAGE)));
        let pages = bytes.len().div_ceil(PAGE) as u64;
        self.zero(PageRange::new(page.0, page.0 + pages))
    }

    fn zero(&mut self, pages: PageRange) -> Result<(), Infallible> {
        let mut spans = self.0.spans(pages);
        assert!(spans.next().is_some_and(|span| span.pages == pages));
        Ok(())
    }
}
