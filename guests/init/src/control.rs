//! The control port: one JSON object a line.

use std::convert::Infallible;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use punctual_guest_protocol::CONTROL_PORT;
use punctual_guest_protocol::control::{MAX_LINE, Reply, Request};

use crate::world::{World, lock};

/// Answers clients for ever, each on a thread of its own.
pub(crate) fn serve(world: &Arc<Mutex<World>>) -> io::Result<Infallible> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, CONTROL_PORT))?;
    loop {
        let (client, _) = listener.accept()?;
        let world = Arc::clone(world);
        // A client that goes away ends its conversation, nothing else.
        thread::spawn(move || drop(converse(&client, &world)));
    }
}

fn converse(client: &TcpStream, world: &Mutex<World>) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut lines = BufReader::new(client);
    let mut line = String::new();
    loop {
        line.clear();
        let length = (&mut lines).take(MAX_LINE as u64).read_line(&mut line)?;
        if length == 0 {
            return Ok(());
        }
        let reply = match serde_json::from_str::<Request>(&line) {
            Ok(request) => lock(world).answer(&request),
            Err(error) => Reply::Error { message: format!("not understood: {error}") },
        };
        let mut answer = serde_json::to_string(&reply)?;
        answer.push('\n');
        (&*client).write_all(answer.as_bytes())?;
    }
}
