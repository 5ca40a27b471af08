//! A way to an onion service that takes longer: a forwarder between tor and the service's listener.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Client, Lab};

/// A control port that has the service lead to the forwarder, and leaves everything else to tor's own.
pub struct Delay {
    control: String,
}

impl Delay {
    /// Adds this time in each direction to what goes through the services of the first client.
    pub fn of(lab: &Lab, time: Duration) -> Self {
        let (socket, space) = (lab.control(Client::One), lab.space());
        let (begun, listens) = mpsc::channel();
        thread::spawn(move || {
            space.enter();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            begun.send(listener.local_addr().unwrap()).unwrap();
            for controller in listener.incoming().flatten() {
                let tor = UnixStream::connect(&socket).unwrap();
                let (mut from, mut to) =
                    (tor.try_clone().unwrap(), controller.try_clone().unwrap());
                thread::spawn(move || {
                    // Either may be gone.
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                thread::spawn(move || control(controller, tor, time));
            }
        });
        let control = listens.recv().unwrap().to_string();
        Self { control }
    }

    /// The value of `--onion`.
    pub fn control(&self) -> &str {
        &self.control
    }
}

/// Passes lines on, and puts the forwarder's port in the place of the listener's.
fn control(controller: TcpStream, mut tor: UnixStream, time: Duration) {
    for line in BufReader::new(controller).lines().map_while(Result::ok) {
        let line = match line.rsplit_once(',') {
            Some((before, target)) if line.starts_with("ADD_ONION") => {
                format!("{before},{}", forward(target.to_owned(), time))
            }
            _ => line,
        };
        if tor.write_all(format!("{line}\r\n").as_bytes()).is_err() {
            break;
        }
    }
    let _ = tor.shutdown(Shutdown::Both);
}

/// Where the forwarder to this address listens. The threads of the control port are in the network
/// already.
fn forward(target: String, time: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for dialler in listener.incoming().flatten() {
            let Ok(service) = TcpStream::connect(&target) else {
                continue;
            };
            for stream in [&dialler, &service] {
                stream.set_nodelay(true).unwrap();
            }
            later(
                dialler.try_clone().unwrap(),
                service.try_clone().unwrap(),
                time,
            );
            later(service, dialler, time);
        }
    });
    addr
}

/// Passes on what comes, each piece when it is so old.
fn later(mut from: TcpStream, mut to: TcpStream, time: Duration) {
    let (pieces, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut block) {
            if pieces
                .send((Instant::now() + time, block[..read].to_vec()))
                .is_err()
            {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (at, piece) in due {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}
