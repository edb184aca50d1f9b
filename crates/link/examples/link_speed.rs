//! How fast raw pages go over loopback into fresh pages of a tmpfs file, with bare TCP for
//! comparison: `cargo run --release -p punctual-link --example link_speed`.

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
    let source = ram_file()?;
    let chunk = vec![0x5a_u8; 1 << 20];
    for _ in 0..SIZE.get() >> 20 {
        (&source).write_all(&chunk)?;
    }
    for turn in 1..=3 {
        println!("turn {turn}");
        show("bare TCP, from and to a buffer", bare()?);
        show("link, into a buffer", link(&source, Into::Buffer)?);
        show("link, through a buffer to a file", link(&source, Into::File)?);
        show("link, straight into fresh memory", link(&source, Into::Memory)?);
    }
    Ok(())
}

fn show(what: &str, seconds: f64) {
    println!("  {what:<34} {:>6.1} Gbit/s", SIZE.get() as f64 * 8.0 / seconds / 1e9);
}

/// A file as large as [`SIZE`] that no other process can find, empty.
fn ram_file() -> Result<File, Failure> {
    let file = rustix::fs::memfd_create("link-speed", rustix::fs::MemfdFlags::CLOEXEC)?;
    let file = File::from(file);
    file.set_len(SIZE.get())?;
    Ok(file)
}

/// What a benchmark of the network does: the yardstick.
fn bare() -> Result<f64, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut sender = TcpStream::connect(listener.local_addr()?)?;
    let (mut receiver, _) = listener.accept()?;
    let begin = Instant::now();
    let sending = thread::spawn(move || {
        let buffer = vec![1; 128 << 10];
        (0..SIZE.get() / buffer.len() as u64).try_for_each(|_| sender.write_all(&buffer))
    });
    let mut buffer = vec![0; 128 << 10];
    while receiver.read(&mut buffer)? > 0 {}
    let seconds = begin.elapsed().as_secs_f64();
    sending.join().expect("the sender does not panic")?;
    Ok(seconds)
}

#[derive(Clone, Copy)]
enum Into {
    Buffer,
    File,
    Memory,
}

fn link(source: &File, into: Into) -> Result<f64, Failure> {
    let listener = Listener::bind("127.0.0.1:0")?;
    let layout = MemoryLayout::new(vec![Region { name: "ram0".to_owned(), size: SIZE }])?;
    let timeouts = Timeouts::default();
    thread::scope(|scope| {
        let sending = scope.spawn(|| -> Result<(), Failure> {
            let (mut sender, _receiver) = Link::connect(listener.address(), &timeouts)?.split();
            let mut encoder = Encoder::new(layout.clone(), [0; 32], Bytes::ZERO);
            let mut rest = PageRange::new(0, SIZE.pages().get());
            while !rest.is_empty() {
                let pages;
                (pages, rest) = rest.split_at(punctual_units::Pages::new(FRAME));
                let offset = Bytes::new(pages.start.0 * 4096);
                sender.send_raw(encoder.raw(pages)?, source.as_fd(), offset)?;
            }
            sender.send(&SourceMessage::Commit)?;
            Ok(())
        });
        let (_sender, mut receiver) = listener.accept()?.greet(&timeouts)?.split();
        let destination = Destination::new(into)?;
        let mut buffer = vec![0; 256 << 10];
        let begin = Instant::now();
        while let Incoming::RawPages(pages) = receiver.receive::<SourceMessage>(&layout)? {
            let at = pages.pages().start.0 * 4096;
            pages.take_with(|socket, done, left| {
                destination.take(socket, at + done.get(), left.get() as usize, &mut buffer)
            })?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        sending.join().expect("the sender does not panic")?;
        Ok(seconds)
    })
}

struct Destination {
    into: Into,
    file: File,
    memory: *mut u8,
}

impl Destination {
    fn new(into: Into) -> Result<Self, Failure> {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let file = ram_file()?;
        let (size, access) = (SIZE.get() as usize, ProtFlags::READ | ProtFlags::WRITE);
        // SAFETY: a new mapping where the kernel chooses, which nothing else refers to.
        let memory =
            unsafe { mmap(std::ptr::null_mut(), size, access, MapFlags::SHARED, &file, 0)? };
        Ok(Self { into, file, memory: memory.cast() })
    }

    fn take(
        &self,
        socket: BorrowedFd<'_>,
        at: u64,
        left: usize,
        buffer: &mut [u8],
    ) -> std::io::Result<usize> {
        use rustix::net::{RecvFlags, recv};
        let piece = left.min(buffer.len());
        match self.into {
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

impl Drop for Destination {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, and no reference into it is left.
        let unmapped = unsafe { rustix::mm::munmap(self.memory.cast(), SIZE.get() as usize) };
        unmapped.expect("it is mapped");
    }
}
