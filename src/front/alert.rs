//! How chat draws attention to a message: the terminal's bell, and a notification on the desktop. A
//! notification holds no text and no name: others may see it, and no panic can take it back.

use std::time::{Duration, Instant};

use super::options::Notifier;

/// How long after a notification there is no other one: somebody who sends a hundred messages
/// gets one.
const PAUSE: Duration = Duration::from_secs(5);

/// A way to draw attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alert {
    /// `/bell`.
    Bell,
    /// `/notify`.
    Notification,
}

impl Alert {
    /// The command that sets it.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Bell => "/bell",
            Self::Notification => "/notify",
        }
    }
}

/// Which messages an alert is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlertFor {
    /// None.
    #[default]
    Off,
    /// Direct messages only.
    Direct,
    /// All messages.
    All,
}

impl AlertFor {
    /// The choice with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Self::Off),
            "direct" => Some(Self::Direct),
            "all" => Some(Self::All),
            _ => None,
        }
    }

    fn includes(self, direct: bool) -> bool {
        self == Self::All || (self == Self::Direct && direct)
    }
}

/// The user's choices, all off at first.
#[derive(Default)]
pub(super) struct Alerts {
    bell: AlertFor,
    notification: AlertFor,
    notified_at: Option<Instant>,
}

impl Alerts {
    /// Sets a choice, and returns the answer for the user.
    pub(super) fn set(&mut self, alert: Alert, messages: AlertFor) -> &'static str {
        match alert {
            Alert::Bell => self.bell = messages,
            Alert::Notification => self.notification = messages,
        }
        match (alert, messages) {
            (Alert::Bell, AlertFor::Off) => "the bell is off",
            (Alert::Bell, AlertFor::Direct) => "the bell rings for direct messages only",
            (Alert::Bell, AlertFor::All) => "the bell rings for every message",
            (Alert::Notification, AlertFor::Off) => "notifications are off",
            (Alert::Notification, AlertFor::Direct) => {
                "the terminal notifies you of direct messages only"
            }
            (Alert::Notification, AlertFor::All) => "the terminal notifies you of every message",
        }
    }

    /// Appends what draws attention to a message.
    pub(super) fn push(
        &mut self,
        out: &mut Vec<u8>,
        direct: bool,
        now: Instant,
        notifier: Option<Notifier>,
    ) {
        if self.bell.includes(direct) {
            out.push(b'\x07');
        }
        let Some(notifier) = notifier.filter(|_| self.notification.includes(direct)) else {
            return;
        };
        if self.notified_at.is_none_or(|at| now >= at + PAUSE) {
            self.notified_at = Some(now);
            out.extend_from_slice(match notifier {
                Notifier::Osc9 => b"\x1b]9;sesame: new message\x07",
                Notifier::Osc777 => b"\x1b]777;notify;sesame;new message\x07",
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::clock;

    #[test]
    fn notifications_are_few_and_hold_nothing() {
        let mut alerts = Alerts::default();
        let begin = clock::now();
        let pushed = |alerts: &mut Alerts, direct, after: u64, notifier| {
            let mut out = Vec::new();
            alerts.push(
                &mut out,
                direct,
                begin + Duration::from_secs(after),
                notifier,
            );
            String::from_utf8(out).unwrap()
        };
        let with = Some(Notifier::Osc9);
        assert_eq!(pushed(&mut alerts, true, 0, with), "");
        alerts.set(Alert::Notification, AlertFor::Direct);
        assert_eq!(pushed(&mut alerts, false, 0, with), "");
        assert_eq!(pushed(&mut alerts, true, 0, None), "");
        let notification = "\x1b]9;sesame: new message\x07";
        assert_eq!(pushed(&mut alerts, true, 0, with), notification);
        assert_eq!(pushed(&mut alerts, true, 4, with), "");
        alerts.set(Alert::Bell, AlertFor::All);
        assert_eq!(pushed(&mut alerts, true, 4, with), "\x07");
        alerts.set(Alert::Bell, AlertFor::Off);
        let other = pushed(&mut alerts, true, 5, Some(Notifier::Osc777));
        assert_eq!(other, "\x1b]777;notify;sesame;new message\x07");
    }
}
