//! Memory after a burst of messages.

use std::collections::VecDeque;

/// The most entries for which an empty queue keeps its memory.
const KEPT: usize = 64;

/// Gives back the memory of a queue that is empty, unless that is little. A queue that is filled and
/// emptied with each message keeps its memory, and one that has held thousands does not.
pub fn give_back<T>(queue: &mut VecDeque<T>) {
    if queue.is_empty() && queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_queue_that_was_long_gives_its_memory_back() {
        let mut queue: VecDeque<_> = (0..1000).collect();
        give_back(&mut queue);
        assert_eq!(queue.len(), 1000);
        queue.clear();
        give_back(&mut queue);
        assert_eq!(queue.capacity(), 0);
        queue.push_back(1);
        queue.clear();
        give_back(&mut queue);
        assert_ne!(queue.capacity(), 0);
    }
}
