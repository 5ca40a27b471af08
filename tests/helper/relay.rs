//! A connection between two processes that a test can record and cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The bytes of one connection.
#[derive(Clone, Default)]
pub struct Traffic {
    pub to_listener: Vec<u8>,
    pub to_dialler: Vec<u8>,
}

#[derive(Default)]
struct Wires {
    traffic: Vec<Traffic>,
    open: Vec<TcpStream>,
}

/// Forwards everything, and keeps a copy.
pub struct Relay {
    addr: String,
    wires: Arc<Mutex<Wires>>,
}

impl Relay {
    /// To the listener at this address.
    pub fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self {
            addr: listener.local_addr().unwrap().to_string(),
            wires: Arc::default(),
        };
        let (target, wires) = (target.to_owned(), Arc::clone(&relay.wires));
        thread::spawn(move || {
            for dialler in listener.incoming().flatten() {
                // If the listener is gone, the connection ends.
                let Ok(listener) = TcpStream::connect(&target) else {
                    continue;
                };
                connect(&wires, &dialler, &listener);
            }
        });
        relay
    }

    pub fn addr(&self) -> &str {
        &self.addr
    }

    /// The bytes of each connection so far.
    pub fn traffic(&self) -> Vec<Traffic> {
        self.wires.lock().unwrap().traffic.clone()
    }

    /// Ends all present connections.
    pub fn cut(&self) {
        for stream in self.wires.lock().unwrap().open.drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn connect(wires: &Arc<Mutex<Wires>>, dialler: &TcpStream, listener: &TcpStream) {
    for stream in [dialler, listener] {
        stream.set_nodelay(true).unwrap();
    }
    let number = {
        let mut wires = wires.lock().unwrap();
        wires.traffic.push(Traffic::default());
        wires.open.push(dialler.try_clone().unwrap());
        wires.open.push(listener.try_clone().unwrap());
        wires.traffic.len() - 1
    };
    let to_listener: fn(&mut Traffic) -> &mut Vec<u8> = |traffic| &mut traffic.to_listener;
    let to_dialler: fn(&mut Traffic) -> &mut Vec<u8> = |traffic| &mut traffic.to_dialler;
    for (from, to, side) in [
        (dialler, listener, to_listener),
        (listener, dialler, to_dialler),
    ] {
        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let wires = Arc::clone(wires);
        thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut block) {
                side(&mut wires.lock().unwrap().traffic[number]).extend(&block[..read]);
                if to.write_all(&block[..read]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
}
