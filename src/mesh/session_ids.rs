//! What peers were told before they said anything (PROTOCOL.md, section 9: memory).

use std::collections::VecDeque;

use crate::proto::PeerId;

/// The most that are kept, those of peers with a connection aside.
const MAX_MEMORIES: usize = 1024;

/// This end's memories of peers that were told them and whose own HELLO never came in, those told
/// last at the end. With the HELLO a memory goes to the conversation that begins.
#[derive(Default)]
pub struct Memories(VecDeque<(PeerId, u64)>);

impl Memories {
    /// What the peer was told.
    pub fn get(&self, peer: &PeerId) -> Option<u64> {
        let mut told = self.0.iter();
        told.find(|(id, _)| id == peer).map(|(_, memory)| *memory)
    }

    /// The peer is told this memory now. Where there are too many, the oldest is forgotten of those
    /// whose peer has no connection: until then its HELLO may come in.
    pub fn tell(&mut self, peer: PeerId, memory: u64, has_conn: impl Fn(&PeerId) -> bool) {
        self.forget(&peer);
        self.0.push_back((peer, memory));
        while self.0.len() > MAX_MEMORIES
            && let Some(oldest) = self.0.iter().position(|(id, _)| !has_conn(id))
        {
            self.0.remove(oldest);
        }
    }

    /// The memory counts no more, or is kept elsewhere.
    pub fn forget(&mut self, peer: &PeerId) {
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
        let mut memories = Memories::default();
        // The first ids are the highest.
        let peers: Vec<_> = (0..MAX_MEMORIES + 10).rev().map(numbered).collect();
        for (n, peer) in peers.iter().enumerate() {
            memories.tell(*peer, n as u64, |_| false);
            // It is told again all the time.
            memories.tell(peers[5], 5, |_| false);
        }
        let forgotten: Vec<_> = peers.iter().map(|peer| memories.get(peer)).collect();
        assert_eq!(forgotten.iter().flatten().count(), MAX_MEMORIES);
        assert_eq!(forgotten[5], Some(5));
        assert!(forgotten[11..].iter().all(Option::is_some));
    }

    #[test]
    fn one_with_a_connection_is_not_forgotten() {
        let mut memories = Memories::default();
        let has_conn = |peer: &PeerId| *peer == numbered(0);
        for n in 0..3 * MAX_MEMORIES {
            memories.tell(numbered(n), n as u64, has_conn);
        }
        assert_eq!(memories.get(&numbered(0)), Some(0));
        assert_eq!(memories.0.len(), MAX_MEMORIES);
    }
}
