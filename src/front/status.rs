//! What the user of a chat waits for, in the row above the line being typed.

use super::render;
use super::sanitize::clean;
use crate::mesh::{DialAttempt, PendingMessages};

/// The content of the status row.
#[derive(Default)]
pub(super) struct StatusRow {
    unacknowledged: String,
    dialing: String,
}

impl StatusRow {
    /// Notes who has not acknowledged how many messages.
    pub(super) fn set_unacknowledged(&mut self, peers: &[PendingMessages]) {
        self.unacknowledged = render::unacknowledged(peers);
    }

    /// Notes what is being dialled.
    pub(super) fn set_dialing(&mut self, last: Option<&DialAttempt>, others: usize) {
        self.dialing = render::dialing(last, others);
    }

    /// The row; empty if there is nothing to wait for.
    pub(super) fn text(&self) -> String {
        let parts = [&self.unacknowledged, &self.dialing].map(String::as_str);
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        clean(&parts.join("; ")).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::front::render::tests::who;

    fn owes(name: &str, messages: usize) -> PendingMessages {
        PendingMessages {
            who: who(name),
            messages,
            bytes: 5,
            age: Duration::from_secs(2),
        }
    }

    fn dial(error: Option<&str>) -> DialAttempt {
        DialAttempt {
            addr: "192.0.2.1:7777".into(),
            attempt: 3,
            error: error.map(Into::into),
        }
    }

    #[test]
    fn status_names_peers_and_dials_and_vanishes() {
        let mut status = StatusRow::default();
        assert_eq!(status.text(), "");
        status.set_dialing(Some(&dial(None)), 0);
        assert_eq!(status.text(), "dialing 192.0.2.1:7777, attempt 3");
        status.set_dialing(
            Some(&dial(Some("connection refused: nothing listens there"))),
            2,
        );
        let dials =
            "dialing 192.0.2.1:7777 and 2 other addresses, attempt 3; last: connection refused";
        assert_eq!(status.text(), dials);
        status.set_unacknowledged(&[owes("bob", 2), owes("carol", 2)]);
        let owed = "bob, carol: 2 messages not acknowledged";
        assert_eq!(status.text(), format!("{owed}; {dials}"));
        status.set_dialing(None, 0);
        assert_eq!(status.text(), owed);
        status.set_unacknowledged(&[owes("bob", 2), owes("carol", 1)]);
        let owed = "bob: 2 messages, carol: 1 message not acknowledged";
        assert_eq!(status.text(), owed);
        let many = ["a", "b", "c", "d", "e", "f", "g"].map(|name| owes(name, 1));
        status.set_unacknowledged(&many);
        let owed = "a, b, c, d, e and 2 more: 1 message not acknowledged";
        assert_eq!(status.text(), owed);
        status.set_unacknowledged(&[]);
        assert_eq!(status.text(), "");
    }

    #[test]
    fn reason_with_escape_sequences_draws_nothing() {
        let mut status = StatusRow::default();
        status.set_dialing(Some(&dial(Some("\u{1b}[2J"))), 0);
        assert!(status.text().ends_with("last: \\u{1b}[2J"));
    }
}
