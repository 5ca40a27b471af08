//! A few threads each, in every order.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use loom::sync::{Condvar, Mutex};
use loom::{model, thread};
use sesame_threads::exit::counters::ExitCounters;
use sesame_threads::front::models;
use sesame_threads::net::pacer::{CellWriter, Pacer, ScheduledCell};
use sesame_threads::virtual_time;

const MS: Duration = Duration::from_millis(1);

/// A connection that notes which cells were written.
#[derive(Default)]
struct Connection {
    written: Mutex<Vec<u8>>,
    changed: Condvar,
}

impl CellWriter for Connection {
    fn write_cell(&self, cell: &ScheduledCell) {
        assert!(virtual_time::now() >= cell.at, "before its moment");
        self.written.lock().unwrap().push(cell.bytes[0]);
        self.changed.notify_one();
    }
}

impl Connection {
    /// Waits until this many cells are written, and returns them.
    fn wait_for(&self, count: usize) -> Vec<u8> {
        let mut written = self.written.lock().unwrap();
        while written.len() < count {
            written = self.changed.wait(written).unwrap();
        }
        written.clone()
    }
}

fn cell(number: u8, at: Instant) -> ScheduledCell {
    ScheduledCell {
        bytes: vec![number],
        at,
        again: None,
    }
}

fn start() -> (Pacer, Arc<Connection>, Weak<dyn CellWriter>) {
    virtual_time::begin();
    let connection = Arc::new(Connection::default());
    let weak: Weak<dyn CellWriter> = Arc::<Connection>::downgrade(&connection);
    (Pacer::start().unwrap(), connection, weak)
}

#[test]
fn cells_from_two_threads_are_written_and_the_pacer_ends() {
    model(|| {
        let (pacer, connection, weak) = start();
        let (handle, to) = (pacer.handle(), weak.clone());
        let other = thread::spawn(move || handle.take(cell(1, virtual_time::start()), to));
        pacer.handle().take(cell(2, virtual_time::start()), weak);
        let mut written = connection.wait_for(2);
        written.sort_unstable();
        assert_eq!(written, [1, 2]);
        other.join().unwrap();
        // loom fails if the pacer's thread waits for ever.
        drop(pacer);
    });
}

#[test]
fn pacer_that_waits_for_a_later_cell_is_woken_for_a_sooner_one() {
    model(|| {
        let (pacer, connection, weak) = start();
        // Time stands still, so nothing but a notification wakes the pacer.
        let later = virtual_time::start() + 1000 * MS;
        pacer.handle().take(cell(1, later), weak.clone());
        pacer.handle().take(cell(2, virtual_time::start()), weak);
        assert_eq!(connection.wait_for(1), [2]);
        drop(pacer);
    });
}

#[test]
fn each_cell_is_written_once_and_not_before_its_moment() {
    model(|| {
        let (pacer, connection, weak) = start();
        let at = |time: u32| virtual_time::start() + 100 * time * MS;
        pacer.handle().take(
            ScheduledCell {
                again: Some(100 * MS),
                ..cell(1, at(1))
            },
            weak.clone(),
        );
        virtual_time::let_pass_until(at(1));
        assert_eq!(connection.wait_for(1), [1]);
        // The pacer expects it then, and is not told.
        pacer.handle().take(cell(2, at(2)), weak);
        virtual_time::let_pass_until(at(3));
        assert_eq!(connection.wait_for(2), [1, 2]);
        drop(pacer);
    });
}

#[test]
fn pacer_ends_whatever_is_handed_over_meanwhile() {
    model(|| {
        let (pacer, connection, weak) = start();
        let handle = pacer.handle();
        let other = thread::spawn(move || {
            handle.take(cell(1, virtual_time::start() + 1000 * MS), weak.clone());
            handle.take(cell(2, virtual_time::start()), weak);
        });
        drop(pacer);
        other.join().unwrap();
        assert!(connection.written.lock().unwrap().len() <= 1);
    });
}

#[test]
fn nothing_is_written_after_a_panic() {
    model(models::nothing_is_written_after_a_panic);
}

#[test]
fn each_line_is_parsed_or_handed_over() {
    model(models::each_line_is_parsed_or_handed_over);
}

#[test]
fn what_follows_a_panic_is_handed_over() {
    model(models::what_follows_a_panic_is_handed_over);
}

#[test]
fn panic_is_found_at_the_end_of_a_run() {
    model(models::panic_is_found_at_the_end_of_a_run);
}

#[test]
fn first_signal_counts_and_no_phase_is_taken_back() {
    model(|| {
        virtual_time::begin();
        let counters = Arc::new(ExitCounters::default());
        let threads = [2, 15].map(|signal| {
            let counters = Arc::clone(&counters);
            thread::spawn(move || {
                counters.end_by_first(signal);
                let first = counters.signal();
                counters.phase.ask_end();
                assert!(counters.phase.is_ending());
                first
            })
        });
        counters.phase.finish();
        assert!(counters.phase.is_over());
        let [first, second] = threads.map(|thread| thread.join().unwrap());
        assert_eq!(first, second);
        assert!(counters.phase.is_over());
    });
}

#[test]
fn message_that_a_panic_cuts_off_is_counted() {
    model(|| {
        virtual_time::begin();
        let counters = Arc::new(ExitCounters::default());
        let (reads, takes) = (Arc::clone(&counters), Arc::clone(&counters));
        // The queue between the input thread and the engine.
        let queue = Arc::new(Mutex::new(0));
        let waits = Arc::clone(&queue);
        let input = thread::spawn(move || {
            for _ in 0..2 {
                reads.count_parsed();
                *waits.lock().unwrap() += 1;
            }
        });
        let waits = Arc::clone(&queue);
        let engine = thread::spawn(move || {
            let taken = std::mem::take(&mut *waits.lock().unwrap());
            takes.count_taken(taken);
        });
        // It never counts below zero, which would wrap.
        assert!(counters.untaken() <= 2);
        input.join().unwrap();
        engine.join().unwrap();
        assert_eq!(counters.untaken(), *queue.lock().unwrap());
        counters.end_by_panic();
        assert_eq!(counters.has_lost_any(), counters.untaken() > 0);
    });
}
