//! Requests on their way from the front end's channels to the engine: the rest of the current
//! batch, the request that the engine could not take yet, and overtaking commands that still have
//! to wait.

use std::collections::VecDeque;
use std::vec;

use tokio::sync::OwnedSemaphorePermit;

use crate::channels::{EngineChannels, Waiting};
use crate::mesh::Request;

/// How many overtaking commands are held while the front end has too many answers to write.
const HELD: usize = 64;

/// How far the end of the input has got.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum InputEnd {
    /// More input may come.
    #[default]
    Open,
    /// All input is in the channels.
    Announced,
    /// The engine knows that the input has ended.
    Told,
}

/// Requests that have left the channels and have not reached the engine.
#[derive(Default)]
pub struct Intake {
    /// Overtaking commands that wait until the front end takes events.
    held: VecDeque<Request>,
    /// The request that the engine could not take yet.
    waiting: Option<Request>,
    /// The rest of the current batch.
    requests: vec::IntoIter<Request>,
    /// The batch's share of the read-ahead.
    permit: Option<OwnedSemaphorePermit>,
    end: InputEnd,
}

impl Intake {
    /// Whether another overtaking command can be held.
    pub fn has_room(&self) -> bool {
        self.held.len() < HELD
    }

    /// Whether any overtaking command is held.
    pub fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Whether any request is here.
    pub fn has_any(&self) -> bool {
        self.holds_any() || !self.is_hungry()
    }

    /// Holds an overtaking command.
    pub fn hold(&mut self, request: Request) {
        self.held.push_back(request);
    }

    /// The overtaking command that has been held for longest.
    pub fn release(&mut self) -> Option<Request> {
        self.held.pop_front()
    }

    /// Whether the current batch is used up.
    pub fn is_hungry(&self) -> bool {
        self.waiting.is_none() && self.requests.len() == 0
    }

    /// Begins a new batch; to be called when [`Self::is_hungry`].
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

    /// The engine could not take this request yet: it will be the next again.
    pub fn put_back(&mut self, request: Request) {
        self.waiting = Some(request);
    }

    /// All input is in the channels.
    pub fn announce_end(&mut self) {
        if self.end == InputEnd::Open {
            self.end = InputEnd::Announced;
        }
    }

    /// Whether to report the end of the input to the engine now: once, after it has taken
    /// everything.
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
