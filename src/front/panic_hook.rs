//! What the program does on a Rust panic, which is a defect of the program and not `/panic`.

use std::io::{self, Write};
use std::panic::{self, Location};
use std::process;
use std::thread;

use super::terminal;
use crate::exit::Status;

/// The name of the runtime's threads.
pub const RUNTIME_THREAD: &str = "sesame-net";

/// Makes a Rust panic print its place and not its message, which could hold a piece of a user's
/// text: a string that is cut inside a character panics with the whole string. The hook restores the
/// terminal and ends the process, because without one of its threads sesame would no longer read, or
/// no longer write. A thread of the runtime only loses the task that panicked, and the thread that
/// waits for the task ends the run.
pub fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        terminal::restore_terminal();
        // If stderr cannot be written, there is no other place for the message.
        let _ = io::stderr().write_all(message(info.location()).as_bytes());
        if thread::current().name() != Some(RUNTIME_THREAD) {
            process::exit(Status::Failed.code().into());
        }
    }));
}

fn message(place: Option<&Location<'_>>) -> String {
    let place = place.map_or("an unknown place".to_owned(), |place| {
        format!("{}:{}", place.file(), place.line())
    });
    format!("sesame: internal error at {place}; please report it\n")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Set for the process that this test starts from itself.
    const PANICS: &str = "SESAME_TEST_PANICS";

    fn panic_inside_a_character() {
        install_panic_hook();
        let text = "the heron flies at dusk – or dawn";
        let middle = text.find('–').unwrap() + 1;
        println!("{}", &text[middle..]);
    }

    #[test]
    fn panic_hook_prints_the_place_without_the_message() {
        if std::env::var_os(PANICS).is_some() {
            return panic_inside_a_character();
        }
        let name = "front::panic_hook::tests::panic_hook_prints_the_place_without_the_message";
        let mut again = Command::new(std::env::current_exe().unwrap());
        again
            .args(["--exact", name, "--nocapture"])
            .env(PANICS, "1");
        let ended = again.output().unwrap();
        let stderr = String::from_utf8_lossy(&ended.stderr);
        assert!(stderr.starts_with("sesame: internal error at "), "{stderr}");
        assert!(!stderr.contains("heron"), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert_eq!(ended.status.code(), Some(1));
    }
}
