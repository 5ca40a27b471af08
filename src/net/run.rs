//! The one task that owns the engine.
//!
//! It waits for the next input (a command, bytes from a driver, a connection, the clock), hands it
//! to the engine, and then carries out the engine's actions and passes on its events. It waits for
//! nothing else: the engine bounds the orders that a driver can have, and keeps events while the
//! front end has no room for them. A turn takes a bounded amount of each kind of input, so that
//! none starves another, and ends early when the engine's deadline comes: cells are sealed in time
//! whatever else there is to do. A panic goes ahead of everything.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};

use super::clock::Alarm;
use super::dial::Connector;
use super::driver::{ConnectionStart, Order};
use super::drivers::Drivers;
use super::intake::Intake;
use super::lan::Heard;
use super::listen::Incoming;
use super::pacer::{Pacer, ScheduledCell};
use super::report::{Report, Reporter, Sent, Worked};
use super::tls_channel::TlsChannel;
use super::{clock, listen, socket};
use crate::channels::{Control, EngineChannels, PanicRequest, Shown};
use crate::mesh::{Action, ByeReason, ConnId, Engine, Event, Payer, Remote, Request};
use crate::proto::schedule::TickGrid;
use crate::proto::{Address, DisplayName, Proxy};
use crate::sys::limits;

/// The most events in one batch to the front end.
const EVENTS: usize = 512;

/// How many reports from drivers wait for this task.
const REPORTS: usize = 64;

/// How many accepted connections wait for this task.
const INCOMING: usize = 16;

/// How many ordered requests are taken together, and how often in a turn.
const TOGETHER: usize = 64;
const REQUESTS: usize = 4;

/// How many pieces of any other kind of input are taken in a turn.
const TURN: usize = 16;

/// By how much the wall clock has to be set before new links follow it.
const ASTRAY: Duration = Duration::from_millis(1);

/// How the run ended. What was lost is in the counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The front end was given [`Event::Bye`].
    Bye,
    /// The user asked for a panic: everything has to be forgotten now.
    Panic(PanicRequest),
    /// A second signal: stop waiting. What is owed counts as undelivered.
    Killed,
}

/// What the task needs.
pub struct Run {
    /// The engine of this node.
    pub engine: Engine,
    /// The engine's side of the front end's channels.
    pub channels: EngineChannels,
    /// What makes all dials, if not this computer.
    pub proxy: Option<Arc<Proxy>>,
    /// The listening sockets.
    pub listeners: Vec<TcpListener>,
    /// The socket to which the onion service leads, if there is one.
    pub onion_listener: Option<TcpListener>,
    /// New addresses at which others reach this end: of the onion service, or of the router.
    pub addresses: mpsc::UnboundedReceiver<Option<Address>>,
    /// What is heard in the local network.
    pub heard: mpsc::Receiver<Heard>,
    /// How long the other end's kernel may acknowledge nothing.
    pub inactivity: Duration,
    /// The numbers of signals that ask for the end.
    pub interrupts: mpsc::UnboundedReceiver<i32>,
    /// Lines for the user, each with the verbosity from which it is shown.
    pub notices: mpsc::UnboundedReceiver<(u8, String)>,
    /// Where a new display name goes to be saved.
    pub names: watch::Sender<Option<DisplayName>>,
}

impl Run {
    /// Runs until the end; to be called within a runtime. Gives back the channels: a front end that
    /// found them closed would say that the run has failed.
    ///
    /// # Errors
    /// The system's, if a listening socket cannot be used.
    pub async fn run(self) -> io::Result<(Ended, EngineChannels)> {
        let pacer = Pacer::start()?;
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let (sent_in, sent) = mpsc::unbounded_channel();
        let (worked_in, worked) = mpsc::unbounded_channel();
        let (incoming_in, incoming) = mpsc::channel(INCOMING);
        for listener in self.listeners {
            listen::spawn(listener, Incoming::Accepted, incoming_in.clone())?;
        }
        if let Some(listener) = self.onion_listener {
            listen::spawn(listener, Incoming::ThroughOnion, incoming_in.clone())?;
        }
        let reporter = Reporter {
            reports: reports_in,
            sent: sent_in,
            worked: worked_in,
        };
        let mut task = Task {
            engine: self.engine,
            channels: self.channels,
            intake: Intake::default(),
            drivers: Drivers::new(Connector::new(self.proxy), self.inactivity, reporter),
            interrupts: self.interrupts,
            notices: self.notices,
            addresses: self.addresses,
            heard: self.heard,
            names: self.names,
            reports,
            sent,
            worked,
            incoming,
            _listening: incoming_in,
            pacer,
            grid: clock::grid(),
            alarm: Alarm::silent(),
            due: None,
            more: false,
            signalled: false,
            events: Vec::new(),
            deaf: false,
        };
        task.engine.set_grid(task.grid);
        if let Some(descriptors) = limits::descriptors() {
            task.engine.set_descriptors(descriptors);
        }
        let ended = task.run().await;
        Ok((ended, task.channels))
    }
}

/// Beyond every deadline that an engine can have when it ends.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

struct Task {
    engine: Engine,
    channels: EngineChannels,
    intake: Intake,
    drivers: Drivers,
    interrupts: mpsc::UnboundedReceiver<i32>,
    notices: mpsc::UnboundedReceiver<(u8, String)>,
    addresses: mpsc::UnboundedReceiver<Option<Address>>,
    heard: mpsc::Receiver<Heard>,
    names: watch::Sender<Option<DisplayName>>,
    reports: mpsc::Receiver<(ConnId, Report)>,
    sent: mpsc::UnboundedReceiver<Sent>,
    worked: mpsc::UnboundedReceiver<Worked>,
    incoming: mpsc::Receiver<Incoming>,
    /// Keeps the channel open when there is no listener.
    _listening: mpsc::Sender<Incoming>,
    pacer: Pacer,
    grid: TickGrid,
    alarm: Alarm,
    /// When a turn has to end.
    due: Option<Instant>,
    /// The last turn ended before its input was used up.
    more: bool,
    signalled: bool,
    /// Events collected for the front end.
    events: Vec<Event>,
    /// The front end takes no more events.
    deaf: bool,
}

impl Task {
    async fn run(&mut self) -> Ended {
        self.settle();
        loop {
            self.hand_over();
            if self.events.is_empty() && self.engine.outcome().is_some() {
                return Ended::Bye;
            }
            if self.more && self.channels.control.is_empty() && self.interrupts.is_empty() {
                // Lets the runtime do its other work if it shares the thread.
                tokio::task::consume_budget().await;
            } else {
                if let Some(ended) = self.wait().await {
                    return ended;
                }
            }
            self.turn();
        }
    }

    /// Waits for the first input, most urgent kind first, and handles it.
    async fn wait(&mut self) -> Option<Ended> {
        let time = self.engine.poll_timeout(clock::now());
        let hungry = self.intake.is_hungry();
        let full = !self.events.is_empty();
        let urgent = self.intake.has_room();
        let channels = &mut self.channels;
        tokio::select! {
            biased;
            Some(control) = channels.control.recv() => return self.control(control),
            Some(signal) = self.interrupts.recv() => return self.interrupt(signal),
            () = self.alarm.until(time) => {}
            Some(urgent) = channels.urgent.recv(), if urgent => self.urgent(urgent.item),
            Some(sent) = self.sent.recv() => self.sent(sent),
            Some(shown) = channels.shown.recv() => self.shown(shown),
            // Before reports, so that work is paid for before the next turn is requested.
            Some(worked) = self.worked.recv() => self.worked(worked),
            Some((conn, report)) = self.reports.recv() => {
                // Cells that arrive on many links at one moment are taken in one turn.
                tokio::task::yield_now().await;
                self.report(conn, report);
            }
            Some(incoming) = self.incoming.recv() => self.incoming(incoming),
            Some(batch) = channels.ordered.recv(), if hungry => self.intake.begin(batch),
            Some((level, text)) = self.notices.recv() => {
                self.events.push(Event::Notice { level, text });
            }
            Some(address) = self.addresses.recv() => {
                self.engine.handle_advertised(clock::now(), address);
            }
            Some(heard) = self.heard.recv() => self.hear(heard),
            () = has_room(&channels.events), if full => {}
        }
        self.settle();
        None
    }

    fn hear(&mut self, heard: Heard) {
        let now = clock::now();
        match heard {
            Heard::Networks(networks, gateways) => {
                self.engine.handle_networks(now, networks, gateways);
            }
            Heard::Beacon(from, interface) => self.engine.handle_beacon(now, from, interface),
        }
    }

    /// Takes some of each kind of input that is there, without waiting.
    fn turn(&mut self) {
        self.more = false;
        let now = clock::now();
        self.due = self.engine.poll_timeout(now);
        if self.due.is_some_and(|at| at <= now) {
            self.ask_whether_sent(now);
            self.engine.handle_timeout(now);
            self.settle();
            // A deadline that has passed already gains nothing from an early end.
            self.due = self.engine.poll_timeout(now).filter(|at| *at > now);
        }
        self.several(TURN, |task| {
            if !task.engine.is_backlogged()
                && let Some(request) = task.intake.release()
            {
                task.engine.command(clock::now(), request);
            } else {
                let room = task.intake.has_room();
                let urgent = room.then(|| task.channels.urgent.try_recv().ok())??;
                task.urgent(urgent.item);
            }
            Some(())
        });
        self.several(REPORTS, |task| {
            let sent = task.sent.try_recv().ok()?;
            task.sent(sent);
            Some(())
        });
        self.several(TURN, |task| {
            let shown = task.channels.shown.try_recv().ok()?;
            task.shown(shown);
            Some(())
        });
        self.several(TURN, |task| {
            let worked = task.worked.try_recv().ok()?;
            task.worked(worked);
            Some(())
        });
        self.several(TURN, |task| {
            let (conn, report) = task.reports.try_recv().ok()?;
            task.report(conn, report);
            Some(())
        });
        self.several(TURN, |task| {
            let incoming = task.incoming.try_recv().ok()?;
            task.incoming(incoming);
            Some(())
        });
        self.several(REQUESTS, Self::offer);
        self.end_input();
    }

    /// Repeats a step up to `most` times. Stops when the step finds nothing, when the user asks for
    /// the end or a panic, or when a cell has to be sealed.
    fn several(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> Option<()>) {
        for _ in 0..most {
            if !self.channels.control.is_empty() || !self.interrupts.is_empty() {
                break;
            }
            let done = one(self);
            // Also when the step found nothing: the engine may have sealed a cell meanwhile.
            self.settle();
            if done.is_none() {
                return;
            }
            if self.due.is_some_and(|due| due <= clock::now()) {
                break;
            }
        }
        self.more = true;
    }

    /// Reports to the engine, before it decides about the ticks that are due, whether each link's
    /// last cell has left. Asking now is cheaper than waiting for it since the previous tick.
    fn ask_whether_sent(&mut self, now: Instant) {
        let doubtful: Vec<ConnId> = self.engine.in_doubt(now).collect();
        for conn in doubtful {
            let channel = self.drivers.channel(conn);
            if let Some(lateness) = channel.and_then(|channel| channel.has_left()) {
                self.engine.handle_sent(now, conn, lateness);
            }
        }
    }

    /// Runs an overtaking command. All except valid acknowledgements cause events, so they wait
    /// while the front end does not take what it has.
    fn urgent(&mut self, request: Request) {
        let silent = self.engine.is_silent(&request.command);
        if silent || (!self.intake.holds_any() && !self.engine.is_backlogged()) {
            self.engine.command(clock::now(), request);
        } else {
            self.intake.hold(request);
        }
    }

    fn control(&mut self, control: Control) -> Option<Ended> {
        match control {
            Control::Panic(request) => {
                self.forget();
                return Some(Ended::Panic(request));
            }
            Control::EndOfInput => self.intake.announce_end(),
            Control::AllRead(reason) => self.engine.input_finished(clock::now(), reason),
            Control::OutputClosed => self.give_up(),
        }
        self.settle();
        None
    }

    fn interrupt(&mut self, signal: i32) -> Option<Ended> {
        if self.signalled {
            self.channels.counters.end_by(signal);
            self.end_now(ByeReason::Signal);
            return Some(Ended::Killed);
        }
        self.signalled = true;
        self.channels.counters.phase.ask_end();
        self.channels.counters.end_by(signal);
        // What was read is sent as far as there is room. From the first message that finds none,
        // all are refused, so that no peer gets a later message without an earlier one.
        self.engine.stop_waiting(clock::now());
        while self.offer().is_some() {}
        self.engine.quit(clock::now(), ByeReason::Signal);
        self.settle();
        None
    }

    /// The front end takes no more events: further messages would be lost.
    fn give_up(&mut self) {
        // What was shown before counts.
        while let Ok(shown) = self.channels.shown.try_recv() {
            self.shown(shown);
        }
        self.engine.abort(clock::now(), ByeReason::Quit);
    }

    /// Ends the engine. The fate of messages goes to the front end if that has room.
    fn forget(&mut self) {
        let mut last = self.end_now(ByeReason::Panic);
        last.extend(self.engine.outcome().cloned().map(Event::Bye));
        // A front end that takes nothing is not waited for.
        let _ = self.channels.events.try_send(last);
    }

    /// Ends the engine now. Returns the last events about messages; nothing more is sent to peers.
    fn end_now(&mut self, reason: ByeReason) -> Vec<Event> {
        let now = clock::now();
        self.engine.abort(now, reason);
        self.engine.handle_timeout(now + NEVER);
        let said = std::mem::take(&mut self.events).into_iter();
        let last = said
            .chain(std::iter::from_fn(|| self.engine.poll_event()))
            .filter(Event::tells_of_sent_message)
            .collect();
        self.record_outcome();
        last
    }

    /// Counts how the engine has ended, once it has reported that.
    fn record_outcome(&self) {
        if let Some(outcome) = self.engine.outcome() {
            self.channels.counters.record(outcome);
        }
    }

    fn sent(&mut self, sent: Sent) {
        self.engine
            .handle_sent(clock::now(), sent.conn, sent.lateness);
    }

    fn shown(&mut self, shown: Vec<Shown>) {
        // Each number counts for all before it.
        let last: BTreeMap<_, _> = shown.into_iter().map(|it| (it.peer, it.seq)).collect();
        for (peer, seq) in last {
            self.engine.handle_shown(clock::now(), peer, seq);
        }
    }

    fn report(&mut self, conn: ConnId, report: Report) {
        let now = clock::now();
        match report {
            Report::Connected {
                remote,
                channel,
                tls_channel,
            } => {
                self.drivers.connected(conn, &tls_channel);
                self.resync_wall_clock();
                let direct = matches!(remote, Remote::Direct(_));
                if direct && socket::is_with_own_computer(tls_channel.stream()) {
                    self.engine.handle_own_computer(conn);
                }
                self.engine.handle_connected(now, conn, remote, channel);
            }
            Report::CircuitConnected(channel) => {
                self.resync_wall_clock();
                self.engine.handle_circuit_connected(now, conn, channel);
            }
            Report::Records(bytes) => self.engine.handle_records(now, conn, bytes),
            Report::Waits => self.engine.handle_waiting(now, conn),
            Report::LookedUp(numbers) => self.engine.handle_looked_up(now, conn, &numbers),
            Report::Bytes(bytes) => match self.engine.payer(conn) {
                None => self.engine.handle_bytes(now, conn, &bytes),
                Some(payer) => {
                    let work = || self.engine.handle_bytes(now, conn, &bytes);
                    let ((), spent) = clock::measured(work);
                    self.engine.handle_spent(now, payer, spent);
                }
            },
            Report::Closed(cause) => {
                self.drivers.forget(conn);
                self.engine.handle_closed(now, conn, cause);
            }
        }
    }

    /// Follows the wall clock if that was set. Its small corrections affect the monotonic clock
    /// too.
    fn resync_wall_clock(&mut self) {
        let grid = clock::grid();
        if grid.differs(&self.grid) > ASTRAY {
            self.grid = grid;
            self.engine.set_grid(grid);
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        let now = clock::now();
        match incoming {
            Incoming::Accepted(stream, remote) => {
                let ((), spent) = clock::measured(|| {
                    let own_computer = socket::is_with_own_computer(&stream);
                    let conn = self.engine.handle_incoming(now, remote, own_computer);
                    if let Some(conn) = conn {
                        self.drivers
                            .start(conn, ConnectionStart::Accepted(stream, remote));
                    }
                });
                // Whose connection it is cannot be known before it is accepted.
                self.engine.handle_spent(now, Payer::Common, spent);
            }
            Incoming::ThroughOnion(stream, tor) => {
                let ((), spent) = clock::measured(|| {
                    if let Some(conn) = self.engine.handle_onion_incoming(now, tor) {
                        self.drivers
                            .start(conn, ConnectionStart::Accepted(stream, tor));
                    }
                });
                self.engine.handle_spent(now, Payer::Common, spent);
            }
            Incoming::Exhausted => self.engine.handle_exhausted(now),
        }
    }

    fn worked(&mut self, worked: Worked) {
        let Worked { conn, spent } = worked;
        self.engine.handle_worked(clock::now(), conn, spent);
    }

    /// Offers the engine the next ordered requests; `None` if there are none, or the engine cannot
    /// take one of them.
    fn offer(&mut self) -> Option<()> {
        let (intake, channels) = (&mut self.intake, &mut self.channels);
        let first = intake.next(channels)?;
        let others = std::iter::from_fn(|| intake.next(channels));
        let requests = std::iter::once(first).chain(others).take(TOGETHER);
        let offered = self.engine.offer_several(clock::now(), requests);
        self.channels.counters.count_taken(offered.messages);
        match offered.waits {
            Some(request) => {
                self.intake.put_back(request);
                None
            }
            None => Some(()),
        }
    }

    /// Reports the end of the input to the engine, once it has taken all of it.
    fn end_input(&mut self) {
        if self.intake.take_end(&self.channels) {
            self.engine.end_of_input(clock::now());
            self.settle();
        }
    }

    /// Carries out the engine's actions, and takes its events as far as there is room.
    fn settle(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Dial { conn, addr } => {
                    self.drivers.start(conn, ConnectionStart::Dial(addr))
                }
                Action::LookUp { conn, name } => self.drivers.look_up(conn, name),
                Action::StartCircuit { conn, dials } => self.drivers.start_circuit(conn, dials),
                Action::TakeRecords { conn, bytes } => self.drivers.take_records(conn, &bytes),
                Action::EndRecords { conn } => self.drivers.end_records(conn),
                Action::Transmit { conn, bytes, at } => self.transmit(conn, bytes, at),
                Action::Admit { conn, freely } => self.drivers.admit(conn, freely),
                Action::Close { conn, how } => self.drivers.close(conn, how),
                Action::SaveName(name) => {
                    self.names.send_replace(Some(name));
                }
            }
        }
        if self.engine.is_over() {
            self.channels.counters.phase.finish();
        }
        while self.events.len() < EVENTS {
            // Messages that were read and not taken are refused before the last event.
            if self.engine.is_over()
                && !self.engine.has_more()
                && self.channels.counters.untaken() > 0
            {
                break;
            }
            let Some(event) = self.engine.poll_event() else {
                break;
            };
            self.events.push(event);
        }
        self.record_outcome();
    }

    fn transmit(&self, conn: ConnId, cells: Vec<u8>, at: Option<Instant>) {
        let Some(channel) = self.drivers.channel(conn) else {
            self.drivers.transmit_over_circuit(conn, cells, at);
            return;
        };
        match at {
            Some(at) => self.send_at(conn, &channel, cells, at),
            None => channel.send(&cells),
        }
    }

    /// Seals a paced cell into its record now, so that only one write is left to do at its moment.
    fn send_at(&self, conn: ConnId, channel: &Arc<TlsChannel>, cell: Vec<u8>, at: Instant) {
        let again = self.engine.tick_interval(conn);
        let cell = ScheduledCell {
            bytes: cell,
            at,
            again,
        };
        match channel.send_at(cell, &self.pacer.handle()) {
            Err(_) => self.drivers.order(conn, Order::Break),
            // A link without ticks has no tick at which the engine would ask.
            Ok(()) if again.is_none() => self.drivers.order(conn, Order::Watch),
            Ok(()) => {}
        }
    }

    /// Sends the collected events to the front end, as far as it has room.
    fn hand_over(&mut self) {
        while !self.events.is_empty() {
            match self
                .channels
                .events
                .try_send(std::mem::take(&mut self.events))
            {
                // Requests that waited because too many events did may go on.
                Ok(()) => self.more |= self.intake.has_any(),
                Err(TrySendError::Full(events)) => {
                    self.events = events;
                    return;
                }
                Err(TrySendError::Closed(_)) if self.deaf => {}
                Err(TrySendError::Closed(_)) => {
                    self.deaf = true;
                    self.give_up();
                    self.more = true;
                }
            }
            self.settle();
        }
    }
}

/// Waits until the front end takes events, or never will again.
async fn has_room(events: &mpsc::Sender<Vec<Event>>) {
    let _ = events.reserve().await;
}

#[cfg(test)]
mod tests;
