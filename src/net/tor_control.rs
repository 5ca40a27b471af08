//! Connections to tor's control port (`--onion`).

use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use getrandom::SysRng;
use rand_core::{Rng, UnwrapErr};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tor_error::{LIMIT, TorFailure, TorFault};
use crate::proto::tor::{
    ControlPlace, Exchange, OnionId, Outcome, Replies, Reply, Step, TorControl, TorError,
    withdrawal,
};
use crate::secret::Secret;
use crate::sys::{file, local_socket};

/// The length of a cookie (`control-spec`, section 3.24).
const COOKIE: usize = 32;

/// How many bytes are read at once.
const READ: usize = 1024;

/// How long the end of a service may take.
const WITHDRAWAL: Duration = Duration::from_secs(1);

/// A stream of any kind.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A tor that lets this user control it.
pub struct FoundTor {
    /// Where it was found.
    pub control: TorControl,
    /// Its SOCKS port.
    pub socks: SocketAddr,
    /// Its cookie file, unless the user has a password.
    pub cookie: Option<PathBuf>,
}

/// An onion service. It lasts as long as its connection to tor, or until it is withdrawn.
pub struct Service {
    connection: Connection,
    id: OnionId,
    /// Tor's SOCKS port.
    pub socks: SocketAddr,
}

/// Finds a tor, authenticates, and closes the connection again; to be called within a runtime.
///
/// # Errors
/// See [`TorFailure`]. Of several places, only those where nothing listens are passed over: behind a
/// tor that this user may not control, another program could wait to be taken for one.
pub async fn find(control: &TorControl) -> Result<FoundTor, TorFailure> {
    for place in control.places() {
        match reach(control, &place, None).await {
            Ok((connection, outcome)) => {
                return Ok(FoundTor {
                    control: control.found_at(place),
                    socks: outcome.socks,
                    cookie: connection.cookie,
                });
            }
            Err(failure) if failure.is_absence() && !control.is_given() => {}
            Err(failure) => return Err(failure),
        }
    }
    Err(TorFailure {
        place: listed(&control.places()),
        fault: TorFault::NotFound,
    })
}

/// Creates an onion service that leads to this port of this computer; to be called within a runtime.
///
/// # Errors
/// See [`TorFailure`].
pub async fn publish(control: &TorControl, target: u16) -> Result<Service, TorFailure> {
    let mut failed = None;
    for place in control.places() {
        match reach(control, &place, Some(target)).await {
            Ok((
                connection,
                Outcome {
                    socks,
                    service: Some(id),
                },
            )) => {
                return Ok(Service {
                    connection,
                    id,
                    socks,
                });
            }
            Ok(_) => {}
            Err(failure) => {
                failed.get_or_insert(failure);
            }
        }
    }
    Err(failed.unwrap_or_else(|| TorFailure {
        place: listed(&control.places()),
        fault: TorError::InvalidService.into(),
    }))
}

fn listed(places: &[ControlPlace]) -> String {
    let places: Vec<_> = places.iter().map(ControlPlace::to_string).collect();
    places.join(", ")
}

async fn reach(
    control: &TorControl,
    place: &ControlPlace,
    target: Option<u16>,
) -> Result<(Connection, Outcome), TorFailure> {
    let reached = async {
        let mut connection = Connection::open(place).await?;
        let outcome = connection.converse(control.password(), target).await?;
        Ok((connection, outcome))
    };
    let reached = timeout(LIMIT, reached).await;
    reached
        .unwrap_or(Err(TorFault::TimedOut))
        .map_err(|fault| TorFailure {
            place: place.to_string(),
            fault,
        })
}

/// A control connection.
struct Connection {
    stream: Box<dyn Stream>,
    replies: Replies,
    /// What was read behind the last reply.
    rest: Vec<u8>,
    /// The cookie file that was read.
    cookie: Option<PathBuf>,
}

impl Connection {
    async fn open(place: &ControlPlace) -> Result<Self, TorFault> {
        let tcp = |at: SocketAddr| async move {
            let stream = TcpStream::connect(at).await?;
            // Each line waits for an answer.
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(Box::new(stream) as Box<dyn Stream>)
        };
        let stream = match place {
            ControlPlace::Port(at) => tcp(*at).await,
            ControlPlace::Localhost(port) => match tcp((Ipv4Addr::LOCALHOST, *port).into()).await {
                Ok(stream) => Ok(stream),
                Err(error) => tcp((Ipv6Addr::LOCALHOST, *port).into())
                    .await
                    .map_err(|_| error),
            },
            ControlPlace::Socket(path) => local_socket::connect(path)
                .await
                .map(|stream| Box::new(stream) as Box<dyn Stream>),
        };
        Ok(Self {
            stream: stream.map_err(TorFault::Connect)?,
            replies: Replies::default(),
            rest: Vec::new(),
            cookie: None,
        })
    }

    async fn converse(
        &mut self,
        password: Option<&[u8]>,
        target: Option<u16>,
    ) -> Result<Outcome, TorFault> {
        let mut nonce = [0; 32];
        UnwrapErr(SysRng).fill_bytes(&mut nonce);
        let (mut exchange, hello) = Exchange::start(password, nonce, target);
        self.send(&hello).await?;
        loop {
            let reply = self.reply().await?;
            let mut step = exchange.take(&reply)?;
            if let Step::ReadCookie(path) = step {
                step = exchange.cookie(read_cookie(&path)?);
                self.cookie = Some(path.into());
            }
            match step {
                Step::Send(line) => self.send(&line).await?,
                // It is asked for once.
                Step::ReadCookie(_) => return Err(TorError::NotTor.into()),
                Step::Over(outcome) => return Ok(outcome),
            }
        }
    }

    async fn send(&mut self, line: &[u8]) -> Result<(), TorFault> {
        let sent = self.stream.write_all(line).await;
        sent.map_err(|_| TorFault::Closed)
    }

    async fn reply(&mut self) -> Result<Reply, TorFault> {
        loop {
            let mut bytes = &self.rest[..];
            let reply = self.replies.take(&mut bytes)?;
            self.rest = bytes.to_vec();
            if let Some(reply) = reply {
                return Ok(reply);
            }
            let mut read = [0; READ];
            match self.stream.read(&mut read).await {
                Ok(0) | Err(_) => return Err(TorFault::Closed),
                Ok(count) => self.rest.extend_from_slice(&read[..count]),
            }
        }
    }
}

/// Reads a file of exactly 32 bytes into locked memory.
fn read_cookie(path: &str) -> Result<Secret<COOKIE>, TorFault> {
    let failed = |error| TorFault::Cookie(path.to_owned(), error);
    if !Path::new(path).is_absolute() {
        return Err(TorError::CookiePath.into());
    }
    let opened = file::open_itself(Path::new(path), File::options().read(true));
    let mut file = opened.map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() || meta.len() != COOKIE as u64 {
        return Err(TorFault::CookieLength(path.to_owned()));
    }
    let mut read = Ok(());
    let cookie = Secret::fill_with(|bytes| read = file.read_exact(bytes));
    match read.and_then(|()| file.read(&mut [0])) {
        Ok(0) => Ok(cookie),
        Ok(_) => Err(TorFault::CookieLength(path.to_owned())),
        Err(error) => Err(failed(error)),
    }
}

impl Service {
    /// Its name.
    pub fn id(&self) -> &OnionId {
        &self.id
    }

    /// Waits until tor ends the service by closing the connection. Nothing was asked, so what sends
    /// something is not tor.
    pub async fn ended(&mut self) {
        let _ = self.connection.stream.read(&mut [0]).await;
    }

    /// Ends the service.
    pub async fn withdraw(mut self) {
        let withdrawn = async {
            self.connection.send(&withdrawal(&self.id)).await?;
            self.connection.reply().await
        };
        // Without an answer, the end of the connection ends the service.
        let _ = timeout(WITHDRAWAL, withdrawn).await;
    }
}
