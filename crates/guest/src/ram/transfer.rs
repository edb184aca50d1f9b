use std::io;
use std::os::fd::BorrowedFd;

use punctual_units::{Bytes, PageRange, RegionSpan};
use rustix::fs::{FallocateFlags, fallocate, sendfile};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::{Ram, RamIoError};

impl Ram {
    /// The best size of the buffer for [`Ram::receive`].
    pub const RECEIVE_BUFFER: Bytes = Bytes::mib(1);

    /// Sends `pages` from the files into `sink`, a connected socket, without copying them through
    /// this process (`sendfile(2)`).
    ///
    /// # Errors
    /// The socket failed, or its time limit has passed; some of the pages may have been sent.
    ///
    /// # Panics
    /// The machine has no such pages.
    pub fn send(&self, pages: PageRange, sink: BorrowedFd<'_>) -> Result<(), RamIoError> {
        self.check(pages, pages.len().bytes().get() as usize);
        for span in self.layout.spans(pages) {
            self.send_span(span, sink)
                .map_err(|cause| self.io_error("send", span.pages.start, cause))?;
        }
        Ok(())
    }

    fn send_span(&self, span: RegionSpan, sink: BorrowedFd<'_>) -> io::Result<()> {
        let mut at = span.offset.get();
        let end = at + span.pages.len().bytes().get();
        while at < end {
            let most = (end - at) as usize;
            match sendfile(sink, self.file(span.region), Some(&mut at), most) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                // Old kernels cannot send from hugetlbfs.
                Err(Errno::INVAL | Errno::NOSYS) => return self.send_copy(span, at, sink),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn send_copy(&self, span: RegionSpan, from: u64, sink: BorrowedFd<'_>) -> io::Result<()> {
        let mut buffer = vec![0; Bytes::kib(256).get() as usize];
        let mut at = from;
        let end = span.offset.get() + span.pages.len().bytes().get();
        while at < end {
            let length = buffer.len().min((end - at) as usize);
            self.files[span.region.0].read(Bytes::new(at), &mut buffer[..length])?;
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                match rustix::net::send(sink, rest, SendFlags::NOSIGNAL) {
                    Ok(count) => rest = &rest[count..],
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            at += length as u64;
        }
        Ok(())
    }

    /// Allocates the memory of `pages` that are about to arrive; what they hold stays. They do
    /// not count as [`Ram::populated`] before they are written.
    ///
    /// Allocating is most of the work of receiving: two thirds of the processor's time on tmpfs.
    /// Done ahead on another thread, it leaves the receiving thread free for the link; done for
    /// the whole machine it is a reservation, where [`Ram::create`] only looks. Takes some 0.5 s
    /// for a GiB.
    ///
    /// # Errors
    /// There is not that much space (`StorageFull`).
    ///
    /// # Panics
    /// The machine has no such pages.
    pub fn reserve(&self, pages: PageRange) -> Result<(), RamIoError> {
        self.check(pages, pages.len().bytes().get() as usize);
        for span in self.layout.spans(pages) {
            let (at, length) = (span.offset.get(), span.pages.len().bytes().get());
            fallocate(self.file(span.region), FallocateFlags::KEEP_SIZE, at, length)
                .map_err(|error| self.io_error("reserve", span.pages.start, error.into()))?;
        }
        Ok(())
    }

    /// Receives `pages` from `source`, a connected socket, into the files.
    ///
    /// The bytes go through `buffer`, which stays in the processor's cache;
    /// [`Ram::RECEIVE_BUFFER`] is the best size. For a GiB on tmpfs the receiving thread works
    /// 0.77 s (0.24 s with [`Ram::reserve`] ahead; 0.4 s on a tmpfs of huge pages, `huge=within_size`,
    /// where reserving gains nothing); `splice(2)` through a pipe takes 0.72 s as
    /// long as packets end at page borders, `recv(2)` into a mapping 1.15 s, since the kernel
    /// clears each page before it is overwritten. See the example `ram_over_tcp`.
    ///
    /// # Errors
    /// The connection ended or failed, its time limit has passed, or the filesystem is full; some
    /// of the pages may have been overwritten.
    ///
    /// # Panics
    /// The machine has no such pages, or the buffer is empty.
    pub fn receive(
        &self,
        pages: PageRange,
        source: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> Result<(), RamIoError> {
        self.check(pages, pages.len().bytes().get() as usize);
        assert!(!buffer.is_empty(), "a buffer to receive through");
        for span in self.layout.spans(pages) {
            self.receive_span(span, source, buffer)
                .map_err(|cause| self.io_error("receive", span.pages.start, cause))?;
        }
        Ok(())
    }

    fn receive_span(
        &self,
        span: RegionSpan,
        source: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let mut at = span.offset.get();
        let end = at + span.pages.len().bytes().get();
        while at < end {
            let most = buffer.len().min((end - at) as usize);
            match rustix::io::read(source, &mut buffer[..most]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.files[span.region.0].write(Bytes::new(at), &buffer[..count])?;
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
