//! Peers' messages on their way to the front end: how many may be there unshown, and which peer is
//! next.

use super::event::Event;
use super::output::{MAX_UNSHOWN, Output};
use super::peer::Peer;
use super::roster::Roster;
use super::sorted::SortedSet;
use crate::proto::{PeerId, give_back};

/// The most bytes of text that are released and not yet shown, if they belong to more than one
/// message.
const MAX_BYTES: usize = 1 << 20;
/// How many messages a peer may release in a row while others wait.
const TURN: usize = 64;

/// The messages of all peers that are released and not yet shown.
#[derive(Default)]
pub(super) struct Release {
    messages: usize,
    bytes: usize,
    /// The peer that had the last turn.
    last: Option<PeerId>,
}

impl Release {
    /// Releases messages to the front end, peer by peer, as far as the budget goes.
    pub(super) fn run(&mut self, roster: &mut Roster, output: &mut Output) {
        while self.has_budget() {
            let Some(id) = self.next_turn(roster.talkers()) else {
                break;
            };
            for _ in 0..TURN {
                if !self.has_budget() || !self.release_one(roster, output, &id) {
                    break;
                }
            }
        }
    }

    /// Releases the next message of a peer and the reports behind it. Returns whether there was
    /// one.
    fn release_one(&mut self, roster: &mut Roster, output: &mut Output, id: &PeerId) -> bool {
        let Some(peer) = roster.get_mut(id) else {
            return false;
        };
        let conversation = peer.conversation_mut();
        let Some((seq, message)) = conversation.and_then(|it| it.inbox.release()) else {
            return false;
        };
        let bytes = message.text.len();
        peer.showing.seq = seq;
        peer.showing.out.push_back((seq, bytes));
        self.take(bytes);
        output.tell(Event::Message {
            who: peer.who(),
            text: message.text.into(),
            mid: message.mid,
            seq,
            direct: message.direct,
        });
        roster.tell_deferred(id, output);
        true
    }

    /// Whether another message may be released.
    fn has_budget(&self) -> bool {
        self.messages < MAX_UNSHOWN && self.bytes < MAX_BYTES
    }

    /// Whether the front end has shown all that was released.
    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Which of these peers has the next turn.
    fn next_turn(&mut self, ready: &SortedSet<PeerId>) -> Option<PeerId> {
        let next = self.last.as_ref().and_then(|last| ready.after(last));
        let next = next.or_else(|| ready.first()).copied();
        self.last = next.or(self.last);
        next
    }

    /// A message of this many bytes is released.
    fn take(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes;
    }

    /// The front end has shown a peer's messages up to this `seq`.
    pub(super) fn shown(&mut self, peer: &mut Peer, seq: u64) {
        while let Some((_, bytes)) = peer.showing.out.pop_front_if(|(out, _)| *out <= seq) {
            self.messages -= 1;
            self.bytes -= bytes;
        }
        give_back(&mut peer.showing.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_in_order_of_id() {
        let ids = [1, 2, 3].map(|byte| PeerId([byte; 32]));
        let mut release = Release::default();
        let mut turn = |ready: &[PeerId]| release.next_turn(&ready.iter().copied().collect());
        assert_eq!([turn(&ids), turn(&ids)], [Some(ids[0]), Some(ids[1])]);
        assert_eq!(turn(&ids[..1]), Some(ids[0]));
        assert_eq!(turn(&ids[1..]), Some(ids[1]));
        assert_eq!(turn(&[]), None);
        assert_eq!(turn(&ids), Some(ids[2]));
    }

    #[test]
    fn one_message_may_be_greater_than_the_budget() {
        let mut release = Release::default();
        assert!(release.has_budget() && release.is_empty());
        release.take(2 * MAX_BYTES);
        assert!(!release.has_budget() && !release.is_empty());
    }
}
