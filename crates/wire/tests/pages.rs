//! What the encoder sends makes the destination's memory equal to the source's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;

use proptest::prelude::*;
use punctual_units::{Bytes, MemoryLayout, PageIndex, PageRange, PageSet, Pages, Region};
use punctual_wire::Kind;
use punctual_wire::pages::{DecodeError, Decoder, Encoded, Encoder, Fault, PageSink, RawPages};

const PAGE: usize = 4096;
/// Two regions, so that chunks and runs meet a border.
const REGIONS: [u64; 2] = [37, 64];
const PAGES: usize = 101;

fn layout() -> MemoryLayout {
    let region = |(index, pages): (usize, &u64)| Region {
        name: format!("ram{index}"),
        size: Pages::new(*pages).bytes(),
    };
    MemoryLayout::new(REGIONS.iter().enumerate().map(region).collect()).unwrap()
}

/// Memory as a plain buffer, which checks what the trait promises.
struct Memory(Vec<u8>);

impl Memory {
    fn zero() -> Self {
        Self(vec![0; PAGES * PAGE])
    }

    fn of(&self, pages: PageRange) -> &[u8] {
        &self.0[pages.start.0 as usize * PAGE..pages.end.0 as usize * PAGE]
    }
}

impl PageSink for Memory {
    type Error = Infallible;

    fn write(&mut self, page: PageIndex, offset: usize, bytes: &[u8]) -> Result<(), Infallible> {
        assert!(offset + bytes.len() <= PAGE || (offset == 0 && bytes.len().is_multiple_of(PAGE)));
        let end = page.0 + (bytes.len() as u64).div_ceil(PAGE as u64);
        assert_eq!(layout().spans(PageRange::new(page.0, end)).count(), 1);
        let at = page.0 as usize * PAGE + offset;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, pages: PageRange) -> Result<(), Infallible> {
        assert_eq!(layout().spans(pages).count(), 1);
        self.0[pages.start.0 as usize * PAGE..pages.end.0 as usize * PAGE].fill(0);
        Ok(())
    }
}

/// A source, a destination, and what lies between them.
struct Move {
    source: Memory,
    destination: Memory,
    encoder: Encoder,
    decoder: Decoder,
}

impl Move {
    fn new(budget: Bytes) -> Self {
        Self {
            source: Memory::zero(),
            destination: Memory::zero(),
            encoder: Encoder::new(layout(), [3; 32], budget),
            decoder: Decoder::new(layout()),
        }
    }

    fn packed(&mut self, ranges: &[PageRange]) -> Encoded {
        let Self { source, destination, encoder, decoder } = self;
        let read = |pages: PageRange, copies: &mut [u8]| {
            copies.copy_from_slice(source.of(pages));
            Ok(())
        };
        let deliver = |payload: &[u8]| {
            assert!(payload.len() <= Kind::PackedPages.limit());
            decoder.decode(payload, destination)
        };
        encoder.encode::<DecodeError<_>>(ranges.iter().copied(), read, deliver).unwrap()
    }

    fn raw(&mut self, range: PageRange) {
        for span in layout().spans(range) {
            let raw = self.encoder.raw(span.pages).unwrap();
            let raw = RawPages::from_payload(&raw.to_payload(), &layout()).unwrap();
            let bytes = self.source.of(raw.pages()).to_vec();
            self.destination.write(raw.pages().start, 0, &bytes).unwrap();
        }
    }
}

/// What happens to the source between two rounds, and how the round sends it.
#[derive(Debug, Clone)]
enum Change {
    /// Bytes written into one page.
    Write { page: usize, offset: usize, length: usize, value: u8 },
    /// A page of content that cannot be compressed.
    Noise { page: usize, seed: u64 },
    /// A run that becomes zero.
    Zero { page: usize, count: usize },
}

fn change() -> impl Strategy<Value = Change> {
    // Few pages and few contents, so that a page often gets back what it had some rounds ago.
    let page = || prop_oneof![0..PAGES, 34..40_usize];
    prop_oneof![
        4 => (page(), 0..PAGE, 1..900_usize, 1..3_u8)
            .prop_map(|(page, offset, length, value)| Change::Write { page, offset, length, value }),
        4 => (page(), 0..2_u64).prop_map(|(page, seed)| Change::Noise { page, seed }),
        1 => (page(), 1..40_usize).prop_map(|(page, count)| Change::Zero { page, count }),
    ]
}

impl Change {
    /// Makes the change; returns the pages written.
    fn apply(&self, memory: &mut Memory) -> PageRange {
        let (page, bytes) = match *self {
            Self::Write { page, offset, length, .. } => {
                let start = page * PAGE + offset;
                (page, start..(start + length).min((page + 1) * PAGE))
            }
            Self::Noise { page, .. } => (page, page * PAGE..(page + 1) * PAGE),
            Self::Zero { page, count } => (page, page * PAGE..(page + count).min(PAGES) * PAGE),
        };
        let end = bytes.end.div_ceil(PAGE);
        match *self {
            Self::Write { value, .. } => memory.0[bytes].fill(value),
            Self::Noise { seed, .. } => noise(seed, &mut memory.0[bytes]),
            Self::Zero { .. } => memory.0[bytes].fill(0),
        }
        PageRange::new(page as u64, end as u64)
    }
}

fn noise(mut seed: u64, bytes: &mut [u8]) {
    for byte in bytes {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *byte = (seed >> 56) as u8;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn after_every_round_the_memories_are_equal(
        rounds in prop::collection::vec(
            (prop::collection::vec(change(), 0..25), 0..3_u8, any::<bool>()), 1..12),
        budget in prop_oneof![Just(Bytes::ZERO), Just(Bytes::kib(4)), Just(Bytes::mib(1))],
        expected in any::<bool>(),
    ) {
        let mut one = Move::new(budget);
        if expected {
            one.encoder.expect_writes(&PageSet::full(Pages::new(PAGES as u64)));
        }
        for (changes, raw, backwards) in rounds {
            let mut written = PageSet::empty(Pages::new(PAGES as u64));
            for change in changes {
                written.insert_range(change.apply(&mut one.source));
            }
            let mut ranges: Vec<_> = written.ranges().collect();
            if backwards {
                ranges.reverse();
            }
            match raw {
                0 => ranges.iter().for_each(|range| one.raw(*range)),
                1 => ranges.iter().enumerate().for_each(|(index, range)| {
                    if index % 2 == 0 { one.raw(*range) } else { one.packed(&[*range]); }
                }),
                _ => { one.packed(&ranges); }
            }
            prop_assert!(one.source.0 == one.destination.0);
        }
    }
}

#[test]
fn an_empty_memory_costs_nothing() {
    let mut one = Move::new(Bytes::mib(1));
    let all = PageRange::new(0, PAGES as u64);
    let encoded = one.packed(&[all]);
    assert_eq!((encoded.elided, encoded.payload), (all.len(), Bytes::ZERO));
}

#[test]
fn of_a_page_sent_twice_only_changed_blocks_travel() {
    let mut one = Move::new(Bytes::mib(1));
    let page = PageRange::new(50, 51);
    noise(1, &mut one.source.0[50 * PAGE..51 * PAGE]);
    assert_eq!(one.packed(&[page]).whole, Pages::new(1));
    assert!(!one.encoder.knows(PageIndex(50)), "once is no reason to remember");
    assert_eq!(one.packed(&[page]).whole, Pages::new(1));
    assert!(one.encoder.knows(PageIndex(50)));
    assert_eq!(one.packed(&[page]).elided, Pages::new(1));

    one.source.0[50 * PAGE + 1000] ^= 1;
    let encoded = one.packed(&[page]);
    assert_eq!(encoded.changed, Pages::new(1));
    assert!(encoded.payload.get() < 300, "{encoded:?}");
    assert!(one.source.0 == one.destination.0);

    one.source.0[50 * PAGE..51 * PAGE].fill(0);
    let encoded = one.packed(&[page]);
    assert_eq!(encoded.zero, Pages::new(1));
    assert!(encoded.payload.get() < 8, "{encoded:?}");
    assert!(!one.encoder.knows(PageIndex(50)), "zero pages need no memory");
    assert!(one.source.0 == one.destination.0);
}

#[test]
fn a_page_sent_raw_is_not_known_any_more() {
    let mut one = Move::new(Bytes::mib(1));
    let page = PageRange::new(7, 8);
    noise(1, &mut one.source.0[7 * PAGE..8 * PAGE]);
    one.packed(&[page]);
    one.packed(&[page]);
    assert!(one.encoder.knows(PageIndex(7)));
    one.raw(page);
    assert!(!one.encoder.knows(PageIndex(7)));
}

#[test]
fn the_budget_is_kept() {
    let budget = Bytes::kib(20);
    let mut one = Move::new(budget);
    noise(5, &mut one.source.0);
    let all = PageRange::new(0, PAGES as u64);
    one.packed(&[all]);
    one.packed(&[all]);
    assert!(one.encoder.memory().get() > 0);
    assert!(one.encoder.memory() <= budget, "{}", one.encoder.memory());
}

#[test]
fn after_a_failure_nothing_is_assumed() {
    let mut one = Move::new(Bytes::mib(1));
    noise(5, &mut one.source.0[..PAGE]);
    let first = PageRange::new(0, 1);
    one.packed(&[first]);
    one.packed(&[first]);
    let failed = one.encoder.encode([first], |_, _| Err("gone"), |_| Ok(()));
    assert_eq!(failed, Err("gone"));
    assert!(!one.encoder.knows(PageIndex(0)));
    assert_eq!(one.packed(&[first]).whole, Pages::new(1));
    // A page that is zero may not be so at the destination.
    assert_eq!(one.packed(&[PageRange::new(90, 91)]).zero, Pages::new(1));
}

#[test]
fn without_history_every_page_goes_whole_or_as_zero_each_time() {
    let mut one = Move::new(Bytes::ZERO);
    one.encoder = Encoder::without_history(layout());
    noise(5, &mut one.source.0[..PAGE]);
    let two = PageRange::new(0, 2);
    for _ in 0..3 {
        one.destination.0.fill(7);
        let encoded = one.packed(&[two]);
        assert_eq!((encoded.whole, encoded.zero), (Pages::new(1), Pages::new(1)));
        assert!(one.source.0[..2 * PAGE] == one.destination.0[..2 * PAGE]);
    }
    assert_eq!(one.encoder.encode([two], |_, _| Err("gone"), |_| Ok(())), Err("gone"));
    assert_eq!(one.packed(&[two]).zero, Pages::new(1));
}

#[test]
fn raw_pages_have_limits() {
    let mut one = Move::new(Bytes::ZERO);
    for wrong in [PageRange::new(3, 3), PageRange::new(36, 38), PageRange::new(100, 102)] {
        assert!(one.encoder.raw(wrong).is_err(), "{wrong:?}");
    }
    let payload = one.encoder.raw(PageRange::new(37, 101)).unwrap().to_payload();
    assert!(RawPages::from_payload(&payload[1..], &layout()).is_err());
    let mut far = payload;
    far[..8].fill(0xff);
    assert!(RawPages::from_payload(&far, &layout()).is_err());
    let mut many = payload;
    many[8..].fill(0xff);
    assert!(RawPages::from_payload(&many, &layout()).is_err());
}

#[test]
fn what_no_encoder_wrote_is_named() {
    let long = [[2_u8, 0, 1].as_slice(), &[0; PAGE - 1]].concat();
    let cases: [(&[u8], Fault); 9] = [
        (&[9, 0], Fault::Form(9)),
        (&[0, 0], Fault::Short),
        (&[0, 0, 0], Fault::Count(0)),
        (&[2, 0, 17], Fault::Count(17)),
        (&[0, 2, 101], Fault::Outside { start: 1, count: 101 }),
        // Over the border of the regions.
        (&[1, 72, 2, 0], Fault::Outside { start: 36, count: 2 }),
        (&[3, 0, 0], Fault::Piece { offset: 0, length: 0 }),
        (&[3, 0, 1, 0xff, 0x1f, 2, 0, 0], Fault::Piece { offset: 4095, length: 2 }),
        (&long, Fault::Short),
    ];
    for (payload, fault) in cases {
        match Decoder::new(layout()).decode(payload, &mut Memory::zero()) {
            Err(DecodeError::Malformed(malformed)) => assert_eq!(malformed.fault, fault),
            other => panic!("{payload:?}: {other:?}"),
        }
    }
    let bomb = [1, 0, 1, 4, 0x10, 0x41, 1, 0];
    let error = Decoder::new(layout()).decode(&bomb, &mut Memory::zero()).unwrap_err();
    assert!(error.to_string().starts_with("packed pages are malformed in byte 0 of 8"), "{error}");
}
