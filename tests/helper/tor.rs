//! A control port like tor's, with the faults that one can have, and beside it a SOCKS port that finds
//! the services which it has created.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::place::Place;
use super::socks::{Names, Socks};

/// How it treats those who connect.
#[derive(Clone, Debug)]
pub enum TorManner {
    /// It does what is asked of it.
    Serves,
    /// It answers with these bytes, whatever is sent.
    Says(&'static [u8]),
    /// It sends lines without an end.
    Floods,
    /// It takes what is sent, and never answers.
    Hangs,
    /// It closes each connection at once.
    Closes,
    /// It offers these methods of authentication.
    Offers(&'static str),
    /// It does not know the cookie.
    KnowsNoCookie,
    /// It answers lines that begin with the first text with the second.
    Answers(&'static str, &'static str),
}

struct State {
    manner: TorManner,
    password: Option<String>,
    cookie: [u8; 32],
    /// The lines that were sent to it, without proofs and passwords.
    asked: Vec<String>,
    created: u32,
    open: Vec<Stream>,
    over: bool,
}

/// The program. Its services are gone when their connection is.
pub struct Tor {
    addr: SocketAddr,
    place: Arc<Place>,
    /// Its SOCKS port.
    pub socks: Socks,
    state: Arc<Mutex<State>>,
    inside: fn(&str),
    space: String,
    accepting: Option<JoinHandle<()>>,
}

enum Stream {
    Tcp(TcpStream),
    Local(UnixStream),
}

impl Stream {
    fn copy(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
            Self::Local(stream) => Self::Local(stream.try_clone().unwrap()),
        }
    }

    fn end(&self) {
        // It may have ended by itself.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Local(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(bytes),
            Self::Local(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Local(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tor {
    /// At free ports of the loopback interface.
    pub fn new() -> Self {
        Self::within(|_| {}, "")
    }

    /// At free ports of the loopback interface, with threads that call `inside` with `space` before
    /// anything else.
    pub fn within(inside: fn(&str), space: &str) -> Self {
        let state = State {
            manner: TorManner::Serves,
            password: None,
            cookie: [7; 32],
            asked: Vec::new(),
            created: 0,
            open: Vec::new(),
            over: false,
        };
        let mut tor = Self {
            addr: "127.0.0.1:0".parse().unwrap(),
            place: Arc::new(Place::new()),
            socks: Socks::within("127.0.0.1:0", inside, space),
            state: Arc::new(Mutex::new(state)),
            inside,
            space: space.to_owned(),
            accepting: None,
        };
        tor.begin();
        tor
    }

    fn begin(&mut self) {
        let cookie = self.state.lock().unwrap().cookie;
        self.place.file("cookie", &cookie);
        let (wanted, inside, space) = (self.addr, self.inside, self.space.clone());
        let (state, names) = (Arc::clone(&self.state), self.socks.names());
        let (socks, cookie) = (self.socks.addr(), self.cookie());
        let (begun, listens) = mpsc::channel();
        self.accepting = Some(thread::spawn(move || {
            inside(&space);
            let listener = TcpListener::bind(wanted).unwrap();
            begun.send(listener.local_addr().unwrap()).unwrap();
            for stream in listener.incoming() {
                if state.lock().unwrap().over {
                    return;
                }
                let client = Client {
                    names: names.clone(),
                    state: Arc::clone(&state),
                    socks,
                    cookie: cookie.clone(),
                };
                client.spawn(Stream::Tcp(stream.unwrap()));
            }
        }));
        self.addr = listens.recv().unwrap();
    }

    /// Its control port.
    pub fn control(&self) -> String {
        self.addr.to_string()
    }

    /// Its control socket, which it opens with this call.
    pub fn control_socket(&self) -> PathBuf {
        let path = self.place.path("control");
        let listener = UnixListener::bind(&path).unwrap();
        let (names, state) = (self.socks.names(), Arc::clone(&self.state));
        let (socks, cookie) = (self.socks.addr(), self.cookie());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let client = Client {
                    names: names.clone(),
                    state: Arc::clone(&state),
                    socks,
                    cookie: cookie.clone(),
                };
                client.spawn(Stream::Local(stream.unwrap()));
            }
        });
        path
    }

    /// Its cookie file.
    pub fn cookie(&self) -> PathBuf {
        self.place.path("cookie")
    }

    /// From now on it behaves like this.
    pub fn behaves(&self, manner: TorManner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// From now on it has this password.
    pub fn has_password(&self, password: &str) {
        self.state.lock().unwrap().password = Some(password.to_owned());
    }

    /// What was asked of it so far.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Ends all control connections, and so its services, but no link.
    pub fn cuts_control(&self) {
        for stream in self.state.lock().unwrap().open.drain(..) {
            stream.end();
        }
    }

    /// Dies: its services and all its connections are gone, and it takes no more.
    pub fn dies(&mut self) {
        self.state.lock().unwrap().over = true;
        let (addr, inside, space) = (self.addr, self.inside, self.space.clone());
        // Wakes the thread that accepts.
        let waking = thread::spawn(move || {
            inside(&space);
            TcpStream::connect(addr).map(drop)
        });
        waking.join().unwrap().unwrap();
        self.accepting.take().unwrap().join().unwrap();
        self.cuts_control();
        self.socks.dies();
    }

    /// Starts again at its ports, with a new cookie.
    pub fn starts_again(&mut self) {
        self.socks.starts_again();
        {
            let mut state = self.state.lock().unwrap();
            state.over = false;
            state.cookie[0] += 1;
        }
        // As tor does: a new file.
        std::fs::remove_file(self.cookie()).unwrap();
        self.begin();
    }
}

/// One connection to the control port.
struct Client {
    names: Names,
    state: Arc<Mutex<State>>,
    socks: SocketAddr,
    cookie: PathBuf,
}

impl Client {
    fn spawn(self, stream: Stream) {
        thread::spawn(move || {
            let end = stream.copy();
            self.state.lock().unwrap().open.push(stream.copy());
            let mut services = Vec::new();
            // It may be gone before it has an answer.
            let _ = self.serve(stream, &mut services);
            end.end();
            for name in services {
                self.names.remove(&name);
            }
        });
    }

    fn serve(&self, mut stream: Stream, services: &mut Vec<String>) -> io::Result<()> {
        let manner = self.state.lock().unwrap().manner.clone();
        match manner {
            TorManner::Closes => return Ok(()),
            TorManner::Hangs => return drain(stream),
            TorManner::Says(bytes) => {
                stream.write_all(bytes)?;
                return drain(stream);
            }
            TorManner::Floods => loop {
                stream.write_all(b"250-more\r\n")?;
            },
            _ => {}
        }
        let mut lines = BufReader::new(stream.copy()).lines();
        let mut nonce = Vec::new();
        let mut let_in = false;
        while let Some(line) = lines.next().transpose()? {
            let mut words = line.split(' ');
            let word = words.next().unwrap_or_default();
            let is_secret = ["AUTHENTICATE", "AUTHCHALLENGE"].contains(&word);
            let shown = if is_secret { word } else { &line };
            self.state.lock().unwrap().asked.push(shown.to_owned());
            let answer = match (&manner, word) {
                (TorManner::Answers(to, answer), _) if line.starts_with(to) => (*answer).to_owned(),
                (_, "PROTOCOLINFO") => self.methods(&manner),
                (_, "AUTHCHALLENGE") => {
                    nonce = unhex(words.nth(1).unwrap());
                    let knows = !matches!(manner, TorManner::KnowsNoCookie);
                    self.challenge(&nonce, knows)
                }
                (_, "AUTHENTICATE") => {
                    let_in = self.is_let_in(&nonce, words.next().unwrap_or_default());
                    match let_in {
                        true => "250 OK".to_owned(),
                        false => "515 Authentication failed".to_owned(),
                    }
                }
                _ if !let_in => "514 Authentication required.".to_owned(),
                (_, "GETINFO") => format!(
                    "250-net/listeners/socks=\"unix:/run/tor/socks\" \"{}\"\r\n250 OK",
                    self.socks
                ),
                (_, "ADD_ONION") => {
                    let id = self.create(&line, services);
                    format!("250-ServiceID={id}\r\n250 OK")
                }
                (_, "DEL_ONION") => "250 OK".to_owned(),
                _ => "510 Unrecognized command".to_owned(),
            };
            stream.write_all(format!("{answer}\r\n").as_bytes())?;
            if !let_in && answer.starts_with("515") {
                return Ok(());
            }
        }
        Ok(())
    }

    fn methods(&self, manner: &TorManner) -> String {
        let path = self.cookie.display();
        let has_password = self.state.lock().unwrap().password.is_some();
        let methods = match (manner, has_password) {
            (TorManner::Offers(methods), _) => (*methods).to_owned(),
            (_, true) => "HASHEDPASSWORD".to_owned(),
            (_, false) => format!("COOKIE,SAFECOOKIE COOKIEFILE=\"{path}\""),
        };
        format!(
            "250-PROTOCOLINFO 1\r\n250-AUTH METHODS={methods}\r\n250-VERSION Tor=\"0.4.9.0\"\r\n250 OK"
        )
    }

    fn proof(&self, key: &str, nonce: &[u8]) -> Vec<u8> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(&self.state.lock().unwrap().cookie);
        mac.update(nonce);
        mac.update(&[9; 32]);
        mac.finalize().into_bytes().to_vec()
    }

    fn challenge(&self, nonce: &[u8], knows_cookie: bool) -> String {
        let key = "Tor safe cookie authentication server-to-controller hash";
        let mut proof = self.proof(key, nonce);
        proof[31] ^= u8::from(!knows_cookie);
        let (proof, nonce) = (hex(&proof), hex(&[9; 32]));
        format!("250 AUTHCHALLENGE SERVERHASH={proof} SERVERNONCE={nonce}")
    }

    fn is_let_in(&self, nonce: &[u8], shown: &str) -> bool {
        let password = self.state.lock().unwrap().password.clone();
        match password {
            Some(password) => unhex(shown) == password.as_bytes(),
            None => {
                let key = "Tor safe cookie authentication controller-to-server hash";
                unhex(shown) == self.proof(key, nonce)
            }
        }
    }

    /// A service, as `ADD_ONION NEW:ED25519-V3 Flags=DiscardPK Port=9000,127.0.0.1:PORT` asks for.
    fn create(&self, line: &str, services: &mut Vec<String>) -> String {
        let target = line.rsplit_once(',').unwrap().1;
        let created = {
            let mut state = self.state.lock().unwrap();
            state.created += 1;
            state.created
        };
        let digits = format!("{created:08}").into_bytes();
        let letters: String = digits
            .iter()
            .map(|digit| char::from(digit - b'0' + b'a'))
            .collect();
        // Services of several tors have different ids.
        let port = self.socks.port().to_string().into_bytes();
        let port: String = port
            .iter()
            .map(|digit| char::from(digit - b'0' + b'k'))
            .collect();
        let id = format!("{:a<55}d", port + &letters);
        let name = format!("{id}.onion");
        self.names.add(&name, target);
        services.push(name);
        id
    }
}

fn drain(mut from: Stream) -> io::Result<()> {
    io::copy(&mut from, &mut io::sink()).map(drop)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
