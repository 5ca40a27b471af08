//! The text of an event for users, in chat and in plain mode.

use std::time::Duration;

use super::clock::Moment;
use super::command::COMMANDS;
use super::options::Verbosity;
use super::sanitize::{clean, is_plain};
use super::table::{ANY_WIDTH, Table};
use crate::mesh::{
    Confirmation, DialAttempt, DownReason, Event, LinkStats, PeerInfo, PeerState, PendingMessages,
    Predecessor, Text, Who,
};

/// The beginning of each line of a message after the first.
pub(super) const INDENT: &[u8] = b"  ";

/// The most peers that a notice names.
const NAMED: usize = 5;

/// The first character of a line about the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// `*`: a notice.
    Notice,
    /// `!`: needs attention.
    Attention,
}

/// When a line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Not requested: shown from this verbosity on, and never with `--quiet`.
    Unasked(u8),
    /// An answer, or an error of the user: always shown.
    Asked,
}

/// One line about the program, already sanitised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The first character.
    pub mark: Mark,
    /// When it is shown.
    pub wanted: Wanted,
    /// The rest of the line.
    pub text: String,
}

impl Note {
    /// A notice that was not requested.
    pub(super) fn notice(text: impl AsRef<str>) -> Self {
        Self::new(Mark::Notice, Wanted::Unasked(0), text)
    }

    /// A line that was not requested and needs attention.
    pub(super) fn attention(text: impl AsRef<str>) -> Self {
        Self::new(Mark::Attention, Wanted::Unasked(0), text)
    }

    /// The answer to a command.
    pub(super) fn answer(text: impl AsRef<str>) -> Self {
        Self::new(Mark::Notice, Wanted::Asked, text)
    }

    /// An error of the user.
    pub(super) fn mistake(text: impl AsRef<str>) -> Self {
        Self::new(Mark::Attention, Wanted::Asked, text)
    }

    fn new(mark: Mark, wanted: Wanted, text: impl AsRef<str>) -> Self {
        Self {
            mark,
            wanted,
            text: clean(text.as_ref()).into_owned(),
        }
    }

    /// Whether it is shown with this verbosity.
    pub(super) fn is_wanted(&self, verbosity: Verbosity) -> bool {
        match self.wanted {
            Wanted::Asked => true,
            Wanted::Unasked(level) => verbosity.shows(level),
        }
    }
}

/// The lines of a message. A line end at the end does not begin another line.
pub(super) fn lines_of(text: &Text) -> impl Iterator<Item = &str> {
    let text = text.as_str();
    text.strip_suffix('\n').unwrap_or(text).split('\n')
}

/// Appends a message's text: sanitised, each line after the first indented by two spaces, with a
/// line end.
pub(super) fn push_text(out: &mut Vec<u8>, text: &Text) {
    if !is_plain(text.as_str()) {
        return push_lines(out, lines_of(text));
    }
    out.extend_from_slice(text.as_str().as_bytes());
    out.push(b'\n');
}

/// Appends lines of a message, the first one to the line that has begun.
pub(super) fn push_lines<'a>(out: &mut Vec<u8>, lines: impl Iterator<Item = &'a str>) {
    for (number, line) in lines.enumerate() {
        if number > 0 {
            out.extend_from_slice(INDENT);
        }
        out.extend_from_slice(clean(line).as_bytes());
        out.push(b'\n');
    }
}

/// The lines for any event except a message; `Done` and `Bye` are left to the views.
pub(super) fn notes(event: &Event, at: Moment) -> Vec<Note> {
    match event {
        Event::PeerUp {
            who,
            resumed,
            via,
            instead_of,
            ..
        } => {
            let via = via.as_ref().map(|relay| format!(" via {}", relay.shown));
            let again = if *resumed { " again" } else { "" };
            let id = who.id.hex_prefix(16);
            let not = instead_of.as_deref().map(|it| not_the_one(it, at));
            vec![Note::notice(format!(
                "{} is here{again}{} ({id}){}",
                who.shown,
                via.unwrap_or_default(),
                not.unwrap_or_default()
            ))]
        }
        Event::PeerName {
            who,
            before,
            instead_of,
        } => {
            let id = who.id.hex_prefix(16);
            let not = instead_of.as_deref().map(|it| not_the_one(it, at));
            let not = not.map(|not| format!(" ({id}){not}"));
            vec![Note::notice(format!(
                "{before} is now {}{}",
                who.shown,
                not.unwrap_or_default()
            ))]
        }
        Event::PeerDown {
            who,
            reason,
            retrying,
            awaited,
        } => vec![down(who, *reason, *retrying, *awaited)],
        Event::PeerGone { who } => {
            vec![Note::notice(format!("gave up waiting for {}", who.shown))]
        }
        Event::Peers { peers, .. } => peer_table(peers, ANY_WIDTH),
        Event::Pending { peers, .. } => pending_list(peers, at),
        Event::WaitsToEnd { peers, limit } => vec![Note::notice(waits_to_end(peers, *limit))],
        Event::Stats { links, .. } => link_table(links, ANY_WIDTH),
        Event::Whoami {
            id, name, decoy, ..
        } => {
            let name = name.as_ref().map_or(String::new(), |n| format!("{n}, "));
            let decoy = if *decoy { ", a decoy session" } else { "" };
            vec![Note::answer(format!("you are {name}{id}{decoy}"))]
        }
        Event::Verify { who, sas, .. } => vec![
            Note::answer(format!("{}: {sas}", who.shown)),
            Note::answer("if the other end shows the same words, nobody sits in between"),
        ],
        Event::Confirmed { what, .. } => vec![confirmed(what)],
        Event::AuthFailed {
            addr,
            inbound,
            count,
        } => vec![refused(addr, *inbound, *count)],
        Event::Error { message, .. } => vec![Note::mistake(message)],
        Event::Notice { level, text } => {
            vec![Note::new(Mark::Notice, Wanted::Unasked(*level), text)]
        }
        Event::Advertised { address } if address.is_onion() => vec![Note::attention(format!(
            "your onion service has a new address: {address}"
        ))],
        // A notice has said what the router forwards.
        Event::Advertised { .. } => Vec::new(),
        Event::Addressees(_)
        | Event::Message { .. }
        | Event::Queued { .. }
        | Event::Delivered { .. }
        | Event::Done { .. }
        | Event::Audience { .. }
        | Event::Dialing { .. }
        | Event::Unacknowledged(_)
        | Event::Unsent { .. }
        | Event::Bye(_) => Vec::new(),
    }
}

/// Which departed peer the new one must not be taken for.
fn not_the_one(before: &Predecessor, at: Moment) -> String {
    let age = at.now.saturating_duration_since(before.left_at);
    format!(
        ", not the {} ({}…) who left at {}",
        before.name,
        before.id.hex_prefix(8),
        at.time_of_day(age)
    )
}

/// The answer to `/help`, in lines of this width.
pub(super) fn help(topic: Option<&str>, width: usize) -> Vec<Note> {
    if let Some((word, arguments, what)) = COMMANDS.iter().find(|it| Some(it.0) == topic) {
        let usage = format!("{word} {arguments}");
        return vec![Note::answer(format!("{}: {what}", usage.trim_end()))];
    }
    let rows = COMMANDS.iter().map(|(word, arguments, what)| {
        vec![
            format!("{word} {arguments}").trim_end().to_owned(),
            (*what).to_owned(),
        ]
    });
    let last = "//text sends /text; PEER is a name, or the first 8 or more hex digits of an id";
    let mut lines = Table::new(rows).stacked(width);
    lines.extend(Table::new([vec![last.to_owned()]]).stacked(width));
    answers(lines)
}

/// The line about a link that ended.
pub(super) fn down(who: &Who, reason: DownReason, retrying: bool, awaited: bool) -> Note {
    if reason == DownReason::Local {
        return Note::notice(format!(
            "you disconnected {}; neither end dials the other until /connect",
            who.shown
        ));
    }
    let then = match (retrying, awaited) {
        (true, _) => ", trying again",
        (false, true) => ", waiting for it",
        (false, false) => "",
    };
    Note::notice(format!("{} left: {}{then}", who.shown, reason.as_str()))
}

fn confirmed(what: &Confirmation) -> Note {
    match what {
        Confirmation::Connecting(addr) => Note::notice(format!("connecting to {addr}")),
        Confirmation::Named(name) => Note::notice(format!("your name is now {name}")),
        Confirmation::Ignored(who, true) => {
            Note::notice(format!("ignoring {} from now on", who.shown))
        }
        Confirmation::Ignored(who, false) => {
            Note::notice(format!("no longer ignoring {}", who.shown))
        }
    }
}

fn refused(addr: &str, inbound: bool, count: u64) -> Note {
    let times = if count > 1 {
        format!(" ({count} times)")
    } else {
        String::new()
    };
    if inbound {
        Note::attention(format!(
            "somebody at {addr} tried another passphrase{times}"
        ))
    } else {
        Note::attention(format!("{addr} has another passphrase{times}"))
    }
}

/// The answer to `/peers`, in lines of this width.
pub(super) fn peer_table(peers: &[PeerInfo], width: usize) -> Vec<Note> {
    if peers.is_empty() {
        return vec![Note::answer("no peers")];
    }
    let rows = peers.iter().map(|peer| {
        let (shown, id) = match &peer.who {
            Some(who) => (who.shown.clone(), who.id.hex_prefix(16)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        vec![
            shown,
            id,
            standing(peer),
            for_how_long(peer.since),
            peer.addr.clone().unwrap_or_default(),
            remarks(peer),
        ]
    });
    answers(Table::new(rows).stacked(width))
}

fn pending_list(peers: &[PendingMessages], at: Moment) -> Vec<Note> {
    if peers.is_empty() {
        return vec![Note::answer("all messages are acknowledged")];
    }
    let note = |peer: &PendingMessages| {
        let (messages, bytes) = (messages(peer.messages), peer.bytes);
        let since = at.time_of_day(peer.age);
        Note::answer(format!(
            "{}: {messages} ({bytes} bytes) not acknowledged, since {since}",
            peer.who.shown
        ))
    };
    peers.iter().map(note).collect()
}

/// The notice that the run waits for acknowledgements before it ends.
pub(super) fn waits_to_end(peers: &[PendingMessages], limit: Duration) -> String {
    let seconds = limit.as_millis().div_ceil(1000);
    format!("waiting for {}, up to {seconds} s", by_peer(peers))
}

/// `bob: 3 messages, carol: 1 message`.
fn by_peer(peers: &[PendingMessages]) -> String {
    let owed = |peer: &PendingMessages| format!("{}: {}", peer.who.shown, messages(peer.messages));
    listed(peers, owed)
}

/// Some peers in a list, and how many more there are.
fn listed(peers: &[PendingMessages], show: impl Fn(&PendingMessages) -> String) -> String {
    let named = peers.iter().take(NAMED).map(show);
    let named = named.collect::<Vec<_>>().join(", ");
    match peers.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// Who has not acknowledged how many messages, for the status; nothing if there are none.
pub(super) fn unacknowledged(peers: &[PendingMessages]) -> String {
    let Some(first) = peers.first() else {
        return String::new();
    };
    let owed = match peers.iter().all(|peer| peer.messages == first.messages) {
        true => {
            let names = listed(peers, |peer| peer.who.shown.clone());
            format!("{names}: {}", messages(first.messages))
        }
        false => by_peer(peers),
    };
    format!("{owed} not acknowledged")
}

/// What is dialled, for the status; nothing if nothing is.
pub(super) fn dialing(last: Option<&DialAttempt>, others: usize) -> String {
    let Some(DialAttempt {
        addr,
        attempt,
        error,
    }) = last
    else {
        return String::new();
    };
    // Without what it means: that is in the notice, and in the answer to /peers.
    let cause = |why: &String| why.split(": ").next().unwrap_or_default().to_owned();
    let error = error.as_ref().map(|why| format!("; last: {}", cause(why)));
    let others = match others {
        0 => String::new(),
        1 => " and 1 other address".into(),
        others => format!(" and {others} other addresses"),
    };
    format!(
        "dialing {addr}{others}, attempt {attempt}{}",
        error.unwrap_or_default()
    )
}

/// `1 message`, `3 messages`.
fn messages(count: usize) -> String {
    format!("{count} message{}", if count == 1 { "" } else { "s" })
}

/// The state of a peer, and the relay if its link is a circuit.
fn standing(peer: &PeerInfo) -> String {
    let state = peer.state.as_str();
    match &peer.via {
        Some(relay) => format!("{state} via {}", relay.shown),
        None => state.to_owned(),
    }
}

/// Further remarks about a peer.
fn remarks(peer: &PeerInfo) -> String {
    let ignored = peer.ignored.then_some("ignored");
    let is_up = peer.state == PeerState::Up;
    let error = peer.error.as_deref().filter(|_| !is_up);
    let remarks: Vec<_> = ignored.into_iter().chain(error).collect();
    remarks.join(", ")
}

/// The answer to `/stats`, in lines of this width.
pub(super) fn link_table(links: &[LinkStats], width: usize) -> Vec<Note> {
    if links.is_empty() {
        return vec![Note::answer("no links")];
    }
    let head = [
        "peer",
        "up",
        "cover",
        "cells out",
        "data out",
        "cells in",
        "data in",
        "bytes out",
        "B/s out",
        "bytes in",
        "B/s in",
        "lateness",
        "skipped",
        "steps",
        "key age",
        "epoch",
        "epoch age",
        "round trip",
        "queue",
        "B queued",
        "circuits",
        "B carried",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(links.iter().map(|link| {
        vec![
            link.who.shown.clone(),
            for_how_long(link.up_for),
            link.interval_ms
                .map_or("off".to_owned(), |ms| format!("{ms} ms")),
            link.cells_sent.to_string(),
            link.data_cells_sent.to_string(),
            link.cells_received.to_string(),
            link.data_cells_received.to_string(),
            link.bytes_sent.to_string(),
            a_second(link.bytes_sent, link.up_for).to_string(),
            link.bytes_received.to_string(),
            a_second(link.bytes_received, link.up_for).to_string(),
            milliseconds(link.worst_lateness),
            link.ticks_skipped.to_string(),
            link.ratchet_steps.to_string(),
            milliseconds(link.ratchet_age),
            link.epoch.to_string(),
            for_how_long(link.epoch_age),
            link.round_trip.map_or("-".to_owned(), milliseconds),
            link.queued_messages.to_string(),
            link.queued_bytes.to_string(),
            link.carried_circuits.to_string(),
            link.carried_bytes.to_string(),
        ]
    }));
    answers(Table::new(rows).side_cut(width))
}

/// Each line as an answer.
fn answers(lines: Vec<String>) -> Vec<Note> {
    lines.iter().map(Note::answer).collect()
}

fn for_how_long(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min", s / 60),
        s @ 3600..86_400 => format!("{} h {:02} min", s / 3600, s / 60 % 60),
        s => format!("{} d {} h", s / 86_400, s / 3600 % 24),
    }
}

/// The average per second of this count in this time.
pub(super) fn a_second(count: u64, time: Duration) -> u64 {
    let rate = u128::from(count) * 1000 / time.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::front::text::tests::at;
    use crate::mesh::Tag;
    use crate::proto::{DisplayName, PeerId};

    /// A peer whose id begins with `3f9c01aa24b7d08e`.
    pub(crate) fn who(name: &str) -> Arc<Who> {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&[0x3f, 0x9c, 0x01, 0xaa, 0x24, 0xb7, 0xd0, 0x8e]);
        let name = DisplayName::from_wire(name).ok();
        let shown = name
            .as_ref()
            .map_or("3f9c01aa24b7d08e".into(), ToString::to_string);
        Arc::new(Who {
            id: PeerId(id),
            name,
            shown,
        })
    }

    fn lines(event: &Event) -> Vec<String> {
        notes(event, at()).into_iter().map(|n| n.text).collect()
    }

    #[test]
    fn arrivals_and_departures_read_as_specified() {
        let up = Event::PeerUp {
            who: who("alice"),
            addr: "192.0.2.7:9000".into(),
            inbound: true,
            resumed: false,
            sas: "six words".into(),
            instead_of: None,
            via: None,
        };
        assert_eq!(lines(&up), ["alice is here (3f9c01aa24b7d08e)"]);
        let down = |reason, retrying, awaited| Event::PeerDown {
            who: who("alice"),
            reason,
            retrying,
            awaited,
        };
        assert_eq!(
            lines(&down(DownReason::Goodbye, false, false)),
            ["alice left: goodbye"]
        );
        assert_eq!(
            lines(&down(DownReason::Lost, true, true)),
            ["alice left: lost, trying again"]
        );
        assert_eq!(
            lines(&down(DownReason::Lost, false, true)),
            ["alice left: lost, waiting for it"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let peer = |name, state, ignored| PeerInfo {
            who: Some(who(name)),
            addr: Some("192.0.2.7:9000".into()),
            since: Duration::from_secs(61),
            state,
            ignored,
            via: None,
            error: Some("connection refused".into()),
        };
        let peers = vec![
            peer("al", PeerState::Up, false),
            peer("robert", PeerState::Known, true),
            peer("日本❤\u{fe0f}", PeerState::Up, false),
            PeerInfo {
                who: None,
                ..peer("", PeerState::Dialing, false)
            },
        ];
        assert_eq!(
            lines(&Event::Peers {
                tag: Tag::default(),
                peers
            }),
            [
                "al      3f9c01aa24b7d08e  up       1 min  192.0.2.7:9000",
                "robert  3f9c01aa24b7d08e  known    1 min  192.0.2.7:9000  ignored, connection refused",
                "日本❤\u{fe0f}  3f9c01aa24b7d08e  up       1 min  192.0.2.7:9000",
                "-       -                 dialing  1 min  192.0.2.7:9000  connection refused",
            ]
        );
        assert!(
            help(None, ANY_WIDTH)
                .iter()
                .any(|n| n.text.starts_with("/quit           "))
        );
    }

    /// A link that has been up for a minute, with one cell per tick.
    pub(crate) fn link() -> LinkStats {
        LinkStats {
            who: who("alice"),
            addr: "192.0.2.7:9000".into(),
            interval_ms: Some(100),
            cells_sent: 600,
            cells_received: 599,
            data_cells_sent: 12,
            data_cells_received: 7,
            bytes_sent: 614_400,
            bytes_received: 613_376,
            ticks_skipped: 3,
            worst_lateness: Duration::from_millis(17),
            ratchet_steps: 5,
            ratchet_age: Duration::from_millis(900),
            epoch: 1,
            epoch_age: Duration::from_secs(58),
            round_trip: None,
            queued_messages: 1,
            queued_bytes: 40,
            up_for: Duration::from_secs(60),
            carried_circuits: 2,
            carried_bytes: 2092,
        }
    }

    #[test]
    fn link_statistics_show_speed_and_worst_moments() {
        let told = lines(&Event::Stats {
            tag: Tag::default(),
            links: vec![link()],
        });
        assert_eq!(
            told,
            [
                "peer   up     cover   cells out  data out  cells in  data in  bytes out  B/s out  \
                 bytes in  B/s in  lateness  skipped  steps  key age  epoch  epoch age  round trip  \
                 queue  B queued  circuits  B carried",
                "alice  1 min  100 ms  600        12        599       7        614400     10240    \
                 613376    10222   17 ms     3        5      900 ms   1      58 s       -           \
                 1      40        2         2092",
            ]
        );
        assert_eq!(a_second(5, Duration::ZERO), 5000);
    }

    #[test]
    fn notice_with_escape_sequences_draws_nothing() {
        let event = Event::Notice {
            level: 1,
            text: "a\u{1b}[2J\nb".into(),
        };
        let note = notes(&event, at()).remove(0);
        assert_eq!(note.text, "a\\u{1b}[2J\\u{a}b");
        let shown = |quiet, level| note.is_wanted(Verbosity { quiet, level });
        assert!(!shown(false, 0) && shown(false, 1) && !shown(true, 9));
    }

    #[test]
    fn a_message_of_several_lines_is_indented() {
        let shown = |text: &str| {
            let mut out = Vec::new();
            push_text(&mut out, &Text::from(text));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(shown("hello"), "hello\n");
        assert_eq!(shown(""), "\n");
        assert_eq!(shown("a\nb\n\nc"), "a\n  b\n  \n  c\n");
        assert_eq!(shown("a\nb\n"), "a\n  b\n");
        assert_eq!(shown("a\n* alice is here"), "a\n  * alice is here\n");
    }
}
