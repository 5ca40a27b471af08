//! A SOCKS5 proxy, with the faults that proxies have.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};

/// What was asked of it: the user, the password, and the target as `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub user: String,
    pub password: String,
    pub target: String,
}

/// How it treats those who come.
#[derive(Clone, Debug)]
pub enum Manner {
    /// It does what is asked of it.
    Serves,
    /// It answers each request with this code.
    Refuses(u8),
    /// It takes what is sent, and never answers.
    Hangs,
    /// It answers with these bytes, whatever is sent.
    Says(&'static [u8]),
    /// It closes each connection at once.
    Closes,
}

/// Whom it lets in.
#[derive(Clone, Debug)]
pub enum Door {
    /// It takes any user name and password.
    Any,
    /// It has no users.
    NoLogin,
    /// It takes these only.
    Only(&'static str, &'static str),
    /// It takes these, and those who name no user.
    OnlyOrNone(&'static str, &'static str),
}

/// The names that a proxy finds.
#[derive(Clone)]
pub struct Names(Arc<Mutex<State>>);

impl Names {
    /// Finds this name at this address.
    pub fn add(&self, name: &str, addr: &str) {
        let entry = (name.to_owned(), addr.to_owned());
        self.0.lock().unwrap().names.push(entry);
    }

    /// Finds it no more.
    pub fn remove(&self, name: &str) {
        let mut state = self.0.lock().unwrap();
        state.names.retain(|(known, _)| known != name);
    }
}

/// What to call before a dial, and with what.
type DialsFrom = (fn(&str), String);

struct State {
    manner: Manner,
    door: Door,
    names: Vec<(String, String)>,
    dials_from: Option<DialsFrom>,
    asked: Vec<Asked>,
    open: Vec<TcpStream>,
    over: bool,
}

/// The proxy. It dials what it is asked for; a few names are its own.
pub struct Socks {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    inside: fn(&str),
    place: String,
    accepting: Option<JoinHandle<()>>,
}

impl Socks {
    /// At a free port of the loopback interface.
    pub fn new() -> Self {
        Self::within("127.0.0.1:0", |_| {}, "")
    }

    /// At this address, with threads that call `inside` with `place` before anything else.
    pub fn within(addr: &str, inside: fn(&str), place: &str) -> Self {
        let state = State {
            manner: Manner::Serves,
            door: Door::Any,
            names: Vec::new(),
            dials_from: None,
            asked: Vec::new(),
            open: Vec::new(),
            over: false,
        };
        let mut socks = Self {
            addr: addr.parse().unwrap(),
            state: Arc::new(Mutex::new(state)),
            inside,
            place: place.to_owned(),
            accepting: None,
        };
        socks.begin();
        socks
    }

    fn begin(&mut self) {
        let (wanted, inside, place) = (self.addr, self.inside, self.place.clone());
        let state = Arc::clone(&self.state);
        let (begun, listens) = mpsc::channel();
        self.accepting = Some(thread::spawn(move || {
            inside(&place);
            let listener = TcpListener::bind(wanted).unwrap();
            begun.send(listener.local_addr().unwrap()).unwrap();
            for stream in listener.incoming() {
                if state.lock().unwrap().over {
                    return;
                }
                let (stream, state) = (stream.unwrap(), Arc::clone(&state));
                thread::spawn(move || {
                    let end = stream.try_clone().unwrap();
                    // It may be gone before it has an answer.
                    let _ = serve(stream, &state);
                    // Other copies of the socket would keep it open.
                    let _ = end.shutdown(Shutdown::Both);
                });
            }
        }));
        self.addr = listens.recv().unwrap();
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("socks5://{}", self.addr)
    }

    /// Its URL with a user.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("socks5://{user}:{password}@{}", self.addr)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on it behaves like this.
    pub fn behaves(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// From now on it lets these in.
    pub fn lets_in(&self, door: Door) {
        self.state.lock().unwrap().door = door;
    }

    /// It finds this name at this address, and nobody else does.
    pub fn knows(&self, name: &str, addr: &str) {
        self.names().add(name, addr);
    }

    /// The names that it finds, to change them from another thread.
    pub fn names(&self) -> Names {
        Names(Arc::clone(&self.state))
    }

    /// It makes its connections from this place, which its threads enter by calling `inside`.
    pub fn dials_from(&self, place: &str) {
        self.state.lock().unwrap().dials_from = Some((self.inside, place.to_owned()));
    }

    /// What was asked of it so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    /// Ends all its connections.
    pub fn cut(&self) {
        for stream in self.state.lock().unwrap().open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Dies: it ends all its connections, and takes no more.
    pub fn dies(&mut self) {
        self.state.lock().unwrap().over = true;
        let (addr, inside, place) = (self.addr, self.inside, self.place.clone());
        // Wakes the thread that accepts.
        let waking = thread::spawn(move || {
            inside(&place);
            TcpStream::connect(addr).map(drop)
        });
        waking.join().unwrap().unwrap();
        self.accepting.take().unwrap().join().unwrap();
        self.cut();
    }

    /// Starts again at its address.
    pub fn starts_again(&mut self) {
        self.state.lock().unwrap().over = false;
        self.begin();
    }
}

fn serve(mut client: TcpStream, state: &Arc<Mutex<State>>) -> io::Result<()> {
    let (manner, door) = {
        let mut state = state.lock().unwrap();
        state.open.push(client.try_clone()?);
        (state.manner.clone(), state.door.clone())
    };
    match manner {
        Manner::Closes => return Ok(()),
        Manner::Says(bytes) => {
            client.write_all(bytes)?;
            return drain(client);
        }
        Manner::Hangs => return drain(client),
        Manner::Serves | Manner::Refuses(_) => {}
    }
    let [version, count] = take(&mut client)?;
    assert_eq!(version, 5);
    let mut methods = vec![0; count.into()];
    client.read_exact(&mut methods)?;
    let offers = |method| methods.contains(&method);
    let wants_login = match door {
        Door::NoLogin => false,
        Door::OnlyOrNone(..) => offers(2),
        Door::Any => offers(2),
        Door::Only(..) => true,
    };
    let method = if wants_login { 2 } else { 0 };
    if !offers(method) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, method])?;
    let (mut user, mut password) = (String::new(), String::new());
    if wants_login {
        let [version] = take(&mut client)?;
        assert_eq!(version, 1);
        for part in [&mut user, &mut password] {
            *part = text(&mut client)?;
        }
        let right = match door {
            Door::Only(name, word) | Door::OnlyOrNone(name, word) => {
                user == name && password == word
            }
            Door::Any | Door::NoLogin => true,
        };
        client.write_all(&[1, u8::from(!right)])?;
        if !right {
            return Ok(());
        }
    }
    let [version, command, _, kind] = take(&mut client)?;
    assert_eq!((version, command), (5, 1));
    let host = match kind {
        1 => std::net::Ipv4Addr::from(take::<4>(&mut client)?).to_string(),
        4 => format!("[{}]", std::net::Ipv6Addr::from(take::<16>(&mut client)?)),
        _ => text(&mut client)?,
    };
    let port = u16::from_be_bytes(take(&mut client)?);
    let target = format!("{host}:{port}");
    let found = {
        let mut state = state.lock().unwrap();
        state.asked.push(Asked {
            user,
            password,
            target: target.clone(),
        });
        let known = state.names.iter().find(|(name, _)| *name == host);
        match known {
            Some((_, addr)) => Some(addr.clone()),
            None if kind == 3 => None,
            None => Some(target),
        }
    };
    let place = state.lock().unwrap().dials_from.clone();
    if let Some((inside, place)) = place {
        inside(&place);
    }
    let answer = |code: u8| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    if let Manner::Refuses(code) = manner {
        return client.write_all(&answer(code));
    }
    let Some(server) = found.and_then(|addr| TcpStream::connect(addr).ok()) else {
        return client.write_all(&answer(4));
    };
    client.write_all(&answer(0))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    state.lock().unwrap().open.push(server.try_clone()?);
    let (from, to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || pass(from, to));
    pass(server, client);
    Ok(())
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn drain(mut from: TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut io::sink()).map(drop)
}

fn take<const N: usize>(from: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A text with its length before it.
fn text(from: &mut TcpStream) -> io::Result<String> {
    let [length] = take(from)?;
    let mut bytes = vec![0; length.into()];
    from.read_exact(&mut bytes)?;
    Ok(String::from_utf8(bytes).unwrap())
}
