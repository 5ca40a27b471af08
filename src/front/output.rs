//! The output thread: turns events into bytes, writes them, and reports which messages were handed
//! over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Instant;

use tokio::sync::mpsc;
use zeroize::Zeroize;

use super::clock::Moment;
use super::input_sender::Local;
use super::ready::Ready;
use super::screen::Screen;
use super::wait::poll_until;
use super::writer::{Diagnostics, WriteError, Writer};
use crate::channels::{Control, Shown, Waiting};
use crate::exit::ExitCounters;
use crate::mesh::{ByeReason, Event};
use crate::sys::reason;

/// How many bytes are gathered into a batch, even if more events wait. No message of a batch counts
/// as handed over before all of it is written, so a batch must fit into an empty pipe with room to
/// spare.
const BATCH: usize = 32 * 1024;

/// Bytes to write, and the messages among them.
#[derive(Default)]
pub(super) struct OutputBatch {
    /// For stdout, or the screen.
    pub out: Vec<u8>,
    /// For stderr.
    pub err: Vec<u8>,
    /// The messages in `out`.
    pub shown: Vec<Shown>,
}

/// Turns events into a front end's output. Pure: it only appends bytes.
pub(super) trait View: Send {
    /// The beginning of the run.
    fn ready(&mut self, ready: &Ready, at: Moment, batch: &mut OutputBatch);
    /// One event; never [`Event::Bye`].
    fn event(&mut self, event: Event, at: Moment, batch: &mut OutputBatch);
    /// A message from this front end's own input.
    fn local(&mut self, local: Local, at: Moment, batch: &mut OutputBatch);
    /// When to call [`Self::settle`], if at all.
    fn due(&self) -> Option<Instant>;
    /// Writes what was held back to be summarised.
    fn settle(&mut self, at: Moment, batch: &mut OutputBatch);
    /// The end of the run.
    fn bye(&mut self, reason: ByeReason, status: u8, at: Moment, batch: &mut OutputBatch);
}

/// Where the output goes.
pub(super) enum Sink {
    /// To stdout.
    Stdout(Writer),
    /// Above the line being typed.
    Screen(Screen),
}

enum Item {
    Event(Event),
    Local(Local),
}

/// Events of the engine and messages of the front end's input, in one queue.
pub(super) struct OutputQueue {
    events: mpsc::Receiver<Vec<Event>>,
    locals: mpsc::UnboundedReceiver<Waiting<Local>>,
    /// The rest of the current batch. The next batch is taken only after it, so that waiting events
    /// fill the channel, which is small.
    current: std::vec::IntoIter<Event>,
}

impl OutputQueue {
    /// Joins the two channels.
    pub(super) fn new(
        events: mpsc::Receiver<Vec<Event>>,
        locals: mpsc::UnboundedReceiver<Waiting<Local>>,
    ) -> Self {
        Self {
            events,
            locals,
            current: Vec::new().into_iter(),
        }
    }

    fn ready(&mut self) -> Option<Item> {
        loop {
            if let Ok(local) = self.locals.try_recv() {
                return Some(Item::Local(local.item));
            }
            if let Some(event) = self.current.next() {
                return Some(Item::Event(event));
            }
            self.current = self.events.try_recv().ok()?.into_iter();
        }
    }

    fn is_at_end_of_batch(&self) -> bool {
        self.current.len() == 0
    }

    /// Waits for the next item. `Some(None)` once the engine is gone, `None` at the deadline.
    fn wait(&mut self, deadline: Option<Instant>) -> Option<Option<Item>> {
        loop {
            if let Some(item) = self.ready() {
                return Some(Some(item));
            }
            let (events, locals) = (&mut self.events, &mut self.locals);
            let came = poll_until(deadline, |context| {
                if let Poll::Ready(Some(local)) = locals.poll_recv(context) {
                    return Poll::Ready(Some(Ok(local.item)));
                }
                events.poll_recv(context).map(|batch| batch.map(Err))
            })?;
            match came {
                None => return Some(None),
                Some(Ok(local)) => return Some(Some(Item::Local(local))),
                Some(Err(batch)) => self.current = batch.into_iter(),
            }
        }
    }
}

/// The thread that writes events, and messages of the front end's input.
pub(super) struct OutputThread {
    /// How events are turned into bytes.
    pub view: Box<dyn View>,
    /// Where the bytes go.
    pub sink: Sink,
    /// Where diagnostics go.
    pub diagnostics: Diagnostics,
    /// Where events come from.
    pub queue: OutputQueue,
    /// Where it reports which messages were handed over.
    pub shown: mpsc::UnboundedSender<Vec<Shown>>,
    /// Where it reports that stdout is closed.
    pub control: mpsc::UnboundedSender<Control>,
    /// Counts for the exit status.
    pub counters: Arc<ExitCounters>,
    /// Whether it has reported that stdout is closed.
    pub closed: Arc<AtomicBool>,
    /// Whether stdout is of no more use.
    pub mute: bool,
}

impl OutputThread {
    /// Shows everything until the end of the run, and returns the exit status.
    pub(super) fn run(mut self, ready: Ready) -> u8 {
        let mut batch = OutputBatch::default();
        self.view.ready(&ready, Moment::now(), &mut batch);
        self.flush(&mut batch);
        // The `ref` of a panic's command is not kept.
        drop(ready);
        let mut at = Moment::now();
        loop {
            // Reads the clock once per batch, as long as no write takes time in between.
            let mut fresh = self.queue.is_at_end_of_batch();
            let item = match self.queue.ready() {
                Some(item) => Some(item),
                None => {
                    fresh = true;
                    self.flush(&mut batch);
                    match self.queue.wait(self.view.due()) {
                        Some(item) => item,
                        None => {
                            self.view.settle(Moment::now(), &mut batch);
                            continue;
                        }
                    }
                }
            };
            if fresh {
                at = Moment::now();
            }
            match item {
                Some(Item::Event(Event::Bye(outcome))) => {
                    return self.end(outcome.reason, &mut batch);
                }
                Some(Item::Event(event)) => self.view.event(event, at, &mut batch),
                Some(Item::Local(local)) => self.view.local(local, at, &mut batch),
                None => return self.break_off(&mut batch),
            }
            if batch.out.len() >= BATCH || batch.err.len() >= BATCH {
                self.flush(&mut batch);
                at = Moment::now();
            }
            if self.view.due().is_some_and(|due| due <= at.now) {
                self.view.settle(at, &mut batch);
            }
        }
    }

    /// The engine has gone without a last event.
    fn break_off(&mut self, batch: &mut OutputBatch) -> u8 {
        self.counters.fail();
        self.end(ByeReason::Failed, batch)
    }

    fn end(&mut self, reason: ByeReason, batch: &mut OutputBatch) -> u8 {
        if reason == ByeReason::Panic {
            // This is not the end of the run, and the status is not used.
            self.flush(batch);
            return 0;
        }
        // Messages that the input sent before it ended.
        while let Ok(local) = self.queue.locals.try_recv() {
            self.view.local(local.item, Moment::now(), batch);
        }
        self.view.settle(Moment::now(), batch);
        self.flush(batch);
        let reason = match self.counters.has_failed() {
            true => ByeReason::Failed,
            false => reason,
        };
        let status = self.counters.status().code();
        self.view.bye(reason, status, Moment::now(), batch);
        self.flush(batch);
        if let Sink::Screen(screen) = &self.sink {
            screen.end();
        }
        // The last lines may have failed to be written.
        self.counters.status().code()
    }

    fn flush(&mut self, batch: &mut OutputBatch) {
        if !batch.err.is_empty() {
            self.diagnostics.write(&batch.err);
            wipe(&mut batch.err);
        }
        if batch.out.is_empty() {
            return;
        }
        if !self.mute {
            let (counters, events) = (&self.counters, &self.queue.events);
            let is_over = || counters.phase.is_over();
            let is_signalled = || counters.signal().is_some();
            let result = match &mut self.sink {
                // At the end of a run this waits for a slow reader, as any program does, but not
                // after a signal.
                Sink::Stdout(writer) => writer.write(&batch.out, &mut || {
                    events.is_closed() || (is_over() && is_signalled())
                }),
                Sink::Screen(screen) => {
                    screen.write(&batch.out, &mut || events.is_closed() || is_over())
                }
            };
            self.written(result, &mut batch.shown);
        }
        wipe(&mut batch.out);
        batch.shown.clear();
    }

    fn written(&mut self, result: Result<(), WriteError>, shown: &mut Vec<Shown>) {
        match result {
            Ok(()) => {
                if !shown.is_empty() {
                    // An engine that is gone needs no report.
                    let _ = self.shown.send(std::mem::take(shown));
                }
                return;
            }
            Err(WriteError::Shut) => rest(),
            Err(WriteError::GivenUp) => {}
            Err(WriteError::Closed) => self.close(),
            Err(WriteError::Failed(why)) => {
                self.counters.fail();
                self.diagnostics.write(
                    format!("sesame: cannot write to stdout: {}\n", reason(&why)).as_bytes(),
                );
                self.close();
            }
        }
        self.mute = true;
    }

    fn close(&self) {
        tell_closed(&self.control, &self.closed);
    }
}

/// Empties a buffer that lives on. What was written must not stay in it.
fn wipe(bytes: &mut Vec<u8>) {
    bytes.as_mut_slice().zeroize();
    bytes.clear();
}

/// Reports once that stdout is closed.
pub(super) fn tell_closed(control: &mpsc::UnboundedSender<Control>, closed: &AtomicBool) {
    if !closed.swap(true, Ordering::SeqCst) {
        // An engine that is gone has nothing to end.
        let _ = control.send(Control::OutputClosed);
    }
}

/// After a panic this thread does nothing more; the process continues as another image.
fn rest() -> ! {
    loop {
        thread::park();
    }
}
