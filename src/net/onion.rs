//! The onion service of a run, from its start to its end.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::clock;
use super::listen::{self, BindError};
use super::tor_control::{self, Service};
use super::tor_error::{LIMIT, TorFailure, TorFault};
use crate::proto::Address;
use crate::proto::tor::TorControl;

/// The first and the longest pause before another attempt. A service that lasted longer than this
/// counts as a success, after which the pauses begin anew.
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
const SUCCESS: Duration = Duration::from_secs(60);

/// What creates the service, and creates another one when tor has ended it.
pub struct Publisher {
    control: Arc<TorControl>,
    /// The SOCKS port through which this run dials.
    socks: Vec<SocketAddr>,
    /// The port of the listener to which the service leads.
    target: u16,
}

/// The listener of a run's onion service. Only tor, and other programs on this computer, reach it.
///
/// # Errors
/// See [`BindError`].
pub fn listen() -> Result<(TcpListener, u16), BindError> {
    let at = (Ipv4Addr::LOCALHOST, 0).into();
    let listener = listen::one(at)?;
    let addr = listener.local_addr();
    let port = addr.map_err(|error| BindError::System(0, error))?.port();
    Ok((listener, port))
}

impl Publisher {
    /// A publisher for this run's listener at `target`, which dials through one of the addresses
    /// `socks` of this tor.
    pub fn new(control: Arc<TorControl>, socks: Vec<SocketAddr>, target: u16) -> Self {
        Self {
            control,
            socks,
            target,
        }
    }

    /// Creates a service within this time; to be called within a runtime.
    ///
    /// # Errors
    /// See [`TorFailure`].
    pub async fn publish(&self, limit: Duration) -> Result<Service, TorFailure> {
        let place = || {
            let places = self.control.places();
            let places: Vec<_> = places.iter().map(ToString::to_string).collect();
            places.join(", ")
        };
        let published = timeout(limit, tor_control::publish(&self.control, self.target)).await;
        let service = published.unwrap_or_else(|_| {
            Err(TorFailure {
                place: place(),
                fault: TorFault::TimedOut,
            })
        })?;
        if self.socks.contains(&service.socks) {
            return Ok(service);
        }
        service.withdraw().await;
        Err(TorFailure {
            place: place(),
            fault: TorFault::OtherSocks,
        })
    }

    /// Keeps a service: whenever tor ends it, creates another one, and sends its address. Without a
    /// service, begins by creating one. Lines for the user go to `notices`.
    pub fn keep(
        self,
        service: Option<Service>,
        notices: mpsc::UnboundedSender<(u8, String)>,
        addresses: mpsc::UnboundedSender<Option<Address>>,
    ) -> KeptService {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut service = service;
            let mut pause = PAUSE;
            loop {
                let mut kept = match service.take() {
                    Some(service) => service,
                    None => tokio::select! {
                        biased;
                        _ = &mut stopped => return,
                        service = self.republish(&mut pause, &notices) => {
                            let _ = addresses.send(Some(service.id().address()));
                            service
                        }
                    },
                };
                let since = clock::now();
                tokio::select! {
                    biased;
                    _ = &mut stopped => return kept.withdraw().await,
                    () = kept.ended() => {}
                }
                if clock::now().saturating_duration_since(since) > SUCCESS {
                    pause = PAUSE;
                }
                let _ = addresses.send(None);
                let line = "tor has ended the onion service: trying to create another one";
                let _ = notices.send((0, line.into()));
            }
        });
        KeptService { stop, task }
    }

    /// Tries until there is a service, each time after a longer pause. The same failure is reported
    /// once.
    async fn republish(
        &self,
        pause: &mut Duration,
        notices: &mpsc::UnboundedSender<(u8, String)>,
    ) -> Service {
        let mut last = String::new();
        loop {
            sleep(*pause).await;
            *pause = (*pause * 2).min(LONGEST_PAUSE);
            match self.publish(LIMIT).await {
                Ok(service) => return service,
                Err(failure) => {
                    let line = failure.to_string();
                    if line != last {
                        let _ = notices.send((0, line.clone()));
                        last = line;
                    }
                }
            }
        }
    }
}

/// A service that is being kept.
pub struct KeptService {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl KeptService {
    /// Ends it. Tor is waited for, but not for long.
    pub async fn withdraw(self) {
        // Its receiver is gone only if the task has ended.
        let _ = self.stop.send(());
        let _ = self.task.await;
    }
}
