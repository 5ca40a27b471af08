//! Replaces the process: a worker hands over what has to be kept and ends, and the keeper
//! ([`keeper`](super::keeper)) starts another one in its place. The user and the parent see one
//! process, the keeper's.
#![allow(unsafe_code)]

use std::env;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::windows::io::{AsRawSocket, FromRawHandle, FromRawSocket, OwnedHandle, RawHandle};
use std::sync::{Mutex, PoisonError};

use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE};
use windows_sys::Win32::Networking::WinSock::{WSADATA, WSAStartup};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, TerminateProcess};
use zeroize::Zeroizing;

use super::native::checked;
use super::signals;
use super::state_pipe::{self, FIRST, HEADER, MAX_KEPT, NEXT, VARIABLE};
use crate::sys::scrubbed_arguments::ScrubbedArguments;

pub use super::keeper::keep_place;
pub use super::state_pipe::MAX_STATE;

pub use crate::sys::restart::{Inherited, Reserved};

/// What a worker has from the keeper.
struct Place {
    /// Where the state of the next worker goes.
    next: File,
    /// The keeper, which may be given handles.
    keeper: OwnedHandle,
}

static PLACE: Mutex<Option<Place>> = Mutex::new(None);
static ARGUMENTS: Mutex<Option<ScrubbedArguments>> = Mutex::new(None);

/// Nothing has to be got: the keeper has it.
pub fn reserve() -> Reserved {
    Reserved::default()
}

/// Ends this process, and has the keeper start another one, which finds `state` (at most
/// [`MAX_STATE`]) and `listeners` with [`take`]. `wipe` is called when only the end itself is left to
/// do, or when there can be none. Any thread may call this while others run; all of them end.
///
/// Does not return when it succeeds.
///
/// # Errors
/// What failed. `wipe` was called then too: all that is left to do is to exit.
pub fn restart(state: &[u8], listeners: &[TcpListener], wipe: impl FnOnce()) -> io::Error {
    let handed_over = hand_over(state, listeners);
    wipe();
    match handed_over {
        // SAFETY: this process ends, with all of its threads.
        Ok(()) => unsafe {
            TerminateProcess(GetCurrentProcess(), 0);
            io::Error::last_os_error()
        },
        Err(error) => error,
    }
}

fn hand_over(state: &[u8], listeners: &[TcpListener]) -> io::Result<()> {
    let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Place { mut next, keeper }) = place else {
        return Err(io::Error::other("there is no keeper"));
    };
    if state.len() > MAX_STATE || listeners.len() > MAX_KEPT {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let handles = listeners
        .iter()
        .map(|listener| give(&keeper, listener))
        .collect::<io::Result<Vec<u64>>>()?;
    let pending = signals::take_all();
    let mut body = Zeroizing::new(Vec::with_capacity(state.len() + 64));
    body.push(NEXT);
    body.push(u8::try_from(pending.len()).unwrap_or(0));
    body.extend(pending.iter().flat_map(|number| number.to_le_bytes()));
    body.extend_from_slice(state);
    next.write_all(&state_pipe::message(&handles, &body))
}

/// Gives the keeper a handle of this socket, which the next worker inherits.
fn give(keeper: &OwnedHandle, listener: &TcpListener) -> io::Result<u64> {
    use std::os::windows::io::AsRawHandle;
    let socket = listener.as_raw_socket() as HANDLE;
    let mut given: HANDLE = std::ptr::null_mut();
    // SAFETY: all handles are open; the new one belongs to the keeper.
    checked(unsafe {
        DuplicateHandle(
            GetCurrentProcess(),
            socket,
            keeper.as_raw_handle(),
            &raw mut given,
            0,
            1,
            DUPLICATE_SAME_ACCESS,
        )
    })?;
    Ok(given as u64)
}

/// What the worker before this one handed over, if there was one. Call it first thing in `main`,
/// after [`harden`](super::harden::harden) and before anything is opened. In any case the
/// environment shows no trace of it afterwards.
pub fn take() -> Option<Inherited> {
    let variable = env::var(VARIABLE).ok()?;
    // SAFETY: no other thread runs yet.
    unsafe { env::remove_var(VARIABLE) };
    let numbers: Vec<usize> = variable
        .split(',')
        .filter_map(|it| it.parse().ok())
        .collect();
    let [state, next, keeper] = numbers[..] else {
        return None;
    };
    // SAFETY: the keeper made this process inherit these handles, and nothing else knows them.
    let [state, next, keeper] = [state, next, keeper]
        .map(|number| unsafe { OwnedHandle::from_raw_handle(number as RawHandle) });
    *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Place {
        next: next.into(),
        keeper,
    });
    let (handles, body) = read(state.into()).ok()??;
    match *body.first()? {
        FIRST => {
            *ARGUMENTS.lock().unwrap_or_else(PoisonError::into_inner) =
                state_pipe::read_first(&body[1..]);
            None
        }
        _ => {
            let (count, rest) = body[1..].split_first()?;
            let (pending, state) = rest.split_at_checked(4 * usize::from(*count))?;
            for number in pending.as_chunks::<4>().0 {
                signals::send(i32::from_le_bytes(*number));
            }
            Some(Inherited {
                state: Zeroizing::new(state.to_vec()),
                listeners: handles.into_iter().map(own).collect(),
            })
        }
    }
}

fn read(mut pipe: File) -> io::Result<Option<(Vec<u64>, Zeroizing<Vec<u8>>)>> {
    let mut start = [0; HEADER];
    pipe.read_exact(&mut start)?;
    let Some((len, handles)) = state_pipe::header(&start) else {
        return Ok(None);
    };
    let len = usize::try_from(len)
        .unwrap_or(usize::MAX)
        .min(2 * MAX_STATE);
    let mut body = Zeroizing::new(vec![0; len]);
    pipe.read_exact(&mut body)?;
    Ok(Some((handles, body)))
}

/// A socket that this process inherited.
fn own(handle: u64) -> TcpListener {
    let mut about = WSADATA::default();
    // SAFETY: the system fills the struct. The handle is a socket's, which nothing else knows.
    unsafe {
        // Before its first socket a process has to ask for sockets.
        WSAStartup(0x0202, &raw mut about);
        TcpListener::from_raw_socket(handle)
    }
}

/// The arguments that the keeper was started with, once, if there is a keeper.
pub(in crate::sys) fn arguments() -> Option<ScrubbedArguments> {
    ARGUMENTS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
}
