//! Messages on their way in: held back, paused, queued.

use std::sync::Arc;
use std::time::Instant;

use super::{Engine, Offer};
use crate::mesh::command::{Command, PeerQuery, Request, Tag, Text};
use crate::mesh::event::{ErrorCode, Event, Undelivered};
use crate::mesh::roster::{Peer, Unresolved};
use crate::proto::outbox::Outgoing;
use crate::proto::{MAX_TEXT, MessageId, PeerId};

/// Who a message is for.
enum Recipients {
    /// These.
    Are(Vec<PeerId>),
    /// Nobody is there yet.
    Nobody,
    /// The user named somebody who cannot get it.
    Wrong(ErrorCode, String),
}

impl Engine {
    /// Takes a request that keeps its order, or gives it back for later.
    pub fn offer(&mut self, now: Instant, request: Request) -> Offer {
        // Whoever waited was this request, or is behind it.
        self.wait_until = None;
        let offer = match request.command {
            Command::Send { .. } => self.send(now, request),
            // The end can always be told.
            _ if self.is_backlogged() && !matches!(request.command, Command::Quit) => {
                Offer::Later(request)
            }
            _ => {
                self.obey(now, request);
                Offer::Taken
            }
        };
        self.settle(now);
        offer
    }

    fn send(&mut self, now: Instant, request: Request) -> Offer {
        let Command::Send { text, to } = &request.command else {
            return Offer::Taken;
        };
        if self.was_told_to_quit() {
            // As with a shell's `exit`: what follows it is not meant to be said.
            return Offer::Taken;
        }
        if self.is_leaving() || self.was_signalled() {
            self.refuse(request);
            return Offer::Taken;
        }
        if self.is_backlogged() {
            return Offer::Later(request);
        }
        if text.as_str().len() > MAX_TEXT {
            let message = format!("a message has at most {MAX_TEXT} bytes of text");
            self.abandon(request.tag, ErrorCode::TooLong, message);
            return Offer::Taken;
        }
        if self.is_held(now, &request) {
            self.wait_until = Some(request.read_at + self.settings.timeout);
            return Offer::Later(request);
        }
        let recipients = match self.recipients(to.as_deref()) {
            Recipients::Are(recipients) => recipients,
            Recipients::Wrong(code, message) => {
                self.abandon(request.tag, code, message);
                return Offer::Taken;
            }
            Recipients::Nobody if self.waits_for_somebody(now, &request) => {
                self.wait_until = Some(request.read_at + self.settings.timeout);
                return Offer::Later(request);
            }
            Recipients::Nobody => {
                self.given_up_waiting = true;
                self.refuse(request);
                return Offer::Taken;
            }
        };
        if self.is_paused(now, &recipients, text.as_str().len()) {
            return Offer::Later(request);
        }
        let (text, direct) = (text.clone(), to.is_some());
        self.queue(now, request.tag, &text, direct, &recipients);
        Offer::Taken
    }

    /// Whether messages still wait for `--min-peers`; not longer than `--timeout`.
    fn is_held(&mut self, now: Instant, request: &Request) -> bool {
        if self.holding {
            let enough = self.roster.up() >= self.settings.min_peers;
            self.holding = !enough && self.waits_for_somebody(now, request);
        }
        self.holding
    }

    fn waits_for_somebody(&self, now: Instant, request: &Request) -> bool {
        !self.given_up_waiting && now < request.read_at + self.settings.timeout
    }

    fn recipients(&self, to: Option<&[PeerQuery]>) -> Recipients {
        let Some(queries) = to else {
            let all: Vec<_> = self
                .roster
                .iter()
                .filter(|(_, peer)| peer.is_recipient())
                .map(|(id, _)| *id)
                .collect();
            return if all.is_empty() {
                Recipients::Nobody
            } else {
                Recipients::Are(all)
            };
        };
        let mut named = Vec::with_capacity(queries.len());
        for query in queries {
            match self.find(query) {
                Err((code, message)) => return Recipients::Wrong(code, message),
                Ok(id) if !self.roster.get(&id).is_some_and(Peer::is_recipient) => {
                    let message = format!("{} is not connected; nothing was sent", self.shown(&id));
                    return Recipients::Wrong(ErrorCode::NoPeers, message);
                }
                Ok(id) if named.contains(&id) => {}
                Ok(id) => named.push(id),
            }
        }
        Recipients::Are(named)
    }

    /// The one peer that a query means, or what to tell the user.
    pub(super) fn find(&self, query: &PeerQuery) -> Result<PeerId, (ErrorCode, String)> {
        self.roster.resolve(query).map_err(|error| match error {
            Unresolved::Nobody => (
                ErrorCode::NoSuchPeer,
                format!("no peer is called {}; /peers lists them", query.0),
            ),
            Unresolved::Ambiguous => (
                ErrorCode::AmbiguousPeer,
                format!(
                    "{} may be more than one; name it as /peers shows it",
                    query.0
                ),
            ),
        })
    }

    /// Whether somebody's outbox is full. Where others have room, those who are full hold them up,
    /// and their time runs.
    fn is_paused(&mut self, now: Instant, recipients: &[PeerId], bytes: usize) -> bool {
        let full = |peer: &Peer| {
            peer.conversation.as_ref().is_some_and(|conversation| {
                !conversation.outbox.is_stalled() && !conversation.outbox.has_room(bytes)
            })
        };
        let has_room = |peer: &Peer| {
            let outbox = peer.conversation.as_ref().map(|it| &it.outbox);
            outbox.is_some_and(|outbox| !outbox.is_stalled() && outbox.has_room(bytes))
        };
        let some = |what: &dyn Fn(&Peer) -> bool| {
            let mut peers = recipients.iter().filter_map(|id| self.roster.get(id));
            peers.any(what)
        };
        if !some(&full) {
            return false;
        }
        let others_could = some(&has_room);
        for id in recipients {
            if let Some(peer) = self.roster.get_mut(id) {
                let holds_up = others_could && full(peer);
                peer.patience.holds_up(now, holds_up);
            }
        }
        true
    }

    fn queue(&mut self, now: Instant, tag: Tag, text: &Text, direct: bool, recipients: &[PeerId]) {
        let mut mid = MessageId([0; 16]);
        self.rng.fill_bytes(&mut mid.0);
        if self.settings.report_each {
            self.events.push_back(Event::Queued {
                tag: tag.clone(),
                mid,
                peers: recipients.to_vec(),
            });
        }
        let token = self.ledger.open(tag, mid, recipients.len());
        let message = Arc::new(Outgoing {
            mid,
            direct,
            text: text.share(),
            token,
        });
        for id in recipients {
            let Some(peer) = self.roster.get_mut(id) else {
                continue;
            };
            peer.patience.holds_up(now, false);
            match &mut peer.conversation {
                Some(conversation) if !conversation.outbox.is_stalled() => {
                    conversation.outbox.push(Arc::clone(&message));
                    peer.sample.get_or_insert((token, now));
                }
                _ => {
                    let who = peer.who();
                    self.ledger
                        .undelivered(token, &who, Undelivered::Stalled, &mut self.events);
                }
            }
        }
    }

    /// A request that waits when a signal ends the run: nobody will get it.
    pub fn give_up(&mut self, now: Instant, request: Request) {
        if !self.was_told_to_quit() {
            self.refuse(request);
        }
        self.settle(now);
    }

    /// A request that nobody will get.
    pub(super) fn refuse(&mut self, request: Request) {
        if !matches!(request.command, Command::Send { .. }) {
            return;
        }
        let message = "nobody is connected; nothing was sent".to_owned();
        if self.reached_anybody {
            self.abandoned += 1;
        } else {
            self.unreached += 1;
        }
        // At the end it counts all the same, where nobody takes what is told.
        if !self.is_backlogged() {
            self.events.push_back(Event::Error {
                tag: request.tag,
                code: ErrorCode::NoPeers,
                message,
            });
        }
    }

    /// A message that cannot be sent as the user wants it.
    fn abandon(&mut self, tag: Tag, code: ErrorCode, message: String) {
        let nobody = matches!(code, ErrorCode::NoSuchPeer | ErrorCode::NoPeers);
        if nobody && !self.reached_anybody {
            self.unreached += 1;
        } else {
            self.abandoned += 1;
        }
        self.events.push_back(Event::Error { tag, code, message });
    }
}
