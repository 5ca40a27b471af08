//! The one task that owns the engine.
//!
//! It waits for whatever comes first (a command, bytes from a driver, somebody at the door, the
//! clock), tells the engine, and hands on what the engine wants done and told. It never waits for
//! anything else: a driver's orders are bounded by what the engine lets out, and events stay with
//! the engine while the front end has no room for them. Of each kind of input only so much is taken
//! in a turn, so that none starves another, and a turn ends early when the engine's deadline comes:
//! cells are sealed in time whatever else there is to do. A panic goes ahead of all.

use std::collections::{BTreeMap, VecDeque};
use std::net::{SocketAddr, TcpListener};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{io, vec};

use tokio::net::TcpStream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::beat::Beat;
use super::clock::Alarm;
use super::driver::{self, Order, Report, Reporter, Sent, Start};
use super::line::Line;
use super::tls::Tls;
use super::{clock, listen};
use crate::mesh::{
    Action, ByeReason, Command, Confirmation, ConnId, Engine, Event, Offer, Outcome, Request, Tag,
};
use crate::port::{Batch, Control, Mailbox, Shown};
use crate::proto::DisplayName;
use crate::proto::pace::Wheel;

/// The most events that go to the front end at once.
const EVENTS: usize = 512;

/// How many messages from drivers wait for this task.
const REPORTS: usize = 64;

/// How many who knocked wait for this task.
const KNOCKS: usize = 16;

/// How many ordered requests are taken in a turn.
const REQUESTS: usize = 256;

/// How many pieces of any other kind of input are taken in a turn.
const TURN: usize = 16;

/// How many commands that overtake are held while the front end has too many answers before it.
const HELD: usize = 64;

/// By how much a clock on the wall has to be set before new links follow it.
const ASTRAY: Duration = Duration::from_millis(1);

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The front end was given [`Event::Bye`].
    Bye,
    /// Everything is to be forgotten, now.
    Panic {
        /// Whether that loses a message that was taken, or one was undelivered before. Of others
        /// [`Tally::untaken`](crate::port::Tally::untaken) tells.
        undelivered: bool,
        /// The mark of the command that asked for it.
        tag: Tag,
    },
    /// A second signal: nothing more is to be waited for. What is owed counts as undelivered.
    Killed(Outcome),
}

/// Everything that the task is given.
pub struct Run {
    /// The node.
    pub engine: Engine,
    /// The front end.
    pub mailbox: Mailbox,
    /// The doors.
    pub listeners: Vec<TcpListener>,
    /// How long the other end's kernel may acknowledge nothing.
    pub inactivity: Duration,
    /// The numbers of signals that ask for the end.
    pub interrupts: mpsc::UnboundedReceiver<i32>,
    /// Lines for people, each with the level from which it is shown.
    pub notices: mpsc::UnboundedReceiver<(u8, String)>,
    /// Where a new display name goes to be saved.
    pub names: mpsc::UnboundedSender<DisplayName>,
}

impl Run {
    /// Runs until the end; to be called within a runtime. Gives back the channels: a front end that
    /// found them closed would say that the run has failed.
    ///
    /// # Errors
    /// The system's, if a listening socket cannot be used.
    pub async fn run(self) -> io::Result<(Ended, Mailbox)> {
        let beat = Beat::start()?;
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let (sent_in, sent) = mpsc::unbounded_channel();
        let (knocks_in, knocks) = mpsc::channel(KNOCKS);
        for listener in self.listeners {
            listen::spawn(listener, knocks_in.clone())?;
        }
        let mut task = Task {
            engine: self.engine,
            mailbox: self.mailbox,
            inactivity: self.inactivity,
            interrupts: self.interrupts,
            notices: self.notices,
            names: self.names,
            tls: Tls::new(),
            reporter: Reporter {
                reports: reports_in,
                sent: sent_in,
            },
            reports,
            sent,
            knocks,
            _door: knocks_in,
            drivers: BTreeMap::new(),
            beat,
            wheel: clock::wheel(),
            alarm: Alarm::silent(),
            due: None,
            held: VecDeque::new(),
            requests: Vec::new().into_iter(),
            permit: None,
            waiting: None,
            more: false,
            input: Input::Open,
            signalled: false,
            events: Vec::new(),
            said_bye: false,
            deaf: false,
        };
        task.engine.set_wheel(task.wheel);
        let ended = task.run().await;
        Ok((ended, task.mailbox))
    }
}

/// How far the input is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    /// More may come.
    Open,
    /// All of it is in the channels.
    Ending,
    /// The engine knows.
    Ended,
}

/// Beyond every deadline that an engine can have when it ends.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// What woke the task.
enum Woken {
    Control(Control),
    Interrupt(i32),
    Urgent(Request),
    Sent(Sent),
    Shown(Vec<Shown>),
    Report(ConnId, Report),
    Knock(TcpStream, SocketAddr),
    Batch(Batch),
    Notice(u8, String),
    Room,
    Time,
}

/// The ways to a driver.
struct Driver {
    orders: mpsc::UnboundedSender<Order>,
    /// Once TLS is up.
    line: Weak<Line>,
}

struct Task {
    engine: Engine,
    mailbox: Mailbox,
    inactivity: Duration,
    interrupts: mpsc::UnboundedReceiver<i32>,
    notices: mpsc::UnboundedReceiver<(u8, String)>,
    names: mpsc::UnboundedSender<DisplayName>,
    tls: Tls,
    reporter: Reporter,
    reports: mpsc::Receiver<(ConnId, Report)>,
    sent: mpsc::UnboundedReceiver<Sent>,
    knocks: mpsc::Receiver<(TcpStream, SocketAddr)>,
    /// Keeps the channel open where nobody listens.
    _door: mpsc::Sender<(TcpStream, SocketAddr)>,
    drivers: BTreeMap<ConnId, Driver>,
    beat: Beat,
    wheel: Wheel,
    alarm: Alarm,
    /// When a turn has to end.
    due: Option<Instant>,
    /// Commands that overtake, and wait for the front end to take what it is told.
    held: VecDeque<Request>,
    /// What is left of the batch at hand.
    requests: vec::IntoIter<Request>,
    /// The batch's share of the read-ahead.
    permit: Option<OwnedSemaphorePermit>,
    /// A request that the engine could not take yet.
    waiting: Option<Request>,
    /// A turn ended before its input did.
    more: bool,
    input: Input,
    signalled: bool,
    /// Collected for the front end.
    events: Vec<Event>,
    said_bye: bool,
    /// The front end takes no events any more.
    deaf: bool,
}

impl Task {
    async fn run(&mut self) -> Ended {
        self.settle();
        loop {
            self.hand_over();
            if self.said_bye && self.events.is_empty() {
                return Ended::Bye;
            }
            if self.more && self.mailbox.control.is_empty() && self.interrupts.is_empty() {
                // Lets the runtime at its other work where it shares the thread.
                tokio::task::consume_budget().await;
            } else {
                let woken = self.wait().await;
                if matches!(woken, Woken::Report(..)) {
                    // What comes on many links at one moment is taken in one turn.
                    tokio::task::yield_now().await;
                }
                if let Some(ended) = self.take(woken) {
                    return ended;
                }
            }
            self.turn();
        }
    }

    /// Waits for the first thing to happen, in order of urgency.
    async fn wait(&mut self) -> Woken {
        let time = self.engine.poll_timeout(clock::now());
        let hungry = self.is_hungry();
        let full = !self.events.is_empty();
        let urgent = self.held.len() < HELD;
        let mailbox = &mut self.mailbox;
        tokio::select! {
            biased;
            Some(control) = mailbox.control.recv() => Woken::Control(control),
            Some(signal) = self.interrupts.recv() => Woken::Interrupt(signal),
            () = self.alarm.until(time) => Woken::Time,
            Some(urgent) = mailbox.urgent.recv(), if urgent => Woken::Urgent(urgent.item),
            Some(sent) = self.sent.recv() => Woken::Sent(sent),
            Some(shown) = mailbox.shown.recv() => Woken::Shown(shown),
            Some((conn, report)) = self.reports.recv() => Woken::Report(conn, report),
            Some((stream, remote)) = self.knocks.recv() => Woken::Knock(stream, remote),
            Some(batch) = mailbox.ordered.recv(), if hungry => Woken::Batch(batch),
            Some((level, text)) = self.notices.recv() => Woken::Notice(level, text),
            _ = mailbox.events.reserve(), if full => Woken::Room,
        }
    }

    fn take(&mut self, woken: Woken) -> Option<Ended> {
        match woken {
            Woken::Control(control) => return self.control(control),
            Woken::Interrupt(signal) => return self.interrupt(signal),
            Woken::Urgent(request) => self.urgent(request),
            Woken::Sent(sent) => self.sent(sent),
            Woken::Shown(shown) => self.shown(shown),
            Woken::Report(conn, report) => self.report(conn, report),
            Woken::Knock(stream, remote) => self.knock(stream, remote),
            Woken::Batch(batch) => self.begin(batch),
            Woken::Notice(level, text) => self.events.push(Event::Notice { level, text }),
            Woken::Room | Woken::Time => {}
        }
        self.settle();
        None
    }

    /// Takes some of everything that is there, without waiting.
    fn turn(&mut self) {
        self.more = false;
        let now = clock::now();
        self.due = self.engine.poll_timeout(now);
        if self.due.is_some_and(|at| at <= now) {
            self.ask_whether_sent(now);
            self.engine.handle_timeout(now);
            self.settle();
            // What is not over by now would not be any sooner if nothing else were done.
            self.due = self.engine.poll_timeout(now).filter(|at| *at > now);
        }
        self.several(TURN, |task| {
            if !task.engine.is_backlogged()
                && let Some(request) = task.held.pop_front()
            {
                task.engine.command(clock::now(), request);
            } else {
                let room = task.held.len() < HELD;
                let urgent = room.then(|| task.mailbox.urgent.try_recv().ok())??;
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
            let shown = task.mailbox.shown.try_recv().ok()?;
            task.shown(shown);
            Some(())
        });
        self.several(TURN, |task| {
            let (conn, report) = task.reports.try_recv().ok()?;
            task.report(conn, report);
            Some(())
        });
        self.several(TURN, |task| {
            let (stream, remote) = task.knocks.try_recv().ok()?;
            task.knock(stream, remote);
            Some(())
        });
        self.several(REQUESTS, Self::offer);
        self.end_input();
    }

    /// Does one thing up to so many times, and stops when it says that there is none, when somebody
    /// asks for the end or a panic, or when a cell has to be sealed.
    fn several(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> Option<()>) {
        for _ in 0..most {
            if !self.mailbox.control.is_empty() || !self.interrupts.is_empty() {
                break;
            }
            let done = one(self);
            // Also where nothing could be taken: the engine may have sealed a cell meanwhile.
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

    /// Tells the engine what it wants to know before it decides about the ticks that are due: asked
    /// here, and not waited for since the tick before.
    fn ask_whether_sent(&mut self, now: Instant) {
        let doubtful: Vec<ConnId> = self.engine.in_doubt(now).collect();
        for conn in doubtful {
            let line = self.drivers.get(&conn).and_then(|it| it.line.upgrade());
            if let Some(lateness) = line.and_then(|line| line.has_left()) {
                self.engine.handle_sent(now, conn, lateness);
            }
        }
    }

    /// A command that overtakes. All but acknowledgements are answered by events: those wait for a
    /// front end that does not take what it has been told already.
    fn urgent(&mut self, request: Request) {
        let silent = matches!(request.command, Command::Ack { .. });
        if silent || (self.held.is_empty() && !self.engine.is_backlogged()) {
            self.engine.command(clock::now(), request);
        } else {
            self.held.push_back(request);
        }
    }

    fn control(&mut self, control: Control) -> Option<Ended> {
        match control {
            Control::Panic(tag) => {
                return Some(Ended::Panic {
                    undelivered: self.forget(),
                    tag,
                });
            }
            Control::EndOfInput if self.input == Input::Open => self.input = Input::Ending,
            Control::EndOfInput => {}
            Control::OutputClosed => self.give_up(),
        }
        self.settle();
        None
    }

    fn interrupt(&mut self, signal: i32) -> Option<Ended> {
        if self.signalled {
            self.mailbox.tally.signal.store(signal, Ordering::Relaxed);
            let (mut outcome, _) = self.end_now(ByeReason::Signal);
            outcome.unsatisfied += self.mailbox.tally.untaken.load(Ordering::Relaxed);
            return Some(Ended::Killed(outcome));
        }
        self.signalled = true;
        // What waits for its turn would be forgotten without a word.
        let waiting = self.waiting.take().into_iter();
        let mut waiting: Vec<_> = waiting.chain(self.requests.by_ref()).collect();
        while let Ok(batch) = self.mailbox.ordered.try_recv() {
            waiting.extend(batch.item);
        }
        for request in waiting {
            if is_message(&request) {
                self.mailbox.tally.untaken.fetch_sub(1, Ordering::Relaxed);
            }
            self.engine.give_up(clock::now(), request);
        }
        self.mailbox.tally.signal.store(signal, Ordering::Relaxed);
        self.engine.quit(clock::now(), ByeReason::Signal);
        self.settle();
        None
    }

    /// Nobody reads what happens: what more could come would be lost.
    fn give_up(&mut self) {
        self.engine.abort(clock::now(), ByeReason::Quit);
    }

    /// Whether a panic loses a message that was taken, or one was lost before it. What became of
    /// messages goes to the front end where that has room. Asked last of all: it ends the engine.
    fn forget(&mut self) -> bool {
        let (outcome, mut last) = self.end_now(ByeReason::Panic);
        let lost = outcome.unsatisfied > 0 || outcome.unreached > 0;
        last.push(Event::Bye(outcome));
        // One that reads nothing is not waited for.
        let _ = self.mailbox.events.try_send(last);
        let tally = &self.mailbox.tally;
        let before =
            tally.carried.load(Ordering::Relaxed) || tally.bad_lines.load(Ordering::Relaxed) > 0;
        before || lost
    }

    /// How it ends if it has to end now, and what is left to be told of messages. None of what the
    /// engine then wants to say to others is said. Asked last of all: it ends the engine.
    fn end_now(&mut self, reason: ByeReason) -> (Outcome, Vec<Event>) {
        let now = clock::now();
        self.engine.abort(now, reason);
        self.engine.handle_timeout(now + NEVER);
        let mut outcome = Outcome {
            reason,
            unsatisfied: 0,
            unreached: 0,
            all_refused: false,
        };
        let mut last = Vec::new();
        let said = std::mem::take(&mut self.events).into_iter();
        for event in said.chain(std::iter::from_fn(|| self.engine.poll_event())) {
            match event {
                Event::Bye(said) => outcome = said,
                Event::Queued { .. } | Event::Delivered { .. } | Event::Done { .. } => {
                    last.push(event);
                }
                _ => {}
            }
        }
        (outcome, last)
    }

    fn sent(&mut self, sent: Sent) {
        self.engine
            .handle_sent(clock::now(), sent.conn, sent.lateness);
    }

    fn shown(&mut self, shown: Vec<Shown>) {
        for Shown { peer, seq } in shown {
            self.engine.handle_shown(clock::now(), peer, seq);
        }
    }

    fn report(&mut self, conn: ConnId, report: Report) {
        let now = clock::now();
        match report {
            Report::Connected {
                remote,
                channel,
                line,
            } => {
                if let Some(driver) = self.drivers.get_mut(&conn) {
                    driver.line = std::sync::Arc::downgrade(&line);
                }
                self.look_at_the_wall();
                self.engine.handle_connected(now, conn, remote, channel);
            }
            Report::Bytes(bytes) => self.engine.handle_bytes(now, conn, &bytes),
            Report::Closed(cause) => {
                self.drivers.remove(&conn);
                self.engine.handle_closed(now, conn, cause);
            }
        }
    }

    /// Follows the clock on the wall where that was set; its small corrections this one makes too.
    fn look_at_the_wall(&mut self) {
        let wheel = clock::wheel();
        if wheel.differs(&self.wheel) > ASTRAY {
            self.wheel = wheel;
            self.engine.set_wheel(wheel);
        }
    }

    fn knock(&mut self, stream: TcpStream, remote: SocketAddr) {
        if let Some(conn) = self.engine.handle_incoming(clock::now(), remote) {
            self.start(conn, Start::Accepted(stream, remote));
        }
    }

    fn start(&mut self, conn: ConnId, start: Start) {
        let orders = driver::spawn(
            conn,
            start,
            self.tls.clone(),
            self.inactivity,
            self.reporter.clone(),
        );
        let line = Weak::new();
        self.drivers.insert(conn, Driver { orders, line });
    }

    fn is_hungry(&self) -> bool {
        self.waiting.is_none() && self.requests.len() == 0
    }

    fn begin(&mut self, batch: Batch) {
        self.requests = batch.item.into_iter();
        self.permit = batch.permit;
    }

    /// Offers the engine the next ordered request; `None` if there is none, or none can be taken.
    fn offer(&mut self) -> Option<()> {
        if self.is_hungry() {
            self.permit = None;
            let batch = self.mailbox.ordered.try_recv().ok()?;
            self.begin(batch);
        }
        let Some(request) = self.waiting.take().or_else(|| self.requests.next()) else {
            return Some(());
        };
        let message = is_message(&request);
        match self.engine.offer(clock::now(), request) {
            Offer::Taken => {
                if message {
                    self.mailbox.tally.untaken.fetch_sub(1, Ordering::Relaxed);
                }
                Some(())
            }
            Offer::Later(request) => {
                self.waiting = Some(request);
                None
            }
        }
    }

    /// Tells the engine that the input has ended, once it has taken all of it.
    fn end_input(&mut self) {
        let taken = self.is_hungry()
            && self.mailbox.ordered.is_empty()
            && self.mailbox.urgent.is_empty()
            && self.held.is_empty();
        if self.input == Input::Ending && taken {
            self.input = Input::Ended;
            self.engine.end_of_input(clock::now());
            self.settle();
        }
    }

    /// Takes out of the engine what it wants done, and what it tells as far as there is room.
    fn settle(&mut self) {
        while let Some(action) = self.engine.poll_action() {
            match action {
                Action::Dial { conn, addr, scope } => self.start(conn, Start::Dial(addr, scope)),
                Action::Transmit { conn, bytes, at } => match at {
                    Some(at) => self.send_at(conn, &bytes, at),
                    None => self.order(conn, Order::Transmit(bytes)),
                },
                Action::Close { conn, how } => {
                    self.order(conn, Order::Close(how));
                    self.drivers.remove(&conn);
                }
            }
        }
        if self.engine.is_over() {
            self.mailbox.tally.over.store(true, Ordering::Relaxed);
        }
        while self.events.len() < EVENTS && !self.said_bye {
            let Some(event) = self.engine.poll_event() else {
                break;
            };
            match &event {
                Event::Bye(_) => self.said_bye = true,
                Event::Confirmed {
                    what: Confirmation::Named(name),
                    ..
                } => {
                    // Where nobody saves names, there is nothing to do.
                    let _ = self.names.send(name.clone());
                }
                _ => {}
            }
            self.events.push(event);
        }
    }

    fn order(&self, conn: ConnId, order: Order) {
        if let Some(driver) = self.drivers.get(&conn) {
            // A driver that has ended says so by itself.
            let _ = driver.orders.send(order);
        }
    }

    /// Seals a paced cell into its record; all that is left to do at its moment is one write.
    fn send_at(&self, conn: ConnId, cell: &[u8], at: Instant) {
        let Some(line) = self.drivers.get(&conn).and_then(|it| it.line.upgrade()) else {
            return;
        };
        let again = self.engine.beat(conn);
        match line.send_at(cell, at, again, &self.beat) {
            Err(_) => self.order(conn, Order::Break),
            // Without a beat, there is no tick at which the engine would ask.
            Ok(()) if again.is_none() => self.order(conn, Order::Watch),
            Ok(()) => {}
        }
    }

    /// Gives the front end what has been collected, as far as it has room.
    fn hand_over(&mut self) {
        while !self.events.is_empty() {
            match self
                .mailbox
                .events
                .try_send(std::mem::take(&mut self.events))
            {
                Ok(()) => {}
                Err(TrySendError::Full(events)) => {
                    self.events = events;
                    return;
                }
                Err(TrySendError::Closed(_)) if self.deaf => {}
                Err(TrySendError::Closed(_)) => {
                    self.deaf = true;
                    self.give_up();
                }
            }
            self.settle();
        }
    }
}

fn is_message(request: &Request) -> bool {
    matches!(request.command, Command::Send { .. })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use getrandom::SysRng;
    use rand_core::UnwrapErr;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;
    use crate::mesh::{Cover, Require, Settings, Text, Undelivered};
    use crate::port::{self, Port, Waiting};
    use crate::proto::{Address, Identity};
    use crate::secret::Secret;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// A node whose front end is played by hand.
    struct Node {
        port: Port,
        interrupts: mpsc::UnboundedSender<i32>,
        names: mpsc::UnboundedReceiver<DisplayName>,
        notices: mpsc::UnboundedSender<(u8, String)>,
        events: std::collections::VecDeque<Event>,
        addr: Address,
        task: JoinHandle<Ended>,
    }

    fn node(peers: Vec<Address>) -> Node {
        let door = listen::bind(Some(Ipv4Addr::LOCALHOST.into()), 0)
            .unwrap()
            .remove(0);
        let addr = door.local_addr().unwrap();
        let settings = Settings {
            name: None,
            decoy: false,
            peers,
            listen_port: Some(addr.port()),
            advertise: None,
            cover: Cover::Off,
            inactivity: Duration::from_secs(30),
            give_up: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            min_peers: 1,
            require: Require::All,
            stay: true,
            report_each: true,
            explicit_ack: false,
        };
        let key = Secret::fill_with(|bytes| bytes.fill(1));
        let identity = Identity::generate(&mut UnwrapErr(SysRng));
        let engine = Engine::new(
            settings,
            key,
            identity,
            Box::new(UnwrapErr(SysRng)),
            clock::now(),
        );
        let (port, mailbox, _) = port::joint();
        let (interrupts, interrupts_out) = mpsc::unbounded_channel();
        let (notices, notices_out) = mpsc::unbounded_channel();
        let (names_in, names) = mpsc::unbounded_channel();
        let run = Run {
            engine,
            mailbox,
            listeners: vec![door],
            inactivity: Duration::from_secs(30),
            interrupts: interrupts_out,
            notices: notices_out,
            names: names_in,
        };
        let task = tokio::spawn(async move { run.run().await.unwrap().0 });
        Node {
            port,
            interrupts,
            names,
            notices,
            events: [].into(),
            addr: addr.into(),
            task,
        }
    }

    fn request(command: Command) -> Request {
        Request {
            tag: Tag::default(),
            read_at: clock::now(),
            command,
        }
    }

    fn said(text: &str) -> Request {
        request(Command::Send {
            text: Text::from(text),
            to: None,
        })
    }

    impl Node {
        async fn order(&self, requests: Vec<Request>) {
            let messages = requests.iter().filter(|r| is_message(r)).count();
            let tally = &self.port.tally;
            tally.untaken.fetch_add(messages as u64, Ordering::Relaxed);
            assert!(
                self.port
                    .ordered
                    .send(Batch {
                        item: requests,
                        permit: None
                    })
                    .await
                    .is_ok()
            );
        }

        /// The next event for which `wanted` gives something.
        async fn until<T>(&mut self, wanted: impl Fn(&Event) -> Option<T>) -> T {
            let found = async {
                loop {
                    while let Some(event) = self.events.pop_front() {
                        if let Event::Message { who, seq, .. } = &event {
                            self.port
                                .shown
                                .send(vec![Shown {
                                    peer: who.id,
                                    seq: *seq,
                                }])
                                .unwrap();
                        }
                        if let Some(found) = wanted(&event) {
                            return found;
                        }
                    }
                    self.events.extend(self.port.events.recv().await.unwrap());
                }
            };
            timeout(PATIENCE, found).await.unwrap()
        }

        async fn text(&mut self) -> String {
            self.until(|event| match event {
                Event::Message { text, .. } => Some(text.as_str().to_owned()),
                _ => None,
            })
            .await
        }

        async fn bye(&mut self) -> Outcome {
            self.until(|event| match event {
                Event::Bye(outcome) => Some(outcome.clone()),
                _ => None,
            })
            .await
        }

        async fn ended(self) -> Ended {
            timeout(PATIENCE, self.task).await.unwrap().unwrap()
        }
    }

    async fn linked() -> (Node, Node) {
        let mut listener = node(Vec::new());
        let mut dialler = node(vec![listener.addr.clone()]);
        for node in [&mut listener, &mut dialler] {
            node.until(|event| matches!(event, Event::PeerUp { .. }).then_some(()))
                .await;
        }
        (listener, dialler)
    }

    #[tokio::test]
    async fn messages_arrive_in_order_and_a_quit_ends_the_run() {
        let (mut listener, mut dialler) = linked().await;
        for batch in 0..20 {
            dialler
                .order(
                    (0..500)
                        .map(|i| said(&format!("{}", batch * 500 + i)))
                        .collect(),
                )
                .await;
        }
        dialler.order(vec![request(Command::Quit)]).await;
        let tally = std::sync::Arc::clone(&dialler.port.tally);
        let mut done = tokio::spawn(async move {
            let outcome = dialler.bye().await;
            (outcome, dialler.ended().await)
        });
        for i in 0..10_000 {
            assert_eq!(listener.text().await, i.to_string());
        }
        let (outcome, ended) = timeout(PATIENCE, &mut done).await.unwrap().unwrap();
        assert_eq!((outcome.reason, outcome.unsatisfied), (ByeReason::Quit, 0));
        assert_eq!(ended, Ended::Bye);
        assert_eq!(tally.untaken.load(Ordering::Relaxed), 0, "all were taken");
    }

    #[tokio::test]
    async fn the_end_of_input_comes_after_all_input() {
        let mut node = node(Vec::new());
        let name = |i: usize| DisplayName::from_user(&format!("name {i}")).unwrap();
        for batch in 0..10 {
            node.order(
                (0..300)
                    .map(|i| request(Command::Name(name(batch * 300 + i))))
                    .collect(),
            )
            .await;
        }
        node.port.control.send(Control::EndOfInput).unwrap();
        let mut count = 0;
        while count < 3000 {
            count += node
                .until(|event| matches!(event, Event::Confirmed { .. }).then_some(1))
                .await;
        }
        for i in 0..3000 {
            assert_eq!(
                node.names.recv().await,
                Some(name(i)),
                "each goes to be saved"
            );
        }
        // This node was told to stay, and ends when nobody reads it any more.
        node.port.control.send(Control::OutputClosed).unwrap();
        node.bye().await;
        assert_eq!(node.ended().await, Ended::Bye);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_panic_is_taken_at_once_under_load_and_knows_what_it_loses() {
        let (mut listener, dialler) = linked().await;
        let flood = dialler.port.ordered.clone();
        let tally = std::sync::Arc::clone(&dialler.port.tally);
        let flooded = std::sync::Arc::clone(&tally);
        let flooding = tokio::spawn(async move {
            let batch = || {
                flooded.untaken.fetch_add(500, Ordering::Relaxed);
                (0..500).map(|_| said("x")).collect()
            };
            while flood
                .send(Batch {
                    item: batch(),
                    permit: None,
                })
                .await
                .is_ok()
            {}
        });
        for _ in 0..2000 {
            listener.text().await;
        }
        dialler
            .port
            .control
            .send(Control::Panic(Tag::default()))
            .unwrap();
        let Ended::Panic { undelivered, .. } = dialler.ended().await else {
            panic!("it panics");
        };
        assert!(undelivered || tally.untaken.load(Ordering::Relaxed) > 0);
        flooding.await.unwrap();
        listener
            .port
            .control
            .send(Control::Panic(Tag::default()))
            .unwrap();
        let Ended::Panic { undelivered, .. } = listener.ended().await else {
            panic!("it panics");
        };
        assert!(!undelivered);
    }

    #[tokio::test]
    async fn a_panic_says_what_it_forgot() {
        let (_listener, mut dialler) = linked().await;
        // The listener's front end hands nothing over.
        dialler.order(vec![said("owed")]).await;
        dialler
            .until(|event| matches!(event, Event::Queued { .. }).then_some(()))
            .await;
        let tag = Tag {
            reference: None,
            line: 7,
        };
        dialler
            .port
            .control
            .send(Control::Panic(tag.clone()))
            .unwrap();
        let why = dialler
            .until(|event| match event {
                Event::Done { undelivered, .. } => Some(undelivered[0].1),
                _ => None,
            })
            .await;
        assert_eq!(why, Undelivered::Panic);
        assert_eq!(dialler.bye().await.reason, ByeReason::Panic);
        let undelivered = true;
        assert_eq!(dialler.ended().await, Ended::Panic { undelivered, tag });
    }

    #[tokio::test]
    async fn a_front_end_that_takes_no_events_does_not_hold_up_a_panic() {
        let (mut listener, dialler) = linked().await;
        dialler
            .order((0..20_000).map(|_| said("x")).collect())
            .await;
        // Some are taken, then none.
        listener.text().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        listener
            .port
            .control
            .send(Control::Panic(Tag::default()))
            .unwrap();
        assert!(matches!(listener.ended().await, Ended::Panic { .. }));
    }

    #[tokio::test]
    async fn the_end_is_known_although_the_last_word_waits() {
        let (mut listener, dialler) = linked().await;
        // Their answers are far more than fit into the channel.
        dialler.order((0..5000).map(|_| said("x")).collect()).await;
        for _ in 0..2000 {
            listener.text().await;
        }
        dialler.interrupts.send(15).unwrap();
        let hearing = tokio::spawn(async move {
            loop {
                listener.text().await;
            }
        });
        let over = async {
            while !dialler.port.tally.over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, over).await.unwrap();
        assert!(!dialler.task.is_finished(), "nobody has heard it yet");
        hearing.abort();
    }

    #[tokio::test]
    async fn commands_whose_answers_nobody_takes_wait() {
        let mut node = node(Vec::new());
        let read_ahead = std::sync::Arc::clone(&node.port.read_ahead);
        let urgent = node.port.urgent.clone();
        let ask = async || {
            let permit = std::sync::Arc::clone(&read_ahead).acquire_many_owned(32);
            let waiting = Waiting {
                item: request(Command::Whoami),
                permit: permit.await.ok(),
            };
            assert!(urgent.send(waiting).is_ok());
        };
        let all = async {
            for _ in 0..1_000_000 {
                ask().await;
            }
        };
        assert!(
            timeout(Duration::from_secs(2), all).await.is_err(),
            "all were taken"
        );
        // And are answered once somebody takes the answers.
        let mut more = std::pin::pin!(ask());
        for _ in 0..40_000 {
            node.until(|event| matches!(event, Event::Whoami { .. }).then_some(()))
                .await;
            if timeout(Duration::ZERO, more.as_mut()).await.is_ok() {
                return;
            }
        }
        panic!("none is taken any more");
    }

    #[tokio::test]
    async fn one_signal_ends_the_run_and_a_second_one_at_once() {
        let mut node = node(Vec::new());
        let tally = std::sync::Arc::clone(&node.port.tally);
        node.interrupts.send(15).unwrap();
        assert_eq!(node.bye().await.reason, ByeReason::Signal);
        assert_eq!(tally.signal.load(Ordering::Relaxed), 15);
        assert_eq!(node.ended().await, Ended::Bye);

        // A message that nobody can take keeps the other waiting.
        let (listener, mut dialler) = linked().await;
        dialler.order(vec![said("x")]).await;
        dialler
            .until(|event| matches!(event, Event::Queued { .. }).then_some(()))
            .await;
        for signal in [1, 2] {
            dialler.interrupts.send(signal).unwrap();
        }
        let tally = std::sync::Arc::clone(&dialler.port.tally);
        let Ended::Killed(outcome) = dialler.ended().await else {
            panic!("not at once")
        };
        assert_eq!((outcome.unsatisfied, outcome.unreached), (1, 0));
        assert_eq!(tally.signal.load(Ordering::Relaxed), 2);
        drop(listener);
    }

    #[tokio::test]
    async fn a_front_end_that_is_gone_ends_the_run() {
        let mut node = node(Vec::new());
        let (_, events) = mpsc::channel(1);
        drop(std::mem::replace(&mut node.port.events, events));
        node.notices.send((0, "something to tell".into())).unwrap();
        assert_eq!(node.ended().await, Ended::Bye);
    }
}
