//! The line editor's thread: keys become lines, lines become commands.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustyline::completion::{Completer, Pair};
use rustyline::config::BellStyle;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{
    Cmd, ColorMode, CompletionType, ConditionalEventHandler, Config, Context, Editor, Event,
    EventContext, EventHandler, Helper, KeyCode, KeyEvent, Modifiers, RepeatCount,
};
use tokio::sync::mpsc;

use super::chat::Names;
use super::clock;
use super::command::{COMMANDS, too_long};
use super::feed::{Feed, Gone, Local, Parcel};
use super::input::Grammar;
use super::lines::Line;
use super::provenance::{Cause, Provenance};
use super::screen::{CLEAR, Printer, Stage};
use super::writer::Writer;
use crate::mesh::{Command, Request, Tag, Text};
use crate::port::{Control, PanicRequest};

/// How many typed lines are kept.
const HISTORY: usize = 1000;
/// How long the rest of a key's escape sequence may be on its way, in milliseconds.
const SEQUENCE_MS: u16 = 500;

/// The terminals that have no cursor to move (as in the editor's own list).
pub(super) fn is_dumb(term: Option<&str>) -> bool {
    term.is_some_and(|t| {
        ["dumb", "cons25", "emacs"]
            .iter()
            .any(|d| d.eq_ignore_ascii_case(t))
    })
}

#[derive(Default)]
struct Watched {
    provenance: Provenance,
    /// What the key did whose effect has not been seen.
    cause: Option<Cause>,
    /// Whether the line was empty at the last key.
    was_empty: bool,
    /// Keys that came after a panic, for the time after it.
    captured: Vec<u8>,
    /// Within a paste that came after a panic.
    in_paste: bool,
}

/// What the key handlers, the editor's thread and a panic share.
pub(super) struct Keys {
    watched: Mutex<Watched>,
    /// Since a panic, keys are kept for the time after it.
    capturing: AtomicBool,
}

impl Keys {
    /// Before the first key.
    pub fn new() -> Self {
        Self {
            watched: Mutex::new(Watched::default()),
            capturing: AtomicBool::new(false),
        }
    }

    /// From now on keys do nothing, and are kept.
    pub fn capture(&self) {
        self.capturing.store(true, Ordering::SeqCst);
    }

    /// The keys that were kept.
    pub fn take(&self) -> Vec<u8> {
        mem::take(&mut self.lock().captured)
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One key, before it has its effect; gives what to do instead.
    fn press(&self, key: KeyEvent, line: &str, cursor: usize) -> Option<Cmd> {
        let mut watched = self.lock();
        if self.capturing.load(Ordering::SeqCst) {
            watched.keep(key);
            return Some(Cmd::Noop);
        }
        let cause = watched.cause.replace(cause(key)).unwrap_or(Cause::Typed);
        watched.provenance.follow(line, cursor, cause);
        watched.was_empty = line.is_empty();
        None
    }
}

impl Watched {
    fn begin(&mut self, line: &str) {
        self.provenance.begin(line);
        self.cause = None;
        self.was_empty = line.is_empty();
    }

    fn keep(&mut self, key: KeyEvent) {
        // What is pasted must not become a command, and the bytes would not tell any more.
        match key {
            KeyEvent(KeyCode::BracketedPasteStart, _) => self.in_paste = true,
            KeyEvent(KeyCode::BracketedPasteEnd, _) => self.in_paste = false,
            _ if self.in_paste => {}
            KeyEvent(KeyCode::Enter, _) | KeyEvent(KeyCode::Char('J' | 'M'), Modifiers::CTRL) => {
                self.captured.push(b'\n');
            }
            KeyEvent(KeyCode::Char(c), Modifiers::NONE) => {
                self.captured
                    .extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => {}
        }
    }
}

fn cause(KeyEvent(code, modifiers): KeyEvent) -> Cause {
    match (code, modifiers) {
        (KeyCode::BracketedPasteStart, _) => Cause::Pasted,
        (KeyCode::Up | KeyCode::Down, _)
        | (KeyCode::Char('P' | 'N' | 'R' | 'S'), Modifiers::CTRL)
        | (KeyCode::Char('<' | '>'), Modifiers::ALT) => Cause::Recalled,
        (KeyCode::Char('Y' | 'X' | '_'), Modifiers::CTRL)
        | (KeyCode::Char('Y' | 'y'), Modifiers::ALT) => Cause::Restored,
        _ => Cause::Typed,
    }
}

struct EveryKey(Arc<Keys>);

impl ConditionalEventHandler for EveryKey {
    fn handle(&self, event: &Event, _: RepeatCount, _: bool, at: &EventContext) -> Option<Cmd> {
        self.0.press(*event.get(0)?, at.line(), at.pos())
    }
}

/// F12, and Ctrl-X Ctrl-P.
struct PanicKey {
    keys: Arc<Keys>,
    control: mpsc::UnboundedSender<Control>,
}

impl ConditionalEventHandler for PanicKey {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext) -> Option<Cmd> {
        if !self.keys.capturing.swap(true, Ordering::SeqCst) {
            // An engine that is gone has nothing to forget.
            let _ = self.control.send(Control::Panic(PanicRequest::default()));
        }
        Some(Cmd::Noop)
    }
}

/// What the editor asks while a line is being typed.
pub(super) struct Helps {
    names: Names,
    stage: Arc<Stage>,
    colour: bool,
}

impl Completer for Helps {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..cursor).unwrap_or(line);
        let (start, found) = complete(typed, &self.names);
        let pair = |(display, replacement)| Pair {
            display,
            replacement,
        };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

/// Where the word begins that is completed, and what it can become: as shown, and as typed.
fn complete(typed: &str, names: &Names) -> (usize, Vec<(String, String)>) {
    if typed.starts_with('/') && !typed.contains(' ') {
        let fit = COMMANDS.iter().filter(|(word, ..)| word.starts_with(typed));
        let fit = fit.map(|(word, usage, _)| {
            let needs_more = !usage.is_empty() && !usage.starts_with('[');
            let space = if needs_more { " " } else { "" };
            ((*word).to_owned(), format!("{word}{space}"))
        });
        return (0, fit.collect());
    }
    let takes_peer = COMMANDS
        .iter()
        .filter(|(_, usage, _)| usage.starts_with("PEER"))
        .find_map(|(word, ..)| Some((*word, typed.strip_prefix(word)?.strip_prefix(' ')?)));
    if let Some((word, peer)) = takes_peer {
        let start = typed.len() - peer.len();
        let quoted = peer.strip_prefix('"');
        if quoted.is_none() && peer.contains(' ') || quoted.is_some_and(|p| p.contains('"')) {
            return (typed.len(), Vec::new());
        }
        let fit = names
            // There are words to verify only where there is a link.
            .beginning(quoted.unwrap_or(peer), word == "/verify")
            .into_iter()
            .map(|name| {
                let quote = if quoted.is_some() || name.contains(' ') {
                    "\""
                } else {
                    ""
                };
                let typed = format!("{quote}{name}{quote} ");
                (name, typed)
            });
        return (start, fit.collect());
    }
    // In a message, the word before the cursor; nothing at all would offer everybody.
    let start = typed.rfind(' ').map_or(0, |at| at + 1);
    if typed.starts_with('/') || start == typed.len() {
        return (typed.len(), Vec::new());
    }
    let colon = if start == 0 { ": " } else { "" };
    let fit = names.beginning(&typed[start..], false).into_iter();
    (
        start,
        fit.map(|name| (name.clone(), format!("{name}{colon}")))
            .collect(),
    )
}

impl Highlighter for Helps {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        // Pasted control characters take no room in the editor's reckoning, and must not reach the
        // terminal.
        if line.chars().any(is_control) {
            Cow::Owned(line.chars().filter(|c| !is_control(*c)).collect())
        } else {
            Cow::Borrowed(line)
        }
    }

    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        // Called at each painting, after the text that goes above the line has been written.
        self.stage.painted();
        if self.colour {
            Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m"))
        } else {
            Cow::Borrowed(prompt)
        }
    }
}

fn is_control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

impl Hinter for Helps {
    type Hint = String;
}

impl Validator for Helps {}

impl Helper for Helps {}

/// What an editor is made with.
pub(super) struct Outfit {
    /// What it shares with a panic.
    pub keys: Arc<Keys>,
    /// What it shares with the screen.
    pub stage: Arc<Stage>,
    /// Whom it completes.
    pub names: Names,
    /// Where the panic keys go.
    pub control: mpsc::UnboundedSender<Control>,
    /// Whether the prompt has colour.
    pub colour: bool,
    /// Whether the prompt tells of a decoy session.
    pub decoy: bool,
}

impl Outfit {
    fn editor(&self) -> rustyline::Result<(Editor<Helps, MemHistory>, Printer)> {
        let config = Config::builder()
            .max_history_size(HISTORY)?
            .history_ignore_dups(true)?
            .auto_add_history(false)
            .completion_type(CompletionType::List)
            .keyseq_timeout(Some(SEQUENCE_MS))
            .bell_style(BellStyle::None)
            .bracketed_paste(true)
            // What colours there are this program decides; the editor must call its painter in any
            // case, since that is how the end of a painting is known. It would not with NO_COLOR.
            .color_mode(ColorMode::Forced)
            .build();
        let history = MemHistory::with_config(&config);
        let mut editor = Editor::with_history(config, history)?;
        editor.set_helper(Some(Helps {
            names: self.names.clone(),
            stage: Arc::clone(&self.stage),
            colour: self.colour,
        }));
        let every_key = EveryKey(Arc::clone(&self.keys));
        editor.bind_sequence(Event::Any, EventHandler::Conditional(Box::new(every_key)));
        let panic_keys = [
            vec![KeyEvent(KeyCode::F(12), Modifiers::NONE)],
            vec![KeyEvent::ctrl('X'), KeyEvent::ctrl('P')],
        ];
        for sequence in panic_keys {
            let panic = PanicKey {
                keys: Arc::clone(&self.keys),
                control: self.control.clone(),
            };
            editor.bind_sequence(
                Event::KeySeq(sequence),
                EventHandler::Conditional(Box::new(panic)),
            );
        }
        let printer = editor.create_external_printer()?;
        Ok((editor, Box::new(printer)))
    }
}

/// The editor with all that belongs to it.
pub(super) struct LineEditor {
    editor: Editor<Helps, MemHistory>,
    outfit: Outfit,
    keys: Arc<Keys>,
    stage: Arc<Stage>,
    prompt: &'static str,
}

/// What the editor's thread works with.
pub(super) struct Desk {
    /// What lines mean.
    pub grammar: Grammar,
    /// Where they go.
    pub feed: Feed,
    /// For clearing the screen.
    pub writer: Writer,
}

impl LineEditor {
    /// Prepares the editor on stdin and stdout, and what prints above its line.
    ///
    /// # Errors
    /// If they are no terminal that it can use.
    pub fn new(outfit: Outfit) -> rustyline::Result<(Self, Printer)> {
        let (editor, printer) = outfit.editor()?;
        let prompt = if outfit.decoy { "[decoy] > " } else { "> " };
        let (keys, stage) = (Arc::clone(&outfit.keys), Arc::clone(&outfit.stage));
        Ok((
            Self {
                editor,
                outfit,
                keys,
                stage,
                prompt,
            },
            printer,
        ))
    }

    /// Reads lines until the user ends the run or nobody takes commands any more. `handed_over` is
    /// what was typed while a panic took place.
    pub fn run(mut self, mut desk: Desk, handed_over: &[u8]) {
        let stage = Arc::clone(&self.stage);
        // Whoever takes commands ends the run: there is nobody left to tell.
        let _: Result<(), Gone> = self.read_all(&mut desk, handed_over);
        drop(self);
        stage.leave();
    }

    fn read_all(&mut self, desk: &mut Desk, handed_over: &[u8]) -> Result<(), Gone> {
        let text = String::from_utf8_lossy(handed_over);
        let (lines, mut rest) = text.rsplit_once('\n').unwrap_or(("", &text));
        for line in lines.split('\n') {
            if !self.say(line, false, desk)? {
                return Ok(());
            }
        }
        loop {
            let rest = mem::take(&mut rest);
            self.keys.lock().begin(rest);
            let capturing = self.keys.capturing.load(Ordering::SeqCst);
            let prompt = if capturing { "" } else { self.prompt };
            self.stage.begin();
            let line = self.editor.readline_with_initial(prompt, (rest, ""));
            self.stage.pause();
            if self.keys.capturing.load(Ordering::SeqCst) {
                // The panic was in the middle of this line, or before it was read as one. Nothing
                // more is said by this image; but a message counts as forgotten.
                if let Ok(text) = line {
                    desk.grammar
                        .read(&typed(&text), clock::now(), &mut Parcel::default());
                }
                continue;
            }
            let go_on = match line {
                Ok(line) => {
                    let pasted = self.keys.lock().provenance.begins_pasted();
                    self.say(&line, pasted, desk)?
                }
                // Bytes that are no UTF-8 cost the line.
                Err(ReadlineError::Io(why)) if why.kind() == ErrorKind::InvalidData => {
                    let why = "these bytes were not UTF-8, so the line is gone";
                    desk.tell(Local::Trouble(why.into()))?;
                    true
                }
                Err(ReadlineError::Interrupted) if !self.keys.lock().was_empty => true,
                Err(_) => {
                    desk.command(Command::Quit)?;
                    false
                }
            };
            if !go_on {
                return Ok(());
            }
        }
    }

    /// One line; gives whether more are to be read.
    fn say(&mut self, line: &str, pasted: bool, desk: &mut Desk) -> Result<bool, Gone> {
        // A pasted line brings its end along, and lines of other systems two.
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Ok(true);
        }
        // The history has lines as they would have to be typed.
        let entry = if pasted && line.starts_with('/') {
            format!("/{line}")
        } else {
            line.into()
        };
        let _ = self.editor.add_history_entry(entry);
        if pasted {
            return desk.message(line).map(|()| true);
        }
        let mut parcel = Parcel::default();
        desk.grammar.read(&typed(line), clock::now(), &mut parcel);
        if parcel
            .locals
            .iter()
            .any(|(local, _)| matches!(local, Local::Clear))
        {
            parcel.locals.clear();
            self.clear(desk)?;
        }
        if parcel.panic.is_some() {
            self.keys.capture();
        }
        let quits = parcel
            .ordered
            .iter()
            .any(|r| matches!(r.command, Command::Quit));
        desk.feed.deliver(parcel)?;
        Ok(!quits)
    }

    /// Begins anew, with another editor: this one would keep what was cut, and the keys of the last
    /// line. What was typed ahead in one piece with this line goes with it.
    fn clear(&mut self, desk: &mut Desk) -> Result<(), Gone> {
        match self.outfit.editor() {
            Ok((editor, printer)) => {
                self.editor = editor;
                self.stage.replaced(printer);
            }
            Err(why) => {
                let _ = self.editor.clear_history();
                let why = format!("what was cut from a line could not be cleared: {why}");
                desk.tell(Local::Trouble(why))?;
            }
        }
        // A terminal that takes nothing has nothing to clear that could be seen.
        let _ = desk.writer.write(CLEAR, &mut || false);
        Ok(())
    }
}

fn typed(text: &str) -> Line<'_> {
    Line {
        number: 0,
        text: Ok(text),
        bytes: text.len(),
        reference: None,
    }
}

impl Desk {
    fn tell(&self, local: Local) -> Result<(), Gone> {
        let mut parcel = Parcel::default();
        parcel.tell(local);
        self.feed.deliver(parcel)
    }

    fn command(&self, command: Command) -> Result<(), Gone> {
        let mut parcel = Parcel::default();
        let bytes = match &command {
            Command::Send { text, .. } => text.as_str().len(),
            _ => 0,
        };
        parcel.push(
            Request {
                tag: Tag::default(),
                read_at: clock::now(),
                command,
            },
            bytes,
            &self.grammar.tally,
        );
        self.feed.deliver(parcel)
    }

    /// What is a message whatever it begins with.
    fn message(&self, text: &str) -> Result<(), Gone> {
        if text.len() > Text::MAX {
            return self.tell(Local::Mistake(Tag::default(), too_long()));
        }
        self.command(Command::Send {
            text: Text::from(text),
            to: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::Options;
    use crate::front::chat::Chat;
    use crate::front::output::{Page, View};
    use crate::front::plain::tests::at;
    use crate::mesh::{self, Addressee};

    fn names() -> Names {
        let names = Names::default();
        let mut chat = Chat::new(Options::default(), names.clone(), true);
        let all = [("alice", true), ("bob smith", true), ("bobby", false)];
        let all = all.into_iter().map(|(shown, up)| Addressee {
            shown: shown.into(),
            up,
        });
        let event = mesh::Event::Addressees(all.collect());
        chat.event(event, at(), &mut Page::default());
        names
    }

    fn completed(typed: &str) -> Vec<String> {
        let (start, found) = complete(typed, &names());
        found
            .into_iter()
            .map(|(_, text)| format!("{}{text}", &typed[..start]))
            .collect()
    }

    #[test]
    fn commands_and_peers_are_completed() {
        assert_eq!(completed("/qu"), ["/quit"]);
        assert_eq!(completed("/p"), ["/peers", "/panic"]);
        assert_eq!(completed("/m"), ["/msg "]);
        assert_eq!(completed("/msg bo"), ["/msg \"bob smith\" ", "/msg bobby "]);
        assert_eq!(completed("/msg \"bob "), ["/msg \"bob smith\" "]);
        assert_eq!(completed("/verify al"), ["/verify alice "]);
        assert_eq!(completed("/verify bob"), ["/verify \"bob smith\" "]);
        assert!(completed("/msg alice bo").is_empty());
        assert!(completed("/connect al").is_empty());
        assert_eq!(completed("al"), ["alice: "]);
        assert_eq!(completed("hello al"), ["hello alice"]);
        assert!(completed("hello ").is_empty());
        assert!(completed("").is_empty());
    }

    const ENTER: KeyEvent = KeyEvent(KeyCode::Enter, Modifiers::NONE);
    const PASTE: KeyEvent = KeyEvent(KeyCode::BracketedPasteStart, Modifiers::NONE);
    const PASTE_END: KeyEvent = KeyEvent(KeyCode::BracketedPasteEnd, Modifiers::NONE);

    fn char(c: char) -> KeyEvent {
        KeyEvent(KeyCode::Char(c), Modifiers::NONE)
    }

    #[test]
    fn a_paste_is_seen_at_the_next_key() {
        let keys = Keys::new();
        assert_eq!(keys.press(PASTE, "", 0), None);
        assert_eq!(keys.press(ENTER, "/quit", 5), None);
        assert!(keys.lock().provenance.begins_pasted());
        keys.lock().begin("");
        keys.press(char('/'), "", 0);
        keys.press(ENTER, "/", 1);
        assert!(!keys.lock().provenance.begins_pasted());
    }

    #[test]
    fn after_a_panic_keys_are_kept_and_do_nothing() {
        let keys = Keys::new();
        keys.press(char('x'), "", 0);
        keys.capture();
        for key in [
            char('/'),
            char('é'),
            ENTER,
            PASTE,
            char('p'),
            ENTER,
            PASTE_END,
            char('z'),
        ] {
            assert_eq!(keys.press(key, "x", 1), Some(Cmd::Noop));
        }
        assert_eq!(keys.take(), "/é\nz".as_bytes());
    }

    #[test]
    fn dumb_terminals_are_known() {
        assert!(is_dumb(Some("dumb")) && is_dumb(Some("Emacs")));
        assert!(!is_dumb(Some("xterm")) && !is_dumb(None));
    }

    #[test]
    fn pasted_controls_do_not_reach_the_terminal() {
        let helps = Helps {
            names: names(),
            stage: Arc::new(Stage::new()),
            colour: false,
        };
        assert_eq!(helps.highlight("a\u{9b}31m\u{7}b\n\tc", 0), "a31mb\n\tc");
    }
}
