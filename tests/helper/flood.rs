//! Strangers in many networks, and a friend who is far away.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// The number of networks (/24) that the strangers are in.
const NETWORKS: u32 = 80;
/// The time between two connections: about 300 per second.
const PACE: Duration = Duration::from_millis(3);
/// How many connections are kept open.
const KEPT: usize = 1000;
/// How long a friend's bytes are under way.
const ONE_WAY: Duration = Duration::from_millis(50);

/// A connection from the address with this number. Consecutive numbers are in different networks.
pub fn connect_from(number: u32, to: &str) -> io::Result<TcpStream> {
    let network = u8::try_from(number % NETWORKS).unwrap();
    let host = u8::try_from(1 + number / NETWORKS % 250).unwrap();
    connect(Ipv4Addr::new(127, 10, network, host), to)
}

fn connect(from: Ipv4Addr, to: &str) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect(&to.parse::<SocketAddr>().unwrap().into())?;
    Ok(socket.into())
}

/// Makes silent connections, one after another, until it is stopped.
pub struct Flood {
    stopped: Arc<AtomicBool>,
    made: mpsc::Receiver<u32>,
    thread: Option<JoinHandle<u32>>,
}

impl Flood {
    /// Starts the flood.
    pub fn of_bare_connections(to: &str) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let (made_in, made) = mpsc::channel();
        let (stop, to) = (Arc::clone(&stopped), to.to_owned());
        let thread = thread::spawn(move || {
            let mut open = VecDeque::new();
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                open.extend(connect_from(count, &to));
                if open.len() > KEPT {
                    open.pop_front();
                }
                count += 1;
                // The waiting test may have seen enough.
                let _ = made_in.send(count);
                // The pace of the flood; no test waits for it.
                thread::sleep(PACE);
            }
            count
        });
        Self {
            stopped,
            made,
            thread: Some(thread),
        }
    }

    /// Waits until this many connections were made.
    pub fn has_made(&self, count: u32) {
        while self.made.recv_timeout(PATIENCE).unwrap() < count {}
    }

    /// Ends the flood. Returns the number of its connections.
    pub fn stop(mut self) -> u32 {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// The near end of a wire to this listener with a round trip of 100 ms, from a network of its own.
pub fn far(to: &str) -> String {
    let near = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = near.local_addr().unwrap().to_string();
    let to = to.to_owned();
    thread::spawn(move || {
        for dialler in near.incoming().flatten() {
            let to = to.clone();
            thread::spawn(move || {
                // The latency of the wire; no test waits for it.
                thread::sleep(ONE_WAY);
                if let Ok(listener) = connect(Ipv4Addr::new(127, 77, 0, 1), &to) {
                    delayed(&dialler, &listener);
                    delayed(&listener, &dialler);
                }
            });
        }
    });
    addr
}

/// Forwards each piece after its time.
fn delayed(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    to.set_nodelay(true).unwrap();
    let (under_way, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut block) {
            let piece = (Instant::now() + ONE_WAY, block[..read].to_vec());
            if under_way.send(piece).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        for (at, bytes) in arriving {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
