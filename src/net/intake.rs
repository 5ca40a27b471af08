//! Requests on their way from the front end's channels to the engine: what is left of the batch at
//! hand, what the engine would not take yet, and what overtakes and is held back all the same.

use std::collections::VecDeque;
use std::vec;

use tokio::sync::OwnedSemaphorePermit;

use crate::channels::{EngineChannels, Waiting};
use crate::mesh::Request;

/// How many commands that overtake are held while the front end has too many answers before it.
const HELD: usize = 64;

/// How far the input is.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum InputEnd {
    /// More may come.
    #[default]
    Open,
    /// All of it is in the channels.
    Announced,
    /// The engine knows.
    Told,
}

/// What has left the channels and is not with the engine.
#[derive(Default)]
pub struct Intake {
    /// Commands that overtake, and wait for the front end to take what it is told.
    held: VecDeque<Request>,
    /// A request that the engine could not take yet.
    waiting: Option<Request>,
    /// What is left of the batch at hand.
    requests: vec::IntoIter<Request>,
    /// The batch's share of the read-ahead.
    permit: Option<OwnedSemaphorePermit>,
    end: InputEnd,
}

impl Intake {
    /// Whether another command that overtakes can be held.
    pub fn has_room(&self) -> bool {
        self.held.len() < HELD
    }

    /// Whether any command that overtakes is held.
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether anything has left the channels and is not with the engine.
    pub fn has_any(&self) -> bool {
        self.holds_any() || !self.is_hungry()
    }

    /// Holds a command that overtakes.
    pub fn hold(&mut self, request: Request) {
        self.held.push_back(request);
    }

    /// The command that is held for longest.
    pub fn release(&mut self) -> Option<Request> {
        self.held.pop_front()
    }

    /// Whether the batch at hand is taken.
    pub fn is_hungry(&self) -> bool {
        self.waiting.is_none() && self.requests.len() == 0
    }

    /// A new batch is at hand; to be called when [`Self::is_hungry`].
    pub fn begin(&mut self, batch: Waiting<Vec<Request>>) {
        self.requests = batch.item.into_iter();
        self.permit = batch.permit;
    }

    /// The next ordered request.
    pub fn next(&mut self, channels: &mut EngineChannels) -> Option<Request> {
        loop {
            if let Some(request) = self.waiting.take().or_else(|| self.requests.next()) {
                return Some(request);
            }
            self.permit = None;
            let batch = channels.ordered.try_recv().ok()?;
            self.begin(batch);
        }
    }

    /// The engine did not take this one yet: it is the next once more.
    pub fn put_back(&mut self, request: Request) {
        self.waiting = Some(request);
    }

    /// All input is in the channels.
    pub fn announce_end(&mut self) {
        if self.end == InputEnd::Open {
            self.end = InputEnd::Announced;
        }
    }

    /// Whether the engine has to be told now that the input has ended: once, when it has taken all.
    pub fn take_end(&mut self, channels: &EngineChannels) -> bool {
        let taken = self.is_hungry()
            && self.held.is_empty()
            && channels.ordered.is_empty()
            && channels.urgent.is_empty();
        let ends = self.end == InputEnd::Announced && taken;
        if ends {
            self.end = InputEnd::Told;
        }
        ends
    }
}
