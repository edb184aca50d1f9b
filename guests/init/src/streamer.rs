//! The streamer: frames to each client, 25 a second, whatever the workload.

use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use punctual_guest_protocol::frame::{self, HEADER_LENGTH, MAX_PAYLOAD};
use punctual_guest_protocol::{Options, Pattern, STREAM_PORT};

use crate::clock;
use crate::progress::Progress;
use crate::world::part;

/// What each client gets.
#[derive(Clone, Copy)]
struct Source {
    pattern: Pattern,
    /// Length of a frame's payload, in bytes.
    payload: usize,
}

/// Starts to accept clients.
pub(crate) fn start(options: &Options, progress: Arc<Progress>) -> io::Result<()> {
    let frames_a_second = 1.0 / frame::PERIOD.as_secs_f64();
    let frame = (options.stream as f64 / frames_a_second) as usize;
    let source = Source {
        pattern: Pattern::new(options.seed).part(part::STREAM),
        payload: frame.saturating_sub(HEADER_LENGTH).min(MAX_PAYLOAD),
    };
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, STREAM_PORT))?;
    thread::spawn(move || {
        loop {
            // Only a shortage of descriptors makes accepting fail; clients that leave free some.
            let Ok((client, _)) = listener.accept() else { continue };
            let progress = Arc::clone(&progress);
            thread::spawn(move || {
                progress.client_came();
                // The client has gone when it takes no more frames.
                drop(stream(&client, source));
                progress.client_left();
            });
        }
    });
    Ok(())
}

/// Sends frames at their times. A frame that is late makes the next ones wait for their own times,
/// so that a guest that stood still goes on in step and skips none.
fn stream(mut client: &TcpStream, source: Source) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut moment = clock::now();
    let mut sequence = 0;
    loop {
        let bytes = frame::encode(source.pattern, sequence, source.payload);
        clock::sleep_until(moment);
        client.write_all(&bytes)?;
        sequence += 1;
        moment = (moment + frame::PERIOD).max(clock::now());
    }
}
