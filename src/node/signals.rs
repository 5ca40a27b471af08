//! Signals: the end, and panic (INTERFACE.md, "Exit status").

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::names::Names;
use crate::front;
use crate::port::Control;
#[cfg(unix)]
use crate::secret::harden;

/// Handles signals from now on; to be called within a runtime, on the thread that is to receive
/// them. Gives the numbers of those that ask for the end; once nobody takes them any more, a signal
/// ends the process.
///
/// # Errors
/// The system's, if a handler cannot be set.
#[cfg(unix)]
pub fn watch(
    control: mpsc::UnboundedSender<Control>,
    names: Arc<Names>,
) -> io::Result<mpsc::UnboundedReceiver<i32>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut panic = signal(SignalKind::user_defined1())?;
    harden::unblock_signals();
    let (ends, ends_out) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let kind = tokio::select! {
                biased;
                _ = panic.recv() => {
                    if control.send(Control::Panic).is_err() {
                        names.forget();
                        end(SignalKind::user_defined1().as_raw_value());
                    }
                    continue;
                }
                _ = terminate.recv() => SignalKind::terminate(),
                _ = hangup.recv() => SignalKind::hangup(),
                _ = interrupt.recv() => SignalKind::interrupt(),
            };
            if ends.send(kind.as_raw_value()).is_err() {
                end(kind.as_raw_value());
            }
        }
    });
    Ok(ends_out)
}

/// Handles Ctrl-C from now on; to be called within a runtime. It counts as SIGINT; once nobody takes
/// it any more, it ends the process.
///
/// # Errors
/// None here.
#[cfg(not(unix))]
pub fn watch(
    _control: mpsc::UnboundedSender<Control>,
    _names: Arc<Names>,
) -> io::Result<mpsc::UnboundedReceiver<i32>> {
    const SIGINT: i32 = 2;
    let (ends, ends_out) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            if ends.send(SIGINT).is_err() {
                end(SIGINT);
            }
        }
    });
    Ok(ends_out)
}

/// The run is over, and what it has left to say is taken by nobody.
fn end(signal: i32) {
    front::restore_terminal();
    std::process::exit(128 + signal);
}
