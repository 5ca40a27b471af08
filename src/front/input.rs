//! The input thread of the front ends without an editor: bytes become commands.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use super::audience::Audience;
use super::clock;
use super::command::{self, Mistake, ParsedLine};
use super::input_sender::{Gone, InputSender, Local, ParsedInput};
use super::json_in;
use super::lines::{Leftover, Line, Lines};
use super::options::{FrontendOptions, Mode};
use super::writer::{FREEZE_PATIENCE, may_be_tried_again};
use crate::channels::{PanicRequest, READ_AHEAD};
use crate::exit::ExitCounters;
use crate::mesh::{Command, ErrorCode, Request, Tag, Text};
use crate::sys::reason;
use crate::sys::stream::Input;

/// The most bytes that one read takes.
const CHUNK: usize = 64 * 1024;
/// The most bytes of a line of JSON (USAGE.md, "JSON mode").
const MAX_JSON_LINE: usize = 512 * 1024;
/// How often to look at input that comes after the end was asked for.
const AT_THE_END: Duration = Duration::from_millis(20);
/// How many chunks are read at the end to find a panic: as much as the read-ahead.
const LAST_CHUNKS: usize = READ_AHEAD / CHUNK;
/// How many bytes are parsed before they are handed over.
const PARSED_AT_ONCE: usize = 64 * 1024;

/// How lines are parsed in this run.
#[derive(Clone)]
pub(super) struct Grammar {
    options: Arc<FrontendOptions>,
    /// Counts for the exit status.
    pub counters: Arc<ExitCounters>,
    /// In chat, whether a message would reach any peer.
    pub audience: Arc<Audience>,
}

impl Grammar {
    /// The grammar of these options.
    pub(super) fn new(
        options: Arc<FrontendOptions>,
        counters: Arc<ExitCounters>,
        audience: Arc<Audience>,
    ) -> Self {
        Self {
            options,
            counters,
            audience,
        }
    }

    /// Parses one line, and adds what it asks for to `input`.
    pub(super) fn read(&self, line: &Line<'_>, read_at: Instant, input: &mut ParsedInput) {
        let mut tag = Tag {
            reference: line.reference.clone(),
            line: line.number,
        };
        let text = match line.text {
            Ok(text) => text,
            Err(why) => {
                if self.counts_as_bad() {
                    input.tell(Local::BadLine(tag, why));
                }
                return;
            }
        };
        let parsed = if self.options.mode == Mode::Json && !text.starts_with('/') {
            let (reference, parsed) = json_in::parse(text, self.options.explicit_ack);
            tag.reference = reference;
            parsed
        } else if self.options.literal {
            command::message(text)
        } else {
            command::parse(text)
        };
        self.put(tag, read_at, parsed, line.bytes, input);
    }

    /// Adds what a line asks for to `input`. `bytes` is the size of the line in the input.
    pub(super) fn put(
        &self,
        tag: Tag,
        read_at: Instant,
        parsed: Result<ParsedLine, Mistake>,
        bytes: usize,
        input: &mut ParsedInput,
    ) {
        let command = match parsed {
            Ok(ParsedLine::Command(command)) => command,
            Ok(ParsedLine::Panic { quit }) => return self.panic(tag, quit, input),
            Ok(ParsedLine::Help(topic)) => return input.tell(Local::Help(topic)),
            Ok(ParsedLine::Invite) => return input.tell(Local::Invite),
            Ok(ParsedLine::More) => return input.tell(Local::More(tag)),
            Ok(ParsedLine::Alert(alert, messages)) => {
                return input.tell(Local::Alert(tag, alert, messages));
            }
            Ok(ParsedLine::Clear) => return input.tell(Local::Clear),
            Err(mistake) => return self.mistake(tag, mistake, input),
        };
        let ends = self.counters.phase.is_ending();
        let command = match command {
            Command::Send { text, to: None }
                if self.options.mode == Mode::Chat && text.as_str().is_empty() =>
            {
                if !self.audience.may_leave(read_at) {
                    return;
                }
                Command::Quit
            }
            Command::Send { .. } if ends => return,
            command => command,
        };
        let request = Request {
            tag,
            read_at,
            command,
        };
        input.push(request, bytes, &self.counters);
    }

    fn panic(&self, tag: Tag, quit: Option<bool>, input: &mut ParsedInput) {
        if quit == Some(true) {
            // At once: another panic may be under way, and must not lose the request to end.
            self.counters.phase.ask_end();
        }
        input.panic = Some(PanicRequest { tag, quit });
    }

    fn mistake(&self, tag: Tag, mistake: Mistake, input: &mut ParsedInput) {
        if mistake.code != ErrorCode::TooLong || self.counts_as_bad() {
            input.tell(Local::Mistake(tag, mistake));
        }
    }

    /// Whether to count a line that cannot be a message; not after the end was asked for, as a good
    /// one is not sent then either.
    fn counts_as_bad(&self) -> bool {
        let counts = !self.counters.phase.is_ending();
        if counts {
            self.counters.count_bad_line();
        }
        counts
    }
}

/// Input that a panic has to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadInput {
    /// Complete lines that were read and not parsed.
    pub lines: Vec<u8>,
    /// The rest of a line whose beginning was read comes next on stdin, and has to be dropped.
    pub begun: bool,
    /// That beginning was part of a message.
    pub lost_message: bool,
    /// Nothing was read from stdin yet: it may begin with a byte order mark.
    pub at_start: bool,
}

/// Sets a flag for as long as it lives.
struct Parsing<'a>(&'a AtomicBool);

impl<'a> Parsing<'a> {
    fn begin(mark: &'a AtomicBool) -> Self {
        mark.store(true, Ordering::SeqCst);
        Self(mark)
    }
}

impl Drop for Parsing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// What the input thread and a panic share.
pub(super) struct Unread {
    /// Locked while input is read or parsed. A read should not wait, since poll has found input;
    /// but another process may have taken it meanwhile.
    lines: Mutex<Lines>,
    /// A panic came, from the input or from elsewhere: nothing more is read or parsed.
    stopped: AtomicBool,
    /// Lines are being parsed, which never waits.
    parsing: AtomicBool,
    /// Whether lines are messages, and if so, whether those that begin with a slash are too.
    messages: Option<bool>,
}

impl Unread {
    /// With the input that a panic handed over, if any, ahead of stdin.
    pub(super) fn new(options: &FrontendOptions, before: Option<&UnreadInput>) -> Self {
        let limit = if options.mode == Mode::Json {
            MAX_JSON_LINE
        } else {
            Text::MAX
        };
        let mut lines = Lines::new(options.cut, limit);
        if options.mode == Mode::Json {
            lines = lines.of_json();
        }
        if let Some(before) = before {
            lines.go_on(&before.lines, before.begun, before.at_start);
        }
        Self {
            lines: Mutex::new(lines),
            stopped: AtomicBool::new(false),
            parsing: AtomicBool::new(false),
            messages: match options.mode {
                Mode::Plain => Some(options.literal),
                Mode::Json | Mode::Chat => None,
            },
        }
    }

    /// Ends reading and parsing, and takes what was read and not parsed. If a read waits, only the
    /// beginning of a line can be there, and it is lost.
    pub(super) fn take(&self) -> UnreadInput {
        self.stopped.store(true, Ordering::SeqCst);
        let deadline = clock::now() + FREEZE_PATIENCE;
        loop {
            match self.lines.try_lock() {
                Ok(mut lines) => return self.left(lines.take_unread()),
                Err(TryLockError::Poisoned(lines)) => {
                    return self.left(lines.into_inner().take_unread());
                }
                Err(TryLockError::WouldBlock) => {
                    let parses = self.parsing.load(Ordering::SeqCst);
                    if !parses && clock::now() >= deadline {
                        return UnreadInput::default();
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }

    fn left(&self, leftover: Leftover) -> UnreadInput {
        let message = |first: u8| self.messages.is_some_and(|all| all || first != b'/');
        UnreadInput {
            lost_message: leftover.begun_with.is_some_and(message),
            lines: leftover.lines,
            begun: leftover.begun,
            at_start: leftover.at_start,
        }
    }

    /// Whether a panic is in the input of a run that is over, as far as can be read without
    /// waiting: the user may have asked for it before the end. Other input no longer counts.
    pub(super) fn holds_panic(&self, input: &Input, grammar: &Grammar) -> bool {
        let mut chunk = vec![0; CHUNK];
        for _ in 0..LAST_CHUNKS {
            while self.parse(grammar).is_some() {}
            if self.is_stopped()
                || !input.wait(Some(Duration::ZERO))
                || !matches!(self.read(input, &mut chunk), Ok(true))
            {
                break;
            }
        }
        // This thread or the reading thread has found it.
        self.is_stopped()
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parses until there is enough to hand over. `None` if there is no whole line.
    fn parse(&self, grammar: &Grammar) -> Option<ParsedInput> {
        let mut lines = self.lock();
        let _parsing = Parsing::begin(&self.parsing);
        if self.is_stopped() {
            return None;
        }
        let mut parsed = ParsedInput::default();
        let read_at = clock::now();
        // Lines without cost count too; otherwise a chunk of mistakes would be handed over at once.
        let mut taken = 0;
        while parsed.cost.max(taken) < PARSED_AT_ONCE
            && let Some(line) = lines.next_line()
        {
            taken += line.bytes;
            grammar.read(&line, read_at, &mut parsed);
            if parsed.panic.is_some() {
                // All that follows is for the time after the panic.
                self.stopped.store(true, Ordering::SeqCst);
                break;
            }
        }
        (taken > 0).then_some(parsed)
    }

    /// Reads once; `Ok(true)` if there may be more.
    fn read(&self, input: &Input, chunk: &mut [u8]) -> io::Result<bool> {
        let mut lines = self.lock();
        if self.is_stopped() {
            return Ok(false);
        }
        match input.read(chunk) {
            Ok(0) => {
                lines.end();
                Ok(false)
            }
            Ok(read) => {
                lines.push(&chunk[..read]);
                // Input that was handed over must not stay in this buffer until the next read.
                chunk[..read].zeroize();
                Ok(true)
            }
            Err(error) if may_be_tried_again(&error) => Ok(true),
            Err(error) => {
                lines.end();
                Err(error)
            }
        }
    }

    /// Whether the input began with the byte order mark of UTF-16.
    fn is_utf16(&self) -> bool {
        self.lock().is_utf16()
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }
}

/// Reads until the input ends, a panic stops it, or the receiver of commands is gone. It notices
/// the last two when it has input to hand over; until then it waits only for input.
pub(super) fn run(input: &Input, unread: &Unread, grammar: &Grammar, sender: &InputSender) {
    // The receiver of commands ends the run, so there is no one to report this to.
    let _: Result<(), Gone> = read_all(input, unread, grammar, sender);
}

fn read_all(
    input: &Input,
    unread: &Unread,
    grammar: &Grammar,
    sender: &InputSender,
) -> Result<(), Gone> {
    let mut chunk = vec![0; CHUNK];
    let mut more = true;
    loop {
        if grammar.counters.phase.is_ending() {
            // Only a panic counts now. The pause keeps endless input from keeping a processor busy
            // until the end.
            thread::sleep(AT_THE_END);
        }
        while let Some(parsed) = unread.parse(grammar) {
            sender.deliver(parsed)?;
        }
        if unread.is_stopped() {
            return Ok(());
        }
        if unread.is_utf16() {
            return refuse_utf16(grammar, sender);
        }
        if !more {
            break;
        }
        if input.wait(None) {
            more = match unread.read(input, &mut chunk) {
                Ok(more) => more,
                Err(error) => {
                    let why = format!("cannot read stdin: {}", reason(&error));
                    grammar.counters.fail();
                    let mut parsed = ParsedInput::default();
                    parsed.tell(Local::Trouble(why));
                    sender.deliver(parsed)?;
                    false
                }
            };
        }
    }
    if grammar.options.mode == Mode::Chat {
        // At a terminal the input ends with Ctrl-D, or when the terminal is gone.
        let mut input = ParsedInput::default();
        input.push_quit(clock::now(), &grammar.counters);
        return sender.deliver(input);
    }
    sender.end()
}

/// Ends the run: guessing another encoding could send text that the user never wrote.
fn refuse_utf16(grammar: &Grammar, sender: &InputSender) -> Result<(), Gone> {
    grammar.counters.fail();
    let mut input = ParsedInput::default();
    input.tell(Local::Utf16);
    input.push_quit(clock::now(), &grammar.counters);
    sender.deliver(input)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::channels::{self, Control, EngineChannels, Waiting};
    use crate::front::options::Cut;

    /// The input of a front end without a terminal: a pipe in, requests out.
    struct Rig {
        pipe: Option<io::PipeWriter>,
        engine: EngineChannels,
        locals: tokio::sync::mpsc::UnboundedReceiver<Waiting<Local>>,
        unread: Arc<Unread>,
        read_ahead: Arc<Semaphore>,
        thread: thread::JoinHandle<()>,
    }

    fn rig(options: &FrontendOptions, handed_over: &[u8]) -> Rig {
        let (channels, engine, _) = channels::channels();
        let (reader, writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        let (locals_in, locals) = tokio::sync::mpsc::unbounded_channel();
        let unread = Arc::new(Unread::new(options, before(handed_over).as_ref()));
        let grammar = Grammar::new(
            Arc::new(options.clone()),
            Arc::clone(&channels.counters),
            Arc::default(),
        );
        let read_ahead = Arc::clone(&channels.read_ahead);
        let sender = InputSender::new(
            channels.urgent,
            channels.ordered,
            channels.read_ahead,
            locals_in,
            channels.control,
        );
        let shared = Arc::clone(&unread);
        let thread = thread::spawn(move || run(&input, &shared, &grammar, &sender));
        Rig {
            pipe: Some(writer),
            engine,
            locals,
            unread,
            read_ahead,
            thread,
        }
    }

    fn before(lines: &[u8]) -> Option<UnreadInput> {
        let lines = lines.to_vec();
        (!lines.is_empty()).then_some(UnreadInput {
            lines,
            ..UnreadInput::default()
        })
    }

    impl Rig {
        fn local(&mut self) -> Local {
            self.locals.try_recv().unwrap().item
        }

        fn write(&mut self, bytes: &[u8]) {
            self.pipe.as_mut().unwrap().write_all(bytes).unwrap();
        }

        fn end(&mut self) {
            self.pipe = None;
        }

        /// Everything until the end of input, as texts.
        fn texts(&mut self) -> Vec<String> {
            let mut out = Vec::new();
            while !matches!(self.engine.control.try_recv(), Ok(Control::EndOfInput)) {
                if let Ok(batch) = self.engine.ordered.try_recv() {
                    out.extend(batch.item.iter().map(show));
                }
                thread::sleep(Duration::from_millis(1));
            }
            while let Ok(batch) = self.engine.ordered.try_recv() {
                out.extend(batch.item.iter().map(show));
            }
            out
        }
    }

    fn show(request: &Request) -> String {
        match &request.command {
            Command::Send { text, to: None } => {
                format!("{}: {}", request.tag.line, text.as_str())
            }
            other => format!("{}: {other:?}", request.tag.line),
        }
    }

    fn options(mode: Mode) -> FrontendOptions {
        FrontendOptions {
            mode,
            ..FrontendOptions::default()
        }
    }

    #[test]
    fn lines_become_messages_and_the_end_comes_last() {
        let mut rig = rig(&options(Mode::Plain), b"");
        rig.write(b"hello\n\n//x\nlast");
        rig.end();
        assert_eq!(rig.texts(), ["1: hello", "2: ", "3: /x", "4: last"]);
    }

    #[test]
    fn literal_lines_and_the_whole_input_are_never_commands() {
        let mut literal = rig(
            &FrontendOptions {
                literal: true,
                ..options(Mode::Plain)
            },
            b"",
        );
        literal.write(b"/panic\n//x\n");
        literal.end();
        assert_eq!(literal.texts(), ["1: /panic", "2: //x"]);
        let mut whole = rig(
            &FrontendOptions {
                literal: true,
                cut: Cut::Nowhere,
                ..options(Mode::Plain)
            },
            b"",
        );
        whole.write(b"/panic\nline two\n");
        whole.end();
        assert_eq!(whole.texts(), ["1: /panic\nline two"]);
    }

    #[test]
    fn bad_lines_are_counted_and_named() {
        let mut rig = rig(&options(Mode::Plain), b"");
        let sender = rig.pipe.take().map(|mut pipe| {
            thread::spawn(move || {
                pipe.write_all(b"one\n").unwrap();
                pipe.write_all(&[b'x'; 65_537]).unwrap();
                pipe.write_all(b"\n\xff\nfour\n").unwrap();
            })
        });
        assert_eq!(rig.texts(), ["1: one", "4: four"]);
        sender.unwrap().join().unwrap();
        assert_eq!(rig.engine.counters.bad_lines(), 2);
        assert!(matches!(
            rig.local(),
            Local::BadLine(Tag { line: 2, .. }, _)
        ));
        assert!(matches!(
            rig.local(),
            Local::BadLine(Tag { line: 3, .. }, _)
        ));
    }

    #[test]
    fn panic_is_found_behind_commands_that_wait() {
        let mut rig = rig(&options(Mode::Json), b"");
        for _ in 0..2000 {
            rig.write(b"{\"type\":\"peers\"}\nno object\n");
        }
        rig.write(b"{\"type\":\"panic\"}\n");
        assert!(matches!(
            rig.engine.control.blocking_recv(),
            Some(Control::Panic(_))
        ));
    }

    #[test]
    fn commands_overtake_a_megabyte_of_messages() {
        let mut rig = rig(&options(Mode::Json), b"");
        // Many small writes, which are not received: far more than the channel has places.
        for n in 0..3000 {
            let line = format!(
                "{{\"type\":\"send\",\"text\":\"{}\",\"ref\":{n}}}\n",
                "x".repeat(200)
            );
            rig.write(line.as_bytes());
        }
        rig.write(b"{\"type\":\"peers\",\"ref\":\"now\"}\n");
        let request = rig.engine.urgent.blocking_recv().unwrap();
        assert!(matches!(request.item.command, Command::Peers));
        rig.end();
        assert_eq!(rig.texts().len(), 3000);
    }

    #[test]
    fn reading_ahead_stops_at_a_megabyte() {
        let mut rig = rig(&options(Mode::Plain), b"");
        let mut pipe = rig.pipe.take().unwrap();
        let writer = thread::spawn(move || {
            let mut written = 0_usize;
            let line = [vec![b'x'; 999], vec![b'\n']].concat();
            for _ in 0..4000 {
                pipe.write_all(&line).unwrap();
                written += 1;
            }
            written
        });
        // Until the read-ahead has no room.
        while rig.read_ahead.available_permits() >= PARSED_AT_ONCE {
            thread::yield_now();
        }
        assert!(
            !writer.is_finished(),
            "four megabytes were read without being taken"
        );
        assert_eq!(rig.texts().len(), 4000);
        assert_eq!(writer.join().unwrap(), 4000);
    }

    #[test]
    fn panic_is_sent_at_once_and_later_lines_handed_over() {
        let send = b"{\"type\":\"send\",\"text\":\"\"}\n/panic\nafter\npart";
        for (mode, input, forgotten) in [
            (Mode::Plain, &b"secret\n/panic\nafter\npart"[..], 1),
            (Mode::Json, send, 1),
            (Mode::Json, b"{\"type\":\"panic\"}\nafter\npart", 0),
            (Mode::Json, b"/panic\nafter\npart", 0),
        ] {
            let mut rig = rig(&options(mode), b"");
            rig.write(input);
            assert!(matches!(
                rig.engine.control.blocking_recv(),
                Some(Control::Panic(_))
            ));
            let left = rig.unread.take();
            assert_eq!(left.lines, b"after\n");
            assert!(left.begun);
            assert_eq!(left.lost_message, mode == Mode::Plain);
            rig.end();
            rig.thread.join().unwrap();
            assert!(
                rig.engine.ordered.try_recv().is_err(),
                "what was parsed is forgotten"
            );
            let untaken = rig.engine.counters.untaken();
            assert_eq!(untaken, forgotten, "and counts");
        }
    }

    #[test]
    fn a_panic_from_elsewhere_stops_reading() {
        let mut rig = rig(&options(Mode::Plain), b"");
        rig.write(b"one\ntw");
        assert!(rig.engine.ordered.blocking_recv().is_some());
        let left = rig.unread.take();
        assert!(left.lines.is_empty() && left.begun && left.lost_message);
        rig.write(b"o\n");
        rig.end();
        rig.thread.join().unwrap();
        assert!(rig.engine.ordered.try_recv().is_err(), "nothing is read");
    }

    #[test]
    fn panic_after_the_end_is_found() {
        for (bytes, found) in [
            (&b"/quit\nlost\n/panic\n"[..], true),
            (b"/quit\n/pan", false),
        ] {
            let (reader, mut writer) = io::pipe().unwrap();
            writer.write_all(bytes).unwrap();
            let input = Input::from(reader);
            let (channels, _engine, _) = channels::channels();
            let grammar = Grammar::new(
                Arc::new(options(Mode::Plain)),
                channels.counters,
                Arc::default(),
            );
            let unread = Unread::new(&options(Mode::Plain), None);
            assert_eq!(unread.holds_panic(&input, &grammar), found);
        }
    }

    #[test]
    fn a_read_that_waits_does_not_hold_up_a_panic() {
        // As if another process had taken the bytes between poll and read.
        let (reader, writer) = io::pipe().unwrap();
        let input = Input::from(reader);
        let unread = Arc::new(Unread::new(&options(Mode::Plain), None));
        let shared = Arc::clone(&unread);
        let reading = thread::spawn(move || shared.read(&input, &mut [0; 16]));
        while unread.lines.try_lock().is_ok() {
            thread::yield_now();
        }
        assert_eq!(unread.take(), UnreadInput::default());
        assert!(!reading.is_finished());
        drop(writer);
        assert!(!reading.join().unwrap().unwrap());
    }

    #[test]
    fn input_that_was_handed_over_comes_first() {
        let mut rig = rig(&options(Mode::Plain), b"after\n");
        rig.write(b"that\n");
        rig.end();
        assert_eq!(rig.texts(), ["1: after", "2: that"]);
    }

    #[test]
    fn only_empty_lines_are_bounded_too() {
        let mut rig = rig(&options(Mode::Plain), b"");
        let mut pipe = rig.pipe.take().unwrap();
        let writer = thread::spawn(move || pipe.write_all(&[b'\n'; 300_000]).is_ok());
        assert_eq!(rig.texts().len(), 300_000);
        assert!(writer.join().unwrap());
    }
}
