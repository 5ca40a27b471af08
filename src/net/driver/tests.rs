//! A driver, with a hand-driven other end of its connection.

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::net::pacer::{Pacer, ScheduledCell};
use crate::net::record::OVERHEAD;
use crate::net::report::Worked;
use crate::proto::CELL;

const RECORD: usize = CELL + OVERHEAD;
const PATIENCE: Duration = Duration::from_secs(5);

/// A driver, with a hand-driven other end of its connection.
struct Bench {
    orders: mpsc::UnboundedSender<Order>,
    pacer: Pacer,
    tls_channel: std::sync::Weak<TlsChannel>,
    reports: mpsc::Receiver<(ConnId, Report)>,
    sent: mpsc::UnboundedReceiver<Sent>,
    /// The other end's socket: reading it shows what is on the wire.
    wire: TcpStream,
    records: Records,
}

fn ends(inactivity: Duration) -> Ends {
    Ends {
        connector: Connector::new(None),
        tls: Tls::new(),
        inactivity,
    }
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
            worked: mpsc::unbounded_channel().0,
        };
        let start = ConnectionStart::Dial(addr.into());
        let orders = spawn(
            ConnId(7),
            start,
            Arc::new(AdmissionGate::open()),
            ends(Duration::from_secs(30)),
            reporter,
        );
        let (stream, _) = listener.accept().await.unwrap();
        let gate = Arc::new(AdmissionGate::open());
        let free = AdmissionWait::new(ConnId(0), gate, Reporter::to_nobody());
        let Secured {
            stream: wire,
            tls,
            channel: theirs,
        } = Tls::new().accept(stream, &free).await.unwrap();
        let Some((ConnId(7), connected)) = reports.recv().await else {
            panic!("not connected")
        };
        let Report::Connected {
            remote,
            channel,
            tls_channel,
        } = connected
        else {
            panic!("not connected")
        };
        assert_eq!(remote, Remote::Direct(addr));
        assert_eq!(channel.fingerprints, theirs.fingerprints);
        Self {
            orders,
            pacer: Pacer::start().unwrap(),
            tls_channel: Arc::downgrade(&tls_channel),
            reports,
            sent,
            wire,
            records: Records::new(tls),
        }
    }

    fn transmit(&self, cells: usize, at: Option<Instant>) {
        self.give(vec![0x5a; cells * CELL], at);
    }

    /// Hands cells to the driver, as the engine's task does.
    fn give(&self, cells: Vec<u8>, at: Option<Instant>) {
        let tls_channel = self.tls_channel.upgrade().expect("a connection");
        let Some(at) = at else {
            tls_channel.send(&cells);
            return;
        };
        self.schedule(&tls_channel, cells, at, None);
        assert!(self.orders.send(Order::Watch).is_ok());
    }

    fn schedule(&self, to: &Arc<TlsChannel>, bytes: Vec<u8>, at: Instant, again: Option<Duration>) {
        let cell = ScheduledCell { bytes, at, again };
        to.send_at(cell, &self.pacer.handle()).unwrap();
    }

    /// Reads this number of cells from the wire; returns the byte that each was filled with.
    async fn read(&mut self, cells: usize) -> Vec<u8> {
        let mut wire = vec![0; cells * RECORD];
        self.wire.read_exact(&mut wire).await.unwrap();
        let plain = self.records.open(&wire).expect("in the order of sealing");
        plain.chunks(CELL).map(|cell| cell[0]).collect()
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
async fn late_cell_leaves_at_once_and_reports_its_lateness() {
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

/// As when a listener answers Ya and Ta, which the dialler sent at once, with Yb and Tb.
#[tokio::test]
async fn paced_cell_leaves_after_an_earlier_one() {
    let mut bench = Bench::new().await;
    let at = clock::now() + Duration::from_millis(20);
    bench.give(vec![1; CELL], None);
    bench.give(vec![2; CELL], Some(at));
    assert_eq!(bench.read(2).await, [1, 2]);
    assert!(clock::now() >= at, "not before its moment");
    assert_eq!(bench.sent().await.conn, ConnId(7));
}

#[tokio::test]
async fn unpaced_cell_leaves_after_a_paced_one_that_waits() {
    let mut bench = Bench::new().await;
    let at = clock::now() + Duration::from_millis(20);
    bench.give(vec![1; CELL], Some(at));
    bench.give(vec![2; CELL], None);
    bench.give(vec![3; CELL], Some(at));
    bench.give(vec![4; CELL], None);
    assert_eq!(bench.read(1).await, [1]);
    assert!(clock::now() >= at, "not before its moment");
    assert_eq!(bench.read(3).await, [2, 3, 4]);
    bench.give(vec![5; CELL], Some(clock::now()));
    bench.close(Close::Flush);
    assert_eq!(bench.read(1).await, [5]);
}

/// Paced and unpaced cells in turns, while the other end reads late and the kernel's buffer is
/// full.
#[tokio::test]
async fn paced_and_unpaced_cells_keep_their_order() {
    let mut bench = Bench::new().await;
    let mut given = Vec::new();
    for n in 0..200_u32 {
        let fill = (n % 251) as u8;
        let now = clock::now();
        let (cells, at) = match n % 5 {
            0 => (1, Some(now)),
            1 => (1, Some(now + Duration::from_micros(300))),
            2 => (1, now.checked_sub(Duration::from_millis(5))),
            3 => (1, None),
            _ => (200, None),
        };
        bench.give(vec![fill; cells * CELL], at);
        given.extend(std::iter::repeat_n(fill, cells));
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(bench.read(given.len()).await, given);
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

/// The other end's buffer is full and this kernel accepts more: only what has left counts as sent.
#[tokio::test]
async fn a_cell_that_the_kernel_holds_back_is_not_sent() {
    if !crate::sys::socket::KNOWS_UNSENT {
        eprintln!("skipped: this kernel does not tell what it has not sent");
        return;
    }
    let mut bench = Bench::new().await;
    // Fills the other end's window, and stops as soon as something is held back.
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
async fn flush_writes_all_without_close_notify_and_waits() {
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

/// As at a panic: the end must look like that of any process.
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

/// The engine itself asks about a link with ticks, which does not even wake the driver.
#[tokio::test]
async fn whether_a_cell_has_left_is_known_when_asked() {
    let mut bench = Bench::new().await;
    let tls_channel = bench.tls_channel.upgrade().unwrap();
    let at = clock::now() + Duration::from_millis(20);
    let again = Some(Duration::from_millis(100));
    bench.schedule(&tls_channel, vec![0x5a; CELL], at, again);
    assert_eq!(tls_channel.has_left(), None);
    let mut wire = [0; RECORD];
    bench.wire.read_exact(&mut wire).await.unwrap();
    let arrived = clock::now();
    let left = timeout(PATIENCE, async {
        loop {
            match tls_channel.has_left() {
                Some(lateness) => break lateness,
                None => tokio::task::yield_now().await,
            }
        }
    });
    assert!(left.await.unwrap() <= arrived - at);
    assert!(bench.sent.try_recv().is_err());
}

/// A wake-up between two cells would show an observer whether this process is busy.
#[tokio::test]
async fn cell_wakes_no_driver_that_has_stopped_watching() {
    let mut bench = Bench::new().await;
    bench.transmit(1, Some(clock::now()));
    bench.sent().await;
    bench.read(1).await;
    let tls_channel = bench.tls_channel.upgrade().unwrap();
    let before = tls_channel.wakes();
    for _ in 0..3 {
        let again = Some(Duration::from_millis(100));
        bench.schedule(&tls_channel, vec![0x5a; CELL], clock::now(), again);
        bench.read(1).await;
    }
    // The last cell counts once it is written, which its arrival shows.
    assert_eq!(tls_channel.wakes(), before);
}

#[tokio::test]
async fn data_before_the_end_is_reported_before_it() {
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
    // It asks for a key update in return, and has a byte of data behind it.
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
        worked: mpsc::unbounded_channel().0,
    };
    let wait = Duration::from_secs(30);
    let _one = spawn(
        ConnId(1),
        ConnectionStart::Dial(addr.into()),
        Arc::new(AdmissionGate::open()),
        ends(wait),
        reporter.clone(),
    );
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
    let report = timeout(PATIENCE, reports.recv()).await.unwrap();
    let Some((ConnId(1), Report::Closed(CloseCause::Failed(line)))) = report else {
        panic!("no cause")
    };
    assert!(line.contains("not sesame"), "{line}");
    drop((stream, listener));
    let _other = spawn(
        ConnId(2),
        ConnectionStart::Dial(addr.into()),
        Arc::new(AdmissionGate::open()),
        ends(wait),
        reporter,
    );
    let report = timeout(PATIENCE, reports.recv()).await.unwrap();
    let Some((ConnId(2), Report::Closed(CloseCause::Failed(line)))) = report else {
        panic!("no cause")
    };
    assert!(line.contains("refused"), "{line}");
}

#[tokio::test]
async fn a_stranger_is_worked_on_only_when_admitted() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (reports_in, mut reports) = mpsc::channel(4);
    let (worked_in, mut worked) = mpsc::unbounded_channel();
    let reporter = Reporter {
        reports: reports_in,
        sent: mpsc::unbounded_channel().0,
        worked: worked_in,
    };
    let dialler = TcpStream::connect(addr).await.unwrap();
    let (accepted, remote) = listener.accept().await.unwrap();
    let gate = Arc::new(AdmissionGate::shut());
    let _orders = spawn(
        ConnId(3),
        ConnectionStart::Accepted(accepted, remote),
        Arc::clone(&gate),
        ends(Duration::from_secs(30)),
        reporter,
    );
    let dial = tokio::spawn(async move { Tls::new().dial(dialler).await.unwrap() });
    for _ in 0..2 {
        let report = timeout(PATIENCE, reports.recv()).await.unwrap();
        assert!(matches!(report, Some((ConnId(3), Report::Waits))));
        assert!(worked.try_recv().is_err(), "nothing was done");
        gate.admit(false);
        let Worked { conn, .. } = timeout(PATIENCE, worked.recv()).await.unwrap().unwrap();
        assert_eq!(conn, ConnId(3));
    }
    let report = timeout(PATIENCE, reports.recv()).await.unwrap();
    assert!(matches!(report, Some((_, Report::Connected { .. }))));
    let Secured { stream, tls, .. } = dial.await.unwrap();
    let mut records = Records::new(tls);
    let sealed = records.seal(&[1; CELL]).unwrap();
    stream.writable().await.unwrap();
    assert_eq!(stream.try_write(&sealed).unwrap(), sealed.len());
    let report = timeout(PATIENCE, reports.recv()).await.unwrap();
    assert!(
        matches!(report, Some((_, Report::Waits))),
        "a cell waits too"
    );
    gate.admit(true);
    let report = timeout(PATIENCE, reports.recv()).await.unwrap();
    assert!(matches!(report, Some((_, Report::Bytes(cell))) if cell == [1; CELL]));
}
