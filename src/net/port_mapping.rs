//! The port that a router forwards to this computer, from the start of a run to its end.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::clock;
use super::refusal::LEASE as LEASE_SECONDS;
use super::router::{self, Held, Mapping, Wanted};
use crate::mesh::Scope;
use crate::proto::Address;
use crate::sys::network::{self, DefaultRoute};

/// A mapping is renewed after half of its time, but not more often than this, whatever the router
/// grants, and not more seldom than this.
const RENEWAL: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(300)];

/// The first and the longest pause before a router that refused is asked again.
const PAUSE: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(600)];

/// For how long a router forwards a port that it granted to an earlier image of this process.
const LEASE: Duration = Duration::from_secs(LEASE_SECONDS as u64);

/// How long the end of a run waits for the router.
const END: Duration = Duration::from_secs(2);

/// The line about a computer that has no router.
const NO_ROUTER: &str = "--map: this computer has no router to ask (no default route by IPv4)";

/// The line about a router that did not take a mapping back.
const NOT_WITHDRAWN: &str = "the router has not confirmed that it no longer forwards the port; it \
     forgets it within 10 minutes, if it keeps to what it granted";

/// What the image that follows a panic has to know, to go on with the same mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What tells a PCP router that it is the same one who asks again.
    pub nonce: [u32; 3],
    /// The mapping, unless there is none.
    pub held: Option<Held>,
}

/// Keeps the port on which the run listens forwarded, with what an earlier image has `kept`. Sends the
/// address at which others reach it, or `None` when there is none any more, unless the user has given
/// another one. Lines for the user go to `notices`. To be called within a runtime.
pub fn keep(
    port: NonZeroU16,
    kept: Kept,
    notices: mpsc::UnboundedSender<(u8, String)>,
    addresses: Option<mpsc::UnboundedSender<Option<Address>>>,
) -> KeptMapping {
    let (stop, stopped) = oneshot::channel();
    let Kept { nonce, held } = kept;
    let (state, held) = watch::channel(held);
    let keeper = Keeper {
        wanted: Wanted { port, nonce },
        state,
        notices,
        addresses,
        said: String::new(),
        advertised: None,
    };
    let task = tokio::spawn(keeper.run(stopped));
    KeptMapping {
        stop,
        task,
        nonce,
        held,
    }
}

struct Keeper {
    wanted: Wanted,
    /// The mapping, as the image that follows a panic would need it.
    state: watch::Sender<Option<Held>>,
    notices: mpsc::UnboundedSender<(u8, String)>,
    addresses: Option<mpsc::UnboundedSender<Option<Address>>>,
    /// The last line for the user.
    said: String,
    advertised: Option<Address>,
}

impl Keeper {
    /// Returns a line for the user if the router did not take the mapping back.
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) -> Option<&'static str> {
        let mut pause = PAUSE[0];
        // What an earlier image held is still there.
        let mut until = self.state.borrow().map(|_| clock::now() + LEASE);
        loop {
            let wait = match network::default_route() {
                None => {
                    self.lost(NO_ROUTER.into(), &mut until);
                    next(&mut pause)
                }
                Some(route) => {
                    let held = self.about_to_ask(route);
                    let mut asking = pin!(router::forward(route, self.wanted, held));
                    let asked = tokio::select! {
                        biased;
                        asked = &mut asking => asked,
                        _ = &mut stopped => {
                            // It may be about to be granted.
                            if let Ok(Ok(mapping)) = timeout(END, asking).await {
                                self.state.send_replace(Some(mapping.held));
                                until = Some(clock::now() + mapping.lease);
                            }
                            break;
                        }
                    };
                    match asked {
                        Ok(mapping) => {
                            pause = PAUSE[0];
                            until = Some(clock::now() + mapping.lease);
                            self.granted(mapping);
                            (mapping.lease / 2).clamp(RENEWAL[0], RENEWAL[1])
                        }
                        Err(refused) => {
                            self.lost(refused.to_string(), &mut until);
                            next(&mut pause)
                        }
                    }
                }
            };
            tokio::select! {
                biased;
                _ = &mut stopped => break,
                () = sleep(wait) => {}
            }
        }
        let held = *self.state.borrow();
        match (held, network::default_route()) {
            (Some(held), Some(route)) if held.gateway == route.gateway && until.is_some() => {
                self.withdraw(route, held).await
            }
            _ => None,
        }
    }

    /// Notes what a panic from here on hands over: the router may grant what the panic does not wait
    /// for. Returns what is held by now.
    fn about_to_ask(&mut self, route: DefaultRoute) -> Option<Held> {
        let held = *self.state.borrow();
        let held = held.filter(|held| held.gateway == route.gateway);
        self.state.send_replace(Some(held.unwrap_or(Held {
            protocol: router::Protocol::Pcp,
            gateway: route.gateway,
            outside_port: self.wanted.port,
        })));
        held
    }

    fn granted(&mut self, mapping: Mapping) {
        self.state.send_replace(Some(mapping.held));
        let Held {
            protocol,
            outside_port,
            ..
        } = mapping.held;
        let outside = SocketAddr::from((mapping.outside, outside_port.get()));
        match Scope::of(mapping.outside.into()) {
            Scope::Public => {
                self.say(format!(
                    "the router forwards {outside} to this computer (by {protocol})"
                ));
                let outside = Address::from_ip(outside.ip(), outside.port());
                self.advertise(Some(outside));
            }
            _ => {
                self.say(format!(
                    "the router forwards port {outside_port} to this computer (by {protocol}), but its own \
                     address, {}, is not public: others cannot dial you (carrier-grade NAT, or two \
                     routers in a row)",
                    mapping.outside
                ));
                self.advertise(None);
            }
        }
    }

    /// The router has not confirmed the mapping. What it confirmed before lasts until its end.
    fn lost(&mut self, why: String, until: &mut Option<Instant>) {
        self.say(why);
        if until.is_none_or(|end| end <= clock::now()) {
            *until = None;
            self.advertise(None);
        }
    }

    fn advertise(&mut self, address: Option<Address>) {
        if address != self.advertised {
            self.advertised.clone_from(&address);
            if let Some(addresses) = &self.addresses {
                let _ = addresses.send(address);
            }
        }
    }

    /// Reports a line, unless it is the same as the last one.
    fn say(&mut self, line: String) {
        if line != self.said {
            let _ = self.notices.send((0, line.clone()));
            self.said = line;
        }
    }

    async fn withdraw(&self, route: DefaultRoute, held: Held) -> Option<&'static str> {
        let withdrawn = timeout(END, router::withdraw(route, self.wanted, held)).await;
        (!matches!(withdrawn, Ok(Ok(())))).then_some(NOT_WITHDRAWN)
    }
}

fn next(pause: &mut Duration) -> Duration {
    let now = *pause;
    *pause = (now * 2).min(PAUSE[1]);
    now
}

/// A port that is being kept forwarded.
pub struct KeptMapping {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Option<&'static str>>,
    nonce: [u32; 3],
    held: watch::Receiver<Option<Held>>,
}

impl KeptMapping {
    /// What the image that follows a panic needs.
    pub fn kept(&self) -> Kept {
        Kept {
            nonce: self.nonce,
            held: *self.held.borrow(),
        }
    }

    /// Has the router end the mapping. It is waited for, but not for long. Returns a line for the user
    /// if it did not confirm that.
    pub async fn withdraw(self) -> Option<&'static str> {
        // Its receiver is gone only if the task has ended.
        let _ = self.stop.send(());
        self.task.await.ok().flatten()
    }
}
