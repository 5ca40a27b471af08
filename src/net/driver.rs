//! One connection: one socket, one TLS state, one clock.
//!
//! A driver dials or takes over an accepted socket, makes TLS on it, and then does what the engine
//! orders, but for paced cells: those the engine's task seals itself, into the [`Line`] that both
//! hold, and the [`Beat`](super::beat::Beat) writes them. Cells in the other direction go to the
//! engine's task as they come; while that has no room, nothing is read.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::line::{Cell, Line};
use super::record::{Broken, Records};
use super::tls::{Secured, Tls};
use super::{clock, dial, socket};
use crate::mesh::{Close, CloseCause, ConnId, Scope};
use crate::proto::handshake::Channel;
use crate::proto::{Address, CELL};

/// How long TLS may take. The engine has a deadline for all that comes before a link, too.
const TLS_LIMIT: Duration = Duration::from_secs(10);

/// How long the end of a connection may take once everything has been ordered.
const FLUSH_LIMIT: Duration = Duration::from_secs(3);

/// How much is read at once, in bytes.
const READ: usize = 32 * 1024;

/// How much is written at once where cells are not paced, in bytes of cells.
const PORTION: usize = 128 * CELL;

/// What the engine's task tells a driver.
pub enum Order {
    /// Write these whole cells, and say when that is done.
    Transmit(Vec<u8>),
    /// Say when the cell that was given to the [`Line`] has been sent.
    Watch,
    /// The [`Line`] is broken: end the connection, and say so.
    Break,
    /// End the connection.
    Close(Close),
}

/// What a driver tells the engine's task, in the order in which it happened.
pub enum Report {
    /// TLS is up.
    Connected {
        /// The other end.
        remote: SocketAddr,
        /// What binds the handshake to the connection.
        channel: Channel,
        /// For paced cells.
        line: Arc<Line>,
    },
    /// Bytes of cells came.
    Bytes(Vec<u8>),
    /// The connection is over, but for one that was ended with [`Close::Abort`].
    Closed(CloseCause),
}

/// That everything ordered so far has left.
pub struct Sent {
    /// On which connection.
    pub conn: ConnId,
    /// How long after its moment the last cell was written; zero where it had none.
    pub lateness: Duration,
}

/// The ways to the engine's task.
#[derive(Clone)]
pub struct Reporter {
    /// Bounded: a slow engine stops the reading.
    pub reports: mpsc::Sender<(ConnId, Report)>,
    /// At most one an order.
    pub sent: mpsc::UnboundedSender<Sent>,
}

/// What a connection begins with.
pub enum Start {
    /// To be dialled; how far what a name stands for has to reach.
    Dial(Address, Option<Scope>),
    /// Accepted.
    Accepted(TcpStream, SocketAddr),
}

/// Starts the driver of a connection. It ends when told so, when the connection does, or when the
/// returned sender is dropped. `inactivity` is how long the other end's kernel may acknowledge
/// nothing.
pub fn spawn(
    conn: ConnId,
    start: Start,
    tls: Tls,
    inactivity: Duration,
    reporter: Reporter,
) -> mpsc::UnboundedSender<Order> {
    let (orders_in, orders) = mpsc::unbounded_channel();
    tokio::spawn(drive(conn, start, tls, inactivity, reporter, orders));
    orders_in
}

async fn drive(
    conn: ConnId,
    start: Start,
    tls: Tls,
    inactivity: Duration,
    reporter: Reporter,
    mut orders: mpsc::UnboundedReceiver<Order>,
) {
    // Only an end can be ordered before TLS is up.
    let begun = tokio::select! {
        biased;
        order = orders.recv() => Err(order),
        begun = establish(start, &tls, inactivity) => Ok(begun),
    };
    let cause = match begun {
        Err(Some(Order::Close(Close::Flush))) => CloseCause::Ended,
        Err(_) => return,
        Ok(Err(line)) => CloseCause::Failed(line),
        Ok(Ok((
            Secured {
                stream,
                tls,
                channel,
            },
            remote,
        ))) => {
            let line = Arc::new(Line::new(stream, Records::new(tls)));
            let connected = Report::Connected {
                remote,
                channel,
                line: Arc::clone(&line),
            };
            if reporter.reports.send((conn, connected)).await.is_err() {
                return;
            }
            let link = Link::new(conn, line, orders, reporter.clone());
            match link.run().await {
                End::Aborted => return,
                End::Closed => CloseCause::Ended,
            }
        }
    };
    // Where nobody listens any more, the run is over.
    let _ = reporter.reports.send((conn, Report::Closed(cause))).await;
}

/// From an address, or a socket, to a connection with TLS; or to a line for people.
async fn establish(
    start: Start,
    tls: &Tls,
    inactivity: Duration,
) -> Result<(Secured, SocketAddr), String> {
    let dialled = matches!(start, Start::Dial(..));
    let (stream, remote) = match start {
        Start::Dial(address, scope) => dial::connect(&address, scope)
            .await
            .map_err(|error| error.to_string())?,
        Start::Accepted(stream, remote) => (stream, remote),
    };
    socket::prepare(&stream, inactivity);
    let handshake = async {
        match dialled {
            true => tls.dial(stream).await,
            false => tls.accept(stream).await,
        }
    };
    match timeout(TLS_LIMIT, handshake).await {
        Ok(Ok(secured)) => Ok((secured, remote)),
        Ok(Err(error)) => Err(handshake_failed(&error)),
        Err(_) => Err("no answer to the TLS handshake: is a sesame listening there?".into()),
    }
}

fn handshake_failed(error: &io::Error) -> String {
    match error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
    {
        true => {
            "the TLS handshake failed: what answers there is no sesame, or one of another version"
        }
        false => "the connection broke off during the TLS handshake: is a sesame listening there?",
    }
    .into()
}

/// Records to be written.
struct Piece {
    records: Vec<u8>,
    /// The rest of a paced cell, which was so late.
    rest: Option<Duration>,
}

/// How a link's life ended.
enum End {
    /// The engine wants to hear no more of it.
    Aborted,
    /// The engine is to be told.
    Closed,
}

/// What is to be done about sending.
#[derive(Clone, Copy)]
enum Sending {
    /// Nothing.
    Idle,
    /// Write what waits as soon as the kernel takes it.
    Bytes,
    /// Wait until the last cell has been sent, and say so.
    Drain,
}

/// A connection with TLS.
struct Link {
    conn: ConnId,
    line: Arc<Line>,
    orders: mpsc::UnboundedReceiver<Order>,
    reporter: Reporter,
    queue: VecDeque<Piece>,
    /// How much of the first piece is written.
    written: usize,
    /// It is to be said when the last paced cell has been sent.
    watching: bool,
    /// That is written; how late.
    draining: Option<Duration>,
    /// Writing has failed: what came before may still be read.
    deaf: bool,
}

impl Link {
    fn new(
        conn: ConnId,
        line: Arc<Line>,
        orders: mpsc::UnboundedReceiver<Order>,
        reporter: Reporter,
    ) -> Self {
        Self {
            conn,
            line,
            orders,
            reporter,
            queue: VecDeque::new(),
            written: 0,
            watching: false,
            draining: None,
            deaf: false,
        }
    }

    async fn run(mut self) -> End {
        let reports = self.reporter.reports.clone();
        let leftover = self.line.records().leftover();
        match leftover {
            Ok(plain) if plain.is_empty() => {}
            Ok(plain) => {
                if reports
                    .send((self.conn, Report::Bytes(plain)))
                    .await
                    .is_err()
                {
                    return End::Aborted;
                }
            }
            Err(_) => return End::Closed,
        }
        let line = Arc::clone(&self.line);
        let mut wire = vec![0; READ];
        let mut readable = false;
        loop {
            let sending = self.sending();
            tokio::select! {
                biased;
                () = line.changed() => self.look(),
                result = ready_to_send(line.stream(), sending) => self.send(result),
                order = self.orders.recv() => match order {
                    Some(Order::Transmit(bytes)) => if self.take(&bytes).is_err() {
                        return End::Closed;
                    },
                    Some(Order::Watch) => {
                        self.watching = true;
                        line.watch();
                        self.look();
                    }
                    Some(Order::Break) => return End::Closed,
                    Some(Order::Close(Close::Abort)) => {
                        line.abort();
                        return End::Aborted;
                    }
                    Some(Order::Close(Close::Flush)) => {
                        self.flush().await;
                        return End::Closed;
                    }
                    // The run is over, and this shall look like any end of a process: the kernel
                    // sends what it has, and a FIN.
                    None => return End::Aborted,
                },
                // A place is asked for only when there is something to read, so that idle links
                // hold none.
                place = reports.reserve(), if readable => {
                    let Ok(place) = place else { return End::Aborted };
                    match socket::read(line.stream(), &mut wire) {
                        Ok(0) => return End::Closed,
                        Ok(n) => {
                            readable = n == wire.len();
                            let opened = line.records().open(&wire[..n]);
                            match opened {
                                Ok(plain) if plain.is_empty() => {}
                                Ok(plain) => place.send((self.conn, Report::Bytes(plain))),
                                Err(_) => {
                                    line.abort();
                                    return End::Closed;
                                }
                            }
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => readable = false,
                        Err(_) => return End::Closed,
                    }
                }
                result = line.stream().readable(), if !readable => match result {
                    Ok(()) => readable = true,
                    Err(_) => return End::Closed,
                },
            }
        }
    }

    fn sending(&self) -> Sending {
        match (self.queue.is_empty(), self.draining) {
            (false, _) => Sending::Bytes,
            (true, Some(_)) => Sending::Drain,
            (true, None) => Sending::Idle,
        }
    }

    /// Seals what was ordered.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        if self.deaf {
            return Ok(());
        }
        self.line.pace(false);
        self.line.set_backlog(true);
        for portion in bytes.chunks(PORTION) {
            let records = self.line.records().seal(portion)?;
            self.queue.push_back(Piece {
                records,
                rest: None,
            });
        }
        Ok(())
    }

    /// Sees to the last paced cell.
    fn look(&mut self) {
        match self.line.outcome() {
            Cell::None | Cell::Waits(_) => {}
            Cell::Written(lateness) => {
                if std::mem::take(&mut self.watching) {
                    self.draining = Some(lateness);
                }
            }
            Cell::Cut(lateness, records) => self.queue.push_back(Piece {
                records,
                rest: Some(lateness),
            }),
            Cell::Failed => self.fail(),
        }
    }

    fn fail(&mut self) {
        self.deaf = true;
        self.queue.clear();
        self.line.has_failed();
    }

    /// Does what was waited for: one write, or word that all is sent.
    fn send(&mut self, ready: io::Result<()>) {
        let Some(piece) = self.queue.front() else {
            if let Some(lateness) = self.draining.take() {
                self.tell_sent(lateness);
            }
            return;
        };
        let rest = &piece.records[self.written..];
        match ready.and_then(|()| self.line.stream().try_write(rest)) {
            Ok(n) => self.written += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return self.fail(),
        }
        if self.written < piece.records.len() {
            return;
        }
        self.written = 0;
        let rest = piece.rest;
        self.queue.pop_front();
        if self.queue.is_empty() {
            self.line.set_backlog(false);
        }
        match rest {
            Some(lateness) => {
                self.line.is_written(lateness);
                self.look();
            }
            None if self.queue.is_empty() => self.tell_sent(Duration::ZERO),
            None => {}
        }
    }

    fn tell_sent(&self, lateness: Duration) {
        let _ = self.reporter.sent.send(Sent {
            conn: self.conn,
            lateness,
        });
    }

    /// Writes out what was ordered, then waits for the other end to end too.
    async fn flush(&mut self) {
        let line = Arc::clone(&self.line);
        line.watch();
        let now = clock::now();
        let last = line.waits_until().unwrap_or(now);
        let in_time = timeout(last.saturating_duration_since(now) + FLUSH_LIMIT, async {
            while !self.queue.is_empty() || line.waits_until().is_some() {
                let sending = self.sending();
                tokio::select! {
                    biased;
                    () = line.changed() => self.look(),
                    result = ready_to_send(line.stream(), sending) => self.send(result),
                }
            }
            let _ = SockRef::from(line.stream()).shutdown(std::net::Shutdown::Write);
            self.read_to_end().await;
        });
        let _ = in_time.await;
    }

    async fn read_to_end(&self) {
        let mut dropped = vec![0; READ];
        while self.line.stream().readable().await.is_ok() {
            match self.line.stream().try_read(&mut dropped) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }
}

/// Waits until something can be done about sending; for ever where nothing is to be done.
async fn ready_to_send(stream: &TcpStream, sending: Sending) -> io::Result<()> {
    match sending {
        Sending::Idle => std::future::pending().await,
        Sending::Drain => socket::wholly_sent(stream).await,
        Sending::Bytes => stream.writable().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use std::time::Instant;

    use crate::net::beat::Beat;
    use crate::net::record::OVERHEAD;

    const RECORD: usize = CELL + OVERHEAD;
    const PATIENCE: Duration = Duration::from_secs(5);

    /// A driver, and the other end of its connection by hand.
    struct Bench {
        orders: mpsc::UnboundedSender<Order>,
        beat: Beat,
        line: std::sync::Weak<Line>,
        reports: mpsc::Receiver<(ConnId, Report)>,
        sent: mpsc::UnboundedReceiver<Sent>,
        /// The other end's socket: what is read here is what the wire carries.
        wire: TcpStream,
        records: Records,
    }

    impl Bench {
        async fn new() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            let (reports_in, mut reports) = mpsc::channel(4);
            let (sent_in, sent) = mpsc::unbounded_channel();
            let reporter = Reporter {
                reports: reports_in,
                sent: sent_in,
            };
            let start = Start::Dial(addr.into(), None);
            let orders = spawn(
                ConnId(7),
                start,
                Tls::new(),
                Duration::from_secs(30),
                reporter,
            );
            let (stream, _) = listener.accept().await.unwrap();
            let Secured {
                stream: wire,
                tls,
                channel: theirs,
            } = Tls::new().accept(stream).await.unwrap();
            let Some((ConnId(7), connected)) = reports.recv().await else {
                panic!("not connected")
            };
            let Report::Connected {
                remote,
                channel,
                line,
            } = connected
            else {
                panic!("not connected")
            };
            assert_eq!(remote, addr);
            assert_eq!(channel.fingerprints, theirs.fingerprints);
            Self {
                orders,
                beat: Beat::start().unwrap(),
                line: Arc::downgrade(&line),
                reports,
                sent,
                wire,
                records: Records::new(tls),
            }
        }

        fn transmit(&self, cells: usize, at: Option<Instant>) {
            let bytes = vec![0x5a; cells * CELL];
            let order = match at {
                None => Order::Transmit(bytes),
                Some(at) => {
                    let line = self.line.upgrade().expect("a connection");
                    line.send_at(&bytes, at, None, &self.beat).unwrap();
                    Order::Watch
                }
            };
            assert!(self.orders.send(order).is_ok());
        }

        fn close(&self, how: Close) {
            assert!(self.orders.send(Order::Close(how)).is_ok());
        }

        async fn sent(&mut self) -> Sent {
            timeout(PATIENCE, self.sent.recv())
                .await
                .expect("said to be sent")
                .unwrap()
        }

        async fn report(&mut self) -> Option<Report> {
            let report = timeout(PATIENCE, self.reports.recv())
                .await
                .expect("a report");
            report.map(|(_, report)| report)
        }
    }

    #[tokio::test]
    async fn a_paced_cell_is_one_record_in_one_write_at_its_moment() {
        let mut bench = Bench::new().await;
        for _ in 0..20 {
            let at = clock::now() + Duration::from_millis(5);
            bench.transmit(1, Some(at));
            let mut wire = [0; 2 * RECORD];
            let read = bench.wire.read(&mut wire).await.unwrap();
            let arrived = clock::now();
            assert_eq!(read, RECORD);
            assert_eq!(
                wire[..5],
                [0x17, 3, 3, 4, 17],
                "application data of 1,041 bytes"
            );
            assert_eq!(bench.records.open(&wire[..read]).unwrap(), [0x5a; CELL]);
            assert!(arrived >= at, "not before its moment");
            let sent = bench.sent().await;
            assert_eq!(sent.conn, ConnId(7));
            assert!(sent.lateness <= arrived - at);
        }
    }

    #[tokio::test]
    async fn a_cell_whose_moment_has_passed_leaves_at_once_and_says_how_late() {
        let mut bench = Bench::new().await;
        let late = Duration::from_millis(300);
        bench.transmit(1, clock::now().checked_sub(late));
        assert!(bench.sent().await.lateness >= late);
    }

    #[tokio::test]
    async fn cells_at_once_keep_their_order_and_each_has_its_record() {
        let mut bench = Bench::new().await;
        for cells in [1, 300, 3] {
            bench.transmit(cells, None);
        }
        let mut wire = vec![0; 304 * RECORD];
        bench.wire.read_exact(&mut wire).await.unwrap();
        assert!(
            wire.chunks(RECORD)
                .all(|record| record[..5] == [0x17, 3, 3, 4, 17])
        );
        assert_eq!(bench.records.open(&wire).unwrap(), vec![0x5a; 304 * CELL]);
        assert_eq!(bench.sent().await.lateness, Duration::ZERO);
    }

    #[tokio::test]
    async fn cells_from_the_other_end_arrive_in_any_portions() {
        let mut bench = Bench::new().await;
        let sealed = bench.records.seal(&[9; 3 * CELL]).unwrap();
        for portion in sealed.chunks(700) {
            bench.wire.write_all(portion).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut plain = Vec::new();
        while plain.len() < 3 * CELL {
            let Some(Report::Bytes(bytes)) = bench.report().await else {
                panic!("no bytes")
            };
            plain.extend(bytes);
        }
        assert_eq!(plain, [9; 3 * CELL]);
    }

    /// The kernel takes more than the other end's: only what has left counts as sent.
    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn a_cell_that_the_kernel_holds_back_is_not_sent() {
        let mut bench = Bench::new().await;
        // Fills the other end's window, and stops the moment that something is held back.
        let mut cells = 0;
        loop {
            bench.transmit(1, Some(clock::now()));
            cells += 1;
            match timeout(Duration::from_millis(300), bench.sent.recv()).await {
                Ok(sent) => assert!(sent.is_some()),
                Err(_) => break,
            }
            assert!(cells < 100_000, "nothing is held back");
        }
        let mut wire = vec![0; cells * RECORD];
        bench.wire.read_exact(&mut wire).await.unwrap();
        bench.sent().await;
        bench.transmit(1, Some(clock::now()));
        bench.wire.read_exact(&mut wire[..RECORD]).await.unwrap();
        bench.sent().await;
    }

    #[tokio::test]
    async fn a_flush_writes_all_waits_for_the_other_end_and_says_nothing_of_tls() {
        let mut bench = Bench::new().await;
        bench.transmit(1, Some(clock::now() + Duration::from_millis(20)));
        bench.close(Close::Flush);
        let mut wire = Vec::new();
        bench.wire.read_to_end(&mut wire).await.unwrap();
        assert_eq!(wire.len(), RECORD, "no close_notify");
        assert!(
            bench.reports.try_recv().is_err(),
            "it waits for the other end"
        );
        drop(bench.wire);
        let closed = timeout(PATIENCE, bench.reports.recv()).await.unwrap();
        assert!(matches!(
            closed,
            Some((_, Report::Closed(CloseCause::Ended)))
        ));
    }

    #[tokio::test]
    async fn a_flush_has_a_limit() {
        let mut bench = Bench::new().await;
        let started = clock::now();
        bench.close(Close::Flush);
        assert!(matches!(
            bench.report().await,
            Some(Report::Closed(CloseCause::Ended))
        ));
        assert!(clock::now() - started >= FLUSH_LIMIT);
    }

    #[tokio::test]
    async fn an_abort_is_at_once_and_not_reported() {
        let mut bench = Bench::new().await;
        bench.transmit(1, Some(clock::now() + PATIENCE));
        bench.close(Close::Abort);
        assert!(bench.wire.read(&mut [0; 64]).await.is_err(), "reset");
        assert!(bench.report().await.is_none());
    }

    /// As at a panic: it must look like the end of any process.
    #[tokio::test]
    async fn a_run_that_is_over_ends_its_connections_without_a_reset() {
        let mut bench = Bench::new().await;
        bench.transmit(1, Some(clock::now()));
        bench.sent().await;
        let (orders, _) = mpsc::unbounded_channel();
        drop(std::mem::replace(&mut bench.orders, orders));
        let mut wire = Vec::new();
        bench.wire.read_to_end(&mut wire).await.unwrap();
        assert_eq!(wire.len(), RECORD);
    }

    /// The engine asks about a link with a beat itself, and the driver is not even woken.
    #[tokio::test]
    async fn whether_a_cell_has_left_is_known_when_asked() {
        let mut bench = Bench::new().await;
        let line = bench.line.upgrade().unwrap();
        let at = clock::now() + Duration::from_millis(20);
        let again = Some(Duration::from_millis(100));
        line.send_at(&[0x5a; CELL], at, again, &bench.beat).unwrap();
        assert_eq!(line.has_left(), None);
        let mut wire = [0; RECORD];
        bench.wire.read_exact(&mut wire).await.unwrap();
        let arrived = clock::now();
        let left = timeout(PATIENCE, async {
            loop {
                match line.has_left() {
                    Some(lateness) => break lateness,
                    None => tokio::task::yield_now().await,
                }
            }
        });
        assert!(left.await.unwrap() <= arrived - at);
        assert!(bench.sent.try_recv().is_err());
    }

    #[tokio::test]
    async fn what_came_before_the_end_is_reported_before_it() {
        let mut bench = Bench::new().await;
        let sealed = bench.records.seal(&[1; CELL]).unwrap();
        bench.wire.write_all(&sealed).await.unwrap();
        drop(bench.wire);
        let bytes = timeout(PATIENCE, bench.reports.recv()).await.unwrap();
        assert!(matches!(bytes, Some((_, Report::Bytes(bytes))) if bytes.len() == CELL));
        let closed = timeout(PATIENCE, bench.reports.recv()).await.unwrap();
        assert!(matches!(
            closed,
            Some((_, Report::Closed(CloseCause::Ended)))
        ));
    }

    #[tokio::test]
    async fn rubbish_ends_the_connection_and_is_not_answered() {
        let mut bench = Bench::new().await;
        bench.wire.write_all(&[0x17, 3, 3, 0, 32]).await.unwrap();
        bench.wire.write_all(&[0; 32]).await.unwrap();
        assert!(matches!(
            bench.report().await,
            Some(Report::Closed(CloseCause::Ended))
        ));
        let mut answer = Vec::new();
        let _ = bench.wire.read_to_end(&mut answer).await;
        assert!(answer.is_empty());
    }

    #[tokio::test]
    async fn a_record_of_another_shape_is_never_sent() {
        let mut bench = Bench::new().await;
        bench.transmit(1, None);
        bench.sent().await;
        // It asks for one in return, and has a byte of data behind it.
        let Bench { wire, records, .. } = &mut bench;
        let update = records.key_update();
        wire.write_all(&update).await.unwrap();
        assert!(matches!(bench.report().await, Some(Report::Bytes(byte)) if byte == [1]));
        bench.transmit(1, None);
        assert!(matches!(
            bench.report().await,
            Some(Report::Closed(CloseCause::Ended))
        ));
        let mut carried = Vec::new();
        let _ = bench.wire.read_to_end(&mut carried).await;
        assert_eq!(carried.len(), RECORD);
    }

    #[tokio::test]
    async fn a_slow_engine_stops_the_reading() {
        let mut bench = Bench::new().await;
        let Bench { wire, records, .. } = &mut bench;
        let mut written = 0;
        let stuck = timeout(Duration::from_millis(500), async {
            for _ in 0..1000 {
                let sealed = records.seal(&[1; 512 * CELL]).unwrap();
                wire.write_all(&sealed).await.unwrap();
                written += 1;
            }
        });
        assert!(stuck.await.is_err(), "{written} portions went through");
    }

    #[tokio::test]
    async fn a_dial_that_fails_says_why() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (reports_in, mut reports) = mpsc::channel(4);
        let (sent, _sent) = mpsc::unbounded_channel();
        let reporter = Reporter {
            reports: reports_in,
            sent,
        };
        let wait = Duration::from_secs(30);
        let _one = spawn(
            ConnId(1),
            Start::Dial(addr.into(), None),
            Tls::new(),
            wait,
            reporter.clone(),
        );
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
        let report = timeout(PATIENCE, reports.recv()).await.unwrap();
        let Some((ConnId(1), Report::Closed(CloseCause::Failed(line)))) = report else {
            panic!("no cause")
        };
        assert!(line.contains("no sesame"), "{line}");
        drop((stream, listener));
        let _other = spawn(
            ConnId(2),
            Start::Dial(addr.into(), None),
            Tls::new(),
            wait,
            reporter,
        );
        let report = timeout(PATIENCE, reports.recv()).await.unwrap();
        let Some((ConnId(2), Report::Closed(CloseCause::Failed(line)))) = report else {
            panic!("no cause")
        };
        assert!(line.contains("refused"), "{line}");
    }
}
