//! A console on which something is typed that nobody is to see.

use std::io;
use std::time::Duration;

use super::console;
use super::native;
use super::stream::{Input, Output};
use super::waiter::{Waiter, Woken};

/// A console that shows nothing of what is typed, until this is dropped. Line editing and Ctrl-C are
/// off too.
pub struct HiddenEntry {
    keys: Input,
    before: u32,
    screen: Option<Output>,
    waiter: Waiter,
}

impl HiddenEntry {
    /// From now on nothing is shown. What was typed before is still there to be read.
    ///
    /// # Errors
    /// If this is no console.
    pub fn begin(keys: Input) -> io::Result<Self> {
        let before = console::mode(keys.handle())?;
        console::take_keys(keys.handle(), before)?;
        Ok(Self {
            keys,
            before,
            screen: console::screen().ok(),
            waiter: Waiter::begin(),
        })
    }

    /// Waits for a byte, or for what else may come.
    pub fn wait(&self) -> Woken {
        self.waiter.wait(&self.keys)
    }

    /// Reads what was typed.
    ///
    /// # Errors
    /// The console's.
    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.keys.read(bytes)
    }

    /// Writes to the console, if it can be written to.
    pub fn say(&self, bytes: &[u8]) {
        self.write(bytes, Duration::MAX);
    }

    /// The same, unless the console would have to be waited for.
    pub fn say_at_once(&self, bytes: &[u8]) {
        self.write(bytes, Duration::ZERO);
    }

    fn write(&self, mut bytes: &[u8], patience: Duration) {
        let Some(screen) = &self.screen else {
            return;
        };
        while !bytes.is_empty() {
            match screen.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !screen.wait(patience) {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }

    /// Throws away what was typed and not read, so that it does not reach the shell.
    pub fn discard_typed(&self) {
        native::flush_console(self.keys.handle());
    }

    /// Leaves a panic to the thread that takes requests later.
    pub fn leave_panic(&self) {
        self.waiter.leave_panic();
    }

    /// There is no stop.
    ///
    /// # Errors
    /// None.
    pub fn stop(&mut self, _by_key: bool) -> io::Result<()> {
        Ok(())
    }

    /// There was no stop, so nothing was shown meanwhile.
    ///
    /// # Errors
    /// None.
    pub fn hide_again(&mut self) -> io::Result<bool> {
        Ok(false)
    }
}

impl Drop for HiddenEntry {
    fn drop(&mut self) {
        self.say(b"\r\n");
        let _ = console::set_mode(self.keys.handle(), self.before);
    }
}
