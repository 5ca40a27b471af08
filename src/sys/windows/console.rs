//! The console that a line editor takes and gives back, and what happens to it: another size.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use windows_sys::Win32::System::Console::{
    CONSOLE_SCREEN_BUFFER_INFO, ENABLE_ECHO_INPUT, ENABLE_LINE_INPUT, ENABLE_PROCESSED_INPUT,
    ENABLE_PROCESSED_OUTPUT, ENABLE_VIRTUAL_TERMINAL_INPUT, ENABLE_VIRTUAL_TERMINAL_PROCESSING,
    ENABLE_WINDOW_INPUT, ENABLE_WRAP_AT_EOL_OUTPUT, GetConsoleMode, GetConsoleScreenBufferInfo,
    SetConsoleMode,
};

use super::console_input;
use super::native::{self, checked, raw};
use super::stream::Output;

pub use crate::sys::awaited::Happened;

/// How often, a millisecond apart, it is looked whether the modes are free.
const LOOKS: usize = 20;
/// How long the last words for a console may take.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// How the console was before the line editor changed it. `None` in a run without an editor.
static BEFORE: Mutex<Option<Modes>> = Mutex::new(None);

/// How a console treats what is typed and what is written.
#[derive(Clone, Copy)]
pub(super) struct Modes {
    input: u32,
    output: u32,
}

impl Modes {
    /// Those of the console that standard input and output are.
    ///
    /// # Errors
    /// If one of them is none.
    pub(super) fn of_streams() -> io::Result<Self> {
        Ok(Self {
            input: mode(io::stdin().as_handle())?,
            output: mode(io::stdout().as_handle())?,
        })
    }

    /// Gives the console these modes.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn set(&self) -> io::Result<()> {
        set_mode(io::stdin().as_handle(), self.input)?;
        set_mode(io::stdout().as_handle(), self.output)
    }
}

/// The mode of a console.
///
/// # Errors
/// If it is none.
pub(super) fn mode(console: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut mode = 0;
    // SAFETY: the handle is open, and the system fills the number.
    checked(unsafe { GetConsoleMode(raw(console), &raw mut mode) })?;
    Ok(mode)
}

/// Gives a console this mode.
///
/// # Errors
/// If it is none, or does not know the mode.
pub(super) fn set_mode(console: BorrowedHandle<'_>, mode: u32) -> io::Result<()> {
    // SAFETY: the handle is open.
    checked(unsafe { SetConsoleMode(raw(console), mode) })
}

/// The mode in which each key comes by itself, is not shown, and asks for nothing.
///
/// # Errors
/// If this is no console.
pub(super) fn take_keys(console: BorrowedHandle<'_>, before: u32) -> io::Result<()> {
    let edits = ENABLE_ECHO_INPUT | ENABLE_LINE_INPUT | ENABLE_PROCESSED_INPUT;
    let keys = before & !edits | ENABLE_WINDOW_INPUT;
    // An older console knows no sequences; its keys are translated.
    set_mode(console, keys | ENABLE_VIRTUAL_TERMINAL_INPUT)
        .or_else(|_| set_mode(console, keys & !ENABLE_VIRTUAL_TERMINAL_INPUT))
}

/// Takes the console for a line editor: keys come one by one, and are not shown, and what is written
/// may have sequences.
///
/// # Errors
/// If standard input or output is none, or the console knows no sequences.
pub fn take() -> io::Result<()> {
    let modes = Modes::of_streams()?;
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = before.get_or_insert(modes);
    let output =
        ENABLE_PROCESSED_OUTPUT | ENABLE_WRAP_AT_EOL_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING;
    set_mode(io::stdout().as_handle(), before.output | output)?;
    take_keys(io::stdin().as_handle(), before.input)
}

/// A process on Windows is not stopped.
pub fn lend() {}

/// Writes `last`, without waiting for long, and puts the console back into the state that it had
/// before [`take`]. Does nothing where it was not taken, and then gives false. May be called from any
/// thread.
pub fn give_back(last: &[u8]) -> bool {
    let Some(mut before) = before_soon() else {
        return false;
    };
    let Some(modes) = before.take() else {
        return false;
    };
    write_soon(last);
    let _ = modes.set();
    true
}

/// Writes to the console, if it was taken and takes that soon.
pub fn write(bytes: &[u8]) {
    if before_soon().is_some_and(|before| before.is_some()) {
        write_soon(bytes);
    }
}

fn write_soon(bytes: &[u8]) {
    let console = Output::stdout();
    let mut left = bytes;
    while let Ok(written) = console.write(left) {
        left = &left[written..];
        if left.is_empty() {
            return;
        }
    }
    console.wait(LAST_WORDS);
}

/// Throws away what was typed and not read: it must not reach the shell.
pub fn discard_typed() {
    native::flush_console(io::stdin().as_handle());
}

/// There is no job control: the console is always this process's.
pub fn is_in_foreground() -> bool {
    true
}

/// Columns and rows of the window, if standard output is a console.
pub fn size() -> Option<(u16, u16)> {
    let mut about = CONSOLE_SCREEN_BUFFER_INFO::default();
    // SAFETY: the handle is open, and the system fills the struct.
    let known =
        unsafe { GetConsoleScreenBufferInfo(raw(io::stdout().as_handle()), &raw mut about) } != 0;
    let length = |from: i16, to: i16| u16::try_from(i32::from(to) - i32::from(from) + 1).ok();
    let window = about.srWindow;
    let columns = length(window.Left, window.Right)?;
    let rows = length(window.Top, window.Bottom)?;
    known.then_some((columns, rows))
}

/// There is no stop.
pub fn suspend() {}

/// Nothing interrupts a thread here.
///
/// # Errors
/// None.
pub fn hold_events() -> io::Result<()> {
    Ok(())
}

/// Hears of what happens to the console.
pub struct Events(());

impl Events {
    /// The console's; the thread that reads keys hears of them.
    ///
    /// # Errors
    /// None.
    pub fn begin() -> io::Result<Self> {
        Ok(Self(()))
    }

    /// Nothing interrupts a thread here.
    ///
    /// # Errors
    /// None.
    pub fn take_here(&self) -> io::Result<()> {
        Ok(())
    }

    /// Waits until something has happened, or the patience is over.
    pub fn wait(&self, patience: Option<Duration>) -> Happened {
        Happened {
            resized: console_input::wait_for_size(patience),
            ..Happened::default()
        }
    }

    /// There is no stop.
    pub fn stop(&self) {}
}

/// There is no stop.
pub fn can_be_stopped() -> bool {
    false
}

/// The console that is written to, even where standard output is not it.
///
/// # Errors
/// If there is none.
pub(super) fn screen() -> io::Result<Output> {
    let console = File::options().read(true).write(true).open("CONOUT$")?;
    Ok(Output::of(Arc::new(console)))
}

/// The modes, unless somebody holds them for long: a panic must not wait.
fn before_soon() -> Option<MutexGuard<'static, Option<Modes>>> {
    for _ in 0..LOOKS {
        match BEFORE.try_lock() {
            Ok(before) => return Some(before),
            Err(TryLockError::Poisoned(before)) => return Some(before.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
    None
}
