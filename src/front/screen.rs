//! The terminal that the line editor and the output share. Text appears above the line being typed,
//! and counts as handed over once it is on the terminal.
//!
//! One thread writes all of it, so that keys are read even while the terminal takes no output.
//! [`layout`](super::layout) describes how it copes with a terminal that may change its size at any
//! moment.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::clock;
use super::layout::{Layout, one_row};
use super::title::Title;
use super::writer::{Gate, WriteError, Writer};
use crate::sys::console;
use wrap::push_wrapped;

pub(super) use super::layout::Block;

/// Clears the screen, then the scrollback, because some terminals scroll out what they clear.
pub(super) const CLEAR: &[u8] = b"\x1b[H\x1b[2J\x1b[3J";
const CLEAR_SCREEN: &[u8] = b"\x1b[H\x1b[2J";
const PASTE_ON: &[u8] = b"\x1b[?2004h";
const PASTE_OFF: &[u8] = b"\x1b[?2004l";
/// Cuts off what is too long for a row instead of wrapping it. The number of rows is then right
/// even if the terminal has become narrower and this program does not know it yet.
const WRAP_OFF: &[u8] = b"\x1b[?7l";
const WRAP_ON: &[u8] = b"\x1b[?7h";
const CLEAR_ROW: &[u8] = b"\x1b[K";
const CLEAR_BELOW: &[u8] = b"\x1b[J";
const BOLD: &[u8] = b"\x1b[1m";
const DIM: &[u8] = b"\x1b[2m";
const PLAIN: &[u8] = b"\x1b[0m";

/// How often a waiting writer checks for the end.
const LOOK_UP: Duration = Duration::from_millis(50);
/// How long a terminal that takes no output delays the end of a run.
const LAST_PATIENCE: Duration = Duration::from_millis(500);
/// How long a terminal that takes no output delays a stop.
const HIDE_PATIENCE: Duration = Duration::from_millis(200);
/// How many typed lines may wait to be written; the thread that adds more waits.
const MOST_WAITING: usize = 64;

/// Output other than the line being typed.
enum Job {
    /// Text above the line; its sender waits for the result.
    Print(String),
    /// A typed line, which stays on the terminal.
    Commit(String),
    /// Clears everything, with or without the scrollback.
    Clear(&'static [u8]),
    /// Another program gets the terminal.
    Hide,
    /// The terminal is back, in an unknown state.
    Appear,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    block: Option<Block>,
    /// The text of the row above the block; empty: there is no such row.
    status: String,
    /// How many messages came since the last key; `None`: the terminal keeps its title.
    unread: Option<usize>,
    /// The block, the status, or the terminal's size has changed.
    stale: bool,
    /// The result of printing a text, until its sender takes it.
    printed: Option<Result<(), WriteError>>,
    hidden: bool,
}

/// The content of the terminal, shared by the editor, the screen and the writing thread.
#[derive(Default)]
pub(super) struct SharedScreen {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl SharedScreen {
    /// With an empty line being typed.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Shows this as the line being typed.
    pub(super) fn show(&self, block: Block) {
        self.change(|inner| {
            inner.block = Some(block);
            inner.stale = true;
        });
    }

    /// Shows this in a row of its own above the line being typed, as much of it as fits; nothing if
    /// it is empty. It must be sanitised.
    pub(super) fn show_status(&self, status: String) {
        let mut inner = self.lock();
        if inner.status != status {
            inner.status = status;
            inner.stale = true;
            self.changed.notify_all();
        }
    }

    /// From now on the window's title shows how many messages are unread.
    pub(super) fn begin_title(&self) {
        self.change(|inner| inner.unread = Some(0));
    }

    /// Another message is about to be shown.
    pub(super) fn count_unread(&self) {
        self.lock()
            .unread
            .iter_mut()
            .for_each(|unread| *unread += 1);
    }

    /// The user has pressed a key, so all messages are read.
    pub(super) fn count_all_read(&self) {
        let mut inner = self.lock();
        if inner.unread > Some(0) {
            inner.unread = Some(0);
            inner.stale = true;
            self.changed.notify_all();
        }
    }

    /// Leaves a typed line on the terminal, with its prompt, and shows the next one.
    pub(super) fn commit(&self, line: String, next: Block) {
        let mut inner = self.lock();
        while inner.jobs.len() >= MOST_WAITING {
            inner = self.wait(inner);
        }
        inner.jobs.push_back(Job::Commit(line));
        inner.block = Some(next);
        self.changed.notify_all();
    }

    /// No more lines will be typed.
    pub(super) fn leave(&self) {
        self.change(|inner| {
            inner.block = None;
            inner.stale = true;
        });
    }

    /// Clears the screen, and with `all` its scrollback too.
    pub(super) fn clear(&self, all: bool) {
        let how = if all { CLEAR } else { CLEAR_SCREEN };
        self.change(|inner| inner.jobs.push_back(Job::Clear(how)));
    }

    /// The terminal has another size.
    pub(super) fn resized(&self) {
        self.change(|inner| inner.stale = true);
    }

    /// Removes the line being typed, because another program gets the terminal, and prints nothing
    /// until [`Self::appear`]. Returns when that is done, or when the terminal takes no output.
    pub(super) fn hide(&self) {
        self.change(|inner| inner.jobs.push_back(Job::Hide));
        let until = clock::now() + HIDE_PATIENCE;
        let mut inner = self.lock();
        while !inner.hidden {
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return;
            }
            inner = match self.changed.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// The terminal belongs to this program again. The position of the cursor is unknown.
    pub(super) fn appear(&self) {
        self.change(|inner| {
            inner
                .jobs
                .retain(|job| !matches!(job, Job::Hide | Job::Appear));
            inner.hidden = false;
            inner.jobs.push_front(Job::Appear);
        });
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, inner: MutexGuard<'a, Inner>) -> MutexGuard<'a, Inner> {
        self.changed
            .wait(inner)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work. Returns it with what to show behind it: the block, the status, and the
    /// number of unread messages.
    fn work(&self) -> (VecDeque<Job>, Option<Block>, String, Option<usize>) {
        let mut inner = self.lock();
        while inner.hidden || (inner.jobs.is_empty() && !inner.stale) {
            inner = self.wait(inner);
        }
        inner.stale = false;
        let jobs = mem::take(&mut inner.jobs);
        self.changed.notify_all();
        let (block, status) = (inner.block.clone(), inner.status.clone());
        (jobs, block, status, inner.unread)
    }
}

/// Writes above the line being typed.
pub(super) struct Screen {
    shared: Arc<SharedScreen>,
    gate: Arc<Gate>,
}

impl Screen {
    /// Removes the line being typed and its status at the end of a run. Returns when that is done,
    /// or when the terminal takes no output.
    pub(super) fn end(&self) {
        self.shared.hide();
    }

    /// Starts the writing thread. With `colour` the prompt is highlighted.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        writer: Writer,
        shared: Arc<SharedScreen>,
        gate: Arc<Gate>,
        colour: bool,
    ) -> io::Result<Self> {
        let mut printer = PrinterThread {
            writer,
            shared: Arc::clone(&shared),
            painter: Painter::new(colour),
        };
        thread::Builder::new()
            .name("screen".into())
            .spawn(move || printer.run())?;
        Ok(Self { shared, gate })
    }

    /// Returns when the text is on the terminal. Until then it asks `is_over` repeatedly whether
    /// the run is over, and if so, stops waiting soon.
    ///
    /// # Errors
    /// Why the text may not be on the terminal.
    pub(super) fn write(
        &mut self,
        bytes: &[u8],
        is_over: &mut dyn FnMut() -> bool,
    ) -> Result<(), WriteError> {
        let mut inner = self.shared.lock();
        inner
            .jobs
            .push_back(Job::Print(String::from_utf8_lossy(bytes).into_owned()));
        self.shared.changed.notify_all();
        let mut patience: Option<Instant> = None;
        loop {
            if let Some(result) = inner.printed.take() {
                return result;
            }
            if self.gate.is_shut() {
                return Err(WriteError::Shut);
            }
            if is_over() {
                let now = clock::now();
                if now >= *patience.get_or_insert(now + LAST_PATIENCE) {
                    return Err(WriteError::GivenUp);
                }
            }
            inner = match self.shared.changed.wait_timeout(inner, LOOK_UP) {
                Ok((inner, _)) => inner,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }
}

/// The terminal's width as far as known.
pub(super) fn columns() -> usize {
    Size::of_terminal().columns
}

/// Columns and rows.
#[derive(Clone, Copy, Debug)]
struct Size {
    columns: usize,
    rows: usize,
}

impl Size {
    /// The terminal's size as far as known. It may be out of date at any moment.
    fn of_terminal() -> Self {
        let size = console::size();
        let or =
            |value: Option<u16>, default| value.filter(|v| *v > 0).map_or(default, usize::from);
        Self {
            columns: or(size.map(|size| size.0), 80),
            rows: or(size.map(|size| size.1), 24),
        }
    }
}

struct PrinterThread {
    writer: Writer,
    shared: Arc<SharedScreen>,
    painter: Painter,
}

impl PrinterThread {
    fn run(&mut self) {
        loop {
            let (jobs, block, status, unread) = self.shared.work();
            self.painter.unread = unread;
            let asked = jobs.iter().any(|job| matches!(job, Job::Print(_)));
            let hides = matches!(jobs.back(), Some(Job::Hide));
            let size = Size::of_terminal();
            let bytes = self.painter.paint(jobs, block.as_ref(), &status, size);
            let title = &self.painter.title;
            if title.is_ours() {
                title.note();
            }
            let result = self.writer.write(&bytes, &mut || false);
            if result.is_ok() {
                title.note();
            }
            self.shared.change(|inner| {
                if asked {
                    inner.printed = Some(result);
                }
                // Unless the terminal has come back meanwhile.
                if hides && !matches!(inner.jobs.front(), Some(Job::Appear)) {
                    inner.hidden = true;
                }
            });
        }
    }
}

/// Remembers what it has painted last, and makes the bytes that show the present state.
struct Painter {
    colour: bool,
    /// How many rows of the painted block, with its status, are above the cursor; `None` if no block
    /// is on the terminal.
    above: Option<usize>,
    /// Whether bracketed paste is on.
    marks_pastes: bool,
    /// How many messages are unread; `None`: the terminal keeps its title.
    unread: Option<usize>,
    title: Title,
}

impl Painter {
    fn new(colour: bool) -> Self {
        Self {
            colour,
            above: None,
            marks_pastes: false,
            unread: None,
            title: Title::default(),
        }
    }

    fn paint(
        &mut self,
        jobs: VecDeque<Job>,
        block: Option<&Block>,
        status: &str,
        size: Size,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut hidden = false;
        for job in jobs {
            hidden = matches!(job, Job::Hide);
            match job {
                Job::Print(text) => {
                    self.remove(&mut out);
                    push_lines(&mut out, &text, size.columns);
                }
                Job::Commit(line) => {
                    self.remove(&mut out);
                    push_committed(&mut out, &line, size.columns);
                }
                Job::Clear(how) => {
                    out.extend_from_slice(how);
                    self.above = None;
                }
                Job::Hide => {
                    self.remove(&mut out);
                    out.extend_from_slice(PASTE_OFF);
                    self.marks_pastes = false;
                    self.title.restore(&mut out);
                }
                Job::Appear => {
                    // Below the cursor and in its row there can only be an older copy.
                    self.above = None;
                    out.extend_from_slice(b"\r");
                    out.extend_from_slice(CLEAR_BELOW);
                    self.marks_pastes = false;
                    self.title.doubt();
                }
            }
        }
        match block {
            Some(block) if !hidden => self.push_block(&mut out, block, status, size),
            _ => self.remove(&mut out),
        }
        out
    }

    /// Goes to the beginning of the block, or at least not above it.
    fn push_start(&mut self, out: &mut Vec<u8>) {
        out.push(b'\r');
        push_up(out, self.above.take().unwrap_or(0));
    }

    fn remove(&mut self, out: &mut Vec<u8>) {
        if self.above.is_some() {
            self.push_start(out);
            out.extend_from_slice(CLEAR_BELOW);
        }
    }

    fn push_block(&mut self, out: &mut Vec<u8>, block: &Block, status: &str, size: Size) {
        // Half of the screen is for messages and notices. What scrolled out could not be painted
        // over.
        let most_rows = size.rows / 2;
        let has_status = !status.is_empty() && most_rows > 1;
        let most_rows = most_rows - usize::from(has_status);
        let layout = Layout::of(block, size.columns, most_rows);
        if !mem::replace(&mut self.marks_pastes, true) {
            out.extend_from_slice(PASTE_ON);
        }
        if let Some(unread) = self.unread {
            self.title.push(out, unread);
        }
        self.push_start(out);
        out.extend_from_slice(WRAP_OFF);
        if has_status {
            self.push_status(out, &one_row(status, size.columns));
        }
        for (number, row) in layout.rows.iter().enumerate() {
            if number > 0 {
                out.extend_from_slice(b"\r\n");
            }
            let prompt = if number == 0 { layout.prompt } else { 0 };
            self.push_row(out, row, prompt);
            out.extend_from_slice(CLEAR_ROW);
        }
        out.extend_from_slice(CLEAR_BELOW);
        let last = layout.rows.len() - 1;
        let row = &layout.rows[layout.cursor_row];
        if layout.cursor_row < last || layout.cursor_at < row.len() {
            push_up(out, last - layout.cursor_row);
            out.push(b'\r');
            // Paints it again up to the cursor, since only the terminal knows how wide it is.
            let prompt = if layout.cursor_row == 0 {
                layout.prompt
            } else {
                0
            };
            self.push_row(out, &row[..layout.cursor_at], prompt);
        }
        out.extend_from_slice(WRAP_ON);
        self.above = Some(usize::from(has_status) + layout.cursor_row);
    }

    fn push_status(&self, out: &mut Vec<u8>, row: &str) {
        self.push_styled(out, DIM, row);
        out.extend_from_slice(CLEAR_ROW);
        out.extend_from_slice(b"\r\n");
    }

    fn push_row(&self, out: &mut Vec<u8>, row: &str, prompt: usize) {
        let (prompt, rest) = row.split_at(prompt.min(row.len()));
        self.push_styled(out, BOLD, prompt);
        out.extend_from_slice(rest.as_bytes());
    }

    fn push_styled(&self, out: &mut Vec<u8>, style: &[u8], text: &str) {
        if self.colour && !text.is_empty() {
            out.extend_from_slice(style);
            out.extend_from_slice(text.as_bytes());
            out.extend_from_slice(PLAIN);
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Appends a line that is no longer edited, wrapped like the lines above it.
fn push_committed(out: &mut Vec<u8>, line: &str, columns: usize) {
    let line: String = line
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect();
    push_lines(out, &line, columns);
    out.extend_from_slice(b"\r\n");
}

fn push_up(out: &mut Vec<u8>, rows: usize) {
    if rows > 0 {
        out.extend_from_slice(format!("\x1b[{rows}A").as_bytes());
    }
}

/// With carriage returns, because the terminal's modes may not add them.
fn push_lines(out: &mut Vec<u8>, text: &str, columns: usize) {
    for piece in text.split_inclusive('\n') {
        match piece.strip_suffix('\n') {
            Some(line) => {
                push_wrapped(out, line, columns);
                out.extend_from_slice(b"\r\n");
            }
            None => push_wrapped(out, piece, columns),
        }
    }
}

mod wrap;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
