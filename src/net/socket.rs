//! What the kernel is asked for on a connection's socket.

use std::io;
#[cfg(unix)]
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

#[cfg(unix)]
use crate::secret::descriptor::limit_retransmission_timeout;

/// How much may wait in the kernel unsent where cells are not paced, in bytes: enough to keep a
/// fast network busy.
const UNPACED_UNSENT: u32 = 1 << 20;

/// The longest wait before data are sent again that nobody acknowledged. The kernel's own limit is
/// two minutes: a link would stay silent for as long again as a cable was out.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// Sets what holds for a connection's whole life: no delay of small writes, no probes of the
/// kernel's own, its end once sent data stay unacknowledged for `inactivity`, and until then a try
/// each [`RETRANSMISSION`]. What the system does not know is left out.
pub fn prepare(stream: &TcpStream, inactivity: Duration) {
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_keepalive(false);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let _ = socket.set_tcp_user_timeout(Some(inactivity));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = inactivity;
    #[cfg(unix)]
    let _ = limit_retransmission_timeout(stream.as_fd(), RETRANSMISSION);
}

/// Whether both ends have one address: then the other one is on this computer.
pub fn is_with_own_computer(stream: &TcpStream) -> bool {
    let ends = (stream.local_addr(), stream.peer_addr());
    matches!(ends, (Ok(here), Ok(there)) if here.ip() == there.ip())
}

/// How full the kernel lets its queue of unsent data become: for paced cells, each has to be out
/// before the next is taken.
pub fn pace(stream: &TcpStream, paced: bool) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let unsent = if paced { 1 } else { UNPACED_UNSENT };
        let _ = socket2::SockRef::from(stream).set_tcp_notsent_lowat(unsent);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, paced, UNPACED_UNSENT);
}

/// Waits until all that was written has been sent; [`pace`] must have been told `true`. Where the
/// system cannot tell, until it takes more.
///
/// # Errors
/// The socket's.
pub async fn wholly_sent(stream: &TcpStream) -> io::Result<()> {
    #[cfg(unix)]
    return stream
        .async_io(Interest::WRITABLE, || match is_writable(stream) {
            true => Ok(()),
            // Asked for inside this closure, so that no wake-up falls between answer and wait.
            false => Err(io::ErrorKind::WouldBlock.into()),
        })
        .await;
    #[cfg(not(unix))]
    stream.ready(Interest::WRITABLE).await.map(|_| ())
}

/// Whether all that was written has been sent; see [`wholly_sent`].
pub fn is_wholly_sent(stream: &TcpStream) -> bool {
    #[cfg(unix)]
    return is_writable(stream);
    #[cfg(not(unix))]
    {
        let _ = stream;
        true
    }
}

/// Writes without waiting, from any thread, whatever the runtime believes about the socket.
///
/// # Errors
/// The socket's.
pub fn write(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let socket = socket2::SockRef::from(stream);
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return socket.send_with_flags(bytes, libc::MSG_NOSIGNAL);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    socket.send(bytes)
}

/// Reads what is there, without waiting. Less than would fit means that no more is there: then the
/// next wait for input begins without a read that finds nothing.
///
/// # Errors
/// The socket's.
pub fn read(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    #[cfg(unix)]
    {
        let mut read = None;
        // What came since the runtime last heard of it is not overlooked: it compares.
        let result = stream.try_io(Interest::READABLE, || {
            let n = rustix::io::read(stream, &mut *bytes)?;
            read = Some(n);
            match n < bytes.len() && n > 0 {
                true => Err(io::ErrorKind::WouldBlock.into()),
                false => Ok(n),
            }
        });
        read.map_or(result, Ok)
    }
    #[cfg(not(unix))]
    stream.try_read(bytes)
}

/// Asks the kernel itself, since the runtime's own idea of writability is of the past. With
/// TCP_NOTSENT_LOWAT at 1, a socket is writable when nothing unsent is left (tcp(7)).
#[cfg(unix)]
fn is_writable(stream: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut asked = [PollFd::new(stream, PollFlags::OUT)];
    // An error counts as writable: the write that follows will meet it.
    !matches!(poll(&mut asked, Some(&Timespec::default())), Ok(0))
}
