//! What the kernel is asked for on a connection's socket.

use std::io;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::sys;

pub use crate::sys::socket::{is_wholly_sent, write};

/// How much may wait in the kernel unsent where cells are not paced, in bytes: enough to keep a
/// fast network busy.
const UNPACED_UNSENT: u32 = 1 << 20;

/// The longest wait before data are sent again that nobody acknowledged. The kernel's own limit is
/// two minutes: a link would stay silent for as long again as a cable was out.
const RETRANSMISSION: Duration = Duration::from_secs(1);

/// Sets what holds for a connection's whole life: no delay of small writes, no probes of the
/// kernel's own, its end once sent data stay unacknowledged for `inactivity`, and until then a try
/// per second (`RETRANSMISSION`). What the system does not know is left out.
pub fn prepare(stream: &TcpStream, inactivity: Duration) {
    let socket = socket2::SockRef::from(stream);
    let _ = socket.set_tcp_nodelay(true);
    let _ = socket.set_keepalive(false);
    sys::socket::limit_unacknowledged(stream, inactivity);
    sys::socket::limit_retransmission_timeout(stream, RETRANSMISSION);
}

/// Whether both ends have one address: then the other one is on this computer.
pub fn is_with_own_computer(stream: &TcpStream) -> bool {
    let ends = (stream.local_addr(), stream.peer_addr());
    matches!(ends, (Ok(here), Ok(there)) if here.ip() == there.ip())
}

/// How full the kernel lets its queue of unsent data become: for paced cells, each has to be out
/// before the next is taken.
pub fn pace(stream: &TcpStream, paced: bool) {
    let unsent = if paced { 1 } else { UNPACED_UNSENT };
    sys::socket::limit_unsent(stream, unsent);
}

/// Waits until all that was written has been sent; [`pace`] must have been told `true`. Where the
/// system cannot tell, until it takes more.
///
/// # Errors
/// The socket's.
pub async fn wholly_sent(stream: &TcpStream) -> io::Result<()> {
    // The kernel itself is asked, since the runtime's own idea of writability is of the past; and
    // inside this closure, so that no wake-up falls between answer and wait.
    let asked = || match is_wholly_sent(stream) {
        true => Ok(()),
        false => Err(io::ErrorKind::WouldBlock.into()),
    };
    stream.async_io(Interest::WRITABLE, asked).await
}

/// Reads what is there, without waiting. Less than would fit means that no more is there: then the
/// next wait for input begins without a read that finds nothing.
///
/// # Errors
/// The socket's.
pub fn read(stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    let mut read = None;
    // What came since the runtime last heard of it is not overlooked: it compares.
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
