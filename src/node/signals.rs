//! Signals: the end, and panic (USAGE.md, "How a run ends").

use std::io;
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::Ordering;
#[cfg(unix)]
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::names::Names;
#[cfg(unix)]
use crate::exit;
use crate::front;
use crate::mesh::{Outcome, Tag};
use crate::port::{Control, Tally};
#[cfg(unix)]
use crate::secret::harden;

/// How long a signal that came before the end is waited for.
#[cfg(unix)]
const LAST_LOOK: Duration = Duration::from_millis(1);

/// How long a panic waits for a session that has ended to have said it.
#[cfg(unix)]
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What the session is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It takes what signals ask for.
    Running,
    /// It is over, in this way, but for what it has left to say, which somebody may not take.
    Ending(Outcome),
    /// Nothing is left but to end the process.
    Over,
    /// Another image is about to go on.
    Panicking,
}

/// The session's side.
pub struct Signals {
    /// To be told what the session is at: what comes when nobody takes signals any more waits for it
    /// to be known why.
    pub stage: watch::Sender<Stage>,
    watching: JoinHandle<()>,
}

impl Signals {
    /// To be awaited before the process ends: a panic that was asked for when the session had ended
    /// already at least finds the name gone.
    pub async fn over(self) {
        self.stage.send_replace(Stage::Over);
        // It does not fail, and if it did that would be no reason not to end.
        let _ = self.watching.await;
    }
}

/// Handles signals from now on; to be called within a runtime, on the thread that is to receive
/// them. Gives the numbers of those that ask for the end. Once the session is over, the first of
/// them is left to the tally, where who writes finds it and is patient for a moment only; another
/// one ends the process.
///
/// # Errors
/// The system's, if a handler cannot be set.
#[cfg(unix)]
pub fn watch(
    control: mpsc::UnboundedSender<Control>,
    names: Arc<Names>,
    tally: Arc<Tally>,
) -> io::Result<(Signals, mpsc::UnboundedReceiver<i32>)> {
    use tokio::signal::unix::{SignalKind, signal};
    const PANIC: SignalKind = SignalKind::user_defined1();
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut panic = signal(PANIC)?;
    harden::unblock_signals();
    let (ends, ends_out) = mpsc::unbounded_channel();
    let (stage, mut now) = watch::channel(Stage::Running);
    let watching = tokio::spawn(async move {
        let mut panic_wanted = false;
        let mut left = None;
        loop {
            let kind = tokio::select! {
                biased;
                _ = panic.recv() => {
                    panic_wanted = true;
                    // A session that has ended does not take it: below.
                    let _ = control.send(Control::Panic(Tag::default()));
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
            let at = now.borrow_and_update().clone();
            match (at, left) {
                (Stage::Ending(_), _) if panic_wanted => {
                    names.forget();
                    // All but what is left to say is over: mostly that takes no time.
                    if tokio::time::timeout(LAST_WORDS, now.changed())
                        .await
                        .is_ok()
                    {
                        return;
                    }
                    end(128 + PANIC.as_raw_value());
                }
                (Stage::Ending(outcome), Some(number)) => {
                    left = None;
                    if tally.signal.swap(number, Ordering::Relaxed) != 0 {
                        front::restore_terminal();
                        exit::tell_undelivered(&outcome);
                        end(exit::status(&outcome, &tally).into());
                    }
                }
                (Stage::Over, _) => {
                    // The runtime hands on the signals that have come no later than it wakes a
                    // sleeper.
                    let last = tokio::time::timeout(LAST_LOOK, panic.recv()).await;
                    if panic_wanted || last.is_ok() {
                        names.forget();
                    }
                    return;
                }
                (Stage::Panicking, Some(number)) => {
                    left = None;
                    pass_on(number);
                }
                _ => {}
            }
        }
    });
    Ok((Signals { stage, watching }, ends_out))
}

/// Leaves a signal, if it is one, to the image that comes: it is blocked, and so waits for the
/// handlers there.
#[cfg(unix)]
pub fn pass_on(number: i32) {
    use rustix::process::{Signal, getpid, kill_process};
    if let Some(signal) = Signal::from_named_raw(number) {
        // A process may always send itself one.
        let _ = kill_process(getpid(), signal);
    }
}

/// There is no image that comes.
#[cfg(not(unix))]
pub fn pass_on(_: i32) {}

/// Handles Ctrl-C from now on; to be called within a runtime. It counts as SIGINT.
///
/// # Errors
/// None here.
#[cfg(not(unix))]
pub fn watch(
    _control: mpsc::UnboundedSender<Control>,
    _names: Arc<Names>,
    _tally: Arc<Tally>,
) -> io::Result<(Signals, mpsc::UnboundedReceiver<i32>)> {
    const SIGINT: i32 = 2;
    let (ends, ends_out) = mpsc::unbounded_channel();
    let (stage, mut now) = watch::channel(Stage::Running);
    let watching = tokio::spawn(async move {
        loop {
            tokio::select! {
                changed = now.changed() => if changed.is_err() || *now.borrow() == Stage::Over {
                    return;
                },
                caught = tokio::signal::ctrl_c() => match caught {
                    Ok(()) => if ends.send(SIGINT).is_err() {
                        end(128 + SIGINT);
                    },
                    Err(_) => return,
                },
            }
        }
    });
    Ok((Signals { stage, watching }, ends_out))
}

/// The run is over, and what it has left to say is taken by nobody.
fn end(status: i32) {
    front::restore_terminal();
    std::process::exit(status);
}
