//! A Rust panic, which is a defect of the program: what is said of it, and what is not.

use std::io::{self, Write};
use std::panic::{self, Location};
use std::process;
use std::thread;

use super::terminal;
use crate::exit::Status;

/// How the threads of the runtime are called.
pub const RUNTIME_THREAD: &str = "sesame-net";

/// From now on a defect is told by its place alone: its words could hold a piece of a message, as
/// those of a string cut in the middle of a character do. The terminal is given back, and the
/// process ends, since without one of its threads it would be deaf or mute. Only a thread of the
/// runtime loses no more than the task at hand, and whoever waits for that task learns of it.
pub fn tell_defects_by_place() {
    panic::set_hook(Box::new(|defect| {
        terminal::restore_terminal();
        // Nothing is left to do where stderr cannot be written.
        let _ = io::stderr().write_all(told(defect.location()).as_bytes());
        if thread::current().name() != Some(RUNTIME_THREAD) {
            process::exit(Status::Failed.code().into());
        }
    }));
}

fn told(place: Option<&Location<'_>>) -> String {
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
    const DIES: &str = "SESAME_TEST_DIES";

    fn die_in_the_middle_of_a_character() {
        tell_defects_by_place();
        let text = "the heron flies at dusk – or dawn";
        let middle = text.find('–').unwrap() + 1;
        println!("{}", &text[middle..]);
    }

    #[test]
    fn a_defect_is_told_by_its_place_and_not_by_its_words() {
        if std::env::var_os(DIES).is_some() {
            return die_in_the_middle_of_a_character();
        }
        let name = "front::defect::tests::a_defect_is_told_by_its_place_and_not_by_its_words";
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", name, "--nocapture"]).env(DIES, "1");
        let ended = again.output().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr);
        assert!(told.starts_with("sesame: internal error at "), "{told}");
        assert!(!told.contains("heron"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert_eq!(ended.status.code(), Some(1));
    }
}
