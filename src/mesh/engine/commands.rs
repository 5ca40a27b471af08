//! Commands other than messages.

use std::time::Instant;

use super::Engine;
use crate::mesh::action::{Action, Close};
use crate::mesh::command::{Command, PeerQuery, Request, Tag};
use crate::mesh::event::{Confirmation, DownReason, ErrorCode, Event, Undelivered};
use crate::mesh::outcome::ByeReason;
use crate::mesh::peer::{Parting, Peer};
use crate::proto::{Address, DisplayName, ONION_NEEDS_PROXY, PeerId};

impl Engine {
    /// Whether this command causes no event, so that it need not wait until the front end takes
    /// one.
    pub fn is_silent(&self, command: &Command) -> bool {
        matches!(command, Command::Ack { peer, seq } if self.can_be_acked(peer, *seq))
    }

    fn can_be_acked(&self, peer: &PeerId, seq: u64) -> bool {
        let handed_over = self.roster.get(peer).map(|peer| peer.showing.seq);
        self.settings.explicit_ack && handed_over.is_some_and(|last| seq <= last)
    }

    /// Runs a command that overtakes; returns one that keeps its order.
    pub(super) fn answer(&mut self, now: Instant, request: Request) -> Option<Request> {
        let Request {
            tag,
            read_at,
            command,
        } = request;
        match command {
            Command::Ack { peer, seq } => {
                if self.can_be_acked(&peer, seq) {
                    self.taken(&peer, seq);
                } else {
                    let message = format!(
                        "invalid seq {seq} in 'ack': no such message from {} was handed over",
                        self.roster.show(&peer)
                    );
                    self.output.error(tag, ErrorCode::BadCommand, message);
                }
            }
            Command::Connect(address) => self.connect(now, tag, address),
            Command::Peers => self.list_peers(now, tag),
            Command::Pending => self.list_pending(now, tag),
            Command::Stats => self.list_stats(now, tag),
            Command::Whoami => {
                let (id, name, decoy) = (self.id(), self.name.clone(), self.settings.decoy);
                self.output.tell(Event::Whoami {
                    tag,
                    id,
                    name,
                    decoy,
                });
            }
            Command::Verify(query) => self.verify(tag, &query),
            command => {
                return Some(Request {
                    tag,
                    read_at,
                    command,
                });
            }
        }
        None
    }

    /// Runs a command that keeps its order, now that its turn has come.
    pub(super) fn execute(&mut self, now: Instant, request: Request) {
        let Some(Request { tag, command, .. }) = self.answer(now, request) else {
            return;
        };
        match command {
            Command::Name(name) => self.rename(tag, name),
            Command::Disconnect(query) => self.disconnect(now, tag, &query),
            Command::Ignore { peer, on } => self.ignore(tag, &peer, on),
            Command::Quit => self.lifecycle.drain(now, ByeReason::Quit),
            _ => {}
        }
    }

    fn confirm(&mut self, tag: Tag, what: Confirmation) {
        self.output.tell(Event::Confirmed { tag, what });
    }

    fn connect(&mut self, now: Instant, tag: Tag, address: Address) {
        if address.is_onion() && !self.settings.proxied {
            let message = format!("invalid address '{address}': {ONION_NEEDS_PROXY}");
            return self.output.error(tag, ErrorCode::BadAddress, message);
        }
        if let Some(peer) = self.dialing.get(&address).and_then(|target| target.peer)
            && let Some(peer) = self.roster.get_mut(&peer)
        {
            peer.forgive();
            self.circuits.note_change();
        }
        let persistent = self.settings.stay.outlasts_peers();
        self.dialing.want(now, address.clone(), persistent);
        self.confirm(tag, Confirmation::Connecting(address.to_string()));
    }

    fn rename(&mut self, tag: Tag, name: DisplayName) {
        self.name = Some(name.clone());
        self.connections.rename(&name);
        self.output.act(Action::SaveName(name.clone()));
        self.confirm(tag, Confirmation::Named(name));
    }

    fn disconnect(&mut self, now: Instant, tag: Tag, query: &PeerQuery) {
        let id = match self.roster.find(query) {
            Ok(id) => id,
            Err((code, message)) => return self.output.error(tag, code, message),
        };
        self.part(now, &id, Parting::Disconnect, Undelivered::Goodbye);
        for conn in self.connections.with(&id) {
            let link = self.connections.link_mut(conn);
            match link.filter(|link| link.hello().is_some()) {
                Some(link) => link.say_goodbye(false),
                None => self.close(now, conn, Close::Abort),
            }
        }
        // If the peer itself has sent GOODBYE, that is reported in its turn.
        if !self.roster.get(&id).is_some_and(Peer::is_leaving) {
            self.tell_down(&id, DownReason::Local);
        }
    }

    fn ignore(&mut self, tag: Tag, query: &PeerQuery, on: Option<bool>) {
        let id = match self.roster.find(query) {
            Ok(id) => id,
            Err((code, message)) => return self.output.error(tag, code, message),
        };
        let Some(peer) = self.roster.get_mut(&id) else {
            return;
        };
        peer.ignored = on.unwrap_or(!peer.ignored);
        let (who, ignored) = (peer.who(), peer.ignored);
        if let (true, Some(conversation)) = (ignored, peer.conversation_mut()) {
            conversation.inbox.discard();
            self.roster.tell_deferred(&id, &mut self.output);
        }
        self.confirm(tag, Confirmation::Ignored(who, ignored));
    }

    fn verify(&mut self, tag: Tag, query: &PeerQuery) {
        let id = match self.roster.find(query) {
            Ok(id) => id,
            Err((code, message)) => return self.output.error(tag, code, message),
        };
        let Some(peer) = self.roster.get(&id) else {
            return;
        };
        let link = peer.conn().and_then(|conn| self.connections.link(conn));
        match link.map(|link| link.words().to_owned()) {
            Some(sas) => self.output.tell(Event::Verify {
                tag,
                who: peer.who(),
                sas,
            }),
            None => {
                let message = format!("cannot verify {}: not connected", peer.who().shown);
                self.output.error(tag, ErrorCode::NoPeers, message);
            }
        }
    }
}
