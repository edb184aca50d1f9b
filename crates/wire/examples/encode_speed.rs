//! How fast one core encodes and decodes pages:
//! `cargo run --release -p punctual-wire --example encode_speed`.

use std::convert::Infallible;
use std::time::Instant;

use punctual_units::{Bytes, MemoryLayout, PageIndex, PageRange, PageSet, Region};
use punctual_wire::pages::{DecodeError, Decoder, Encoded, Encoder, PageSink};

const SIZE: Bytes = Bytes::mib(64);
const PAGE: usize = 4096;

fn main() {
    let layout =
        MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size: SIZE }]).expect("a layout");
    let noise = noise();
    let text: Vec<u8> = noise.iter().enumerate().map(|(at, byte)| byte & (at as u8 & 7)).collect();
    let mut scattered = noise.clone();
    for page in scattered.chunks_exact_mut(PAGE) {
        let at = usize::from(page[0]) * 16;
        page[at] ^= 1;
    }

    println!("{:<38} {:>9} {:>14}", "", "Gbit/s", "wire bytes");
    let encoder = || Encoder::new(layout.clone(), [1; 32], Bytes::mib(64));
    let mut remembering = encoder();
    remembering.expect_writes(&PageSet::full(SIZE.pages()));
    measure("first send, zero", &mut encoder(), &vec![0; noise.len()]);
    measure("first send, incompressible", &mut encoder(), &noise);
    measure("first send, compressible", &mut encoder(), &text);
    measure("first send, incompressible, remembered", &mut remembering, &noise);
    measure("again, nothing changed", &mut remembering, &noise);
    measure("again, one byte of each page changed", &mut remembering, &scattered);
    measure("again, all changed", &mut remembering, &text);
    println!("fingerprints of {SIZE} use {}", remembering.memory());

    for (what, content) in [("incompressible", &noise), ("compressible", &text)] {
        decode(what, &layout, &mut encoder(), content);
    }
}

fn measure(what: &str, encoder: &mut Encoder, memory: &[u8]) {
    let begin = Instant::now();
    let encoded = encode(encoder, memory, |_| {});
    show(what, begin, encoded.payload);
}

fn show(what: &str, begin: Instant, wire: Bytes) {
    let gigabits = SIZE.get() as f64 * 8.0 / begin.elapsed().as_secs_f64() / 1e9;
    println!("{what:<38} {gigabits:>9.1} {:>14}", wire.get());
}

fn encode(encoder: &mut Encoder, memory: &[u8], mut deliver: impl FnMut(&[u8])) -> Encoded {
    let read = |pages: PageRange, copies: &mut [u8]| {
        let start = pages.start.0 as usize * PAGE;
        copies.copy_from_slice(&memory[start..start + copies.len()]);
        Ok::<_, Infallible>(())
    };
    let all = PageRange::new(0, SIZE.pages().get());
    encoder
        .encode([all], read, |payload| {
            deliver(payload);
            Ok(())
        })
        .expect("nothing can fail")
}

struct Memory(Vec<u8>);

impl PageSink for Memory {
    type Error = Infallible;

    fn write(&mut self, page: PageIndex, offset: usize, bytes: &[u8]) -> Result<(), Infallible> {
        let at = page.0 as usize * PAGE + offset;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, pages: PageRange) -> Result<(), Infallible> {
        self.0[pages.start.0 as usize * PAGE..pages.end.0 as usize * PAGE].fill(0);
        Ok(())
    }
}

fn decode(what: &str, layout: &MemoryLayout, encoder: &mut Encoder, memory: &[u8]) {
    let mut payloads = Vec::new();
    let encoded = encode(encoder, memory, |payload| payloads.push(payload.to_vec()));
    let mut decoder = Decoder::new(layout.clone());
    let mut sink = Memory(vec![1; memory.len()]);
    let begin = Instant::now();
    payloads
        .iter()
        .try_for_each(|payload| decoder.decode(payload, &mut sink))
        .map_err(|error: DecodeError<_>| error.to_string())
        .expect("the encoder wrote it");
    show(&format!("decode, {what}"), begin, encoded.payload);
    assert!(sink.0 == memory, "decoded to something else");
}

fn noise() -> Vec<u8> {
    let mut seed = 1_u64;
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()
    };
    std::iter::repeat_with(next).take(SIZE.get() as usize / 8).flatten().collect()
}
