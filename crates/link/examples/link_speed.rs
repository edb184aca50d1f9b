//! How fast raw pages go over loopback into fresh pages of a tmpfs file, with bare TCP for
//! comparison: `cargo run --release -p punctual-link --example link_speed`.
//!
//! Next to the rate stands how much of a processor either side took for each gigabyte: where
//! others use the machine too, only this can be compared.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::thread;
use std::time::Instant;

use punctual_link::{Incoming, Link, Listener, Timeouts};
use punctual_units::{Bytes, MemoryLayout, PageRange, Region};
use punctual_wire::SourceMessage;
use punctual_wire::pages::Encoder;

const SIZE: Bytes = Bytes::mib(1024);
/// Pages in one frame.
const FRAME: u64 = 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let source = Ram::new()?;
    let chunk = vec![0x5a_u8; 1 << 20];
    for _ in 0..SIZE.get() >> 20 {
        (&source.file).write_all(&chunk)?;
    }
    for turn in 1..=3 {
        println!("turn {turn}");
        show("bare TCP, from and to a buffer", bare()?);
        for (from, name) in [(From::File, "sendfile"), (From::Memory, "mapping")] {
            let show = |into: &str, cost| show(&format!("link, {name} to {into}"), cost);
            show("a buffer", link(&source, from, Into::Buffer)?);
            show("a file through a buffer", link(&source, from, Into::File)?);
            show("fresh memory", link(&source, from, Into::Memory)?);
        }
    }
    Ok(())
}

/// What it took.
struct Cost {
    seconds: f64,
    sending: f64,
    receiving: f64,
}

fn show(what: &str, cost: Cost) {
    let gigabytes = SIZE.get() as f64 / 1e9;
    println!(
        "  {what:<40} {:>6.1} Gbit/s; processor s/GB: sending {:.2}, receiving {:.2}",
        gigabytes * 8.0 / cost.seconds,
        cost.sending / gigabytes,
        cost.receiving / gigabytes,
    );
}

/// The time that this thread has had a processor, in seconds.
fn processor() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A file as large as [`SIZE`] that no other process can find, empty.
fn ram_file() -> Result<File, Failure> {
    let file = rustix::fs::memfd_create("link-speed", rustix::fs::MemfdFlags::CLOEXEC)?;
    let file = File::from(file);
    file.set_len(SIZE.get())?;
    Ok(file)
}

/// What a benchmark of the network does: the yardstick.
fn bare() -> Result<Cost, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let begin = Instant::now();
    let sending = thread::spawn(move || {
        let buffer = vec![1; 128 << 10];
        (0..SIZE.get() / buffer.len() as u64)
            .try_for_each(|_| sender.write_all(&buffer))
            .map(|()| processor())
    });
    let mut buffer = vec![0; 128 << 10];
    let before = processor();
    while receiver.read(&mut buffer)? > 0 {}
    let (seconds, receiving) = (begin.elapsed().as_secs_f64(), processor() - before);
    let sending = sending.join().expect("the sender does not panic")?;
    Ok(Cost { seconds, sending, receiving })
}

#[derive(Clone, Copy)]
enum From {
    File,
    Memory,
}

#[derive(Clone, Copy)]
enum Into {
    Buffer,
    File,
    Memory,
}

fn link(source: &Ram, from: From, into: Into) -> Result<Cost, Failure> {
    let listener = Listener::bind("127.0.0.1:0")?;
    let layout = MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size: SIZE }])?;
    let timeouts = Timeouts::default();
    thread::scope(|scope| {
        let sending = scope.spawn(|| -> Result<f64, Failure> {
            let (mut sender, _receiver) = Link::connect(listener.address(), &timeouts)?.split();
            let mut encoder = Encoder::new(layout.clone(), [0; 32], Bytes::ZERO);
            let mut rest = PageRange::new(0, SIZE.pages().get());
            while !rest.is_empty() {
                let pages;
                (pages, rest) = rest.split_at(punctual_units::Pages::new(FRAME));
                let at = pages.start.0 * 4096;
                let raw = encoder.raw(pages)?;
                match from {
                    From::File => sender.send_raw(raw, source.file.as_fd(), Bytes::new(at))?,
                    From::Memory => sender.send_raw_with(raw, |socket, done, left| {
                        source.give(socket, at + done.get(), left.get() as usize)
                    })?,
                }
            }
            sender.send(&SourceMessage::Commit)?;
            Ok(processor())
        });
        let (_sender, mut receiver) = listener.accept()?.greet(&timeouts)?.split();
        let destination = Ram::new()?;
        let mut buffer = vec![0; 256 << 10];
        let (begin, before) = (Instant::now(), processor());
        while let Incoming::RawPages(pages) = receiver.receive::<SourceMessage>(&layout)? {
            let at = pages.pages().start.0 * 4096;
            pages.take_with(|socket, done, left| {
                destination.take(into, socket, at + done.get(), left.get() as usize, &mut buffer)
            })?;
        }
        let (seconds, receiving) = (begin.elapsed().as_secs_f64(), processor() - before);
        let sending = sending.join().expect("the sender does not panic")?;
        Ok(Cost { seconds, sending, receiving })
    })
}

/// A file and its mapping.
struct Ram {
    file: File,
    memory: *mut u8,
}

// SAFETY: the mapping is only touched by system calls, which any thread may make.
unsafe impl Sync for Ram {}

impl Ram {
    fn new() -> Result<Self, Failure> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let file = ram_file()?;
        let (size, access) = (SIZE.get() as usize, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping where the kernel chooses, which nothing else refers to.
        let memory =
            unsafe { mmap(std::ptr::null_mut(), size, access, MapFlags::SHARED, &file, 0)? };
        Ok(Self { file, memory: memory.cast() })
    }

    fn give(&self, socket: BorrowedFd<'_>, at: u64, left: usize) -> std::io::Result<usize> {
        assert!(at + left as u64 <= SIZE.get());
        // SAFETY: inside the mapping, which nobody writes any more.
        let place = unsafe { std::slice::from_raw_parts(self.memory.add(at as usize), left) };
        Ok(rustix::net::send(socket, place, rustix::net::SendFlags::empty())?)
    }

    fn take(
        &self,
        into: Into,
        socket: BorrowedFd<'_>,
        at: u64,
        left: usize,
        buffer: &mut [u8],
    ) -> std::io::Result<usize> {
        use rustix::net::{RecvFlags, recv};
        let piece = left.min(buffer.len());
        match into {
            Into::Buffer => Ok(recv(socket, &mut buffer[..piece], RecvFlags::WAITALL)?.1),
            Into::File => {
                let received = recv(socket, &mut buffer[..piece], RecvFlags::WAITALL)?.1;
                self.file.write_all_at(&buffer[..received], at)?;
                Ok(received)
            }
            Into::Memory => {
                assert!(at + left as u64 <= SIZE.get());
                // SAFETY: inside the mapping, which nobody else reads or writes.
                let place =
                    unsafe { std::slice::from_raw_parts_mut(self.memory.add(at as usize), left) };
                Ok(recv(socket, place, RecvFlags::WAITALL)?.1)
            }
        }
    }
}

impl Drop for Ram {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, and no reference into it is left.
        let unmapped = unsafe { rustix::mm::munmap(self.memory.cast(), SIZE.get() as usize) };
        unmapped.expect("it is mapped");
    }
}
