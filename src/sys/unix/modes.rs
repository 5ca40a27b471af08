//! The modes of a terminal.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc;

/// The modes of a terminal, as the system gives them, so that exactly those can be restored: the
/// nix crate drops what it does not know.
#[derive(Clone, Copy)]
pub(super) struct Modes(libc::termios);

/// When new modes take effect.
#[derive(Clone, Copy)]
pub(super) enum When {
    /// At once.
    Now,
    /// Once all output has been shown. Typed input stays.
    Drained,
}

impl Modes {
    /// The modes of this terminal.
    ///
    /// # Errors
    /// It is not a terminal.
    pub(super) fn of(terminal: BorrowedFd<'_>) -> io::Result<Self> {
        let mut modes = MaybeUninit::uninit();
        // SAFETY: the call fills the struct, which is read only if it did.
        unsafe {
            Errno::result(libc::tcgetattr(terminal.as_raw_fd(), modes.as_mut_ptr()))?;
            Ok(Self(modes.assume_init()))
        }
    }

    /// Sets these modes.
    ///
    /// # Errors
    /// It is not a terminal, or refuses.
    pub(super) fn set(&self, terminal: BorrowedFd<'_>, when: When) -> io::Result<()> {
        let when = match when {
            When::Now => libc::TCSANOW,
            When::Drained => libc::TCSADRAIN,
        };
        // SAFETY: the call reads the struct, which is complete.
        let result = unsafe { libc::tcsetattr(terminal.as_raw_fd(), when, &raw const self.0) };
        Ok(Errno::result(result).map(drop)?)
    }

    /// Whether the terminal shows or edits what is typed. The modes of this program never do.
    pub(super) fn show_typing(&self) -> bool {
        self.0.c_lflag & (libc::ECHO | libc::ICANON) != 0
    }

    /// Whether a background process that writes is stopped.
    pub(super) fn stop_writers(&self) -> bool {
        self.0.c_lflag & libc::TOSTOP != 0
    }

    /// These modes, except that typed input comes byte by byte, is not shown, and sends no signals.
    pub(super) fn hidden(mut self) -> Self {
        let edits = libc::ECHO | libc::ECHONL | libc::ICANON | libc::ISIG | libc::IEXTEN;
        self.0.c_lflag &= !edits;
        self.byte_by_byte()
    }

    /// Like [`Self::hidden`], for an editor that draws by itself: bytes also come unchanged.
    pub(super) fn raw(mut self) -> Self {
        let changes = libc::BRKINT | libc::ICRNL | libc::INPCK | libc::ISTRIP | libc::IXON;
        self.0.c_iflag &= !changes;
        self.0.c_cflag |= libc::CS8;
        self.0.c_lflag &= !(libc::ECHO | libc::ICANON | libc::IEXTEN | libc::ISIG);
        self.byte_by_byte()
    }

    fn byte_by_byte(mut self) -> Self {
        self.0.c_cc[libc::VMIN] = 1;
        self.0.c_cc[libc::VTIME] = 0;
        self
    }
}
