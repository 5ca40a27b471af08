//! Many links: which peers are here, which address to dial, which messages are owed.
//!
//! [`Engine`] is a whole node without its sockets: commands, bytes and the time go in; actions for
//! the sockets, events for the front end and the next deadline come out. It does no I/O, reads no
//! clock and draws no randomness of its own, so a mesh of any size runs in one thread under virtual
//! time from one seed.
//!
//! The engine routes between state machines that do not know each other: `connections` with the
//! states of each `conn`, `roster` with those of each `peer`, `dialing` over `targets`, `circuits`
//! over relays, `lan`
//! for the local networks, `admission` of strangers, `delivery` of the user's messages, `release` of messages from peers, the
//! `lifecycle` of the run, and `output`. Each has its own methods, tests and deadline. Several of
//! them use `deadlines`, `bucket` and `shares`.

mod action;
mod admission;
mod backoff;
mod bucket;
mod circuits;
mod command;
mod conn;
mod conn_id;
mod connections;
mod deadlines;
mod delivery;
mod dial_budget;
mod dialing;
mod engine;
mod entrance;
mod event;
mod lan;
mod ledger;
mod lifecycle;
mod names;
mod outcome;
mod output;
mod patience;
mod peer;
mod peer_index;
mod release;
mod remote;
mod roster;
mod scope;
mod session_ids;
mod settings;
mod shares;
mod sorted;
mod target;
mod targets;
mod waits;

pub use action::{Action, Close, CloseCause};
pub use admission::Class as Payer;
pub use command::{Command, Offered, PeerQuery, Reference, Request, Tag, Text};
pub use conn_id::ConnId;
pub use engine::Engine;
pub use event::{
    Addressee, Confirmation, DialAttempt, DownReason, ErrorCode, Event, LinkStats, PeerInfo,
    PeerState, PendingMessages, Predecessor, Undelivered, Who,
};
pub use lan::LocalNetwork;
pub use outcome::{ByeReason, Outcome};
pub use remote::{Relay, Remote};
pub use scope::{Scope, Scopes};
pub use settings::{Cover, Require, Settings, Stay};
