//! The run whose memory is searched, with any of the front ends.

use std::cell::RefCell;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::helper::memory::signal;
use crate::helper::needle::Planted;
use crate::scenario::{Peer, Process, Run, Screen};

/// The front ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    Json,
    Plain,
    Chat,
}

/// A running program with one of them.
pub enum Target {
    Json(RefCell<Peer>),
    Plain(RefCell<Process>),
    Chat(Screen),
}

impl Target {
    /// Starts it; `None` if there is no terminal for chat.
    pub fn start(run: Run, front: Front) -> Option<Self> {
        Some(match front {
            Front::Json => Self::Json(RefCell::new(run.peer())),
            Front::Plain => {
                let process = run.with(&["-v"]).plain();
                process.told("listening");
                Self::Plain(RefCell::new(process))
            }
            Front::Chat => {
                let screen = Screen::start(&run)?;
                prompts(&screen);
                Self::Chat(screen)
            }
        })
    }

    pub fn pid(&self) -> u32 {
        match self {
            Self::Json(peer) => peer.borrow().process.pid(),
            Self::Plain(process) => process.borrow().pid(),
            Self::Chat(screen) => screen.pid(),
        }
    }

    /// Waits until it reports this many peers.
    pub fn meets(&self, name: &str) {
        match self {
            Self::Json(peer) => {
                peer.borrow()
                    .expect("peer_up", |event| event["name"] == name);
            }
            Self::Plain(process) => {
                process.borrow().told(&format!("{name} is here"));
            }
            Self::Chat(screen) => {
                screen.shows_line(&format!("{name} is here"));
            }
        }
    }

    /// Sends these, and waits until all of them have been read.
    pub fn says(&self, planted: &[Planted]) {
        for one in planted {
            match self {
                Self::Json(peer) => {
                    let command = json!({"type": "send", "text": one.text});
                    peer.borrow_mut().send(command);
                }
                Self::Plain(process) => {
                    process
                        .borrow_mut()
                        .write(format!("{}\n", one.text).as_bytes());
                }
                Self::Chat(screen) => {
                    if one.text.len() < 300 {
                        screen.types(&one.text);
                    } else {
                        screen.pastes(&one.text);
                    }
                    screen.press(&["Enter"]);
                }
            }
        }
        match self {
            Self::Json(peer) => {
                for _ in planted {
                    peer.borrow().expect("queued", |_| true);
                }
            }
            Self::Plain(process) => {
                process.borrow_mut().write(b"/whoami\n");
                process.borrow().told("you are ");
            }
            Self::Chat(screen) => {
                screen.enters("/whoami");
                screen.shows("the answer", |lines| {
                    let last = lines.len().saturating_sub(4);
                    lines[last..].iter().any(|line| line.contains("you are "))
                });
            }
        }
    }

    /// A panic, requested in the front end's own way, and what follows until it is ready again.
    /// `mark` is the `ref` for a front end that has them.
    pub fn panics(&self, mark: &str) {
        match self {
            Self::Json(peer) => {
                let panic = json!({"type": "panic", "ref": mark});
                peer.borrow_mut().send(panic);
            }
            Self::Plain(process) => process.borrow_mut().write(b"/panic\n"),
            Self::Chat(screen) => screen.press(&["F12"]),
        }
        self.begins_anew();
    }

    /// A panic by signal.
    pub fn panics_by_signal(&self) {
        signal(self.pid(), Signal::SIGUSR1);
        self.begins_anew();
    }

    fn begins_anew(&self) {
        match self {
            Self::Json(peer) => peer.borrow_mut().begins_anew(),
            Self::Plain(process) => {
                process.borrow().told("sesame has forgotten everything");
                process.borrow().told("listening");
            }
            Self::Chat(screen) => {
                screen.shows_line("sesame has forgotten everything");
                prompts(screen);
            }
        }
    }
}

fn prompts(screen: &Screen) {
    screen.shows("a prompt", |lines| {
        lines.last().is_some_and(|line| line.ends_with('>'))
    });
}
