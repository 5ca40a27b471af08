//! The view of chat and plain mode: messages and notices as lines of text.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use time::Date;

use super::alert::{Alert, AlertFor, Alerts};
use super::audience::Audience;
use super::clock::{Moment, push_stamp, time_of_day};
use super::command::Mistake;
use super::completion_names::CompletionNames;
use super::departures::{Departure, Departures};
use super::input_sender::Local;
use super::invitation::Invitation;
use super::keyboard::Keys;
use super::lines::BadLine;
use super::options::{FrontendOptions, Verbosity};
use super::output::{OutputBatch, View};
use super::ready::Ready;
use super::render::{self, Mark, Note};
use super::sanitize::clean;
use super::screen::CLEAR;
use super::status::StatusRow;
use super::table::ANY_WIDTH;
use super::undelivered::Fates;
use crate::channels::Shown;
use crate::mesh::{ByeReason, DownReason, ErrorCode, Event, Tag, Text, Who};
use crate::sys::network::own_addresses;

const TIME: &str = "\x1b[2m";
const NAME: &str = "\x1b[1;36m";
const DIRECT: &str = "\x1b[1;35m";
const NOTICE: &str = "\x1b[2m";
const ATTENTION: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// The most lines of a message that chat shows at once.
const MOST_LINES: usize = 20;
/// The most longer messages that it keeps for `/more`.
const MOST_FOLDED: usize = 8;

/// What only chat shows and updates.
pub(super) struct ChatStyle {
    /// The names that Tab completes; this view updates them.
    names: CompletionNames,
    /// Whether a message would reach any peer; this view updates it.
    audience: Arc<Audience>,
    /// The line editor, if the terminal can have one.
    keys: Option<Arc<Keys>>,
    /// Lines about peers that left, which may come back at once.
    departures: Departures,
    /// The terminal's width at present.
    columns: fn() -> usize,
    /// The row above the line being typed.
    status: StatusRow,
    /// Which messages ring the bell, and which notify.
    alerts: Alerts,
    /// The messages whose first lines only were shown, the last one at the end.
    folded: Vec<Folded>,
    /// The day of the line that was shown last.
    day: Cell<Option<Date>>,
    /// Whether any peer has come in this run.
    met: bool,
}

impl ChatStyle {
    /// With all alerts off.
    pub(super) fn new(
        names: CompletionNames,
        audience: Arc<Audience>,
        keys: Option<Arc<Keys>>,
        columns: fn() -> usize,
    ) -> Self {
        Self {
            names,
            audience,
            keys,
            departures: Departures::default(),
            columns,
            status: StatusRow::default(),
            alerts: Alerts::default(),
            folded: Vec::new(),
            day: Cell::new(None),
            met: false,
        }
    }

    /// Shows the status, except in a quiet run and on a terminal without an editor.
    fn show_status(&self, verbosity: Verbosity) {
        if let Some(keys) = self.keys.as_ref().filter(|_| verbosity.shows(0)) {
            keys.shared_screen().show_status(self.status.text());
        }
    }
}

/// A message whose first lines only were shown.
pub(super) struct Folded {
    /// How its sender was shown.
    sender: String,
    text: Text,
    at: Moment,
}

/// How lines are shown.
pub(super) enum Style {
    /// Everything above the line being typed, each line with the time of day.
    Chat(ChatStyle),
    /// Messages on stdout, everything else on stderr; undelivered lines by their numbers.
    Plain {
        /// The first output on stdout ends a line that a panic cut short.
        line_open: bool,
    },
}

/// The view of chat and of plain mode.
pub(super) struct TextView {
    options: Arc<FrontendOptions>,
    style: Style,
    fates: Fates,
    /// How others reach this end, once it is ready.
    invitation: Option<Invitation>,
}

impl TextView {
    /// A view in this style.
    pub(super) fn new(options: Arc<FrontendOptions>, style: Style) -> Self {
        Self {
            options,
            style,
            fates: Fates::default(),
            invitation: None,
        }
    }

    fn coloured(&self, out: &mut Vec<u8>, colour: &str, text: &str) {
        let paints = self.options.colour && matches!(self.style, Style::Chat(_));
        let (before, after) = if paints { (colour, RESET) } else { ("", "") };
        for part in [before, text, after] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// The beginning of a line: the time, if it has one.
    fn time(&self, out: &mut Vec<u8>, at: Moment) {
        match &self.style {
            Style::Chat(chat) => {
                let local = at.local();
                let day = local.date();
                let before = chat.day.replace(Some(day));
                if before.is_some_and(|before| before != day) {
                    self.new_day(out, day);
                }
                self.coloured(out, TIME, &time_of_day(local));
            }
            Style::Plain { .. } if self.options.timestamps => push_stamp(out, at.utc),
            Style::Plain { .. } => return,
        }
        out.push(b' ');
    }

    fn new_day(&self, out: &mut Vec<u8>, day: Date) {
        let line = format!("      * it is {}, {day}", day.weekday());
        self.coloured(out, NOTICE, &line);
        out.push(b'\n');
    }

    fn note(&self, note: &Note, at: Moment, batch: &mut OutputBatch) {
        if !note.is_wanted(self.options.verbosity) {
            return;
        }
        let out = match self.style {
            Style::Chat(_) => &mut batch.out,
            Style::Plain { .. } => &mut batch.err,
        };
        self.time(out, at);
        let (mark, colour) = match note.mark {
            Mark::Notice => ("* ", NOTICE),
            Mark::Attention => ("! ", ATTENTION),
        };
        let decoy = self.options.decoy_mark();
        self.coloured(out, colour, &format!("{mark}{decoy}{}", note.text));
        out.push(b'\n');
    }

    /// The columns for the text of a notice. The last column stays free, since not all terminals
    /// agree on when a full row ends.
    fn width(&self) -> usize {
        let Style::Chat(chat) = &self.style else {
            return ANY_WIDTH;
        };
        let decoy = self.options.decoy_mark();
        let before = "12:04 * ".len() + decoy.len();
        (chat.columns)().saturating_sub(before + 1)
    }

    fn notes(&self, notes: &[Note], at: Moment, batch: &mut OutputBatch) {
        for note in notes {
            self.note(note, at, batch);
        }
    }

    /// Lines about peers that left, each with the time at which its peer did.
    fn departed(&self, departures: Vec<Departure>, at: Moment, batch: &mut OutputBatch) {
        for Departure { note, at: then, .. } in departures {
            let same_day = then.local().date() == at.local().date();
            self.note(&note, if same_day { then } else { at }, batch);
        }
    }

    /// Shows the lines about peers that left, before one that would read strangely without them.
    fn tell_departures(&mut self, at: Moment, batch: &mut OutputBatch) {
        if let Style::Chat(chat) = &mut self.style {
            let all = chat.departures.take_all();
            self.departed(all, at, batch);
        }
    }

    /// A peer that came, in a chat. If it had left just before, or another one with its name had,
    /// this line tells both.
    fn came(&mut self, event: &Event, at: Moment, batch: &mut OutputBatch) {
        let Event::PeerUp {
            who, instead_of, ..
        } = event
        else {
            return;
        };
        let mut notes = render::notes(event, at);
        if let Style::Chat(chat) = &mut self.style {
            // Before the peer is shown, and so before the user can answer.
            chat.audience.came();
            chat.met = true;
            let gone = chat.departures.forget(who.id, at.now);
            if let Some(before) = instead_of {
                chat.departures.forget(before.id, at.now);
            }
            let others = chat.departures.take_named(who.name.as_ref());
            self.departed(others, at, batch);
            if let (Some(gone), Some(note)) = (gone, notes.first_mut()) {
                note.text += &format!(", gone for {} s", gone.as_secs().max(1));
            }
        }
        self.notes(&notes, at, batch);
    }

    /// A problem of the program itself, which plain mode shows in a quiet run too, as any program
    /// does.
    fn trouble(&self, text: &str, at: Moment, batch: &mut OutputBatch) {
        match self.style {
            Style::Chat(_) => self.note(&Note::mistake(text), at, batch),
            Style::Plain { .. } => {
                self.time(&mut batch.err, at);
                let line = format!("sesame: {}\n", clean(text));
                batch.err.extend_from_slice(line.as_bytes());
            }
        }
    }

    fn message(
        &mut self,
        who: &Who,
        text: Text,
        direct: bool,
        at: Moment,
        batch: &mut OutputBatch,
    ) {
        let out = &mut batch.out;
        if let Style::Chat(chat) = &mut self.style {
            if let Some(keys) = &chat.keys {
                keys.shared_screen().count_unread();
            }
            let notifier = self.options.notifier;
            chat.alerts.push(out, direct, at.now, notifier);
        }
        self.time(out, at);
        let colour = if direct { DIRECT } else { NAME };
        self.coloured(out, colour, &clean(&who.shown));
        out.extend_from_slice(if direct { b" (to you): " } else { b": " });
        let hidden = match self.style {
            Style::Chat(_) => render::lines_of(&text).count().saturating_sub(MOST_LINES),
            Style::Plain { .. } => 0,
        };
        if hidden == 0 {
            return render::push_text(out, &text);
        }
        render::push_lines(out, render::lines_of(&text).take(MOST_LINES));
        let sender = who.shown.clone();
        let lines = if hidden == 1 { "line" } else { "lines" };
        let note = format!("{hidden} more {lines} from {sender}; /more shows them");
        self.note(&Note::answer(note), at, batch);
        if let Style::Chat(chat) = &mut self.style {
            if chat.folded.len() >= MOST_FOLDED {
                chat.folded.remove(0);
            }
            chat.folded.push(Folded { sender, text, at });
        }
    }

    /// The lines of a long message that were not shown.
    fn more(&self, folded: Option<Folded>, at: Moment, batch: &mut OutputBatch) {
        let Some(Folded {
            sender,
            text,
            at: then,
        }) = folded
        else {
            return self.note(
                &Note::answer("all lines of all messages are shown"),
                at,
                batch,
            );
        };
        let time = then.time_of_day(Duration::ZERO);
        let note = format!("the message of {time} from {sender} goes on:");
        self.note(&Note::answer(note), at, batch);
        for line in render::lines_of(&text).skip(MOST_LINES) {
            batch.out.extend_from_slice(render::INDENT);
            render::push_lines(&mut batch.out, [line].into_iter());
        }
    }

    /// An error about an input line, whose number plain mode adds.
    fn about_line(&self, tag: &Tag, message: String) -> String {
        match self.style {
            Style::Plain { .. } if tag.line > 0 => format!("line {}: {message}", tag.line),
            _ => message,
        }
    }

    fn mistake(&self, tag: &Tag, mistake: Mistake, at: Moment, batch: &mut OutputBatch) {
        let text = self.about_line(tag, mistake.message);
        if mistake.code == ErrorCode::TooLong {
            self.trouble(&text, at, batch);
        } else {
            self.note(&Note::mistake(text), at, batch);
        }
    }
}

/// Whether the user needs to know who left before this is shown.
fn speaks_of_departures(event: &Event) -> bool {
    match event {
        Event::Audience { anybody, left } => *left || !anybody,
        Event::Peers { .. }
        | Event::Pending { .. }
        | Event::PeerName { .. }
        | Event::PeerGone { .. }
        | Event::WaitsToEnd { .. }
        | Event::Unsent { .. }
        | Event::Error { .. } => true,
        _ => false,
    }
}

/// A message that was sent when a peer was here, and reached the engine when none was.
fn unsent(keys: Option<&Arc<Keys>>, text: &str) -> String {
    let put_back = |keys: &Arc<Keys>| keys.put_back(text);
    match keys.map(put_back) {
        Some(true) => "not sent: nobody is here; Enter sends the line when somebody is".into(),
        Some(false) => format!("not sent: nobody is here; Up recalls it: {text}"),
        None => format!("not sent: nobody is here: {text}"),
    }
}

/// The error that the input cannot be read at all.
pub(super) const UTF16: &str = "cannot read stdin: it is UTF-16, and sesame sent nothing of it; \
    write it as UTF-8 (PowerShell: $OutputEncoding = [Text.UTF8Encoding]::new(), or Set-Content \
    -Encoding utf8)";

/// What is wrong with an input line, for stderr.
fn bad_line(number: u64, why: BadLine) -> String {
    match why {
        BadLine::TooLong => format!("line {number}: not sent: longer than 65,536 bytes"),
        BadLine::NotUtf8 => format!("line {number}: not sent: not UTF-8"),
    }
}

/// The end of the answer to `/invite` when all have left.
const NOBODY: &str = "all have left; /help lists the commands";

/// The end of the first notices of a chat. Scripts wait for a peer with the words "is here", so it has
/// others.
const NOBODY_YET: &str = "nobody has come yet; /help lists the commands";

/// The first notices of a run.
fn greeting(ready: &Ready, invitation: &Invitation, style: &Style) -> Vec<Note> {
    let mut notes = Vec::new();
    if ready.after_panic.is_some() {
        notes.push(Note::attention("sesame has forgotten everything"));
    }
    match style {
        Style::Chat(_) => {
            notes.push(Note::notice(invitation.introduction()));
            let reach = invitation.reach(&own_addresses());
            notes.extend(reach.iter().map(Note::notice));
            notes.push(Note::notice(NOBODY_YET));
        }
        Style::Plain { .. } => {
            notes.push(Note::notice(invitation.who()));
            let listen: Vec<String> = ready.listen.iter().map(SocketAddr::to_string).collect();
            if !listen.is_empty() {
                notes.push(Note::notice(format!("listening on {}", listen.join(", "))));
            }
        }
    }
    notes
}

/// The last notice of a run that the user did not end.
fn farewell(reason: ByeReason) -> Option<Note> {
    matches!(reason, ByeReason::Goodbye).then(|| Note::notice("nobody is left, so sesame exits"))
}

impl View for TextView {
    fn ready(&mut self, ready: &Ready, at: Moment, batch: &mut OutputBatch) {
        match &mut self.style {
            Style::Chat(chat) if ready.after_panic.is_some() && chat.keys.is_some() => {
                batch.out.extend_from_slice(CLEAR);
            }
            Style::Chat(_) => {}
            Style::Plain { line_open } => {
                if std::mem::take(line_open) {
                    batch.out.push(b'\n');
                }
            }
        }
        let invitation = Invitation::of(ready);
        self.notes(&greeting(ready, &invitation, &self.style), at, batch);
        self.invitation = Some(invitation);
    }

    fn event(&mut self, event: Event, at: Moment, batch: &mut OutputBatch) {
        if let Some(invitation) = &mut self.invitation {
            invitation.update(&event);
        }
        if speaks_of_departures(&event) {
            self.tell_departures(at, batch);
        }
        match (event, &mut self.style) {
            (Event::Addressees(all), Style::Chat(chat)) => chat.names.learn(all),
            (event @ Event::PeerUp { .. }, _) => self.came(&event, at, batch),
            (
                Event::PeerDown {
                    who,
                    reason,
                    retrying,
                    awaited,
                },
                Style::Chat(chat),
            ) if reason != DownReason::Local => {
                let note = render::down(&who, reason, retrying, awaited);
                let shown = chat.departures.hold(&who, note, at);
                self.departed(shown.into_iter().collect(), at, batch);
            }
            (Event::Audience { anybody, left }, Style::Chat(chat)) => {
                let before = chat.audience.is_anybody();
                chat.audience.set(at.now, anybody, left);
                if left {
                    let ends = "nobody is left; Enter on an empty line quits";
                    self.note(&Note::answer(ends), at, batch);
                } else if before && !anybody {
                    self.note(&Note::answer("nobody is left"), at, batch);
                }
            }
            (Event::Dialing { last, others }, Style::Chat(chat)) => {
                chat.status.set_dialing(last.as_ref(), others);
                chat.show_status(self.options.verbosity);
            }
            (Event::Unacknowledged(peers), Style::Chat(chat)) => {
                chat.status.set_unacknowledged(&peers);
                chat.show_status(self.options.verbosity);
            }
            (Event::WaitsToEnd { peers, limit }, Style::Chat(_)) => {
                let waits = render::waits_to_end(&peers, limit);
                self.note(&Note::notice(waits + "; Ctrl-C leaves now"), at, batch);
            }
            (Event::Peers { peers, .. }, _) => {
                self.notes(&render::peer_table(&peers, self.width()), at, batch);
            }
            (Event::Stats { links, .. }, _) => {
                self.notes(&render::link_table(&links, self.width()), at, batch);
            }
            (Event::Unsent { text }, Style::Chat(chat)) => {
                let what = unsent(chat.keys.as_ref(), text.as_str());
                self.note(&Note::mistake(what), at, batch);
            }
            (
                Event::Message {
                    who,
                    text,
                    seq,
                    direct,
                    ..
                },
                _,
            ) => {
                self.message(&who, text, direct, at, batch);
                batch.shown.push(Shown { peer: who.id, seq });
            }
            (
                Event::Done {
                    tag, undelivered, ..
                },
                _,
            ) => self.fates.last_word(at.now, &undelivered, tag.line),
            (
                Event::Error {
                    tag,
                    code: ErrorCode::NoPeers,
                    message,
                },
                _,
            ) => self.fates.add(at.now, message, tag.line),
            (Event::Error { tag, message, .. }, _) => {
                let text = self.about_line(&tag, message);
                self.note(&Note::mistake(text), at, batch);
            }
            (event, _) => self.notes(&render::notes(&event, at), at, batch),
        }
    }

    fn local(&mut self, local: Local, at: Moment, batch: &mut OutputBatch) {
        match (local, &mut self.style) {
            (Local::Mistake(tag, mistake), _) => self.mistake(&tag, mistake, at, batch),
            (Local::BadLine(tag, why), _) => self.trouble(&bad_line(tag.line, why), at, batch),
            (Local::Utf16, _) => self.trouble(UTF16, at, batch),
            (Local::Trouble(text), _) => self.trouble(&text, at, batch),
            (Local::Help(topic), _) => {
                self.notes(&render::help(topic, self.width()), at, batch);
            }
            (Local::Invite, style) => {
                let lines = self.invitation.as_ref().map(Invitation::answer);
                let mut lines = lines.unwrap_or_default();
                match style {
                    Style::Chat(chat) if !chat.audience.is_anybody() => {
                        let nobody = if chat.met { NOBODY } else { NOBODY_YET };
                        lines.push(Note::answer(nobody));
                    }
                    _ => {}
                }
                self.notes(&lines, at, batch);
            }
            (Local::More(_), Style::Chat(chat)) => {
                let folded = chat.folded.pop();
                self.more(folded, at, batch);
            }
            (Local::More(tag), Style::Plain { .. }) => {
                let text = format!("line {}: /more works in chat mode only", tag.line);
                self.note(&Note::mistake(text), at, batch);
            }
            (Local::Alert(_, Alert::Notification, messages), Style::Chat(_))
                if messages != AlertFor::Off && self.options.notifier.is_none() =>
            {
                let none = "sesame knows no notifications of this terminal; /bell works";
                self.note(&Note::mistake(none), at, batch);
            }
            (Local::Alert(_, alert, messages), Style::Chat(chat)) => {
                let answer = chat.alerts.set(alert, messages);
                self.note(&Note::answer(answer), at, batch);
            }
            (Local::Alert(tag, alert, _), Style::Plain { .. }) => {
                let command = alert.command();
                let text = format!("line {}: {command} works in chat mode only", tag.line);
                self.note(&Note::mistake(text), at, batch);
            }
            (Local::Choices(found), Style::Chat(_)) => {
                self.note(&Note::answer(found.join("  ")), at, batch);
            }
            (Local::Kept, Style::Chat(_)) => {
                let kept = "nobody is here; Enter sends the line when somebody is";
                self.note(&Note::answer(kept), at, batch);
            }
            (Local::Clear, Style::Chat(chat)) => {
                chat.folded.clear();
                if chat.keys.is_some() {
                    batch.out.extend_from_slice(CLEAR);
                }
            }
            (Local::Clear | Local::Choices(_) | Local::Kept, _) => {}
        }
    }

    fn due(&self) -> Option<Instant> {
        let departures = match &self.style {
            Style::Chat(chat) => chat.departures.due(),
            Style::Plain { .. } => None,
        };
        self.fates.due().into_iter().chain(departures).min()
    }

    fn settle(&mut self, at: Moment, batch: &mut OutputBatch) {
        let fates = self.fates.take();
        if let Style::Chat(chat) = &mut self.style {
            // What was not delivered to a peer follows the line that it left.
            let due = match fates.is_empty() {
                true => chat.departures.take_due(at.now),
                false => chat.departures.take_all(),
            };
            self.departed(due, at, batch);
        }
        for fate in fates {
            let which = match (&self.style, fate.count) {
                (Style::Plain { .. }, _) => format!(": {}", fate.lines),
                (Style::Chat(_), 1) => String::new(),
                (Style::Chat(_), count) => format!(" ({count} messages)"),
            };
            self.note(&Note::attention(fate.what + &which), at, batch);
        }
    }

    fn bye(&mut self, reason: ByeReason, _: u8, at: Moment, batch: &mut OutputBatch) {
        self.tell_departures(at, batch);
        if let Some(note) = farewell(reason) {
            self.note(&note, at, batch);
        }
    }
}

#[cfg(test)]
mod chat_tests;
#[cfg(test)]
pub(super) mod tests;
