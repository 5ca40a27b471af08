//! Session_ids that were sent to peers before anything came from them (PROTOCOL.md, section 9:
//! session_id).

use std::collections::VecDeque;

use crate::proto::PeerId;

/// The most that are kept, beside those of peers with a connection.
const MAX_SESSION_IDS: usize = 1024;

/// This end's session_ids for peers whose own HELLO never arrived, latest last. With the peer's
/// HELLO, a session_id moves into the conversation that begins.
#[derive(Default)]
pub(super) struct SessionIds(VecDeque<(PeerId, u64)>);

impl SessionIds {
    /// The session_id that was sent to this peer.
    pub(super) fn get(&self, peer: &PeerId) -> Option<u64> {
        let mut told = self.0.iter();
        told.find(|(id, _)| id == peer)
            .map(|(_, session_id)| *session_id)
    }

    /// This session_id is sent to the peer now. If too many are kept, the oldest of a peer without
    /// a connection is forgotten: while there is a connection, its HELLO may still arrive.
    pub(super) fn tell(
        &mut self,
        peer: PeerId,
        session_id: u64,
        has_conn: impl Fn(&PeerId) -> bool,
    ) {
        self.forget(&peer);
        self.0.push_back((peer, session_id));
        while self.0.len() > MAX_SESSION_IDS
            && let Some(oldest) = self.0.iter().position(|(id, _)| !has_conn(id))
        {
            self.0.remove(oldest);
        }
    }

    /// The session_id is no longer valid, or is kept elsewhere.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.0.retain(|(id, _)| id != peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(n: usize) -> PeerId {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    #[test]
    fn the_oldest_is_forgotten_whatever_its_id() {
        let mut session_ids = SessionIds::default();
        // Peers with high ids come first.
        let peers: Vec<_> = (0..MAX_SESSION_IDS + 10).rev().map(numbered).collect();
        for (n, peer) in peers.iter().enumerate() {
            session_ids.tell(*peer, n as u64, |_| false);
            // This one is sent again and again.
            session_ids.tell(peers[5], 5, |_| false);
        }
        let forgotten: Vec<_> = peers.iter().map(|peer| session_ids.get(peer)).collect();
        assert_eq!(forgotten.iter().flatten().count(), MAX_SESSION_IDS);
        assert_eq!(forgotten[5], Some(5));
        assert!(forgotten[11..].iter().all(Option::is_some));
    }

    #[test]
    fn one_with_a_connection_is_not_forgotten() {
        let mut session_ids = SessionIds::default();
        let has_conn = |peer: &PeerId| *peer == numbered(0);
        for n in 0..3 * MAX_SESSION_IDS {
            session_ids.tell(numbered(n), n as u64, has_conn);
        }
        assert_eq!(session_ids.get(&numbered(0)), Some(0));
        assert_eq!(session_ids.0.len(), MAX_SESSION_IDS);
    }
}
