//! Messages on their way in: held back, paused, queued.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Engine;
use crate::mesh::command::{Command, PeerQuery, Request, Tag, Text};
use crate::mesh::event::{ErrorCode, Event, Undelivered};
use crate::mesh::peer::Peer;
use crate::mesh::roster::Unresolved;
use crate::proto::outbox::Outgoing;
use crate::proto::{MAX_TEXT, MessageId, PeerId};

/// How long a peer whose link was lost may hold up messages to others.
const GRACE: Duration = Duration::from_secs(3);

/// Whether a peer's outbox has no room for a message of this many bytes.
fn is_full(peer: &Peer, bytes: usize) -> bool {
    let outbox = peer.conversation().map(|it| &it.outbox);
    outbox.is_some_and(|outbox| !outbox.is_stalled() && !outbox.has_room(bytes))
}

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
    /// Takes a request that keeps its order; answers come as events. Gives it back if a queue is full
    /// or nobody is there yet: offer it again after anything has changed.
    pub fn offer(&mut self, now: Instant, request: Request) -> Option<Request> {
        // Whoever waited, or was held up, was this request, or is behind it.
        (self.waits, self.wait_until) = (false, None);
        self.stop_pause(now);
        let later = match request.command {
            Command::Send { .. } => self.send(now, request),
            // The end can always be told.
            _ if self.is_backlogged() && !matches!(request.command, Command::Quit) => Some(request),
            _ => {
                self.execute(now, request);
                None
            }
        };
        self.settle(now);
        later
    }

    fn send(&mut self, now: Instant, request: Request) -> Option<Request> {
        let Command::Send { text, to } = &request.command else {
            return None;
        };
        if self.is_backlogged() {
            return Some(request);
        }
        if self.is_ending() {
            self.refuse(request);
            return None;
        }
        if text.as_str().len() > MAX_TEXT {
            let message = format!("not sent: longer than {MAX_TEXT} bytes");
            self.abandon(request.tag, ErrorCode::TooLong, message);
            return None;
        }
        if self.is_held(now, &request) {
            self.waits = true;
            self.wait_until = Some(request.read_at + self.settings.timeout);
            return Some(request);
        }
        if let Some(message) = self.withhold(text, to.as_deref()) {
            self.error(request.tag, ErrorCode::AmbiguousPeer, message);
            return None;
        }
        let recipients = match self.recipients(to.as_deref()) {
            Recipients::Wrong(code, message) => {
                self.abandon(request.tag, code, message);
                return None;
            }
            // With --stay the next peer that comes may be another one than the one that is missed.
            Recipients::Are(_)
                if self.is_kept_for_next(to.is_some()) && self.may_wait(now, &request) =>
            {
                return self.wait_for_peer(request);
            }
            Recipients::Are(recipients) => recipients,
            Recipients::Nobody if self.settings.interactive => {
                let text = text.clone();
                self.events.push_back(Event::Unsent { text });
                return None;
            }
            Recipients::Nobody if self.may_wait(now, &request) => {
                return self.wait_for_peer(request);
            }
            Recipients::Nobody => {
                self.refuse(request);
                return None;
            }
        };
        let bytes = text.as_str().len();
        if let Some(until) = self.pause(now, &recipients, bytes) {
            (self.waits, self.wait_until) = (true, until);
            return Some(request);
        }
        let (text, direct) = (text.clone(), to.is_some());
        self.queue(now, request.tag, &text, direct, &recipients);
        None
    }

    /// Whether a message has to wait until a peer is up, although there is one that is missed.
    fn is_kept_for_next(&self, direct: bool) -> bool {
        !direct
            && !self.settings.interactive
            && self.settings.stay.outlasts_peers()
            && self.roster.up() == 0
    }

    fn wait_for_peer(&mut self, request: Request) -> Option<Request> {
        self.waits = true;
        self.wait_until = self
            .settings
            .wait_for_peer
            .map(|wait| request.read_at + wait);
        Some(request)
    }

    /// Where the user names somebody by a name that another peer has taken over: that this one may not
    /// be meant. The same message again says that it is.
    fn withhold(&mut self, text: &Text, to: Option<&[PeerQuery]>) -> Option<String> {
        let queries = to.filter(|_| self.settings.interactive)?;
        for query in queries {
            let Ok(id) = self.roster.resolve(query) else {
                continue;
            };
            let Some(before) = self.roster.doubt(query, &id) else {
                continue;
            };
            let said_before = self.withheld.take();
            if said_before.is_some_and(|(to, said)| to == *query && said == *text) {
                self.roster.confirm(query, &id);
                continue;
            }
            let message = format!(
                "not sent: {} is now {}, not the {} ({}…) who left; the same line again sends it",
                query.0,
                id.hex_prefix(16),
                before.name,
                before.id.hex_prefix(8)
            );
            self.withheld = Some((query.clone(), text.clone()));
            return Some(message);
        }
        None
    }

    /// Whether messages still wait for `--min-peers`; not longer than `--timeout`.
    fn is_held(&mut self, now: Instant, request: &Request) -> bool {
        if self.settings.interactive {
            return false;
        }
        if self.holding {
            let enough = self.roster.up() >= self.settings.min_peers;
            let in_time = now < request.read_at + self.settings.timeout;
            self.holding = !enough && !self.in_a_hurry && in_time;
        }
        self.holding
    }

    /// Whether a message for which there is no peer may wait for one.
    fn may_wait(&self, now: Instant, request: &Request) -> bool {
        let in_time = |wait| now < request.read_at + wait;
        !self.in_a_hurry && self.settings.wait_for_peer.is_none_or(in_time)
    }

    fn recipients(&self, to: Option<&[PeerQuery]>) -> Recipients {
        let Some(queries) = to else {
            let all: Vec<_> = self
                .roster
                .iter()
                .filter(|(_, peer)| peer.is_present())
                .map(|(id, _)| *id)
                .collect();
            return if all.is_empty() {
                Recipients::Nobody
            } else {
                Recipients::Are(all)
            };
        };
        if queries.is_empty() {
            let message = "not sent: no peer named".to_owned();
            return Recipients::Wrong(ErrorCode::BadCommand, message);
        }
        let mut named = Vec::with_capacity(queries.len());
        for query in queries {
            match self.find(query) {
                Err((code, message)) => return Recipients::Wrong(code, message),
                Ok(id) if !self.roster.get(&id).is_some_and(Peer::is_present) => {
                    let message = format!("not sent: {} is not connected", self.shown(&id));
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
                format!("unknown peer '{}'; /peers lists the peers", query.0),
            ),
            Unresolved::Ambiguous => (
                ErrorCode::AmbiguousPeer,
                format!("ambiguous peer '{}'; name it as /peers shows it", query.0),
            ),
        })
    }

    /// No request is known to wait for room any more, so nobody's time runs.
    fn stop_pause(&mut self, now: Instant) {
        if std::mem::take(&mut self.paused) {
            for (_, peer) in self.roster.iter_mut() {
                peer.uptake.patience.holds_up(now, false);
            }
        }
    }

    /// Whether a message waits because somebody's outbox is full, and until when it waits at most. A
    /// peer that is not up holds up others for a moment only. Where others have room, all whose
    /// outbox is half full or more hold them up, and their time runs: they cannot take turns at it.
    fn pause(
        &mut self,
        now: Instant,
        recipients: &[PeerId],
        bytes: usize,
    ) -> Option<Option<Instant>> {
        let waits_until = |peer: &Peer| (!peer.is_up()).then(|| peer.since + GRACE);
        let has_room = |peer: &Peer| {
            let outbox = peer.conversation().map(|it| &it.outbox);
            outbox.is_some_and(|outbox| !outbox.is_stalled() && outbox.has_room(bytes))
        };
        let some = |what: &dyn Fn(&Peer) -> bool| {
            let mut peers = recipients.iter().filter_map(|id| self.roster.get(id));
            peers.any(what)
        };
        let anybody_up = self.roster.up() > 0;
        let holds_up = |peer: &Peer| {
            let in_time = || waits_until(peer).is_none_or(|until| now < until);
            is_full(peer, bytes) && (!anybody_up || in_time())
        };
        if !some(&holds_up) {
            return None;
        }
        let full = recipients.iter().filter_map(|id| self.roster.get(id));
        let full = full.filter(|peer| is_full(peer, bytes));
        let ends = full.filter_map(waits_until).filter(|until| *until > now);
        let until = ends.min().filter(|_| anybody_up);
        let crowded = |peer: &Peer| {
            let outbox = peer.conversation().map(|it| &it.outbox);
            outbox.is_some_and(|outbox| !outbox.is_stalled() && outbox.is_half_full())
        };
        if some(&has_room) {
            for id in recipients {
                if let Some(peer) = self.roster.get_mut(id)
                    && crowded(peer)
                {
                    peer.uptake.patience.holds_up(now, true);
                }
            }
        }
        self.paused = true;
        Some(until)
    }

    fn queue(&mut self, now: Instant, tag: Tag, text: &Text, direct: bool, recipients: &[PeerId]) {
        self.put_off_last_call(now);
        let mut mid = MessageId([0; 16]);
        self.rng.fill_bytes(&mut mid.0);
        let has_room = |id: &&PeerId| {
            let peer = self.roster.get(id);
            !peer.is_some_and(|peer| is_full(peer, text.as_str().len()))
        };
        if self.settings.report_each {
            self.events.push_back(Event::Queued {
                tag: tag.clone(),
                mid,
                peers: recipients.iter().filter(has_room).copied().collect(),
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
            let reason = if is_full(peer, text.as_str().len()) {
                Undelivered::Away
            } else {
                Undelivered::Stalled
            };
            match peer.conversation_mut() {
                Some(conversation)
                    if reason != Undelivered::Away && !conversation.outbox.is_stalled() =>
                {
                    conversation.outbox.push(Arc::clone(&message));
                    peer.uptake.sample.get_or_insert((token, now));
                }
                _ => {
                    let who = peer.who();
                    self.ledger
                        .undelivered(token, &who, reason, &mut self.events);
                }
            }
        }
    }

    /// Somebody waits for the end: messages that nobody can be given now are refused.
    pub fn stop_waiting(&mut self, now: Instant) {
        (self.holding, self.in_a_hurry) = (false, true);
        self.settle(now);
    }

    /// A request that nobody will get.
    pub(super) fn refuse(&mut self, request: Request) {
        if !matches!(request.command, Command::Send { .. }) {
            return;
        }
        let message = match self.roster.up() > 0 || self.is_ending() && self.reached_anybody {
            true => "not sent: the run ended first",
            false => "not sent: nobody is connected",
        };
        self.abandon(request.tag, ErrorCode::NoPeers, message.to_owned());
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
