//! Streams between programs on this computer, by the path of a socket.

use std::io;
use std::path::Path;

/// Whether there are such sockets.
pub const EXIST: bool = true;

/// A connection.
pub type LocalStream = tokio::net::UnixStream;

/// Connects to the program that listens at this path; to be called within a runtime.
///
/// # Errors
/// The system's.
pub async fn connect(path: &Path) -> io::Result<LocalStream> {
    LocalStream::connect(path).await
}
