//! How fast RAM goes over an unshaped TCP connection, as a ratio to what one plain stream moves in
//! the same run (the goal of the project: at least 0.8).
//!
//! `cargo run --release -p punctual-guest --example ram_over_tcp [MIB] [DIRECTORY]`

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use punctual_guest::Ram;
use punctual_units::{Bytes, BytesPerSecond, MemoryLayout, PageRange, Pages, Region};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const ROUNDS: usize = 5;
/// How much is reserved ahead of the receiver at a time.
const RESERVE: Pages = Pages::new(512);

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let size = Bytes::mib(arguments.next().map_or(Ok(512), |text| text.parse())?);
    let directory = arguments.next().map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    let source = Source::new(&directory, size)?;
    let mut rates = [const { Vec::new() }; 3];
    for _ in 0..ROUNDS {
        rates[0].push(plain_stream(size)?);
        rates[1].push(source.copy(&directory, false)?);
        rates[2].push(source.copy(&directory, true)?);
    }
    let plain = median(&mut rates[0]);
    println!("{size} over loopback, median of {ROUNDS}:");
    let names = ["plain stream", "RAM", "RAM, reserved by a second thread"];
    for (name, rates) in names.into_iter().zip(&mut rates) {
        let rate = median(rates);
        println!("{name:34} {:>12}  ratio {:.2}", rate.to_string(), ratio(rate, plain));
    }
    Ok(())
}

fn median(rates: &mut [BytesPerSecond]) -> BytesPerSecond {
    rates.sort();
    rates[rates.len() / 2]
}

fn ratio(rate: BytesPerSecond, plain: BytesPerSecond) -> f64 {
    rate.get() as f64 / plain.get() as f64
}

fn connection() -> Outcome<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    Ok((near, listener.accept()?.0))
}

/// What iperf3 does: bytes of one buffer, received and forgotten.
fn plain_stream(size: Bytes) -> Outcome<BytesPerSecond> {
    let (mut near, mut far) = connection()?;
    std::thread::scope(|scope| {
        scope.spawn(move || -> std::io::Result<()> {
            let buffer = vec![1; Bytes::kib(128).get() as usize];
            (0..size.get() / buffer.len() as u64).try_for_each(|_| near.write_all(&buffer))
        });
        let mut buffer = vec![0; Bytes::kib(128).get() as usize];
        let begun = Instant::now();
        while far.read(&mut buffer)? > 0 {}
        Ok(size.per(begun.elapsed()).unwrap_or_default())
    })
}

struct Source {
    ram: Ram,
    whole: PageRange,
    path: PathBuf,
}

impl Source {
    fn new(directory: &Path, size: Bytes) -> Outcome<Self> {
        let path = directory.join(format!("punctual-example-{}-source", std::process::id()));
        let layout = MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size }])?;
        let ram = Ram::create(layout, std::slice::from_ref(&path))?;
        let source = Self { whole: PageRange::new(0, ram.layout().pages().get()), ram, path };
        let content: Vec<u8> = (1..=u8::MAX).cycle().take(Bytes::mib(1).get() as usize).collect();
        for page in source.whole.iter().step_by(256) {
            source.ram.write(page, &content)?;
        }
        Ok(source)
    }

    fn copy(&self, directory: &Path, reserve: bool) -> Outcome<BytesPerSecond> {
        let path = directory.join(format!("punctual-example-{}", std::process::id()));
        let to = Ram::create(self.ram.layout().clone(), std::slice::from_ref(&path))?;
        std::fs::remove_file(path)?;
        let (near, far) = connection()?;
        std::thread::scope(|scope| {
            let begun = Instant::now();
            scope.spawn(|| self.ram.send(self.whole, near.as_fd()));
            if reserve {
                scope.spawn(|| reserve_all(&to, self.whole));
            }
            let mut buffer = vec![0; Ram::RECEIVE_BUFFER.get() as usize];
            to.receive(self.whole, far.as_fd(), &mut buffer)?;
            Ok(self.ram.size().per(begun.elapsed()).unwrap_or_default())
        })
    }
}

fn reserve_all(ram: &Ram, whole: PageRange) -> Outcome<()> {
    let (mut now, mut rest) = whole.split_at(RESERVE);
    while !now.is_empty() {
        ram.reserve(now)?;
        (now, rest) = rest.split_at(RESERVE);
    }
    Ok(())
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
