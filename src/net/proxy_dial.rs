//! Dials that a proxy makes (`--proxy`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use getrandom::SysRng;
use rand_core::UnwrapErr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial_error::{DialError, LIMIT};
use crate::proto::socks::{Negotiation, SocksError};
use crate::proto::{Address, Credentials, Proxy};

/// How long a dial may take, in all.
const PROXIED_LIMIT: Duration = Duration::from_secs(60);

/// Has a proxy make connections.
#[derive(Clone)]
pub struct ProxyDialer(Arc<Proxy>);

impl ProxyDialer {
    /// Dials through this proxy, and only through it.
    pub fn new(proxy: Arc<Proxy>) -> Self {
        Self(proxy)
    }

    /// A connection to this address. The proxy resolves its name. If the user has no credentials,
    /// each dial has new ones, which a proxy that takes any uses to keep connections apart.
    ///
    /// # Errors
    /// See [`DialError`].
    pub async fn connect(&self, address: &Address) -> Result<TcpStream, DialError> {
        let connected = timeout(PROXIED_LIMIT, self.negotiate(address)).await;
        connected.unwrap_or(Err(DialError::TimedOut(PROXIED_LIMIT)))
    }

    async fn negotiate(&self, address: &Address) -> Result<TcpStream, DialError> {
        if let Some(given) = self.0.credentials() {
            return self.attempt(address, Some(given)).await;
        }
        let fresh = Credentials::random(&mut UnwrapErr(SysRng));
        match self.attempt(address, Some(&fresh)).await {
            // It knows its users, and might let others in too.
            Err(DialError::Socks(SocksError::LoginRefused | SocksError::WantsOther)) => {
                self.attempt(address, None).await
            }
            result => result,
        }
    }

    async fn attempt(
        &self,
        address: &Address,
        credentials: Option<&Credentials>,
    ) -> Result<TcpStream, DialError> {
        let (mut socks, hello) = Negotiation::start(address, credentials)?;
        let mut stream = self.reach().await?;
        stream
            .write_all(&hello)
            .await
            .map_err(|_| DialError::ProxyLeft)?;
        let mut answer = [0; 512];
        loop {
            let answer = match socks.wants() {
                0 => return Ok(stream),
                length => &mut answer[..length],
            };
            stream
                .read_exact(answer)
                .await
                .map_err(|_| DialError::ProxyLeft)?;
            let next = socks.take(answer)?;
            stream
                .write_all(&next)
                .await
                .map_err(|_| DialError::ProxyLeft)?;
        }
    }

    /// A connection to the proxy itself.
    async fn reach(&self) -> Result<TcpStream, DialError> {
        let mut first = None;
        for server in self.0.servers() {
            let connected = timeout(LIMIT, TcpStream::connect(server)).await;
            let error = match connected {
                Ok(Ok(stream)) => {
                    // The messages of the negotiation are small, and each waits for an answer.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => error.into(),
                Err(_) => DialError::TimedOut(LIMIT),
            };
            first.get_or_insert(error);
        }
        let error =
            first.unwrap_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable).into());
        Err(DialError::NoProxy(self.0.to_string(), Box::new(error)))
    }
}
