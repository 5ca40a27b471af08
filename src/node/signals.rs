//! Signals: the end, and panic (INTERFACE.md, "Exit status").

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::names::Names;
use crate::front;
use crate::port::Control;
#[cfg(unix)]
use crate::secret::harden;

/// What the session is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It takes what signals ask for.
    Running,
    /// It is over but for what it has left to say, which somebody may not take.
    Ending,
    /// Another image is about to go on.
    Panicking,
}

/// The session's side.
pub struct Signals {
    /// The numbers of those that ask for the end.
    pub ends: mpsc::UnboundedReceiver<i32>,
    /// To be told what the session is at: what comes when nobody takes `ends` any more waits for
    /// it to be known why.
    pub stage: watch::Sender<Stage>,
}

/// Handles signals from now on; to be called within a runtime, on the thread that is to receive
/// them.
///
/// # Errors
/// The system's, if a handler cannot be set.
#[cfg(unix)]
pub fn watch(control: mpsc::UnboundedSender<Control>, names: Arc<Names>) -> io::Result<Signals> {
    use tokio::signal::unix::{SignalKind, signal};
    const PANIC: SignalKind = SignalKind::user_defined1();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut panic = signal(PANIC)?;
    harden::unblock_signals();
    let (ends, ends_out) = mpsc::unbounded_channel();
    let (stage, mut now) = watch::channel(Stage::Running);
    tokio::spawn(async move {
        let mut panic_wanted = false;
        let mut left = None;
        loop {
            let kind = tokio::select! {
                biased;
                _ = panic.recv() => {
                    panic_wanted = true;
                    // A session that has ended does not take it: below.
                    let _ = control.send(Control::Panic);
                    None
                }
                changed = now.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
                _ = terminate.recv() => Some(SignalKind::terminate()),
                _ = hangup.recv() => Some(SignalKind::hangup()),
                _ = interrupt.recv() => Some(SignalKind::interrupt()),
            };
            if let Some(number) = kind.map(|kind| kind.as_raw_value())
                && ends.send(number).is_err()
            {
                left = Some(number);
            }
            match (*now.borrow_and_update(), left) {
                (Stage::Ending, _) if panic_wanted => {
                    names.forget();
                    end(PANIC.as_raw_value());
                }
                (Stage::Ending, Some(number)) => end(number),
                (Stage::Panicking, Some(number)) => {
                    left = None;
                    pass_on(number);
                }
                _ => {}
            }
        }
    });
    Ok(Signals {
        ends: ends_out,
        stage,
    })
}

/// Leaves a signal to the image that comes: it is blocked, and so waits for the handlers there.
#[cfg(unix)]
fn pass_on(number: i32) {
    use rustix::process::{Signal, getpid, kill_process};
    if let Some(signal) = Signal::from_named_raw(number) {
        // A process may always send itself one.
        let _ = kill_process(getpid(), signal);
    }
}

/// Handles Ctrl-C from now on; to be called within a runtime. It counts as SIGINT.
///
/// # Errors
/// None here.
#[cfg(not(unix))]
pub fn watch(_control: mpsc::UnboundedSender<Control>, _names: Arc<Names>) -> io::Result<Signals> {
    const SIGINT: i32 = 2;
    let (ends, ends_out) = mpsc::unbounded_channel();
    let (stage, _) = watch::channel(Stage::Running);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if ends.send(SIGINT).is_err() {
                end(SIGINT);
            }
        }
    });
    Ok(Signals {
        ends: ends_out,
        stage,
    })
}

/// The run is over, and what it has left to say is taken by nobody.
fn end(signal: i32) {
    front::restore_terminal();
    std::process::exit(128 + signal);
}
