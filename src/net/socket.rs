//! Options of a connection's socket, and questions to the kernel about it.

use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::sys;

pub use crate::sys::socket::{is_wholly_sent, write};

/// How many unsent bytes the kernel may hold when cells are not paced: enough to keep a fast
/// network busy.
const UNPACED_UNSENT: u32 = 1 << 20;

/// The longest wait before the kernel repeats data that were not acknowledged. Its own limit is two
/// minutes, so after a cable was out, a link would stay silent for as long again.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// Sets the options for a connection's whole life: no delay of small writes, no keep-alive probes
/// of the kernel, an end once sent data stay unacknowledged for `inactivity`, and one try per
/// second until then (`RETRANSMISSION`). Options that the system does not have are left out.
pub fn prepare(stream: &TcpStream, inactivity: Duration) {
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_keepalive(false);
    sys::socket::limit_unacknowledged(stream, inactivity);
    sys::socket::limit_retransmission_timeout(stream, RETRANSMISSION);
}

/// Whether both ends have the same address, and so are on this computer.
pub fn is_with_own_computer(stream: &TcpStream) -> bool {
    let ends = (stream.local_addr(), stream.peer_addr());
    matches!(ends, (Ok(here), Ok(there)) if here.ip() == there.ip())
}

/// Sets how much unsent data the kernel accepts. With paced cells, each has to be sent before the
/// kernel takes the next.
pub fn pace(stream: &TcpStream, paced: bool) {
    let unsent = if paced { 1 } else { UNPACED_UNSENT };
    sys::socket::limit_unsent(stream, unsent);
}

/// Waits until everything written has been sent; [`pace`] must have been called with `true`. If the
/// system cannot tell, waits until it accepts more.
///
/// # Errors
/// The socket's.
pub async fn wholly_sent(stream: &TcpStream) -> io::Result<()> {
    // Asks the kernel itself, because the runtime's knowledge of writability is out of date; and
    // does so inside this closure, so that no wake-up is lost between the answer and the wait.
    let asked = || match is_wholly_sent(stream) {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    };
    stream.async_io(Interest::WRITABLE, asked).await
}

/// Reads what is there, without waiting. Less than would fit means that no more is there, so that
/// the next wait needs no read that finds nothing.
///
/// # Errors
/// The socket's.
pub fn read(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    // The runtime compares its readiness counter, so data that arrived since are not overlooked.
    let result = stream.try_io(Interest::READABLE, || {
        let n = sys::socket::read(stream, bytes)?;
        read = Some(n);
        match n < bytes.len() && n > 0 {
            true => Err(io::ErrorKind::WouldBlock.into()),
            false => Ok(n),
        }
    });
    read.map_or(result, Ok)
}
