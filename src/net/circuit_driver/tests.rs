//! Two drivers of circuits, joined back to back by the test; and one against a hand-driven other
//! end.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::net::clock;
use crate::net::record::OVERHEAD;
use crate::net::report::Worked;
use crate::proto::CELL;
use crate::proto::handshake::Channel;

const RECORD: usize = CELL + OVERHEAD;
/// How many reports wait for the test.
const REPORTS: usize = 4;
/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a circuit: a driver, and what it has reported.
struct End {
    conn: ConnId,
    handle: CircuitHandle,
    reports: mpsc::Receiver<(ConnId, Report)>,
    worked: mpsc::UnboundedReceiver<Worked>,
}

impl End {
    fn start(dials: bool) -> Self {
        let conn = ConnId(u64::from(dials));
        let (reports_in, reports) = mpsc::channel(REPORTS);
        let (worked_in, worked) = mpsc::unbounded_channel();
        let reporter = Reporter {
            reports: reports_in,
            sent: mpsc::unbounded_channel().0,
            worked: worked_in,
        };
        let handle = CircuitHandle::start(conn, dials, Tls::new(), reporter);
        Self {
            conn,
            handle,
            reports,
            worked,
        }
    }

    /// The next report; `None` if the driver has ended.
    async fn report(&mut self) -> Option<Report> {
        let report = timeout(PATIENCE, self.reports.recv()).await;
        let (conn, report) = report.expect("a report")?;
        assert_eq!(conn, self.conn);
        Some(report)
    }

    async fn records(&mut self) -> Vec<u8> {
        match self.report().await {
            Some(Report::Records(bytes)) => bytes,
            _ => panic!("no records"),
        }
    }

    async fn bytes(&mut self) -> Vec<u8> {
        match self.report().await {
            Some(Report::Bytes(bytes)) => bytes,
            _ => panic!("no bytes"),
        }
    }

    /// Reads until this many bytes of cells have come.
    async fn cells(&mut self, cells: usize) -> Vec<u8> {
        let mut plain = Vec::new();
        while plain.len() < cells * CELL {
            plain.extend(self.bytes().await);
        }
        plain
    }

    async fn cause(&mut self) -> CloseCause {
        match self.report().await {
            Some(Report::Closed(cause)) => cause,
            _ => panic!("not closed"),
        }
    }

    async fn waits(&mut self) {
        assert!(matches!(self.report().await, Some(Report::Waits)));
    }

    async fn connected(&mut self) -> Channel {
        match self.report().await {
            Some(Report::CircuitConnected(channel)) => channel,
            _ => panic!("not connected"),
        }
    }

    /// Hands over bytes in pieces of this size.
    fn take(&self, bytes: &[u8], piece: usize) {
        for piece in bytes.chunks(piece) {
            self.handle.take_records(piece);
        }
    }
}

/// Two ends after their TLS handshake, in which all bytes came in pieces of this size. The listener
/// is admitted freely.
async fn pair(piece: usize) -> (End, End) {
    let (dialler, listener, _) = connected(piece).await;
    (dialler, listener)
}

async fn connected(piece: usize) -> (End, End, [Channel; 2]) {
    let (mut dialler, mut listener) = (End::start(true), End::start(false));
    listener.handle.admit(true);
    listener.take(&dialler.records().await, piece);
    dialler.take(&listener.records().await, piece);
    listener.take(&dialler.records().await, piece);
    let channels = [dialler.connected().await, listener.connected().await];
    (dialler, listener, channels)
}

#[tokio::test]
async fn both_ends_agree_on_what_binds_them() {
    for piece in [1, 700, usize::MAX] {
        let (_, _, [one, other]) = connected(piece).await;
        assert_eq!(one.exporter.expose(), other.exporter.expose());
        assert_ne!(one.exporter.expose(), &[0; 64]);
        assert_eq!(one.fingerprints, other.fingerprints);
        assert_ne!(one.fingerprints[0], one.fingerprints[1]);
    }
}

#[tokio::test]
async fn each_cell_is_a_record_and_arrives_in_any_pieces() {
    for piece in [1, 700, RECORD, usize::MAX] {
        let (mut dialler, mut listener) = pair(piece).await;
        for _ in 0..2 {
            dialler.handle.transmit(vec![7; 3 * CELL], None);
            let records = dialler.records().await;
            assert_eq!(records.len(), 3 * RECORD);
            let head = [0x17, 3, 3, 4, 17];
            assert!(records.chunks(RECORD).all(|record| record[..5] == head));
            listener.take(&records, piece);
            assert_eq!(listener.cells(3).await, [7; 3 * CELL]);
            // The other direction.
            std::mem::swap(&mut dialler, &mut listener);
        }
    }
}

/// A client's first cells may come together with the end of its flight.
#[tokio::test]
async fn cell_behind_the_handshake_arrives() {
    let (mut dialler, mut listener) = (End::start(true), End::start(false));
    listener.handle.admit(true);
    listener.take(&dialler.records().await, usize::MAX);
    dialler.take(&listener.records().await, usize::MAX);
    let mut flight = dialler.records().await;
    dialler.connected().await;
    dialler.handle.transmit(vec![1; CELL], None);
    flight.extend(dialler.records().await);
    listener.take(&flight, usize::MAX);
    listener.connected().await;
    assert_eq!(listener.cells(1).await, [1; CELL]);
}

#[tokio::test]
async fn paced_cell_leaves_at_its_moment_and_in_order() {
    let (mut dialler, mut listener) = pair(usize::MAX).await;
    let now = clock::now();
    let at = now + Duration::from_millis(20);
    let transmits = [
        (1, None),
        (2, Some(at)),
        (3, None),
        (4, Some(now)),
        (5, Some(at)),
    ];
    for (fill, at) in transmits {
        dialler.handle.transmit(vec![fill; CELL], at);
    }
    for (fill, _) in transmits {
        let record = dialler.records().await;
        assert_eq!(record.len(), RECORD);
        if fill > 1 {
            assert!(clock::now() >= at, "not before its moment");
        }
        listener.take(&record, usize::MAX);
        assert_eq!(listener.cells(1).await, [fill; CELL]);
    }
}

#[tokio::test]
async fn paced_cell_does_not_hold_up_what_arrives() {
    let (mut dialler, mut listener) = pair(usize::MAX).await;
    let later = clock::now() + 100 * PATIENCE;
    dialler.handle.transmit(vec![1; CELL], Some(later));
    listener.handle.transmit(vec![2; CELL], None);
    dialler.take(&listener.records().await, usize::MAX);
    assert_eq!(dialler.cells(1).await, [2; CELL]);
}

#[tokio::test]
async fn flush_sends_what_was_transmitted_and_no_close_notify() {
    let (mut dialler, mut listener) = pair(usize::MAX).await;
    let at = clock::now() + Duration::from_millis(20);
    dialler.handle.transmit(vec![1; CELL], None);
    dialler.handle.transmit(vec![2; CELL], Some(at));
    dialler.handle.close(Close::Flush);
    // What still arrives is dropped.
    listener.handle.transmit(vec![3; CELL], None);
    dialler.take(&listener.records().await, usize::MAX);
    for fill in [1, 2] {
        listener.take(&dialler.records().await, usize::MAX);
        assert_eq!(listener.cells(1).await, [fill; CELL]);
    }
    assert!(clock::now() >= at, "not before its moment");
    assert_eq!(dialler.cause().await, CloseCause::Ended);
    assert!(dialler.report().await.is_none());
}

/// The engine's task forgets its handle right after the order.
#[tokio::test]
async fn flush_goes_on_without_the_handle() {
    let (dialler, _listener) = pair(usize::MAX).await;
    let at = clock::now() + Duration::from_millis(20);
    dialler.handle.transmit(vec![1; CELL], Some(at));
    dialler.handle.close(Close::Flush);
    let End {
        handle,
        mut reports,
        ..
    } = dialler;
    drop(handle);
    let records = timeout(PATIENCE, reports.recv()).await.unwrap();
    assert!(matches!(records, Some((_, Report::Records(_)))));
    let closed = timeout(PATIENCE, reports.recv()).await.unwrap();
    assert!(matches!(
        closed,
        Some((_, Report::Closed(CloseCause::Ended)))
    ));
}

#[tokio::test]
async fn flush_before_tls_is_up_ends_at_once() {
    for dials in [true, false] {
        let mut end = End::start(dials);
        if dials {
            end.records().await;
        }
        end.handle.close(Close::Flush);
        assert_eq!(end.cause().await, CloseCause::Ended);
    }
}

#[tokio::test]
async fn an_abort_drops_everything_and_is_not_reported() {
    let (mut dialler, listener) = pair(usize::MAX).await;
    let later = clock::now() + PATIENCE;
    dialler.handle.transmit(vec![1; CELL], Some(later));
    dialler.handle.close(Close::Abort);
    assert!(dialler.report().await.is_none());
    // So does the end of the run, for which the handles are dropped.
    listener.handle.transmit(vec![1; CELL], Some(later));
    let End {
        handle,
        mut reports,
        ..
    } = listener;
    drop(handle);
    assert!(timeout(PATIENCE, reports.recv()).await.unwrap().is_none());
}

/// The engine's task, for which the driver waits here, must be able to end it.
#[tokio::test]
async fn driver_that_waits_for_room_still_takes_orders() {
    let (mut dialler, _listener) = pair(usize::MAX).await;
    for _ in 0..10 {
        dialler.handle.transmit(vec![1; CELL], None);
    }
    while dialler.reports.len() < REPORTS {
        tokio::task::yield_now().await;
    }
    dialler.handle.close(Close::Abort);
    tokio::task::yield_now().await;
    for _ in 0..REPORTS {
        dialler.records().await;
    }
    assert!(dialler.report().await.is_none());
}

#[tokio::test]
async fn garbage_in_the_handshake_says_why_it_failed() {
    for dials in [true, false] {
        let mut end = End::start(dials);
        end.handle.admit(true);
        if dials {
            end.records().await;
        }
        end.take(b"SSH-2.0-OpenSSH_9.6\r\n", usize::MAX);
        // An alert, as on a socket.
        assert_eq!(end.records().await[0], 21);
        let CloseCause::Failed(line) = end.cause().await else {
            panic!("no cause")
        };
        assert_eq!(line, HANDSHAKE_FAILED);
        assert!(end.report().await.is_none());
    }
}

#[tokio::test]
async fn garbage_after_the_handshake_ends_without_an_answer() {
    let (mut dialler, mut listener) = pair(usize::MAX).await;
    listener.handle.transmit(vec![1; CELL], None);
    let mut record = listener.records().await;
    record[RECORD / 2] ^= 1;
    for end in [&mut dialler, &mut listener] {
        end.take(&record, usize::MAX);
        assert_eq!(end.cause().await, CloseCause::Ended);
        assert!(end.report().await.is_none());
    }
}

/// A relay may repeat, leave out or swap what it carries.
#[tokio::test]
async fn repeated_record_ends_the_connection() {
    let (mut dialler, mut listener) = pair(usize::MAX).await;
    listener.handle.transmit(vec![1; CELL], None);
    let record = listener.records().await;
    dialler.take(&record, usize::MAX);
    assert_eq!(dialler.cells(1).await, [1; CELL]);
    dialler.take(&record, usize::MAX);
    assert_eq!(dialler.cause().await, CloseCause::Ended);
}

#[tokio::test]
async fn listener_processes_nothing_before_admission() {
    let (mut dialler, mut listener) = (End::start(true), End::start(false));
    for _ in 0..2 {
        listener.take(&dialler.records().await, 100);
        listener.waits().await;
        assert!(listener.worked.try_recv().is_err(), "nothing was done");
        listener.handle.admit(false);
        let worked = timeout(PATIENCE, listener.worked.recv()).await;
        assert_eq!(worked.unwrap().unwrap().conn, listener.conn);
        match listener.report().await {
            Some(Report::Records(answer)) => dialler.take(&answer, usize::MAX),
            Some(Report::CircuitConnected(_)) => {}
            _ => panic!("the handshake goes on"),
        }
    }
    dialler.connected().await;
    dialler.handle.transmit(vec![1; CELL], None);
    listener.take(&dialler.records().await, usize::MAX);
    listener.waits().await;
    assert!(listener.worked.try_recv().is_err(), "a cell waits too");
    listener.handle.admit(false);
    assert_eq!(listener.cells(1).await, [1; CELL]);
    assert!(listener.worked.try_recv().is_ok());
    dialler.handle.transmit(vec![2; CELL], None);
    listener.take(&dialler.records().await, usize::MAX);
    listener.waits().await;
    listener.handle.admit(true);
    assert_eq!(listener.cells(1).await, [2; CELL]);
    dialler.handle.transmit(vec![3; CELL], None);
    listener.take(&dialler.records().await, usize::MAX);
    assert_eq!(listener.cells(1).await, [3; CELL], "it does not wait again");
}

#[tokio::test]
async fn stranger_that_sends_too_much_is_closed() {
    let mut listener = End::start(false);
    listener.take(&vec![22; UNADMITTED], 1000);
    listener.waits().await;
    listener.take(&[22], 1);
    assert_eq!(listener.cause().await, CloseCause::Failed(TOO_MUCH.into()));
    assert!(listener.worked.try_recv().is_err(), "nothing was done");
}

#[tokio::test]
async fn peer_that_sends_too_much_is_closed() {
    let (mut dialler, mut listener) = pair(usize::MAX).await;
    listener.handle.transmit(vec![1; 100 * CELL], None);
    // All of it comes before the driver runs again.
    let records = listener.records().await;
    for record in records.chunks(RECORD) {
        dialler.take(record, usize::MAX);
    }
    let cause = loop {
        match dialler.report().await {
            Some(Report::Bytes(_)) => {}
            Some(Report::Closed(cause)) => break cause,
            _ => panic!("not closed"),
        }
    };
    assert_eq!(cause, CloseCause::Ended);
}

/// The other end asks for a key update, after which the library would send a longer record.
#[tokio::test]
async fn a_record_of_another_shape_is_never_sent() {
    let mut dialler = End::start(true);
    let (reports_in, mut reports) = mpsc::channel(4);
    let received = Arc::new(ReceiveBuffer::default());
    let stream = CircuitStream::new(ConnId(0), Arc::clone(&received), reports_in);
    let gate = Arc::new(AdmissionGate::open());
    let free = AdmissionWait::new(ConnId(0), gate, Reporter::to_nobody());
    let tls = Tls::new();
    let accept = tls.accept(stream, &free);
    let carry = async {
        assert!(received.put(&dialler.records().await, ADMITTED));
        let Some((_, Report::Records(answer))) = reports.recv().await else {
            panic!("no records")
        };
        dialler.take(&answer, usize::MAX);
        assert!(received.put(&dialler.records().await, ADMITTED));
    };
    let (accepted, ()) = tokio::join!(accept, carry);
    dialler.connected().await;
    let mut records = Records::new(accepted.unwrap().tls);
    dialler.take(&records.key_update(), usize::MAX);
    assert_eq!(dialler.bytes().await, [1]);
    dialler.handle.transmit(vec![1; CELL], None);
    assert_eq!(dialler.cause().await, CloseCause::Ended);
}
