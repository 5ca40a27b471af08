//! A whole node without its sockets: it routes between the state machines of this layer.
//!
//! Each file here has the routes of one kind of input: commands, requests that keep their order,
//! connections up to their handshake, links, frames, local networks, partings, and the end of the run.

mod circuits;
mod commands;
mod connection;
mod ending;
mod frames;
mod lan;
mod links;
mod offer;
mod parting;
mod report;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_core::CryptoRng;

use super::action::{Action, CloseCause};
use super::admission::{Admission, Class, WaysIn};
use super::circuits::CircuitTable;
use super::command::Request;
use super::conn::Credentials;
use super::conn_id::ConnId;
use super::connections::Connections;
use super::delivery::Delivery;
use super::dialing::Dialing;
use super::entrance::Entrance;
use super::event::Event;
use super::lan::Lan;
use super::lifecycle::Lifecycle;
use super::outcome::{ByeReason, Outcome};
use super::output::Output;
use super::release::Release;
use super::remote::Remote;
use super::roster::Roster;
use super::settings::Settings;
use super::waits::ReportedWaits;
use crate::proto::schedule::TickGrid;
use crate::proto::{Address, DisplayName, Identity, PeerId};
use crate::secret::Secret;

pub(super) use crate::proto::handshake::Channel;

/// A node: commands, bytes and the time go in; actions, events and the next deadline come out.
///
/// Contract: make one mutation (a command, or a `handle_…`), then call [`Self::poll_action`] and
/// [`Self::poll_event`] until they return nothing, then ask [`Self::poll_timeout`] when to call
/// [`Self::handle_timeout`]. Spurious calls, and calls about an unknown [`ConnId`], do no harm.
pub struct Engine {
    settings: Arc<Settings>,
    credentials: Credentials,
    name: Option<DisplayName>,
    rng: Box<dyn CryptoRng + Send>,
    connections: Connections,
    roster: Roster,
    dialing: Dialing,
    circuits: CircuitTable,
    lan: Lan,
    admission: Admission,
    delivery: Delivery,
    release: Release,
    lifecycle: Lifecycle,
    waits: ReportedWaits,
    output: Output,
}

impl Engine {
    /// A new node. It dials `settings.peers` at the next [`Self::handle_timeout`].
    pub fn new(
        settings: Settings,
        phrase: Secret<32>,
        identity: Identity,
        mut rng: Box<dyn CryptoRng + Send>,
        now: Instant,
    ) -> Self {
        let mut dialing = Dialing::default();
        for address in &settings.peers {
            dialing.want(now, address.clone(), settings.stay.outlasts_peers());
        }
        let settings = Arc::new(settings);
        Self {
            name: settings.name.clone(),
            connections: Connections::new(identity.id(), Arc::clone(&settings), now),
            roster: Roster::new(identity.id(), settings.give_up),
            dialing,
            circuits: CircuitTable::new(identity.id()),
            lan: Lan::default(),
            admission: Admission::new(WaysIn {
                forwarding: settings.forwarded,
                onion: settings.onion,
            }),
            delivery: Delivery::new(Arc::clone(&settings), &mut *rng),
            release: Release::default(),
            lifecycle: Lifecycle::new(Arc::clone(&settings)),
            waits: ReportedWaits::default(),
            output: Output::default(),
            settings,
            credentials: Credentials { phrase, identity },
            rng,
        }
    }

    /// The id of this end.
    pub fn id(&self) -> PeerId {
        self.credentials.identity.id()
    }

    /// Sets the clock grid on which new links place their ticks.
    pub fn set_grid(&mut self, grid: TickGrid) {
        self.connections.set_grid(grid);
    }

    /// Takes a command that overtakes (see [`Command::keeps_order`](super::Command::keeps_order)).
    /// A command that keeps its order is taken as far as it can be now. After the end of the run
    /// every command is dropped.
    pub fn command(&mut self, now: Instant, request: Request) {
        if self.is_over() {
            return;
        }
        if let Some(request) = self.answer(now, request)
            && let Some(request) = self.offer(now, request)
        {
            self.refuse(&request);
        }
        self.settle(now);
    }

    /// The front end has shown a peer's messages up to this `seq`.
    pub fn handle_shown(&mut self, now: Instant, peer: PeerId, seq: u64) {
        self.take_shown(&peer, seq);
        self.settle(now);
    }

    /// No request will be offered any more.
    pub fn end_of_input(&mut self, now: Instant) {
        self.lifecycle.end_of_input(now);
        self.settle(now);
    }

    /// All input has been read; `reason` says why it ended. Input that the engine has not taken by
    /// then is still sent.
    pub fn input_finished(&mut self, now: Instant, reason: ByeReason) {
        self.lifecycle.input_finished(now, reason);
        self.settle(now);
    }

    /// Sends what is outstanding, says goodbye and ends.
    pub fn quit(&mut self, now: Instant, reason: ByeReason) {
        self.lifecycle.drain(now, reason);
        self.settle(now);
    }

    /// Says goodbye without waiting for acknowledgements, and ends.
    pub fn abort(&mut self, now: Instant, reason: ByeReason) {
        self.leave(now, reason);
        self.settle(now);
    }

    /// Sets the process's limit of descriptors, on which the number of strangers' connections
    /// depends. Without this call they get as many as there can be.
    pub fn set_descriptors(&mut self, descriptors: u64) {
        self.admission.fit(descriptors);
    }

    /// A TCP connection was accepted. `None`: drop it. Until the other end has proven that it knows
    /// the phrase, the I/O layer must process nothing that arrives on it, TLS included, before
    /// [`Action::Admit`] answers [`Self::handle_waiting`]. It reports the processor time that this
    /// takes with [`Self::handle_worked`] or [`Self::handle_spent`]. `own_computer` is as in
    /// [`Self::handle_own_computer`].
    pub fn handle_incoming(
        &mut self,
        now: Instant,
        remote: SocketAddr,
        own_computer: bool,
    ) -> Option<ConnId> {
        let entrance = match own_computer {
            true => Entrance::OwnComputer,
            false => Entrance::Elsewhere,
        };
        let conn = self.accept(now, remote, entrance);
        self.settle(now);
        conn
    }

    /// The same for a connection through the onion service, which tor has made from this address.
    pub fn handle_onion_incoming(&mut self, now: Instant, tor: SocketAddr) -> Option<ConnId> {
        let conn = self.accept(now, tor, Entrance::OnionService);
        self.settle(now);
        conn
    }

    /// The address at which others can dial this end is another one from now on, or there is none.
    pub fn handle_advertised(&mut self, now: Instant, address: Option<Address>) {
        if self.is_over() {
            return;
        }
        self.connections.advertise(address.clone());
        if let Some(address) = address {
            self.output.tell(Event::Advertised { address });
        }
        self.settle(now);
    }

    /// A name was resolved to these addresses, best one first.
    pub fn handle_looked_up(&mut self, now: Instant, conn: ConnId, numbers: &[IpAddr]) {
        self.looked_up(now, conn, numbers);
        self.settle(now);
    }

    /// The other end of a connection is at an address of this computer that is not loopback. To be
    /// called before [`Self::handle_connected`].
    pub fn handle_own_computer(&mut self, conn: ConnId) {
        self.connections.note_own_computer(conn);
    }

    /// An accepted connection has received something that waits to be processed.
    pub fn handle_waiting(&mut self, now: Instant, conn: ConnId) {
        self.admission.ask_turn(conn);
        self.settle(now);
    }

    /// What was admitted once has been processed, and took this much processor time.
    pub fn handle_worked(&mut self, now: Instant, conn: ConnId, spent: Duration) {
        self.admission.turn_over(now, conn, spent);
        self.settle(now);
    }

    /// Which share pays for work on a connection that has not proven that it knows the phrase.
    pub fn payer(&self, conn: ConnId) -> Option<Class> {
        self.admission.class_of(conn)
    }

    /// Work on a connection, other than what was admitted, took this much processor time. The
    /// caller asked [`Self::payer`] beforehand which share pays.
    pub fn handle_spent(&mut self, now: Instant, payer: Class, spent: Duration) {
        self.admission.spent(now, payer, spent);
    }

    /// A connection waits to be accepted, and the system has no descriptor left.
    pub fn handle_exhausted(&mut self, now: Instant) {
        self.make_room(now);
        self.settle(now);
    }

    /// TLS is up on a dialled or accepted connection.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        conn: ConnId,
        remote: impl Into<Remote>,
        channel: Channel,
    ) {
        self.connected(now, conn, Some(remote.into()), channel);
        self.settle(now);
    }

    /// TLS is up on a connection over a circuit.
    pub fn handle_circuit_connected(&mut self, now: Instant, conn: ConnId, channel: Channel) {
        self.connected(now, conn, None, channel);
        self.settle(now);
    }

    /// TLS wants to send these bytes on a connection over a circuit. The engine reports to itself
    /// when they have left: [`Self::handle_sent`] is not for such connections.
    pub fn handle_records(&mut self, now: Instant, conn: ConnId, bytes: Vec<u8>) {
        self.take_records(conn, &bytes);
        self.settle(now);
    }

    /// The other end sent these bytes.
    pub fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.received(now, conn, bytes);
        self.settle(now);
    }

    /// Everything transmitted on this connection has left. `lateness` is by how much the last paced
    /// cell missed its moment. For a connection with ticks ([`Self::tick_interval`]) this call is
    /// needed only when [`Self::in_doubt`] names it.
    pub fn handle_sent(&mut self, now: Instant, conn: ConnId, lateness: Duration) {
        self.sent(conn, lateness);
        self.settle(now);
    }

    /// The connection has ended, or could not be made.
    pub fn handle_closed(&mut self, now: Instant, conn: ConnId, cause: CloseCause) {
        self.closed(now, conn, cause);
        self.settle(now);
    }

    /// The time between the cells of a connection that has a schedule.
    pub fn tick_interval(&self, conn: ConnId) -> Option<Duration> {
        self.connections.link(conn)?.interval()
    }

    /// The connections whose tick [`Self::handle_timeout`] will skip unless [`Self::handle_sent`]
    /// reports first that their last cell has left.
    pub fn in_doubt(&self, now: Instant) -> impl Iterator<Item = ConnId> {
        self.connections.in_doubt(now)
    }

    /// Time has passed. Ask [`Self::in_doubt`] first.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.expire(now);
        self.connections.skip_due(now);
        self.settle(now);
    }

    /// The end of every mutation: starts dials, gives strangers their turns, releases messages,
    /// seals due cells, and updates deadlines.
    fn settle(&mut self, now: Instant) {
        self.admit_pending(now);
        self.dial(now);
        self.end_circuits(now);
        self.ask_for_circuits(now);
        self.tell_local_addresses();
        self.roster.tell_names(now, &mut self.output);
        self.release(now);
        self.seal_due(now);
        self.output.tell_refusals(now);
        self.tell_addressees();
        self.go_on_ending(now);
        self.end_circuits(now);
        self.tell_audience(now);
        self.tell_waits(now);
        self.connections.keep_deadlines(now, &mut self.roster);
    }

    /// When [`Self::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let dials = !self.lifecycle.is_leaving() && !self.is_backlogged();
        let dialing = dials.then(|| self.dialing.deadline(&self.roster));
        let away = self.roster.away_deadline(self.settings.away);
        let names = self.roster.name_deadline();
        let deadlines = [
            self.connections.deadline(),
            self.roster.stall_deadline(),
            away.filter(|_| !self.lifecycle.is_ending()),
            self.roster.loss_deadline(),
            names.filter(|_| !self.is_backlogged()),
            dialing.flatten(),
            self.circuits.deadline(now).filter(|_| dials),
            self.lifecycle.last_goodbye(),
            self.admission.deadline(now),
            self.delivery.deadline(),
            self.output.deadline(),
            self.lifecycle.deadline(self.delivery.waits()),
            self.alone_deadline(),
            self.waits_deadline(now),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// The next action for the I/O layer.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.output.poll_action()
    }

    /// The next event. If the caller stops asking, the engine releases messages only up to a fixed
    /// budget and accepts none. The last event is [`Event::Bye`]; see [`Self::has_more`].
    pub fn poll_event(&mut self) -> Option<Event> {
        self.output.poll_event().or_else(|| self.last_word())
    }

    /// How the run ended, once [`Self::poll_event`] has returned the last event.
    pub fn outcome(&self) -> Option<&Outcome> {
        self.lifecycle.outcome()
    }

    /// Whether there is an event before the last one. After the end of the run, messages can still
    /// be offered, to be refused and counted; [`Event::Bye`] is made only when asked for.
    pub fn has_more(&self) -> bool {
        self.output.has_events()
    }

    /// Whether the front end has too many events ahead of it, so that input which causes more
    /// should wait.
    pub fn is_backlogged(&self) -> bool {
        self.output.is_backlogged()
    }

    /// Whether the run is over.
    pub fn is_over(&self) -> bool {
        self.lifecycle.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    const STEPS: u64 = 50;

    fn engine(now: Instant) -> Engine {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let phrase = Secret::fill_with(|bytes: &mut [u8; 32]| bytes.fill(1));
        let identity = Identity::generate(&mut rng);
        Engine::new(Settings::default(), phrase, identity, Box::new(rng), now)
    }

    #[test]
    fn step_of_one_connection_looks_at_no_other() {
        let now = Instant::now();
        let mut engine = engine(now);
        let conns: Vec<_> = (0..100)
            .filter_map(|n| engine.handle_incoming(now, ([10, n, 0, 1], 9000).into(), false))
            .collect();
        assert_eq!(conns.len(), 100);
        let before = engine.connections.looks;
        for _ in 0..STEPS {
            engine.handle_bytes(now, conns[7], &[0]);
            engine.handle_timeout(now);
            assert!(engine.poll_timeout(now).is_some());
        }
        assert_eq!(engine.connections.looks - before, STEPS);
    }

    #[test]
    fn step_about_one_peer_looks_at_no_other() {
        let now = Instant::now();
        let mut engine = engine(now);
        for byte in 1..=200 {
            let peer = engine.roster.entry(now, PeerId([byte; 32]));
            peer.into_iter().for_each(|peer| peer.miss(now));
        }
        engine.handle_timeout(now);
        let before = engine.roster.looks();
        for _ in 0..STEPS {
            engine.handle_shown(now, PeerId([7; 32]), 1);
            engine.handle_timeout(now);
            assert!(engine.poll_timeout(now).is_some());
        }
        assert_eq!(engine.roster.looks() - before, STEPS);
    }
}
