use std::io;
use std::os::fd::BorrowedFd;

use punctual_units::{Bytes, PageRange, RegionSpan};

use super::{Ram, RamIoError};

impl Ram {
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
            let sent = rustix::fs::sendfile(sink, self.file(span.region), Some(&mut at), most);
            match sent {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives `pages` from `source`, a connected socket, into the files.
    ///
    /// # Errors
    /// The connection ended or failed, its time limit has passed, or the filesystem is full; some
    /// of the pages may have been overwritten.
    ///
    /// # Panics
    /// The machine has no such pages.
    pub fn receive(&self, pages: PageRange, source: BorrowedFd<'_>) -> Result<(), RamIoError> {
        self.check(pages, pages.len().bytes().get() as usize);
        let mut buffer = vec![0; (256 << 10).min(pages.len().bytes().get() as usize)];
        for span in self.layout.spans(pages) {
            self.receive_span(span, source, &mut buffer)
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
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}
